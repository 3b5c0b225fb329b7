//! Files of other programs, and parameters that stand where mergekit does not read them.

use std::path::Path;

use crate::{
    method::{METHODS, WITHOUT_EFFECT},
    yaml::{At, Mistake, Node, NodeKind},
};

/// Keys that show a file of another program, a description of the file, and a hint.
const FOREIGN: [(&[&str], &str, &str); 2] = [
    (
        &["experts", "gate_mode"],
        "this is a recipe of mergekit-moe, which makes a mixture of experts of several models",
        "evomerge cannot build a mixture of experts: build it with mergekit-moe; it can then be merged with others of its kind",
    ),
    (
        &["genome"],
        "this is a file of mergekit-evolve, not a recipe",
        "`evomerge search --from-mergekit FILE -o DIR` searches what it says",
    ),
];

/// Refuses a file of another program.
pub(crate) fn refuse_foreign(tree: &Node, file: &Path) -> Result<(), Mistake> {
    let NodeKind::Block(entries) = &tree.kind else { return Ok(()) };
    for (key, _) in entries {
        let NodeKind::Text(name) = &key.kind else { continue };
        if let Some((_, what, hint)) = FOREIGN.iter().find(|(keys, ..)| keys.contains(&name.as_str())) {
            let hint = hint.replace("FILE", &file.display().to_string());
            return Err(Mistake::new(*what).hint(hint).at(key.place));
        }
    }
    Ok(())
}

/// Moves parameters that stand beside `parameters` into it if they have no effect: published recipes have some.
///
/// Fails for any other parameter there, because mergekit ignores it.
pub(super) fn move_parameters_without_effect(mut tree: Node) -> Result<Node, Mistake> {
    let NodeKind::Block(entries) = &mut tree.kind else { return Ok(tree) };
    let mut beside = Vec::new();
    let mut position = 0;
    while position < entries.len() {
        let NodeKind::Text(name) = &entries[position].0.kind else {
            position += 1;
            continue;
        };
        if WITHOUT_EFFECT.iter().any(|(known, _)| known == name) {
            beside.push(entries.remove(position));
            continue;
        }
        if METHODS.iter().any(|method| method.params().iter().any(|param| param.name == name)) {
            let mistake = Mistake::new(format!("`{name}` is a parameter, and stands outside of `parameters`"));
            let hint = "mergekit ignores it there: write it under `parameters`, or remove it";
            return Err(mistake.hint(hint).at(entries[position].0.place));
        }
        position += 1;
    }
    let Some(place) = beside.first().map(|(key, _)| key.place) else { return Ok(tree) };
    let is_parameters =
        |(key, _): &&mut (Node, Node)| matches!(&key.kind, NodeKind::Text(name) if name == "parameters");
    match entries.iter_mut().find(is_parameters) {
        Some((_, Node { kind: NodeKind::Block(parameters), .. })) => {
            let is_new = |key: &Node, known: &[(Node, Node)]| {
                known.iter().all(
                    |(other, _)| !matches!((&key.kind, &other.kind), (NodeKind::Text(a), NodeKind::Text(b)) if a == b),
                )
            };
            for (key, value) in beside {
                if is_new(&key, parameters) {
                    parameters.push((key, value));
                }
            }
        }
        Some((_, node)) if matches!(node.kind, NodeKind::Null) => node.kind = NodeKind::Block(beside),
        // Any other kind is refused when the recipe is read.
        Some(_) => {}
        None => {
            let key = Node { place, kind: NodeKind::Text("parameters".to_owned()) };
            entries.push((key, Node { place, kind: NodeKind::Block(beside) }));
        }
    }
    Ok(tree)
}

/// The reason why a parameter has no effect in any method; `None` if it may have one.
pub(super) fn without_effect(key: &At<String>) -> Option<&'static str> {
    WITHOUT_EFFECT.iter().find(|(name, _)| *name == key.value).map(|(_, why)| *why)
}
