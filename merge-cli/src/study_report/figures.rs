//! Results: a table with intervals for people, and `result.json` for programs.

use crate::{
    draw::{measure, table},
    language::{Language, study as texts},
    study_report::{
        judgement::{Judgement, Rival},
        names,
    },
};
use comfy_table::Cell;
use evaluator::statistics::{Estimate, PairedDifference};
use merge_core::{
    error::{Error, Result},
    item::{ItemScore, mean},
    study::{Ending, Entry, Findings, Goal},
};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A model's scores in `result.json`. Values lie between 0 and 1.
#[derive(Serialize)]
pub(crate) struct ScoredEntry {
    name: String,
    scores: BTreeMap<String, TaskScore>,
}

#[derive(Serialize)]
struct TaskScore {
    metric: String,
    #[serde(flatten)]
    estimate: Estimate,
}

/// Reported models, each with its scores on report items.
#[derive(Clone, Copy)]
pub(crate) struct ReportedModels<'a> {
    /// The merged models and their base.
    pub(crate) parents: &'a [Entry],
    /// Baselines, which the answer must beat.
    pub(crate) baselines: &'a [Entry],
    /// The answer.
    pub(crate) winner: &'a Entry,
}

impl<'a> ReportedModels<'a> {
    pub(crate) fn of_findings(found: &'a Findings) -> Self {
        Self { parents: &found.parents, baselines: &found.baselines, winner: &found.winner.1 }
    }

    pub(crate) fn of_ending(ending: &'a Ending) -> Self {
        Self { parents: &ending.parents, baselines: &ending.baselines, winner: &ending.winner }
    }

    /// All models with their groups, in the order of tables.
    pub(crate) fn entries(self) -> impl Iterator<Item = (&'static str, &'a Entry)> {
        let parents = self.parents.iter().map(|entry| ("parent", entry));
        let baselines = self.baselines.iter().map(|entry| ("baseline", entry));
        parents.chain(baselines).chain([("evolved", self.winner)])
    }
}

/// Scores of a model with their intervals.
///
/// Fails if a task has no items, since no score is shown without an interval.
pub(crate) fn entry(entry: &Entry, goals: &[Goal]) -> Result<ScoredEntry> {
    let score = |position: usize| {
        let goal = &goals[position];
        let estimate = estimate(goal, &entry.scores[position])?;
        Ok((goal.name.clone(), TaskScore { metric: goal.metric.clone(), estimate }))
    };
    let scores = positions(goals).map(score).collect::<Result<_>>()?;
    Ok(ScoredEntry { name: entry.name.clone(), scores })
}

/// Content of `result.json`; `study` is the description of the search.
pub(crate) fn result(reported: &ReportedModels<'_>, goals: &[Goal], study: &Value) -> Result<Value> {
    let all = |entries: &[Entry]| entries.iter().map(|e| entry(e, goals)).collect::<Result<Vec<_>>>();
    let judgement = Judgement::of(goals, reported);
    let mut study = study.clone();
    let of_tasks = |value: &dyn Fn(&Rival) -> Value| -> Value {
        let tasks = judgement.tasks.iter().map(|task| (task.task.clone(), value(&task.best_parent)));
        tasks.collect::<serde_json::Map<_, _>>().into()
    };
    study["best_parents"] = of_tasks(&|parent| json!(parent.name));
    study["differences_to_best_parent"] = of_tasks(&|parent| json!(parent.difference));
    let (winner, parents) = (entry(reported.winner, goals)?, all(reported.parents)?);
    let baselines = all(reported.baselines)?;
    Ok(json!({ "winner": winner, "parents": parents, "baselines": baselines, "verdict": judgement, "study": study }))
}

pub(crate) use crate::draw::screen::json;

/// Positions of the reported goals.
pub(crate) fn positions(goals: &[Goal]) -> impl Iterator<Item = usize> {
    goals.iter().enumerate().filter(|(_, goal)| !goal.report.is_empty()).map(|(position, _)| position)
}

/// The parent with the best score on the report items of a goal; the first if several have it.
///
/// The parent is picked by the same items on which it is then compared, so its luck counts against
/// the answer: with several equally good parents, the expected difference is a little too small,
/// never too large.
pub(crate) fn best_parent(parents: &[Entry], position: usize) -> &Entry {
    let score = |entry: &Entry| mean(&entry.scores[position]).unwrap_or(f64::NEG_INFINITY);
    parents.iter().rev().max_by(|a, b| score(a).total_cmp(&score(b))).expect("a recipe has a model")
}

