//! How far a study is: its parts in order, what each of them takes, and how its generations were.

use super::{Beside, Generation, Goal, front};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard};

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
    /// The best fitness of those that were ranked.
    pub best: Option<f64>,
    /// Their mean fitness.
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

/// How far a study is, told to whoever watches it.
pub(super) struct Course<'a> {
    goals: &'a [Goal],
    watcher: &'a (dyn Fn(&Progress) + Sync),
    state: Mutex<(Ledger, Progress)>,
}

/// What items are scored for.
#[derive(Clone, Copy)]
pub(super) enum Account {
    /// What the study consists of.
    Course,
    /// To compare with, beside it.
    Beside,
}

/// A generation that is over.
pub(super) struct GenerationEnd<'a> {
    /// How much of the budget is spent at its end.
    pub(super) spent: u64,
    /// How many are over, of about how many.
    pub(super) generations: (u64, u64),
    pub(super) generation: &'a Generation,
    pub(super) beside: &'a Beside,
}

/// What the parts of a study take, in item evaluations.
///
/// What is done never becomes less, what is left never more: a share of the whole never goes backward. It follows from the
/// records alone at the end of each generation, so that a study that goes on is where it was.
#[derive(Clone, Debug, Default)]
struct Ledger {
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

impl<'a> Course<'a> {
    /// Of a study that has not begun, with the most that each of its parts may take.
    pub(super) fn new(parts: Vec<(Phase, u64)>, goals: &'a [Goal], watcher: &'a (dyn Fn(&Progress) + Sync)) -> Self {
        let ledger = Ledger::new(parts);
        let (_, left) = ledger.sums();
        Self { goals, watcher, state: Mutex::new((ledger, Progress { left, ..Progress::default() })) }
    }

    /// The next part begins, which takes so many items, in about so many generations if it has any.
    pub(super) fn begin(&self, phase: Phase, items: usize, generations: Option<u64>) {
        self.begin_after(phase, items, generations, &[]);
    }

    /// The next part begins, some generations of which are known: where it is now is the first that the watcher is told of it.
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

    /// A generation is over.
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

    /// So many items were scored now.
    pub(super) fn score(&self, items: usize, tokens: u64, account: Account) {
        self.change(|ledger, progress| {
            if let Account::Course = account {
                ledger.count(items as u64);
                progress.done_now += items as u64;
            }
            progress.scored_now += items;
            progress.tokens_now += tokens;
        });
    }

    /// So many scores were remembered.
    pub(super) fn recall(&self, items: usize, account: Account) {
        self.change(|ledger, progress| {
            if let Account::Course = account {
                ledger.count(items as u64);
            }
            progress.recalled_now += items;
        });
    }

    /// So many items of this part are done, where that is known better than by counting.
    pub(super) fn reach(&self, items: u64) {
        self.change(|ledger, _| ledger.reach(items));
    }

    /// What is done of this part.
    pub(super) fn reached(&self) -> u64 {
        self.lock().0.reached
    }

    /// This part is over, and has taken so many items.
    pub(super) fn end(&self, items: u64) {
        self.change(|ledger, _| ledger.end(items));
    }

    /// How far it is.
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
        // While nobody else can: what is told is told in its order.
        (self.watcher)(progress);
    }
}

impl Ledger {
    /// Of a study that has not begun, with the most that each of its parts may take.
    fn new(ahead: Vec<(Phase, u64)>) -> Self {
        Self { ahead, ..Self::default() }
    }

    /// The next part begins, which takes so many: no more than was said. What was not said is paid from the part after it, as a layer
    /// scan and a calibration are.
    fn begin(&mut self, phase: Phase, of: u64) {
        let is_said = self.ahead.iter().any(|(other, _)| *other == phase);
        self.ahead.retain(|(other, _)| *other > phase);
        if let Some((_, next)) = self.ahead.first_mut().filter(|_| !is_said) {
            *next = next.saturating_sub(of);
        }
        *self = Self { ahead: std::mem::take(&mut self.ahead), before: self.before + self.of, of, ..Self::default() };
    }

    /// So many of this part are done.
    fn reach(&mut self, done: u64) {
        self.counted = done;
        self.reached = self.reached.max(done.min(self.of));
    }

    /// So many more are done.
    fn count(&mut self, more: u64) {
        self.reach(self.counted + more);
    }

    /// This part is over, and has taken so many.
    fn end(&mut self, done: u64) {
        (self.counted, self.reached, self.of) = (done, done, done);
    }

    /// Done, and left, of all parts.
    fn sums(&self) -> (u64, u64) {
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
