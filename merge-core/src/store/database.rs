//! Records in an embedded database: versioned, with a checksum, on the device before they count.
//!
//! The database is sled 0.34. Its `flush` does not reach the device on Linux, so we sync the log
//! after each flush, and a new configuration. Where the log is damaged, sled ends it silently,
//! leaves something out, or panics. So the number of records written is kept in the log and then in
//! a file beside it, to tell what is lost. [`repair`] handles a store that cannot be opened.

mod repair;

use self::repair::{OpenFailure, PATIENCE, sync};
use crate::error::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    panic,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

/// A value that a database can hold: plain data, as JSON.
pub trait Payload {
    /// The value as JSON.
    fn payload(&self) -> Vec<u8>;
}

impl<T: Serialize + ?Sized> Payload for T {
    fn payload(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("records are plain data with text for keys")
    }
}

/// The version of every record; a database of another version is refused.
const VERSION: u8 = 1;
pub(crate) const CHECKSUM_LEN: usize = 8;
/// Length of the file that holds the number of records written.
const TIP_LEN: usize = 1 + CHECKSUM_LEN + size_of::<u64>();
/// Maximum length of a value: sled puts larger ones into files of their own, which it never syncs.
pub(crate) const CHUNK: usize = 32 * 1024;

/// Key, in the log, of the number of records written so far. It sorts before all others, next to
/// small records: sled writes neighbours together.
const TIP: &[u8] = b"\0tip";
/// Name of the file that holds the same number.
const TIP_FILE: &str = "tip";

/// Texts for a user whose database cannot be opened.
pub(crate) struct Advice {
    /// Kind of the database, such as "study".
    pub(crate) what: &'static str,
    /// Hint if another process holds it.
    pub(crate) held: &'static str,
    /// Hint if it is damaged.
    pub(crate) damaged: &'static str,
    /// Hint if its log cannot be opened and must not be cut.
    pub(crate) uncut: &'static str,
}

/// A database in a directory, which one process holds at a time.
pub(crate) struct Database {
    db: sled::Db,
    log: PathBuf,
    /// The log again, to sync it: opened once, so that no sync can fail for want of a descriptor.
    synced: File,
    repaired: Option<PathBuf>,
    count: Mutex<RecordCount>,
    tip: TipFile,
    /// Number of records written, according to the tip file at opening.
    tip_at_open: u64,
    advice: &'static Advice,
}

/// Number of records ever written, and number of keys that should be there (a record may replace
/// another). The second is `None` for a log from before keys were counted.
type Count = (u64, Option<u64>);

/// The count, as stored and as found.
#[derive(Default)]
struct RecordCount {
    count: Count,
    /// Number of keys found by [`Database::lost`]; the next write counts from it.
    found: Option<u64>,
}

/// Records that were written and are missing: the log was damaged or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Number of missing records.
    pub records: u64,
    /// Number of records ever written.
    pub of: u64,
}

/// The tip file, beside the log. Not synced: a power cut may leave it behind the log, never ahead.
struct TipFile {
    path: PathBuf,
    file: File,
    /// Number that this process has written to the file.
    written: Mutex<u64>,
}

/// Changes that are written in one step.
#[derive(Default)]
pub(crate) struct WriteBatch {
    changes: sled::Batch,
    records: u64,
    inserted: BTreeSet<Vec<u8>>,
    removed: BTreeSet<Vec<u8>>,
}

impl WriteBatch {
    /// Puts a record at a key. It should be small: see [`WriteBatch::chunks`].
    pub(crate) fn insert(&mut self, key: Vec<u8>, value: &(impl Payload + ?Sized)) {
        self.put(key, seal(&value.payload()));
    }

    fn put(&mut self, key: Vec<u8>, record: Vec<u8>) {
        self.changes.insert(key.as_slice(), record);
        self.inserted.insert(key);
        self.records += 1;
    }

    /// Puts a record of any length under a prefix, in chunks; returns their number.
    pub(crate) fn chunks(&mut self, prefix: &[u8], value: &(impl Payload + ?Sized)) -> u32 {
        let mut n_chunks = 0u32;
        for chunk in seal(&value.payload()).chunks(CHUNK) {
            self.put([prefix, &n_chunks.to_be_bytes()].concat(), chunk.to_vec());
            n_chunks += 1;
        }
        n_chunks
    }

    pub(crate) fn remove(&mut self, key: impl AsRef<[u8]>) {
        self.changes.remove(key.as_ref());
        self.removed.insert(key.as_ref().to_vec());
    }
}

impl Database {
    /// Opens or creates the database in a directory. `may_cut` lets a damaged log lose its end.
    ///
    /// Fails if another process holds it, or if its log cannot be read. One that lacks records is
    /// opened: see [`Database::lost`].
    pub(crate) fn open(dir: &Path, advice: &'static Advice, may_cut: bool) -> Result<Self> {
        let held = || Error::user(format!("{}: another process is using this {}", dir.display(), advice.what));
        Self::open_unless_held(dir, advice, may_cut)?.ok_or_else(|| held().hint(advice.held))
    }

