//! Progress of a study: its phases, the item evaluations of each, and figures of its generations.

use super::{Generation, Goal, ParentComparison, front};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard};

/// A phase of a study. The phases run in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Measures how much each layer is missed.
    #[default]
    LayerScan,
    /// Fits item parameters, to choose anchors.
    Calibration,
    /// The search itself.
    Evolution,
    /// Choice of the answer.
    Selection,
    /// Baseline: the average of the best parents.
    GreedySoup,
    /// Baseline: as many evaluations without an optimizer.
    RandomSearch,
    /// Choice of the random search's answer.
    RandomSelection,
    /// All models on items that no decision has seen.
    Report,
}

/// Progress of a search.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Current phase.
    pub phase: Phase,
    /// Generations finished, and about how many there will be, in phases that have generations.
    pub generations: Option<(u64, u64)>,
    /// Figures of the generations.
    pub curves: Arc<Curves>,
    /// Item evaluations done in all phases, scored now or before.
    pub done: u64,
    /// Maximum number of item evaluations left; fewer if a phase ends early.
    pub left: u64,
    /// Number of those done that were scored since the process began.
    pub done_now: u64,
    /// Items scored since the process began, including those of parents beside a generation.
    pub scored_now: usize,
    /// Items found in the store since the process began.
    pub recalled_now: usize,
    /// Tokens generated since the process began.
    pub tokens_now: u64,
}

/// The generations of a study so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curves {
    /// Generations of the evolution.
    pub evolution: Vec<Point>,
    /// Generations of the random search.
    pub random: Vec<Point>,
}

/// Figures of a generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Fitness of [the best candidate](Generation::best).
    pub best: Option<f64>,
    /// Mean fitness of the ranked candidates.
    pub mean: Option<f64>,
    /// Step size, if the optimizer has one.
    pub sigma: Option<f64>,
    /// Mean score of the best candidate for each goal.
    pub goals: Vec<Option<f64>>,
    /// Scores and negated costs of the candidates that no other of the generation dominates.
    pub front: Vec<Vec<f64>>,
    /// Comparison with the parents on the same items.
    pub beside: ParentComparison,
}

/// Keeps the progress of a study, and tells it to a watcher.
pub(super) struct ProgressTracker<'a> {
    goals: &'a [Goal],
    watcher: &'a (dyn Fn(&Progress) + Sync),
    state: Mutex<(Ledger, Progress)>,
}

/// Account on which scored items are counted.
#[derive(Clone, Copy)]
pub(super) enum Account {
    /// The study itself.
    Study,
    /// Comparisons beside the study.
    Beside,
}

/// A finished generation.
pub(super) struct GenerationEnd<'a> {
    /// Budget spent at its end.
    pub(super) spent: u64,
    /// Generations finished, and about how many there will be.
    pub(super) generations: (u64, u64),
    pub(super) generation: &'a Generation,
    pub(super) beside: &'a ParentComparison,
}

/// Item evaluations of the phases of a study.
///
/// The number done never falls and the number left never rises, so the share done never falls. At
/// the end of a generation both follow from the records alone, so a resumed study is where it was.
#[derive(Clone, Debug, Default)]
struct Ledger {
    /// Phases to come, each with its maximum.
    ahead: Vec<(Phase, u64)>,
    /// Item evaluations of all finished phases.
    before: u64,
    /// Current phase: items counted, done, planned. Counting restarts if a race asks items again.
    counted: u64,
    reached: u64,
    planned: u64,
}

impl Phase {
    /// Name of the phase; generations are stored under it.
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

    /// True for phases that only compute a baseline.
    pub fn is_baseline(self) -> bool {
        matches!(self, Self::GreedySoup | Self::RandomSearch | Self::RandomSelection)
    }
}

