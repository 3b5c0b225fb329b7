//! What a study has learned so far, event by event: every score, answer and generation, on disk before it counts.
//!
//! The database is sled 0.34. Its `flush` does not reach the device on Linux, so the log is synced by us after each; a
//! damaged snapshot makes it refuse to open although the log is whole, so the snapshot is set aside and the log read
//! again. Every record carries its version and a checksum.

#[cfg(test)]
mod tests;

use crate::{
    error::{Error, Result},
    item::{ItemId, ItemScore},
};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// Content that names something: a recipe, a task, a study.
pub type Fingerprint = [u8; 32];

/// What a store can hold: plain data, as JSON.
pub trait Record {
    /// The value as JSON.
    fn payload(&self) -> Vec<u8>;
}

impl<T: Serialize + ?Sized> Record for T {
    fn payload(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("records are plain data with text for keys")
    }
}

/// The version of every record; a store of another version is refused.
const VERSION: u8 = 1;
const CHECKSUM_LEN: usize = 8;
/// Larger values go to files of their own, which sled never syncs.
const CHUNK: usize = 32 * 1024;

/// A study's database. One process holds it at a time.
pub struct Store {
    db: sled::Db,
    log: PathBuf,
    repaired: Option<PathBuf>,
}

impl Store {
    /// Opens or creates the database in a directory.
    ///
    /// Fails if another process holds it, or if its log is damaged.
    pub fn open(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).map_err(|e| Error::io("create", dir, &e))?;
        let (db, repaired) = match open(dir) {
            Ok(db) => (db, None),
            Err(sled::Error::Corruption { .. }) => {
                let aside = set_snapshots_aside(dir)?;
                (open(dir).map_err(|e| failure(dir, &e))?, Some(aside))
            }
            Err(e) => return Err(failure(dir, &e)),
        };
        Ok(Self { db, log: dir.join("db"), repaired })
    }

    /// Whether nothing has been remembered yet.
    pub fn is_empty(&self) -> bool {
        self.db.is_empty()
    }

    /// Where a damaged snapshot was set aside when the database was opened, if there was one.
    pub fn repaired(&self) -> Option<&Path> {
        self.repaired.as_deref()
    }

    /// What was scored of some items, by recipe and task.
    pub fn scores(&self, recipe: &Fingerprint, task: &Fingerprint, items: &[ItemId]) -> Result<Vec<Option<ItemScore>>> {
        let read = |item: &ItemId| {
            let found = self.db.get(score_key(recipe, task, item)).map_err(|e| failure(&self.log, &e))?;
            found.map(|record| self.decode(&record)).transpose()
        };
        items.iter().map(read).collect()
    }

    /// Remembers scores. When this returns, a power cut cannot take them.
    pub fn remember(
        &self,
        recipe: &Fingerprint,
        task: &Fingerprint,
        scores: impl IntoIterator<Item = (ItemId, ItemScore)>,
    ) -> Result<()> {
        let mut batch = sled::Batch::default();
        for (item, score) in scores {
            batch.insert(score_key(recipe, task, &item), seal(&score.payload()));
        }
        self.db.apply_batch(batch).map_err(|e| failure(&self.log, &e))?;
        self.sync()
    }

    /// Remembers that a model was given up, and what stands for the scores it does not have, each with its task: in one step,
    /// so that nobody finds a part of it and asks for the rest. When this returns, a power cut cannot take them.
    pub fn give_up(
        &self,
        recipe: &Fingerprint,
        why: &str,
        scores: &[(Fingerprint, (ItemId, ItemScore))],
    ) -> Result<()> {
        let mut batch = sled::Batch::default();
        for (task, (item, score)) in scores {
            batch.insert(score_key(recipe, task, item), seal(&score.payload()));
        }
        batch.insert([GIVEN_UP, recipe.as_slice()].concat(), seal(&why.payload()));
        self.db.apply_batch(batch).map_err(|e| failure(&self.log, &e))?;
        self.sync()
    }

    /// How many models were given up, by why.
    pub fn given_up(&self) -> Result<BTreeMap<String, usize>> {
        let mut all = BTreeMap::new();
        for entry in self.db.scan_prefix(GIVEN_UP) {
            let why: String = self.decode(&entry.map_err(|e| failure(&self.log, &e))?.1)?;
            *all.entry(why).or_default() += 1;
        }
        Ok(all)
    }

    /// Why a model was given up, if it was.
    pub fn why_given_up(&self, recipe: &Fingerprint) -> Result<Option<String>> {
        let found = self.db.get([GIVEN_UP, recipe.as_slice()].concat()).map_err(|e| failure(&self.log, &e))?;
        found.map(|record| self.decode(&record)).transpose()
    }

    /// A named value of the study, such as its fingerprint or a generation.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        self.read(&value_prefix(name))
    }

    /// Sets named values, all in one step. When this returns, a power cut cannot take them.
    pub fn set(&self, values: &[(&str, &dyn Record)]) -> Result<()> {
        let mut batch = sled::Batch::default();
        for (name, value) in values {
            let prefix = value_prefix(name);
            let record = seal(&value.payload());
            let n_chunks = write(&mut batch, &prefix, &record);
            // What a longer value has left behind.
            let rest = [prefix.as_slice(), &n_chunks.to_be_bytes()].concat();
            for entry in self.db.scan_prefix(&prefix) {
                let key = entry.map_err(|e| failure(&self.log, &e))?.0;
                if *key >= *rest {
                    batch.remove(key);
                }
            }
        }
        self.db.apply_batch(batch).map_err(|e| failure(&self.log, &e))?;
        self.sync()
    }

    /// What is kept by these names, in their order.
    pub fn recall<T: DeserializeOwned>(&self, names: &[Fingerprint]) -> Result<Vec<Option<T>>> {
        names.iter().map(|name| self.read(&content_prefix(name))).collect()
    }

    /// Keeps values by names that stand for all they depend on: what is kept never changes. When this returns, a power cut
    /// cannot take them.
    pub fn keep<T: Serialize>(&self, values: &[(Fingerprint, T)]) -> Result<()> {
        let mut batch = sled::Batch::default();
        for (name, value) in values {
            write(&mut batch, &content_prefix(name), &seal(&value.payload()));
        }
        self.db.apply_batch(batch).map_err(|e| failure(&self.log, &e))?;
        self.sync()
    }

    /// Everything in the store, in order of key: what two runs of one study must agree on.
    pub fn contents(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let entry = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            entry.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(|e| failure(&self.log, &e))
        };
        self.db.iter().map(entry).collect()
    }

    /// The record in the chunks of this prefix, if there is one.
    fn read<T: DeserializeOwned>(&self, prefix: &[u8]) -> Result<Option<T>> {
        let mut record = Vec::new();
        for entry in self.db.scan_prefix(prefix) {
            record.extend_from_slice(&entry.map_err(|e| failure(&self.log, &e))?.1);
        }
        (!record.is_empty()).then(|| self.decode(&record)).transpose()
    }

    fn sync(&self) -> Result<()> {
        self.db.flush().map_err(|e| failure(&self.log, &e))?;
        File::open(&self.log).and_then(|log| log.sync_data()).map_err(|e| Error::io("sync", &self.log, &e))
    }

    fn decode<T: DeserializeOwned>(&self, record: &[u8]) -> Result<T> {
        let damaged = |what: String| {
            Error::user(format!("{}: a record is damaged: {what}", self.log.display()))
                .hint("start the search again in another directory; what is merged already is not affected")
        };
        let (version, rest) = record.split_first().ok_or_else(|| damaged("it is empty".into()))?;
        if *version != VERSION {
            let message = format!("{}: written by another version (format {version})", self.log.display());
            return Err(Error::user(message).hint("go on with the version that wrote it, or search in a new directory"));
        }
        let Some((sum, payload)) = rest.split_at_checked(CHECKSUM_LEN) else {
            return Err(damaged("it is cut short".into()));
        };
        if checksum(payload) != sum {
            return Err(damaged("its checksum is wrong".into()));
        }
        serde_json::from_slice(payload).map_err(|e| damaged(e.to_string()))
    }
}

