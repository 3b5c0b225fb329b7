//! Choices: parts of a recipe for which the search takes one of several options, `{choose: [ties, dare_ties]}`.

use std::path::Path;

use super::{Choice, Template};
use crate::{
    method::method,
    recipe::from_tree,
    yaml::{Mistake, Node, NodeKind as Yaml, Place},
};

/// Largest number of combinations of choices: each is a recipe to check.
const MOST: usize = 256;

/// A choice in a tree.
struct FoundChoice {
    label: String,
    /// Path from the root: the number of an entry in each block or list.
    path: Vec<usize>,
    options: Vec<Node>,
    place: Place,
}

impl Template {
    /// Reads a recipe with holes and choices.
    pub(crate) fn read(tree: &Node, file: &Path) -> Result<Self, Mistake> {
        let mut found = Vec::new();
        find(tree, "", &mut Vec::new(), &mut found)?;
        let count = found.iter().try_fold(1usize, |count, choice| count.checked_mul(choice.options.len()));
        if count.is_none_or(|count| count > MOST) {
            let place = found.last().map_or(tree.place, |choice| choice.place);
            return Err(Mistake::new(format!("the choices have more than {MOST} combinations"))
                .hint("leave fewer things open at once")
                .at(place));
        }
        let mut variants = vec![tree.clone()];
        for choice in &found {
            let chosen = |variant: Node| {
                choice.options.iter().map(move |option| {
                    let mut variant = variant.clone();
                    *at(&mut variant, &choice.path) = option.clone();
                    if choice.label == "merge_method" {
                        remove_parameters(&mut variant, &unknown(option, &choice.options));
                    }
                    variant
                })
            };
            variants = variants.into_iter().flat_map(chosen).collect();
        }
        let read = |(number, variant): (usize, &Node)| {
            from_tree(variant, file).map_err(|mistake| mistake.with(&combination(&found, number)))
        };
        let variants = variants.iter().enumerate().map(read).collect::<Result<_, _>>()?;
        let choice = |FoundChoice { label, options, .. }: FoundChoice| {
            let options = options.iter().enumerate().map(|(number, option)| option_name(option, number)).collect();
            Choice { label, options }
        };
        Ok(Self { file: file.to_path_buf(), choices: found.into_iter().map(choice).collect(), variants })
    }
}

/// The options that a combination takes, as they are written; empty if there is no choice.
fn combination(found: &[FoundChoice], number: usize) -> String {
    let mut rest = number;
    let mut taken: Vec<String> = Vec::new();
    for FoundChoice { label, options, .. } in found.iter().rev() {
        let option = rest % options.len();
        rest /= options.len();
        taken.push(format!("`{label}: {}`", option_name(&options[option], option)));
    }
    taken.reverse();
    taken.join(" and ")
}

/// Finds all choices below a node.
fn find(node: &Node, label: &str, path: &mut Vec<usize>, found: &mut Vec<FoundChoice>) -> Result<(), Mistake> {
    let is_key = |key: &Node, name: &str| matches!(&key.kind, Yaml::Text(text) if text == name);
    match &node.kind {
        Yaml::Block(entries) if entries.iter().any(|(key, _)| is_key(key, "choose")) => {
            let refused = |mistake: Mistake| Err(mistake.under(label));
            if let Some((key, _)) = entries.iter().find(|(key, _)| !is_key(key, "choose")) {
                return refused(Mistake::new("a block with `choose` must not have other keys").at(key.place));
            }
            let options = &entries[0].1;
            let Yaml::List(list) = &options.kind else {
                let mistake = Mistake::new("expected a list of what to choose from").under("choose");
                return refused(mistake.at(options.place));
            };
            if list.len() < 2 {
                let mistake = Mistake::new("there is nothing to choose between").hint("give two or more");
                return refused(mistake.under("choose").at(options.place));
            }
            let mut nested = Vec::new();
            for option in list {
                find(option, label, path, &mut nested)?;
            }
            if let Some(inner) = nested.first() {
                return refused(
                    Mistake::new("a choice cannot contain another choice")
                        .hint("list all combinations")
                        .at(inner.place),
                );
            }
            let (label, path) = (label.to_owned(), path.clone());
            found.push(FoundChoice { label, path, options: list.clone(), place: node.place });
            Ok(())
        }
        Yaml::Block(entries) => entries.iter().enumerate().try_for_each(|(number, (key, value))| {
            let Yaml::Text(name) = &key.kind else { return Ok(()) };
            path.push(number);
            let label = if label.is_empty() { name.clone() } else { format!("{label}.{name}") };
            find(value, &label, path, found)?;
            path.pop();
            Ok(())
        }),
        Yaml::List(list) => list.iter().enumerate().try_for_each(|(number, value)| {
            path.push(number);
            find(value, &format!("{label}[{number}]"), path, found)?;
            path.pop();
            Ok(())
        }),
        _ => Ok(()),
    }
}

/// The node at the end of `path`.
fn at<'n>(node: &'n mut Node, path: &[usize]) -> &'n mut Node {
    path.iter().fold(node, |node, number| match &mut node.kind {
        Yaml::Block(entries) => &mut entries[*number].1,
        Yaml::List(list) => &mut list[*number],
        _ => unreachable!("the path was found in this tree"),
    })
}

/// The parameters that other methods of a choice have and the chosen one has not.
fn unknown(chosen: &Node, options: &[Node]) -> Vec<&'static str> {
    let params = |node: &Node| {
        let Yaml::Text(name) = &node.kind else { return None };
        Some(method(name)?.params())
    };
    let own = params(chosen).unwrap_or_default();
    let others = options.iter().filter_map(params).flatten();
    others.map(|param| param.name).filter(|name| own.iter().all(|param| param.name != *name)).collect()
}

/// Removes these keys from every block of parameters.
fn remove_parameters(node: &mut Node, names: &[&str]) {
    let is = |key: &Node, name: &str| matches!(&key.kind, Yaml::Text(text) if text == name);
    match &mut node.kind {
        Yaml::Block(entries) => {
            for (key, value) in entries {
                if let (true, Yaml::Block(parameters)) = (is(key, "parameters"), &mut value.kind) {
                    parameters.retain(|(key, _)| !names.iter().any(|name| is(key, name)));
                }
                remove_parameters(value, names);
            }
        }
        Yaml::List(list) => list.iter_mut().for_each(|value| remove_parameters(value, names)),
        _ => {}
    }
}

/// Name of an option: its text, or its number if it is more than a word.
fn option_name(option: &Node, number: usize) -> String {
    match &option.kind {
        Yaml::Text(text) => text.clone(),
        Yaml::Flag(value) => value.to_string(),
        Yaml::Whole(value) => value.to_string(),
        Yaml::Number(value) => value.to_string(),
        Yaml::Null | Yaml::List(_) | Yaml::Block(_) => format!("option {}", number + 1),
    }
}
