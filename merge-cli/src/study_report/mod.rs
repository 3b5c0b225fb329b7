//! Reports on studies: figures, verdicts and pictures, for the terminal, the page and the files.

pub(crate) mod chosen;
pub(crate) mod csv_tables;
pub(crate) mod curve;
pub(crate) mod figures;
pub(crate) mod html;
pub(crate) mod judgement;
pub(crate) mod lost;
pub(crate) mod names;
pub(crate) mod origins;
pub(crate) mod plot;
pub(crate) mod route;
pub(crate) mod summary;
pub(crate) mod text;
pub(crate) mod weights;

use self::lost::gone;
use self::summary::Summary;
use crate::language::Language;
use merge_core::{
    error::{Error, Result, meant},
    store::{Lost, Store},
    study::{self, Curves, StudyRecord},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Refuses a directory without a study.
pub(crate) fn check(study: &Path) -> Result<()> {
    find(study).map(|_| ())
}

/// The HTML page of a study, as `--html` writes it; `name` is the study's name for the reader.
pub(crate) fn page_of(name: &str, study: &Path) -> Result<String> {
    let DirectoryKind::Study(directory) = find(study)? else {
        return Err(Error::user(format!("{name}: these are several studies, each of which has a page of its own")));
    };
    Ok(html::page(name, &Summary::of(StudyRead::read(&directory)?, Language::chosen())?))
}

/// Picture of a running search; `None` if there is nothing to draw yet.
pub(crate) fn live(curves: &Curves, models: &[String], width: Option<u32>) -> Option<String> {
    html::live(curves, models, width, Language::chosen())
}

/// Content of a directory.
pub(crate) enum DirectoryKind {
    /// A study.
    Study(PathBuf),
    /// Studies of one search with several seeds.
    Seeds(Vec<PathBuf>),
}

/// Finds the study, or the studies, in a directory.
pub(crate) fn find(directory: &Path) -> Result<DirectoryKind> {
    let has_study = |directory: &Path| directory.join("study").is_dir();
    if has_study(directory) {
        return Ok(DirectoryKind::Study(directory.to_owned()));
    }
    let within = |place: PathBuf, word: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(place).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(word));
        let mut found: Vec<PathBuf> = entries.filter(|path| named(path) && has_study(path)).collect();
        // Shorter names first: seed 10 comes after seed 9.
        found.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
        found
    };
    let seeds = within(directory.to_owned(), "seed-");
    if !seeds.is_empty() {
        return Ok(DirectoryKind::Seeds(seeds));
    }
    let nothing = Error::user(format!("{}: there is no study in it", directory.display()));
    let stages = within(directory.join("stages"), "");
    Err(match stages.last() {
        Some(stage) => nothing
            .hint(format!("its last stage has not begun; `evomerge report {}` shows one before", stage.display())),
        None if directory.join("db").is_file() => {
            let whole = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            nothing.hint(format!("it is a study's store: give what holds it, {}", whole.display()))
        }
        None => {
            let near = if directory.exists() { None } else { meant(directory) };
            nothing.hint(near.unwrap_or_else(|| "give the directory that `evomerge search -o` wrote".to_owned()))
        }
    })
}

/// A study that was read.
pub(crate) struct StudyRead {
    pub(crate) record: StudyRecord,
    /// Store of the study; `None` while a search holds it and only its record can be read.
    pub(crate) store: Option<Store>,
}

impl StudyRead {
    pub(crate) fn read(directory: &Path) -> Result<Self> {
        let place = directory.join("study");
        let store = Store::open_unless_held(&place)?;
        let record = match &store {
            Some(store) => study::record(store).map(Some),
            None => study::snapshot(&place),
        };
        let begun = || {
            Error::user(format!("{}: a search has just begun there, and has told nothing yet", directory.display()))
                .hint("try again in a moment")
        };
        let lost = store.as_ref().map(Store::lost).transpose()?.flatten();
        let record = record.map_err(|e| match lost {
            Some(lost) => Error::user(gone(&place, lost))
                .hint("run the same search again: it is known by its mark, and computes them again"),
            None => e.at(directory.display()),
        });
        Ok(Self { record: record?.ok_or_else(begun)?, store })
    }

    /// Number of lost records, if any are lost.
    pub(crate) fn lost(&self) -> Result<Option<Lost>> {
        Ok(self.store.as_ref().map(Store::lost).transpose()?.flatten())
    }
}
