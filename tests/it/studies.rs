//! Other studies than that of `search`: every optimizer, layer space, several stages and seeds,
//! mergekit's files.

use crate::{
    kit::{Dir, Said, family},
    search::small_study,
};
use merge_core::store::Store;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::{fs, thread::sleep, time::Duration};

const SEARCH: &[&str] = &["search", "search.yaml", "-o", "out"];

/// The small study with its `search` block changed.
fn study(optimizer: &str, more: &str) -> Dir {
    let dir = Dir::new();
    small_study(&dir);
    let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    let text = text.replace("{name: cma_es, population: 5}", optimizer).replace("budget: 240", "budget: 160");
    dir.write("search.yaml", text + more);
    dir
}

/// A search among the layers of two models.
fn layers(name: &str) -> String {
    let model = |name: &str| family().join(name).display().to_string();
    let hole = "use: {search: [false, true], init: 0.8}, scale: {search: [0.8, 1.25]}";
    format!(
        "merge_method: passthrough
base_model: {name}
path:
- {{model: {name}, layer_range: [0, 1]}}
- {{model: {name}, layer_range: [1, 5], {hole}}}
- {{model: {}, layer_range: [3, 5], {hole}}}
- {{model: {name}, layer_range: [5, 6]}}
dtype: bfloat16
search:
  budget: 300
  most_layers: 8
  racing: 2
  layer_scan: true
  objective: [{{task: sums.yaml, items: 8}}]
",
        model("math-a")
    )
}

fn json(dir: &Dir, name: &str) -> Value {
    serde_json::from_slice(&fs::read(dir.path(name)).unwrap()).unwrap()
}

/// Compares a study that runs through with the same study killed twice at random moments.
fn check(make: impl Fn() -> Dir, seed: u64) {
    let whole = make();
    let said = whole.run(SEARCH);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let killed = make();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for _ in 0..2 {
        let mut child = killed.command(SEARCH).spawn().unwrap();
        sleep(Duration::from_millis(rng.random_range(30..300)));
        child.kill().unwrap();
        Said::of(child.wait_with_output().unwrap());
    }
    let said = killed.run(SEARCH);
    assert_eq!(said.code, Some(0), "{}", said.err);
    for name in ["best.yaml", "result.json", "model/model.safetensors", "model/README.md"] {
        let of = |dir: &Dir| fs::read(dir.path("out").join(name)).unwrap();
        assert!(of(&whole) == of(&killed), "{name}");
    }
    let of = |dir: &Dir| Store::open(&dir.path("out/study")).unwrap().contents().unwrap();
    assert!(of(&whole) == of(&killed));
}

/// One optimizer of each kind of state: a distribution, a population, an archive. Tests in
/// `merge_core::study` prove without processes that all optimizers resume.
#[test]
fn optimizers_end_as_if_they_had_not_been_killed() {
    let all = [
        "{name: cma_es, restarts: ipop, population: 4}",
        "{name: nsga2, population: 6}",
        "{name: map_elites, population: 4, sigma: 0.05}",
    ];
    for (seed, optimizer) in all.into_iter().enumerate() {
        check(|| study(optimizer, "  minimise: [{what: tokens}]\n"), seed as u64);
    }
}

#[test]
fn a_search_among_layers_ends_as_if_it_had_not_been_killed() {
    let make = || {
        let dir = Dir::new();
        small_study(&dir);
        dir.write("search.yaml", layers(&family().join("ja").display().to_string()));
        dir
    };
    check(make, 5);
    let dir = make();
    let said = dir.run(SEARCH);
    assert!(said.out.contains("all layers, stacked"), "{}", said.out);
    // The answer is an ordinary checkpoint, which scores as reported.
    let eval = dir.run(&["eval", "out/model", "--json", "--tasks", "sums.yaml"]);
    let eval: Value = serde_json::from_str(&eval.out).unwrap();
    assert_eq!(eval["scores"], json(&dir, "out/result.json")["winner"]["scores"]);
}

/// Nearly all paths are too long, so random search finds none that is allowed.
#[test]
fn a_random_search_that_finds_nobody_is_told_of() {
    let dir = Dir::new();
    small_study(&dir);
    let text = layers(&family().join("ja").display().to_string());
    let text = text
        .replace("init: 0.8", "init: 0.05")
        .replace("most_layers: 8\n  racing: 2\n  layer_scan: true", "most_layers: 2");
    // There are 18 flags, and none may be set.
    let hop = text.lines().find(|line| line.contains("[1, 5]")).unwrap();
    dir.write("search.yaml", text.replace(hop, &[hop; 4].join("\n")));
    let said = dir.run(SEARCH);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.err.contains("random search with the same budget found no model"), "{}", said.err);
    assert!(!said.out.contains("random search"), "{}", said.out);
}

