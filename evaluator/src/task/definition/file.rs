//! Reads task files: each is checked on its own, then laid over the files that it includes.

use super::Definition;
use merge_core::{
    error::{Error, Result},
    yaml::{Mistake, Node, NodeKind, Place, is_there, read_text},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A task's definition, read from a file and all files that it includes.
#[derive(Clone, Debug)]
pub(in crate::task) struct DefinitionFile {
    /// The merged definition.
    pub(in crate::task) definition: Definition,
    pub(in crate::task) path: PathBuf,
    /// Each top-level key, in lm-evaluation-harness's order, with the file that it stands in.
    keys: Vec<(String, PathBuf)>,
    /// The merged definition as JSON.
    pub(in crate::task) json: Value,
}

impl DefinitionFile {
    /// `file:line:column` of a place under a top-level key.
    pub(in crate::task) fn place(&self, key: &str, place: Place) -> String {
        let found = self.keys.iter().find(|(name, _)| name == key);
        place.of(found.map_or(&self.path, |(_, file)| file))
    }

    /// The error for a mistake under a top-level key, with its place.
    pub(in crate::task) fn error(&self, key: &str, place: Place, mistake: Mistake) -> Error {
        let found = self.keys.iter().find(|(name, _)| name == key);
        mistake.under(key).at(place).into_error(found.map_or(&self.path, |(_, file)| file))
    }
}

/// Keys that a group writes over those of its tasks, and the path of the group's file.
#[derive(Clone, Debug, Default)]
pub(in crate::task) struct Overrides {
    pub(in crate::task) entries: Vec<(Node, Node)>,
    pub(in crate::task) file: PathBuf,
}

/// Most files that one file may include, repeats counted: files that include two others each soon add up.
const MOST: usize = 1_000;

/// Reads a task with all that it includes, then writes `over` over it.
pub(in crate::task) fn read(path: &Path, over: &Overrides) -> Result<DefinitionFile> {
    let (node, mut keys) = merged::<Definition>(path, &mut IncludeChain::default())?;
    let NodeKind::Block(mut entries) = node.kind else { unreachable!("what includes merge into is a block") };
    for entry in &over.entries {
        let NodeKind::Text(key) = entry.0.kind.clone() else { unreachable!("a key that is not text was refused") };
        put(&mut entries, &mut keys, entry.clone(), (key, over.file.clone()));
    }
    let node = Node { place: node.place, kind: NodeKind::Block(entries) };
    // Each file and `over` were checked on their own, so the whole is valid too.
    let definition = Definition::deserialize(&node).map_err(|mistake| mistake.into_error(path))?;
    let json = Value::deserialize(&node).map_err(|mistake| mistake.into_error(path))?;
    Ok(DefinitionFile { definition, path: path.to_owned(), keys, json })
}

/// Reads a task from text, without includes; `name` stands for its path in messages.
pub(in crate::task) fn read_str(name: &Path, text: &str) -> Result<DefinitionFile> {
    let fail = |mistake: Mistake| mistake.seen_in(text).into_error(name);
    let node = Node::parse_tagged(text).map_err(fail)?;
    let definition = Definition::deserialize(&node).map_err(fail)?;
    let json = Value::deserialize(&node).map_err(fail)?;
    Ok(DefinitionFile { definition, path: name.to_owned(), keys: Vec::new(), json })
}

/// Reads a file with all that it includes, as YAML without the rules of a task.
pub(in crate::task) fn tree(path: &Path) -> Result<Node> {
    merged::<Value>(path, &mut IncludeChain::default()).map(|(node, _)| node)
}

/// The files that include the current one, and the number of files included so far.
#[derive(Default)]
struct IncludeChain {
    open: Vec<PathBuf>,
    read: usize,
}

/// Reads a file and lays its keys over those of the files that it includes.
fn merged<T: DeserializeOwned>(path: &Path, including: &mut IncludeChain) -> Result<(Node, Vec<(String, PathBuf)>)> {
    let text = read_text(path)?;
    let fail = |mistake: Mistake| mistake.seen_in(&text).into_error(path);
    let mut node = Node::parse_tagged(&text).map_err(fail)?;
    let includes = node.take("include");
    T::deserialize(&node).map_err(fail)?;
    let NodeKind::Block(own) = node.kind else {
        return Err(fail(Mistake::new("expected `key: value` pairs").at(node.place)));
    };
    let (mut entries, mut keys) = (Vec::new(), Vec::new());
    if let Some(includes) = includes {
        including.open.push(path.canonicalize().unwrap_or_else(|_| path.to_owned()));
        let names: Vec<String> = match &includes.kind {
            NodeKind::Text(name) => vec![name.clone()],
            _ => Vec::deserialize(&includes).map_err(|mistake| mistake.under("include").into_error(path))?,
        };
        for name in names {
            let at = |message: String| Mistake::new(message).under("include").at(includes.place);
            let file = path.with_file_name("").join(&name);
            if file.is_dir() || !is_there(&file) {
                let missing = at(format!("there is no file {}", file.display()));
                return Err(missing.hint("included files are looked for beside the file").into_error(path));
            }
            if including.open.contains(&file.canonicalize().unwrap_or_else(|_| file.clone())) {
                return Err(at(format!("{name} includes itself in a circle")).into_error(path));
            }
            including.read += 1;
            if including.read > MOST {
                return Err(at(format!("more than {MOST} files are included")).into_error(path));
            }
            let (included, files) = merged::<T>(&file, including)?;
            let NodeKind::Block(included) = included.kind else { unreachable!("what includes merge into is a block") };
            for (entry, key) in included.into_iter().zip(files) {
                put(&mut entries, &mut keys, entry, key);
            }
        }
        including.open.pop();
    }
    for entry in own {
        let NodeKind::Text(key) = entry.0.kind.clone() else { unreachable!("a key that is not text was refused") };
        put(&mut entries, &mut keys, entry, (key, path.to_owned()));
    }
    Ok((Node { place: node.place, kind: NodeKind::Block(entries) }, keys))
}

/// Sets a key as a Python `dict` does: a known key keeps its place and gets the new value.
fn put(
    entries: &mut Vec<(Node, Node)>,
    keys: &mut Vec<(String, PathBuf)>,
    entry: (Node, Node),
    key: (String, PathBuf),
) {
    if let Some(found) = keys.iter().position(|(name, _)| *name == key.0) {
        (entries[found], keys[found]) = (entry, key);
    } else {
        entries.push(entry);
        keys.push(key);
    }
}
