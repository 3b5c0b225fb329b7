//! Task files in; requests, marks and refusals out.

use std::{fs, path::Path};

use super::{Benchmark, Fractions, ItemId, ItemScore, LocalFiles, Split, Suite, Task, read, suite};
use crate::request::{Answer, Ask, Fit, Likelihood, Limit, Request, Said};

mod definitions;
mod groups;
mod items;
mod lm_eval;
mod marking;
mod prompts;

const GENERATE: &str = r#"task: sums
dataset_path: json
dataset_kwargs: {data_files: {test: i.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "問題：{{question}}\n答え："
doc_to_target: sum
generation_kwargs: {until: [], max_gen_toks: 40}
"#;
const CHOOSE: &str = r"task: sums
dataset_path: json
dataset_kwargs: {data_files: {test: i.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: '{{question}}'
doc_to_target: answer
doc_to_choice: choices
";

/// Reads the task in the first of `files` (names and texts). Errors omit the folder's name.
fn task(files: &[(&str, &str)], fractions: Fractions) -> Result<Benchmark, String> {
    in_folder(files, |path| read(path, fractions))
}

/// Writes `files` to a folder of their own, and reads the first of them. Errors omit the folder's name.
fn in_folder<T>(files: &[(&str, &str)], read: impl Fn(&Path) -> merge_core::error::Result<T>) -> Result<T, String> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    read(&dir.path().join(files[0].0)).map_err(|e| {
        let hint = e.advice().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        format!("{e}{hint}").replace(&format!("{}/", dir.path().display()), "")
    })
}

/// Reads a task whose items are all in one file.
fn of(definition: &str, items: &str) -> Result<Benchmark, String> {
    task(&[("t.yaml", definition), ("i.jsonl", items)], Fractions::default())
}

/// Items whose questions are numbered sums, one on each line.
fn sums(numbers: impl IntoIterator<Item = usize>) -> String {
    let line = |i: usize| format!("{{\"question\": \"{i}+1\", \"sum\": {}}}\n", i + 1);
    numbers.into_iter().map(line).collect::<Vec<_>>().concat()
}

/// A generated answer.
fn text(text: &str) -> Answer {
    Answer {
        said: Said::Text { text: text.into(), tokens: 7, truncated: false },
        fit: Fit::default(),
        broken: false,
        compared: None,
    }
}

/// An answer with these log-likelihoods of choices.
fn logs(logs: &[f64]) -> Answer {
    let all = logs.iter().map(|log| Likelihood { log: *log, tokens: 1, greedy: false });
    Answer { said: Said::Likelihoods(all.collect()), fit: Fit::default(), broken: false, compared: None }
}

/// The prompts of a task's report items.
fn prompts(task: &Benchmark) -> Vec<String> {
    task.requests(task.split(Split::Report)).iter().map(|request| request.prompt.text()).collect()
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
