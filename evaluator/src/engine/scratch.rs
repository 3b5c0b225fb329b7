//! A directory, by default in memory, in which models are written for engines and judges, and from which nothing is left behind.

use super::proof::{Hashes, expected};
use crate::interrupt::Interrupt;
use merge_core::{
    checkpoint::Checkpoint,
    error::{Error, Result},
    export::{Export, Options, replace_file},
    file,
    model::{Weights, dtype::Dtype, hash::hex},
};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File, TryLockError},
    ops::ControlFlow,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicUsize, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// Start of the names of our directories.
pub(super) const PREFIX: &str = "evomerge-scratch-";
/// File that is locked while the directory's process lives.
const LOCK: &str = "in-use.lock";

/// A directory of this process for models that engines and judges load. It is removed when it is dropped.
///
/// What a killed process has left is removed by the next one that uses the same parent directory: the lock tells that
/// nobody uses it.
#[derive(Debug)]
pub struct Scratch {
    dir: PathBuf,
    _lock: File,
    next: AtomicUsize,
}

/// A model in a scratch directory. It is removed when it is dropped.
#[derive(Debug)]
pub struct ScratchModel {
    dir: PathBuf,
}

/// A small file in a scratch directory. It is removed when it is dropped.
#[derive(Debug)]
pub struct ScratchFile {
    path: PathBuf,
}

impl Scratch {
    /// Makes a directory below `parent`, such as `/dev/shm`, after removing what killed processes have left there.
    ///
    /// Fails if `parent` is no directory or cannot be written.
    pub fn begin(parent: &Path) -> Result<Self> {
        let parent = fs::canonicalize(parent).map_err(|e| {
            Error::io("open", parent, &e)
                .or_hint("`--scratch DIR` names the directory in which models are written for engines and judges")
        })?;
        clear(&parent);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let name = format!("{PREFIX}{}-{since:x}", process::id());
        let (hidden, dir) = (parent.join(format!(".{name}")), parent.join(name));
        let made = |e: std::io::Error| {
            Error::io("write to", &parent, &e)
                .or_hint("`--scratch DIR` names another directory for models that are written")
        };
        // It gets its name when it is locked, so that no other process takes it for a dead one's.
        fs::create_dir(&hidden).map_err(made)?;
        let lock = File::create_new(hidden.join(LOCK)).map_err(made)?;
        let locked = lock.try_lock();
        let named = fs::rename(&hidden, &dir);
        let scratch = Self { dir, _lock: lock, next: AtomicUsize::new(0) };
        if matches!(locked, Err(TryLockError::Error(_))) {
            return Err(Error::user(format!("{}: its file system has no locks", parent.display()))
                .hint("`--scratch DIR` names another directory for models that are written"));
        }
        named.map_err(made)?;
        Ok(scratch)
    }

    /// Bytes that fit, as far as the file system tells.
    pub fn room(&self) -> Result<u64> {
        file::room(&self.dir).map_err(|e| Error::io("measure", &self.dir, &e))
    }

    /// The directory in which this one was made.
    pub fn parent(&self) -> &Path {
        self.dir.parent().unwrap_or(&self.dir)
    }

    /// Path of the output of an engine that is started.
    pub(super) fn log(&self, number: usize) -> PathBuf {
        self.dir.join(format!("engine-{number}.log"))
    }

    /// Writes a model to a directory of its own, which had no other model before.
    ///
    /// Fails if a tensor cannot be computed, if there is no room, or if interrupted.
    pub fn write(&self, weights: &dyn Weights, interrupt: &Interrupt) -> Result<ScratchModel> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let dir = self.dir.join(format!("model-{number}"));
        // Whatever happens to the directory tells nothing about the model.
        let export = Export::begin(&dir).map_err(Error::as_machine)?;
        let on_written = |_| if interrupt.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let written = export.weights(weights, &Options { on_written: &on_written, ..Options::default() });
        written.map_err(|e| match e {
            _ if interrupt.is_set() => Error::interrupted(),
            e if self.dir.is_dir() => e,
            e => e.as_machine(),
        })?;
        export.publish_new().map_err(Error::as_machine)?;
        Ok(ScratchModel { dir })
    }
}

