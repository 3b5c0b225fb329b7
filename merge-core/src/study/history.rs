//! Results of a search: generations, candidates, finalists, and scores on report items.

use super::{Goal, Progress};
use crate::{
    item::ItemScore,
    optimizer::{Genome, Stop},
    recipe::Recipe,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Result of a search, with scores on report items.
pub struct Findings {
    /// Genome of the answer.
    pub genome: Genome,
    /// Recipe of the answer, and its scores.
    pub winner: (Recipe, Entry),
    /// Scores of the models merged, and of the base.
    pub parents: Vec<Entry>,
    /// Scores of the baselines, which the answer must beat.
    pub baselines: Vec<Entry>,
    /// History of the search.
    pub history: History,
    /// Progress of this process: the only part that differs between two runs of one study.
    pub progress: Progress,
}

/// A model and its scores on report items, in the order of the items, goal by goal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Name in tables.
    pub name: String,
    /// One list of scores for each goal.
    pub scores: Vec<Vec<ItemScore>>,
}

/// History of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// All generations.
    pub generations: Vec<Generation>,
    /// Number of dimensions searched.
    pub dimensions: usize,
    /// Item evaluations of candidates, in the evolution and its preparation only.
    pub item_evaluations: usize,
    /// Number of tokens that candidates generated in the evolution.
    pub tokens: u64,
    /// Item evaluations of the parents, outside the budget: see [`ParentComparison`](super::ParentComparison).
    pub beside: u64,
    /// Number of broken models that were given up, by reason.
    pub given_up: BTreeMap<String, usize>,
    /// Reason why the evolution ended before its budget did, if it did.
    pub stopped: Option<Stop>,
    /// Finalists with scores on select items, the answer first.
    pub finalists: Vec<Finalist>,
}

/// A candidate that may be the answer, with scores on select items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finalist {
    /// Name that tells where in the search the finalist comes from.
    pub name: String,
    /// Genome of the finalist.
    pub genome: Genome,
    /// Recipe of the finalist, as YAML; its paths are relative to the search file.
    pub recipe: String,
    /// Fitness on select items, less the penalty for costs.
    pub fitness: f64,
    /// Amount by which it breaks constraints; finalists that break none go first.
    pub violation: f64,
    /// Costs, in the order of `minimise`.
    pub costs: Vec<f64>,
    /// True if no other finalist dominates it in goals and costs.
    pub on_front: bool,
    /// One list of scores for each goal.
    pub scores: Vec<Vec<ItemScore>>,
}

/// Record of a generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// All candidates, in the order asked.
    pub candidates: Vec<CandidateRecord>,
    /// Number of items of each goal on the last rung of the race.
    pub items: Vec<usize>,
    /// Number of times that the number of items has grown before.
    pub level: u32,
    /// True if the number of items grows afterwards, because candidates differ by chance alone.
    pub grows: bool,
    /// Number of item evaluations.
    pub evaluations: usize,
    /// Number of tokens that the candidates generated.
    pub tokens: u64,
    /// Mean of the distribution after the generation, if the optimizer has one.
    pub mean: Option<Genome>,
    /// Step size of the optimizer after the generation, if it has one.
    pub sigma: Option<f64>,
}

/// Record of a candidate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CandidateRecord {
    /// Genome of the candidate.
    pub genome: Genome,
    /// Outcome: ranked, or the reason why not.
    pub state: CandidateState,
    /// Fitness on the items it met, less the penalty for costs, if it was scored.
    pub fitness: Option<f64>,
    /// Mean score for each goal with items; with anchors, the estimate for all they stand for.
    pub goals: Vec<Option<f64>>,
    /// Costs, in the order of `minimise`.
    pub costs: Vec<f64>,
}

/// Outcome of a candidate in its generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CandidateState {
    /// It was ranked.
    Ranked {
        /// Last rung of the race that it reached, from 0.
        rung: usize,
    },
    /// It breaks constraints.
    Infeasible {
        /// Amount by which it breaks them, in all.
        by: f64,
    },
    /// It has more layers than allowed, and was not scored.
    TooLong {
        /// Number of its layers.
        layers: usize,
    },
    /// It could not be scored.
    Failed {
        /// Reason.
        why: String,
    },
}

impl History {
    /// Number of candidates in all generations.
    pub fn candidates(&self) -> usize {
        self.generations.iter().map(|generation| generation.candidates.len()).sum()
    }
}

impl Generation {
    /// The best of those that went furthest, the first of equals. `None` if none was ranked.
    pub fn best(&self) -> Option<&CandidateRecord> {
        let key = |candidate: &CandidateRecord| match candidate.state {
            CandidateState::Ranked { rung } => candidate.fitness.map(|fitness| (rung, fitness)),
            _ => None,
        };
        let ranked = self.candidates.iter().rev().filter_map(|candidate| Some((key(candidate)?, candidate)));
        let best = ranked.max_by(|((rung, a), _), ((other, b), _)| rung.cmp(other).then(a.total_cmp(b)));
        best.map(|(_, candidate)| candidate)
    }

    /// Cost to the budget: the item evaluations, and at least one for each candidate. Otherwise
    /// candidates that are too long to be scored would be free for ever.
    pub fn cost(&self) -> u64 {
        self.evaluations.max(self.candidates.len()) as u64
    }

    /// Mean fitness of the ranked candidates.
    pub fn mean_fitness(&self) -> Option<f64> {
        let ranked = self.candidates.iter().filter(|candidate| candidate.is_ranked());
        let all: Vec<f64> = ranked.filter_map(|candidate| candidate.fitness).collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    }
}

impl CandidateRecord {
    /// True if the candidate was scored and keeps the constraints.
    pub fn is_ranked(&self) -> bool {
        matches!(self.state, CandidateState::Ranked { .. })
    }

    /// Objectives as optimizers are told them, higher is better: scores of the goals that rank,
    /// then negated costs. `None` if the candidate was not ranked.
    pub fn objectives(&self, goals: &[Goal]) -> Option<Vec<f64>> {
        let ranking = goals.iter().zip(&self.goals).filter(|(goal, _)| goal.ranks());
        let means = ranking.map(|(_, mean)| mean.unwrap_or(f64::NEG_INFINITY));
        self.is_ranked().then(|| means.chain(self.costs.iter().map(|cost| -cost)).collect())
    }
}
