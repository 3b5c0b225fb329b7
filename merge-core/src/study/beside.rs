//! Compares the candidates of each generation with the parents, on the same items.
//!
//! Fitness on fresh items goes up and down because the items differ, so candidates are compared,
//! item by item, with models that stay the same. This changes no candidate and costs no budget.

use super::{
    Candidate, Goal,
    goal::{GoalItems, n_items},
    score::{Scorer, Scores},
};
use crate::{error::Result, item::ItemScore};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Comparison of a generation with the parents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ParentComparison {
    /// By parent, in the order of the models: mean lead of the candidates, on items that both were
    /// scored on; `None` if a goal has no such item.
    pub leads: Vec<Option<Lead>>,
    /// Number of items asked of the parents for this, including those already known.
    pub asked: u64,
}

/// Mean difference of scores, and the variance of that mean.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lead {
    /// Mean difference; from -1 to 1 if scores are between 0 and 1.
    pub value: f64,
    /// Variance of the mean, as items are drawn at random.
    pub variance: f64,
    /// Part of the variance that all generations share, as they draw from the same search items:
    /// the variance of the mean over all of these. Averaging generations does not reduce it.
    #[serde(default)]
    pub shared: f64,
}

/// The parents may be asked one item in this many of the search's budget, as early as possible, and
/// the first generation's always. The second half goes to the best parent alone.
const BUDGET_PER_PARENT_ITEM: u64 = 10;

/// Decides which parents are asked beside a generation.
pub(super) struct ParentBudget<'a> {
    /// Comparisons of earlier generations.
    pub(super) before: &'a [ParentComparison],
    /// Budget of the search.
    pub(super) budget: u64,
}

impl ParentBudget<'_> {
    /// The parents that may be asked `items` items each.
    fn affords(&self, n_parents: usize, items: u64) -> Range<usize> {
        let asked: u64 = self.before.iter().map(|beside| beside.asked).sum();
        let fits = |part: u64, cost: u64| part * BUDGET_PER_PARENT_ITEM * (asked + cost) <= self.budget;
        if asked == 0 || fits(2, n_parents as u64 * items) {
            return 0..n_parents;
        }
        let best = best_parent(self.before.iter()).filter(|_| fits(1, items));
        best.map_or(0..0, |best| best..best + 1)
    }
}

/// The parent over which candidates lead least, in generations compared with all parents.
///
/// Each generation weighs the same for all parents: later ones are better, and are compared with
/// some parents on few items only.
pub fn best_parent<'a>(besides: impl Iterator<Item = &'a ParentComparison>) -> Option<usize> {
    let all = besides.filter_map(|beside| beside.leads.iter().copied().collect::<Option<Vec<Lead>>>());
    let mut sums: Vec<f64> = Vec::new();
    for leads in all {
        sums.resize(leads.len().max(sums.len()), 0.0);
        let variance: f64 = leads.iter().map(|lead| lead.variance).sum();
        sums.iter_mut().zip(leads).for_each(|(sum, lead)| *sum += lead.value / variance);
    }
    (0..sums.len()).min_by(|a, b| sums[*a].total_cmp(&sums[*b]))
}

/// Squared difference (0.5²) of an imaginary item: agreement on a few items is not certainty.
const PRIOR_SQUARED_DIFFERENCE: f64 = 0.25;

/// Compares candidates with the parents on items that all of them met.
///
/// Asks only the parents that the budget [affords](ParentBudget::affords), without a budget none;
/// uses remembered scores of the others. A resumed search does the same.
pub(super) fn beside(
    scorer: &Scorer<'_>,
    items: &GoalItems,
    candidates: &[&Scores],
    budget: Option<&ParentBudget<'_>>,
) -> Result<ParentComparison> {
    let (study, goals) = (scorer.study, scorer.study.objective.goals());
    let ranking = |(goal, items): (&Goal, &Vec<_>)| if goal.weight > 0.0 { items.clone() } else { Vec::new() };
    let items: GoalItems = goals.iter().zip(items).map(ranking).collect();
    let parents = study.parents();
    let each = n_items(&items) as u64;
    // Nothing is known of the variance of a whole model's number.
    let no_variance = goals.iter().any(|goal| goal.whole && goal.ranks());
    if candidates.is_empty() || parents.is_empty() || each == 0 || no_variance {
        return Ok(ParentComparison::default());
    }
    let affordable = budget.map_or(0..0, |budget| budget.affords(parents.len(), each));
    let affordable: Vec<&Candidate<'_>> = parents[affordable].iter().collect();
    scorer.score_beside(&affordable, &items)?;
    let asked = affordable.len() as u64 * each;
    let known = parents.iter().map(|parent| scorer.known(parent, &items)).collect::<Result<Vec<_>>>()?;
    let pool = |(goal, items): (&Goal, &Vec<_>)| match study.search.anchors {
        // Every generation meets the same anchors.
        Some(_) => items.len(),
        None => goal.search.len(),
    };
    let pools: Vec<usize> = goals.iter().zip(&items).map(pool).collect();
    let leads = known.iter().map(|known| lead(goals, &pools, candidates, known)).collect();
    Ok(ParentComparison { leads, asked })
}

/// Lead of candidates over a parent with the scores `known`, item by item, weighted as the fitness
/// is. `pools`: numbers of items to draw from, by goal. `None` if a goal has no known score.
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
        let of_one = goal.weight.powi(2) * (squares + PRIOR_SQUARED_DIFFERENCE) / (n - 1.0).max(1.0);
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
        // Means by item: 1, 0.5 and one unknown against 0 and 0.5; 0.25 against 1.
        assert!((lead.value - (3.0 * 0.5 + 1.0 * -0.75) / 4.0).abs() < 1e-12);
        let first = f64::midpoint(0.5, PRIOR_SQUARED_DIFFERENCE);
        assert!((lead.variance - (9.0 * first + PRIOR_SQUARED_DIFFERENCE) / 16.0).abs() < 1e-12);
        // Generations share means over eight items, of which two are known here, and over one item.
        assert!((lead.shared - (9.0 * first / 4.0 + PRIOR_SQUARED_DIFFERENCE) / 16.0).abs() < 1e-12);
    }

    #[test]
    fn all_parents_are_asked_at_first_and_then_the_best() {
        let beside = |asked: u64, leads: [f64; 3]| ParentComparison {
            leads: leads.map(|value| Some(Lead { value, variance: 0.01, shared: 0.0 })).to_vec(),
            asked,
        };
        let paying = |before: &[ParentComparison], budget: u64| ParentBudget { before, budget }.affords(3, 10);
        assert_eq!(paying(&[], 20), 0..3);
        let first = beside(30, [0.3, 0.1, 0.2]);
        assert_eq!(paying(std::slice::from_ref(&first), 1200), 0..3);
        // A budget of 600 pays for 60 items: half for all parents, the rest for the best.
        let mut before = vec![first];
        for _ in 0..3 {
            assert_eq!(paying(&before, 600), 1..2);
            before.push(beside(10, [0.3, 0.1, 0.2]));
        }
        assert_eq!(paying(&before, 600), 0..0);
    }

    /// Only the best parent is asked while candidates get better; of the other, one item is known.
    #[test]
    fn the_best_parent_stays_the_best_when_it_alone_is_asked() {
        let beside = |leads: [(f64, f64); 2]| ParentComparison {
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