    /// Like [`Database::open`], but `None` if another process holds it.
    pub(crate) fn open_unless_held(dir: &Path, advice: &'static Advice, may_cut: bool) -> Result<Option<Self>> {
        fs::create_dir_all(dir).map_err(|e| Error::io("create", dir, &e))?;
        // sled treats a configuration of up to 8 bytes as missing.
        let is_new = fs::metadata(dir.join("conf")).map_or(0, |conf| conf.len()) <= 8;
        let opened = match open(dir) {
            Err(OpenFailure::Damaged(_)) => repair::repair(dir, may_cut, &open),
            opened => opened.map(|db| (db, None)),
        };
        let (db, repaired) = match opened {
            Ok(opened) => opened,
            Err(OpenFailure::Held) => return Ok(None),
            Err(OpenFailure::Refused(error)) => return Err(error),
            Err(OpenFailure::Damaged(why)) => {
                let message = format!("{}: the store of the {} is damaged: {why}", dir.display(), advice.what);
                return Err(Error::user(message).hint(if may_cut { advice.damaged } else { advice.uncut }));
            }
        };
        if is_new {
            // sled never syncs it.
            sync(&dir.join("conf"))?;
            sync(dir)?;
        }
        let log = dir.join("db");
        let synced = File::open(&log).map_err(|e| Error::io("open", &log, &e))?;
        let (tip, tip_at_open) = TipFile::open(dir)?;
        let opened = Self { db, log, synced, repaired, count: Mutex::default(), tip, tip_at_open, advice };
        let counted = opened.get::<Count>(TIP)?;
        let count = counted.unwrap_or_else(|| (0, opened.is_empty().then_some(0)));
        opened.count.lock().expect("no panic while held").count = count;
        Ok(Some(opened))
    }

    /// True if it has no records.
    pub(crate) fn is_empty(&self) -> bool {
        self.db.iter().keys().all(|key| matches!(key, Ok(key) if key == TIP))
    }

    /// Directory to which damaged files were moved at opening, if any were.
    pub(crate) fn repaired(&self) -> Option<&Path> {
        self.repaired.as_deref()
    }

    /// Number of records that were written and are missing, if any are. Reads every key. From the
    /// next write on, they count as never written.
    pub(crate) fn lost(&self) -> Result<Option<Lost>> {
        let mut counted = self.count.lock().expect("no panic while held");
        let (written, wanted) = counted.count;
        let there = self.count(b"")? as u64;
        let there = there - u64::from(self.db.contains_key(TIP).map_err(|e| self.failure(&e))?);
        counted.found = Some(there);
        let of = self.tip_at_open.max(written);
        // A log that lost its end has lost its latest count too: the tip file has that.
        let records = (of - written).max(wanted.map_or(0, |wanted| wanted.saturating_sub(there)));
        Ok((records > 0).then_some(Lost { records, of }))
    }

    pub(crate) fn dir(&self) -> &Path {
        self.log.parent().expect("the log is in it")
    }

