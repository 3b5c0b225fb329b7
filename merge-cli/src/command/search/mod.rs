//! `evomerge search`: a study from its first generation, or from wherever it stopped, to a table, a recipe and a checkpoint.

mod finish;
mod place;
mod publish;
mod seeds;
mod tasks;

pub(crate) use finish::SEARCH_FILE;
pub(crate) use place::gone;

use self::place::StudyPlace;
use crate::{
    args::SearchArgs as Args,
    hub::Hub,
    interrupt, job,
    line::{Among, Line},
    memory::{MemoryNeed, There},
    screen::{self, duration},
    view::ProgressNames,
};
use evaluator::{interrupt::Interrupt, objective::Benchmarks};
use merge_core::{
    error::{Fault, Result},
    merge::sources::Sources,
    model::check_finite,
    recipe::Recipe,
    search::{Search, SearchFile, Stage},
    store::Store,
    study::{self, Findings, Study},
    yaml::read_text,
};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::Instant,
};

pub(crate) fn run(args: &Args) -> Result<()> {
    let began = Instant::now();
    let path = args.file.as_ref().or(args.from_mergekit.as_ref()).expect("one of them is required");
    let text = read_text(path)?;
    let stages = match args.from_mergekit {
        Some(_) => Stage::parse_mergekit(&text, path, &Hub::from_env())?,
        None => Stage::parse_all(&text, path)?,
    };
    let interrupted = Arc::default();
    interrupt::listen(&interrupted, "stopping; items in flight are scored when it goes on")?;
    let job = SearchCommand { args, text: &text, stages: &stages, interrupted: &interrupted };
    let done = match args.seeds {
        Some(seeds) => seeds::run(&job, seeds.into()),
        None => job.run(args.seed, &args.output, &mut Among::default(), 0).map(|_| ()),
    };
    match &done {
        Ok(()) => screen::say(&format!("done in {}", duration(began.elapsed().as_secs_f64()))),
        Err(error) if error.fault() == Fault::Interrupted => {
            let again = job::goes_on().unwrap_or_else(|| format!("To go on: {}", command(args)));
            screen::say(&format!("stopped; nothing is lost. {again}"));
        }
        Err(_) => {}
    }
    done
}

/// Refuses a search that could not run, without reading a weight. Gives what memory it takes, and what the user should know of
/// its merges.
pub(crate) fn check(file: &SearchFile, sources: &Sources) -> Result<(MemoryNeed, Vec<String>)> {
    let benchmarks = tasks::benchmarks(file)?;
    let notes = study::check(&file.template, sources, &file.search, &benchmarks)?;
    Ok((MemoryNeed::of_search(file, sources, &benchmarks)?, notes))
}

/// What stands for the answer of a stage before there is one: its first candidate.
pub(crate) fn stand_in(file: &SearchFile, sources: &Sources) -> Result<Recipe> {
    let space = file.template.space(sources)?;
    Ok(file.template.fill(&space, &space.init()))
}

/// As many workers as are asked for, or as the machine has cores and room for; and what the user should know of that.
fn workers(given: Option<u16>, memory: MemoryNeed, there: There, cores: usize) -> Result<(usize, Option<String>)> {
    let wanted = given.map_or(cores, usize::from).max(1);
    let fitting = if given.is_some() { wanted } else { memory.fitting(cores, there.free).max(1) };
    memory.check(fitting, there.total, "there are")?;
    let (needs, free) = (|workers| screen::bytes(memory.with(workers)), screen::bytes(there.free));
    let counted = |workers| screen::counted(workers, "worker");
    let note = if memory.with(fitting) > there.free {
        let (counted, needs) = (counted(fitting), needs(fitting));
        Some(format!("with {counted} it needs about {needs} of memory, of which {free} are free now"))
    } else if fitting < wanted {
        let why = format!("{} need about {} of memory, and {free} are free", counted(wanted), needs(wanted));
        Some(format!("{why}: it goes on with {}", counted(fitting)))
    } else {
        None
    };
    Ok((fitting, note))
}

/// Refuses a search whose tasks cannot be asked.
pub(crate) fn check_tasks(file: &SearchFile) -> Result<()> {
    tasks::benchmarks(file).map(|_| ())
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
struct SearchCommand<'a> {
    args: &'a Args,
    text: &'a str,
    /// The documents of the file.
    stages: &'a [Stage],
    interrupted: &'a Arc<AtomicBool>,
}

