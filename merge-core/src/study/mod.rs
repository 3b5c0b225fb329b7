//! The search loop: ask, fill, merge, score what is not known yet, remember, tell; and at the end choose and report.
//!
//! Items are split three ways. Each generation draws one fresh subset of the *search* items, shared by all its candidates:
//! a fixed subset would be overfitted, and candidates scored on different items cannot be ranked. The answer shipped is
//! chosen on the *select* items among the distribution's mean and some of the best candidates, and scored once on the
//! *report* items, which no decision has seen.
//!
//! Everything is derived from the seed and the scores, and scores are remembered by content. So a search that broke down
//! goes on by asking again and looking the scores up, and ends as if nothing had happened.

mod anchored;
mod beside;
mod finalists;
mod front;
mod generation;
mod identity;
pub(crate) mod irt;
mod mark;
mod plan;
mod progress;
mod record;
mod scan;
mod scoring;
mod snapshot;
#[cfg(test)]
mod tests;

pub use self::{
    beside::{Beside, Lead, best_parent},
    front::{dominates, front, hypervolume},
    mark::{Answered, Mark},
    plan::{check, evaluations},
    progress::{Curves, Phase, Point, Progress},
    record::{About, Ending, Record, record},
    scoring::ENGINE,
    snapshot::snapshot,
};

use crate::{
    error::Result,
    item::{ItemId, ItemScore, mean},
    merge::sources::Sources,
    model::Weights,
    optimizer::{Genome, Stop},
    recipe::Recipe,
    search::{Items, Search},
    store::{Fingerprint, Store},
    template::Template,
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

/// What a search maximises: the weighted mean of the goals' mean scores, given one list of scores for each goal.
/// Goals without a score, or without a weight, have no part in it.
pub fn fitness(goals: &[Goal], scores: &[Vec<ItemScore>]) -> f64 {
    weighted(goals, scores.iter().map(|scores| mean(scores)))
}

/// The weighted mean of one figure for each goal that has one.
fn weighted(goals: &[Goal], means: impl Iterator<Item = Option<f64>>) -> f64 {
    let means = goals.iter().zip(means).filter_map(|(goal, mean)| Some((goal.weight, mean?)));
    let (sum, weights) = means.fold((0.0, 0.0), |(sum, all), (weight, mean)| (sum + weight * mean, all + weight));
    sum / weights
}

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
    /// The least that an item scores, which stands for those that a broken model was not asked.
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

impl Goal {
    /// Whether candidates are ranked by it: it is no constraint alone, and not only reported.
    pub fn ranks(&self) -> bool {
        self.weight > 0.0 && self.items.to > 0
    }
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
    /// The recipes whose results are among them, each after those that it merges.
    pub earlier: &'a [Recipe],
    /// The SHA-256 of their files: [`Sources::sha256`].
    pub hashes: &'a [(String, BTreeMap<String, String>)],
    /// How to search.
    pub search: &'a Search,
    /// The file that says all this, as it is written.
    pub text: &'a str,
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

/// How a search ended.
pub enum Outcome {
    /// It was asked to stop; running it again goes on.
    Interrupted,
    /// It is done.
    Done(Box<Findings>),
}

/// What a search found, scored on report items.
pub struct Findings {
    /// The answer's numbers.
    pub genome: Genome,
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name in the table.
    pub name: String,
    /// One list for each goal.
    pub scores: Vec<Vec<ItemScore>>,
}

/// What a search did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Every generation.
    pub generations: Vec<Generation>,
    /// Numbers that were searched.
    pub dimensions: usize,
    /// Items that candidates were scored on in the evolution and to prepare it, without selection and report.
    pub item_evaluations: usize,
    /// Tokens that candidates generated for them.
    pub tokens: u64,
    /// Item evaluations of the parents beside them, which are no part of the budget: see [`Beside`].
    pub beside: u64,
    /// Models that were given up, as they were broken: how many, by why.
    pub given_up: BTreeMap<String, usize>,
    /// Why the evolution ended before its budget did, if it did.
    pub stopped: Option<Stop>,
    /// The finalists on select items; the first of the best was shipped.
    pub finalists: Vec<Finalist>,
}

impl History {
    /// How many candidates were ranked.
    pub fn candidates(&self) -> usize {
        self.generations.iter().map(|generation| generation.candidates.len()).sum()
    }
}

/// A candidate that may be the answer, on select items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finalist {
    /// Where in the search it comes from.
    pub name: String,
    /// Its numbers.
    pub genome: Genome,
    /// The recipe that they make, as YAML; its paths are relative to the search file.
    pub recipe: String,
    /// What it was chosen by.
    pub fitness: f64,
    /// By how much it breaks constraints; those that break none go first.
    pub violation: f64,
    /// What it costs, in the order of `minimise`.
    pub costs: Vec<f64>,
    /// Whether no other beats it in every goal and cost.
    pub on_front: bool,
    /// One list for each goal.
    pub scores: Vec<Vec<ItemScore>>,
}

