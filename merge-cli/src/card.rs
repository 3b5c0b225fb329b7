//! The model card: what was merged from what, how, and how good it is.

use crate::report;
use merge_core::{
    error::Result,
    evolve::{Entry, Findings, Goal},
    item::ItemScore,
    merge::{Sources, short},
    recipe::Recipe,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// SHA-256 by file name, by model.
pub(crate) type Hashes = [(String, BTreeMap<String, String>)];

/// The card of a merge without a search.
pub(crate) fn of_merge(recipe: &Recipe, sources: &Sources) -> Result<String> {
    let mut card = front_matter(recipe);
    writeln!(card, "# {}\n", title(recipe)).expect(STRING);
    writeln!(card, "Merged with evomerge {}.\n", env!("CARGO_PKG_VERSION")).expect(STRING);
    push_recipe(&mut card, recipe);
    push_inputs(&mut card, &sources.sha256()?);
    Ok(card)
}

/// The card of a search's winner: with its scores, their intervals, and what it was compared with.
pub(crate) fn of_search(findings: &Findings, goals: &[Goal], study: &Value, hashes: &Hashes) -> Result<String> {
    let (recipe, winner) = &findings.winner;
    let mut card = front_matter(recipe);
    writeln!(card, "# {}\n", title(recipe)).expect(STRING);
    let evaluations = &study["item_evaluations"];
    writeln!(
        card,
        "Evolved with evomerge {}: {} generations of {} candidates, {evaluations} item evaluations, seed {}.\n",
        env!("CARGO_PKG_VERSION"),
        study["generations"],
        study["population"],
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
    push_recipe(&mut card, recipe);
    push_inputs(&mut card, hashes);
    Ok(card)
}

const STRING: &str = "a String takes all that is written";

fn row(entry: &Entry, goals: &[Goal]) -> Result<String> {
    let cell = |(goal, scores): (&Goal, &Vec<ItemScore>)| report::estimate(goal, scores).map(|e| report::percent(&e));
    Ok(report::reported(goals, entry).map(cell).collect::<Result<Vec<_>>>()?.join(" | "))
}

/// The YAML that model hubs read.
fn front_matter(recipe: &Recipe) -> String {
    let mut models: Vec<&str> = recipe.base_model.iter().map(|base| base.as_str()).collect();
    models.extend(recipe.models.iter().map(|model| model.model.as_str()));
    let mut seen = BTreeSet::new();
    models.retain(|model| seen.insert(*model));
    let names: String = models.iter().fold(String::new(), |list, model| list + &format!("- {}\n", Value::from(*model)));
    format!("---\nbase_model:\n{names}library_name: transformers\ntags:\n- merge\n- evomerge\n---\n\n")
}

fn title(recipe: &Recipe) -> String {
    let names: Vec<_> = recipe.models.iter().map(|model| short(&model.model)).collect();
    format!("{} of {}", recipe.merge_method.value, names.join(", "))
}

fn push_recipe(card: &mut String, recipe: &Recipe) {
    writeln!(card, "## Recipe\n\n```yaml\n{}\n```\n", recipe.to_yaml().trim_end()).expect(STRING);
}

fn push_inputs(card: &mut String, hashes: &Hashes) {
    card.push_str("## Inputs\n\n| model | file | SHA-256 |\n|---|---|---|\n");
    for (model, files) in hashes {
        for (file, hash) in files {
            writeln!(card, "| {model} | {file} | `{hash}` |").expect(STRING);
        }
    }
}
