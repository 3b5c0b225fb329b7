//! The search loop: ask, fill, merge, score what is not known yet, remember, tell; and at the end choose and report.
//!
//! Items are split three ways. Each generation draws one fresh subset of the *search* items, shared by all its candidates:
//! a fixed subset would be overfitted, and candidates scored on different items cannot be ranked. The answer shipped is
//! chosen on the *select* items among the distribution's mean and some of the best candidates, and scored once on the
//! *report* items, which no decision has seen.
//!
//! Everything is derived from the seed and the scores, and scores are remembered by content. So a search that broke down
//! goes on by asking again and looking the scores up, and ends as if nothing had happened.

mod plan;
mod scoring;
#[cfg(test)]
mod tests;

pub use self::scoring::ENGINE;

use crate::{
    error::Result,
    item::{ItemId, ItemScore},
    optimizer::{Genome, Stop},
    recipe::Recipe,
    search::Search,
    sources::Sources,
    store::{Fingerprint, Store},
    template::Template,
    weights::Weights,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, ops::ControlFlow, sync::atomic::AtomicBool};

/// Runs a study to its end, from wherever it stands.
///
/// Fails if the store holds another study, if the budget does not pay for a generation, or if a model cannot be scored.
pub fn run(study: &Study<'_>) -> Result<Outcome> {
    let found = plan::Plan::new(study)?.run()?;
    Ok(found.map_or(Outcome::Interrupted, |findings| Outcome::Done(Box::new(findings))))
}

/// The position of the greatest fitness, the first of them if several are.
///
/// # Panics
/// If there is none.
pub fn first_best(fitness: &[f64]) -> usize {
    (0..fitness.len()).rev().max_by(|a, b| fitness[*a].total_cmp(&fitness[*b])).expect("there is a candidate")
}

/// Makes every refusal of a search that needs no weight: models that cannot be merged or scored, a budget too small.
pub fn check(template: &Template, sources: &Sources, search: &Search, objective: &dyn Objective) -> Result<()> {
    plan::check(template, sources, search, objective)
}

/// What a search maximises: the weighted mean of the goals' mean scores, given one list of scores for each goal.
/// Goals without a score, or without a weight, have no part in it.
pub fn fitness(goals: &[Goal], scores: &[Vec<ItemScore>]) -> f64 {
    let goals = goals.iter().zip(scores).filter(|(_, scores)| !scores.is_empty());
    let (sum, weights) = goals.fold((0.0, 0.0), |(sum, weights), (goal, scores)| {
        let mean = scores.iter().map(|score| score.value).sum::<f64>() / scores.len() as f64;
        (sum + goal.weight * mean, weights + goal.weight)
    });
    sum / weights
}

/// A task as the search sees it: items to draw from, and what its score weighs. It takes part where it has items.
#[derive(Clone, Debug, Default)]
pub struct Goal {
    /// Its name in tables.
    pub name: String,
    /// What its scores are, such as `exact_match`.
    pub metric: String,
    /// Everything that can change a score.
    pub fingerprint: Fingerprint,
    /// Its share in the fitness; 0 for a task that is only reported, which has report items alone.
    pub weight: f64,
    /// How many search items a generation draws.
    pub items: usize,
    /// What candidates are scored on.
    pub search: Vec<ItemId>,
    /// What the answer is chosen on.
    pub select: Vec<ItemId>,
    /// What the answer is reported on.
    pub report: Vec<ItemId>,
}

/// What an objective says of a model while it scores it.
pub enum News {
    /// Scores of items of the task of this number.
    Scores(usize, Vec<(ItemId, ItemScore)>),
    /// The model is broken and is asked no more: why, and by task what stands for the scores of all that is left.
    GivenUp(String, Vec<Vec<(ItemId, ItemScore)>>),
}

/// Takes news as it comes; `Break` asks the objective to stop.
pub type Heard<'a> = dyn FnMut(News) -> Result<ControlFlow<()>> + Send + 'a;

