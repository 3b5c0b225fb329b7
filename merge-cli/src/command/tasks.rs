//! `evomerge tasks`: lists the built-in benchmarks, their protocols, and whether the data is here.

use crate::{
    args::Tasks,
    draw::{screen, table},
    work::shelf::shelf,
};
use evaluator::{
    dataset::{Dataset, Shelf, Stock},
    protocol::{self, Builtin, PROTOCOLS, Protocol, SUITES, TASKS},
};
use merge_core::error::Result;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Default protocol of `--show`.
const USUAL: &str = "strict";

pub(crate) fn run(args: &Tasks) -> Result<()> {
    if let Some(task) = &args.show {
        let protocol = args.protocol.as_deref().unwrap_or(USUAL);
        screen::data(protocol::find(task, protocol)?.text.trim_end());
        return Ok(());
    }
    let protocols = match &args.protocol {
        Some(name) => vec![protocol::protocol(name)?],
        None => PROTOCOLS.to_vec(),
    };
    let shelf = shelf()?;
    let benchmarks = benchmarks(&protocols);
    if args.json {
        let tasks: Vec<Value> = benchmarks
            .iter()
            .flat_map(|(_, ways)| ways.iter().map(|(protocol, task)| describe(&shelf, protocol, task)))
            .collect();
        screen::data(&screen::json(&tasks));
        return Ok(());
    }
    let mut table = table::plain();
    table.set_header(["task", "data", "items", "shots", "metric", "licence", "protocols"]);
    for (name, ways) in &benchmarks {
        let task = ways[0].1;
        let dataset = task.dataset();
        let items = match items(dataset, task) {
            Some(rows) => screen::grouped(rows as u64),
            None => "?".to_owned(),
        };
        let row = [
            name.as_str(),
            here(&shelf, dataset),
            &items,
            &shots(ways),
            &metrics(ways),
            licence(dataset),
            &names(ways),
        ];
        table.add_row(row);
    }
    screen::data(&table::flush_left(&table));
    let suites: Vec<String> =
        SUITES.iter().map(|suite| format!("{} ({})", suite.name, suite.benchmarks.len())).collect();
    screen::say(&format!("\nsuites: {}", suites.join(", ")));
    for protocol in &protocols {
        screen::say(&format!("{:<15}  {}", protocol.name, protocol.about));
    }
    screen::say(
        "\n`--show TASK --protocol NAME` prints a task's file; `evomerge data fetch NAME` gets data; `--json` tells more",
    );
    Ok(())
}

/// Protocols that have a benchmark, and the benchmark's task in each.
type BenchmarkTasks = Vec<(Protocol, &'static Builtin)>;

/// Benchmarks in their usual order, with the protocols that have them.
fn benchmarks(protocols: &[Protocol]) -> Vec<(String, BenchmarkTasks)> {
    let mut all: Vec<(String, BenchmarkTasks)> = Vec::new();
    for task in TASKS.iter() {
        if all.iter().all(|(name, _)| *name != task.benchmark) {
            let ways = protocols.iter().filter_map(|protocol| Some((*protocol, protocol.task(&task.benchmark)?)));
            all.push((task.benchmark.clone(), ways.collect()));
        }
    }
    all.retain(|(_, ways)| !ways.is_empty());
    all
}

fn here(shelf: &Shelf, dataset: &Dataset) -> &'static str {
    match (shelf.stock(dataset), dataset.is_user_supplied()) {
        (Stock::Whole, _) => "here",
        (Stock::Part, _) => "partly",
        (Stock::None, false) => "-",
        (Stock::None, true) => "bring",
    }
}

/// Number of documents that are asked, if known.
fn items(dataset: &Dataset, task: &Builtin) -> Option<usize> {
    let split = dataset.splits.iter().find(|split| split.name == task.split());
    split.map(|split| split.rows).filter(|rows| *rows > 0)
}

/// Licence of a data set, without SPDX's prefix for licences that have no identifier.
fn licence(dataset: &Dataset) -> &'static str {
    let licence = dataset.source().licence;
    licence.strip_prefix("LicenseRef-").unwrap_or(licence)
}

/// Joins the distinct values, in order.
fn each(values: impl Iterator<Item = String>) -> String {
    let mut all: Vec<String> = Vec::new();
    for value in values {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all.join(" ")
}

fn shots(ways: &BenchmarkTasks) -> String {
    each(ways.iter().map(|(_, task)| task.value("num_fewshot").unwrap_or("0").to_owned()))
}

fn metrics(ways: &BenchmarkTasks) -> String {
    each(ways.iter().filter_map(|(_, task)| Some((*task.metrics().first()?).to_owned())))
}

/// Names of the protocols, such as `strict stability eleuther`: several of one family are one name.
fn names(ways: &BenchmarkTasks) -> String {
    if PROTOCOLS.iter().all(|protocol| ways.iter().any(|(other, _)| family(protocol) == family(other))) {
        return "all".to_owned();
    }
    let several = |protocol: &Protocol| ways.iter().filter(|(other, _)| family(protocol) == family(other)).count() > 1;
    each(ways.iter().map(|(protocol, _)| if several(protocol) { family(protocol) } else { protocol.name }.to_owned()))
}

/// First part of a protocol's name: `stability` for `stability-0.3`.
fn family(protocol: &Protocol) -> &'static str {
    protocol.name.split_once('-').map_or(protocol.name, |(family, _)| family)
}

fn describe(shelf: &Shelf, protocol: &Protocol, task: &Builtin) -> Value {
    let dataset = task.dataset();
    let source = dataset.source();
    let splits: BTreeMap<&str, Option<usize>> =
        dataset.splits.iter().map(|split| (split.name, Some(split.rows).filter(|rows| *rows > 0))).collect();
    json!({
        "task": task.benchmark,
        "protocol": protocol.name,
        "name": task.name,
        "dataset": dataset.name,
        "about": dataset.about,
        "here": shelf.stock(dataset) == Stock::Whole,
        "split": task.split(),
        "items": items(dataset, task),
        "splits": splits,
        "shots": task.value("num_fewshot").and_then(|shots| shots.parse::<usize>().ok()),
        "output_type": task.value("output_type"),
        "metrics": task.metrics(),
        "source": source.title,
        "url": source.url,
        "version": source.version,
        "licence": source.licence,
        "attribution": source.attribution,
    })
}
