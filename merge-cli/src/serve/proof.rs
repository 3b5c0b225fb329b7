//! Proves, when a job is handed in, that it can be done, as far as that can be told without reading a weight.

use super::work;
use crate::{
    args::{self, Command},
    command::{plan, report, search},
    hub::Hub,
    model::Model,
};
use merge_core::{
    error::{Error, Result},
    export,
    merge::Merge,
    queue::{Kind, Mark, Needs},
    recipe::{Location, Recipe, locate, read_text, resolve},
    search::{SearchFile, Stage},
    sources::{Library, Sources},
    weights::{Meta, Weights},
};
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

/// What is known of a piece of work before it is done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Proof {
    pub(super) kind: Kind,
    /// What to call it, if nobody says.
    pub(super) name: String,
    pub(super) file: Option<Mark>,
    pub(super) memory: Option<Memory>,
    /// Bytes that it writes.
    pub(super) disk: Option<u64>,
    /// What a user may want to know.
    pub(super) notes: Vec<String>,
}

/// Bytes of memory: of the process, and of each of its threads.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Memory {
    fixed: u64,
    each: u64,
}

/// Whether a file or a directory may be read.
pub(super) type May<'a> = dyn Fn(&Path) -> Result<()> + 'a;

/// Memory that a process needs beside its models.
const PROCESS: u64 = 64 << 20;
/// What a model that is asked needs beside its weights.
const MODEL: u64 = 192 << 20;
/// What the store of a study may come to.
const STUDY: u64 = 256 << 20;

impl Proof {
    /// What it needs with so many threads.
    pub(super) fn needs(&self, threads: usize) -> Needs {
        let memory = self.memory.map(|memory| memory.fixed + threads as u64 * memory.each);
        Needs { memory, disk: self.disk }
    }

    /// Of what nothing is known yet but what it is.
    fn of(kind: Kind, file: &Path) -> Self {
        let name = name_of(file);
        Self { kind, name, file: None, memory: None, disk: None, notes: Vec::new() }
    }
}

/// Proves words whose paths start in a directory, and that read nothing but what `may` allows.
///
/// Fails as the command itself would. What a job reports on may come from one that it waits for.
pub(super) fn prove(words: &[String], directory: &Path, waits: bool, may: &May<'_>) -> Result<Proof> {
    match work::parse(words, Path::new("out"))? {
        Command::Merge(args) => merge(&args, directory, may),
        Command::Search(args) => search(&args, directory, may),
        Command::Eval(args) => eval(&args, directory),
        Command::Report(args) => {
            let study = directory.join(&args.study);
            if !waits {
                let hint = "hand in a recipe, a search file, or a directory that `evomerge search -o` wrote";
                report::check(&study).map_err(|e| e.hint(hint))?;
            }
            Ok(Proof { memory: Some(Memory { fixed: PROCESS, each: 0 }), ..Proof::of(Kind::Report, &study) })
        }
        _ => Err(Error::user(format!("{}: is no job", words.first().map_or("", String::as_str)))
            .hint("a job is a merge, a search, an eval or a report")),
    }
}

fn merge(args: &args::Merge, directory: &Path, may: &May<'_>) -> Result<Proof> {
    let file = directory.join(&args.recipe);
    let documents = Recipe::read_all(&file)?;
    let (recipe, earlier) = documents.split_last().expect("a file has a document");
    documents.iter().try_for_each(|recipe| check(recipe, &file, may))?;
    let mut proof = Proof { file: Some(mark(&file)?), ..Proof::of(Kind::Merge, &file) };
    match opened(|library| Sources::open(recipe, earlier, library))? {
        Some(sources) => {
            let merge = Merge::plan(recipe, &sources)?;
            let steps: Vec<_> = merge.steps().collect();
            proof.memory = Some(Memory { fixed: PROCESS + plan::memory(&steps), each: 0 });
            proof.disk = Some(steps.iter().map(|step| step.writes).sum());
            proof.notes = merge.notes().iter().map(ToString::to_string).collect();
        }
        None => proof.notes.push(ABROAD.to_owned()),
    }
    Ok(proof)
}

fn search(args: &args::Search, directory: &Path, may: &May<'_>) -> Result<Proof> {
    let given = args.file.as_ref().or(args.from_mergekit.as_ref()).expect("one of them is required");
    let file = directory.join(given);
    let text = read_text(&file)?;
    let stages = match args.from_mergekit {
        Some(_) => Stage::parse_mergekit(&text, &file, &Hub::from_env())?,
        None => Stage::parse_all(&text, &file)?,
    };
    let mut proof = Proof { file: Some(mark(&file)?), ..Proof::of(Kind::Search, &file) };
    for stage in &stages {
        match stage {
            Stage::Recipe(recipe) => check(recipe, &file, may)?,
            Stage::Search(one) => check_search(one, &file, may)?,
        }
    }
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
            proof.notes.push(ABROAD.to_owned());
            break;
        };
        search::check(one, &sources)?;
        let largest =
            |of: fn(&dyn Weights) -> u64| sources.iter().map(|(_, weights)| of(&**weights)).max().unwrap_or(0);
        // A candidate is asked as it is merged, in f32.
        let each = asked(4 * largest(parameters));
        proof.memory = Some(match args.workers {
            Some(workers) => Memory { fixed: PROCESS + u64::from(workers) * each, each: 0 },
            None => Memory { fixed: PROCESS, each },
        });
        proof.disk = Some(STUDY + 2 * largest(bytes));
        if stages.len() > 1 {
            // What later stages build on is not known yet.
            proof.notes.push("only the first stage can be proved before it has run".to_owned());
        }
        break;
    }
    Ok(proof)
}

fn eval(args: &args::Eval, directory: &Path) -> Result<Proof> {
    let (mut largest, mut notes) = (Some(0), Vec::new());
    for name in &args.models {
        let path = directory.join(name);
        if path.exists() {
            let model = Model::open(&path)?;
            largest = largest.map(|most: u64| most.max(bytes(model.weights())));
        } else {
            largest = None;
            notes.push(ABROAD.to_owned());
        }
    }
    let names: Vec<String> = args.models.iter().map(|path| name_of(path)).chain(args.server.iter().cloned()).collect();
    let memory = largest.map(|largest| Memory { fixed: PROCESS + asked(largest), each: 0 });
    Ok(Proof { name: names.join(", "), memory, notes, ..Proof::of(Kind::Eval, Path::new("")) })
}

/// Refuses a recipe with a model that may not be read. What is wrong with it otherwise is not said here.
fn check<S>(recipe: &Recipe<S>, file: &Path, may: &May<'_>) -> Result<()> {
    for reference in recipe.references() {
        let Ok(found) = locate(file, reference) else { continue };
        for place in [Some(found.model), found.lora].into_iter().flatten() {
            if let Location::Path(path) = place {
                may(&path).map_err(|e| e.at(reference.place.of(file)))?;
            }
        }
    }
    Ok(())
}

/// Refuses a search with a model or a task that may not be read.
fn check_search(one: &SearchFile, file: &Path, may: &May<'_>) -> Result<()> {
    one.template.variants().iter().try_for_each(|recipe| check(recipe, file, may))?;
    let search = &one.search;
    let named = search.objective.iter().map(|objective| &objective.task);
    let named = named.chain(search.constraints.iter().map(|constraint| &constraint.task)).chain(&search.report);
    for task in named {
        // Any other is a benchmark by its name, or is not there.
        if let Ok(path) = resolve(file, task) {
            may(&path).map_err(|e| e.at(task.place.of(file)))?;
        }
    }
    Ok(())
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
