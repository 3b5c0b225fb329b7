//! The built-in tasks, compared with the prompts of the harnesses that they follow.

mod eleuther;
mod marks;

use super::*;
use crate::{
    request::{Ask, Encoding, Limit, Pairs, SequenceStart},
    shared::shared,
    task::{Split, Task as _},
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
};

fn shelf() -> Shelf {
    Shelf::at(shared("data"))
}

/// Documents in the form of the benchmarks', made up by `benches/peers/lm_eval_files.py`.
struct MadeUp;

impl Datasets for MadeUp {
    fn open(&self, path: &str, _: Option<&str>) -> Result<Option<Vec<(String, Vec<Value>)>>> {
        // JNLI and JSQuAD have no train split on a shelf: their `test` takes the harness's train documents.
        let (name, splits): (&str, &[(&str, &str)]) = match path {
            "evomerge/jcommonsenseqa" => ("commonsense", &[("train", "train"), ("validation", "validation")]),
            "evomerge/jnli" => ("entailment", &[("test", "train"), ("validation", "validation")]),
            "evomerge/jsquad" => ("reading", &[("test", "train"), ("validation", "validation")]),
            "evomerge/mgsm-ja" => ("problems", &[("train", "train"), ("test", "test")]),
            "evomerge/xwinograd-ja" => ("winograd", &[("test", "test")]),
            _ => return Ok(None),
        };
        let read = |(split, file): &(&str, &str)| {
            let text = fs::read_to_string(made_up(&format!("documents/{name}.{file}.jsonl"))).unwrap();
            ((*split).to_owned(), text.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
        };
        Ok(Some(splits.iter().map(read).collect()))
    }
}

fn made_up(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/lm_eval").join(file)
}

#[test]
fn every_task_has_a_name_of_its_own_and_data() {
    let names: BTreeSet<&str> = TASKS.iter().map(|task| task.name.as_str()).collect();
    assert_eq!(names.len(), TASKS.len());
    assert!(!names.contains(""));
    for task in TASKS.iter() {
        let dataset = task.dataset();
        assert!(dataset.splits.iter().any(|split| split.name == task.split()), "{}", task.name);
        assert_eq!(task.value("licence"), Some(dataset.source().licence), "{}", task.name);
        assert_eq!(task.value("protocol"), Some(task.folder), "{}", task.name);
        assert!(!task.metrics().is_empty(), "{}", task.name);
    }
}

#[test]
fn protocols_choose_the_prompts_they_were_published_with() {
    let name = |task: &str, protocol: &str| find(task, protocol).unwrap().name.clone();
    for (task, protocol, wanted) in [
        ("jcommonsenseqa", "stability-0.2", "jcommonsenseqa-1.1-0.2"),
        ("jcommonsenseqa", "stability-0.2.1", "jcommonsenseqa-1.1-0.2.1"),
        ("jnli", "stability-0.2.1", "jnli-1.3-0.2"),
        ("mgsm-ja", "stability-0.2", "mgsm-1.0-0.0"),
        ("xwinograd-ja", "stability-0.6", "xwinograd_ja"),
        ("jsquad", "stability-0.3", "jsquad-1.1-0.3"),
        ("jsquad-1.2", "stability-0.3", "jsquad-1.2-0.3"),
        ("jsquad-1.2-0.3", "strict", "jsquad-1.2-0.3"),
        ("mgsm-ja", "sakana", "sakana_mgsm_ja"),
        ("mgsm-native-cot-ja", "eleuther", "mgsm_native_cot_ja"),
    ] {
        assert_eq!(name(task, protocol), wanted, "{task} {protocol}");
    }
    let error = find("jnli", "sakana").unwrap_err();
    assert_eq!(error.to_string(), "the protocol sakana has no jnli");
    assert!(error.advice().unwrap().starts_with("these protocols have it: strict, stability-0.2, "), "{error:?}");
    assert!(find("jnil", "strict").unwrap_err().advice().unwrap().contains("did you mean `jnli`?"));
    assert!(find("jnli", "stabillity-0.3").unwrap_err().advice().unwrap().contains("did you mean `stability-0."));
}

/// A shelf recognises its files by names and lengths.
#[test]
fn a_suite_names_what_it_leaves_out() {
    let dir = tempfile::tempdir().unwrap();
    let shelf = Shelf::at(dir.path());
    for name in ["jcommonsenseqa", "jnli", "jsquad", "xwinograd-ja", "mgsm-ja"] {
        for file in crate::dataset::dataset(name).unwrap().files() {
            fs::create_dir_all(shelf.path(&file).parent().unwrap()).unwrap();
            File::create(shelf.path(&file)).unwrap().set_len(file.known[0].bytes).unwrap();
        }
    }
    let chosen = choose(&["jp-lmeh"], "stability-0.3", &shelf).unwrap();
    let names: Vec<&str> = chosen.tasks.iter().map(|task| task.name.as_str()).collect();
    assert_eq!(names, ["jcommonsenseqa-1.1-0.3", "jnli-1.3-0.3", "jsquad-1.1-0.3", "xwinograd_ja", "mgsm-1.0-0.3"]);
    let missing: Vec<&str> = chosen.missing.iter().map(|(name, _)| *name).collect();
    assert_eq!(missing, ["marc-ja", "jaqket-v2", "xlsum-ja"]);
    assert!(chosen.missing[0].1.contains("cannot be downloaded"));
    let empty = Shelf::at("/nowhere");
    let error = choose(&["jp-lmeh"], "stability-0.3", &empty).unwrap_err();
    let hint = error.advice().unwrap();
    assert!(
        hint.starts_with("`evomerge data fetch jcommonsenseqa jnli jsquad xwinograd-ja mgsm-ja` gets it"),
        "{hint}"
    );
    assert!(choose(&["marc-ja"], "strict", &empty).unwrap_err().advice().unwrap().contains("--from DIR"));
}

#[test]
fn shots_of_the_suite_are_those_of_the_leaderboard() {
    let shots: Vec<&str> = SUITES[0]
        .benchmarks
        .iter()
        .map(|benchmark| find(benchmark, "stability-0.3").unwrap().value("num_fewshot").unwrap())
        .collect();
    assert_eq!(shots, ["3", "3", "3", "2", "1", "1", "0", "5"]);
}

/// All 87 contexts of Stability AI's own task classes: prompts, draws, order and requests.
#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn prompts_are_those_of_stability_to_the_byte() {
    let (shelf, path) = (shelf(), shared("conformance/evaluator/stability_prompts_golden.jsonl"));
    let text = fs::read_to_string(path).unwrap();
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 87);
    let mut read: Option<(String, Benchmark)> = None;
    for row in rows {
        let name = row["task"].as_str().unwrap();
        if read.as_ref().is_none_or(|(known, _)| known != name) {
            let builtin = find(name, "stability-0.3").unwrap();
            assert_eq!(builtin.value("num_fewshot").unwrap(), row["num_fewshot"].to_string(), "{name}");
            read = Some((name.to_owned(), builtin.read(Fractions::default(), &shelf).unwrap()));
        }
        let task = &read.as_ref().unwrap().1;
        let id = task.split(Split::Report)[row["order"].as_u64().unwrap() as usize];
        let doc = task.doc(id);
        let place = format!("{name} {}", row["order"]);
        // The harness's own names of fields, or the document's index.
        match &row["key"] {
            Value::String(key) => {
                let known = ["question", "sentence1", "id"].iter().any(|field| doc.get(*field) == Some(&row["key"]));
                assert!(known, "{place}: {key} in {doc:?}");
            }
            key => {
                let docs = shelf.docs(find(name, "stability-0.3").unwrap().dataset(), "test").unwrap();
                assert_eq!(docs[key.as_u64().unwrap() as usize]["question"], doc["question"], "{place}");
            }
        }
        let requests = task.requests(&[id]);
        let [request] = &requests[..] else { panic!("{place}: one request") };
        assert_eq!(request.prompt.text(), row["ctx"].as_str().unwrap(), "{place}");
        assert_eq!(request.encoding, Encoding { pairs: Pairs::Separate, bare: true, start: SequenceStart::Eos });
        let wanted = row["requests"].as_array().unwrap();
        match &request.ask {
            Ask::Choose { choices } => {
                let wanted: Vec<&str> = wanted.iter().map(|request| request[2].as_str().unwrap()).collect();
                assert_eq!(choices, &wanted, "{place}");
            }
            Ask::Generate { stop, limit } => {
                // `</s>` ends a sequence of the tokenizer used there; models end there anyway.
                let until = wanted[0][2].as_array().unwrap().iter().map(|text| text.as_str().unwrap());
                assert_eq!(stop, &until.filter(|text| *text != "</s>").collect::<Vec<_>>(), "{place}");
                // In the references, a token is a character.
                let most = match limit {
                    Limit::Tokens(tokens) => *tokens,
                    Limit::LongestOf(golds, more) => {
                        golds.iter().map(|gold| gold.chars().count()).max().unwrap() + more
                    }
                };
                assert_eq!(most as u64, wanted[0][3].as_u64().unwrap(), "{place}");
            }
            Ask::Read { .. } => panic!("{place}: nothing is read"),
        }
    }
}

