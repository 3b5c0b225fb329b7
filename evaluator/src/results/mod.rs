//! Results in the format of lm-evaluation-harness 0.4.13: `results_*.json` and `samples_*.jsonl`.
//!
//! Keys and their order are those of the harness; values that only this program has stand last, under `evomerge`.

mod config;
mod samples;

use crate::{
    evaluation::Mishaps,
    prompt::Conversation,
    python,
    task::{Benchmark, Group, MarkedItem, MetricRow, Tally, Task as _},
};
use merge_core::error::Result;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Version of lm-evaluation-harness whose format is written.
const LM_EVAL: &str = "0.4.13";

/// Results of one task.
pub struct TaskResult<'a> {
    /// The task.
    pub task: &'a Benchmark,
    /// Its marked items.
    pub marked: &'a [MarkedItem],
    /// Its metrics.
    pub rows: &'a [MetricRow],
    /// Number of items that could have been asked.
    pub available: usize,
    /// Values that only this program has, such as intervals.
    pub extra: Value,
}

/// Facts about a run other than its results.
#[derive(Clone, Debug, Default)]
pub struct RunInfo {
    /// Name of the model in tables.
    pub model: String,
    /// Arguments with which the model was opened.
    pub model_args: Value,
    /// Device on which the model ran.
    pub device: Option<String>,
    /// Form in which prompts became conversations, if they did.
    pub chat: Option<Conversation>,
    /// Most sequences side by side, if given.
    pub batch_size: Option<usize>,
    /// Number of items of each task, if not all.
    pub limit: Option<usize>,
    /// Number of bootstrap draws for a standard error.
    pub draws: usize,
    /// Start of the run, in seconds since the epoch.
    pub date: f64,
    /// The same time in the form for file names: `2026-11-22T03-52-23.162403`.
    pub stamp: String,
    /// Duration of the run, in seconds.
    pub seconds: f64,
    /// Values for the whole run that only this program has.
    pub extra: Value,
}

