//! Goals of a search, and the objective that scores models on them.

use super::Candidate;
use crate::{
    error::Result,
    item::{ItemId, ItemScore, mean},
    model::Weights,
    search::Items,
    store::Fingerprint,
};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// A task as the search sees it: its items and its weight. It takes part in each split with items.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// Name in tables.
    pub name: String,
    /// Metric of its scores, such as `exact_match`.
    pub metric: String,
    /// Fingerprint of everything that can change a score.
    pub fingerprint: Fingerprint,
    /// Weight in the fitness; 0 for a task that is only a constraint or only reported.
    pub weight: f64,
    /// For a constraint: how far below the best parent a candidate may score.
    pub within: Option<f64>,
    /// Lowest score of an item. It stands for items that a broken model was not asked.
    pub worst: f64,
    /// True if its only item is the whole model: its score is one number, of whose spread nothing is known.
    #[serde(default)]
    pub whole: bool,
    /// Number of search items that a generation draws.
    pub items: Items,
    /// Items that candidates are scored on.
    pub search: Vec<ItemId>,
    /// Items that the answer is chosen on.
    pub select: Vec<ItemId>,
    /// Items that the answer is reported on. A task that is only reported has no others.
    pub report: Vec<ItemId>,
}

/// Items of each goal, in the order of the goals.
pub(super) type GoalItems = Vec<Vec<ItemId>>;

/// News from an objective while it scores a model.
pub enum News {
    /// The number of a goal, and scores of some of its items.
    Scores(usize, Vec<(ItemId, ItemScore)>),
    /// The model is broken and is asked no more: the reason, and scores of all items left, by goal.
    GivenUp(String, Vec<Vec<(ItemId, ItemScore)>>),
}

/// Callback for news. `Break` asks the objective to stop.
pub type Listener<'a> = dyn FnMut(News) -> Result<ControlFlow<()>> + Send + 'a;

/// The objective that a search maximises.
pub trait Objective: Sync {
    /// Name and version of the engine that computes scores. Scores of another engine are not used.
    fn engine(&self) -> &str;
    /// The inference engine that is given the weights, with all of its settings that may change a score; `None` if the
    /// program computes scores itself. A study that one engine has begun is continued by no other.
    fn served_by(&self) -> Option<&str> {
        None
    }
    /// Goals, in a fixed order.
    fn goals(&self) -> &[Goal];
    /// Refuses a model that cannot be scored, without reading a weight.
    fn check(&self, weights: &dyn Weights) -> Result<()>;
    /// Refuses a model of a kind that is never scored, such as one that is not made of what an engine holds.
    fn admits(&self, _weights: &dyn Weights) -> Result<()> {
        Ok(())
    }
    /// Told before several candidates are scored at the same time: the number of items that all of them will be asked.
    fn expect(&self, _items: usize) {}
    /// Scores a candidate on items of each goal, and tells `listener` the scores as they come.
    ///
    /// A score depends only on the candidate and the item, so it may be computed anywhere.
    fn score(&self, candidate: &Candidate<'_>, items: &[Vec<ItemId>], listener: &mut Listener<'_>) -> Result<()>;
}

impl Goal {
    /// True if candidates are ranked by this goal: not if it is only a constraint or only reported.
    pub fn ranks(&self) -> bool {
        self.weight > 0.0 && self.items.to > 0
    }
}

/// Fitness: the weighted mean of the goals' mean scores, given one list of scores for each goal.
/// Goals without scores or without a weight do not count.
pub fn fitness(goals: &[Goal], scores: &[Vec<ItemScore>]) -> f64 {
    weighted(goals, scores.iter().map(|scores| mean(scores)))
}

/// Weighted mean of one figure for each goal that has one.
pub(super) fn weighted(goals: &[Goal], means: impl Iterator<Item = Option<f64>>) -> f64 {
    let means = goals.iter().zip(means).filter_map(|(goal, mean)| Some((goal.weight, mean?)));
    let (sum, weights) = means.fold((0.0, 0.0), |(sum, all), (weight, mean)| (sum + weight * mean, all + weight));
    sum / weights
}

/// Number of items of all goals.
pub(super) fn n_items(items: &GoalItems) -> usize {
    items.iter().map(Vec::len).sum()
}
