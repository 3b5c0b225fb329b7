//! What a search maximises: goals, and the objective that scores models on them.

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

/// A task as the search sees it: items to draw from, and what its score weighs. It takes part where it has items.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// Its name in tables.
    pub name: String,
    /// What its scores are, such as `exact_match`.
    pub metric: String,
    /// Everything that can change a score.
    pub fingerprint: Fingerprint,
    /// Its share in the fitness; 0 for a task that is only reported, which has report items alone.
    pub weight: f64,
    /// How far below the best of the parents a candidate may be on it, if it is a constraint.
    pub within: Option<f64>,
    /// The lowest score of an item. It stands for the items that a broken model was not asked.
    pub worst: f64,
    /// How many search items a generation draws.
    pub items: Items,
    /// What candidates are scored on.
    pub search: Vec<ItemId>,
    /// What the answer is chosen on.
    pub select: Vec<ItemId>,
    /// What the answer is reported on.
    pub report: Vec<ItemId>,
}

/// Items of each goal, in the order of the goals.
pub(super) type GoalItems = Vec<Vec<ItemId>>;

/// What an objective says of a model while it scores it.
pub enum News {
    /// Scores of items of the goal of this number.
    Scores(usize, Vec<(ItemId, ItemScore)>),
    /// The model is broken and is asked no more: the reason, and for each goal the scores of all items that are left.
    GivenUp(String, Vec<Vec<(ItemId, ItemScore)>>),
}

/// Takes news as it comes. `Break` asks the objective to stop.
pub type Listener<'a> = dyn FnMut(News) -> Result<ControlFlow<()>> + Send + 'a;

/// What a search maximises.
pub trait Objective: Sync {
    /// The name and version of what computes the scores. Remembered scores of another engine are not used.
    fn engine(&self) -> &str;
    /// Its tasks, in a fixed order.
    fn goals(&self) -> &[Goal];
    /// Refuses a model that cannot be scored, without reading a weight.
    fn check(&self, weights: &dyn Weights) -> Result<()>;
    /// Scores a candidate on items of each goal, and tells `listener` the scores as they come.
    ///
    /// A score depends on the candidate and the item alone. So it may be computed in this process or elsewhere.
    fn score(&self, candidate: &Candidate<'_>, items: &[Vec<ItemId>], listener: &mut Listener<'_>) -> Result<()>;
}

impl Goal {
    /// Whether candidates are ranked by it: it is no constraint alone, and not only reported.
    pub fn ranks(&self) -> bool {
        self.weight > 0.0 && self.items.to > 0
    }
}

/// What a search maximises: the weighted mean of the goals' mean scores, given one list of scores for each goal.
/// Goals without a score, or without a weight, have no part in it.
pub fn fitness(goals: &[Goal], scores: &[Vec<ItemScore>]) -> f64 {
    weighted(goals, scores.iter().map(|scores| mean(scores)))
}

/// The weighted mean of one figure for each goal that has one.
pub(super) fn weighted(goals: &[Goal], means: impl Iterator<Item = Option<f64>>) -> f64 {
    let means = goals.iter().zip(means).filter_map(|(goal, mean)| Some((goal.weight, mean?)));
    let (sum, weights) = means.fold((0.0, 0.0), |(sum, all), (weight, mean)| (sum + weight * mean, all + weight));
    sum / weights
}

/// The number of items of all goals.
pub(super) fn n_items(items: &GoalItems) -> usize {
    items.iter().map(Vec::len).sum()
}
