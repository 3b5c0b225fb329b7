//! `evomerge search`: runs or resumes a study, and writes a table, a recipe and a checkpoint.

mod estimate;
mod finish;
mod place;
mod publish;
mod seeds;

pub(crate) use finish::SEARCH_FILE;

use self::place::StudyPlace;
use crate::{
    args::SearchArgs as Args,
    draw::{
        line::{Among, Line},
        screen::{self, duration},
        view::ProgressNames,
    },
    hub::Hub,
    job,
    language::{Language, study as texts},
    launch::{self, RemoteObjective, StudyOrder, Workers, quoted},
    work::{
        engines::{self, candidate_bytes},
        interrupt,
        memory::{MachineMemory, MemoryNeed},
        search::{stand_in, workers},
        search_tasks,
    },
};
use evaluator::{engine::Engines, interrupt::Interrupt, objective::Benchmarks};
use merge_core::{
    error::{Error, Fault, Result},
    merge::sources::Sources,
    model::{check_finite, hash::hex},
    recipe::Recipe,
    search::{Search, SearchFile, Stage},
    store::Store,
    study::{self, Findings, Study},
    yaml::read_text,
};
use std::{
    collections::BTreeMap,
    env,
    fmt::Display,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::Instant,
};

pub(crate) fn run(args: &Args) -> Result<()> {
    let began = Instant::now();
    let Some(output) = args.output.as_deref().or(args.dry_run.then_some(Path::new("."))) else {
        return Err(
            Error::user("the search has no directory for its study and its result").hint("name one with `-o DIR`")
        );
    };
    let path = args.file.as_ref().or(args.from_mergekit.as_ref()).expect("one of them is required");
    let text = read_text(path)?;
    let stages = match args.from_mergekit {
        Some(_) => Stage::parse_mergekit(&text, path, &Hub::from_env())?,
        None => Stage::parse_all(&text, path)?,
    };
    let interrupted = Arc::default();
    interrupt::listen(&interrupted, "stopping; unfinished items are scored when the search continues")?;
    let has_judges = stages.iter().any(|stage| match stage {
        Stage::Search(file) => file.search.has_judges(),
        Stage::Recipe(_) => false,
    });
    engines::check_scratch(&args.engines, has_judges)?;
    let remote = launch::start(args, Interrupt::from(&interrupted))?;
    if remote.is_none() && args.workers.is_some() && !args.engines.engine.is_empty() {
        return Err(Error::user("`--workers` has no effect on engines: each scores one candidate after the other")
            .hint("leave it out, or start workers with an engine each: --workers 2 --launch 'srun -n1'"));
    }
    let engines = match remote {
        Some(_) => None,
        None => engines::connect(&args.engines, || first_model(&stages), Interrupt::from(&interrupted))?,
    };
    let job = SearchCommand {
        args,
        output,
        text: &text,
        stages: &stages,
        interrupted: &interrupted,
        engines: engines.clone(),
        remote,
    };
    let done = match args.seeds {
        _ if args.dry_run => job.estimate(),
        Some(seeds) => seeds::run(&job, seeds.into()),
        None => job.run(args.seed, output, &mut Among::default(), 0).map(|_| ()),
    };
    if let Some(engines) = &engines {
        engines::tell(engines);
    }
    if let Some(remote) = &job.remote {
        launch::tell(remote);
    }
    match &done {
        Ok(()) if args.dry_run => {}
        Ok(()) => {
            let time = duration(began.elapsed().as_secs_f64());
            screen::say(&Language::chosen().fill(&texts::DONE_IN, &[("time", &time)]));
        }
        Err(error) if error.fault() == Fault::Interrupted => {
            let again = job::how_to_continue().unwrap_or_else(|| format!("To go on: {}", command(args, output)));
            screen::say(&format!("stopped; nothing is lost. {again}"));
        }
        Err(_) => {}
    }
    done
}

/// Path of the first model that is merged, with which engines are started.
fn first_model(stages: &[Stage]) -> Result<PathBuf> {
    let mut earlier: Vec<Recipe> = Vec::new();
    for stage in stages {
        match stage {
            Stage::Recipe(recipe) => earlier.push((**recipe).clone()),
            Stage::Search(file) => {
                let sources = Sources::open_all(file.template.variants(), &earlier, &Hub::from_env())?;
                return Ok(sources.files().next().expect("a search has models").1.to_owned());
            }
        }
    }
    unreachable!("the last document is a search")
}

