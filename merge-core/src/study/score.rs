//! Scores candidates in parallel on items that the store does not know, and stores the scores.

use super::{
    Candidate, News, Origin, Phase, Study,
    goal::{GoalItems, n_items},
    progress::{Account, ProgressTracker},
};
use crate::{
    error::{Error, Fault, Result},
    item::{ItemId, ItemScore},
    recipe::Recipe,
    store::{Fingerprint, Payload},
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

/// The scores of one candidate.
#[derive(Clone, Debug)]
pub(super) struct Scores {
    /// One list of scores for each goal, in the order asked.
    pub(super) goals: Vec<Vec<ItemScore>>,
    /// Reason why the model was given up, if it was; then unasked items have the worst score.
    pub(super) failed: Option<String>,
}

impl Scores {
    pub(super) fn n_items(&self) -> usize {
        self.goals.iter().map(Vec::len).sum()
    }

    /// Number of tokens that the model generated.
    pub(super) fn tokens(&self) -> u64 {
        self.goals.iter().flatten().map(|score| u64::from(score.tokens)).sum()
    }

    /// Mean number of tokens generated for an answer.
    pub(super) fn mean_tokens(&self) -> f64 {
        self.tokens() as f64 / self.n_items().max(1) as f64
    }
}

pub(super) struct Scorer<'a> {
    pub(super) study: &'a Study<'a>,
    /// Progress of the study.
    pub(super) tracker: ProgressTracker<'a>,
    /// Hash of everything besides recipe, task and item that a score depends on.
    inputs: Fingerprint,
}

impl<'a> Scorer<'a> {
    /// A scorer of a study; `parts` has the maximum of each phase.
    pub(super) fn new(study: &'a Study<'a>, parts: Vec<(Phase, u64)>) -> Self {
        let inputs = Sha256::new().chain_update(study.objective.engine()).chain_update(study.hashes.payload());
        let earlier = |hash: Sha256, recipe: &Recipe| hash.chain_update(recipe.fingerprint());
        let inputs = study.earlier.iter().fold(inputs, earlier).finalize().into();
        let tracker = ProgressTracker::new(parts, study.objective.goals(), study.progress);
        Self { study, tracker, inputs }
    }

    /// Scores each candidate on all of the items.
    pub(super) fn score(&self, candidates: &[&Candidate<'_>], items: &GoalItems) -> Result<Vec<Scores>> {
        self.score_all(candidates, items, Account::Study)
    }

    /// Like [`Self::score`], but does not count as progress of the study.
    pub(super) fn score_beside(&self, candidates: &[&Candidate<'_>], items: &GoalItems) -> Result<Vec<Scores>> {
        self.score_all(candidates, items, Account::Beside)
    }

    fn score_all(&self, candidates: &[&Candidate<'_>], items: &GoalItems, account: Account) -> Result<Vec<Scores>> {
        if candidates.is_empty() {
            return Ok(Vec::new());
        }
        // A model that is asked for twice is scored once.
        let keys: Vec<Fingerprint> = candidates.iter().map(|candidate| self.key(candidate)).collect();
        let first = |number: usize| keys.iter().position(|key| *key == keys[number]).expect("it is one of them");
        let firsts: Vec<usize> = (0..candidates.len()).filter(|number| first(*number) == *number).collect();
        let expected = firsts.iter().map(|number| self.n_unknown(candidates[*number], items)).sum::<Result<usize>>()?;
        self.study.objective.expect(expected);
        let workers = self.study.workers.clamp(1, firsts.len());
        let threads = (thread::available_parallelism().map_or(1, usize::from) / workers).max(1);
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        // One slot for each candidate; `None` until it was scored.
        let slots: Vec<Mutex<Option<Result<Scores>>>> = candidates.iter().map(|_| Mutex::default()).collect();
        let work = || {
            // A pool for each worker: in one pool, candidates would wait for each other's tensors.
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let pool = pool.map_err(|e| Error::machine(format!("cannot start threads: {e}")));
            while !failed.load(Ordering::Relaxed) && !self.is_interrupted() {
                let Some(number) = firsts.get(next.fetch_add(1, Ordering::Relaxed)).copied() else { return };
                let pool = pool.as_ref().map_err(Clone::clone);
                let scores = pool.and_then(|pool| pool.install(|| self.score_one(candidates[number], items, account)));
                failed.fetch_or(scores.is_err(), Ordering::Relaxed);
                *slots[number].lock().expect("no panic while held") = Some(scores);
            }
        };
        thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(work);
            }
        });
        let results: Vec<Option<Result<Scores>>> =
            slots.into_iter().map(|slot| slot.into_inner().expect("no panic while held")).collect();
        // Another failure tells more than an interruption.
        let errors = || results.iter().flatten().filter_map(|result| result.as_ref().err());
        if let Some(error) = errors().find(|error| error.fault() != Fault::Interrupted).or_else(|| errors().next()) {
            return Err(error.clone());
        }
        let of = |number: usize| results[first(number)].clone().unwrap_or_else(|| Err(Error::interrupted()));
        let all: Vec<Scores> = (0..candidates.len()).map(of).collect::<Result<_>>()?;
        let twice = (0..candidates.len()).filter(|number| first(*number) != *number).map(|n| all[n].n_items()).sum();
        self.tracker.recall(twice, account);
        Ok(all)
    }

