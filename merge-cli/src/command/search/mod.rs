//! `evomerge search`: a study from its first generation, or from wherever it stopped, to a table, a recipe and a checkpoint.

mod finish;
mod seeds;
mod tasks;

pub(crate) use finish::SEARCH_FILE;

use crate::{
    args::Search as Args,
    hub::Hub,
    interrupt,
    screen::{self, Line, duration},
    view::Names,
};
use evaluator::{interrupt::Interrupt, objective::Benchmarks};
use merge_core::{
    error::{Error, Result},
    evolve::{self, Findings, Outcome, Study},
    export,
    recipe::{Recipe, read_text},
    search::{Search, SearchFile, Stage},
    sources::Sources,
    store::Store,
    weights::check_finite,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::Instant,
};

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let began = Instant::now();
    let path = args.file.as_ref().or(args.from_mergekit.as_ref()).expect("one of them is required");
    let text = read_text(path)?;
    let stages = match args.from_mergekit {
        Some(_) => Stage::parse_mergekit(&text, path, &Hub::from_env())?,
        None => Stage::parse_all(&text, path)?,
    };
    let interrupted = Arc::default();
    interrupt::listen(&interrupted, "stopping; items in flight are scored when it goes on")?;
    let job = Job { args, text: &text, stages: &stages, interrupted: &interrupted };
    let done = match args.seeds {
        Some(seeds) => seeds::run(&job, seeds.into())?,
        None => job.run(args.seed, &args.output)?.is_some(),
    };
    if done {
        screen::say(&format!("done in {}", duration(began.elapsed().as_secs_f64())));
        return Ok(ExitCode::SUCCESS);
    }
    screen::say(&format!("stopped; nothing is lost. To go on: {}", command(args)));
    Ok(ExitCode::from(interrupt::CODE))
}

/// Refuses a search that could not run, without reading a weight.
pub(crate) fn check(file: &SearchFile, sources: &Sources) -> Result<()> {
    evolve::check(&file.template, sources, &file.search, &tasks::benchmarks(file)?)
}

/// The command that goes on.
fn command(args: &Args) -> String {
    let file = match (&args.file, &args.from_mergekit) {
        (Some(file), _) => file.display().to_string(),
        (_, Some(file)) => format!("--from-mergekit {}", file.display()),
        (None, None) => String::new(),
    };
    let given =
        |name: &str, value: Option<String>| value.map_or_else(String::new, |value| format!(" --{name} {value}"));
    let (seed, seeds) =
        (given("seed", args.seed.map(|n| n.to_string())), given("seeds", args.seeds.map(|n| n.to_string())));
    let budget = given("budget", args.budget.map(|n| n.to_string()));
    format!("evomerge search {file} -o {}{seed}{seeds}{budget}", args.output.display())
}

/// What a command asks for.
struct Job<'a> {
    args: &'a Args,
    text: &'a str,
    /// The documents of the file.
    stages: &'a [Stage],
    interrupted: &'a Arc<AtomicBool>,
}

/// What a study has come to.
struct Ended {
    findings: Findings,
    goals: Vec<evolve::Goal>,
}

