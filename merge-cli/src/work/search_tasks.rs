//! Reads the tasks and judges of a search file as benchmarks.

use crate::{
    draw::screen,
    hub::agent,
    language::Language,
    study_report::judgement,
    work::{eval_tasks, shelf::shelf},
};
use evaluator::{
    judge::Judge,
    model::device,
    objective::{Benchmarks, GoalScorer},
    task::{self, Benchmark, Fractions, Split, Task as _},
};
use merge_core::{
    error::{Error, Result},
    recipe::resolve,
    search::{self, GoalEntry, ScoredBy, SearchFile},
    study::Objective as _,
    yaml::At,
};
use std::path::{Path, PathBuf};

/// Benchmarks of a search file, with the device that its models run on unless engines score them.
pub(crate) fn benchmarks(file: &SearchFile) -> Result<Benchmarks> {
    let (path, search) = (&file.template.file, &file.search);
    let mut benchmarks = Benchmarks::new(device(&search.device).map_err(|e| e.at(search.device.place.of(path)))?);
    for entry in search.objective.iter() {
        let added = benchmarks.maximise(read(path, entry)?, entry.weight(), entry.items.value);
        added.map_err(|e| e.at(entry.name().place.of(path)))?;
    }
    for entry in &search.constraints {
        let within = entry.within.map_or(0.0, |within| within.value);
        let added = benchmarks.constrain(read(path, entry)?, within, entry.items.value);
        added.map_err(|e| e.at(entry.name().place.of(path)))?;
    }
    for entry in &search.report {
        let added = benchmarks.report_on(read(path, entry)?, Split::Report);
        added.map_err(|e| e.at(entry.name().place.of(path)))?;
    }
    benchmarks.check().map_err(|e| e.at(search.objective.place.of(path)))?;
    for task in benchmarks.tasks() {
        if task.duplicates() > 0 {
            screen::say(&format!("note: {}: {} repeated items are counted once", task.name(), task.duplicates()));
        }
    }
    for note in judgement::few_items(benchmarks.goals(), Language::chosen()) {
        screen::say(&note);
    }
    Ok(benchmarks)
}

/// Path of a task file.
fn find(path: &Path, name: &At<String>) -> Result<PathBuf> {
    resolve(path, name, "`evomerge tasks` lists the tasks that are built in")
}

/// Reads the task or the judge of an entry.
fn read(path: &Path, entry: &GoalEntry) -> Result<GoalScorer> {
    let (metric, split) = (entry.metric.as_ref(), entry.split);
    Ok(match &entry.by {
        ScoredBy::Task(name) => task(path, name, metric, split)?.into(),
        ScoredBy::Judge(judge) => Judge::read(judge, metric, split, path, agent)?.into(),
    })
}

fn task(
    path: &Path,
    name: &At<String>,
    metric: Option<&At<String>>,
    given: Option<At<search::Fractions>>,
) -> Result<Benchmark> {
    let at = |e: Error| e.at(name.place.of(path));
    let shelf = shelf()?;
    let fractions = given.map_or_else(Fractions::default, |split| split.value);
    let mut task = match eval_tasks::builtin(name).map_err(at)? {
        None => task::read_with(&find(path, name)?, fractions, &shelf).map_err(at)?,
        Some(builtin) if given.is_some() => builtin.divided(fractions, &shelf).map_err(at)?,
        Some(builtin) => builtin.read(fractions, &shelf).map_err(at)?,
    };
    if let Some(metric) = metric {
        task = task.with_metric(metric).map_err(|e| e.at(metric.place.of(path)))?;
    }
    match given.filter(|_| !task.is_divided()) {
        Some(split) => {
            let place = split.place.of(path);
            let message =
                format!("{place}: `split` has no effect: task {} says itself what is used for what", task.name());
            Err(Error::user(message).hint("remove it"))
        }
        None => Ok(task),
    }
}
