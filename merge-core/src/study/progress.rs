//! How far a study is: its parts in order, what each of them takes, and how its generations were.

use super::{Beside, Generation, Goal, front};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A part of a study, in the order in which they come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Which layers are missed.
    #[default]
    LayerScan,
    /// What items tell, to choose anchors.
    Calibration,
    /// The search itself.
    Evolution,
    /// Who is the answer.
    Selection,
    /// A baseline: the average of the best parents.
    GreedySoup,
    /// A baseline: as many evaluations without an optimizer.
    RandomSearch,
    /// Who is that baseline's answer.
    RandomSelection,
    /// Everyone on items that no decision has seen.
    Report,
}

/// How far a search is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// In phases that have them: generations finished, and about how many there will be.
    pub generations: Option<(u64, u64)>,
    /// How the generations were.
    pub curves: Arc<Curves>,
    /// Item evaluations of all phases that are done, scored now or before.
    pub done: u64,
    /// Those that are left, at most: less when a phase ends early.
    pub left: u64,
    /// How many of the done ones were scored since the process began.
    pub done_now: u64,
    /// Items scored since the process began, those of the parents beside a generation among them.
    pub scored_now: usize,
    /// Items found in the store since then.
    pub recalled_now: usize,
    /// Tokens generated since then.
    pub tokens_now: u64,
}

/// The generations of a study so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curves {
    /// Of the evolution.
    pub evolution: Vec<Point>,
    /// Of random search beside it.
    pub random: Vec<Point>,
}

/// A generation in a few numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The best fitness and the mean one, of those that were ranked.
    pub best: Option<f64>,
    /// The mean fitness.
    pub mean: Option<f64>,
    /// The step size, if there is one.
    pub sigma: Option<f64>,
    /// The best candidate's mean score by goal.
    pub goals: Vec<Option<f64>>,
    /// What candidates scored on the goals that rank and what they cost, those that nobody in the generation beats in everything.
    pub front: Vec<Vec<f64>>,
    /// How it did beside the parents, on the same items.
    pub beside: Beside,
}

/// What the parts of a study take, in item evaluations.
///
/// What is done never becomes less, what is left never more: a share of the whole never goes backward. It follows from the
/// records alone at the end of each generation, so that a study that goes on is where it was.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    /// Those to come, each with the most that it may take.
    ahead: Vec<(Phase, u64)>,
    /// All that are over.
    before: u64,
    /// This one: counted, reached, of so many. Counting starts again where a race asks for what it has asked before.
    counted: u64,
    reached: u64,
    of: u64,
}

impl Phase {
    /// Those with generations keep their records by this name.
    pub fn name(self) -> &'static str {
        match self {
            Self::LayerScan => "layer scan",
            Self::Calibration => "calibration",
            Self::Evolution => "evolution",
            Self::Selection => "selection",
            Self::GreedySoup => "greedy soup",
            Self::RandomSearch => "random search",
            Self::RandomSelection => "selection of random search",
            Self::Report => "report",
        }
    }

    /// Whether it is there for what the answer must beat.
    pub fn is_baseline(self) -> bool {
        matches!(self, Self::GreedySoup | Self::RandomSearch | Self::RandomSelection)
    }
}

impl Point {
    pub(super) fn of(generation: &Generation, beside: Beside, goals: &[Goal]) -> Self {
        let objectives: Vec<Vec<f64>> =
            generation.candidates.iter().filter_map(|candidate| candidate.objectives(goals)).collect();
        let best = generation.best();
        Self {
            best: best.and_then(|candidate| candidate.fitness),
            mean: generation.mean_fitness(),
            sigma: generation.sigma,
            goals: best.map(|candidate| candidate.goals.clone()).unwrap_or_default(),
            front: front(&objectives).into_iter().map(|position| objectives[position].clone()).collect(),
            beside,
        }
    }
}

impl Ledger {
    /// Of a study that has not begun, with the most that each of its parts may take.
    pub(super) fn new(ahead: Vec<(Phase, u64)>) -> Self {
        Self { ahead, ..Self::default() }
    }

    /// The next part begins, which takes so many: no more than was said.
    pub(super) fn begin(&mut self, phase: Phase, of: u64) {
        self.ahead.retain(|(other, _)| *other > phase);
        *self = Self { ahead: std::mem::take(&mut self.ahead), before: self.before + self.of, of, ..Self::default() };
    }

    /// So many of this part are done.
    pub(super) fn reach(&mut self, done: u64) {
        self.counted = done;
        self.reached = self.reached.max(done.min(self.of));
    }

    /// So many more are done.
    pub(super) fn count(&mut self, more: u64) {
        self.reach(self.counted + more);
    }

    /// What is done of this part.
    pub(super) fn reached(&self) -> u64 {
        self.reached
    }

    /// This part is over, and has taken so many.
    pub(super) fn end(&mut self, done: u64) {
        (self.counted, self.reached, self.of) = (done, done, done);
    }

    /// Done, and left, of all parts.
    pub(super) fn sums(&self) -> (u64, u64) {
        let ahead: u64 = self.ahead.iter().map(|(_, items)| items).sum();
        (self.before + self.reached, self.of - self.reached + ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(ledger: &mut Ledger, steps: &[&dyn Fn(&mut Ledger)]) -> Vec<(u64, u64)> {
        let after = |step: &&dyn Fn(&mut Ledger)| {
            step(ledger);
            ledger.sums()
        };
        steps.iter().map(after).collect()
    }

    #[test]
    fn what_is_left_shrinks_when_a_part_ends_early_and_is_never_counted_twice() {
        let mut ledger = Ledger::new(vec![(Phase::Evolution, 100), (Phase::Selection, 20), (Phase::RandomSearch, 100)]);
        assert_eq!(ledger.sums(), (0, 220));
        let seen = shares(
            &mut ledger,
            &[
                &|l| l.begin(Phase::Evolution, 100),
                &|l| l.count(30),
                // The second rung of a race asks for what the first has asked, and more.
                &|l| l.reach(10),
                &|l| l.count(40),
                &|l| l.end(60),
                &|l| l.begin(Phase::Selection, 12),
                &|l| l.count(99),
                &|l| l.begin(Phase::RandomSearch, 60),
            ],
        );
        let expected = [(0, 220), (30, 190), (30, 190), (50, 170), (60, 120), (60, 112), (72, 100), (72, 60)];
        assert_eq!(seen, expected);
    }

    /// A study that goes on does so from its records.
    #[test]
    fn a_study_that_goes_on_is_where_it_was() {
        let new = || Ledger::new(vec![(Phase::Evolution, 100), (Phase::Report, 50)]);
        let (mut first, mut again) = (new(), new());
        shares(&mut first, &[&|l| l.begin(Phase::Evolution, 90), &|l| l.count(25), &|l| l.reach(30)]);
        shares(&mut again, &[&|l| l.begin(Phase::Evolution, 90), &|l| l.reach(30)]);
        assert_eq!(first.sums(), again.sums());
    }
}