/// Table of all reported models: a column for each task and, if it was maximised, one for the
/// paired difference to the parent that is best on it.
pub(crate) fn table(goals: &[Goal], reported: &ReportedModels<'_>, language: Language) -> Result<String> {
    let mut drawn = table::framed();
    let mut header = vec![String::new()];
    let columns = || positions(goals).map(|position| (position, &goals[position]));
    for (position, goal) in columns() {
        header.push(format!("{}\n{}{} [95% CI]", goal.name, goal.metric, measure::unit(&goal.metric)));
        if goal.weight > 0.0 {
            let name = &best_parent(reported.parents, position).name;
            header.push(language.fill(&texts::DIFFERENCE_TO_PARENT, &[("name", name)]));
        }
    }
    drawn.set_header(header);
    for (_, entry) in reported.entries() {
        let mut row = vec![Cell::new(names::shown(&entry.name, language))];
        let mut push = |text: String| row.push(table::right(text));
        for (position, goal) in columns() {
            push(measure::score(&goal.metric, &estimate(goal, &entry.scores[position])?).replace('%', ""));
            if goal.weight > 0.0 {
                let difference = difference_to_best(goal, reported, entry, position);
                push(difference.map_or_else(|| "—".to_owned(), |d| measure::difference(&goal.metric, &d)));
            }
        }
        drawn.add_row(row);
    }
    Ok(format!("{drawn}\n{}", items(columns().map(|(_, goal)| goal), language)))
}

/// Number of report items of each goal: `sums on 250 items, ja on 100 items`.
pub(crate) fn items<'a>(goals: impl Iterator<Item = &'a Goal>, language: Language) -> String {
    let items = goals.map(|goal| {
        if goal.whole {
            return language.fill(&texts::ONE_NUMBER, &[("task", &goal.name)]);
        }
        let items = language.count(goal.report.len(), &texts::ITEM);
        language.fill(&texts::TASK_ON, &[("task", &goal.name), ("items", &items)])
    });
    items.collect::<Vec<_>>().join(language.text(&texts::COMMA))
}

/// Paired difference of a model to the parent that is best on a task; `None` for that parent
/// itself.
pub(crate) fn difference_to_best(
    goal: &Goal,
    reported: &ReportedModels<'_>,
    entry: &Entry,
    position: usize,
) -> Option<PairedDifference> {
    let best = best_parent(reported.parents, position);
    if std::ptr::eq(entry, best) { None } else { difference(goal, &entry.scores[position], &best.scores[position]) }
}

/// Formats a p-value: `0.0123`, `<0.0001`.
pub(crate) fn probability(p: f64) -> String {
    if p < 0.0001 { "<0.0001".to_owned() } else { format!("{p:.4}") }
}

/// Formats a p-value with a sign, to follow `p`: `= 0.0123`, `< 0.0001`.
pub(crate) fn equation(p: f64) -> String {
    let text = probability(p);
    text.strip_prefix('<').map_or_else(|| format!("= {text}"), |bound| format!("< {bound}"))
}

/// Score on a goal with its interval. Fails if there are no items.
pub(crate) fn estimate(goal: &Goal, scores: &[ItemScore]) -> Result<Estimate> {
    let estimate = match scores {
        [score] if goal.whole => Some(Estimate::of_one(score.value)),
        scores => Estimate::of(&values(scores)),
    };
    estimate.ok_or_else(|| Error::user(format!("task {} has no items", goal.name)))
}

/// Paired difference of two models on a goal; `None` if there are no items.
pub(crate) fn difference(goal: &Goal, a: &[ItemScore], b: &[ItemScore]) -> Option<PairedDifference> {
    match (a, b) {
        ([a], [b]) if goal.whole => Some(PairedDifference::of_one(a.value, b.value)),
        (a, b) => PairedDifference::of(&values(a), &values(b)),
    }
}

/// Values of scores.
pub(crate) fn values(scores: &[ItemScore]) -> Vec<f64> {
    scores.iter().map(|score| score.value).collect()
}
