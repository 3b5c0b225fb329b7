//! `evomerge search`: a study from its first generation, or from wherever it stopped, to a table, a recipe and a checkpoint.

use crate::{
    args::Search as Args,
    card,
    command::{data::shelf, eval},
    hub::Hub,
    interrupt,
    licence::Licences,
    report,
    screen::{self, Line, duration},
};
use evaluator::{
    interrupt::Interrupt,
    model::device,
    objective::Benchmarks,
    task::{self, Fractions, Split, Task as _},
};
use merge_core::{
    checkpoint::hex,
    error::{Error, Result},
    evolve::{self, Findings, Outcome, Study},
    export,
    merge::Merge,
    recipe::{Recipe, resolve},
    search::SearchFile,
    sources::{Sources, short},
    store::Store,
    weights::check_finite,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::Instant,
};

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let began = Instant::now();
    let mut file = SearchFile::read(&args.file)?;
    file.search.seed = args.seed.unwrap_or(file.search.seed);
    let interrupted = Arc::default();
    let benchmarks = benchmarks(&file)?.interruptible(Interrupt::from(&interrupted));
    let sources = Sources::open(&file.template, &[], &Hub::from_env())?;
    evolve::check(&file.template, &sources, &file.search, &benchmarks)?;
    let store = open_study(&args.output, &sources)?;
    let found = find(args, &file, &sources, &benchmarks, &store, &interrupted);
    if found.is_err() && store.is_empty() {
        // Refused before it began: leave no directory that looks like a study.
        drop(store);
        let _ = fs::remove_dir_all(args.output.join("study")).and_then(|()| fs::remove_dir(&args.output));
    }
    if found? {
        screen::say(&format!("done in {}", duration(began.elapsed().as_secs_f64())));
        return Ok(ExitCode::SUCCESS);
    }
    let seed = args.seed.map_or_else(String::new, |seed| format!(" --seed {seed}"));
    let (file, output) = (args.file.display(), args.output.display());
    screen::say(&format!("stopped; nothing is lost. To go on: evomerge search {file} -o {output}{seed}"));
    Ok(ExitCode::from(interrupt::CODE))
}

/// Runs the study to its end and shows what it found; false if interrupted.
fn find(
    args: &Args,
    file: &SearchFile,
    sources: &Sources,
    benchmarks: &Benchmarks,
    store: &Store,
    interrupted: &Arc<AtomicBool>,
) -> Result<bool> {
    for (name, checkpoint) in sources.iter() {
        check_finite(&**checkpoint).map_err(|e| e.at(name))?;
    }
    let hashes = sources.sha256()?;
    let line = Line::new();
    interrupt::listen(interrupted, "stopping; items in flight are scored when it goes on")?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let study = Study {
        template: &file.template,
        sources,
        hashes: &hashes,
        search: &file.search,
        objective: benchmarks,
        store,
        workers: args.workers.map_or(cores, usize::from),
        interrupted,
        progress: &|progress| line.show(progress),
    };
    let outcome = evolve::run(&study);
    line.finish();
    match outcome? {
        Outcome::Interrupted => Ok(false),
        Outcome::Done(findings) => finish(args, &study, &findings).map(|()| true),
    }
}

/// The tasks of a search file, with the device their models run on.
fn benchmarks(file: &SearchFile) -> Result<Benchmarks> {
    let (path, search, shelf) = (&file.template.file, &file.search, shelf()?);
    let mut benchmarks = Benchmarks::new(device(&search.device).map_err(|e| e.at(search.device.place.of(path)))?);
    for objective in search.objective.iter() {
        let at = |e: Error| e.at(objective.task.place.of(path));
        let given = objective.split;
        let fractions = objective.split.map_or_else(Fractions::default, |split| split.value);
        let mut task = match eval::tasks::builtin(&objective.task).map_err(at)? {
            None => task::read_with(&resolve(path, &objective.task)?, fractions, &shelf).map_err(at)?,
            Some(builtin) if given.is_some() => builtin.divided(fractions, &shelf).map_err(at)?,
            Some(builtin) => builtin.read(fractions, &shelf).map_err(at)?,
        };
        if let Some(metric) = &objective.metric {
            task = task.by(metric).map_err(|e| e.at(metric.place.of(path)))?;
        }
        if let Some(split) = given.filter(|_| !task.is_divided()) {
            let message = format!(
                "{}: `split` has no effect: task {} says itself what is used for what",
                split.place.of(path),
                task.name()
            );
            return Err(Error::user(message).hint("remove it"));
        }
        benchmarks.maximise(task, objective.weight.value, objective.items.value).map_err(at)?;
    }
    for reference in &search.report {
        let at = |e: Error| e.at(reference.place.of(path));
        let task = match eval::tasks::builtin(reference).map_err(at)? {
            None => task::read_with(&resolve(path, reference)?, Fractions::default(), &shelf).map_err(at)?,
            Some(builtin) => builtin.read(Fractions::default(), &shelf).map_err(at)?,
        };
        benchmarks.ask(task, Split::Report).map_err(at)?;
    }
    benchmarks.check().map_err(|e| e.at(search.objective.place.of(path)))?;
    for task in benchmarks.tasks() {
        if task.duplicates() > 0 {
            screen::say(&format!("note: {}: {} repeated items are counted once", task.name(), task.duplicates()));
        }
    }
    Ok(benchmarks)
}

