//! Runs a study with several seeds, to tell the search's effect from luck.

use super::{
    SearchCommand, StudyResult,
    place::check_seeds,
    publish::{known_table, write_table},
    seed_directory,
};
use crate::{
    draw::{line::Among, measure, screen, table},
    language::{Language, study as texts},
    study_report::{
        figures::{self, ReportedModels},
        judgement::{Finding, Judgement, TaskJudgement},
        names,
    },
};
use comfy_table::Cell;
use evaluator::statistics::Estimate;
use merge_core::{
    error::{Error, Result},
    file,
    search::Stage,
    store::Store,
    study::{Entry, Goal},
};
use serde::Deserialize;
use serde_json::json;
use std::{fmt::Display, ops::Range, path::Path};

/// Name of the table of all seeds.
const TABLE: &str = "result.json";

/// Runs the study with `seeds` seeds, one after the other, each in its own directory.
pub(super) fn run(job: &SearchCommand<'_>, seeds: u64) -> Result<()> {
    let output = job.output;
    let Some(Stage::Search(file)) = job.stages.last() else { unreachable!("the last document is a search") };
    let first = job.args.seed.unwrap_or(file.search.seed);
    let after = first.checked_add(seeds).ok_or_else(|| {
        Error::user(format!("{first} is too large for the first of {seeds} seeds")).hint("begin with a smaller seed")
    })?;
    check_seeds(output)?;
    let (path, known) = (output.join(TABLE), seeds_of(output));
    if !job.args.replace {
        check_replaced(output, &known, &(first..after))?;
    }
    let language = Language::chosen();
    let mut all: Vec<(u64, StudyResult)> = Vec::new();
    let mut among = Among::default();
    for seed in first..after {
        let number = seed - first + 1;
        let values: [(&str, &dyn Display); 3] = [("seed", &seed), ("number", &number), ("seeds", &seeds)];
        screen::say(&language.fill(&texts::SEED_OF, &values));
        among.labels = vec![language.fill(&texts::SEED_LABEL, &values)];
        let place = seed_directory(output, seed);
        all.push((seed, job.run(Some(seed), &place, &mut among, seeds - number)?));
    }
    let goals = &all[0].1.goals;
    let judgements: Vec<Judgement> =
        all.iter().map(|(_, ended)| Judgement::of(goals, &ReportedModels::of_findings(&ended.findings))).collect();
    let (table, result) = (table(goals, &all, language)?, figures::json(&result(goals, &all, &judgements)?));
    if job.args.json {
        screen::say(&table);
        screen::data(&result);
    } else {
        screen::data(&table);
    }
    let store = |seed: u64| Store::open(&seed_directory(output, seed).join("study"));
    let elsewhere =
        known.first().filter(|seed| **seed != first && seed_directory(output, **seed).join("study").is_dir());
    let earlier = elsewhere.map_or_else(|| Ok(Vec::new()), |seed| known_table(&store(*seed)?))?;
    write_table(&store(first)?, earlier, &path, &(result + "\n"))?;
    for sentence in sentences(&judgements, language) {
        screen::say(&language.fill(&texts::VERDICT, &[("said", &sentence)]));
    }
    screen::say(&language.fill(&texts::WRITTEN_SEEDS, &[("place", &output.display())]));
    Ok(())
}

/// Seeds in a directory's table; none if it is not a table.
fn seeds_of(output: &Path) -> Vec<u64> {
    #[derive(Deserialize)]
    struct Table {
        seeds: Vec<u64>,
    }
    let table = file::read_text(&output.join(TABLE)).ok().and_then(|text| serde_json::from_str(&text).ok());
    table.map_or_else(Vec::new, |Table { seeds }| seeds)
}

/// Refuses to replace a table whose seeds are not all among these.
fn check_replaced(output: &Path, known: &[u64], seeds: &Range<u64>) -> Result<()> {
    let Some(seed) = known.iter().find(|seed| !seeds.contains(seed)) else { return Ok(()) };
    let message = format!("{}: its table has seed {seed}, which is not among these", output.display());
    let hint = "choose another directory, include all seeds of the table, or replace the table with `--replace`";
    Err(Error::user(message).hint(hint))
}

