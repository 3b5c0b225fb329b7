//! The parents on a generation's items: what its candidates are compared with while the search runs.
//!
//! Fitness on fresh items goes up and down because the items differ. So candidates are compared with models that stay the same,
//! item by item. This decides nothing: no candidate is other for it, and it is no part of the budget.

use super::{
    Candidate, Goal,
    goal::{GoalItems, n_items},
    score::{Scorer, Scores},
};
use crate::{error::Result, item::ItemScore};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// How a generation did beside the parents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Beside {
    /// By parent, in the order of the models: how much more its candidates score on average, on the items that both were scored
    /// on; none if there are no such items.
    pub leads: Vec<Option<Lead>>,
    /// Items that the parents were asked for it, those among them that were known already.
    pub asked: u64,
}

/// A mean difference of scores, and the variance of that mean.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lead {
    /// From -1 to 1.
    pub value: f64,
    /// As items are drawn at random.
    pub variance: f64,
    /// The part of the variance that other generations have in common with it, as all draw from the same search items: that of the mean
    /// over all of these. No number of generations averages it out.
    #[serde(default)]
    pub shared: f64,
}

/// The parents take one item for so many of the search's budget, as early as they can: the first generation's in any case. The best
/// of them alone takes the latter half.
const ONE_IN: u64 = 10;

/// What decides which parents are asked beside a generation.
pub(super) struct ParentBudget<'a> {
    /// How the generations before it did beside them.
    pub(super) before: &'a [Beside],
    /// The budget of the search.
    pub(super) budget: u64,
}

impl ParentBudget<'_> {
    /// The parents that may be asked so many items each.
    fn affords(&self, n_parents: usize, items: u64) -> Range<usize> {
        let asked: u64 = self.before.iter().map(|beside| beside.asked).sum();
        let fits = |part: u64, cost: u64| part * ONE_IN * (asked + cost) <= self.budget;
        if asked == 0 || fits(2, n_parents as u64 * items) {
            return 0..n_parents;
        }
        let best = best_parent(self.before.iter()).filter(|_| fits(1, items));
        best.map_or(0..0, |best| best..best + 1)
    }
}

/// The parent that is least behind, over the generations that were compared with all of them.
///
/// Each generation weighs the same for all parents: later ones are better, and are compared with some parents on few items only.
pub fn best_parent<'a>(besides: impl Iterator<Item = &'a Beside>) -> Option<usize> {
    let all = besides.filter_map(|beside| beside.leads.iter().copied().collect::<Option<Vec<Lead>>>());
    let mut sums: Vec<f64> = Vec::new();
    for leads in all {
        sums.resize(leads.len().max(sums.len()), 0.0);
        let variance: f64 = leads.iter().map(|lead| lead.variance).sum();
        sums.iter_mut().zip(leads).for_each(|(sum, lead)| *sum += lead.value / variance);
    }
    (0..sums.len()).min_by(|a, b| sums[*a].total_cmp(&sums[*b]))
}

/// An item more that differs by a half, so that a few items on which all agree do not make a difference certain.
const DOUBT: f64 = 0.25;

/// Compares candidates with the parents on items that all of them met.
///
/// Only the parents are asked that the budget [affords](ParentBudget::affords); without a budget none is. Of the others, remembered scores
/// are used. All follows from the records, so a search that broke down does the same again.
pub(super) fn beside(
    scorer: &Scorer<'_>,
    items: &GoalItems,
    candidates: &[&Scores],
    budget: Option<&ParentBudget<'_>>,
) -> Result<Beside> {
    let (study, goals) = (scorer.study, scorer.study.objective.goals());
    let ranking = |(goal, items): (&Goal, &Vec<_>)| if goal.weight > 0.0 { items.clone() } else { Vec::new() };
    let items: GoalItems = goals.iter().zip(items).map(ranking).collect();
    let parents = study.parents();
    let each = n_items(&items) as u64;
    if candidates.is_empty() || parents.is_empty() || each == 0 {
        return Ok(Beside::default());
    }
    let affordable = budget.map_or(0..0, |budget| budget.affords(parents.len(), each));
    let affordable: Vec<&Candidate<'_>> = parents[affordable].iter().collect();
    scorer.score_beside(&affordable, &items)?;
    let asked = affordable.len() as u64 * each;
    let known = parents.iter().map(|parent| scorer.known(parent, &items)).collect::<Result<Vec<_>>>()?;
    let pool = |(goal, items): (&Goal, &Vec<_>)| match study.search.anchors {
        // Every generation meets the same ones.
        Some(_) => items.len(),
        None => goal.search.len(),
    };
    let pools: Vec<usize> = goals.iter().zip(&items).map(pool).collect();
    let leads = known.iter().map(|known| lead(goals, &pools, candidates, known)).collect();
    Ok(Beside { leads, asked })
}