/// Names and texts of a run's files.
///
/// Fails if a chat template fails, which it does not for prompts that were asked.
pub fn files(run: &RunInfo, tasks: &[TaskResult<'_>], groups: &[Group]) -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    let mut hashes = Map::new();
    for task in tasks {
        let (lines, hash) = samples::lines(task, run.chat.as_ref())?;
        hashes.insert(task.task.name().to_owned(), hash.into());
        files.push((format!("samples_{}_{}.jsonl", task.task.name(), run.stamp), lines));
    }
    let all = results(run, tasks, groups, hashes);
    files.insert(0, (format!("results_{}.json", run.stamp), python::dumps(&all, Some(2))));
    Ok(files)
}

fn results(run: &RunInfo, tasks: &[TaskResult<'_>], groups: &[Group], hashes: Map<String, Value>) -> Value {
    let rows: BTreeMap<&str, &[MetricRow]> = tasks.iter().map(|task| (task.task.name(), task.rows)).collect();
    let mut results: Map<String, Value> = tasks.iter().map(of_task).collect();
    let sizes: BTreeMap<&str, usize> = tasks.iter().map(|task| (task.task.name(), task.marked.len())).collect();
    let of_groups: Vec<(String, Value)> = groups.iter().map(|group| of_group(group, &rows, &sizes)).collect();
    results.extend(of_groups.iter().cloned());
    let aggregated = of_groups.into_iter().zip(groups).filter(|(_, group)| group.has_aggregate());
    let aggregated: Map<String, Value> = aggregated.map(|(result, _)| result).collect();
    let name = |task: &TaskResult<'_>| task.task.name().to_owned();

    let mut versions: BTreeMap<String, Value> = tasks.iter().map(|task| (name(task), task.task.version())).collect();
    versions.extend(groups.iter().map(|group| (group.name.clone(), Value::from(group.version.as_str()))));
    let mut shots: BTreeMap<String, Value> =
        tasks.iter().map(|task| (name(task), task.task.n_shots().into())).collect();
    let mut better: BTreeMap<String, Value> =
        tasks.iter().map(|task| (name(task), task.task.higher_is_better())).collect();
    for group in groups {
        let known: Vec<&Value> = group.children.iter().filter_map(|child| shots.get(child)).collect();
        if let Some(first) = known.first().filter(|first| known.iter().all(|one| one == *first)) {
            shots.insert(group.name.clone(), (*first).clone());
        }
        let known = group.children.iter().filter_map(|child| better.get(child)?.as_object());
        let mut all = Map::new();
        for (metric, higher) in known.flatten() {
            all.entry(metric)
                .and_modify(|known| *known = if known == higher { higher.clone() } else { Value::Null })
                .or_insert_with(|| higher.clone());
        }
        if !all.is_empty() {
            better.insert(group.name.clone(), all.into());
        }
    }
    let configs: BTreeMap<String, Value> = tasks.iter().map(|task| (name(task), task.task.config())).collect();
    let mut all = Map::new();
    let mut put = |key: &str, value: Value| drop(all.insert(key.to_owned(), value));
    put("results", results.into());
    if !aggregated.is_empty() {
        put("groups", aggregated.into());
    }
    put("group_subtasks", groups.iter().map(|group| (group.name.clone(), json!(group.children))).collect());
    put("configs", configs.into_iter().collect());
    put("versions", versions.into_iter().collect());
    put("n-shot", shots.into_iter().collect());
    put("higher_is_better", better.into_iter().collect());
    let samples =
        |task: &TaskResult<'_>| (name(task), json!({"original": task.available, "effective": task.marked.len()}));
    put("n-samples", tasks.iter().map(samples).collect());
    put(
        "config",
        json!({
            "model": "evomerge",
            "model_args": run.model_args,
            "batch_size": run.batch_size,
            "batch_sizes": [],
            "device": run.device,
            "use_cache": null,
            "limit": run.limit,
            "bootstrap_iters": run.draws,
            "gen_kwargs": null,
            "random_seed": 0,
            "numpy_seed": 1234,
            "torch_seed": 1234,
            "fewshot_seed": 1234,
        }),
    );
    put("git_hash", Value::Null);
    put("date", json!(run.date));
    put("pretty_env_info", "N/A (torch not installed)".into());
    put("transformers_version", "N/A".into());
    put("lm_eval_version", LM_EVAL.into());
    put("upper_git_hash", Value::Null);
    put("task_hashes", hashes.into());
    put("model_source", "evomerge".into());
    put("model_name", run.model.as_str().into());
    let plain = |c: char| {
        if matches!(c, '"' | '<' | '>' | ':' | '/' | '|' | '\\' | '?' | '*' | '[' | ']') {
            "__".to_owned()
        } else {
            c.into()
        }
    };
    put("model_name_sanitized", run.model.chars().map(plain).collect::<String>().into());
    // The harness has null as the hash of an empty text.
    let sha = |text: Option<&str>| json!(text.filter(|text| !text.is_empty()).map(samples::sha256));
    let system = run.chat.as_ref().and_then(Conversation::system);
    let template = run.chat.as_ref().map(Conversation::template);
    put("system_instruction", json!(system));
    put("system_instruction_sha", sha(system));
    // The harness's default, with a template or without.
    put("fewshot_as_multiturn", Value::Bool(true));
    put("chat_template", json!(template));
    put("chat_template_sha", sha(template));
    put("total_evaluation_time_seconds", python::float(run.seconds).into());
    let mut extra = run.extra.as_object().cloned().unwrap_or_default();
    extra.insert("version".to_owned(), env!("CARGO_PKG_VERSION").into());
    extra.insert("tasks".to_owned(), tasks.iter().map(|task| (name(task), extra_of_task(task))).collect());
    put("evomerge", extra.into());
    all.into()
}

/// Values that lm-evaluation-harness has no key for: the fit of prompts, the number of right
/// answers by the rule of each harness, and the documents on which the rules disagree.
fn extra_of_task(task: &TaskResult<'_>) -> Value {
    let mut extra = task.extra.as_object().cloned().unwrap_or_default();
    extra.insert("fit".to_owned(), json!(Mishaps::of(task.marked)));
    if let Some(Tally { right, disagree }) = Tally::of(task.marked) {
        let right: Map<String, Value> =
            right.into_iter().map(|(rule, items)| (rule.to_owned(), items.into())).collect();
        extra.insert("rules".to_owned(), json!({ "right": right, "disagree": disagree }));
    }
    extra.into()
}

fn of_task(task: &TaskResult<'_>) -> (String, Value) {
    let name = task.task.name();
    let mut result = Map::new();
    result.insert("name".to_owned(), name.into());
    result.insert("alias".to_owned(), task.task.alias().unwrap_or(name).into());
    result.insert("sample_len".to_owned(), task.marked.len().into());
    measures(&mut result, task.rows);
    (name.to_owned(), result.into())
}

fn of_group(group: &Group, rows: &BTreeMap<&str, &[MetricRow]>, sizes: &BTreeMap<&str, usize>) -> (String, Value) {
    let mut result = Map::new();
    result.insert("alias".to_owned(), group.alias.as_deref().unwrap_or(&group.name).into());
    result.insert("name".to_owned(), group.name.as_str().into());
    if group.has_aggregate() {
        let size: usize = group.leaves.iter().filter_map(|leaf| sizes.get(leaf.as_str())).sum();
        result.insert("sample_len".to_owned(), size.into());
        let own = group.aggregate(rows);
        measures(&mut result, &own);
        let counts: Map<String, Value> =
            own.iter().map(|row| (format!("{},{}", row.metric, row.filter), row.n.into())).collect();
        if !counts.is_empty() {
            result.insert("sample_count".to_owned(), counts.into());
        }
    }
    (group.name.clone(), result.into())
}

fn measures(result: &mut Map<String, Value>, rows: &[MetricRow]) {
    for MetricRow { metric, filter, value, stderr, .. } in rows {
        result.insert(format!("{metric},{filter}"), json!(value));
        result.insert(format!("{metric}_stderr,{filter}"), stderr.map_or_else(|| "N/A".into(), |stderr| json!(stderr)));
    }
}
