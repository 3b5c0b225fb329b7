//! Several documents in one search file: recipes and searches, whose results the later ones may merge.

use std::path::Path;

use super::{SearchFile, mergekit, no_search_block};
use crate::{
    error::Result,
    merge::sources::Library,
    recipe::{Recipe, from_tree, parse_unified, refuse_foreign, unify},
    yaml::{Mistake, Node, NodeKind},
};

/// A document of a search file.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// A recipe to merge.
    Recipe(Box<Recipe>),
    /// A search; later documents merge its answer.
    Search(Box<SearchFile>),
}

impl Stage {
    /// Reads all documents of the text of `file`; the last must be a search.
    ///
    /// Fails if one names a document that comes after it, or if any but the last has no name.
    pub fn parse_all(text: &str, file: &Path) -> Result<Vec<Self>> {
        let read = || {
            let mut nodes = Node::parse_all(text)?;
            if nodes.len() < 2 {
                nodes = vec![Node::parse(text)?];
            }
            unify(&mut nodes);
            nodes.iter().try_for_each(|node| refuse_foreign(node, file))?;
            // Checked first: a recipe's error for a hole would say that only a search fills holes.
            if let Some(last) = nodes.last().filter(|node| !is_search(node)) {
                return Err(no_search_block(
                    if nodes.len() == 1 { "this file" } else { "the last document" },
                    last,
                    file,
                ));
            }
            in_order(nodes.into_iter().map(|node| Self::of(node, file)).collect::<std::result::Result<_, _>>()?)
        };
        read().map_err(|mistake: Mistake| mistake.seen_in(text).into_error(file))
    }

    /// Reads a file of mergekit-evolve.
    ///
    /// Fails for a key that has no equivalent here, and names it.
    pub fn parse_mergekit(text: &str, file: &Path, library: &dyn Library) -> Result<Vec<Self>> {
        let tree = parse_unified(text).map_err(|mistake| mistake.seen_in(text).into_error(file))?;
        let tree = mergekit::converted(&tree, file, library)?;
        let read = SearchFile::of(tree, file).map_err(|mistake| mistake.into_error(file))?;
        Ok(vec![Self::Search(Box::new(read))])
    }

    fn of(node: Node, file: &Path) -> std::result::Result<Self, Mistake> {
        Ok(if is_search(&node) {
            Self::Search(Box::new(SearchFile::of(node, file)?))
        } else {
            Self::Recipe(Box::new(from_tree(&node, file)?))
        })
    }

    fn name(&self) -> Option<&crate::yaml::At<String>> {
        match self {
            Self::Recipe(recipe) => recipe.name.as_ref(),
            Self::Search(search) => search.template.first().name.as_ref(),
        }
    }

    /// True if it merges the model of this name.
    fn refers_to(&self, name: &str) -> bool {
        match self {
            Self::Recipe(recipe) => recipe.references().iter().any(|known| known.value == name),
            Self::Search(search) => {
                let variants = search.template.variants().iter();
                variants.flat_map(Recipe::references).any(|known| known.value == name)
            }
        }
    }

    fn begins(&self) -> crate::yaml::Place {
        match self {
            Self::Recipe(recipe) => recipe.merge_method.place,
            Self::Search(search) => search.template.first().merge_method.place,
        }
    }
}

/// True if a document has a `search` block.
fn is_search(node: &Node) -> bool {
    matches!(&node.kind, NodeKind::Block(entries) if entries.iter().any(|(key, _)| matches!(&key.kind, NodeKind::Text(key) if key == "search")))
}

fn in_order(mut stages: Vec<Stage>) -> std::result::Result<Vec<Stage>, Mistake> {
    let Some((_, before)) = stages.split_last() else { return Ok(stages) };
    if before.is_empty() {
        // In a file of one document the name has no meaning, and a model may have the same name.
        return Ok(stages);
    }
    if let Some(nameless) = before.iter().find(|stage| stage.name().is_none()) {
        return Err(Mistake::new("a document that others merge needs a name")
            .hint("write `name: …`, and list it among the models of a later document")
            .at(nameless.begins()));
    }
    let names: Vec<_> = stages.iter().filter_map(|stage| stage.name().cloned()).collect();
    for (number, name) in names.iter().enumerate() {
        if names[..number].contains(name) {
            return Err(Mistake::new(format!("two documents are named `{}`", name.value))
                .hint("give each a name of its own")
                .under("name")
                .at(name.place));
        }
        let is_plain = |letter: char| letter.is_alphanumeric() || "-_.".contains(letter);
        if !name.chars().all(is_plain) || name.starts_with('.') {
            return Err(Mistake::new(format!("`{}` cannot be the name of a directory", name.value))
                .hint("use letters, digits, `-` and `_`")
                .under("name")
                .at(name.place));
        }
        if let Some(early) = stages[..=number].iter().find(|stage| stage.refers_to(name)) {
            return Err(Mistake::new(format!("`{}` is used before it is made", name.value))
                .hint("put the document that makes it first")
                .at(early.begins()));
        }
    }
    let names: Vec<String> = names.into_iter().map(|name| name.value).collect();
    for stage in &mut stages {
        match stage {
            Stage::Recipe(recipe) => recipe.siblings.clone_from(&names),
            Stage::Search(search) => search.template.name_siblings(&names),
        }
    }
    Ok(stages)
}
