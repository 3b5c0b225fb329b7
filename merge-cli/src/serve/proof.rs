//! Checks that a submitted job can be done, and estimates its needs, without reading a weight.

use super::work::{JobArgs, JobWords};
use crate::{
    args,
    hub::Hub,
    study_report,
    work::{footprints::Footprints, memory::MemoryNeed, model::OpenedModel, search},
};
use merge_core::{
    error::{Error, Result},
    merge::{
        Merge,
        sources::{Library, Sources},
    },
    model::{Meta, Weights},
    queue::{JobKind, Needs},
    recipe::Recipe,
    search::{JudgeEntry, ScoredBy, SearchFile, Stage},
    yaml::{At, Reads, is_there, read_text, reading},
};
use serde::{Deserialize, Serialize};
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

/// Kind, needs and files of a job, known before it runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WorkEstimate {
    pub(super) kind: JobKind,
    /// Default name of the job.
    pub(super) name: String,
    /// Recipes and tasks that were read, and the paths found for names; the job will read the same.
    #[serde(default)]
    pub(super) reads: Reads,
    pub(super) memory: Option<MemoryNeed>,
    /// Number of workers, if the arguments give one.
    pub(super) workers: Option<usize>,
    /// Bytes that the job writes.
    pub(super) disk: Option<u64>,
    /// Notes for the user.
    pub(super) notes: Vec<String>,
}

/// What the files of a job may name.
#[derive(Clone, Copy)]
pub(super) struct Permission<'a> {
    /// Fails if a file or a directory may not be read.
    pub(super) read: &'a dyn Fn(&Path) -> Result<()>,
    /// Fails if a judge of a search file may not be called.
    pub(super) judge: &'a dyn Fn(&JudgeEntry, &Path) -> Result<()>,
}

impl Permission<'_> {
    /// Everything, for a user of this machine: a job runs as that user's own command would.
    pub(super) const ALL: Self = Self { read: &|_| Ok(()), judge: &|_, _| Ok(()) };
}

/// Allowance for the store of a study, in bytes.
const STUDY: u64 = 256 << 20;

impl WorkEstimate {
    /// Needs of the job with this number of threads.
    pub(super) fn needs(&self, threads: usize) -> Needs {
        let workers = self.workers.unwrap_or(threads);
        Needs { memory: self.memory.map(|memory| memory.with(workers)), disk: self.disk }
    }

    /// Fails if the job does not fit into the memory that jobs may use.
    pub(super) fn check_memory(&self, threads: usize, there: u64) -> Result<()> {
        let workers = self.workers.unwrap_or(threads);
        self.memory.map_or(Ok(()), |memory| memory.check(workers, there, "jobs may use"))
    }

    /// An estimate that holds only the kind and the name.
    fn of(kind: JobKind, file: &Path) -> Self {
        let name = name_of(file);
        Self { kind, name, reads: Reads::default(), memory: None, workers: None, disk: None, notes: Vec::new() }
    }
}

/// Checks the arguments of a job. Their paths are relative to `directory`, which is the current
/// one. Models, tasks and judges that `may` refuses are refused.
///
/// Fails as the command itself would. If the job `waits` for another, the study of a report need
/// not exist yet.
pub(super) fn prove(words: &[String], directory: &Path, waits: bool, may: &Permission<'_>) -> Result<WorkEstimate> {
    let (proof, reads) = reading(|| of_words(words, directory, waits, may));
    Ok(WorkEstimate { reads, ..proof? })
}

fn of_words(words: &[String], directory: &Path, waits: bool, may: &Permission<'_>) -> Result<WorkEstimate> {
    match JobWords::parse(words)?.args {
        JobArgs::Merge(args) => merge(&args, directory, may),
        JobArgs::Search(args) => search(&args, directory, may),
        JobArgs::Eval(args) => eval(&args, directory),
        JobArgs::Report(args) => {
            let study = directory.join(&args.study);
            if !waits {
                let hint = "hand in a recipe, a search file, or a directory that `evomerge search -o` wrote";
                study_report::check(&study).map_err(|e| e.hint(hint))?;
            }
            Ok(WorkEstimate { memory: Some(MemoryNeed::of_report()), ..WorkEstimate::of(JobKind::Report, &study) })
        }
    }
}

fn merge(args: &args::MergeArgs, directory: &Path, may: &Permission<'_>) -> Result<WorkEstimate> {
    let file = directory.join(&args.recipe);
    let documents = Recipe::read_all(&file)?;
    let (recipe, earlier) = documents.split_last().expect("a file has a document");
    documents.iter().try_for_each(|recipe| check(recipe, &file, may))?;
    let mut proof = WorkEstimate::of(JobKind::Merge, &file);
    match opened(|library| Sources::open(recipe, earlier, library))? {
        Some(sources) => {
            let merge = Merge::plan(recipe, &sources)?;
            proof.memory = Some(MemoryNeed::of_merge(&merge));
            proof.disk = Some(merge.steps().map(|step| step.writes).sum());
            proof.notes = merge.notes().iter().map(ToString::to_string).collect();
        }
        None => proof.notes.push(ABROAD.to_owned()),
    }
    Ok(proof)
}

