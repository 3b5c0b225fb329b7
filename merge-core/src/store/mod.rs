//! The store of a study: every score, answer and generation, on disk before it counts.

pub(crate) mod database;
#[cfg(test)]
mod tests;

pub use database::{Lost, Payload};

use crate::{
    error::Result,
    item::{ItemId, ItemScore},
};
use database::{Advice, Database, WriteBatch};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, path::Path};

/// Hash that names content: a recipe, a task, a study.
pub type Fingerprint = [u8; 32];

const ADVICE: Advice = Advice {
    what: "study",
    held: "wait until it ends, or stop it (Ctrl-C): its scores so far are kept",
    damaged: "start the search again in another directory; models that are already merged are not affected",
    uncut: "run the same search again: it keeps the records that can be read, and computes the rest again",
};

const ANSWERS: Advice = Advice {
    what: "memory of answers",
    held: "wait until it ends, or go on with `--no-memory`",
    damaged: "remove the directory: what it holds is computed again",
    uncut: "remove the directory: what it holds is computed again",
};

/// A study's database. One process holds it at a time.
pub struct Store(Database);

impl Store {
    /// Opens or creates the database in a directory.
    ///
    /// Fails if another process holds it, or if its log cannot be read. One that lacks records is
    /// opened: see [`Store::lost`].
    pub fn open(dir: &Path) -> Result<Self> {
        Database::open(dir, &ADVICE, true).map(Self)
    }

    /// Opens or creates a database of models' answers, apart from any study.
    pub fn of_answers(dir: &Path) -> Result<Self> {
        Database::open(dir, &ANSWERS, true).map(Self)
    }

    /// Opens a study's database to read it; `None` if another process holds it.
    ///
    /// Fails if its log cannot be opened: only [`Store::open`] may cut a log.
    pub fn open_unless_held(dir: &Path) -> Result<Option<Self>> {
        Ok(Database::open_unless_held(dir, &ADVICE, false)?.map(Self))
    }

    /// Directory of the database.
    pub fn dir(&self) -> &Path {
        self.0.dir()
    }

    /// True if nothing has been remembered yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Directory to which a damaged log or files beside it were moved at opening, if any were.
    pub fn repaired(&self) -> Option<&Path> {
        self.0.repaired()
    }

    /// Number of missing records, if any are: the log was damaged or replaced. Reads every key.
    /// They are computed again as if unknown; after the next write nothing counts as lost.
    pub fn lost(&self) -> Result<Option<Lost>> {
        self.0.lost()
    }

    /// Remembered scores of items, by recipe and task; `None` for unknown items.
    pub fn scores(&self, recipe: &Fingerprint, task: &Fingerprint, items: &[ItemId]) -> Result<Vec<Option<ItemScore>>> {
        items.iter().map(|item| self.0.get(score_key(recipe, task, item))).collect()
    }

    /// Remembers scores. When this returns, they survive a power cut.
    pub fn remember(
        &self,
        recipe: &Fingerprint,
        task: &Fingerprint,
        scores: impl IntoIterator<Item = (ItemId, ItemScore)>,
    ) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (item, score) in scores {
            batch.insert(score_key(recipe, task, &item), &score);
        }
        self.0.apply(batch)
    }

    /// Remembers that a model was given up, with scores in the place of missing ones, each with its
    /// task: all in one step. When this returns, they survive a power cut.
    pub fn give_up(
        &self,
        recipe: &Fingerprint,
        why: &str,
        scores: &[(Fingerprint, (ItemId, ItemScore))],
    ) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (task, (item, score)) in scores {
            batch.insert(score_key(recipe, task, item), score);
        }
        batch.insert(given_up_key(recipe), why);
        self.0.apply(batch)
    }

    /// Number of models that were given up, by reason.
    pub fn given_up(&self) -> Result<BTreeMap<String, usize>> {
        let mut all = BTreeMap::new();
        for why in self.0.scan(GIVEN_UP) {
            *all.entry(why?).or_default() += 1;
        }
        Ok(all)
    }

    /// Reason why a model was given up, if it was.
    pub fn why_given_up(&self, recipe: &Fingerprint) -> Result<Option<String>> {
        self.0.get(given_up_key(recipe))
    }

    /// A named value of the study, such as its version or a generation.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        self.0.read(&value_prefix(name))
    }

    /// Sets named values, all in one step. When this returns, they survive a power cut.
    pub fn set(&self, values: &[(&str, &dyn Payload)]) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (name, value) in values {
            let prefix = value_prefix(name);
            let n_chunks = batch.chunks(&prefix, *value);
            // Chunks left over from a longer value.
            let rest = [prefix.as_slice(), &n_chunks.to_be_bytes()].concat();
            for key in self.0.keys_from(&prefix, &rest)? {
                batch.remove(key);
            }
        }
        self.0.apply(batch)
    }

    /// Values kept under these names, in the same order.
    pub fn recall<T: DeserializeOwned>(&self, names: &[Fingerprint]) -> Result<Vec<Option<T>>> {
        names.iter().map(|name| self.0.read(&content_prefix(name))).collect()
    }

    /// Keeps values under names that stand for all they depend on, so a kept value never changes.
    /// When this returns, they survive a power cut.
    pub fn keep<T: Serialize>(&self, values: &[(Fingerprint, T)]) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (name, value) in values {
            batch.chunks(&content_prefix(name), value);
        }
        self.0.apply(batch)
    }

    /// All keys and records, in order of key. Two runs of one study must agree on them.
    pub fn contents(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.0.contents()
    }
}

/// Prefix of the keys of given-up models.
const GIVEN_UP: &[u8] = b"given up/";

fn given_up_key(recipe: &Fingerprint) -> Vec<u8> {
    [GIVEN_UP, recipe.as_slice()].concat()
}

fn score_key(recipe: &Fingerprint, task: &Fingerprint, item: &ItemId) -> Vec<u8> {
    [b"score/", recipe.as_slice(), task.as_slice(), item.0.as_slice()].concat()
}

fn value_prefix(name: &str) -> Vec<u8> {
    [b"value/", name.as_bytes(), b"\0"].concat()
}

fn content_prefix(name: &Fingerprint) -> Vec<u8> {
    [b"content/", name.as_slice()].concat()
}