/// A generation's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// Everyone, in the order asked.
    pub candidates: Vec<Candidate>,
    /// Items of each goal that the last of the race met.
    pub items: Vec<usize>,
    /// How often the items had grown.
    pub level: u32,
    /// Whether they grow after it, as candidates differed by chance alone.
    pub grows: bool,
    /// Items that candidates were scored on.
    pub evaluations: usize,
    /// Tokens they generated for them.
    pub tokens: u64,
    /// The distribution's mean after the generation, if the optimizer has one.
    pub mean: Option<Genome>,
    /// Its step size then.
    pub sigma: Option<f64>,
}

/// A candidate of a generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its numbers.
    pub genome: Genome,
    /// What became of it.
    pub state: State,
    /// Its fitness on the items it met, if it was scored.
    pub fitness: Option<f64>,
    /// Its mean score by goal, where it met items; where there are anchors, what it is estimated to be on all that they stand for.
    pub goals: Vec<Option<f64>>,
    /// What it costs, in the order of `minimise`.
    pub costs: Vec<f64>,
}

/// What became of a candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// It was ranked, after so many rungs of the race.
    Ranked {
        /// From 0.
        rung: usize,
    },
    /// It breaks constraints.
    Infeasible {
        /// By how much in all.
        by: f64,
    },
    /// It has more layers than are wanted, and was not scored.
    TooLong {
        /// So many.
        layers: usize,
    },
    /// It could not be scored.
    Failed {
        /// Why.
        why: String,
    },
}

impl Generation {
    /// The best of those that went furthest; the first of them if several are. `None` if none was ranked.
    pub fn best(&self) -> Option<&Candidate> {
        let key = |candidate: &Candidate| match candidate.state {
            State::Ranked { rung } => candidate.fitness.map(|fitness| (rung, fitness)),
            _ => None,
        };
        let ranked = self.candidates.iter().rev().filter_map(|candidate| Some((key(candidate)?, candidate)));
        let best = ranked.max_by(|((rung, a), _), ((other, b), _)| rung.cmp(other).then(a.total_cmp(b)));
        best.map(|(_, candidate)| candidate)
    }

    /// What it takes from the budget: its evaluations, and at least one for each candidate, since those that are too long to be
    /// scored would else be free for ever.
    pub fn cost(&self) -> u64 {
        self.evaluations.max(self.candidates.len()) as u64
    }

    /// The mean fitness of those that were ranked.
    pub fn mean_fitness(&self) -> Option<f64> {
        let ranked = self.candidates.iter().filter(|candidate| matches!(candidate.state, State::Ranked { .. }));
        let all: Vec<f64> = ranked.filter_map(|candidate| candidate.fitness).collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    }
}

impl Candidate {
    /// The goals that rank and the costs as objectives, of which more is better, as optimizers are told; `None` if it was not
    /// ranked.
    pub fn objectives(&self, goals: &[Goal]) -> Option<Vec<f64>> {
        let ranking = goals.iter().zip(&self.goals).filter(|(goal, _)| goal.ranks());
        let means = ranking.map(|(_, mean)| mean.unwrap_or(f64::NEG_INFINITY));
        matches!(self.state, State::Ranked { .. }).then(|| means.chain(self.costs.iter().map(|cost| -cost)).collect())
    }
}