/// sled's own threads give its lock up a moment after a store is closed, and a search that is stopped takes a moment to end.
const PATIENCE: Duration = Duration::from_secs(1);

fn open(dir: &Path) -> sled::Result<sled::Db> {
    let began = Instant::now();
    loop {
        // The background thread is the only one in sled that syncs by itself; we sync what counts, and it the rest.
        let opened = sled::Config::new().path(dir).flush_every_ms(Some(500)).cache_capacity(64 << 20).open();
        match opened {
            Err(e) if is_held(&e) && began.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
            done => return done,
        }
    }
}

/// Whether another has the lock.
fn is_held(error: &sled::Error) -> bool {
    let sled::Error::Io(e) = error else { return false };
    e.kind() == io::ErrorKind::WouldBlock || e.to_string().contains("could not acquire lock")
}

/// The bytes of a record: version, checksum, payload.
fn seal(payload: &[u8]) -> Vec<u8> {
    [&[VERSION], checksum(payload).as_slice(), payload].concat()
}

fn checksum(payload: &[u8]) -> [u8; CHECKSUM_LEN] {
    Sha256::digest(payload)[..CHECKSUM_LEN].try_into().expect("a digest is longer")
}

/// What keys of given up models begin with.
const GIVEN_UP: &[u8] = b"given up/";