    /// The record at a key.
    pub(crate) fn get<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        let found = self.db.get(key).map_err(|e| self.failure(&e))?;
        found.map(|record| self.decode(&record)).transpose()
    }

    /// The record in the chunks under a prefix, if there is one.
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

    /// Keys that begin with a prefix and are not below `first`, in order.
    pub(crate) fn keys_from(&self, prefix: &[u8], first: &[u8]) -> Result<Vec<Vec<u8>>> {
        let keys = self.db.scan_prefix(prefix).keys().map(|key| key.map(|key| key.to_vec()));
        let keys: Vec<Vec<u8>> = keys.collect::<sled::Result<_>>().map_err(|e| self.failure(&e))?;
        Ok(keys.into_iter().filter(|key| key.as_slice() >= first).collect())
    }

    /// Number of keys that begin with a prefix.
    pub(crate) fn count(&self, prefix: &[u8]) -> Result<usize> {
        let mut keys = self.db.scan_prefix(prefix).keys();
        keys.try_fold(0, |n, key| key.map(|_| n + 1)).map_err(|e| self.failure(&e))
    }

    /// Writes all or nothing. When this returns, it survives a power cut.
    pub(crate) fn apply(&self, WriteBatch { mut changes, records, inserted, removed }: WriteBatch) -> Result<()> {
        let is_there = |key: &Vec<u8>| self.db.contains_key(key).map_err(|e| self.failure(&e));
        let written = {
            // One batch after the other, so that each stores its count; they are synced together.
            let mut counted = self.count.lock().expect("no panic while held");
            let (mut written, mut there) = counted.count;
            there = counted.found.or(there);
            written += records;
            if let Some(there) = &mut there {
                for key in &inserted {
                    *there += u64::from(!is_there(key)?);
                }
                for key in removed.difference(&inserted) {
                    *there -= u64::from(is_there(key)?);
                }
            }
            changes.insert(TIP, seal(&(written, there).payload()));
            self.db.apply_batch(changes).map_err(|e| self.failure(&e))?;
            *counted = RecordCount { count: (written, there), found: None };
            written
        };
        self.db.flush().map_err(|e| self.failure(&e))?;
        self.synced.sync_data().map_err(|e| Error::io("sync", &self.log, &e))?;
        self.tip.write(written)
    }

    /// All keys and records in order of key, without the count.
    pub(crate) fn contents(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let entry = |entry: sled::Result<(sled::IVec, sled::IVec)>| {
            entry.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(|e| self.failure(&e))
        };
        self.db.iter().filter(|entry| !matches!(entry, Ok((key, _)) if key == TIP)).map(entry).collect()
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

impl TipFile {
    /// Opens or creates the file; returns it with the number it holds, 0 if that cannot be read.
    fn open(dir: &Path) -> Result<(Self, u64)> {
        let path = dir.join(TIP_FILE);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|e| Error::io("open", &path, &e))?;
        let mut record = [0; TIP_LEN];
        let says = file.read_exact_at(&mut record, 0).ok().and_then(|()| {
            let (sum, number) = record[1..].split_at(CHECKSUM_LEN);
            (record[0] == VERSION && checksum(number) == sum).then(|| number.try_into().expect("so it was split"))
        });
        Ok((Self { path, file, written: Mutex::new(0) }, says.map_or(0, u64::from_be_bytes)))
    }

    /// Writes the number of records that are on the device.
    fn write(&self, number: u64) -> Result<()> {
        let mut written = self.written.lock().expect("no panic while held");
        // Of two concurrent writers, the later may be here first.
        if number > *written {
            self.file.write_all_at(&seal(&number.to_be_bytes()), 0).map_err(|e| Error::io("write", &self.path, &e))?;
            *written = number;
        }
        Ok(())
    }
}

fn open(dir: &Path) -> std::result::Result<sled::Db, OpenFailure> {
    check_threads()?;
    let began = Instant::now();
    loop {
        // Only sled's background thread syncs by itself. We sync what counts; it syncs the rest.
        let config = sled::Config::new().path(dir).flush_every_ms(Some(500)).cache_capacity(64 << 20);
        match catch_panic(|| config.open()) {
            // sled's threads release its lock a moment after a store is closed, and a stopped
            // search needs a moment to end.
            Some(Err(e)) if is_held(&e) && began.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
            Some(Err(e)) if is_held(&e) => return Err(OpenFailure::Held),
            Some(Err(sled::Error::Io(e))) => return Err(unusable(dir, &e).into()),
            Some(Err(e)) => return Err(OpenFailure::Damaged(e.to_string())),
            Some(Ok(db)) => return Ok(db),
            None => return Err(OpenFailure::Damaged("its log makes no sense".to_owned())),
        }
    }
}

/// Number of threads that sled starts: with fewer it gives up, and with none it waits for ever.
const THREADS: usize = 8;

/// Fails if [`THREADS`] threads cannot be started.
fn check_threads() -> Result<()> {
    let gate = Mutex::new(());
    let closed = gate.lock();
    let started = thread::scope(|scope| {
        let one = |_| thread::Builder::new().spawn_scoped(scope, || drop(gate.lock()));
        let all: io::Result<Vec<_>> = (0..THREADS).map(one).collect();
        drop(closed);
        all.map(drop)
    });
    let hint = "nothing was changed: try again, with more threads allowed";
    started.map_err(|e| Error::machine(format!("cannot start {THREADS} threads for a store: {e}")).hint(hint))
}

/// Result of a call; `None` if it panics. The panic is not shown.
fn catch_panic<T>(call: impl FnOnce() -> T) -> Option<T> {
    // The panic hook is the whole process's.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().expect("no panic gets out while it is held");
    let shown = panic::take_hook();
    panic::set_hook(Box::new(|_| ()));
    // A call that panics leaves nothing behind: all it used is dropped.
    let returned = panic::catch_unwind(panic::AssertUnwindSafe(call));
    panic::set_hook(shown);
    returned.ok()
}

/// True if another process holds the lock.
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
        sled::Error::Io(e) => unusable(path, e),
        other => Error::user(format!("{}: the store is damaged: {other}", path.display())).hint(advice.damaged),
    }
}

/// An I/O error without sled's own text, which is for programmers; the kind says as much.
fn unusable(path: &Path, error: &io::Error) -> Error {
    Error::io("use the store", path, &io::Error::from(error.kind()))
}

#[cfg(test)]
impl Database {
    /// Writes bytes that are no record.
    pub(crate) fn spoil(&self, key: &[u8], bytes: Vec<u8>) {
        self.db.insert(key, bytes).expect("room");
    }
}
