//! The search loop: ask, fill, merge, score what is not known yet, remember, tell; and at the end choose and report.
//!
//! Items are split three ways. Each generation draws one fresh subset of the *search* items, shared by all its candidates:
//! a fixed subset would be overfitted, and candidates scored on different items cannot be ranked. The answer is
//! chosen on the *select* items among the distribution's mean and some of the best candidates, and scored once on the
//! *report* items, which no decision has seen.
//!
//! Everything is derived from the seed and the scores, and scores are remembered by content. So a search that broke down
//! goes on by asking again and looking the scores up, and ends as if nothing had happened.
//!
//! The files, as a study goes through them: `check` refuses what cannot be searched, `identity` refuses another study's directory;
//! `run` is the study from end to end. Before the first generation, `layer_scan` and `anchors` look at layers and items. Then
//! `evolution` runs the optimizer generation by generation. In each `generation`, `draw` takes items, `race` scores candidates
//! on them (`score` remembers every score), `rank` makes records of them, `tell` says what the optimizer is told, and `signal` whether
//! the next generation needs more items. `beside` compares them with the parents. At the end `finalists` has the answer, and `soup` one of the baselines. `record` and `snapshot` are
//! what others read of a study, `mark` is how its
//! directory is known, and `progress` says how far it is. `goal`, `candidate` and `history` are the data that all of them share.

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
    beside::{Beside, Lead, best_parent},
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
    /// The checkpoints it names.
    pub sources: &'a Sources,
    /// The recipes whose results are among them, each after those that it merges.
    pub earlier: &'a [Recipe],
    /// The SHA-256 of the files of the sources: [`Sources::sha256`].
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

/// Runs a study to its end, from wherever it stands.
///
/// Fails if the store holds another study, if the budget does not pay for a generation, or if a model cannot be scored. If it was
/// interrupted, the error's fault is [`Fault::Interrupted`](crate::error::Fault): running it again goes on.
pub fn run(study: &Study<'_>) -> Result<Findings> {
    run::run(study)
}

impl<'a> Study<'a> {
    /// What the template becomes with these numbers.
    fn candidate(&self, space: &Space, genome: &[f64]) -> Candidate<'a> {
        Candidate::merged(self.template.fill(space, genome), self.sources)
    }

    /// The models merged, and the base.
    fn parents(&self) -> Vec<Candidate<'a>> {
        self.sources.iter().map(|(name, _)| Candidate::source(name, self.sources)).collect()
    }
}
