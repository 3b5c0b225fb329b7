//! Seven tasks and their group, from YAML to results, compared with files that lm-evaluation-harness 0.4.13 wrote.

use super::{Fractions, Path, Split, Task, fs};
use crate::{
    request::{Answer, Ask, Fit, Likelihood, Request, Said},
    results::{RunInfo, TaskResult, files},
    shared::shared,
    task::{Benchmark, LocalFiles, MarkedItem, MetricRow, Suite, suite},
};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::{collections::HashMap, path::PathBuf};

/// A run of the harness: the files that it read and wrote.
struct Source {
    /// Folder in which the folder `tasks` is.
    folder: PathBuf,
    /// Folder of the files that it wrote.
    written: PathBuf,
    /// The tasks' name for the folder of their documents, and its path.
    documents: (&'static str, PathBuf),
    group: &'static str,
    /// Tasks that are not in the group.
    more: &'static [&'static str],
    model: &'static str,
    /// Time of writing, which is a part of the files' names.
    stamp: &'static str,
}

/// Documents and tasks that `benches/peers/lm_eval_files.py` made up for this test.
fn made_up() -> Source {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/lm_eval");
    let documents = ("documents", folder.join("documents"));
    let written = folder.join("written");
    Source {
        folder,
        written,
        documents,
        group: "made_up",
        more: &[],
        model: "hashing",
        stamp: "2026-11-29T00-00-00.000000",
    }
}

/// The harness's own tasks, with the first documents of the benchmarks.
fn benchmarks() -> Source {
    let folder = shared("conformance/evaluator/lm_eval_local");
    Source {
        documents: ("lm_eval_local", folder.clone()),
        written: folder.join("out"),
        folder,
        group: "local_ja_group",
        more: &["local_mgsm_direct_ja", "local_mgsm_native_cot_ja"],
        model: "rlq353g9",
        stamp: "2026-11-22T03-52-23.162403",
    }
}

/// A model that answers by hashing; generated text is looked up by its prompt.
struct Pseudo(HashMap<String, String>);

impl Pseudo {
    fn answer(&self, request: &Request) -> Answer {
        let prompt = request.prompt.text();
        let said = match &request.ask {
            Ask::Choose { choices } => {
                let likelihood = |choice: &String| {
                    let hash = Sha256::digest(format!("{prompt}\u{1f}{choice}"));
                    let h = u64::from_be_bytes(*hash.first_chunk().unwrap());
                    let log = -(h as f64 / 2_f64.powi(64)) * (1 + choice.chars().count()) as f64;
                    Likelihood { log, tokens: 1, greedy: h & 1 == 1 }
                };
                Said::Likelihoods(choices.iter().map(likelihood).collect())
            }
            Ask::Generate { .. } => {
                let text = self.0.get(&prompt).unwrap_or_else(|| panic!("no such prompt: {prompt}")).clone();
                Said::Text { text, tokens: 1, truncated: false }
            }
            Ask::Read { .. } => panic!("none of these tasks"),
        };
        Answer { said, fit: Fit::default(), broken: false, compared: None }
    }
}

struct Fixture {
    _dir: tempfile::TempDir,
    source: Source,
    suite: Suite,
    model: Pseudo,
}

/// Copies the tasks into a folder beside the documents that they name, and reads them.
fn fixture(source: Source) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(source.documents.1.canonicalize().unwrap(), dir.path().join(source.documents.0))
        .unwrap();
    for file in fs::read_dir(source.folder.join("tasks")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
    }
    let read = |name: &str| suite(&dir.path().join(format!("{name}.yaml")), Fractions::default(), &LocalFiles).unwrap();
    let mut all = read(source.group);
    all.tasks.extend(source.more.iter().flat_map(|name| read(name).tasks));
    let mut texts = HashMap::new();
    for task in &all.tasks {
        for line in lines(&samples(&source, task.name())) {
            if let (Some(prompt), Some(text)) =
                (line["arguments"]["gen_args_0"]["arg_0"].as_str(), line["resps"][0][0].as_str())
            {
                texts.insert(prompt.to_owned(), text.to_owned());
            }
        }
    }
    Fixture { _dir: dir, source, suite: all, model: Pseudo(texts) }
}