#[test]
fn the_answer_of_a_stage_is_a_model_of_the_next() {
    let dir = Dir::new();
    small_study(&dir);
    let first = fs::read_to_string(dir.path("search.yaml")).unwrap();
    dir.write("search.yaml", format!("name: mixed\n{first}---\n{}", layers("mixed")));
    let said = dir.run(SEARCH);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("│ mixed "), "{}", said.out);
    let stages = ["out/stages/mixed/result.json", "out/result.json"].map(|name| json(&dir, name));
    assert_eq!(stages[0]["winner"]["scores"]["mgsm-ja-mini"], stages[1]["parents"][0]["scores"]["mgsm-ja-mini"]);
    // The recipe has both documents, and makes the same checkpoint.
    assert_eq!(dir.run(&["merge", "out/best.yaml", "-o", "again"]).code, Some(0));
    let bytes = ["again", "out/model"].map(|model| fs::read(dir.path(model).join("model.safetensors")).unwrap());
    assert!(bytes[0] == bytes[1]);
    assert!(dir.run(SEARCH).err.contains("\n0 items scored now, "), "both stages are known");

    dir.write("search.yaml", format!("{}---\nname: mixed\n{first}", layers("mixed")));
    let said = dir.run(&["search", "search.yaml", "-o", "other"]);
    assert_eq!(said.code, Some(1));
    assert!(said.error().contains("a document that others merge needs a name"), "{}", said.err);
}

#[test]
fn several_seeds_report_their_spread() {
    let dir = study("cma_es", "");
    let said = dir.run(&[SEARCH, &["--seeds", "2"]].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("over 2 seeds"), "{}", said.out);
    let result = json(&dir, "out/result.json");
    let again = dir.run(&[SEARCH, &["--seeds", "2", "--json"]].concat());
    assert_eq!(serde_json::from_str::<Value>(&again.out).unwrap(), result, "nothing else is on standard output");
    assert_eq!(result["seeds"], serde_json::json!([3, 4]));
    let evolved = result["models"].as_array().unwrap().last().unwrap();
    let of = |seed: u64| {
        json(&dir, &format!("out/seed-{seed}/result.json"))["winner"]["scores"]["mgsm-ja-mini"]["value"]
            .as_f64()
            .unwrap()
    };
    let mean = evolved["scores"]["mgsm-ja-mini"]["mean"].as_f64().unwrap();
    assert!((mean - f64::midpoint(of(3), of(4))).abs() < 1e-12);
    dir.write("taken/other.txt", "mine");
    let said = dir.run(&["search", "search.yaml", "-o", "taken", "--seeds", "2"]);
    assert!(said.error().contains("taken: holds `other.txt`, which no search has written"), "{}", said.err);
}

#[test]
fn files_of_mergekit_evolve_are_searched() {
    let dir = Dir::new();
    small_study(&dir);
    let model = |name: &str| family().join(name).display().to_string();
    let text = format!(
        "genome:
  models: [{}, {}]
  merge_method: task_arithmetic
  base_model: {}
  layer_granularity: 3
  filters: [self_attn]
tasks: [{{name: sums.yaml, metric: 'exact_match,answer'}}]
limit: 8
",
        model("ja"),
        model("math-a"),
        model("base")
    );
    dir.write("evolve.yaml", &text);
    let run = |dir: &Dir| dir.run(&["search", "--from-mergekit", "evolve.yaml", "-o", "out", "--budget", "160"]);
    let said = run(&dir);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(json(&dir, "out/result.json")["study"]["dimensions"], 8, "two models, groups, and kinds of tensors");
    let workers = ["search", "--from-mergekit", "evolve.yaml", "-o", "workers", "--budget", "160", "--workers", "2"];
    let said = dir.run(&[&workers[..], &["--launch", "exec"]].concat());
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(json(&dir, "workers/result.json"), json(&dir, "out/result.json"));
    for (from, to, expected) in [
        (
            "task_arithmetic",
            "dare_tise",
            "evolve.yaml:3:17: genome.merge_method: mergekit-evolve has no method `dare_tise`",
        ),
        ("limit: 8", "limit: 8\nrandom_init: true", "evolve.yaml:9:14: random_init: this setting is not supported"),
        (
            "layer_granularity: 3",
            "layer_granularity: 4",
            "evolve.yaml:5:22: genome.layer_granularity: 6 layers do not fall into groups of 4",
        ),
    ] {
        dir.write("evolve.yaml", text.replace(from, to));
        let said = dir.run(&["search", "--from-mergekit", "evolve.yaml", "-o", "other"]);
        assert_eq!((said.code, said.error()), (Some(1), expected), "{}", said.err);
    }
}