fn search(args: &args::SearchArgs, directory: &Path, may: &Permission<'_>) -> Result<WorkEstimate> {
    if args.launch.is_some() || args.ray.is_some() {
        return Err(
            Error::user("the queue starts no workers on other machines").hint("run the search with `evomerge search`")
        );
    }
    let given = args.file.as_ref().or(args.from_mergekit.as_ref()).expect("one of them is required");
    let file = directory.join(given);
    let text = read_text(&file)?;
    let mut stages = match args.from_mergekit {
        Some(_) => Stage::parse_mergekit(&text, &file, &Hub::from_env())?,
        None => Stage::parse_all(&text, &file)?,
    };
    if let (Some(budget), Some(Stage::Search(last))) = (args.budget, stages.last_mut()) {
        last.search.budget.value = budget;
    }
    let mut proof = WorkEstimate::of(JobKind::Search, &file);
    for stage in &stages {
        match stage {
            Stage::Recipe(recipe) => check(recipe, &file, may)?,
            Stage::Search(one) => check_search(one, &file, may)?,
        }
    }
    let searches = || {
        stages.iter().filter_map(|stage| match stage {
            Stage::Search(one) => Some(one),
            Stage::Recipe(_) => None,
        })
    };
    searches().skip(1).try_for_each(|later| search::check_tasks(later))?;
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
            search::check_tasks(one)?;
            proof.memory = None;
            break;
        };
        let (memory, notes) = search::check(one, &sources, &args.engines)?;
        proof.notes.extend(notes);
        // Stages run one after the other, so the largest need counts.
        proof.memory = Some(proof.memory.map_or(memory, |known| known.or(memory)));
        let largest = sources.iter().map(|(_, weights)| bytes(&**weights)).max().unwrap_or(0);
        proof.disk = proof.disk.max(Some(STUDY + 2 * largest));
        earlier.push(search::stand_in(one, &sources)?);
    }
    proof.workers = match args.engines.engine.len() {
        0 => args.workers.map(usize::from),
        engines => Some(2 * engines),
    };
    Ok(proof)
}

fn eval(args: &args::Eval, directory: &Path) -> Result<WorkEstimate> {
    let (mut footprints, mut notes) = (Some(Vec::new()), Vec::new());
    let asks = Footprints::of(args)?;
    for name in &args.models {
        let path = directory.join(name);
        if is_there(&path) {
            let footprint = asks.footprint(OpenedModel::open(&path)?.weights())?;
            if let Some(all) = &mut footprints {
                all.push(footprint);
            }
        } else {
            footprints = None;
            notes.push(ABROAD.to_owned());
        }
    }
    let names: Vec<String> = args.models.iter().map(|path| name_of(path)).chain(args.server.iter().cloned()).collect();
    let memory = footprints.map(|all| MemoryNeed::of_models(all.into_iter()));
    Ok(WorkEstimate { name: names.join(", "), memory, notes, ..WorkEstimate::of(JobKind::Eval, Path::new("")) })
}

/// Refuses a recipe that names a model which may not be read. The message does not tell if it
/// exists.
fn check<S>(recipe: &Recipe<S>, file: &Path, may: &Permission<'_>) -> Result<()> {
    recipe.references().into_iter().try_for_each(|reference| check_name(reference, file, may))
}

/// Refuses a search that names a model or a task which may not be read, or a judge which may not be called.
fn check_search(one: &SearchFile, file: &Path, may: &Permission<'_>) -> Result<()> {
    one.template.variants().iter().try_for_each(|recipe| check(recipe, file, may))?;
    one.search.entries().try_for_each(|entry| match &entry.by {
        ScoredBy::Task(task) => check_name(task, file, may),
        ScoredBy::Judge(judge) => (may.judge)(judge, file),
    })
}

/// Checks each path that a name may mean: the whole name, a model, its adapter, and each without a
/// revision. Each path is relative to the file, or to the current directory if nothing is there.
/// The job will look there too, without this check.
fn check_name(name: &At<String>, file: &Path, may: &Permission<'_>) -> Result<()> {
    let parts = name.split('+').filter(|part| !part.starts_with("hf://"));
    let bare = parts.clone().filter_map(|part| Some(part.split_once('@')?.0));
    for path in std::iter::once(name.as_str()).filter(|whole| !whole.starts_with("hf://")).chain(parts).chain(bare) {
        let beside = file.with_file_name("").join(path);
        let allowed =
            (may.read)(&beside).and_then(|()| if is_there(&beside) { Ok(()) } else { (may.read)(Path::new(path)) });
        allowed.map_err(|e| e.at(name.place.of(file)))?;
    }
    Ok(())
}

const ABROAD: &str = "a model is not on this machine yet, so that memory and disk cannot be told before it is";

/// Opens the models of a recipe, or returns `None` if one must be downloaded first.
fn opened(open: impl FnOnce(&dyn Library) -> Result<Sources>) -> Result<Option<Sources>> {
    let library = Here { hub: Hub::offline(), missed: AtomicBool::new(false) };
    match open(&library) {
        Err(_) if library.missed.load(Ordering::Relaxed) => Ok(None),
        opened => opened.map(Some),
    }
}

/// Library of the models that were downloaded before.
struct Here {
    hub: Hub,
    missed: AtomicBool,
}

impl Library for Here {
    fn fetch(&self, repo: &str, revision: Option<&str>) -> Result<PathBuf> {
        self.hub.fetch(repo, revision).inspect_err(|_| self.missed.store(true, Ordering::Relaxed))
    }
}

fn bytes(weights: &dyn Weights) -> u64 {
    weights.index().values().map(Meta::byte_len).sum::<usize>() as u64
}

/// Default name of a job: the directory and the stem, such as `sansu-search` for
/// `sansu/search.yaml`, since many files are called `search`.
pub(super) fn name_of(path: &Path) -> String {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let stem = text(path.file_stem()).unwrap_or_default();
    let above = text(path.parent().and_then(Path::file_name)).filter(|above| !above.starts_with('.'));
    match above {
        Some(above) if path.is_absolute() => format!("{above}-{stem}"),
        _ => stem,
    }
}
