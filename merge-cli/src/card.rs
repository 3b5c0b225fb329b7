//! The model card: what was merged from what, how, and how good it is.

use crate::{licence::Licences, provenance::Provenance, report};
use merge_core::{
    error::Result,
    evolve::{Entry, Findings, Goal},
    item::ItemScore,
    recipe::Recipe,
    sources::short,
};
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Write as _};

/// SHA-256 by file name, by model.
pub(crate) type Hashes = [(String, BTreeMap<String, String>)];

/// The card of a merge without a search.
pub(crate) fn of_merge(documents: &[Recipe], licences: &Licences, provenance: &Provenance) -> String {
    let recipe = documents.last().expect("a file has a document");
    let mut card = front_matter(documents, licences);
    writeln!(card, "# {}\n", title(recipe)).expect(STRING);
    writeln!(card, "Merged with evomerge {}.\n", env!("CARGO_PKG_VERSION")).expect(STRING);
    push_licences(&mut card, licences);
    writeln!(card, "## Recipe\n\n```yaml\n{}\n```\n", provenance.recipe.trim_end()).expect(STRING);
    let hashes: Vec<_> = provenance.inputs.iter().map(|input| (input.model.clone(), input.files.clone())).collect();
    push_inputs(&mut card, &hashes);
    card
}

/// The card of a search's winner: with its scores, their intervals, and what it was compared with.
pub(crate) fn of_search(
    findings: &Findings,
    goals: &[Goal],
    study: &Value,
    licences: &Licences,
    hashes: &Hashes,
) -> Result<String> {
    let (recipe, winner) = &findings.winner;
    let mut card = front_matter(std::slice::from_ref(recipe), licences);
    writeln!(card, "# {}\n", title(recipe)).expect(STRING);
    let evaluations = &study["item_evaluations"];
    writeln!(
        card,
        "Evolved with evomerge {}: {} candidates in {} generations, {evaluations} item evaluations, seed {}.\n",
        env!("CARGO_PKG_VERSION"),
        study["candidates"],
        study["generations"],
        study["seed"],
    )
    .expect(STRING);
    writeln!(card, "## Scores\n\nOn held-out items that the search never used; 95% intervals in brackets.\n")
        .expect(STRING);
    let named = |goal: &Goal| format!("{} ({}, n = {})", goal.name, goal.metric, goal.report.len());
    let names: Vec<String> = report::reported(goals, winner).map(|(goal, _)| named(goal)).collect();
    writeln!(card, "| model | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len())).expect(STRING);
    for entry in findings.parents.iter().chain(&findings.baselines).chain([winner]) {
        writeln!(card, "| {} | {} |", entry.name, row(entry, goals)?).expect(STRING);
    }
    let best = report::best_parent(&findings.parents, goals);
    for (goal, d) in report::differences(winner, best, goals) {
        let [low, high] = d.ci95.map(|bound| 100.0 * bound);
        let (name, points) = (&goal.name, 100.0 * d.value);
        writeln!(
            card,
            "\nOn {name} it is {points:+.1} points [{low:+.1}, {high:+.1}] from the best parent, {}, item by item.",
            best.name
        )
        .expect(STRING);
    }
    card.push('\n');
    push_licences(&mut card, licences);
    writeln!(card, "## Recipe\n\n```yaml\n{}\n```\n", recipe.to_yaml().trim_end()).expect(STRING);
    push_inputs(&mut card, hashes);
    Ok(card)
}

const STRING: &str = "a String takes all that is written";

fn row(entry: &Entry, goals: &[Goal]) -> Result<String> {
    let cell = |(goal, scores): (&Goal, &Vec<ItemScore>)| report::estimate(goal, scores).map(|e| report::percent(&e));
    Ok(report::reported(goals, entry).map(cell).collect::<Result<Vec<_>>>()?.join(" | "))
}

/// The YAML that model hubs read.
fn front_matter(documents: &[Recipe], licences: &Licences) -> String {
    let mut models: Vec<&str> = Vec::new();
    for document in documents {
        // What another document makes is no model that anybody could get.
        let named = document.references().into_iter().filter(|name| !document.siblings.contains(&name.value));
        for name in named.map(|name| name.as_str()) {
            if !models.contains(&name) {
                models.push(name);
            }
        }
    }
    let names: String = models.iter().fold(String::new(), |list, name| list + &format!("- {}\n", Value::from(*name)));
    let licence: String = licences.front_matter().iter().fold(String::new(), |lines, line| lines + line + "\n");
    format!("---\n{licence}base_model:\n{names}library_name: transformers\ntags:\n- merge\n- evomerge\n---\n\n")
}

fn title(recipe: &Recipe) -> String {
    let names: Vec<_> = recipe.references().iter().map(|name| short(name)).collect();
    format!("{} of {}", recipe.merge_method.value, names.join(", "))
}

fn push_licences(card: &mut String, licences: &Licences) {
    writeln!(card, "## Licence\n\n{}\n", licences.line()).expect(STRING);
    if let Some(restriction) = licences.restriction() {
        writeln!(card, "**{restriction}**\n").expect(STRING);
    }
}

fn push_inputs(card: &mut String, hashes: &Hashes) {
    card.push_str("## Inputs\n\n| model | file | SHA-256 |\n|---|---|---|\n");
    for (model, files) in hashes {
        for (file, hash) in files {
            writeln!(card, "| {model} | {file} | `{hash}` |").expect(STRING);
        }
    }
}