/// How much more candidates score than a model of which so much is known: item by item, weighed as the fitness is. `pools` are the
/// numbers of items, by goal, that generations draw from. None if of some task nothing is known.
fn lead(goals: &[Goal], pools: &[usize], candidates: &[&Scores], known: &[Vec<Option<ItemScore>>]) -> Option<Lead> {
    let (mut value, mut variance, mut shared, mut weights) = (0.0, 0.0, 0.0, 0.0);
    for (number, (goal, known)) in goals.iter().zip(known).enumerate().filter(|(_, (_, known))| !known.is_empty()) {
        let average = |item: usize| {
            candidates.iter().map(|candidate| candidate.goals[number][item].value).sum::<f64>()
                / candidates.len() as f64
        };
        let paired = known.iter().enumerate().filter_map(|(item, score)| Some(average(item) - score.as_ref()?.value));
        let differences: Vec<f64> = paired.collect();
        if differences.is_empty() {
            return None;
        }
        let n = differences.len() as f64;
        let mean = differences.iter().sum::<f64>() / n;
        let squares: f64 = differences.iter().map(|difference| (difference - mean).powi(2)).sum();
        weights += goal.weight;
        value += goal.weight * mean;
        let of_one = goal.weight.powi(2) * (squares + DOUBT) / (n - 1.0).max(1.0);
        variance += of_one / n;
        shared += of_one / n.max(pools[number] as f64);
    }
    let squared = weights * weights;
    (weights > 0.0).then(|| Lead { value: value / weights, variance: variance / squared, shared: shared / squared })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(value: f64) -> ItemScore {
        ItemScore { value, tokens: 0, truncated: false }
    }

    #[test]
    fn a_lead_is_taken_item_by_item_where_both_are_known() {
        let goals = [3.0, 1.0, 0.0].map(|weight| Goal { weight, ..Goal::default() });
        let candidate = |first: [f64; 3], second: f64| Scores {
            goals: vec![first.map(score).to_vec(), vec![score(second)], Vec::new()],
            failed: None,
        };
        let [a, b] = [candidate([1.0, 1.0, 0.0], 0.5), candidate([1.0, 0.0, 0.0], 0.0)];
        let known = [vec![Some(score(0.0)), Some(score(0.5)), None], vec![Some(score(1.0))], Vec::new()];
        let lead = lead(&goals, &[8, 1, 0], &[&a, &b], &known).unwrap();
        // Means of items: 1, 0.5 and one unknown against 0 and 0.5; 0.25 against 1.
        assert!((lead.value - (3.0 * 0.5 + 1.0 * -0.75) / 4.0).abs() < 1e-12);
        let first = f64::midpoint(0.5, DOUBT);
        assert!((lead.variance - (9.0 * first + DOUBT) / 16.0).abs() < 1e-12);
        // Generations share a mean over eight items, two of which are known here, and the one of the other task.
        assert!((lead.shared - (9.0 * first / 4.0 + DOUBT) / 16.0).abs() < 1e-12);
    }

    #[test]
    fn all_parents_are_asked_at_first_and_then_the_best() {
        let beside = |asked: u64, leads: [f64; 3]| Beside {
            leads: leads.map(|value| Some(Lead { value, variance: 0.01, shared: 0.0 })).to_vec(),
            asked,
        };
        let paying = |before: &[Beside], budget: u64| ParentBudget { before, budget }.affords(3, 10);
        assert_eq!(paying(&[], 20), 0..3);
        let first = beside(30, [0.3, 0.1, 0.2]);
        assert_eq!(paying(std::slice::from_ref(&first), 1200), 0..3);
        // 600 pay for 60 items: half of them for all, and the rest for the best.
        let mut before = vec![first];
        for _ in 0..3 {
            assert_eq!(paying(&before, 600), 1..2);
            before.push(beside(10, [0.3, 0.1, 0.2]));
        }
        assert_eq!(paying(&before, 600), 0..0);
    }

    /// The best is asked on and on while candidates get better; of the others one item is known by chance.
    #[test]
    fn the_best_parent_stays_the_best_when_it_alone_is_asked() {
        let beside = |leads: [(f64, f64); 2]| Beside {
            leads: leads.map(|(value, variance)| Some(Lead { value, variance, shared: 0.0 })).to_vec(),
            asked: 1,
        };
        let mut all = vec![beside([(0.0, 0.01), (0.1, 0.01)])];
        all.extend(vec![beside([(0.3, 0.01), (0.9, 0.25)]); 5]);
        assert_eq!(best_parent(all.iter()), Some(0));
    }

    #[test]
    fn there_is_no_lead_where_a_task_has_nothing_to_compare() {
        let goals = [1.0, 1.0].map(|weight| Goal { weight, ..Goal::default() });
        let one = Scores { goals: vec![vec![score(1.0)], vec![score(1.0)]], failed: None };
        assert_eq!(lead(&goals, &[1, 1], &[&one], &[vec![Some(score(0.0))], vec![None]]), None);
    }
}
