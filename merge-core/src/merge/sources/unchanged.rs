//! Proves that the files of models are still those that were opened: what is mapped changes under us when they do.

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

/// Files as they were when they were opened.
#[derive(Default)]
pub(super) struct FileStates(Mutex<Vec<SeenFile>>);

struct SeenFile {
    /// What the recipe calls the model.
    model: String,
    path: PathBuf,
    stamp: Option<Stamp>,
}

impl FileStates {
    /// Takes in the files of a model.
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
    /// Fails if a file was written to, cut or replaced since it was opened, or if it may have been, by what the file system says:
    /// no byte is read.
    #[expect(clippy::missing_panics_doc, reason = "no thread panics while it holds the list")]
    pub fn check_untouched(&self) -> Result<()> {
        let seen = self.seen.0.lock().expect("no panic while held");
        let touched = seen.iter().find(|file| file.is_touched());
        touched.map_or(Ok(()), |file| Err(changed(&file.model, &file.path)))
    }

    /// Fails if a file was changed since it was opened, given the hashes of then, [`Sources::sha256`]. Only files that
    /// may have been, by what the file system says, are read.
    #[expect(clippy::missing_panics_doc, reason = "no thread panics while it holds the list")]
    pub fn check_unchanged(&self, hashes: &[(String, BTreeMap<String, String>)]) -> Result<()> {
        let mut seen = self.seen.0.lock().expect("no panic while held");
        for file in seen.iter_mut().filter(|file| file.is_touched()) {
            // What is touched while it is hashed is hashed again the next time.
            let now = Stamp::of(&file.path);
            let name = file.path.file_name().unwrap_or_default().to_string_lossy();
            let of_model = hashes.iter().find(|(model, _)| *model == file.model);
            let Some(then) = of_model.and_then(|(_, files)| files.get(&*name)) else { continue };
            check(&file.model, &file.path, then)?;
            file.stamp = now;
        }
        Ok(())
    }

    /// Fails if a file is not what these hashes say, [`Sources::sha256`] of when it was opened. Reads every byte.
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
    // Read, not mapped: a file that is cut meanwhile is an error, not the end of the process.
    if sha256_of(path).is_ok_and(|now| now == then) { Ok(()) } else { Err(changed(model, path)) }
}

fn changed(model: &str, path: &Path) -> Error {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let what = if path.exists() { "was changed" } else { "was removed" };
    Error::user(format!("{model}: {name} {what} while it was used"))
}