/// The command line that continues the search.
fn command(args: &Args, output: &Path) -> String {
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
    let engines: Vec<String> = args.engines.engine.iter().map(|engine| format!(" --engine '{engine}'")).collect();
    let engines = engines.concat();
    let workers = args.workers.unwrap_or(1);
    let launch = match (&args.launch, &args.ray) {
        (Some(launch), _) => format!(" --launch {} --workers {workers}", quoted(launch)),
        (None, Some(address)) => {
            let each: Vec<String> =
                args.per_worker.iter().flatten().map(|(name, amount)| format!("{name}: {amount}")).collect();
            let each = if each.is_empty() { String::new() } else { format!(" --per-worker '{}'", each.join(", ")) };
            let python = if args.python == "python3" { String::new() } else { format!(" --python {}", args.python) };
            format!(" --ray {address} --workers {workers}{each}{python}")
        }
        (None, None) => String::new(),
    };
    let scratch = given("scratch", args.engines.scratch.as_ref().map(|dir| dir.display().to_string()));
    format!("evomerge search {file} -o {}{seed}{seeds}{budget}{engines}{launch}{scratch}", output.display())
}

/// A search command and its file.
struct SearchCommand<'a> {
    args: &'a Args,
    /// Directory of the study and its result.
    output: &'a Path,
    text: &'a str,
    /// Documents of the file.
    stages: &'a [Stage],
    interrupted: &'a Arc<AtomicBool>,
    /// Engines that score, if evomerge does not do it itself.
    engines: Option<Arc<Engines>>,
    /// Workers that score, if a launcher is named.
    remote: Option<Arc<Workers>>,
}

/// A search in the file, with its benchmarks.
struct PlannedStudy {
    /// Number of its document.
    stage: usize,
    file: SearchFile,
    benchmarks: Benchmarks,
    /// True if its answer is the command's result, false for an earlier stage.
    is_answer: bool,
    /// Number of candidates scored at the same time.
    workers: usize,
}

impl PlannedStudy {
    /// Upper bound of its item evaluations.
    fn max_evaluations(&self) -> u64 {
        study::evaluations(&self.file.template, &self.file.search, study::Objective::goals(&self.benchmarks))
    }
}

/// Result of a study.
struct StudyResult {
    findings: Findings,
    goals: Vec<study::Goal>,
}

