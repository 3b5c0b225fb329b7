//! Scores models side by side on items that the store does not know yet, and remembers what it hears.

use super::{Generation, News, Progress, Study};
use crate::{
    error::{Error, Result},
    item::{ItemId, ItemScore},
    merge::Merge,
    recipe::Recipe,
    store::{Fingerprint, Record},
};
use sha2::{Digest, Sha256};
use std::{
    ops::ControlFlow,
    sync::{
        Mutex,
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

/// Scores of one model: one list for each goal, in the order asked.
pub(super) type Scores = Vec<Vec<ItemScore>>;

/// Where one model's scores are put: `None` until it has been its turn, and for one that was interrupted.
type Slot = Mutex<Option<Result<Option<Scores>>>>;

pub(super) struct Scoring<'a> {
    study: &'a Study<'a>,
    /// Everything beside the recipe that a merge is made of.
    inputs: Fingerprint,
    progress: Mutex<Progress>,
}

impl<'a> Scoring<'a> {
    /// `total` is how many item evaluations the study needs.
    pub(super) fn new(study: &'a Study<'a>, total: usize) -> Self {
        let inputs = Sha256::new().chain_update(ENGINE).chain_update(study.hashes.payload()).finalize().into();
        let progress = Mutex::new(Progress { items: (0, total), ..Progress::default() });
        Self { study, inputs, progress }
    }

    /// Scores models on items; `None` if interrupted.
    pub(super) fn score(&self, models: &[Model], asked: &[Vec<ItemId>]) -> Result<Option<Vec<Scores>>> {
        let workers = self.study.workers.clamp(1, models.len());
        let threads = (thread::available_parallelism().map_or(1, usize::from) / workers).max(1);
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let slots: Vec<Slot> = models.iter().map(|_| Slot::default()).collect();
        let work = || {
            // A pool of its own: two candidates in one pool would wait for each other's tensors.
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let pool = pool.map_err(|e| Error::machine(format!("cannot start threads: {e}")));
            while !failed.load(Ordering::Relaxed) && !self.interrupted() {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(model) = models.get(number) else { return };
                let pool = pool.as_ref().map_err(Clone::clone);
                let scored = pool.and_then(|pool| pool.install(|| self.score_one(model, asked)));
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
        let scores = results.collect::<Result<Vec<Option<Option<Scores>>>>>()?;
        Ok(scores.into_iter().map(Option::flatten).collect())
    }

    /// Scores one model on the items that are not known yet; `None` if interrupted.
    fn score_one(&self, model: &Model, asked: &[Vec<ItemId>]) -> Result<Option<Scores>> {
        let (goals, store) = (self.study.objective.goals(), self.study.store);
        let key = self.key(model);
        let look_up = || -> Result<Vec<Vec<Option<ItemScore>>>> {
            goals.iter().zip(asked).map(|(goal, items)| store.scores(&key, &goal.fingerprint, items)).collect()
        };
        let known = look_up()?;
        self.count_known(known.iter().flatten().flatten().count());
        let missing = |(items, known): (&Vec<ItemId>, &Vec<Option<ItemScore>>)| {
            items.iter().zip(known).filter(|(_, score)| score.is_none()).map(|(item, _)| *item).collect()
        };
        let missing: Vec<Vec<ItemId>> = asked.iter().zip(&known).map(missing).collect();
        if missing.iter().all(Vec::is_empty) {
            return Ok(complete(known));
        }
        let mut heard = |news: News| {
            let n_items = match news {
                News::Scores(goal, scores) => {
                    let n_items = scores.len();
                    store.remember(&key, &goals[goal].fingerprint, scores)?;
                    n_items
                }
                News::GivenUp(why, scores) => {
                    let all = goals.iter().zip(scores);
                    let all = all.flat_map(|(goal, scores)| scores.into_iter().map(|score| (goal.fingerprint, score)));
                    let all: Vec<_> = all.collect();
                    store.give_up(&key, &why, &all)?;
                    all.len()
                }
            };
            self.update(|progress| {
                progress.items.0 += n_items;
                progress.scored_now += n_items;
            });
            Ok(if self.interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        match model {
            Model::Merge(recipe) => {
                let merge = Merge::plan(recipe, self.study.sources)?;
                self.study.objective.score(&merge, &missing, &mut heard)?;
            }
            Model::Source(name) => self.study.objective.score(&**self.study.sources.get(name), &missing, &mut heard)?,
        }
        Ok(complete(look_up()?))
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

    /// Says that another part of the study begins.
    pub(super) fn begin(&self, phase: &'static str) {
        self.update(|progress| {
            let items = (progress.items, progress.scored_now);
            *progress = Progress { phase, items: items.0, scored_now: items.1, ..Progress::default() };
        });
    }

    /// Says how many of its generations are done, and how the last of them was.
    pub(super) fn at_generation(&self, generation: (u64, u64), last: Option<&Generation>) {
        self.update(|progress| {
            progress.generation = generation;
            progress.fitness = last.map(|record| (record.best_fitness, record.mean_fitness));
        });
    }

    /// Says that some items need no evaluation.
    pub(super) fn count_known(&self, items: usize) {
        self.update(|progress| progress.items.0 += items);
    }

    /// How far it is.
    pub(super) fn progress(&self) -> Progress {
        self.progress.lock().expect("no panic while held").clone()
    }

    fn update(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock().expect("no panic while held"));
        (self.study.progress)(&self.progress());
    }
}

/// The scores if all are there.
fn complete(known: Vec<Vec<Option<ItemScore>>>) -> Option<Scores> {
    known.into_iter().map(|scores| scores.into_iter().collect()).collect()
}