    /// Number of items that a candidate is still asked.
    fn n_unknown(&self, candidate: &Candidate<'_>, items: &GoalItems) -> Result<usize> {
        let n = n_items(&unknown(items, &self.known(candidate, items)?));
        Ok(if n > 0 && self.study.store.why_given_up(&self.key(candidate))?.is_some() { 0 } else { n })
    }

    /// Scores one candidate on the items that are not known yet.
    fn score_one(&self, candidate: &Candidate<'_>, items: &GoalItems, account: Account) -> Result<Scores> {
        let (goals, store) = (self.study.objective.goals(), self.study.store);
        let key = self.key(candidate);
        let known = self.known(candidate, items)?;
        self.tracker.recall(known.iter().flatten().flatten().count(), account);
        let missing = unknown(items, &known);
        if missing.iter().all(Vec::is_empty) {
            return complete(known, store.why_given_up(&key)?);
        }
        // Reading a mapped file that was cut short kills the process, so check first.
        self.check_sources()?;
        if let Some(why) = store.why_given_up(&key)? {
            // The model was given up on other items: it is not asked again.
            self.give_up(&key, &why, &missing, account)?;
            return complete(self.known(candidate, items)?, Some(why));
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
            self.tracker.score(n_items, tokens, account);
            Ok(if self.is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        let mut listener = |news: News| keep(news).inspect_err(|error: &Error| unkept = Some(error.clone()));
        let planned = candidate.weights().map(|_| ());
        let scored = planned.and_then(|()| self.study.objective.score(candidate, &missing, &mut listener));
        match (scored, unkept, &candidate.origin) {
            // A candidate that cannot be merged or scored is a bad candidate, which ends no search.
            (Err(error), None, Origin::Recipe(_)) if error.fault() == Fault::User => {
                self.check_sources()?;
                let missing = unknown(items, &self.known(candidate, items)?);
                self.give_up(&key, &error.to_string(), &missing, account)?;
            }
            (_, Some(error), _) | (Err(error), None, _) => return Err(error),
            (Ok(()), None, _) => {}
        }
        complete(self.known(candidate, items)?, store.why_given_up(&key)?)
    }

    /// Fails if a source's file has changed: a score would be another model's.
    fn check_sources(&self) -> Result<()> {
        let unchanged = self.study.sources.check_unchanged(self.study.hashes);
        unchanged.map_err(|e| {
            e.hint(
                "nothing that was scored is lost: put back the file that the search began with, and run the same command again; \
                 or search with the new one in another directory",
            )
        })
    }

    /// Remembers that a model is given up, with the worst score for each missing item.
    fn give_up(&self, key: &Fingerprint, why: &str, missing: &GoalItems, account: Account) -> Result<()> {
        let goals = self.study.objective.goals().iter().zip(missing);
        let worst = goals.flat_map(|(goal, items)| {
            let score = ItemScore { value: goal.worst, tokens: 0, truncated: false };
            items.iter().map(move |item| (goal.fingerprint, (*item, score)))
        });
        let worst: Vec<_> = worst.collect();
        self.study.store.give_up(key, why, &worst)?;
        self.tracker.recall(worst.len(), account);
        Ok(())
    }

    /// Key of a candidate's scores: the hash of all besides task and item that they depend on.
    fn key(&self, candidate: &Candidate<'_>) -> Fingerprint {
        let hash = Sha256::new().chain_update(self.inputs);
        match &candidate.origin {
            Origin::Recipe(recipe) => hash.chain_update(recipe.fingerprint()),
            Origin::Source(name) => hash.chain_update(b"source").chain_update(name),
        }
        .finalize()
        .into()
    }

    fn is_interrupted(&self) -> bool {
        self.study.interrupted.load(Ordering::Relaxed)
    }

    /// Remembered scores of a candidate; `None` for items without one.
    pub(super) fn known(&self, candidate: &Candidate<'_>, items: &GoalItems) -> Result<Vec<Vec<Option<ItemScore>>>> {
        let key = self.key(candidate);
        let goals = self.study.objective.goals().iter().zip(items);
        goals.map(|(goal, items)| self.study.store.scores(&key, &goal.fingerprint, items)).collect()
    }
}

/// The items without a score.
fn unknown(items: &GoalItems, known: &[Vec<Option<ItemScore>>]) -> GoalItems {
    let of_goal = |(items, known): (&Vec<ItemId>, &Vec<Option<ItemScore>>)| {
        items.iter().zip(known).filter(|(_, score)| score.is_none()).map(|(item, _)| *item).collect()
    };
    items.iter().zip(known).map(of_goal).collect()
}

/// The scores, if all are there; an interruption if the objective was asked to stop before.
fn complete(known: Vec<Vec<Option<ItemScore>>>, failed: Option<String>) -> Result<Scores> {
    let goals = known.into_iter().map(|scores| scores.into_iter().collect()).collect::<Option<_>>();
    goals.map(|goals| Scores { goals, failed }).ok_or_else(Error::interrupted)
}
