//! Proves that models' files are still the opened ones: a mapped file changes in memory when it changes on disk.

use super::Sources;
use crate::{
    checkpoint::Stamp,
    error::{Error, Result},
    model::hash::sha256_of,
};
use rayon::prelude::*;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Mutex,
};

/// State of files when they were opened.
#[derive(Default)]
pub(super) struct FileStates(Mutex<Vec<SeenFile>>);

struct SeenFile {
    /// Name of the model in the recipe.
    model: String,
    path: PathBuf,
    stamp: Option<Stamp>,
}

impl FileStates {
    /// Adds the files of a model.
    pub(super) fn add(&mut self, model: &str, paths: impl Iterator<Item = PathBuf>) {
        let seen = paths.map(|path| SeenFile { model: model.to_owned(), stamp: Stamp::of(&path), path });
        self.0.get_mut().expect("no panic while held").extend(seen);
    }
}

impl SeenFile {
    fn is_touched(&self) -> bool {
        Stamp::of(&self.path) != self.stamp
    }
}

impl Sources {
    /// Fails if, according to the file system, a file was or may have been written to, cut or
    /// replaced since it was opened. Reads no byte.
    #[expect(clippy::missing_panics_doc, reason = "no thread panics while it holds the list")]
    pub fn check_untouched(&self) -> Result<()> {
        let seen = self.seen.0.lock().expect("no panic while held");
        let touched = seen.iter().find(|file| file.is_touched());
        touched.map_or(Ok(()), |file| Err(changed(&file.model, &file.path)))
    }

    /// Fails if a file does not match `hashes`, the [`Sources::sha256`] of when it was opened.
    /// Reads only files that may have changed, according to the file system.
    #[expect(clippy::missing_panics_doc, reason = "no thread panics while it holds the list")]
    pub fn check_unchanged(&self, hashes: &[(String, BTreeMap<String, String>)]) -> Result<()> {
        let mut seen = self.seen.0.lock().expect("no panic while held");
        for file in seen.iter_mut().filter(|file| file.is_touched()) {
            // A file that is touched while it is hashed is hashed again next time.
            let now = Stamp::of(&file.path);
            let name = file.path.file_name().unwrap_or_default().to_string_lossy();
            let of_model = hashes.iter().find(|(model, _)| *model == file.model);
            let Some(then) = of_model.and_then(|(_, files)| files.get(&*name)) else { continue };
            check(&file.model, &file.path, then)?;
            file.stamp = now;
        }
        Ok(())
    }

    /// Fails if a file does not match `hashes`, the [`Sources::sha256`] of when it was opened. Reads every byte.
    #[expect(clippy::missing_panics_doc, reason = "the hashes are these sources'")]
    pub fn prove(&self, hashes: &[(String, BTreeMap<String, String>)]) -> Result<()> {
        hashes.par_iter().try_for_each(|(model, files)| {
            let (_, path) = self.files().find(|(name, _)| name == model).expect("these are its hashes");
            files.par_iter().try_for_each(|(file, then)| {
                let path = if path.is_dir() { path.join(file) } else { path.to_owned() };
                check(model, &path, then)
            })
        })
    }
}

fn check(model: &str, path: &Path, then: &str) -> Result<()> {
    // Read, not mapped: a file that is cut meanwhile is an error, and does not end the process.
    if sha256_of(path).is_ok_and(|now| now == then) { Ok(()) } else { Err(changed(model, path)) }
}

fn changed(model: &str, path: &Path) -> Error {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let what = if path.exists() { "was changed" } else { "was removed" };
    Error::user(format!("{model}: {name} {what} while it was used"))
}
