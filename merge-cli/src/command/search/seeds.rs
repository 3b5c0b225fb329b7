//! The same study with several seeds: what of a result is the search's, and what is luck.

use super::{Ended, Job, check_place, of_seed};
use crate::{report, screen};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use evaluator::statistics::Estimate;
use merge_core::{
    error::Result,
    evolve::{Entry, Goal},
    export,
    search::Stage,
};
use serde_json::json;

/// Runs the study with so many seeds, one after the other, each in a directory of its own; false if interrupted.
pub(super) fn run(job: &Job<'_>, seeds: u64) -> Result<bool> {
    let output = &job.args.output;
    check_place(output)?;
    let Some(Stage::Search(file)) = job.stages.last() else { unreachable!("the last document is a search") };
    let first = job.args.seed.unwrap_or(file.search.seed);
    let mut all: Vec<(u64, Ended)> = Vec::new();
    for seed in first..first + seeds {
        screen::say(&format!("seed {seed}, {} of {seeds}", seed - first + 1));
        let Some(ended) = job.run(Some(seed), &of_seed(output, seed))? else { return Ok(false) };
        all.push((seed, ended));
    }
    let goals = &all[0].1.goals;
    let (table, result) = (table(goals, &all)?, report::json(&result(goals, &all)?));
    if job.args.json {
        screen::say(&table);
        screen::data(&result);
    } else {
        screen::data(&table);
    }
    export::replace_file(&output.join("result.json"), &(result + "\n"))?;
    let place = output.display();
    screen::say(&format!("{place}/seed-* hold the studies, {place}/result.json these figures"));
    Ok(true)
}

/// The tables' rows: who is reported, by name, in the order of the first study.
fn entries(ended: &Ended) -> impl Iterator<Item = &Entry> {
    let found = &ended.findings;
    found.parents.iter().chain(&found.baselines).chain([&found.winner.1])
}

/// Whether a model's scores depend on the seed.
fn varies(name: &str) -> bool {
    ["evolved", "random search"].contains(&name)
}

/// The values of a goal, in percent, of the model of this name in every study.
fn values(name: &str, position: usize, goal: &Goal, all: &[(u64, Ended)]) -> Result<Vec<Estimate>> {
    let of = |(_, ended): &(u64, Ended)| {
        let entry = entries(ended).find(|entry| entry.name == name);
        entry.map(|entry| report::estimate(goal, &entry.scores[position])).transpose()
    };
    all.iter().filter_map(|one| of(one).transpose()).collect()
}

/// Mean, standard deviation, least and most.
fn spread(values: &[f64]) -> [f64; 4] {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0)).sqrt();
    let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
    [mean, deviation, least, most]
}

fn table(goals: &[Goal], all: &[(u64, Ended)]) -> Result<String> {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    let reported: Vec<(usize, &Goal)> = goals.iter().enumerate().filter(|(_, goal)| !goal.report.is_empty()).collect();
    let mut header = vec![String::new()];
    header.extend(reported.iter().map(|(_, goal)| format!("{}\n{} %", goal.name, goal.metric)));
    table.set_header(header);
    for entry in entries(&all[0].1) {
        let mut row = vec![Cell::new(&entry.name)];
        for (position, goal) in &reported {
            let estimates = values(&entry.name, *position, goal, all)?;
            let text = match estimates.first() {
                Some(only) if !varies(&entry.name) => report::percent(only).replace('%', ""),
                _ => {
                    let percent: Vec<f64> = estimates.iter().map(|estimate| 100.0 * estimate.value).collect();
                    let [mean, deviation, least, most] = spread(&percent);
                    format!("{mean:.1} ± {deviation:.1} ({least:.1} to {most:.1})")
                }
            };
            row.push(Cell::new(text).set_alignment(CellAlignment::Right));
        }
        table.add_row(row);
    }
    let items: Vec<String> =
        reported.iter().map(|(_, goal)| format!("{} on {} items", goal.name, goal.report.len())).collect();
    let seeds = all.len();
    Ok(format!(
        "{table}\n{}; mean ± standard deviation (least to most) over {seeds} seeds, [95% interval] over items elsewhere",
        items.join(", ")
    ))
}

fn result(goals: &[Goal], all: &[(u64, Ended)]) -> Result<serde_json::Value> {
    let mut models = Vec::new();
    for entry in entries(&all[0].1) {
        let mut scores = serde_json::Map::new();
        for (position, goal) in goals.iter().enumerate().filter(|(_, goal)| !goal.report.is_empty()) {
            let estimates = values(&entry.name, position, goal, all)?;
            let [mean, deviation, least, most] = spread(&estimates.iter().map(|e| e.value).collect::<Vec<_>>());
            let by_seed: Vec<_> = estimates.iter().map(|estimate| json!(estimate)).collect();
            let value = json!({ "metric": goal.metric, "mean": mean, "sd": deviation, "min": least, "max": most, "seeds": by_seed });
            scores.insert(goal.name.clone(), value);
        }
        models.push(json!({ "name": entry.name, "scores": scores }));
    }
    let seeds: Vec<u64> = all.iter().map(|(seed, _)| *seed).collect();
    Ok(json!({ "seeds": seeds, "models": models }))
}
