//! The model card: what was merged, how, and how well it scores.

mod names;

use crate::{
    artefact::licence::Licences,
    draw::{measure, screen},
    language::Language,
    study_report::{
        figures::{self, ReportedModels},
        judgement::{self, Judgement},
    },
};
use merge_core::{
    error::Result,
    merge::sources::short,
    recipe::Recipe,
    study::{Entry, Findings, Goal},
};
use names::ModelNames;
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Write as _};

/// SHA-256 by file name, for each model.
pub(crate) type Hashes = [(String, BTreeMap<String, String>)];

/// The card of a merge without a search.
pub(crate) fn of_merge(documents: &[Recipe], licences: &Licences, hashes: &Hashes) -> String {
    let names = ModelNames::of(documents);
    let mut card = front_matter(&names, licences);
    writeln!(card, "# {}\n", title(documents, &names)).expect(STRING);
    writeln!(card, "Merged with evomerge {}.\n", env!("CARGO_PKG_VERSION")).expect(STRING);
    push_models(&mut card, &names);
    push_licences(&mut card, licences);
    push_recipe(&mut card, documents, &names);
    push_inputs(&mut card, hashes, &names);
    card
}

/// The card of a search's answer: with its scores, their intervals, and comparisons.
pub(crate) fn of_search(
    findings: &Findings,
    earlier: &[Recipe],
    goals: &[Goal],
    seed: u64,
    licences: &Licences,
    hashes: &Hashes,
) -> Result<String> {
    let (recipe, reported) = (&findings.winner.0, ReportedModels::of_findings(findings));
    let documents: Vec<Recipe> = earlier.iter().chain([recipe]).cloned().collect();
    let called = ModelNames::of(&documents);
    let mut card = front_matter(&called, licences);
    writeln!(card, "# {}\n", title(&documents, &called)).expect(STRING);
    let history = &findings.history;
    writeln!(
        card,
        "Evolved with evomerge {}: {} in {}, {}, seed {}.\n",
        env!("CARGO_PKG_VERSION"),
        screen::counted(history.candidates(), "candidate"),
        screen::counted(history.generations.len(), "generation"),
        screen::counted(history.item_evaluations, "item evaluation"),
        seed,
    )
    .expect(STRING);
    writeln!(card, "## Scores\n\nOn held-out items that the search never used; 95% intervals in brackets.\n")
        .expect(STRING);
    let named = |position: usize| {
        let goal = &goals[position];
        format!("{} ({}, n = {})", goal.name, goal.metric, goal.report.len())
    };
    let names: Vec<String> = figures::positions(goals).map(named).collect();
    writeln!(card, "| model | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len())).expect(STRING);
    for (_, entry) in reported.entries() {
        writeln!(card, "| {} | {} |", called.name(&entry.name), row(entry, goals)?).expect(STRING);
    }
    for goal in goals.iter().filter(|goal| goal.whole) {
        writeln!(
            card,
            "\n{} is one number for a model. It has no interval, and the search may have gone by it.",
            goal.name
        )
        .expect(STRING);
    }
    push_verdict(&mut card, goals, &reported, &called);
    card.push('\n');
    push_models(&mut card, &called);
    push_licences(&mut card, licences);
    push_recipe(&mut card, &documents, &called);
    push_inputs(&mut card, hashes, &called);
    Ok(card)
}

/// True if a text looks like the card of a search.
pub(crate) fn is_of_search(text: &str) -> bool {
    text.contains("\nEvolved with evomerge ")
}

const STRING: &str = "a String takes all that is written";

fn row(entry: &Entry, goals: &[Goal]) -> Result<String> {
    let cell = |position: usize| {
        let goal = &goals[position];
        figures::estimate(goal, &entry.scores[position]).map(|estimate| measure::score(&goal.metric, &estimate))
    };
    Ok(figures::positions(goals).map(cell).collect::<Result<Vec<_>>>()?.join(" | "))
}

/// Appends the verdict on the answer, good or bad.
fn push_verdict(card: &mut String, goals: &[Goal], reported: &ReportedModels<'_>, called: &ModelNames) {
    let judgement = Judgement::of(goals, reported);
    card.push_str("\n## Verdict\n\nThe answer is\n\n");
    for sentence in judgement.sentences(Language::En) {
        writeln!(card, "- {sentence}").expect(STRING);
    }
    for task in &judgement.tasks {
        writeln!(card, "\n| on {}, item by item | difference | p (Holm) |\n|---|---|---|", task.task).expect(STRING);
        for (rival, name) in task.rivals(Language::En, &|name| called.name(name)) {
            let finding = rival.finding.says(&name, Language::En);
            let difference = measure::difference(&task.metric, &rival.difference);
            writeln!(card, "| {finding} | {difference} | {} |", figures::probability(rival.p_holm)).expect(STRING);
        }
    }
    for note in judgement::few_items(goals, Language::En) {
        writeln!(card, "\n{note}").expect(STRING);
    }
}

/// The YAML that model hubs read. It may name only models of the hub.
fn front_matter(names: &ModelNames, licences: &Licences) -> String {
    let mut text = "---\n".to_owned();
    licences.front_matter().iter().for_each(|line| writeln!(text, "{line}").expect(STRING));
    if !names.on_hub.is_empty() {
        text.push_str("base_model:\n");
        names.on_hub.iter().for_each(|name| writeln!(text, "- {}", Value::from(name.as_str())).expect(STRING));
        text.push_str("base_model_relation: merge\n");
    }
    text + "library_name: transformers\ntags:\n- merge\n- evomerge\n---\n\n"
}

fn title(documents: &[Recipe], names: &ModelNames) -> String {
    let recipe = documents.last().expect("a file has a document");
    let last = |name: &str| name.split('+').map(short).collect::<Vec<_>>().join("+");
    let names: Vec<_> = recipe.references().iter().map(|name| last(&names.name(name))).collect();
    format!("{} of {}", recipe.merge_method.value, names.join(", "))
}

fn push_models(card: &mut String, names: &ModelNames) {
    card.push_str("## Models\n\n");
    if let Some(base) = &names.base {
        writeln!(card, "- {base} (base)").expect(STRING);
    }
    names.merged.iter().for_each(|name| writeln!(card, "- {name}").expect(STRING));
    card.push('\n');
}

fn push_recipe(card: &mut String, documents: &[Recipe], names: &ModelNames) {
    let texts: Vec<String> =
        documents.iter().map(|document| document.renamed(&|name| names.name(name)).to_yaml()).collect();
    writeln!(card, "## Recipe\n\n```yaml\n{}\n```\n", texts.join("---\n").trim_end()).expect(STRING);
    if names.has_files {
        card.push_str("Models that are not on the hub are named by the last part of their paths.\n\n");
    }
}

fn push_licences(card: &mut String, licences: &Licences) {
    writeln!(card, "## Licence\n\n{}\n", licences.line()).expect(STRING);
    if let Some(restriction) = licences.restriction() {
        writeln!(card, "**{restriction}**\n").expect(STRING);
    }
}

fn push_inputs(card: &mut String, hashes: &Hashes, names: &ModelNames) {
    card.push_str("## Inputs\n\n| model | file | SHA-256 |\n|---|---|---|\n");
    for (model, files) in hashes {
        let model = names.name(model);
        for (file, hash) in files {
            writeln!(card, "| {model} | {file} | `{hash}` |").expect(STRING);
        }
    }
}
