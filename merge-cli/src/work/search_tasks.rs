//! Reads the tasks of a search file as benchmarks.

use crate::{
    draw::screen,
    language::Language,
    study_report::judgement,
    work::{eval_tasks, shelf::shelf},
};
use evaluator::{
    model::device,
    objective::Benchmarks,
    task::{self, Benchmark, Fractions, Split, Task as _},
};
use merge_core::{
    error::{Error, Result},
    recipe::resolve,
    search::{self, SearchFile},
    study::Objective as _,
    yaml::At,
};
use std::path::{Path, PathBuf};

/// Benchmarks of a search file, with the device that its models run on unless engines score them.
pub(crate) fn benchmarks(file: &SearchFile) -> Result<Benchmarks> {
    let (path, search, shelf) = (&file.template.file, &file.search, shelf()?);
    let mut benchmarks = Benchmarks::new(device(&search.device).map_err(|e| e.at(search.device.place.of(path)))?);
    for objective in search.objective.iter() {
        let task = read(path, &objective.task, objective.metric.as_ref(), objective.split)?;
        let added = benchmarks.maximise(task, objective.weight.value, objective.items.value);
        added.map_err(|e| e.at(objective.task.place.of(path)))?;
    }
    for constraint in &search.constraints {
        let task = read(path, &constraint.task, constraint.metric.as_ref(), constraint.split)?;
        let added = benchmarks.constrain(task, constraint.within.value, constraint.items.value);
        added.map_err(|e| e.at(constraint.task.place.of(path)))?;
    }
    for reference in &search.report {
        let at = |e: Error| e.at(reference.place.of(path));
        let task = match eval_tasks::builtin(reference).map_err(at)? {
            None => task::read_with(&find(path, reference)?, Fractions::default(), &shelf).map_err(at)?,
            Some(builtin) => builtin.read(Fractions::default(), &shelf).map_err(at)?,
        };
        benchmarks.report_on(task, Split::Report).map_err(at)?;
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

/// Reads a task of an objective or a constraint.
fn read(
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