/// Every built-in task can be read if its data is here: its templates, functions and measures fit.
#[test]
#[cfg_attr(not(has_shared), ignore = "needs benchmark data, which ../shared or EVOMERGE_SHARED has")]
fn every_task_reads_its_data() {
    let shelf = shelf();
    // The files of a benchmark's prompts are alike, and some take long: one of each kind is enough.
    let seen = &mut BTreeSet::new();
    let tasks = TASKS.iter().filter(|task| !task.dataset().is_user_supplied());
    for task in tasks.filter(|task| seen.insert((task.folder, task.dataset().name, task.value("output_type")))) {
        let read = task.read(Fractions::default(), &shelf).unwrap_or_else(|error| panic!("{}: {error}", task.name));
        let rows = task.dataset().splits.iter().find(|split| split.name == task.split()).unwrap().rows;
        assert_eq!(read.split(Split::Report).len() + read.duplicates(), rows, "{}", task.name);
        assert_eq!(read.licence(), Some(task.dataset().source().licence));
        if task.folder == "strict" {
            // Text that all documents share is computed once.
            let ids = read.split(Split::Report);
            let requests = read.requests(&[ids[0], ids[ids.len() - 1]]);
            let [first, last] = [&requests[0], &requests[requests.len() - 1]];
            assert_eq!(
                (&first.prompt.head, &first.prompt.shots),
                (&last.prompt.head, &last.prompt.shots),
                "{}",
                task.name
            );
            assert_eq!(first.encoding.pairs, Pairs::Common, "{}", task.name);
            assert!(!matches!(first.ask, Ask::Generate { limit: Limit::LongestOf(..), .. }), "{}", task.name);
        }
    }
}
