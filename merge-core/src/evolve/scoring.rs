//! Scores models side by side on items that the store does not know yet, and remembers what it hears.

use super::{Generation, News, Point, Progress, Study};
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
    progress: Mutex<Progress>,
}

impl<'a> Scoring<'a> {
    /// `total` is how many item evaluations the study needs.
    pub(super) fn new(study: &'a Study<'a>, total: usize) -> Self {
        let inputs = Sha256::new().chain_update(ENGINE).chain_update(study.hashes.payload());
        let earlier = |hash: Sha256, recipe: &Recipe| hash.chain_update(recipe.fingerprint());
        let inputs = study.earlier.iter().fold(inputs, earlier).finalize().into();
        let progress = Mutex::new(Progress { items: (0, total), ..Progress::default() });
        Self { study, inputs, progress }
    }

    /// Scores models on items; `None` if interrupted.
    pub(super) fn score(&self, models: &[Model], asked: &[Vec<ItemId>]) -> Result<Option<Vec<Scored>>> {
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
        let scores = results.collect::<Result<Vec<Option<Option<Scored>>>>>()?;
        let of = |number: usize| scores[first(number)].clone().flatten();
        let all: Option<Vec<Scored>> = (0..models.len()).map(of).collect();
        if let Some(all) = &all {
            self.count_known(
                (0..models.len()).filter(|number| first(*number) != *number).map(|n| all[n].n_items()).sum(),
            );
        }
        Ok(all)
    }

    /// Scores one model on the items that are not known yet; `None` if interrupted.
    fn score_one(&self, model: &Model, asked: &[Vec<ItemId>]) -> Result<Option<Scored>> {
        let (goals, store) = (self.study.objective.goals(), self.study.store);
        let key = self.key(model);
        let look_up = || -> Result<Vec<Vec<Option<ItemScore>>>> {
            goals.iter().zip(asked).map(|(goal, items)| store.scores(&key, &goal.fingerprint, items)).collect()
        };
        let known = look_up()?;
        self.count_known(known.iter().flatten().flatten().count());
        let unknown = |(items, known): (&Vec<ItemId>, &Vec<Option<ItemScore>>)| -> Vec<ItemId> {
            items.iter().zip(known).filter(|(_, score)| score.is_none()).map(|(item, _)| *item).collect()
        };
        let missing: Vec<Vec<ItemId>> = asked.iter().zip(&known).map(unknown).collect();
        if missing.iter().all(Vec::is_empty) {
            return Ok(complete(known, store.why_given_up(&key)?));
        }
        if let Some(why) = store.why_given_up(&key)? {
            // It was given up on other items: it is asked no more.
            self.give_up(&key, &why, &missing)?;
            return Ok(complete(look_up()?, Some(why)));
        }
        let mut unkept: Option<Error> = None;
        let keep = |news: News| -> Result<ControlFlow<()>> {
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
            self.update(|progress| {
                progress.items.0 += n_items;
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
                let known = look_up()?;
                let missing: Vec<Vec<ItemId>> = asked.iter().zip(&known).map(unknown).collect();
                self.give_up(&key, &error.to_string(), &missing)?;
            }
            (_, Some(error), _) | (Err(error), None, _) => return Err(error),
            (Ok(()), None, _) => {}
        }
        Ok(complete(look_up()?, store.why_given_up(&key)?))
    }

    /// Remembers that a model is asked no more, with the worst scores for what it has not answered.
    fn give_up(&self, key: &Fingerprint, why: &str, missing: &[Vec<ItemId>]) -> Result<()> {
        let goals = self.study.objective.goals().iter().zip(missing);
        let worst = goals.flat_map(|(goal, items)| {
            let score = ItemScore { value: goal.worst, tokens: 0, truncated: false };
            items.iter().map(move |item| (goal.fingerprint, (*item, score)))
        });
        let worst: Vec<_> = worst.collect();
        self.study.store.give_up(key, why, &worst)?;
        self.count_known(worst.len());
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

    /// Says that another part of the study begins.
    pub(super) fn begin(&self, phase: &'static str) {
        self.update(|progress| {
            let before = std::mem::take(progress);
            *progress = Progress { phase, generation: (0, 0.0), curve: Vec::new(), ..before };
        });
    }

    /// Says how many of its generations are done, which share of the budget is spent, and how the last of them was.
    pub(super) fn at_generation(&self, generation: (u64, f64), last: Option<&Generation>) {
        self.update(|progress| {
            progress.generation = generation;
            progress.curve.extend(last.map(|last| Point::of(last, self.study.objective.goals())));
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
fn complete(known: Vec<Vec<Option<ItemScore>>>, failed: Option<String>) -> Option<Scored> {
    let scores = known.into_iter().map(|scores| scores.into_iter().collect()).collect::<Option<_>>()?;
    Some(Scored { scores, failed })
}
