//! How a search's answer was chosen, and what the scores seen on the way are worth.

use crate::{
    draw::{measure, screen},
    study_report::figures::{self, ReportedModels},
};
use evaluator::statistics::{Estimate, combined, share_interval};
use merge_core::{
    error::Result,
    study::{CandidateState, Finalist, Generation, Goal},
};
use serde::Serialize;

#[cfg(test)]
mod tests;

/// What a search that reports its lucky winner would claim of a task, and what the answer scores on items that nothing had used.
///
/// The two are of different items, and the first is the largest of many: that it is larger is what one expects.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Claim {
    #[serde(skip)]
    pub(crate) task: String,
    /// What its scores are.
    #[serde(skip)]
    pub(crate) metric: String,
    /// The best score of a candidate that was ranked, on the search items of its generation.
    pub(crate) search: f64,
    /// Its interval, as if it had not been picked for being the largest; none of an estimate from anchors, or where scores are no
    /// shares.
    pub(crate) search_ci95: Option<[f64; 2]>,
    /// How many items it is of.
    pub(crate) search_items: usize,
    /// How many scores it is the largest of.
    pub(crate) of: usize,
    /// The answer's score on report items.
    pub(crate) report: f64,
    /// Its interval.
    pub(crate) report_ci95: Option<[f64; 2]>,
    /// How many items it is of.
    pub(crate) report_items: usize,
    /// What was seen less what is reported.
    pub(crate) gap: f64,
    /// Its interval, by those of the two.
    pub(crate) gap_ci95: Option<[f64; 2]>,
}

/// What people should know of the choice among finalists, the first of whom is the answer; `estimated` says that the scores seen
/// in the search were estimates from anchors.
pub(crate) fn lines(
    goals: &[Goal],
    finalists: &[Finalist],
    reported: &ReportedModels<'_>,
    generations: &[Generation],
    estimated: bool,
) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    let Some(chosen) = finalists.first() else { return Ok(lines) };
    if chosen.violation > 0.0 {
        lines.push(
            "note: no finalist keeps to the constraints on select items: this is the one that breaks them least"
                .to_owned(),
        );
    }
    for goal in goals.iter().filter(|goal| goal.ranks() && goal.select.is_empty()) {
        lines.push(format!(
            "note: {} ranked candidates, but had no part in the choice: it has no select items",
            goal.name
        ));
    }
    lines.push(format!("chose {} among {}:", chosen.name, screen::counted(finalists.len(), "finalist")));
    for (position, goal) in goals.iter().enumerate().filter(|(_, goal)| goal.weight > 0.0 && !goal.select.is_empty()) {
        let select = figures::estimate(goal, &chosen.scores[position])?;
        let select = format!(
            "{} {} on {}",
            goal.name,
            measure::score(&goal.metric, &select),
            screen::counted(select.n, "select item")
        );
        lines.push(if goal.report.is_empty() {
            format!("  {select}")
        } else {
            let held_out = figures::estimate(goal, &reported.winner.scores[position])?;
            let (score, items) = (measure::score(&goal.metric, &held_out), screen::counted(held_out.n, "report item"));
            format!("  {select}, then {score} on {items}, which nothing had used")
        });
    }
    lines.extend(claims(goals, reported, generations, estimated).iter().map(|claim| claim.line(estimated)));
    Ok(lines)
}

/// For each task that the search ranked by and is reported on, what was seen and what is.
pub(crate) fn claims(
    goals: &[Goal],
    reported: &ReportedModels<'_>,
    generations: &[Generation],
    estimated: bool,
) -> Vec<Claim> {
    let both = |goal: &Goal| goal.ranks() && !goal.report.is_empty();
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

/// The scores of a generation's candidates on all of its items of a goal, each with their number: who fell out of a race had fewer.
fn seen(generation: &Generation, position: usize) -> impl Iterator<Item = (f64, usize)> {
    let rung = |state: &CandidateState| if let CandidateState::Ranked { rung } = state { Some(*rung) } else { None };
    let last = generation.candidates.iter().filter_map(|candidate| rung(&candidate.state)).max();
    let whole = generation.candidates.iter().filter(move |candidate| rung(&candidate.state) == last && last.is_some());
    whole.filter_map(move |candidate| Some((candidate.goals[position]?, generation.items[position])))
}

impl Claim {
    /// What was seen, what is, and no more than that proves.
    fn line(&self, estimated: bool) -> String {
        let Self { task, metric, search, search_ci95, search_items, of, report, report_ci95, report_items, .. } = self;
        let is = measure::score_of(metric, *report, *report_ci95);
        let items = screen::counted(*report_items, "report item");
        let is = format!("the largest of {of}; the answer has {is} on {items}");
        if estimated {
            let seen = {
                let seen = measure::value(metric, *search);
                format!("  the best {task} estimated in the search was {seen}, {is}")
            };
            return format!("{seen}: estimates grow too good as a search fits its anchors");
        }
        let seen = measure::score_of(metric, *search, *search_ci95);
        let items = screen::counted(*search_items, "search item");
        let seen = format!("  the best {task} seen in the search was {seen} on {items}, {is}");
        let gap = 100.0 * self.gap;
        match self.gap_ci95.map(|ci95| ci95.map(|bound| 100.0 * bound)) {
            Some([low, high]) if low > 0.0 => {
                format!("{seen}: {gap:.1} [{low:.1}, {high:.1}] points too many, by luck or easier items")
            }
            Some([low, high]) if high < 0.0 => {
                let (gap, less, more) = (-gap, -high, -low);
                format!("{seen}: {gap:.1} [{less:.1}, {more:.1}] points more, by easier items or a better model")
            }
            Some(_) => format!("{seen}: no difference between the two is proved"),
            None => seen,
        }
    }
}
