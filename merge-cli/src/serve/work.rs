//! What a job is to do: proved when it is handed in, and the command that does it.

use crate::{
    args::{self, Args, Command},
    command::{plan, report, search},
    hub::Hub,
    model::Model,
};
use clap::{CommandFactory as _, Parser as _};
use merge_core::{
    error::{Error, Result},
    export,
    merge::Merge,
    queue::{Job, Kind, Mark, Needs},
    recipe::{Recipe, read_text},
    search::Stage,
    sources::{Library, Sources},
    weights::{Meta, Weights},
};
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

/// What is known of a piece of work before it is done.
#[derive(Debug)]
pub(super) struct Proved {
    pub(super) kind: Kind,
    /// What to call it, if nobody says.
    pub(super) name: String,
    pub(super) file: Option<Mark>,
    pub(super) needs: Needs,
    /// What a user may want to know.
    pub(super) notes: Vec<String>,
    /// The directories and files that its models are read from.
    pub(super) reads: Vec<PathBuf>,
}

/// Memory that a process needs beside its models.
const PROCESS: u64 = 64 << 20;
/// What a model that is asked needs beside its weights.
const MODEL: u64 = 192 << 20;
/// What the store of a study may come to.
const STUDY: u64 = 256 << 20;

/// What a recipe's text is for: a search if it says how to search, else a merge; `None` if it is no recipe.
pub(super) fn kind_of(text: &str) -> Option<Kind> {
    let has = |key: &str| text.lines().any(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':')));
    if has("search") {
        return Some(Kind::Search);
    }
    has("merge_method").then_some(Kind::Merge)
}

/// The words of a job for a file: a recipe, a search, or what `search -o` wrote.
pub(super) fn words_for(file: &str, directory: &Path) -> Result<Vec<String>> {
    let path = directory.join(file);
    let kind = if path.is_dir() { Kind::Report } else { kind_of(&read_text(&path)?).unwrap_or(Kind::Merge) };
    Ok(vec![kind.name().to_owned(), file.to_owned()])
}

/// Proves that words can be carried out as far as that can be told without reading a weight, in so many threads.
///
/// Fails as the command itself would. What a job reports on may come from one that it waits for.
pub(super) fn prove(words: &[String], directory: &Path, threads: usize, waits: bool) -> Result<Proved> {
    match parse(words, Path::new("out"))? {
        Command::Merge(args) => merge(&args, directory),
        Command::Search(args) => search(&args, directory, threads),
        Command::Eval(args) => eval(&args, directory),
        Command::Report(args) => {
            let study = directory.join(&args.study);
            if !waits {
                report::check(&study)?;
            }
            let needs = Needs { memory: Some(PROCESS), disk: None };
            Ok(Proved {
                kind: Kind::Report,
                name: name_of(&study),
                file: None,
                needs,
                notes: Vec::new(),
                reads: Vec::new(),
            })
        }
        _ => Err(Error::user(format!("{}: is no job", words.first().map_or("", String::as_str)))
            .hint("a job is a merge, a search, an eval or a report")),
    }
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
    let threads = threads.to_string();
    let mut add = |names: &[&str], value: &[&str]| {
        if !has(&words, names) {
            words.push(names[0].to_owned());
            words.extend(value.iter().map(|value| (*value).to_owned()));
        }
    };
    match job.submission.kind {
        Kind::Merge => {
            add(&["--output", "-o"], &[&out]);
            add(&["--threads"], &[&threads]);
            if job.attempts > 0 {
                // The one before may have written it and not lived to say so.
                add(&["--replace"], &[]);
            }
        }
        Kind::Search => {
            add(&["--output", "-o"], &[&out]);
            add(&["--workers"], &[&threads]);
        }
        Kind::Eval => {
            add(&["--json"], &[&out]);
            add(&["--threads"], &[&threads]);
        }
        Kind::Report => add(&["--html", "--csv", "--json", "--pick"], &[&format!("{out}.html")]),
    }
    words
}

/// Whether a word is the name of a command.
pub(crate) fn is_command(word: &str) -> bool {
    Args::command().find_subcommand(word).is_some()
}

/// What words mean, with a place for what they write if they name none.
fn parse(words: &[String], output: &Path) -> Result<Command> {
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
        // The first paragraph says what is wrong.
        let text = e.to_string();
        let lines: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
        let said = lines.join(" ");
        Error::user(said.strip_prefix("error: ").unwrap_or(&said).to_owned())
            .hint(format!("`evomerge {} --help` says how", words.first().map_or("", String::as_str)))
    })?;
    Ok(command.command)
}

fn merge(args: &args::Merge, directory: &Path) -> Result<Proved> {
    let file = directory.join(&args.recipe);
    let documents = Recipe::read_all(&file)?;
    let (recipe, earlier) = documents.split_last().expect("a file has a document");
    let opened = opened(|library| Sources::open(recipe, earlier, library))?;
    let (mut needs, mut notes, mut reads) = (Needs::default(), Vec::new(), Vec::new());
    match &opened {
        Some(sources) => {
            let merge = Merge::plan(recipe, sources)?;
            let steps: Vec<_> = merge.steps().collect();
            needs.memory = Some(PROCESS + plan::memory(&steps));
            needs.disk = Some(steps.iter().map(|step| step.writes).sum());
            notes = merge.notes().iter().map(ToString::to_string).collect();
            reads = files(sources);
        }
        None => notes.push(ABROAD.to_owned()),
    }
    Ok(Proved { kind: Kind::Merge, name: name_of(&file), file: Some(mark(&file)?), needs, notes, reads })
}

