//! Scores models side by side on items that the store does not know yet, and remembers what it hears.

use super::{
    Beside, Generation, News, Point, Progress, Study,
    progress::{Ledger, Phase},
};
use crate::{
    error::{Error, Fault, Result},
    item::{ItemId, ItemScore},
    merge::Merge,
    recipe::Recipe,
    store::{Fingerprint, Record},
};
use sha2::{Digest, Sha256};
use std::{
    ops::ControlFlow,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// Changes with everything in this program that can change a score or an answer, so that what an older one remembers is not
/// trusted.
pub const ENGINE: &[u8] = b"evomerge forward pass 2";

/// A model to score.
pub(super) enum Model {
    /// Merged in memory.
    Merge(Box<Recipe>),
    /// A checkpoint as it is, by the name the recipe gives it.
    Source(String),
}

/// What became of one model.
#[derive(Clone, Debug)]
pub(super) struct Scored {
    /// One list for each goal, in the order asked.
    pub(super) scores: Vec<Vec<ItemScore>>,
    /// Why it was given up, if it was: then some of its scores are the worst there are, unasked.
    pub(super) failed: Option<String>,
}

impl Scored {
    pub(super) fn n_items(&self) -> usize {
        self.scores.iter().map(Vec::len).sum()
    }

    /// Tokens that it generated.
    pub(super) fn tokens(&self) -> u64 {
        self.scores.iter().flatten().map(|score| u64::from(score.tokens)).sum()
    }

    /// Tokens that it generated for an answer, on average.
    pub(super) fn mean_tokens(&self) -> f64 {
        self.tokens() as f64 / self.n_items().max(1) as f64
    }
}

/// Where it is put what became of one model: `None` until it has been its turn, and for one that was interrupted.
type Slot = Mutex<Option<Result<Option<Scored>>>>;

pub(super) struct Scoring<'a> {
    study: &'a Study<'a>,
    /// Everything beside the recipe that a merge is made of.
    inputs: Fingerprint,
    state: Mutex<(Ledger, Progress)>,
}

/// What items are scored for.
#[derive(Clone, Copy)]
enum Account {
    /// What the study consists of.
    Course,
    /// To compare with, beside it.
    Beside,
}

/// A generation that is over.
pub(super) struct Passed<'a> {
    /// How much of the budget is spent at its end.
    pub(super) spent: u64,
    /// How many are over, of about how many.
    pub(super) generations: (u64, u64),
    pub(super) generation: &'a Generation,
    pub(super) beside: &'a Beside,
}

impl<'a> Scoring<'a> {
    /// `ledger` is what the study takes.
    pub(super) fn new(study: &'a Study<'a>, ledger: Ledger) -> Self {
        let inputs = Sha256::new().chain_update(ENGINE).chain_update(study.hashes.payload());
        let earlier = |hash: Sha256, recipe: &Recipe| hash.chain_update(recipe.fingerprint());
        let inputs = study.earlier.iter().fold(inputs, earlier).finalize().into();
        let (_, left) = ledger.sums();
        let state = Mutex::new((ledger, Progress { left, ..Progress::default() }));
        Self { study, inputs, state }
    }

    /// Scores models on items; `None` if interrupted.
    pub(super) fn score(&self, models: &[Model], asked: &[Vec<ItemId>]) -> Result<Option<Vec<Scored>>> {
        self.score_all(models, asked, Account::Course)
    }

    /// The same for what is no part of the study's course.
    pub(super) fn score_beside(&self, models: &[Model], asked: &[Vec<ItemId>]) -> Result<Option<Vec<Scored>>> {
        self.score_all(models, asked, Account::Beside)
    }

