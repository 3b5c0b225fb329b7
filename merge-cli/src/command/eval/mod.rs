//! `evomerge eval`: scores models, or recipes merged in memory, with intervals, and compares them.

mod answering;
mod comparison;
mod files;
mod table;

use crate::{
    args::Eval,
    draw::screen,
    job,
    study_report::figures,
    work::{
        eval_tasks::{self, asked},
        execution::set_threads,
        interrupt,
        shelf::shelf,
    },
};
use answering::{AnsweringCost, ModelAddress};
use evaluator::{
    evaluation::{self, Mishaps, TaskItems},
    interrupt::Interrupt,
    statistics::Estimate,
    task::{MarkedItem, MetricRow, Task as _},
};
use merge_core::error::{Error, Result};
use serde_json::{Map, Value, json};
use std::{
    ops::ControlFlow,
    sync::Arc,
    time::{Instant, SystemTime},
};

/// Number of bootstrap samples for metrics that are not means, as in lm-evaluation-harness.
const DRAWS: usize = 100_000;

/// Scores of a model.
pub(super) struct ModelScores {
    /// Name of the model, as given.
    name: String,
    /// Scores on each task.
    tasks: Vec<TaskScores>,
    began: SystemTime,
    seconds: f64,
    /// Number of requests.
    requests: usize,
    /// Way and cost of answering.
    answered: AnsweringCost,
}

/// Scores of a model on one task.
pub(super) struct TaskScores {
    marked: Vec<MarkedItem>,
    rows: Vec<MetricRow>,
    /// Estimate of the main metric.
    main: Estimate,
    mishaps: Mishaps,
}

pub(crate) fn run(args: &Eval) -> Result<()> {
    set_threads(&args.execution)?;
    let shelf = shelf()?;
    answering::bf16_dot(args)?;
    let chosen = eval_tasks::read(args, &shelf)?;
    let asked = asked(args, &chosen.suite.tasks)?;
    let models = answering::all(args)?;
    answering::check(args, &asked)?;
    let interrupted = Arc::default();
    interrupt::listen(&interrupted, "stopping; once more to stop at once")?;
    let interrupt = Interrupt::from(&interrupted);
    let mut scored: Vec<ModelScores> = Vec::new();
    for model in &models {
        let Some(one) = score(args, model, &asked, &interrupt)? else {
            let again = job::how_to_continue().unwrap_or_else(|| "the same command goes on".to_owned());
            screen::say(&if model.remembers(args) {
                format!("stopped; what was answered is remembered: {again}")
            } else {
                "stopped".to_owned()
            });
            return Err(Error::interrupted());
        };
        scored.push(one);
        if let Some(dir) = args.json.as_ref().and_then(Option::as_deref) {
            files::write(dir, args, &chosen, &asked, scored.last().expect("it was just put there"))?;
        }
    }
    show(args, &chosen, &asked, &scored);
    Ok(())
}

/// Asks a model all tasks; `None` if interrupted.
fn score(
    args: &Eval,
    model: &ModelAddress,
    asked: &[TaskItems<'_>],
    interrupt: &Interrupt,
) -> Result<Option<ModelScores>> {
    let (began, clock) = (SystemTime::now(), Instant::now());
    let requests = asked.iter().flat_map(|asked| asked.task.requests(&asked.items));
    let (total, effort) = requests.fold((0, 0), |(total, effort), request| (total + 1, effort + request.effort()));
    let line = screen::Meter::answers(total as u64, effort as u64);
    let (marked, answered) = model.open(args, interrupt, |opened| {
        let found = evaluation::evaluate(opened, asked, &mut |request| {
            line.answered(request.effort() as u64);
            if interrupt.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        line.finish();
        found
    })?;
    let Some(marked) = marked else { return Ok(None) };
    let of_task = |(asked, marked): (&TaskItems<'_>, Vec<MarkedItem>)| {
        let mains: Vec<f64> = marked.iter().map(|marked| marked.main).collect();
        TaskScores {
            rows: asked.task.aggregate(&marked, DRAWS),
            main: Estimate::of(&mains).expect("a task is asked one item or more"),
            mishaps: Mishaps::of(&marked),
            marked,
        }
    };
    Ok(Some(ModelScores {
        name: model.name(),
        tasks: asked.iter().zip(marked).map(of_task).collect(),
        began,
        seconds: clock.elapsed().as_secs_f64(),
        requests: total,
        answered,
    }))
}

/// Prints tables or JSON to standard output, and remarks to standard error.
fn show(args: &Eval, chosen: &eval_tasks::TaskChoice, asked: &[TaskItems<'_>], scored: &[ModelScores]) {
    let compared = comparison::all(asked, scored);
    let mut tables: Vec<String> = scored.iter().map(|one| table::of_model(asked, &chosen.suite.groups, one)).collect();
    tables.extend(table::of_comparisons(asked, scored, &compared));
    let tables = tables.join("\n\n");
    if matches!(args.json, Some(None)) {
        screen::data(&figures::json(&all_json(asked, scored, &compared)));
    } else {
        screen::data(&tables);
    }
    for (name, why) in &chosen.missing {
        screen::say(&format!("left out: {name}: {why}"));
    }
    for one in scored {
        let AnsweringCost { recalled, computed, .. } = one.answered;
        screen::say(&format!(
            "{}: {} {}, {} of them remembered; {} {} computed in {}",
            one.name,
            screen::grouped(one.requests as u64),
            screen::noun(one.requests, "answer"),
            screen::grouped(recalled as u64),
            screen::grouped(computed as u64),
            screen::noun(computed, "token"),
            screen::duration(one.seconds)
        ));
    }
}

/// JSON of the only model, or of all models and their comparisons.
fn all_json(asked: &[TaskItems<'_>], scored: &[ModelScores], compared: &[comparison::ModelComparison]) -> Value {
    let mut models: Vec<Value> = scored.iter().map(|one| model_json(asked, one)).collect();
    if models.len() == 1 {
        return models.pop().expect("there is one");
    }
    let comparisons: Vec<Value> = compared.iter().map(|one| one.json(asked, scored)).collect();
    json!({ "models": models, "comparisons": comparisons })
}

fn model_json(asked: &[TaskItems<'_>], scored: &ModelScores) -> Value {
    let each = || asked.iter().zip(&scored.tasks);
    let scores: Map<String, Value> = each()
        .map(|(asked, of)| {
            let mut value = json!({ "metric": asked.task.metric() });
            value.as_object_mut().expect("an object").extend(object(json!(of.main)));
            (asked.task.name().to_owned(), value)
        })
        .collect();
    let measures: Map<String, Value> =
        each().map(|(asked, of)| (asked.task.name().to_owned(), of.rows.iter().map(row_json).collect())).collect();
    let mishaps: Map<String, Value> =
        each().map(|(asked, of)| (asked.task.name().to_owned(), json!(of.mishaps))).collect();
    json!({ "name": scored.name, "scores": scores, "measures": measures, "mishaps": mishaps })
}

/// Scores of a task's parts; a part of a single item has no estimate.
fn parts_json(asked: &TaskItems<'_>, of: &TaskScores) -> Value {
    let parts = asked.task.parts(&of.marked);
    parts.map_or(Value::Null, |parts| {
        parts.scores.iter().map(|(part, scores)| (part.clone(), json!(Estimate::of(scores)))).collect()
    })
}

fn row_json(row: &MetricRow) -> Value {
    json!({
        "metric": row.metric, "filter": row.filter, "value": row.value, "stderr": row.stderr, "ci95": row.ci95, "n": row.n,
        "higher_is_better": row.higher_is_better,
    })
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
