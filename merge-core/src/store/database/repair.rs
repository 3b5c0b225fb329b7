//! Repairs a store that could not be opened: finds out if it is damaged, and keeps what it can.
//!
//! Opening a store fails in the same way if its log is damaged and if the machine has no thread,
//! memory or descriptor left. So a store counts as damaged only if a new store can be opened at the
//! same moment in the same place, and every replaced file is kept under another name.

#[cfg(test)]
mod tests;

use crate::error::{Error, Result};
use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// Reason why a store was not opened.
#[derive(Debug)]
pub(super) enum OpenFailure {
    /// Another process holds it.
    Held,
    /// It cannot be opened, for this reason.
    Damaged(String),
    /// The system or the store's form does not allow it.
    Refused(Error),
}

impl From<Error> for OpenFailure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

type Opened<T> = std::result::Result<T, OpenFailure>;

/// Function that opens the store in a directory.
pub(super) type Open<'a, T> = dyn Fn(&Path) -> Opened<T> + 'a;

/// Time for a store's own threads to release its lock after it is closed.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// A log is cut at a multiple of this many bytes.
const STEP: u64 = 64 << 10;

/// Opens a store that could not be opened; returns it and the directory of the damaged files, if
/// any. If `may_cut`, the log may lose its end.
///
/// Fails, having changed nothing, if no store at all can be opened here now.
pub(super) fn repair<T>(dir: &Path, may_cut: bool, open: &Open<'_, T>) -> Opened<(T, Option<PathBuf>)> {
    let whole = File::open(dir).map_err(|e| Error::io("open", dir, &e))?;
    // Two processes must not repair it at the same time.
    lock(&whole, dir)?;
    let trial = Trial(dir.join("trial"));
    check_room(&trial, open)?;
    let mut why = match tried(dir, open)? {
        // The failure was temporary.
        Ok(store) => return Ok((store, None)),
        Err(why) => why,
    };
    let mut aside = DamagedDirectory { dir, made: None };
    for beside in [set_configuration_aside, set_snapshots_aside] {
        if beside(dir, &trial, &mut aside)? {
            sync(dir)?;
            match tried(dir, open)? {
                Ok(store) => return Ok((store, aside.made)),
                Err(still) => why = still,
            }
        }
    }
    if !may_cut {
        return Err(OpenFailure::Damaged(why));
    }
    cut_before_damage(dir, &trial, &mut aside, open)?;
    open(dir).map(|store| (store, aside.made))
}

/// Directory of trial stores, removed at the end.
struct Trial(PathBuf);

impl Trial {
    /// Creates an empty directory for a trial store.
    fn begin(&self, name: &str) -> Result<PathBuf> {
        let dir = self.0.join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(|e| Error::io("remove", &dir, &e))?;
        }
        fs::create_dir_all(&dir).map_err(|e| Error::io("create", &dir, &e))?;
        Ok(dir)
    }

    /// Path of the configuration of a new store.
    fn configuration(&self) -> PathBuf {
        self.0.join(NEW).join(CONFIGURATION)
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const NEW: &str = "new";
const CONFIGURATION: &str = "conf";
const LOG: &str = "db";

/// Directory for damaged files: created at the first use, and never one that existed before.
struct DamagedDirectory<'a> {
    dir: &'a Path,
    made: Option<PathBuf>,
}

impl DamagedDirectory<'_> {
    fn place(&mut self) -> Result<&Path> {
        if self.made.is_none() {
            self.made = Some(new_directory(self.dir)?);
        }
        Ok(self.made.as_deref().expect("just made"))
    }
}

fn new_directory(dir: &Path) -> Result<PathBuf> {
    for number in 1..1000 {
        let place = dir.join(if number == 1 { "damaged".to_owned() } else { format!("damaged-{number}") });
        match fs::create_dir(&place) {
            Ok(()) => return Ok(place),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::io("create", &place, &e)),
        }
    }
    Err(Error::user(format!("{}: it already holds a thousand damaged stores", dir.display()))
        .hint("delete those that nobody needs"))
}

/// The store, or the reason why it counts as damaged.
fn tried<T>(dir: &Path, open: &Open<'_, T>) -> Opened<std::result::Result<T, String>> {
    match open(dir) {
        Ok(store) => Ok(Ok(store)),
        Err(OpenFailure::Damaged(why)) => Ok(Err(why)),
        Err(other) => Err(other),
    }
}

/// Fails if no new store can be opened.
fn check_room<T>(trial: &Trial, open: &Open<'_, T>) -> Opened<()> {
    let new = trial.begin(NEW)?;
    match open(&new) {
        Ok(_) => Ok(()),
        Err(OpenFailure::Refused(error)) => Err(OpenFailure::Refused(error)),
        Err(_) => {
            let dir = trial.0.parent().unwrap_or(&trial.0);
            let message = format!("{}: no store can be opened in this directory at the moment", dir.display());
            let hint = "nothing was changed: try again, with more threads, memory or open files allowed";
            Err(OpenFailure::Refused(Error::machine(message).hint(hint)))
        }
    }
}

