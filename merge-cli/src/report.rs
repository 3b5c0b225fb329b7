//! Results as people and programs read them: a table with intervals, and `result.json`.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use evaluator::statistics::{Estimate, PairedDifference};
use merge_core::{
    error::{Error, Result},
    evolve::{self, Entry, Findings, Goal},
    item::ItemScore,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A model's scores: `E` of `result.json`. Values lie between 0 and 1.
#[derive(Serialize)]
pub(crate) struct Scored {
    name: String,
    scores: BTreeMap<String, TaskScore>,
}

#[derive(Serialize)]
struct TaskScore {
    metric: String,
    #[serde(flatten)]
    estimate: Estimate,
}

/// A model's scores with their intervals.
///
/// Fails if a task has fewer than two items, since nothing is said without an interval.
pub(crate) fn entry(entry: &Entry, goals: &[Goal]) -> Result<Scored> {
    let score = |(goal, scores): (&Goal, &Vec<ItemScore>)| {
        let metric = goal.metric.clone();
        Ok((goal.name.clone(), TaskScore { metric, estimate: estimate(goal, scores)? }))
    };
    let scores = reported(goals, entry).map(score).collect::<Result<_>>()?;
    Ok(Scored { name: entry.name.clone(), scores })
}

/// All of `result.json`; `study` is what the caller knows of the search.
pub(crate) fn result(findings: &Findings, goals: &[Goal], study: &Value) -> Result<Value> {
    let all = |entries: &[Entry]| entries.iter().map(|e| entry(e, goals)).collect::<Result<Vec<_>>>();
    let (winner, parents, baselines) = (&findings.winner.1, &findings.parents, &findings.baselines);
    let mut study = study.clone();
    let best = best_parent(parents, goals);
    study["best_parent"] = json!(best.name);
    study["differences_to_best_parent"] = differences(winner, best, goals)
        .into_iter()
        .map(|(goal, difference)| (goal.name.clone(), json!(difference)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    Ok(
        json!({ "winner": entry(winner, goals)?, "parents": all(parents)?, "baselines": all(baselines)?, "study": study }),
    )
}

/// JSON as it is printed and written.
pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).expect("results are plain data")
}

/// The parent with the best fitness on report items; the first of them if several have it.
pub(crate) fn best_parent<'a>(parents: &'a [Entry], goals: &[Goal]) -> &'a Entry {
    let fitness = |entry: &Entry| evolve::fitness(goals, &entry.scores);
    parents.iter().rev().max_by(|a, b| fitness(a).total_cmp(&fitness(b))).expect("a recipe has a model")
}

/// A table of models, group by group: a column for each task and one for the paired difference to a model.
pub(crate) fn table(goals: &[Goal], groups: &[&[Entry]], reference: Option<&Entry>) -> Result<String> {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    let mut header = vec![String::new()];
    let columns = || goals.iter().filter(|goal| !goal.report.is_empty());
    for goal in columns() {
        header.push(format!("{}\n{} % [95% CI]", goal.name, goal.metric));
        if reference.is_some() && goal.weight > 0.0 {
            header.push("difference to\nbest parent".to_owned());
        }
    }
    table.set_header(header);
    for entry in groups.iter().copied().flatten() {
        let mut row = vec![Cell::new(&entry.name)];
        let reference = reference.map(|reference| reported(goals, reference));
        let mut reference = reference.into_iter().flatten();
        for (goal, scores) in reported(goals, entry) {
            let Estimate { value, ci95: [low, high], .. } = estimate(goal, scores)?;
            let text = format!("{:.1} [{:.1}, {:.1}]", 100.0 * value, 100.0 * low, 100.0 * high);
            row.push(Cell::new(text).set_alignment(CellAlignment::Right));
            let reference = reference.next().filter(|_| goal.weight > 0.0);
            row.extend(
                reference.map(|(_, other)| Cell::new(versus(scores, other)).set_alignment(CellAlignment::Right)),
            );
        }
        table.add_row(row);
    }
    let items: Vec<String> = columns().map(|goal| format!("{} on {} items", goal.name, goal.report.len())).collect();
    Ok(format!("{table}\n{}", items.join(", ")))
}

/// `58.2% [53.8, 62.5]`.
pub(crate) fn percent(estimate: &Estimate) -> String {
    let [low, high] = estimate.ci95;
    format!("{:.1}% [{:.1}, {:.1}]", 100.0 * estimate.value, 100.0 * low, 100.0 * high)
}

/// A goal's score with its interval. Fails if it has fewer than two items.
pub(crate) fn estimate(goal: &Goal, scores: &[ItemScore]) -> Result<Estimate> {
    let few = || Error::user(format!("task {} has {} items: too few for an interval", goal.name, scores.len()));
    Estimate::of(&values(scores)).ok_or_else(few)
}

/// The paired differences of two models on the goals of a search.
pub(crate) fn differences<'g>(a: &'g Entry, b: &'g Entry, goals: &'g [Goal]) -> Vec<(&'g Goal, PairedDifference)> {
    let paired = reported(goals, a).zip(reported(goals, b)).filter(|((goal, _), _)| goal.weight > 0.0);
    paired.filter_map(|((goal, a), (_, b))| Some((goal, PairedDifference::of(&values(a), &values(b))?))).collect()
}

/// The goals that are reported, with a model's scores.
pub(crate) fn reported<'a>(
    goals: &'a [Goal],
    entry: &'a Entry,
) -> impl Iterator<Item = (&'a Goal, &'a Vec<ItemScore>)> {
    goals.iter().zip(&entry.scores).filter(|(goal, _)| !goal.report.is_empty())
}

fn versus(scores: &[ItemScore], reference: &[ItemScore]) -> String {
    match PairedDifference::of(&values(scores), &values(reference)) {
        Some(d) if scores != reference => {
            format!("{:+.1} [{:+.1}, {:+.1}]", 100.0 * d.value, 100.0 * d.ci95[0], 100.0 * d.ci95[1])
        }
        _ => "—".to_owned(),
    }
}

/// The values of scores.
pub(crate) fn values(scores: &[ItemScore]) -> Vec<f64> {
    scores.iter().map(|score| score.value).collect()
}