impl Point {
    pub(super) fn of(generation: &Generation, beside: ParentComparison, goals: &[Goal]) -> Self {
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

impl<'a> ProgressTracker<'a> {
    /// Progress of a study that has not begun; `parts` has the maximum of each phase.
    pub(super) fn new(parts: Vec<(Phase, u64)>, goals: &'a [Goal], watcher: &'a (dyn Fn(&Progress) + Sync)) -> Self {
        let ledger = Ledger::new(parts);
        let (_, left) = ledger.sums();
        Self { goals, watcher, state: Mutex::new((ledger, Progress { left, ..Progress::default() })) }
    }

    /// Begins the next phase, with `items` items and about `generations` generations, if any.
    pub(super) fn begin(&self, phase: Phase, items: usize, generations: Option<u64>) {
        self.begin_after(phase, items, generations, &[]);
    }

    /// Begins the next phase with its `known` generations. The watcher is called once, after these.
    pub(super) fn begin_after(
        &self,
        phase: Phase,
        items: usize,
        generations: Option<u64>,
        known: &[GenerationEnd<'_>],
    ) {
        self.change(|ledger, progress| {
            ledger.begin(phase, items as u64);
            progress.phase = phase;
            progress.generations = generations.map(|about| (0, about));
            for one in known {
                progress.recalled_now += one.generation.evaluations;
                self.add(ledger, progress, one);
            }
        });
    }

    /// Adds a finished generation.
    pub(super) fn pass(&self, one: &GenerationEnd<'_>) {
        self.change(|ledger, progress| self.add(ledger, progress, one));
    }

    fn add(&self, ledger: &mut Ledger, progress: &mut Progress, one: &GenerationEnd<'_>) {
        ledger.reach(one.spent);
        progress.generations = Some(one.generations);
        let curves = Arc::make_mut(&mut progress.curves);
        let curve = if progress.phase == Phase::Evolution { &mut curves.evolution } else { &mut curves.random };
        curve.push(Point::of(one.generation, one.beside.clone(), self.goals));
    }

    /// Counts items that were scored now.
    pub(super) fn score(&self, items: usize, tokens: u64, account: Account) {
        self.change(|ledger, progress| {
            if let Account::Study = account {
                ledger.count(items as u64);
                progress.done_now += items as u64;
            }
            progress.scored_now += items;
            progress.tokens_now += tokens;
        });
    }

    /// Counts items whose scores were remembered.
    pub(super) fn recall(&self, items: usize, account: Account) {
        self.change(|ledger, progress| {
            if let Account::Study = account {
                ledger.count(items as u64);
            }
            progress.recalled_now += items;
        });
    }

    /// Sets the items done in this phase, where that is known better than by counting.
    pub(super) fn reach(&self, items: u64) {
        self.change(|ledger, _| ledger.reach(items));
    }

    /// Items done in this phase.
    pub(super) fn reached(&self) -> u64 {
        self.lock().0.reached
    }

    /// Ends this phase, which took `items` items.
    pub(super) fn end(&self, items: u64) {
        self.change(|ledger, _| ledger.end(items));
    }

    /// The present progress.
    pub(super) fn progress(&self) -> Progress {
        self.lock().1.clone()
    }

    fn lock(&self) -> MutexGuard<'_, (Ledger, Progress)> {
        self.state.lock().expect("no panic while held")
    }

    fn change(&self, change: impl FnOnce(&mut Ledger, &mut Progress)) {
        let (ledger, progress) = &mut *self.lock();
        change(ledger, progress);
        (progress.done, progress.left) = ledger.sums();
        // Called under the lock, so that the watcher is told everything in order.
        (self.watcher)(progress);
    }
}

impl Ledger {
    fn new(ahead: Vec<(Phase, u64)>) -> Self {
        Self { ahead, ..Self::default() }
    }

    /// Begins a phase of `planned` items, at most as many as announced. A phase that was not announced,
    /// such as a layer scan or a calibration, is paid from the next one.
    fn begin(&mut self, phase: Phase, planned: u64) {
        let is_said = self.ahead.iter().any(|(other, _)| *other == phase);
        self.ahead.retain(|(other, _)| *other > phase);
        if let Some((_, next)) = self.ahead.first_mut().filter(|_| !is_said) {
            *next = next.saturating_sub(planned);
        }
        *self = Self {
            ahead: std::mem::take(&mut self.ahead),
            before: self.before + self.planned,
            planned,
            ..Self::default()
        };
    }

    /// Sets the items done in this phase.
    fn reach(&mut self, done: u64) {
        self.counted = done;
        self.reached = self.reached.max(done.min(self.planned));
    }

    /// Adds to the items done in this phase.
    fn count(&mut self, more: u64) {
        self.reach(self.counted + more);
    }

    /// Ends this phase, which took `done` items.
    fn end(&mut self, done: u64) {
        (self.counted, self.reached, self.planned) = (done, done, done);
    }

    /// Items done and items left, in all phases.
    fn sums(&self) -> (u64, u64) {
        let ahead: u64 = self.ahead.iter().map(|(_, items)| items).sum();
        (self.before + self.reached, self.planned - self.reached + ahead)
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
                // The second rung of a race asks again for the items of the first, and for more.
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

    /// A resumed study counts from its records.
    #[test]
    fn a_study_that_goes_on_is_where_it_was() {
        let new = || Ledger::new(vec![(Phase::Evolution, 100), (Phase::Report, 50)]);
        let (mut first, mut again) = (new(), new());
        shares(&mut first, &[&|l| l.begin(Phase::Evolution, 90), &|l| l.count(25), &|l| l.reach(30)]);
        shares(&mut again, &[&|l| l.begin(Phase::Evolution, 90), &|l| l.reach(30)]);
        assert_eq!(first.sums(), again.sums());
    }
}
