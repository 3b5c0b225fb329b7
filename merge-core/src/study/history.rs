//! What a search did and found: generations, candidates, finalists, and the scores on report items.

use super::{Goal, Progress};
use crate::{
    item::ItemScore,
    optimizer::{Genome, Stop},
    recipe::Recipe,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// Item evaluations of the parents beside them, which are no part of the budget: see [`Beside`](super::Beside).
    pub beside: u64,
    /// Models that were given up, as they were broken: how many, by why.
    pub given_up: BTreeMap<String, usize>,
    /// Why the evolution ended before its budget did, if it did.
    pub stopped: Option<Stop>,
    /// The finalists on select items, the answer first.
    pub finalists: Vec<Finalist>,
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
    pub candidates: Vec<CandidateRecord>,
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
pub struct CandidateRecord {
    /// Its numbers.
    pub genome: Genome,
    /// How far it came.
    pub state: CandidateState,
    /// Its fitness on the items it met, if it was scored.
    pub fitness: Option<f64>,
    /// Its mean score by goal, where it met items; where there are anchors, what it is estimated to be on all that they stand for.
    pub goals: Vec<Option<f64>>,
    /// What it costs, in the order of `minimise`.
    pub costs: Vec<f64>,
}

/// How far a candidate came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CandidateState {
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

impl History {
    /// How many candidates there were.
    pub fn candidates(&self) -> usize {
        self.generations.iter().map(|generation| generation.candidates.len()).sum()
    }
}

impl Generation {
    /// The best of those that went furthest; the first of them if several are. `None` if none was ranked.
    pub fn best(&self) -> Option<&CandidateRecord> {
        let key = |candidate: &CandidateRecord| match candidate.state {
            CandidateState::Ranked { rung } => candidate.fitness.map(|fitness| (rung, fitness)),
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
        let ranked = self.candidates.iter().filter(|candidate| candidate.is_ranked());
        let all: Vec<f64> = ranked.filter_map(|candidate| candidate.fitness).collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    }
}

impl CandidateRecord {
    /// Whether it was scored and keeps to the constraints.
    pub fn is_ranked(&self) -> bool {
        matches!(self.state, CandidateState::Ranked { .. })
    }

    /// The goals that rank and the costs as objectives, of which more is better, as optimizers are told; `None` if it was not
    /// ranked.
    pub fn objectives(&self, goals: &[Goal]) -> Option<Vec<f64>> {
        let ranking = goals.iter().zip(&self.goals).filter(|(goal, _)| goal.ranks());
        let means = ranking.map(|(_, mean)| mean.unwrap_or(f64::NEG_INFINITY));
        self.is_ranked().then(|| means.chain(self.costs.iter().map(|cost| -cost)).collect())
    }
}