/// Verdicts on the answer over all seeds.
fn sentences(judgements: &[Judgement], language: Language) -> Vec<String> {
    let seeds = judgements.len();
    let count = |of: &dyn Fn(&Judgement) -> bool| judgements.iter().filter(|one| of(one)).count();
    let of_task = |(number, task): (usize, &TaskJudgement)| {
        let with = |finding: Finding| count(&|one| one.tasks[number].best_parent.finding == finding);
        let (better, worse) = (with(Finding::Better), with(Finding::Worse));
        let (parent, name) = (&task.best_parent.name, &task.task);
        let values: [(&str, &dyn Display); 5] =
            [("parent", parent), ("task", name), ("better", &better), ("seeds", &seeds), ("worse", &worse)];
        language.fill(&texts::SEEDS_AGAINST_PARENT, &values)
    };
    let mut said: Vec<String> = judgements[0].tasks.iter().enumerate().map(of_task).collect();
    let better = count(&|one| !one.unbeaten().0.is_empty());
    let open = count(&|one| one.unbeaten().0.is_empty() && !one.unbeaten().1.is_empty());
    said.push(language.fill(&texts::SEEDS_WORTH, &[("better", &better), ("seeds", &seeds), ("open", &open)]));
    said
}

/// Rows of the table: the reported models, in the order of the first study.
fn entries(ended: &StudyResult) -> impl Iterator<Item = &Entry> {
    ReportedModels::of_findings(&ended.findings).entries().map(|(_, entry)| entry)
}

/// True if a model's scores depend on the seed.
fn varies(name: &str) -> bool {
    ["evolved", "random search"].contains(&name)
}

/// A model's estimates of a goal, one for each study.
fn values(name: &str, position: usize, goal: &Goal, all: &[(u64, StudyResult)]) -> Result<Vec<Estimate>> {
    let of = |(_, ended): &(u64, StudyResult)| {
        let entry = entries(ended).find(|entry| entry.name == name);
        entry.map(|entry| figures::estimate(goal, &entry.scores[position])).transpose()
    };
    all.iter().filter_map(|one| of(one).transpose()).collect()
}

/// Mean, standard deviation, minimum and maximum.
fn spread(values: &[f64]) -> [f64; 4] {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0)).sqrt();
    let (least, most) = values.iter().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
    [mean, deviation, least, most]
}

fn table(goals: &[Goal], all: &[(u64, StudyResult)], language: Language) -> Result<String> {
    let mut drawn = table::framed();
    let reported: Vec<(usize, &Goal)> = goals.iter().enumerate().filter(|(_, goal)| !goal.report.is_empty()).collect();
    let mut header = vec![String::new()];
    header.extend(
        reported.iter().map(|(_, goal)| format!("{}\n{}{}", goal.name, goal.metric, measure::unit(&goal.metric))),
    );
    drawn.set_header(header);
    for entry in entries(&all[0].1) {
        let mut row = vec![Cell::new(names::shown(&entry.name, language))];
        for (position, goal) in &reported {
            let estimates = values(&entry.name, *position, goal, all)?;
            let text = match estimates.first() {
                Some(only) if !varies(&entry.name) => measure::score(&goal.metric, only).replace('%', ""),
                _ => {
                    let values: Vec<f64> = estimates.iter().map(|estimate| estimate.value).collect();
                    let [mean, deviation, least, most] = spread(&values).map(|x| measure::number(&goal.metric, x));
                    format!("{mean} ± {deviation} ({least} to {most})")
                }
            };
            row.push(table::right(text));
        }
        drawn.add_row(row);
    }
    let items = figures::items(reported.iter().map(|(_, goal)| *goal), language);
    let over = language.fill(&texts::OVER_SEEDS, &[("seeds", &language.count(all.len(), &texts::SEED))]);
    Ok(format!("{drawn}\n{items}{}{over}", language.text(&texts::SEMICOLON)))
}

fn result(goals: &[Goal], all: &[(u64, StudyResult)], judgements: &[Judgement]) -> Result<serde_json::Value> {
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
    Ok(json!({ "seeds": seeds, "models": models, "verdicts": judgements }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study_report::judgement::tests::judgement;

    #[test]
    fn seeds_are_counted_by_what_each_proves() {
        let with = |winner: usize, soup: usize| {
            judgement(&[200], &[1.0], &[winner], &[("ja", &[60])], &[("greedy soup", &[soup])])
        };
        // Better than both; worse than the soup; perhaps as good as the soup; worse than both.
        let all = [with(120, 60), with(100, 140), with(100, 102), with(20, 60)];
        assert_eq!(
            sentences(&all, Language::En),
            [
                "better than the best parent, ja, on t1 with 3 of 4 seeds, worse with 1",
                "with 2 of 4 seeds, a baseline is better, so the search was not worth its cost; with 1, a baseline may be as good",
            ]
        );
    }
}
