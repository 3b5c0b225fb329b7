//! What a study has learned so far, event by event: every score, answer and generation, on disk before it counts.

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

/// Content that names something: a recipe, a task, a study.
pub type Fingerprint = [u8; 32];

const ADVICE: Advice = Advice {
    what: "study",
    held: "wait until it ends, or stop it (Ctrl-C): what it has learned is kept",
    damaged: "start the search again in another directory; what is merged already is not affected",
    uncut: "the same search again keeps what can be read of it, and computes the rest again",
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
    /// Fails if another process holds it, or if its log cannot be read. One that lacks what was written is opened: see
    /// [`Store::lost`].
    pub fn open(dir: &Path) -> Result<Self> {
        Database::open(dir, &ADVICE, true).map(Self)
    }

    /// The same for what models have answered, apart from any study.
    pub fn of_answers(dir: &Path) -> Result<Self> {
        Database::open(dir, &ANSWERS, true).map(Self)
    }

    /// Opens a study's database to read it, or `None` if another process holds it.
    ///
    /// Fails if its log cannot be opened: only who goes on with it cuts it.
    pub fn open_unless_held(dir: &Path) -> Result<Option<Self>> {
        Ok(Database::open_unless_held(dir, &ADVICE, false)?.map(Self))
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.0.dir()
    }

    /// Whether nothing has been remembered yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where what was damaged, a log that could not be opened or what is beside it, was set aside when the database was opened.
    pub fn repaired(&self) -> Option<&Path> {
        self.0.repaired()
    }

    /// What was remembered and is not there any more, if something is: the log was damaged or replaced. What is asked for again
    /// is asked as if it had never been there, and all is well when something is remembered again. Reads every key.
    pub fn lost(&self) -> Result<Option<Lost>> {
        self.0.lost()
    }

    /// What was scored of some items, by recipe and task.
    pub fn scores(&self, recipe: &Fingerprint, task: &Fingerprint, items: &[ItemId]) -> Result<Vec<Option<ItemScore>>> {
        items.iter().map(|item| self.0.get(score_key(recipe, task, item))).collect()
    }

    /// Remembers scores. When this returns, a power cut cannot take them.
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

    /// Remembers that a model was given up, and what stands for the scores it does not have, each with its task: in one step,
    /// so that nobody finds a part of it and asks for the rest. When this returns, a power cut cannot take them.
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

    /// How many models were given up, by why.
    pub fn given_up(&self) -> Result<BTreeMap<String, usize>> {
        let mut all = BTreeMap::new();
        for why in self.0.scan(GIVEN_UP) {
            *all.entry(why?).or_default() += 1;
        }
        Ok(all)
    }

    /// Why a model was given up, if it was.
    pub fn why_given_up(&self, recipe: &Fingerprint) -> Result<Option<String>> {
        self.0.get(given_up_key(recipe))
    }

    /// A named value of the study, such as its fingerprint or a generation.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        self.0.read(&value_prefix(name))
    }

    /// Sets named values, all in one step. When this returns, a power cut cannot take them.
    pub fn set(&self, values: &[(&str, &dyn Payload)]) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (name, value) in values {
            let prefix = value_prefix(name);
            let n_chunks = batch.chunks(&prefix, *value);
            // What a longer value has left behind.
            let rest = [prefix.as_slice(), &n_chunks.to_be_bytes()].concat();
            for key in self.0.keys_from(&prefix, &rest)? {
                batch.remove(key);
            }
        }
        self.0.apply(batch)
    }

    /// What is kept by these names, in their order.
    pub fn recall<T: DeserializeOwned>(&self, names: &[Fingerprint]) -> Result<Vec<Option<T>>> {
        names.iter().map(|name| self.0.read(&content_prefix(name))).collect()
    }

    /// Keeps values by names that stand for all they depend on: what is kept never changes. When this returns, a power cut
    /// cannot take them.
    pub fn keep<T: Serialize>(&self, values: &[(Fingerprint, T)]) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (name, value) in values {
            batch.chunks(&content_prefix(name), value);
        }
        self.0.apply(batch)
    }

    /// Everything in the store, in order of key: what two runs of one study must agree on.
    pub fn contents(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.0.contents()
    }
}

/// What keys of given up models begin with.
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