fn samples(source: &Source, task: &str) -> String {
    fs::read_to_string(source.written.join(format!("samples_{task}_{}.jsonl", source.stamp))).unwrap()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// All files of a run of these tasks.
fn run(fixture: &Fixture) -> Vec<(String, String)> {
    let marked = |task: &Benchmark| -> Vec<MarkedItem> {
        let items = task.split(Split::Report);
        let answers: Vec<Answer> = task.requests(items).iter().map(|request| fixture.model.answer(request)).collect();
        task.marked(items, &answers).unwrap()
    };
    let tasks = &fixture.suite.tasks;
    let all: Vec<Vec<MarkedItem>> = tasks.iter().map(marked).collect();
    let rows: Vec<Vec<MetricRow>> = tasks.iter().zip(&all).map(|(task, marked)| task.aggregate(marked, 1000)).collect();
    let evaluated = tasks.iter().zip(&all).zip(&rows).map(|((task, marked), rows)| TaskResult {
        task,
        marked,
        rows,
        available: task.split(Split::Report).len(),
        extra: json!({}),
    });
    let (model, stamp) = (fixture.source.model.to_owned(), fixture.source.stamp.to_owned());
    let run = RunInfo { model, stamp, draws: 100_000, ..RunInfo::default() };
    files(&run, &evaluated.collect::<Vec<_>>(), &fixture.suite.groups).unwrap()
}

/// Compares the keys, in order, and the values, apart from our own additions.
#[track_caller]
fn check(place: &str, ours: &Value, theirs: &Value) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let keys =
                |map: &Map<String, Value>| map.keys().filter(|key| *key != "evomerge").cloned().collect::<Vec<_>>();
            assert_eq!(keys(ours), keys(theirs), "{place}");
            theirs.iter().for_each(|(key, value)| check(&format!("{place}.{key}"), &ours[key], value));
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            assert_eq!(ours.len(), theirs.len(), "{place}");
            ours.iter()
                .zip(theirs)
                .enumerate()
                .for_each(|(i, (one, other))| check(&format!("{place}[{i}]"), one, other));
        }
        (Value::Number(one), Value::Number(other)) if one.is_f64() && other.is_f64() => {
            let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
            assert!((one - other).abs() <= 1e-12, "{place}: {one} is not {other}");
        }
        (one, other) => assert_eq!(one, other, "{place}"),
    }
}

/// Compares to the byte, apart from our own additions.
#[track_caller]
fn check_samples(source: Source) {
    let fixture = fixture(source);
    let files: HashMap<String, String> = run(&fixture).into_iter().collect();
    for task in &fixture.suite.tasks {
        let name = task.name();
        let theirs = samples(&fixture.source, name);
        let ours = &files[&format!("samples_{name}_{}.jsonl", fixture.source.stamp)];
        assert_eq!(ours.lines().count(), theirs.lines().count(), "{name}");
        for (i, (ours, theirs)) in ours.lines().zip(theirs.lines()).enumerate() {
            let (ours, _) = ours.rsplit_once(", \"evomerge\": ").unwrap();
            assert_eq!(format!("{ours}}}"), theirs, "{name} {i}");
        }
    }
}

#[track_caller]
fn check_results(source: Source) {
    let fixture = fixture(source);
    let files = run(&fixture);
    let (name, ours) = &files[0];
    let theirs = fs::read_to_string(fixture.source.written.join(name)).unwrap();
    let (mut ours, mut theirs): (Value, Value) =
        (serde_json::from_str(ours).unwrap(), serde_json::from_str(&theirs).unwrap());
    for all in [&mut ours, &mut theirs] {
        // Time, place and program of the run, and Python's source text.
        for key in ["date", "model_source", "total_evaluation_time_seconds"] {
            all[key] = Value::Null;
        }
        all["config"]["model"] = Value::Null;
        for (_, config) in all["configs"].as_object_mut().unwrap() {
            config["metadata"]["config_source"] = Value::Null;
            for key in ["process_docs", "process_results"] {
                config.as_object_mut().unwrap().entry(key).and_modify(|source| *source = Value::Null);
            }
            if config["fewshot_config"]["process_docs"].is_string() {
                config["fewshot_config"]["process_docs"] = Value::from("a function");
            }
        }
    }
    check("results", &ours, &theirs);
}

#[test]
fn writes_the_files_that_lm_eval_wrote() {
    check_samples(made_up());
    check_results(made_up());
}

#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn writes_the_files_of_benchmarks_that_lm_eval_wrote() {
    check_samples(benchmarks());
    check_results(benchmarks());
}
