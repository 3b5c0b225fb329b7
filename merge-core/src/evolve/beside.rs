//! The parents on a generation's items: what its candidates are compared with while the search runs.
//!
//! Fitness on fresh items goes up and down because the items differ. So candidates are compared with models that stay the same,
//! item by item. This decides nothing: no candidate is other for it, and it is no part of the budget.

use super::{
    Goal,
    plan::{Asked, Plan, n_items},
    scoring::Scored,
};
use crate::{error::Result, item::ItemScore};
use serde::{Deserialize, Serialize};

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
}

/// The parents take one item for so many of the search's budget, as early as they can: the first generation's in any case.
const ONE_IN: u64 = 10;

/// An item more that differs by a half, so that a few items on which all agree do not make a difference certain.
const DOUBT: f64 = 0.25;

impl Plan<'_> {
    /// Compares candidates with the parents on items that all of them met; `None` if interrupted.
    ///
    /// The parents are asked if there is `room`: so many items they were asked before, of a budget of which they may take a tenth.
    /// Else what is known of them has to do. Both follow from the records, so a search that broke down does the same again.
    pub(super) fn beside(
        &self,
        items: &Asked,
        candidates: &[&Scored],
        room: Option<(u64, u64)>,
    ) -> Result<Option<Beside>> {
        let ranking = |(goal, items): (&Goal, &Vec<_>)| if goal.weight > 0.0 { items.clone() } else { Vec::new() };
        let items: Asked = self.goals().iter().zip(items).map(ranking).collect();
        let parents = self.parents();
        let cost = (parents.len() * n_items(&items)) as u64;
        if candidates.is_empty() || cost == 0 {
            return Ok(Some(Beside::default()));
        }
        let pays = room.is_some_and(|(asked, budget)| asked == 0 || ONE_IN * (asked + cost) <= budget);
        if pays && self.scoring.score_beside(&parents, &items)?.is_none() {
            return Ok(None);
        }
        let known = parents.iter().map(|parent| self.scoring.known(parent, &items)).collect::<Result<Vec<_>>>()?;
        let leads = known.iter().map(|known| lead(self.goals(), candidates, known)).collect();
        Ok(Some(Beside { leads, asked: if pays { cost } else { 0 } }))
    }
}

/// How much more candidates score than a model of which so much is known: item by item, weighed as the fitness is. None if of some
/// task nothing is known.
fn lead(goals: &[Goal], candidates: &[&Scored], known: &[Vec<Option<ItemScore>>]) -> Option<Lead> {
    let (mut value, mut variance, mut weights) = (0.0, 0.0, 0.0);
    for (number, (goal, known)) in goals.iter().zip(known).enumerate().filter(|(_, (_, known))| !known.is_empty()) {
        let average = |item: usize| {
            candidates.iter().map(|candidate| candidate.scores[number][item].value).sum::<f64>()
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
        variance += goal.weight.powi(2) * (squares + DOUBT) / (n * (n - 1.0).max(1.0));
    }
    (weights > 0.0).then(|| Lead { value: value / weights, variance: variance / (weights * weights) })
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
        let candidate = |first: [f64; 3], second: f64| Scored {
            scores: vec![first.map(score).to_vec(), vec![score(second)], Vec::new()],
            failed: None,
        };
        let [a, b] = [candidate([1.0, 1.0, 0.0], 0.5), candidate([1.0, 0.0, 0.0], 0.0)];
        let known = [vec![Some(score(0.0)), Some(score(0.5)), None], vec![Some(score(1.0))], Vec::new()];
        let lead = lead(&goals, &[&a, &b], &known).unwrap();
        // Means of items: 1, 0.5 and one unknown against 0 and 0.5; 0.25 against 1.
        assert!((lead.value - (3.0 * 0.5 + 1.0 * -0.75) / 4.0).abs() < 1e-12);
        let first = f64::midpoint(0.5, DOUBT);
        assert!((lead.variance - (9.0 * first + DOUBT) / 16.0).abs() < 1e-12);
    }

    #[test]
    fn there_is_no_lead_where_a_task_has_nothing_to_compare() {
        let goals = [1.0, 1.0].map(|weight| Goal { weight, ..Goal::default() });
        let one = Scored { scores: vec![vec![score(1.0)], vec![score(1.0)]], failed: None };
        assert_eq!(lead(&goals, &[&one], &[vec![Some(score(0.0))], vec![None]]), None);
    }
}
