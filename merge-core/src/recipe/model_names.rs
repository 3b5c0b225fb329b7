//! Gives each model of a file one name, however its path is spelled there: `./in/a/` is `in/a`.

use std::collections::BTreeMap;

use crate::yaml::{Mistake, Node, NodeKind};

/// Keys whose value names models: one model, a list to choose from, or mergekit-evolve's list of all.
const KEYS: [&str; 7] = ["base_model", "lora", "model", "models", "path", "source", "tokenizer_source"];

/// Reads a text with one document, and unifies its models' names.
pub(crate) fn parse_unified(text: &str) -> Result<Node, Mistake> {
    let mut tree = Node::parse(text)?;
    unify(std::slice::from_mut(&mut tree));
    Ok(tree)
}

/// Replaces the different spellings of each model, in all documents of a file, by the shortest of them.
///
/// A name of a document is left as it is: with `./` before it, it is a path.
pub(crate) fn unify(documents: &mut [Node]) {
    let mut names = Vec::new();
    let mut spelled: BTreeMap<String, String> = BTreeMap::new();
    for document in &mut *documents {
        if let Some(Node { kind: NodeKind::Text(name), .. }) = document.clone().take("name") {
            names.push(name);
        }
        for_each_model_name(document, false, &mut |text| {
            let known = spelled.entry(normalized_path(text)).or_insert_with(|| text.clone());
            if text.len() < known.len() {
                known.clone_from(text);
            }
        });
    }
    let is_one = names.len() < 2 && documents.len() < 2;
    spelled.retain(|path, _| is_one || !names.contains(path));
    for document in documents {
        for_each_model_name(document, false, &mut |text| {
            if let Some(shortest) = spelled.get(&normalized_path(text)) {
                text.clone_from(shortest);
            }
        });
    }
}

/// Calls `take` for every text that names a model.
fn for_each_model_name(node: &mut Node, is_name: bool, take: &mut dyn FnMut(&mut String)) {
    match &mut node.kind {
        NodeKind::Text(text) if is_name => take(text),
        NodeKind::List(list) => list.iter_mut().for_each(|one| for_each_model_name(one, is_name, take)),
        NodeKind::Block(entries) => {
            for (key, value) in entries {
                let NodeKind::Text(key) = &key.kind else { continue };
                for_each_model_name(value, KEYS.contains(&key.as_str()) || (is_name && key == "choose"), take);
            }
        }
        _ => {}
    }
}

/// The path of a model, and of its adapter, without `.` and empty parts.
fn normalized_path(text: &str) -> String {
    let one = |path: &str| {
        if path.starts_with("hf://") {
            return path.to_owned();
        }
        let parts: Vec<&str> = path.split('/').filter(|part| !["", "."].contains(part)).collect();
        let root = if path.starts_with('/') { "/" } else { "" };
        format!("{root}{}", parts.join("/"))
    };
    text.split('+').map(one).collect::<Vec<_>>().join("+")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Unifies the documents of a text, then checks the models that they name.
    fn check(text: &str, expected: &[&str]) {
        let mut documents = Node::parse_all(text).unwrap();
        unify(&mut documents);
        let mut named = Vec::new();
        for document in &mut *documents {
            for_each_model_name(document, false, &mut |text| named.push(text.clone()));
        }
        assert_eq!(named, expected);
    }

    #[test]
    fn one_model_is_spelled_one_way() {
        check("base_model: ./in/a/\nmodels: [{model: in/a}, {model: in//./b}]", &["in/a", "in/a", "in//./b"]);
        check("models: [{model: {choose: [./a, a/]}}, {model: ./b}]", &["a/", "a/", "./b"]);
        check("models: [{model: ./m/+./l}, {model: {model: ./x, lora: m+l}}]", &["m+l", "./x", "m+l"]);
        check("models: [{model: /in/a/}, {model: in/a}, {model: /in/a}]", &["/in/a", "in/a", "/in/a"]);
        check("tokenizer: {source: ./a, tokens: {./a: {source: a}}}\nfilter: [{filter: ./a}]", &["a", "a"]);
    }

    #[test]
    fn a_path_is_not_taken_for_a_document() {
        check(
            "name: a\nmodels: [{model: ./b}, {model: b}]\n---\nmodels: [{model: ./a}, {model: a}]",
            &["b", "b", "./a", "a"],
        );
        check("name: a\nmodels: [{model: ./a}, {model: a}]", &["a", "a"]);
    }
}
