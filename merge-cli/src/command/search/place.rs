//! The directory of a search: refused and left untouched, unless it is new or holds a study.

use super::publish;
use crate::{draw::screen, study_report::lost::gone};
use merge_core::{
    error::{Error, Result},
    export,
    merge::sources::Sources,
    store::Store,
    study::{Ending, StudyMark},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Files of a search's directory beside the study's store.
const ANSWER: [&str; 3] = ["model", "best.yaml", "result.json"];

/// Entries of a store that was stopped before it had a log, or during its repair.
const BEGUN: [&str; 4] = ["blobs", "conf", "damaged", "trial"];

/// A study's store, the directories made for it, and the earlier entries of the store's directory.
pub(super) struct StudyPlace {
    pub(super) store: Store,
    made: Vec<PathBuf>,
    before: Vec<String>,
}

impl StudyPlace {
    /// Opens the study of a directory that is new, is empty or has a study. `directory` is
    /// `output`, or a stage's directory in it.
    ///
    /// Fails, and makes nothing, if the directory holds something that may not be a search's.
    pub(super) fn open(output: &Path, directory: &Path, sources: &Sources) -> Result<Self> {
        let inputs = || sources.files().map(|(_, path)| path);
        export::check_input(&directory.join("model"), inputs())?;
        let begun = [output, directory].iter().any(|place| is_study(&place.join("study")).unwrap_or(false));
        if !begun {
            export::check_input(output, inputs())?;
        }
        check(output)?;
        check(directory)?;
        let study = directory.join("study");
        let missing = study.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
        let made: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        let before = names(&study)?;
        let store = Store::open(&study)?;
        if let Some(aside) = store.repaired() {
            screen::say(&format!("note: damaged files were moved to {}", aside.display()));
        }
        let is_damaged = match store.lost()? {
            Some(lost) => {
                screen::say(&format!("note: {}; they are computed again", gone(&study, lost)));
                true
            }
            // The mark says that a study was begun, but nothing of it is left.
            None => store.is_empty() && StudyMark::read(&study)?.is_some(),
        };
        let answered = is_damaged || publish::is_known(&store)? || store.get::<Ending>("ending")?.is_some();
        if let Some(name) = ANSWER.iter().find(|name| !answered && directory.join(name).exists()) {
            let message = format!("{}: holds `{name}`, but the study in it has no answer yet", directory.display());
            return Err(Error::user(message).hint("choose another directory, or move it elsewhere"));
        }
        Ok(Self { store, made, before })
    }

    /// Removes what [`Self::open`] made, after a refusal: no directory may look like a study.
    pub(super) fn abandon(self) {
        let Self { store, made, before } = self;
        if !store.is_empty() {
            return;
        }
        let study = store.dir().to_owned();
        drop(store);
        let is_kept = |name: &String| before.contains(name) || name.starts_with("damaged");
        for name in names(&study).unwrap_or_default().iter().filter(|name| !is_kept(name)) {
            let path = study.join(name);
            let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
        for directory in made {
            let _ = fs::remove_dir(&directory);
        }
    }
}

/// Refuses a directory for several studies that holds anything else, unless one was begun there.
pub(super) fn check_seeds(output: &Path) -> Result<()> {
    let names = names(output)?;
    let is_seed = |name: &&String| name.starts_with("seed-");
    if names.iter().filter(is_seed).any(|name| is_study(&output.join(name).join("study")).unwrap_or(false)) {
        return Ok(());
    }
    match names.iter().find(|name| !is_seed(name)) {
        Some(name) => Err(foreign(output, name)),
        None => Ok(()),
    }
}

/// Refuses a directory without a study that holds anything but the beginning of one.
fn check(directory: &Path) -> Result<()> {
    let study = directory.join("study");
    if is_study(&study)? {
        return Ok(());
    }
    if let Some(name) = names(&study)?.iter().find(|name| !BEGUN.contains(&name.as_str())) {
        return Err(foreign(&study, name));
    }
    for name in names(directory)?.iter().filter(|name| *name != "study") {
        let stages = directory.join(name);
        if name != "stages" || names(&stages)?.iter().any(|stage| check(&stages.join(stage)).is_err()) {
            return Err(foreign(directory, name));
        }
    }
    Ok(())
}

/// True if a directory holds a study: it has a mark, or, from an older version, only a store.
fn is_study(directory: &Path) -> Result<bool> {
    Ok(StudyMark::read(directory)?.is_some() || ["db", "conf"].iter().all(|name| directory.join(name).is_file()))
}

/// Names of a directory's entries, in order; none if it does not exist.
fn names(directory: &Path) -> Result<Vec<String>> {
    let unread = |e: io::Error| Error::io("read", directory, &e);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(unread(e)),
    };
    let name = |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names = entries.map(name).collect::<io::Result<Vec<String>>>().map_err(unread)?;
    names.sort();
    Ok(names)
}

fn foreign(directory: &Path, name: &str) -> Error {
    Error::user(format!("{}: holds `{name}`, which no search has written", directory.display()))
        .hint("choose another directory, or move it elsewhere")
}
