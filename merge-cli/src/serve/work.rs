//! The words of a job: those of a command, which are read by what reads commands.

use crate::args::{Args, Command};
use clap::{CommandFactory as _, Parser as _};
use merge_core::{
    error::{Error, Result},
    queue::{Job, JobKind, Submission},
    yaml::read_text,
};
use std::path::{Path, PathBuf};

/// What a recipe's text is for: a search if it says how to search, else a merge; `None` if it is no recipe.
pub(super) fn kind_of(text: &str) -> Option<JobKind> {
    let has = |key: &str| text.lines().any(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':')));
    if has("search") {
        return Some(JobKind::Search);
    }
    has("merge_method").then_some(JobKind::Merge)
}

/// The words of a job for a file: a recipe, a search, or what `search -o` wrote.
pub(crate) fn words_for(file: &str, directory: &Path) -> Result<Vec<String>> {
    let path = directory.join(file);
    let kind = if path.is_dir() { JobKind::Report } else { kind_of(&read_text(&path)?).unwrap_or(JobKind::Merge) };
    Ok(vec![kind.name().to_owned(), file.to_owned()])
}

/// The words that carry out a job in its directory, with so many threads; of a later attempt, over what an earlier one left.
pub(super) fn words_of(job: &Job, place: &Path, threads: usize) -> Vec<String> {
    let mut words = job.submission.words.clone();
    let out = place.join("out").to_string_lossy().into_owned();
    let has = |words: &[String], names: &[&str]| {
        let gives = |word: &str, name: &str| match name.strip_prefix("--") {
            Some(_) => word.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('=')),
            // `-o DIR`, `-oDIR`
            None => word.starts_with(name),
        };
        words.iter().any(|word| names.iter().any(|name| gives(word, name)))
    };
    let names_output = has(&words, &["--output", "-o"]);
    let threads = threads.to_string();
    let mut add = |names: &[&str], value: &[&str]| {
        if !has(&words, names) {
            words.push(names[0].to_owned());
            words.extend(value.iter().map(|value| (*value).to_owned()));
        }
    };
    match job.submission.kind {
        JobKind::Merge => {
            add(&["--output", "-o"], &[&out]);
            add(&["--threads"], &[&threads]);
            if job.attempts > 0 && !names_output {
                // The attempt before may have written it and not lived to say so. What its user names is its user's.
                add(&["--replace"], &[]);
            }
        }
        JobKind::Search => {
            add(&["--output", "-o"], &[&out]);
            add(&["--workers"], &[&threads]);
        }
        JobKind::Eval => {
            add(&["--json"], &[&out]);
            add(&["--threads"], &[&threads]);
        }
        JobKind::Report => add(&["--html", "--csv", "--json", "--pick"], &[&format!("{out}.html")]),
    }
    words
}

/// Where a job writes, in its directory unless its words say otherwise.
pub(super) fn output_of(submission: &Submission, place: &Path) -> PathBuf {
    let out = place.join("out");
    let output = match parse(&submission.words, &out) {
        Ok(Command::Merge(args)) => args.output,
        Ok(Command::Search(args)) => args.output,
        _ => out,
    };
    submission.directory.join(output)
}

/// Whether a word is the name of a command.
pub(crate) fn is_command(word: &str) -> bool {
    Args::command().find_subcommand(word).is_some()
}

/// What words mean, with a place for what they write if they name none.
pub(super) fn parse(words: &[String], output: &Path) -> Result<Command> {
    let output = output.to_string_lossy();
    let whole = |more: &[&str]| {
        let words = words.iter().map(String::as_str).chain(more.iter().copied());
        Args::try_parse_from(std::iter::once("evomerge").chain(words))
    };
    let parsed = whole(&[]).or_else(|error| match error.kind() {
        // If that was all that was missing, it is not missing.
        clap::error::ErrorKind::MissingRequiredArgument => whole(&["--output", &output]),
        _ => Err(error),
    });
    let command = parsed.map_err(|e| {
        if matches!(e.kind(), clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion) {
            return Error::user("there is nothing to be done in these words");
        }
        // The first paragraph says what is wrong.
        let text = e.to_string();
        let lines: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
        let said = lines.join(" ");
        Error::user(said.strip_prefix("error: ").unwrap_or(&said).to_owned())
            .hint(format!("`evomerge {} --help` says how", words.first().map_or("", String::as_str)))
    })?;
    Ok(command.command)
}
