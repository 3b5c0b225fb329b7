//! Records in an embedded database: each has a version and a checksum, and is on the device before it counts.
//!
//! The database is sled 0.34. Its `flush` does not reach the device on Linux, so the log is synced by us after each; a
//! damaged snapshot makes it refuse to open although the log is whole, so the snapshot is set aside and the log read
//! again.

use crate::error::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// What a database can hold: plain data, as JSON.
pub trait Record {
    /// The value as JSON.
    fn payload(&self) -> Vec<u8>;
}

impl<T: Serialize + ?Sized> Record for T {
    fn payload(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("records are plain data with text for keys")
    }
}

/// The version of every record; a database of another version is refused.
const VERSION: u8 = 1;
pub(crate) const CHECKSUM_LEN: usize = 8;
/// Larger values go to files of their own, which sled never syncs.
pub(crate) const CHUNK: usize = 32 * 1024;

/// What a user is told who cannot have a database.
pub(crate) struct Advice {
    /// What is in it: "study".
    pub(crate) what: &'static str,
    /// What to do if another process holds it.
    pub(crate) held: &'static str,
    /// What to do if it is damaged.
    pub(crate) damaged: &'static str,
}

/// A directory that one process holds at a time.
pub(crate) struct Database {
    db: sled::Db,
    log: PathBuf,
    /// The log again, to sync it: opened once, so that this cannot fail for want of a descriptor.
    synced: File,
    repaired: Option<PathBuf>,
    advice: &'static Advice,
}

/// What is written in one step.
#[derive(Default)]
pub(crate) struct Batch(sled::Batch);

impl Batch {
    /// Puts a record at a key. It should be small: see [`Batch::chunks`].
    pub(crate) fn insert(&mut self, key: Vec<u8>, value: &(impl Record + ?Sized)) {
        self.0.insert(key, seal(&value.payload()));
    }

    /// Puts a record of any length behind a prefix, in chunks; returns their number.
    pub(crate) fn chunks(&mut self, prefix: &[u8], value: &(impl Record + ?Sized)) -> u32 {
        let mut n_chunks = 0u32;
        for chunk in seal(&value.payload()).chunks(CHUNK) {
            self.0.insert([prefix, &n_chunks.to_be_bytes()].concat(), chunk);
            n_chunks += 1;
        }
        n_chunks
    }

    /// Takes a key out.
    pub(crate) fn remove(&mut self, key: impl AsRef<[u8]>) {
        self.0.remove(key.as_ref());
    }
}

impl Database {
    /// Opens or creates the database in a directory.
    ///
    /// Fails if another process holds it, or if its log is damaged.
    pub(crate) fn open(dir: &Path, advice: &'static Advice) -> Result<Self> {
        fs::create_dir_all(dir).map_err(|e| Error::io("create", dir, &e))?;
        let (db, repaired) = match open(dir) {
            Ok(db) => (db, None),
            Err(sled::Error::Corruption { .. }) => {
                let aside = set_snapshots_aside(dir)?;
                (open(dir).map_err(|e| failure(dir, advice, &e))?, Some(aside))
            }
            Err(e) => return Err(failure(dir, advice, &e)),
        };
        let log = dir.join("db");
        let synced = File::open(&log).map_err(|e| Error::io("open", &log, &e))?;
        Ok(Self { db, log, synced, repaired, advice })
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.db.is_empty()
    }

    /// Where a damaged snapshot was set aside when it was opened, if there was one.
    pub(crate) fn repaired(&self) -> Option<&Path> {
        self.repaired.as_deref()
    }

    /// The record at a key.
    pub(crate) fn get<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        let found = self.db.get(key).map_err(|e| self.failure(&e))?;
        found.map(|record| self.decode(&record)).transpose()
    }

    /// The record in the chunks behind a prefix, if there is one.
    pub(crate) fn read<T: DeserializeOwned>(&self, prefix: &[u8]) -> Result<Option<T>> {
        let mut record = Vec::new();
        for entry in self.db.scan_prefix(prefix) {
            record.extend_from_slice(&entry.map_err(|e| self.failure(&e))?.1);
        }
        (!record.is_empty()).then(|| self.decode(&record)).transpose()
    }

    /// The records whose keys begin with a prefix, in order of key.
    pub(crate) fn scan<T: DeserializeOwned>(&self, prefix: &[u8]) -> impl Iterator<Item = Result<T>> {
        self.db.scan_prefix(prefix).map(|entry| self.decode(&entry.map_err(|e| self.failure(&e))?.1))
    }

    /// The keys that begin with a prefix and are not below another, in order.
    pub(crate) fn keys_from(&self, prefix: &[u8], first: &[u8]) -> Result<Vec<Vec<u8>>> {
        let keys = self.db.scan_prefix(prefix).keys().map(|key| key.map(|key| key.to_vec()));
        let keys: Vec<Vec<u8>> = keys.collect::<sled::Result<_>>().map_err(|e| self.failure(&e))?;
        Ok(keys.into_iter().filter(|key| key.as_slice() >= first).collect())
    }

    /// How many keys begin with a prefix.
    pub(crate) fn count(&self, prefix: &[u8]) -> Result<usize> {
        let mut keys = self.db.scan_prefix(prefix).keys();
        keys.try_fold(0, |n, key| key.map(|_| n + 1)).map_err(|e| self.failure(&e))
    }

    /// Writes all or nothing. When this returns, a power cut cannot take it.
    pub(crate) fn apply(&self, batch: Batch) -> Result<()> {
        self.db.apply_batch(batch.0).map_err(|e| self.failure(&e))?;
        self.db.flush().map_err(|e| self.failure(&e))?;
        self.synced.sync_data().map_err(|e| Error::io("sync", &self.log, &e))
    }

    /// All keys and records, in order of key.
    pub(crate) fn contents(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let entry = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            entry.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(|e| self.failure(&e))
        };
        self.db.iter().map(entry).collect()
    }

    fn failure(&self, error: &sled::Error) -> Error {
        failure(&self.log, self.advice, error)
    }

    fn decode<T: DeserializeOwned>(&self, record: &[u8]) -> Result<T> {
        let damaged = |what: String| {
            Error::user(format!("{}: a record is damaged: {what}", self.log.display())).hint(self.advice.damaged)
        };
        let (version, rest) = record.split_first().ok_or_else(|| damaged("it is empty".into()))?;
        if *version != VERSION {
            let message = format!("{}: written by another version (format {version})", self.log.display());
            return Err(Error::user(message).hint("go on with the version that wrote it, or begin in a new directory"));
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

fn failure(path: &Path, advice: &Advice, error: &sled::Error) -> Error {
    match error {
        held if is_held(held) => {
            Error::user(format!("{}: another process is using this {}", path.display(), advice.what)).hint(advice.held)
        }
        // sled's own text is for programmers; the kind says as much.
        sled::Error::Io(e) => Error::io("use the store", path, &io::Error::from(e.kind())),
        other => Error::user(format!("{}: the store is damaged: {other}", path.display())).hint(advice.damaged),
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

#[cfg(test)]
impl Database {
    /// Writes bytes that are no record.
    pub(crate) fn spoil(&self, key: &[u8], bytes: Vec<u8>) {
        self.db.insert(key, bytes).expect("room");
    }
}