impl SearchCommand<'_> {
    /// Runs all stages with a seed, and returns the last one's result. Later stages may use the
    /// answers of earlier ones as models.
    ///
    /// `among` is the position among the command's studies; `again` more runs of all stages follow.
    fn run(&self, seed: Option<u64>, output: &Path, among: &mut Among, again: u64) -> Result<StudyResult> {
        let studies = self.studies(seed)?;
        let n_studies = studies.iter().flatten().count();
        among.after = (1 + again) * studies.iter().flatten().map(PlannedStudy::max_evaluations).sum::<u64>();
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
            among.after -= study.max_evaluations();
            among.labels.clone_from(&seeds);
            if n_studies > 1 {
                let values: [(&str, &dyn Display); 2] = [("number", &number), ("stages", &n_studies)];
                among.labels.push(Language::chosen().fill(&texts::STAGE_LABEL, &values));
            }
            let name = study.file.template.name().unwrap_or_default();
            let place = if is_answer { output.to_owned() } else { output.join("stages").join(&name) };
            if n_studies > 1 && !name.is_empty() {
                screen::say(&format!("{}: {name}", among.labels.last().map_or("", String::as_str)));
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

    /// Plans a study for each document that is a search. All stages are checked for everything that
    /// needs no weight before the first one begins.
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
                // Rendering a task's templates may take long.
                let mut file = file.clone();
                if self.remote.is_some() {
                    // Only workers need the device.
                    "cpu".clone_into(&mut file.search.device.value);
                }
                move || search_tasks::benchmarks(&file)
            };
            let mut benchmarks =
                interrupt::unless(self.interrupted, read)?.interruptible(Interrupt::from(self.interrupted));
            if let Some(engines) = &self.engines {
                benchmarks = benchmarks.on(Arc::clone(engines));
            }
            if self.remote.is_some() && !self.args.engines.engine.is_empty() {
                benchmarks = benchmarks.on_engines_elsewhere();
            }
            let sources = Sources::open_all(file.template.variants(), &earlier, &Hub::from_env())?;
            study::check(&file.template, &sources, &file.search, &benchmarks)?;
            if benchmarks.has_judges() && self.engines.is_none() {
                let scratch = engines::scratch(&self.args.engines, candidate_bytes(&file, &sources)?);
                benchmarks = benchmarks.within(Arc::new(scratch.map_err(|e| e.at(file.template.file.display()))?));
            }
            let (workers, note) = self.workers(&file, &sources, &benchmarks)?;
            if let Some(note) = note {
                screen::say(&format!("note: {note}"));
            }
            earlier.push(stand_in(&file, &sources)?);
            studies.push(Some(PlannedStudy { stage: number, file, benchmarks, is_answer, workers }));
        }
        Ok(studies)
    }

    /// Number of candidates at work at once, and a note for the user.
    fn workers(
        &self,
        file: &SearchFile,
        sources: &Sources,
        benchmarks: &Benchmarks,
    ) -> Result<(usize, Option<String>)> {
        if let Some(remote) = &self.remote {
            launch::check(file)?;
            // More than one for each worker, so that none waits for the next one.
            return Ok((2 * remote.count(), None));
        }
        let here = MachineMemory::here();
        if let Some(engines) = &self.engines {
            return engines::at_once(engines, file, sources);
        }
        let memory = MemoryNeed::of_search(file, sources, benchmarks)?;
        // How much memory a judge takes, and whether two can share a device, only the user knows.
        let cores = if benchmarks.has_judges() { 1 } else { thread::available_parallelism().map_or(1, usize::from) };
        workers(self.args.workers, memory, here, cores).map_err(|e| e.at(file.template.file.display()))
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
        if let Some(workers) = &self.remote {
            workers.wait()?;
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

    /// Runs the study to its end and shows the result. The last stage also writes its model.
    fn find(
        &self,
        PlannedStudy { stage, file, benchmarks, is_answer, workers }: &PlannedStudy,
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
        if self.engines.is_some() && store.is_empty() {
            engines::compared_with_own(benchmarks, sources)?.iter().for_each(|note| screen::say(note));
        }
        let goals = study::Objective::goals(benchmarks);
        let seen = self.remote.clone();
        let seen = Box::new(move || seen.as_ref().map(|workers| workers.now()));
        let line = Line::new(names(goals, &file.search, sources), among.clone(), seen);
        let remote = self.remote.as_ref().map(|workers| {
            let study = self.order(*stage, earlier, &hashes, goals, store.is_empty())?;
            RemoteObjective::begin(benchmarks, workers, study)
        });
        let remote = remote.transpose()?;
        let study = Study {
            template: &file.template,
            sources,
            earlier,
            hashes: &hashes,
            search: &file.search,
            text: self.text,
            objective: remote.as_ref().map_or(benchmarks as &dyn study::Objective, |remote| remote),
            store,
            workers: *workers,
            interrupted: self.interrupted,
            progress: &|progress| line.show(progress),
        };
        let findings = study::run(&study);
        line.finish();
        let findings = findings?;
        finish::finish(self.args, &study, &findings, directory, *is_answer)?;
        if let Some(engines) = &self.engines {
            engines::tell_option(engines, &findings.winner.0, sources)?;
        }
        Ok(StudyResult { findings, goals: goals.to_vec() })
    }
}

impl SearchCommand<'_> {
    /// A study, as workers are told it.
    fn order(
        &self,
        stage: usize,
        earlier: &[Recipe],
        hashes: &[(String, BTreeMap<String, String>)],
        goals: &[study::Goal],
        is_new: bool,
    ) -> Result<StudyOrder> {
        let file = self.args.file.as_ref().or(self.args.from_mergekit.as_ref()).expect("one of them is required");
        let at = |e: std::io::Error| Error::machine(format!("cannot find the current directory: {e}"));
        Ok(StudyOrder {
            file: std::path::absolute(file).map_err(at)?,
            directory: env::current_dir().map_err(at)?,
            text: self.text.to_owned(),
            is_mergekit: self.args.from_mergekit.is_some(),
            stage,
            earlier: earlier.iter().map(Recipe::to_yaml).collect(),
            sources: hashes.to_vec(),
            tasks: goals.iter().map(|goal| (goal.name.clone(), hex(&goal.fingerprint))).collect(),
            engine: launch::engine_order(&self.args.engines, is_new),
        })
    }
}

/// Names for the numbers of the progress.
fn names(goals: &[study::Goal], search: &Search, sources: &Sources) -> ProgressNames {
    let ranked = goals.iter().filter(|goal| goal.ranks()).map(|goal| goal.name.clone());
    let costs = search.minimise.iter().map(|cost| cost.what.value.name().to_owned());
    ProgressNames {
        tasks: goals.iter().map(|goal| goal.name.clone()).collect(),
        objectives: ranked.chain(costs).collect(),
        models: sources.labels(),
    }
}

/// Directory of the study with this seed.
fn seed_directory(output: &Path, seed: u64) -> PathBuf {
    output.join(format!("seed-{seed}"))
}