/// A search of the file, with what it asks.
struct PlannedStudy {
    file: SearchFile,
    benchmarks: Benchmarks,
    /// Whether its answer is what the command is for, and not a step on the way.
    is_answer: bool,
    /// Candidates scored side by side.
    workers: usize,
}

impl PlannedStudy {
    /// The most item evaluations that it takes.
    fn takes(&self) -> u64 {
        study::evaluations(&self.file.template, &self.file.search, study::Objective::goals(&self.benchmarks))
    }
}

/// What a study has come to.
struct StudyResult {
    findings: Findings,
    goals: Vec<study::Goal>,
}

impl SearchCommand<'_> {
    /// Runs all stages with a seed, and gives the last one's result. `among` is where they stand among the
    /// command's studies: this often again the stages are run after these.
    ///
    /// Each stage's answer is a model that the later ones may name.
    fn run(&self, seed: Option<u64>, output: &Path, among: &mut Among, again: u64) -> Result<StudyResult> {
        let studies = self.studies(seed)?;
        let n_studies = studies.iter().flatten().count();
        among.after = (1 + again) * studies.iter().flatten().map(PlannedStudy::takes).sum::<u64>();
        let seeds = among.labels.clone();
        let mut earlier: Vec<Recipe> = Vec::new();
        let mut numbers = 1..;
        for (stage, study) in self.stages.iter().zip(studies) {
            let study = match (stage, study) {
                (Stage::Recipe(recipe), _) => {
                    earlier.push((**recipe).clone());
                    continue;
                }
                (Stage::Search(_), study) => study.expect("each search has a study"),
            };
            let number = numbers.next().expect("they do not end");
            let is_answer = study.is_answer;
            among.after -= study.takes();
            among.labels.clone_from(&seeds);
            if n_studies > 1 {
                among.labels.push(format!("stage {number} of {n_studies}"));
            }
            let name = study.file.template.name().unwrap_or_default();
            let place = if is_answer { output.to_owned() } else { output.join("stages").join(&name) };
            if n_studies > 1 && !name.is_empty() {
                screen::say(&format!("stage {number} of {n_studies}: {name}"));
            }
            let ended = self.stage(&study, &earlier, output, &place, among)?;
            among.before += ended.findings.progress.done;
            if is_answer {
                among.labels = seeds;
                return Ok(ended);
            }
            earlier.push(ended.findings.winner.0);
        }
        unreachable!("the last document is a search")
    }

    /// What is to be studied, for each document of the file that is a search, with every refusal that needs no weight: also
    /// of the later ones, before the first begins.
    fn studies(&self, seed: Option<u64>) -> Result<Vec<Option<PlannedStudy>>> {
        let (mut studies, mut earlier) = (Vec::new(), Vec::new());
        for (number, stage) in self.stages.iter().enumerate() {
            let file = match stage {
                Stage::Recipe(recipe) => {
                    earlier.push((**recipe).clone());
                    studies.push(None);
                    continue;
                }
                Stage::Search(file) => file,
            };
            let mut file = (**file).clone();
            file.search.seed = seed.unwrap_or(file.search.seed);
            let is_answer = number + 1 == self.stages.len();
            if let Some(budget) = self.args.budget.filter(|_| is_answer) {
                file.search.budget.value = budget;
            }
            let read = {
                // Templates of a task may take their time, item by item.
                let file = file.clone();
                move || tasks::benchmarks(&file)
            };
            let benchmarks =
                interrupt::unless(self.interrupted, read)?.interruptible(Interrupt::from(self.interrupted));
            let sources = Sources::open_all(file.template.variants(), &earlier, &Hub::from_env())?;
            study::check(&file.template, &sources, &file.search, &benchmarks)?;
            let memory = MemoryNeed::of_search(&file, &sources, &benchmarks)?;
            let cores = thread::available_parallelism().map_or(1, usize::from);
            let (workers, note) = workers(self.args.workers, memory, There::here(), cores)
                .map_err(|e| e.at(file.template.file.display()))?;
            if let Some(note) = note {
                screen::say(&format!("note: {note}"));
            }
            earlier.push(stand_in(&file, &sources)?);
            studies.push(Some(PlannedStudy { file, benchmarks, is_answer, workers }));
        }
        Ok(studies)
    }

    fn stage(
        &self,
        study: &PlannedStudy,
        earlier: &[Recipe],
        output: &Path,
        directory: &Path,
        among: &Among,
    ) -> Result<StudyResult> {
        let file = &study.file;
        let sources = Sources::open_all(file.template.variants(), earlier, &Hub::from_env())?;
        for note in study::check(&file.template, &sources, &file.search, &study.benchmarks)? {
            screen::say(&format!("note: {note}"));
        }
        let place = StudyPlace::open(output, directory, &sources)?;
        let goals = study::Objective::goals(&study.benchmarks);
        if !self.args.replace {
            publish::check_replaced(&place.store, directory, &file.search, goals)?;
        }
        let found = self.find(study, earlier, &sources, &place.store, directory, among);
        if found.is_err() {
            place.abandon();
        }
        found
    }

    /// Runs the study to its end and shows what it found. The last of a file writes its model.
    fn find(
        &self,
        PlannedStudy { file, benchmarks, is_answer, workers }: &PlannedStudy,
        earlier: &[Recipe],
        sources: &Sources,
        store: &Store,
        directory: &Path,
        among: &Among,
    ) -> Result<StudyResult> {
        for (name, checkpoint) in sources.iter() {
            check_finite(&**checkpoint).map_err(|e| e.at(name))?;
        }
        let hashes = sources.sha256()?;
        let goals = study::Objective::goals(benchmarks);
        let line = Line::new(names(goals, &file.search, sources), among.clone());
        let study = Study {
            template: &file.template,
            sources,
            earlier,
            hashes: &hashes,
            search: &file.search,
            text: self.text,
            objective: benchmarks,
            store,
            workers: *workers,
            interrupted: self.interrupted,
            progress: &|progress| line.show(progress),
        };
        let findings = study::run(&study);
        line.finish();
        let findings = findings?;
        finish::finish(self.args, &study, &findings, directory, *is_answer)?;
        Ok(StudyResult { findings, goals: goals.to_vec() })
    }
}

