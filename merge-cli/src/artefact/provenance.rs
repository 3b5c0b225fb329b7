//! `evomerge.json`: what was made of what, so that a merge can be proved and made again.

use merge_core::{
    error::{Error, Result},
    file,
    merge::sources::{Sources, short},
    recipe::Recipe,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Its name in the directory of a merge.
pub(crate) const FILE: &str = "evomerge.json";

/// What was made of what.
#[derive(Serialize, Deserialize)]
pub(crate) struct Provenance {
    /// The version that merged.
    pub(crate) evomerge: String,
    /// The recipe; its paths are relative to this file.
    pub(crate) recipe: String,
    /// What random masks were drawn from.
    pub(crate) seed: Option<u64>,
    /// Where it was computed.
    pub(crate) device: String,
    /// What was read.
    pub(crate) inputs: Vec<InputModel>,
    /// The SHA-256 of every file that was written beside this one and the card, by name.
    pub(crate) outputs: BTreeMap<String, String>,
}

/// A model that was read.
#[derive(Serialize, Deserialize)]
pub(crate) struct InputModel {
    /// What the recipe calls it; of a path that begins at the root, the last part.
    pub(crate) model: String,
    /// Where it was; likewise, as this file may be published.
    pub(crate) path: String,
    /// The SHA-256 of its files, by name.
    pub(crate) files: BTreeMap<String, String>,
}

impl Provenance {
    /// Of a merge that is written in `dir`. Of the sources, those that these documents name; the hashes are empty if nobody
    /// wants them.
    pub(crate) fn new(
        documents: &[Recipe],
        sources: &Sources,
        device: &str,
        dir: &Path,
        inputs: Vec<(String, BTreeMap<String, String>)>,
        outputs: BTreeMap<String, String>,
    ) -> Result<Self> {
        let file = dir.join(FILE);
        let moved: Vec<String> =
            documents.iter().map(|one| Ok(one.moved_to(&file)?.to_yaml())).collect::<Result<_>>()?;
        let mut hashes: BTreeMap<String, BTreeMap<String, String>> = inputs.into_iter().collect();
        // In the order in which the documents name them, which is that in which they are opened again to be held against this.
        let (mut inputs, mut named) = (Vec::new(), BTreeSet::new());
        for reference in documents.iter().flat_map(Recipe::references) {
            let is_of = |name: &str| name.strip_suffix(" (adapter)").unwrap_or(name) == reference.value;
            for (name, path) in sources.files().filter(|(name, _)| is_of(name)) {
                if named.insert(name) {
                    let files = hashes.remove(name).unwrap_or_default();
                    inputs.push(InputModel {
                        model: name.split('+').map(unplaced).collect::<Vec<_>>().join("+"),
                        path: unplaced(&path.to_string_lossy()),
                        files,
                    });
                }
            }
        }
        Ok(Self {
            evomerge: env!("CARGO_PKG_VERSION").to_owned(),
            recipe: moved.join("---\n"),
            seed: documents.iter().rev().find_map(|one| one.random.as_ref()).map(|random| random.seed),
            device: device.to_owned(),
            inputs,
            outputs,
        })
    }

    /// Reads that of a directory.
    pub(crate) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let text = file::read_text(&path).map_err(|e| {
            Error::io("read", &path, &e).or_hint("only what `evomerge merge` has written can be verified")
        })?;
        serde_json::from_str(&text).map_err(|e| Error::user(format!("{}: {e}", path.display())))
    }

    /// Why merging again could make something else of inputs that have not changed.
    pub(crate) fn why(&self) -> String {
        match env!("CARGO_PKG_VERSION") {
            this if this == self.evomerge => format!("the recipe in its {FILE} was changed since: merge again"),
            this => format!("it was merged by evomerge {}, and this is {this}: merge again", self.evomerge),
        }
    }

    /// What is in a merge's directory that the merge has not written, in order.
    pub(crate) fn strangers(&self, dir: &Path) -> Result<Vec<String>> {
        let unread = |e| Error::io("read", dir, &e);
        let mut strangers = Vec::new();
        for entry in fs::read_dir(dir).map_err(unread)? {
            let entry = entry.map_err(unread)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Without hashes nothing says what was written, but it was no directory.
            let listed = self.outputs.contains_key(&name) || (self.outputs.is_empty() && entry.path().is_file());
            if !listed && ![FILE, "README.md"].contains(&name.as_str()) {
                strangers.push(name);
            }
        }
        strangers.sort();
        Ok(strangers)
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain data") + "\n"
    }
}

/// A name as it is, but for a path from the root, which would say whose machine this is: of that the last part.
fn unplaced(name: &str) -> String {
    if Path::new(name).is_absolute() { short(name) } else { name.to_owned() }
}
