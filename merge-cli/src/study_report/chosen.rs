//! The choice of a search's answer, and how far the scores seen in the search can be trusted.

use crate::{
    draw::measure,
    language::{Language, study as texts},
    study_report::{
        figures::{self, ReportedModels},
        names,
    },
};
use evaluator::statistics::{Estimate, combined, share_interval};
use merge_core::{
    error::Result,
    study::{CandidateState, Finalist, Generation, Goal},
};
use serde::Serialize;
use std::fmt::Display;

#[cfg(test)]
mod tests;

/// The best score seen in the search on a task, and the answer's score on unused items.
///
/// The scores are on different items, and the first is the maximum of many, so it is expected to be
/// larger: the "winner's curse".
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Claim {
    #[serde(skip)]
    pub(crate) task: String,
    /// Metric of the task.
    #[serde(skip)]
    pub(crate) metric: String,
    /// Best score of a ranked candidate, on the search items of its generation.
    pub(crate) search: f64,
    /// Its 95% interval, as if it had not been picked as the maximum; `None` for an estimate from
    /// anchors, or if scores are not shares.
    pub(crate) search_ci95: Option<[f64; 2]>,
    /// Number of items of that score.
    pub(crate) search_items: usize,
    /// Number of scores of which it is the maximum.
    pub(crate) of: usize,
    /// Score of the answer on report items.
    pub(crate) report: f64,
    /// Its 95% interval.
    pub(crate) report_ci95: Option<[f64; 2]>,
    /// Number of items of that score.
    pub(crate) report_items: usize,
    /// `search` minus `report`.
    pub(crate) gap: f64,
    /// Its 95% interval, combined from the two.
    pub(crate) gap_ci95: Option<[f64; 2]>,
}

/// The choice among finalists in words; the first finalist is the answer. `estimated` is true if
/// the scores seen in the search were estimates from anchors.
pub(crate) fn lines(
    goals: &[Goal],
    finalists: &[Finalist],
    reported: &ReportedModels<'_>,
    generations: &[Generation],
    estimated: bool,
    language: Language,
) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let Some(chosen) = finalists.first() else { return Ok(lines) };
    if chosen.violation > 0.0 {
        lines.push(language.text(&texts::NONE_KEEPS).to_owned());
    }
    for goal in goals.iter().filter(|goal| goal.ranks() && goal.select.is_empty()) {
        lines.push(language.fill(&texts::NO_SELECT_ITEMS, &[("task", &goal.name)]));
    }
    let all = language.count(finalists.len(), &texts::FINALIST);
    lines.push(language.fill(&texts::CHOSE, &[("name", &names::shown(&chosen.name, language)), ("finalists", &all)]));
    for (position, goal) in goals.iter().enumerate().filter(|(_, goal)| goal.weight > 0.0 && !goal.select.is_empty()) {
        let score = |estimate: &Estimate| measure::score(&goal.metric, estimate);
        let select = figures::estimate(goal, &chosen.scores[position])?;
        if goal.whole {
            // The same number ranked candidates, chose the answer, and is reported.
            let values: [(&str, &dyn Display); 2] = [("task", &goal.name), ("score", &score(&select))];
            lines.push(language.fill(&texts::SCORE_OF_MODEL, &values));
            continue;
        }
        let items = language.count(select.n, &texts::SELECT_ITEM);
        let values: [(&str, &dyn Display); 3] = [("task", &goal.name), ("score", &score(&select)), ("items", &items)];
        let select = format!("  {}", language.fill(&texts::SCORE_ON, &values));
        lines.push(if goal.report.is_empty() {
            select
        } else {
            let held_out = figures::estimate(goal, &reported.winner.scores[position])?;
            let items = language.count(held_out.n, &texts::REPORT_ITEM);
            let values: [(&str, &dyn Display); 3] =
                [("select", &select), ("score", &score(&held_out)), ("items", &items)];
            language.fill(&texts::THEN_ON_REPORT, &values)
        });
    }
    lines.extend(claims(goals, reported, generations, estimated).iter().map(|claim| claim.line(estimated, language)));
    Ok(lines)
}

