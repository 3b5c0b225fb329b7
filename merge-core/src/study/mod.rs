//! The search loop: ask, fill, merge, score, remember, tell; at the end choose and report.
//!
//! Items are split three ways. Each generation draws a fresh subset of the *search* items for all
//! its candidates: a fixed subset would be overfitted, and candidates scored on different items
//! cannot be ranked. The answer is chosen on the *select* items, among the distribution's mean and
//! some of the best candidates, and scored once on the *report* items, which no decision has seen.
//!
//! Everything follows from the seed and the scores, which are remembered by content. A resumed
//! search asks again, looks the scores up, and ends as if it had never stopped.
//!
//! The files, in the order in which a study uses them. `check` refuses searches that cannot run,
//! and `identity` refuses another study's directory. `run` is the study from end to end. Before the
//! first generation, `layer_scan` tests layers and `anchors` chooses items. Then `evolution` runs
//! the optimizer. In each `generation`, `draw` draws items, `race` scores candidates (`score`
//! stores the scores), `rank` makes records of them, `tell` makes the optimizer's feedback, and
//! `signal` tells if more items are needed. `beside` compares candidates with parents, `finalists`
//! finds the answer, and `soup` is a baseline. Others read `record` and `snapshot`; `mark`
//! identifies the directory, and `progress` tells how far the study is. All share the data in
//! `goal`, `candidate` and `history`.

mod anchors;
mod beside;
mod candidate;
mod check;
mod draw;
mod evolution;
mod finalists;
mod generation;
mod goal;
mod history;
mod identity;
pub(crate) mod irt;
mod layer_scan;
mod mark;
mod progress;
mod race;
mod rank;
mod record;
mod run;
mod score;
mod signal;
mod snapshot;
mod soup;
mod tell;
#[cfg(test)]
mod tests;

pub use self::{
    beside::{Lead, ParentComparison, best_parent},
    candidate::{Candidate, Origin},
    check::{check, evaluations},
    goal::{Goal, Listener, News, Objective, fitness},
    history::{CandidateRecord, CandidateState, Entry, Finalist, Findings, Generation, History},
    mark::{AnswerScope, StudyMark},
    progress::{Curves, Phase, Point, Progress},
    record::{About, Ending, StudyRecord, record},
    snapshot::snapshot,
};

pub use crate::optimizer::pareto::{dominates, front, hypervolume};

use crate::{
    error::Result,
    merge::sources::Sources,
    recipe::Recipe,
    search::Search,
    store::Store,
    template::{Space, Template},
};
use std::{collections::BTreeMap, sync::atomic::AtomicBool};

/// Everything that a search needs. See [`run`].
pub struct Study<'a> {
    /// The recipe with holes.
    pub template: &'a Template,
    /// The checkpoints that the template names.
    pub sources: &'a Sources,
    /// Recipes whose results are among the sources, each after those that it merges.
    pub earlier: &'a [Recipe],
    /// SHA-256 of the sources' files: [`Sources::sha256`].
    pub hashes: &'a [(String, BTreeMap<String, String>)],
    /// Settings of the search.
    pub search: &'a Search,
    /// Text of the search file.
    pub text: &'a str,
    /// The objective to maximise.
    pub objective: &'a dyn Objective,
    /// The store of the study.
    pub store: &'a Store,
    /// Number of candidates scored in parallel, at least 1.
    pub workers: usize,
    /// Set from outside to stop the study cleanly.
    pub interrupted: &'a AtomicBool,
    /// Called with the study's progress, from any thread.
    pub progress: &'a (dyn Fn(&Progress) + Sync),
}

/// Runs a study to its end; goes on from where it stands.
///
/// Fails if the store holds another study, if the budget does not pay for a generation, if a model
/// cannot be scored, or with [`Fault::Interrupted`](crate::error::Fault) if the study was
/// interrupted: then run it again to go on.
pub fn run(study: &Study<'_>) -> Result<Findings> {
    run::run(study)
}

impl<'a> Study<'a> {
    /// The candidate that the template becomes with this genome.
    fn candidate(&self, space: &Space, genome: &[f64]) -> Candidate<'a> {
        Candidate::merged(self.template.fill(space, genome), self.sources)
    }

    /// The sources: the models merged, and the base.
    fn parents(&self) -> Vec<Candidate<'a>> {
        self.sources.iter().map(|(name, _)| Candidate::source(name, self.sources)).collect()
    }
}
