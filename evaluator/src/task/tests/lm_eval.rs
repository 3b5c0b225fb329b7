//! The whole way of seven tasks and their group, from YAML to results, against files that lm-evaluation-harness 0.4.13 wrote.

use super::{Fractions, Path, Split, Task, fs};
use crate::{
    request::{Answer, Ask, Fit, Likelihood, Request, Said},
    results::{Evaluated, Run, files},
    shared::shared,
    task::{Benchmark, FilesOnly, Marked, MetricRow, Suite, suite},
};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::{collections::HashMap, path::PathBuf};

/// When the files were written: a part of their names.
const STAMP: &str = "2026-11-22T03-52-23.162403";

/// A model that answers by hashing; what it writes is looked up by the prompt.
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
    out: PathBuf,
    suite: Suite,
    model: Pseudo,
}

/// The tasks of the fixture in a folder where the files they name are; `None` where the fixture is not.
fn fixture() -> Option<Fixture> {
    let local = shared("conformance/evaluator/lm_eval_local")?;
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(&local, dir.path().join("lm_eval_local")).unwrap();
    for file in fs::read_dir(local.join("tasks")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
    }
    let mut all = suite(&dir.path().join("local_ja_group.yaml"), Fractions::default(), &FilesOnly).unwrap();
    for name in ["local_mgsm_direct_ja", "local_mgsm_native_cot_ja"] {
        let file = dir.path().join(format!("{name}.yaml"));
        all.tasks.extend(suite(&file, Fractions::default(), &FilesOnly).unwrap().tasks);
    }
    let out = local.join("out");
    let mut texts = HashMap::new();
    for task in &all.tasks {
        for line in lines(&samples(&out, task.name())) {
            if let (Some(prompt), Some(text)) =
                (line["arguments"]["gen_args_0"]["arg_0"].as_str(), line["resps"][0][0].as_str())
            {
                texts.insert(prompt.to_owned(), text.to_owned());
            }
        }
    }
    Some(Fixture { _dir: dir, out, suite: all, model: Pseudo(texts) })
}

fn samples(out: &Path, task: &str) -> String {
    fs::read_to_string(out.join(format!("samples_{task}_{STAMP}.jsonl"))).unwrap()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// All files of a run of these tasks.
fn run(fixture: &Fixture) -> Vec<(String, String)> {
    let marked = |task: &Benchmark| -> Vec<Marked> {
        let items = task.split(Split::Report);
        let answers: Vec<Answer> = task.requests(items).iter().map(|request| fixture.model.answer(request)).collect();
        task.marked(items, &answers)
    };
    let tasks = &fixture.suite.tasks;
    let all: Vec<Vec<Marked>> = tasks.iter().map(marked).collect();
    let rows: Vec<Vec<MetricRow>> = tasks.iter().zip(&all).map(|(task, marked)| task.aggregate(marked, 1000)).collect();
    let evaluated = tasks.iter().zip(&all).zip(&rows).map(|((task, marked), rows)| Evaluated {
        task,
        marked,
        rows,
        there: task.split(Split::Report).len(),
        ours: json!({}),
    });
    let run = Run { model: "rlq353g9".to_owned(), stamp: STAMP.to_owned(), draws: 100_000, ..Run::default() };
    files(&run, &evaluated.collect::<Vec<_>>(), &fixture.suite.groups)
}

/// The keys, in order, and the values must be the same; what is ours is left out.
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

#[test]
fn writes_the_samples_that_lm_eval_wrote() {
    let Some(fixture) = fixture() else { return };
    let files: HashMap<String, String> = run(&fixture).into_iter().collect();
    for task in &fixture.suite.tasks {
        let name = task.name();
        let theirs = samples(&fixture.out, name);
        let ours = &files[&format!("samples_{name}_{STAMP}.jsonl")];
        assert_eq!(ours.lines().count(), theirs.lines().count(), "{name}");
        for (i, (ours, theirs)) in ours.lines().zip(theirs.lines()).enumerate() {
            // To the byte, but for what is ours.
            let (ours, _) = ours.rsplit_once(", \"evomerge\": ").unwrap();
            assert_eq!(format!("{ours}}}"), theirs, "{name} {i}");
        }
    }
}

#[test]
fn writes_the_results_that_lm_eval_wrote() {
    let Some(fixture) = fixture() else { return };
    let files = run(&fixture);
    let (name, ours) = &files[0];
    let theirs = fs::read_to_string(fixture.out.join(name)).unwrap();
    let (mut ours, mut theirs): (Value, Value) =
        (serde_json::from_str(ours).unwrap(), serde_json::from_str(&theirs).unwrap());
    for all in [&mut ours, &mut theirs] {
        // When, where and by what; and Python's source text.
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
