//! Several recipes in one file that refer to each other's results by name.

use std::path::Path;

use super::{Recipe, from_recipe, unify};
use crate::{
    error::Result,
    yaml::{At, Mistake, Node, read_text},
};

impl Recipe {
    /// Reads all recipes of a file, each after those whose results it merges. The last is the result of the file.
    ///
    /// Fails if there is no recipe, if two have the same name, if some refer to each other in a circle, or if more than
    /// one is the result because no other refers to it.
    pub fn read_all(path: &Path) -> Result<Vec<Self>> {
        Self::parse_all(&read_text(path)?, path)
    }

    /// Reads all recipes of the text of `file`, as [`Recipe::read_all`] does.
    pub fn parse_all(text: &str, file: &Path) -> Result<Vec<Self>> {
        let read = || {
            let mut nodes = Node::parse_all(text)?;
            if nodes.is_empty() {
                nodes.push(Node::parse(text)?);
            }
            unify(&mut nodes);
            let documents = nodes.into_iter().map(|node| from_recipe(node, file));
            let documents: Vec<Self> = documents.collect::<std::result::Result<_, _>>()?;
            // In a file of one document the name has no meaning, and a model may have the same name.
            if documents.len() == 1 { Ok(documents) } else { in_order(name_siblings(documents)?) }
        };
        read().map_err(|mistake: Mistake| mistake.seen_in(text).into_error(file))
    }

    /// The name or else the method, whose place stands for the document in errors.
    fn anchor(&self) -> &At<String> {
        self.name.as_ref().unwrap_or(&self.merge_method)
    }

    /// The document's name in an error.
    fn name_in_error(&self) -> String {
        self.name.as_ref().map_or_else(|| "a document without a name".to_owned(), |name| format!("`{}`", name.value))
    }

    fn refers_to(&self, other: &Self) -> bool {
        other.name.as_ref().is_some_and(|name| self.references().contains(&name))
    }
}

fn name_siblings(mut documents: Vec<Recipe>) -> std::result::Result<Vec<Recipe>, Mistake> {
    let names: Vec<At<String>> = documents.iter().filter_map(|document| document.name.clone()).collect();
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            return Err(Mistake::new(format!("two documents are named `{}`", name.value))
                .hint("give each a name of its own")
                .under("name")
                .at(name.place));
        }
    }
    let names: Vec<String> = names.into_iter().map(|name| name.value).collect();
    for document in &mut documents {
        document.siblings.clone_from(&names);
    }
    Ok(documents)
}

/// Sorts the documents so that each refers only to those before it.
fn in_order(mut left: Vec<Recipe>) -> std::result::Result<Vec<Recipe>, Mistake> {
    let results: Vec<&Recipe> = left.iter().filter(|one| !left.iter().any(|other| other.refers_to(one))).collect();
    if let [one, other, ..] = results[..] {
        let what = format!(
            "a file must have exactly one result, but no document refers to {} or to {}",
            one.name_in_error(),
            other.name_in_error()
        );
        return Err(Mistake::new(what)
            .hint("name one of them, and list it among the models of the other; or write two files")
            .at(other.anchor().place));
    }
    let mut ordered = Vec::new();
    while !left.is_empty() {
        let Some(next) = left.iter().position(|one| !left.iter().any(|other| one.refers_to(other))) else {
            // The result is no part of the circle; it may only wait for it.
            let circle = left.iter().filter(|one| left.iter().any(|other| other.refers_to(one)));
            let names: Vec<String> = circle.clone().map(Recipe::name_in_error).collect();
            let what = match &names[..] {
                [one] => format!("{one} refers to itself"),
                names => format!("{} refer to each other in a circle", names.join(", ")),
            };
            let place = circle.map(|one| one.anchor().place).next().unwrap_or_default();
            return Err(Mistake::new(what)
                .hint("no document may use its own result, directly or through others")
                .at(place));
        };
        ordered.push(left.remove(next));
    }
    Ok(ordered)
}
