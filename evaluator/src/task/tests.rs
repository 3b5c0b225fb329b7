//! Task files in; requests, marks and refusals out.

use std::{fs, path::Path};

use super::{Benchmark, Fractions, ItemId, Split, Task, read};
use crate::request::Answer;

mod definitions;
mod items;
mod marking;

const GENERATE: &str = "task: sums\nkind: generate\nprompt: \"問題：{question}\\n答え：\"\nmax_tokens: 40\n";
const CHOOSE: &str = "task: sums\nkind: multiple_choice\nprompt: '{question}'\nchoices: {field: choices}\nanswer: {field: answer}\nitems: i.jsonl\n";

/// Only `report` takes items, so that one item is enough.
const REPORT_ONLY: Fractions = Fractions { search: 0.0, select: 0.0, report: 1.0 };

/// Reads the task in the first of `files` (names and texts); in an error the folder's name is left out.
fn task(files: &[(&str, &str)], fractions: Fractions) -> Result<Benchmark, String> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    let path = dir.path().join(files[0].0);
    read(&path, fractions).map_err(|e| {
        let hint = e.advice().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        format!("{e}{hint}").replace(&format!("{}/", dir.path().display()), "")
    })
}

/// A task and its items, all of one file.
fn of(definition: &str, items: &str) -> Result<Benchmark, String> {
    task(&[("t.yaml", definition), ("i.jsonl", items)], REPORT_ONLY)
}

/// Lines of sums whose questions are numbered.
fn sums(numbers: impl IntoIterator<Item = usize>) -> String {
    let line = |i: usize| format!("{{\"question\": \"{i}+1\", \"sum\": {}}}\n", i + 1);
    numbers.into_iter().map(line).collect::<Vec<_>>().concat()
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