impl Job<'_> {
    /// Runs all stages with a seed; the last one's result, or nothing if interrupted.
    ///
    /// Each stage's answer is a model that the later ones may name.
    fn run(&self, seed: Option<u64>, output: &Path) -> Result<Option<Ended>> {
        let mut earlier: Vec<Recipe> = Vec::new();
        for (number, stage) in self.stages.iter().enumerate() {
            let is_last = number + 1 == self.stages.len();
            match stage {
                Stage::Recipe(recipe) => earlier.push((**recipe).clone()),
                Stage::Search(file) => {
                    let mut file = (**file).clone();
                    file.search.seed = seed.unwrap_or(file.search.seed);
                    if let Some(budget) = self.args.budget.filter(|_| is_last) {
                        file.search.budget.value = budget;
                    }
                    let name = file.template.name().unwrap_or_default();
                    let study = if is_last { output.to_owned() } else { output.join("stages").join(&name) };
                    if self.stages.len() > 1 && !name.is_empty() {
                        screen::say(&format!("stage {} of {}: {name}", number + 1, self.stages.len()));
                    }
                    let Some(ended) = self.stage(&file, &earlier, output, &study, is_last)? else { return Ok(None) };
                    if is_last {
                        return Ok(Some(ended));
                    }
                    earlier.push(ended.findings.winner.0);
                }
            }
        }
        unreachable!("the last document is a search")
    }

    fn stage(
        &self,
        file: &SearchFile,
        earlier: &[Recipe],
        output: &Path,
        directory: &Path,
        is_last: bool,
    ) -> Result<Option<Ended>> {
        let benchmarks = tasks::benchmarks(file)?.interruptible(Interrupt::from(self.interrupted));
        let sources = Sources::open_all(file.template.variants(), earlier, &Hub::from_env())?;
        evolve::check(&file.template, &sources, &file.search, &benchmarks)?;
        let store = open_study(output, directory, &sources)?;
        let found = self.find(file, earlier, &sources, &benchmarks, &store, directory, is_last);
        if found.is_err() && store.is_empty() {
            // Refused before it began: leave no directory that looks like a study.
            drop(store);
            let _ = fs::remove_dir_all(directory.join("study")).and_then(|()| fs::remove_dir(directory));
        }
        found
    }

    /// Runs the study to its end and shows what it found; nothing if interrupted.
    #[expect(clippy::too_many_arguments, reason = "what a stage is made of")]
    fn find(
        &self,
        file: &SearchFile,
        earlier: &[Recipe],
        sources: &Sources,
        benchmarks: &Benchmarks,
        store: &Store,
        directory: &Path,
        is_last: bool,
    ) -> Result<Option<Ended>> {
        for (name, checkpoint) in sources.iter() {
            check_finite(&**checkpoint).map_err(|e| e.at(name))?;
        }
        let hashes = sources.sha256()?;
        let goals = evolve::Objective::goals(benchmarks);
        let line = Line::new(names(goals, &file.search));
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let study = Study {
            template: &file.template,
            sources,
            earlier,
            hashes: &hashes,
            search: &file.search,
            text: self.text,
            objective: benchmarks,
            store,
            workers: self.args.workers.map_or(cores, usize::from),
            interrupted: self.interrupted,
            progress: &|progress| line.show(progress),
        };
        let outcome = evolve::run(&study);
        line.finish();
        match outcome? {
            Outcome::Interrupted => Ok(None),
            Outcome::Done(findings) => {
                finish::finish(self.args, &study, &findings, directory, is_last)?;
                let goals = evolve::Objective::goals(benchmarks).to_vec();
                Ok(Some(Ended { findings: *findings, goals }))
            }
        }
    }
}

/// What the numbers of its progress are called.
fn names(goals: &[evolve::Goal], search: &Search) -> Names {
    let ranked = goals.iter().filter(|goal| goal.ranks()).map(|goal| goal.name.clone());
    let costs = search.minimise.iter().map(|cost| cost.what.value.name().to_owned());
    Names { tasks: goals.iter().map(|goal| goal.name.clone()).collect(), objectives: ranked.chain(costs).collect() }
}

/// The study's store in an output directory that is new, empty, or has one already.
fn open_study(output: &Path, directory: &Path, sources: &Sources) -> Result<Store> {
    let dir: PathBuf = directory.join("study");
    if !dir.exists() && !output.join("study").exists() && !output.join("stages").exists() {
        export::check_destination(output, sources.files().map(|(_, path)| path))?;
    }
    let store = Store::open(&dir)?;
    if let Some(aside) = store.repaired() {
        screen::say(&format!("note: a damaged snapshot was moved to {}; no record is lost", aside.display()));
    }
    Ok(store)
}

/// Where one of several studies is kept.
fn of_seed(output: &Path, seed: u64) -> PathBuf {
    output.join(format!("seed-{seed}"))
}

/// Refuses a place for several studies that holds something else.
fn check_place(output: &Path) -> Result<()> {
    let entries = match fs::read_dir(output) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("read", output, &e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("read", output, &e))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("seed-") && name != "result.json" {
            return Err(Error::user(format!("{}: there is something else in it: {name}", output.display()))
                .hint("choose a new directory"));
        }
    }
    Ok(())
}
