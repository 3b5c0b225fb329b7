//! `evomerge report`: what a search found and how, in a terminal, as a page, as tables and as JSON.

mod curve;
mod html;
mod origins;
mod pick;
mod plot;
mod route;
mod seeds;
mod summary;
mod tables;
mod text;
mod weights;

use self::summary::Summary;
use crate::{args::Report as Args, command::search::gone, report, screen};
use merge_core::{
    error::{Error, Result, meant},
    export,
    store::{Lost, Store},
    study::{self, Curves, StudyRecord},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

pub(crate) fn run(args: &Args) -> Result<()> {
    let directory = match find(&args.study)? {
        DirectoryKind::Study(directory) => directory,
        DirectoryKind::Seeds(all) => return seeds::run(args, &all),
    };
    if let Some(file) = &args.html {
        check_place(file)?;
    }
    let study = StudyRead::read(&directory)?;
    if let Some(wanted) = &args.pick {
        return pick::run(args, wanted, &study, &directory);
    }
    // The table of the end is drawn from the scores themselves.
    let table = text::table(&study.record)?;
    if let Some(lost) = study.lost()? {
        let place = directory.join("study");
        screen::say(&format!("note: {}; the same search again computes them again", gone(&place, lost)));
    }
    let summary = Summary::of(study)?;
    if args.json {
        screen::data(&report::json(&summary));
    } else {
        screen::drawn(&text::text(&summary, table.as_deref()));
    }
    if let Some(directory) = &args.csv {
        for (name, table) in tables::tables(&summary) {
            fs::create_dir_all(directory).map_err(|e| Error::io("create", directory, &e))?;
            export::replace_file(&directory.join(name), &table)?;
        }
        screen::say(&format!("{}: candidates.csv, scores.csv and items.csv are written", directory.display()));
    }
    if let Some(file) = &args.html {
        export::replace_file(file, &html::page(&args.study.display().to_string(), &summary))?;
        screen::say(&format!("{} is written; any browser shows it", file.display()));
    }
    Ok(())
}

/// Refuses a directory without a study.
pub(crate) fn check(study: &Path) -> Result<()> {
    find(study).map(|_| ())
}

/// A study's page, as `--html` writes it; `name` is what its reader calls it.
pub(crate) fn page_of(name: &str, study: &Path) -> Result<String> {
    let DirectoryKind::Study(directory) = find(study)? else {
        return Err(Error::user(format!("{name}: these are several studies, each of which has a page of its own")));
    };
    Ok(html::page(name, &Summary::of(StudyRead::read(&directory)?)?))
}

/// A search as it runs, drawn, if there is something to draw yet.
pub(crate) fn live(curves: &Curves, models: &[String], width: Option<u32>) -> Option<String> {
    html::live(curves, models, width)
}

/// What is in a directory.
enum DirectoryKind {
    /// A study.
    Study(PathBuf),
    /// Studies of one search with several seeds.
    Seeds(Vec<PathBuf>),
}

fn find(directory: &Path) -> Result<DirectoryKind> {
    let has_study = |directory: &Path| directory.join("study").is_dir();
    if has_study(directory) {
        return Ok(DirectoryKind::Study(directory.to_owned()));
    }
    let within = |place: PathBuf, word: &str| -> Vec<PathBuf> {
        let entries = fs::read_dir(place).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(word));
        let mut found: Vec<PathBuf> = entries.filter(|path| named(path) && has_study(path)).collect();
        // Seed 10 comes after seed 9.
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

/// What is known of a study.
struct StudyRead {
    record: StudyRecord,
    /// Its store; none while a search holds it, which has let others read the record.
    store: Option<Store>,
}

impl StudyRead {
    fn read(directory: &Path) -> Result<Self> {
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

    /// What of it is gone.
    fn lost(&self) -> Result<Option<Lost>> {
        Ok(self.store.as_ref().map(Store::lost).transpose()?.flatten())
    }
}

/// Refuses, before anything is shown, a file that cannot be written.
fn check_place(file: &Path) -> Result<()> {
    if file.file_name().is_none() {
        return Err(Error::user(format!("{}: this is no name for a file", file.display())));
    }
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    match parent.filter(|parent| !parent.is_dir()) {
        Some(parent) => Err(Error::user(format!("{}: there is no directory {}", file.display(), parent.display()))
            .hint("make it first, or write elsewhere")),
        None => Ok(()),
    }
}
