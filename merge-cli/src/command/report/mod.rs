//! `evomerge report`: shows a search's results, as text, an HTML page, tables or JSON.

mod pick;
mod seeds;

use crate::{
    args::Report as Args,
    draw::screen,
    language::Language,
    study_report::{DirectoryKind, StudyRead, csv_tables, figures, find, html, lost::gone, summary::Summary, text},
};
use merge_core::{
    error::{Error, Result},
    export,
};
use std::{fs, path::Path};

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
    // Drawn first: `Summary::of` takes the record.
    let language = Language::chosen();
    let table = text::table(&study.record, language)?;
    if let Some(lost) = study.lost()? {
        let place = directory.join("study");
        screen::say(&format!("note: {}; the same search again computes them again", gone(&place, lost)));
    }
    let summary = Summary::of(study, language)?;
    if args.json {
        // Programs read English.
        let english = Summary::of(StudyRead::read(&directory)?, Language::En)?;
        screen::data(&figures::json(&english));
    } else {
        screen::drawn(&text::text(&summary, table.as_deref()));
    }
    if let Some(directory) = &args.csv {
        for (name, table) in csv_tables::tables(&summary) {
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

/// Refuses a file that cannot be written, before anything is shown.
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