impl Scratch {
    /// Writes a small file with a name of its own that ends so.
    pub fn file(&self, end: &str, text: &str) -> Result<ScratchFile> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.dir.join(format!("file-{number}{end}"));
        replace_file(&path, text)?;
        Ok(ScratchFile { path })
    }
}

impl ScratchFile {
    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The next process removes what could not be removed.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Removes directories of processes that are dead.
fn clear(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        // A link, or somebody else's directory, is left alone: it cannot be locked or removed.
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let Ok(lock) = File::options().write(true).open(entry.path().join(LOCK)) else { continue };
        if lock.try_lock().is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl ScratchModel {
    /// Directory of the model: an ordinary checkpoint.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// A name that no other model has, now or later.
    pub(super) fn version(&self) -> String {
        let place = self.dir.to_string_lossy();
        format!("evomerge-{}", &hex(&Sha256::digest(place.as_bytes()))[..16])
    }

    /// Hashes of an engine's parameters, as [`expected`] computes them from the files; none if they cannot be read.
    pub(super) fn hashes(&self, parameters: &[&str], dtype: Option<Dtype>) -> Hashes {
        Checkpoint::open(&self.dir).map_or_else(|_| Hashes::new(), |files| expected(&files, parameters, dtype))
    }
}

impl Drop for ScratchModel {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use merge_core::error::Fault;
    use std::sync::{Arc, atomic::AtomicBool};
    use tempfile::TempDir;

    #[test]
    fn a_dead_process_leaves_nothing_for_long_and_a_live_one_is_left_alone() {
        let parent = TempDir::new().unwrap();
        let names = || {
            let mut names: Vec<_> = fs::read_dir(parent.path())
                .unwrap()
                .map(|one| one.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        let dead = parent.path().join(format!("{PREFIX}1-2"));
        fs::create_dir_all(dead.join("model-0")).unwrap();
        File::create(dead.join(LOCK)).unwrap();
        // These have a similar name, but are not ours: no lock, a file, a link.
        fs::create_dir(parent.path().join(format!("{PREFIX}mine"))).unwrap();
        File::create(parent.path().join(format!("{PREFIX}file"))).unwrap();
        std::os::unix::fs::symlink(parent.path(), parent.path().join(format!("{PREFIX}link"))).unwrap();
        let others = names().into_iter().filter(|name| !name.ends_with("1-2")).collect::<Vec<_>>();
        let first = Scratch::begin(parent.path()).unwrap();
        let second = Scratch::begin(parent.path()).unwrap();
        assert_eq!(names().len(), others.len() + 2);
        drop((first, second));
        assert_eq!(names(), others);
    }

    #[test]
    fn what_happens_to_the_directory_tells_nothing_about_the_model() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/adapters/llama");
        let (parent, model) = (TempDir::new().unwrap(), Checkpoint::open(&model).unwrap());
        let scratch = Scratch::begin(parent.path()).unwrap();
        let fault = |interrupt: &Interrupt| scratch.write(&model, interrupt).map(|_| ()).unwrap_err().fault();
        let set = Arc::new(AtomicBool::new(true));
        assert_eq!(fault(&Interrupt::from(&set)), Fault::Interrupted);
        fs::remove_dir_all(&scratch.dir).unwrap();
        File::create(&scratch.dir).unwrap();
        assert_eq!(fault(&Interrupt::default()), Fault::Machine);
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let error = Scratch::begin(Path::new("/nowhere/at-all")).unwrap_err();
        assert!(error.to_string().starts_with("cannot open /nowhere/at-all"), "{error}");
    }
}