fn search(args: &args::Search, directory: &Path, threads: usize) -> Result<Proved> {
    let given = args.file.as_ref().or(args.from_mergekit.as_ref()).expect("one of them is required");
    let file = directory.join(given);
    let text = read_text(&file)?;
    let stages = match args.from_mergekit {
        Some(_) => Stage::parse_mergekit(&text, &file, &Hub::from_env())?,
        None => Stage::parse_all(&text, &file)?,
    };
    let (mut needs, mut notes, mut reads) = (Needs::default(), Vec::new(), Vec::new());
    let mut earlier: Vec<Recipe> = Vec::new();
    for stage in &stages {
        let one = match stage {
            Stage::Recipe(recipe) => {
                earlier.push((**recipe).clone());
                continue;
            }
            Stage::Search(one) => one,
        };
        let Some(sources) = opened(|library| Sources::open_all(one.template.variants(), &earlier, library))? else {
            notes.push(ABROAD.to_owned());
            break;
        };
        search::check(one, &sources)?;
        let largest = sources.iter().map(|(_, weights)| bytes(&**weights)).max().unwrap_or(0);
        // A candidate is asked as it is merged, in f32.
        let candidate = sources.iter().map(|(_, weights)| 4 * parameters(&**weights)).max().unwrap_or(0);
        let workers = args.workers.map_or(threads, usize::from) as u64;
        needs.memory = Some(PROCESS + workers * asked(candidate));
        needs.disk = Some(STUDY + 2 * largest);
        reads = files(&sources);
        if stages.len() > 1 {
            // What later stages build on is not known yet.
            notes.push("only the first stage can be proved before it has run".to_owned());
        }
        break;
    }
    Ok(Proved { kind: Kind::Search, name: name_of(&file), file: Some(mark(&file)?), needs, notes, reads })
}

fn eval(args: &args::Eval, directory: &Path) -> Result<Proved> {
    let (mut largest, mut notes, mut reads) = (Some(0), Vec::new(), Vec::new());
    for name in &args.models {
        let path = directory.join(name);
        if path.exists() {
            let model = Model::open(&path)?;
            largest = largest.map(|most: u64| most.max(bytes(model.weights())));
            reads.extend(model.files().into_iter().map(|(_, path)| path));
            reads.push(path);
        } else {
            largest = None;
            notes.push(ABROAD.to_owned());
        }
    }
    let names: Vec<String> = args.models.iter().map(|path| name_of(path)).collect();
    let name = if names.is_empty() { args.server.join(", ") } else { names.join(", ") };
    let needs = Needs { memory: largest.map(|largest| PROCESS + asked(largest)), disk: None };
    Ok(Proved { kind: Kind::Eval, name, file: None, needs, notes, reads })
}

const ABROAD: &str = "a model is not on this machine yet, so that memory and disk cannot be told before it is";

/// The models that a recipe names, if all of them are on this machine: nothing is downloaded to look at it.
fn opened(open: impl FnOnce(&dyn Library) -> Result<Sources>) -> Result<Option<Sources>> {
    let library = Here { hub: Hub::offline(), missed: AtomicBool::new(false) };
    match open(&library) {
        Err(_) if library.missed.load(Ordering::Relaxed) => Ok(None),
        opened => opened.map(Some),
    }
}

/// What was downloaded before.
struct Here {
    hub: Hub,
    missed: AtomicBool,
}

impl Library for Here {
    fn fetch(&self, repo: &str, revision: Option<&str>) -> Result<PathBuf> {
        self.hub.fetch(repo, revision).inspect_err(|_| self.missed.store(true, Ordering::Relaxed))
    }
}

/// Memory of a model that is asked, with so many bytes of weights: measured, a tenth more than they are.
fn asked(weights: u64) -> u64 {
    weights + weights / 10 + MODEL
}

fn bytes(weights: &dyn Weights) -> u64 {
    weights.index().values().map(Meta::byte_len).sum::<usize>() as u64
}

fn parameters(weights: &dyn Weights) -> u64 {
    weights.index().values().map(Meta::len).sum::<usize>() as u64
}

fn files(sources: &Sources) -> Vec<PathBuf> {
    sources.files().map(|(_, path)| path.to_owned()).collect()
}

fn mark(file: &Path) -> Result<Mark> {
    Ok(Mark { path: file.to_owned(), sha256: export::sha256_of(file)? })
}

/// `sansu/search.yaml` is called `sansu-search`, since every second file is called `search`.
pub(super) fn name_of(path: &Path) -> String {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let stem = text(path.file_stem()).unwrap_or_default();
    let above = text(path.parent().and_then(Path::file_name)).filter(|above| !above.starts_with('.'));
    match above {
        Some(above) if path.is_absolute() => format!("{above}-{stem}"),
        _ => stem,
    }
}