/// What a search maximises.
pub trait Objective: Sync {
    /// Its tasks, in a fixed order.
    fn goals(&self) -> &[Goal];
    /// Refuses a model that cannot be scored, without reading a weight.
    fn check(&self, weights: &dyn Weights) -> Result<()>;
    /// Scores a model on the asked items of each goal, telling `heard` as it goes.
    fn score(&self, weights: &dyn Weights, asked: &[Vec<ItemId>], heard: &mut Heard<'_>) -> Result<()>;
}

/// Everything a search needs. See [`run`].
pub struct Study<'a> {
    /// The recipe with holes.
    pub template: &'a Template,
    /// The checkpoints it names.
    pub sources: &'a Sources,
    /// The SHA-256 of their files: [`Sources::sha256`].
    pub hashes: &'a [(String, BTreeMap<String, String>)],
    /// How to search.
    pub search: &'a Search,
    /// What to maximise.
    pub objective: &'a dyn Objective,
    /// What is known already.
    pub store: &'a Store,
    /// Candidates scored side by side, at least one.
    pub workers: usize,
    /// Set from outside to stop cleanly.
    pub interrupted: &'a AtomicBool,
    /// Told how far it is, from any thread.
    pub progress: &'a (dyn Fn(&Progress) + Sync),
}

/// How far a search is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// What it is doing.
    pub phase: &'static str,
    /// Generations finished in this phase, and how many it has; both 0 in phases without.
    pub generation: (u64, u64),
    /// The best and the mean fitness of the last finished generation.
    pub fitness: Option<(f64, f64)>,
    /// Items scored or found in the store, of all that the study needs.
    pub items: (usize, usize),
    /// Items scored since the process began.
    pub scored_now: usize,
}

/// How a search ended.
pub enum Outcome {
    /// It was asked to stop; running it again goes on.
    Interrupted,
    /// It is done.
    Done(Box<Findings>),
}

/// What a search found, scored on report items.
pub struct Findings {
    /// The answer, and the recipe that makes it.
    pub winner: (Recipe, Entry),
    /// The models merged, and the base.
    pub parents: Vec<Entry>,
    /// What the answer must beat.
    pub baselines: Vec<Entry>,
    /// What the search did.
    pub history: History,
    /// What it cost this process: the only part that differs between two runs of one study.
    pub progress: Progress,
}

/// A model and its scores on report items, in the order of the items, goal by goal.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name in the table.
    pub name: String,
    /// One list for each goal.
    pub scores: Vec<Vec<ItemScore>>,
}

/// What a search did.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// Every generation's best and mean fitness.
    pub generations: Vec<Generation>,
    /// Candidates in a generation.
    pub population: usize,
    /// Numbers that were searched.
    pub dimensions: usize,
    /// Item evaluations of the evolution, without selection and report.
    pub item_evaluations: usize,
    /// Models that were given up, as they were broken: how many, by why.
    pub given_up: BTreeMap<String, usize>,
    /// Why the evolution ended before its budget did, if it did.
    pub stopped: Option<Stop>,
    /// The finalists on select items; the first of the best was shipped.
    pub finalists: Vec<Finalist>,
}

/// A candidate that may be the answer, on select items.
#[derive(Clone, Debug, PartialEq)]
pub struct Finalist {
    /// Where in the search it comes from.
    pub name: String,
    /// What it was chosen by.
    pub fitness: f64,
    /// One list for each goal.
    pub scores: Vec<Vec<ItemScore>>,
}

/// A generation's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// The candidate with the best fitness; the first of them if several have it.
    pub best: Genome,
    /// The best fitness.
    pub best_fitness: f64,
    /// The mean fitness of the generation.
    pub mean_fitness: f64,
    /// The distribution's mean after the generation, if the optimizer has one.
    pub mean: Option<Genome>,
}