/// The study's store in an output directory that is new, empty, or has one already.
fn open_study(output: &Path, sources: &Sources) -> Result<Store> {
    let dir = output.join("study");
    if !dir.exists() {
        export::check_destination(output, sources.files().map(|(_, path)| path))?;
    }
    let store = Store::open(&dir)?;
    if let Some(aside) = store.repaired() {
        screen::say(&format!("note: a damaged snapshot was moved to {}; no record is lost", aside.display()));
    }
    Ok(store)
}

/// Writes the checkpoint, the recipe and the result, and shows the table.
fn finish(args: &Args, study: &Study<'_>, findings: &Findings) -> Result<()> {
    let goals = study.objective.goals();
    let about = about(study, findings);
    let (recipe, winner) = &findings.winner;
    let best = args.output.join("best.yaml");
    let moved = recipe.moved_to(&best)?;
    let text = format!(
        "# Found by `evomerge search {}`; its scores are in result.json.\n{}",
        args.file.display(),
        moved.to_yaml()
    );
    let model = args.output.join("model");
    let licences = Licences::of(study.sources.files().map(|(name, path)| (short(name), path.to_owned())))?;
    let card = card::of_search(findings, goals, &about, &licences, study.hashes)?;
    // The recipe is written when its model is whole: if it is there, so is the model.
    if model.exists() && Recipe::read(&best).is_ok_and(|known| known.fingerprint() == moved.fingerprint()) {
        export::replace_file(&model.join("README.md"), &card)?;
    } else {
        export::export(&Merge::plan(recipe, study.sources)?, &model, &card)?;
    }
    export::replace_file(&best, &text)?;
    let result = report::json(&report::result(findings, goals, &about)?);
    export::replace_file(&args.output.join("result.json"), &(result.clone() + "\n"))?;

    let best_parent = report::best_parent(&findings.parents, goals);
    let groups = [findings.parents.as_slice(), &findings.baselines, std::slice::from_ref(winner)];
    let table = report::table(goals, &groups, Some(best_parent))?;
    if args.json {
        screen::say(&table);
        screen::data(&result);
    } else {
        screen::data(&table);
    }
    screen::say(&summary(study, findings)?);
    let (scored, known) = (findings.progress.scored_now, findings.progress.items.0 - findings.progress.scored_now);
    screen::say(&format!("{scored} items scored now, {known} found in the store"));
    let output = args.output.display();
    screen::say(&format!(
        "{output}/model is the merged checkpoint, {output}/best.yaml its recipe, {output}/result.json these figures"
    ));
    Ok(())
}

/// What was searched and how, for `result.json` and the card: nothing that differs between two runs of one study.
fn about(study: &Study<'_>, findings: &Findings) -> Value {
    let history = &findings.history;
    let generations: Vec<Value> =
        history.generations.iter().map(|g| json!({ "best": g.best_fitness, "mean": g.mean_fitness })).collect();
    let finalists: Vec<Value> =
        history.finalists.iter().map(|one| json!({ "name": one.name, "select": one.fitness })).collect();
    json!({
        "seed": study.search.seed,
        "optimizer": study.search.optimizer,
        "budget": study.search.budget.value,
        "generations": history.generations.len(),
        "population": history.population,
        "item_evaluations": history.item_evaluations,
        "dimensions": history.dimensions,
        "recipe": hex(&findings.winner.0.fingerprint()),
        "inputs": study.hashes.iter().map(|(name, files)| (name.clone(), json!(files))).collect::<serde_json::Map<_, _>>(),
        "fitness": generations,
        "finalists": finalists,
        "given_up": history.given_up,
    })
}

/// How the answer was chosen, and what its score is worth.
fn summary(study: &Study<'_>, findings: &Findings) -> Result<String> {
    let (history, goals) = (&findings.history, study.objective.goals());
    let ranked: Vec<&str> = goals.iter().filter(|goal| goal.items > 0).map(|goal| goal.name.as_str()).collect();
    let mut lines = vec![format!(
        "ranked {} candidates in {} generations by {} ({} item evaluations, seed {})",
        history.generations.len() * history.population,
        history.generations.len(),
        ranked.join(", "),
        history.item_evaluations,
        study.search.seed,
    )];
    lines.extend(history.stopped.map(|stop| stop.to_string()));
    lines.extend(history.given_up.iter().map(|(why, models)| match models {
        1 => format!("gave up a candidate: {why}"),
        models => format!("gave up {models} candidates: {why}"),
    }));
    let fitness: Vec<f64> = history.finalists.iter().map(|finalist| finalist.fitness).collect();
    let chosen = &history.finalists[evolve::first_best(&fitness)];
    lines.push(format!("chose {} among {} finalists:", chosen.name, history.finalists.len()));
    for (position, goal) in goals.iter().enumerate().filter(|(_, goal)| goal.weight > 0.0 && !goal.select.is_empty()) {
        let select = report::estimate(goal, &chosen.scores[position])?;
        let select = format!("{} {} on {} select items", goal.name, report::percent(&select), select.n);
        lines.push(if goal.report.is_empty() {
            format!("  {select}")
        } else {
            let held_out = report::estimate(goal, &findings.winner.1.scores[position])?;
            let percent = report::percent(&held_out);
            format!("  {select}, then {percent} on {} report items, which nothing had used", held_out.n)
        });
    }
    Ok(lines.join("\n"))
}