fn score_key(recipe: &Fingerprint, task: &Fingerprint, item: &ItemId) -> Vec<u8> {
    [b"score/", recipe.as_slice(), task.as_slice(), item.0.as_slice()].concat()
}

fn value_prefix(name: &str) -> Vec<u8> {
    [b"value/", name.as_bytes(), b"\0"].concat()
}

fn content_prefix(name: &Fingerprint) -> Vec<u8> {
    [b"content/", name.as_slice()].concat()
}

/// Puts a record into a batch in chunks behind a prefix; returns their number.
fn write(batch: &mut sled::Batch, prefix: &[u8], record: &[u8]) -> u32 {
    let mut n_chunks = 0u32;
    for chunk in record.chunks(CHUNK) {
        batch.insert([prefix, &n_chunks.to_be_bytes()].concat(), chunk);
        n_chunks += 1;
    }
    n_chunks
}

fn failure(path: &Path, error: &sled::Error) -> Error {
    match error {
        held if is_held(held) => Error::user(format!("{}: another process is using this study", path.display()))
            .hint("wait until it ends, or stop it (Ctrl-C): what it has learned is kept"),
        // sled's own text is for programmers; the kind says as much.
        sled::Error::Io(e) => Error::io("use the store", path, &io::Error::from(e.kind())),
        other => Error::user(format!("{}: the store is damaged: {other}", path.display()))
            .hint("start the search again in another directory; what is merged already is not affected"),
    }
}

/// Moves sled's snapshots out of its way; the log alone holds every record.
fn set_snapshots_aside(dir: &Path) -> Result<PathBuf> {
    let aside = dir.join("damaged-snapshots");
    fs::create_dir_all(&aside).map_err(|e| Error::io("create", &aside, &e))?;
    for entry in fs::read_dir(dir).map_err(|e| Error::io("read", dir, &e))? {
        let entry = entry.map_err(|e| Error::io("read", dir, &e))?;
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            let to = aside.join(entry.file_name());
            fs::rename(entry.path(), &to).map_err(|e| Error::io("move aside", &entry.path(), &e))?;
        }
    }
    Ok(aside)
}