    fn score_all(&self, models: &[Model], asked: &[Vec<ItemId>], account: Account) -> Result<Option<Vec<Scored>>> {
        if models.is_empty() {
            return Ok(Some(Vec::new()));
        }
        // A model that is asked for twice is scored once.
        let keys: Vec<Fingerprint> = models.iter().map(|model| self.key(model)).collect();
        let first = |number: usize| keys.iter().position(|key| *key == keys[number]).expect("it is one of them");
        let firsts: Vec<usize> = (0..models.len()).filter(|number| first(*number) == *number).collect();
        let workers = self.study.workers.clamp(1, firsts.len());
        let threads = (thread::available_parallelism().map_or(1, usize::from) / workers).max(1);
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let slots: Vec<Slot> = models.iter().map(|_| Slot::default()).collect();
        let work = || {
            // A pool of its own: two candidates in one pool would wait for each other's tensors.
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let pool = pool.map_err(|e| Error::machine(format!("cannot start threads: {e}")));
            while !failed.load(Ordering::Relaxed) && !self.interrupted() {
                let Some(number) = firsts.get(next.fetch_add(1, Ordering::Relaxed)).copied() else { return };
                let model = &models[number];
                let pool = pool.as_ref().map_err(Clone::clone);
                let scored = pool.and_then(|pool| pool.install(|| self.score_one(model, asked, account)));
                failed.fetch_or(scored.is_err(), Ordering::Relaxed);
                *slots[number].lock().expect("no panic while held") = Some(scored);
            }
        };
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(work);
            }
        });
        let results = slots.into_iter().map(|slot| slot.into_inner().expect("no panic while held").transpose());
        let scores = results.collect::<Result<Vec<Option<Option<Scored>>>>>()?;
        let of = |number: usize| scores[first(number)].clone().flatten();
        let all: Option<Vec<Scored>> = (0..models.len()).map(of).collect();
        if let Some(all) = &all {
            let twice = (0..models.len()).filter(|number| first(*number) != *number).map(|n| all[n].n_items()).sum();
            self.recalled(twice, account);
        }
        Ok(all)
    }

    /// Scores one model on the items that are not known yet; `None` if interrupted.
    fn score_one(&self, model: &Model, asked: &[Vec<ItemId>], account: Account) -> Result<Option<Scored>> {
        let (goals, store) = (self.study.objective.goals(), self.study.store);
        let key = self.key(model);
        let look_up = || -> Result<Vec<Vec<Option<ItemScore>>>> {
            goals.iter().zip(asked).map(|(goal, items)| store.scores(&key, &goal.fingerprint, items)).collect()
        };
        let known = look_up()?;
        self.recalled(known.iter().flatten().flatten().count(), account);
        let unknown = |(items, known): (&Vec<ItemId>, &Vec<Option<ItemScore>>)| -> Vec<ItemId> {
            items.iter().zip(known).filter(|(_, score)| score.is_none()).map(|(item, _)| *item).collect()
        };
        let missing: Vec<Vec<ItemId>> = asked.iter().zip(&known).map(unknown).collect();
        if missing.iter().all(Vec::is_empty) {
            return Ok(complete(known, store.why_given_up(&key)?));
        }
        // What was cut cannot be read, not even to find out that it was.
        self.check_sources()?;
        if let Some(why) = store.why_given_up(&key)? {
            // It was given up on other items: it is asked no more.
            self.give_up(&key, &why, &missing, account)?;
            return Ok(complete(look_up()?, Some(why)));
        }
        let mut unkept: Option<Error> = None;
        let keep = |news: News| -> Result<ControlFlow<()>> {
            self.check_sources()?;
            let (n_items, tokens) = match news {
                News::Scores(goal, scores) => {
                    let n_items = scores.len();
                    let tokens = scores.iter().map(|(_, score)| u64::from(score.tokens)).sum();
                    store.remember(&key, &goals[goal].fingerprint, scores)?;
                    (n_items, tokens)
                }
                News::GivenUp(why, scores) => {
                    let all = goals.iter().zip(scores);
                    let all = all.flat_map(|(goal, scores)| scores.into_iter().map(|score| (goal.fingerprint, score)));
                    let all: Vec<_> = all.collect();
                    store.give_up(&key, &why, &all)?;
                    (all.len(), 0)
                }
            };
            self.change(|ledger, progress| {
                if let Account::Course = account {
                    ledger.count(n_items as u64);
                    progress.done_now += n_items as u64;
                }
                progress.scored_now += n_items;
                progress.tokens_now += tokens;
            });
            Ok(if self.interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        let mut heard = |news: News| keep(news).inspect_err(|error: &Error| unkept = Some(error.clone()));
        let scored = match model {
            Model::Merge(recipe) => Merge::plan(recipe, &self.study.sources.of(recipe))
                .and_then(|merge| self.study.objective.score(&merge, &missing, &mut heard)),
            Model::Source(name) => self.study.objective.score(&**self.study.sources.get(name), &missing, &mut heard),
        };
        match (scored, unkept, model) {
            // A candidate that cannot be merged or asked is a bad candidate: it ends no search.
            (Err(error), None, Model::Merge(_)) if error.fault() == Fault::User => {
                self.check_sources()?;
                let known = look_up()?;
                let missing: Vec<Vec<ItemId>> = asked.iter().zip(&known).map(unknown).collect();
                self.give_up(&key, &error.to_string(), &missing, account)?;
            }
            (_, Some(error), _) | (Err(error), None, _) => return Err(error),
            (Ok(()), None, _) => {}
        }
        Ok(complete(look_up()?, store.why_given_up(&key)?))
    }

    /// Fails if a model's file is not the one any more that scores are remembered for: no score is taken of another's weights.
    fn check_sources(&self) -> Result<()> {
        let unchanged = self.study.sources.check_unchanged(self.study.hashes);
        unchanged.map_err(|e| {
            e.hint(
                "nothing that was scored is lost: put back the file that the search began with, and run the same command again; \
                 or search with the new one in another directory",
            )
        })
    }

    /// Remembers that a model is asked no more, with the worst scores for what it has not answered.
    fn give_up(&self, key: &Fingerprint, why: &str, missing: &[Vec<ItemId>], account: Account) -> Result<()> {
        let goals = self.study.objective.goals().iter().zip(missing);
        let worst = goals.flat_map(|(goal, items)| {
            let score = ItemScore { value: goal.worst, tokens: 0, truncated: false };
            items.iter().map(move |item| (goal.fingerprint, (*item, score)))
        });
        let worst: Vec<_> = worst.collect();
        self.study.store.give_up(key, why, &worst)?;
        self.recalled(worst.len(), account);
        Ok(())
    }

    /// What a model's scores are remembered by: its content.
    fn key(&self, model: &Model) -> Fingerprint {
        let hash = Sha256::new().chain_update(self.inputs);
        match model {
            Model::Merge(recipe) => hash.chain_update(recipe.fingerprint()),
            Model::Source(name) => hash.chain_update(b"source").chain_update(name),
        }
        .finalize()
        .into()
    }

    fn interrupted(&self) -> bool {
        self.study.interrupted.load(Ordering::Relaxed)
    }

    /// What is known of a model, without asking it.
    pub(super) fn known(&self, model: &Model, asked: &[Vec<ItemId>]) -> Result<Vec<Vec<Option<ItemScore>>>> {
        let key = self.key(model);
        let goals = self.study.objective.goals().iter().zip(asked);
        goals.map(|(goal, items)| self.study.store.scores(&key, &goal.fingerprint, items)).collect()
    }

    /// Says that another part of the study begins, which takes so many items, in about so many generations if it has any.
    pub(super) fn begin(&self, phase: Phase, items: usize, generations: Option<u64>) {
        self.begin_after(phase, items, generations, &[]);
    }

    /// Begins a part some generations of which are known: where it is now is the first that is told of it.
    pub(super) fn begin_after(&self, phase: Phase, items: usize, generations: Option<u64>, known: &[Passed<'_>]) {
        self.change(|ledger, progress| {
            ledger.begin(phase, items as u64);
            progress.phase = phase;
            progress.generations = generations.map(|about| (0, about));
            for one in known {
                progress.recalled_now += one.generation.evaluations;
                self.pass(ledger, progress, one);
            }
        });
    }

    /// Says that a generation is over.
    pub(super) fn passed(&self, one: &Passed<'_>) {
        self.change(|ledger, progress| self.pass(ledger, progress, one));
    }

    fn pass(&self, ledger: &mut Ledger, progress: &mut Progress, one: &Passed<'_>) {
        ledger.reach(one.spent);
        progress.generations = Some(one.generations);
        let curves = Arc::make_mut(&mut progress.curves);
        let curve = if progress.phase == Phase::Evolution { &mut curves.evolution } else { &mut curves.random };
        curve.push(Point::of(one.generation, one.beside.clone(), self.study.objective.goals()));
    }

    /// Says how much of this part of the study is done, where that is known better than by counting.
    pub(super) fn reach(&self, items: u64) {
        self.change(|ledger, _| ledger.reach(items));
    }

    /// What is done of this part of the study.
    pub(super) fn reached(&self) -> u64 {
        self.lock().0.reached()
    }

    /// Says that this part of the study is over, and what it took.
    pub(super) fn end(&self, items: u64) {
        self.change(|ledger, _| ledger.end(items));
    }

    fn recalled(&self, items: usize, account: Account) {
        self.change(|ledger, progress| {
            if let Account::Course = account {
                ledger.count(items as u64);
            }
            progress.recalled_now += items;
        });
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
        (self.study.progress)(progress);
    }
}

/// The scores if all are there.
fn complete(known: Vec<Vec<Option<ItemScore>>>, failed: Option<String>) -> Option<Scored> {
    let scores = known.into_iter().map(|scores| scores.into_iter().collect()).collect::<Option<_>>()?;
    Some(Scored { scores, failed })
}