/// What the numbers of its progress are called.
fn names(goals: &[study::Goal], search: &Search, sources: &Sources) -> ProgressNames {
    let ranked = goals.iter().filter(|goal| goal.ranks()).map(|goal| goal.name.clone());
    let costs = search.minimise.iter().map(|cost| cost.what.value.name().to_owned());
    ProgressNames {
        tasks: goals.iter().map(|goal| goal.name.clone()).collect(),
        objectives: ranked.chain(costs).collect(),
        models: sources.labels(),
    }
}

/// Where one of several studies is kept.
fn of_seed(output: &Path, seed: u64) -> PathBuf {
    output.join(format!("seed-{seed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a machine of eight cores and 64 GB.
    #[test]
    fn there_are_as_many_workers_as_the_free_memory_holds_but_as_many_as_are_asked_for() {
        let check = |given, each: u64, free: u64, expected: usize, said: Option<&str>| {
            let memory = MemoryNeed { fixed: 1_000_000_000, each: each * 1_000_000_000 };
            let there = There { total: 64_000_000_000, free: free * 1_000_000_000 };
            let (workers, note) = workers(given, memory, there, 8).unwrap();
            assert_eq!((workers, note.as_deref()), (expected, said));
        };
        check(None, 4, 64, 8, None);
        let fewer = "8 workers need about 33.0 GB of memory, and 14.0 GB are free: it goes on with 3 workers";
        check(None, 4, 14, 3, Some(fewer));
        let tight = "with 1 worker it needs about 5.0 GB of memory, of which 2.0 GB are free now";
        check(None, 4, 2, 1, Some(tight));
        let wanted = "with 6 workers it needs about 25.0 GB of memory, of which 14.0 GB are free now";
        check(Some(6), 4, 14, 6, Some(wanted));
        check(Some(2), 4, 14, 2, None);
        let there = There { total: 64_000_000_000, free: 64_000_000_000 };
        let most = MemoryNeed { fixed: 0, each: 30_000_000_000 };
        assert!(workers(Some(3), most, there, 8).is_err());
        assert_eq!(workers(None, most, there, 8).unwrap().0, 2);
    }
}