/// Replaces a damaged or missing configuration by a new one; false if it is as expected.
///
/// Fails if it is whole but of another form.
fn set_configuration_aside(dir: &Path, trial: &Trial, aside: &mut DamagedDirectory<'_>) -> Result<bool> {
    let (there, new) = (dir.join(CONFIGURATION), trial.configuration());
    let read = |path: &Path| {
        let mut bytes = Vec::new();
        File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map(|_| bytes)
    };
    let wanted = read(&new).map_err(|e| Error::io("read", &new, &e))?;
    match read(&there) {
        Ok(found) if found == wanted => return Ok(false),
        Ok(found) if is_whole(&found) => {
            return Err(Error::user(format!("{}: this store has another format", dir.display()))
                .hint("go on with the version that wrote it"));
        }
        Ok(_) => {
            let kept = aside.place()?.join(CONFIGURATION);
            fs::rename(&there, &kept).map_err(|e| Error::io("move aside", &there, &e))?;
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(Error::io("read", &there, &e)),
    }
    fs::copy(&new, &there).map_err(|e| Error::io("copy", &new, &e))?;
    sync(&there)?;
    Ok(true)
}

/// True if a configuration is whole: it ends in the CRC-32 of all bytes before.
fn is_whole(configuration: &[u8]) -> bool {
    configuration.split_last_chunk().is_some_and(|(text, sum)| crc32(text) == u32::from_le_bytes(*sum))
}

fn crc32(bytes: &[u8]) -> u32 {
    let bit = |crc: u32| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc)))
}

/// Moves snapshots away, since the log alone holds every record; false if there are none.
fn set_snapshots_aside(dir: &Path, _: &Trial, aside: &mut DamagedDirectory<'_>) -> Result<bool> {
    let mut moved = false;
    for entry in fs::read_dir(dir).map_err(|e| Error::io("read", dir, &e))? {
        let entry = entry.map_err(|e| Error::io("read", dir, &e))?;
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            let to = aside.place()?.join(entry.file_name());
            fs::rename(entry.path(), &to).map_err(|e| Error::io("move aside", &entry.path(), &e))?;
            moved = true;
        }
    }
    Ok(moved)
}

/// Replaces the log by its longest beginning that can be opened; the whole log is kept aside.
fn cut_before_damage<T>(dir: &Path, trial: &Trial, aside: &mut DamagedDirectory<'_>, open: &Open<'_, T>) -> Opened<()> {
    let log = dir.join(LOG);
    let len = fs::metadata(&log).map_err(|e| Error::io("read", &log, &e))?.len();
    // A new copy each time: opening a store writes to it.
    let opens = |len: u64| -> Opened<bool> {
        let cut = begin_cut(&log, len, trial)?;
        match tried(&cut, open)? {
            Ok(_) => Ok(true),
            Err(_) => check_room(trial, open).map(|()| false),
        }
    };
    if opens(len)? {
        let message = format!("{}: it cannot be opened, although a copy of it can", log.display());
        return Err(OpenFailure::Refused(Error::machine(message).hint("try again")));
    }
    let (mut whole, mut damaged) = (0, len.div_ceil(STEP));
    while damaged - whole > 1 {
        let middle = u64::midpoint(whole, damaged);
        if opens(middle * STEP)? { whole = middle } else { damaged = middle }
    }
    let cut = begin_cut(&log, whole * STEP, trial)?.join(LOG);
    let held = File::open(&log).map_err(|e| Error::io("open", &log, &e))?;
    lock(&held, &log)?;
    let kept = aside.place()?.join(LOG);
    // Until the rename the whole log is in its place, whatever happens.
    fs::hard_link(&log, &kept)
        .or_else(|_| fs::copy(&log, &kept).map(|_| ()))
        .and_then(|()| fs::rename(&cut, &log))
        .map_err(|e| Error::io("move aside", &log, &e))?;
    sync(aside.place()?)?;
    Ok(sync(dir)?)
}

/// Creates a trial store with the first `len` bytes of a log.
fn begin_cut(log: &Path, len: u64, trial: &Trial) -> Result<PathBuf> {
    let cut = trial.begin("cut")?;
    let copy = || {
        fs::copy(trial.configuration(), cut.join(CONFIGURATION))?;
        let mut to = OpenOptions::new().write(true).create_new(true).open(cut.join(LOG))?;
        io::copy(&mut File::open(log)?.take(len), &mut to)?;
        to.sync_all()
    };
    copy().map_err(|e| Error::io("copy", log, &e))?;
    Ok(cut)
}

/// Locks a file, as opening a store does.
fn lock(file: &File, path: &Path) -> Opened<()> {
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
            Err(TryLockError::WouldBlock) => return Err(OpenFailure::Held),
            Err(TryLockError::Error(e)) => return Err(OpenFailure::Refused(Error::io("lock", path, &e))),
        }
    }
}

/// Syncs a file, or the entries of a directory, to the device.
pub(super) fn sync(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|e| Error::io("sync", path, &e))
}