/// Claims for each task that ranked candidates and is reported.
pub(crate) fn claims(
    goals: &[Goal],
    reported: &ReportedModels<'_>,
    generations: &[Generation],
    estimated: bool,
) -> Vec<Claim> {
    let both = |goal: &Goal| goal.ranks() && !goal.report.is_empty() && !goal.whole;
    let claim = |(position, goal): (usize, &Goal)| {
        let seen: Vec<(f64, usize)> = generations.iter().flat_map(|generation| seen(generation, position)).collect();
        let (search, search_items) = seen.iter().copied().rev().max_by(|(a, _), (b, _)| a.total_cmp(b))?;
        let is_share = measure::is_share(&goal.metric);
        let search_ci95 = if estimated || !is_share { None } else { share_interval(search, search_items) };
        let held_out: Estimate = figures::estimate(goal, &reported.winner.scores[position]).ok()?;
        let both = search_ci95.zip(held_out.ci95);
        Some(Claim {
            task: goal.name.clone(),
            metric: goal.metric.clone(),
            search,
            search_ci95,
            search_items,
            of: seen.len(),
            report: held_out.value,
            report_ci95: held_out.ci95,
            report_items: held_out.n,
            gap: search - held_out.value,
            gap_ci95: both.map(|(seen, is)| combined(&[(1.0, search, seen), (-1.0, held_out.value, is)])),
        })
    };
    goals.iter().enumerate().filter(|(_, goal)| both(goal)).filter_map(claim).collect()
}

/// Scores of a generation's candidates on all its items of a goal, each with the number of items.
/// Candidates that dropped out of a race had fewer items and are left out.
fn seen(generation: &Generation, position: usize) -> impl Iterator<Item = (f64, usize)> {
    let rung = |state: &CandidateState| if let CandidateState::Ranked { rung } = state { Some(*rung) } else { None };
    let last = generation.candidates.iter().filter_map(|candidate| rung(&candidate.state)).max();
    let whole = generation.candidates.iter().filter(move |candidate| rung(&candidate.state) == last && last.is_some());
    whole.filter_map(move |candidate| Some((candidate.goals[position]?, generation.items[position])))
}

impl Claim {
    /// The two scores in words, with only what they prove.
    fn line(&self, estimated: bool, language: Language) -> String {
        let Self { task, metric, of, .. } = self;
        let score = measure::score_of(metric, self.report, self.report_ci95);
        let items = language.count(self.report_items, &texts::REPORT_ITEM);
        let search = language.count(self.search_items, &texts::SEARCH_ITEM);
        let (text, seen) = if estimated {
            (&texts::ESTIMATED_IN_SEARCH, measure::value(metric, self.search))
        } else {
            (&texts::SEEN_IN_SEARCH, measure::score_of(metric, self.search, self.search_ci95))
        };
        let values: [(&str, &dyn Display); 6] =
            [("task", task), ("seen", &seen), ("search", &search), ("of", of), ("score", &score), ("items", &items)];
        let seen = language.fill(text, &values);
        if estimated {
            return language.fill(&texts::ESTIMATES_GROW, &[("seen", &seen)]);
        }
        let gap = 100.0 * self.gap;
        let told = |text, [gap, low, high]: [f64; 3]| {
            let [gap, low, high] = [gap, low, high].map(|points| format!("{points:.1}"));
            language.fill(text, &[("seen", &seen), ("gap", &gap), ("low", &low), ("high", &high)])
        };
        match self.gap_ci95.map(|ci95| ci95.map(|bound| 100.0 * bound)) {
            Some([low, high]) if low > 0.0 => told(&texts::SEEN_TOO_MUCH, [gap, low, high]),
            Some([low, high]) if high < 0.0 => told(&texts::SEEN_TOO_LITTLE, [-gap, -high, -low]),
            Some(_) => language.fill(&texts::SEEN_THE_SAME, &[("seen", &seen)]),
            None => seen,
        }
    }
}
