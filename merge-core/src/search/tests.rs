//! Search files, their errors word for word, broken texts, and the schema.

use std::collections::BTreeSet;

use super::*;

const GOOD: &str = "# comment
merge_method: ties
base_model: base
models:
  - model: base
  - model: math
    parameters:
      weight: {search: [0.0, 1.5], init: 0.5}
      density: {search: [0.1, 1.0], groups: 4}
  - model: \"チャット\"
    parameters: &p
      weight: {search: [0.0, 1.5], per: layer}
      density: [{filter: mlp, value: [0.1, 0.9]}, {value: 1e-1}]
parameters:
  normalize: false
dtype: bfloat16
search:
  optimizer: {name: cma_es, learning_rate_adaptation: true, sigma: 0.1667, population: 12}
  budget: 30000
  seed: 1
  device: cpu
  objective:
    - task: tasks/mgsm.yaml
      items: 60
      weight: 1.0
      split: {search: 0.6, select: 0.2, report: 0.2}
  report: [tasks/ja.yaml]
";

fn parse(text: &str) -> Result<SearchFile> {
    SearchFile::parse(text, Path::new("s.yaml"))
}

fn check(good: &str, bad: &str, expected: &str) {
    assert!(GOOD.contains(good), "{good} is in the file");
    let error = parse(&GOOD.replacen(good, bad, 1)).expect_err(bad);
    assert_eq!(error.to_string(), expected, "{bad}");
}

#[test]
fn refuses_what_cannot_be_searched() {
    check("budget: 30000", "budget: 0", "s.yaml:19:11: search.budget: it must be at least 1");
    check("budget: 30000", "budget: -1", "s.yaml:19:11: search.budget: expected a whole number from 0 up, found -1");
    check("budget: 30000", "budget: 3.5", "s.yaml:19:11: search.budget: expected a whole number from 0 up, found 3.5");
    check("  budget: 30000\n", "", "s.yaml:18:3: search: `budget` is missing");
    check("budget", "budgte", "s.yaml:19:3: search: there is no key `budgte`");
    check(
        "weight: 1.0\n      split",
        "weight: -1\n      split",
        "s.yaml:25:15: search.objective[0].weight: -1 is not more than 0",
    );
    check("0.1667", "0", "s.yaml:18:68: search.optimizer.sigma: 0 is not more than 0 and at most 1");
    check(
        "population: 12",
        "population: 1000000000",
        "s.yaml:18:88: search.optimizer.population: 1000000000 is more than 10000",
    );
    check(
        "budget: 30000",
        "budget: 1000000000001",
        "s.yaml:19:11: search.budget: 1000000000001 evaluations are more than 1000000000000",
    );
    check("population: 12", "population: 3", "s.yaml:18:88: search.optimizer.population: 3 is less than 4");
    check("name: cma_es", "name: cmaes", "s.yaml:18:21: search.optimizer.name: `cmaes` is not known here");
    check(
        "name: cma_es",
        "name: random",
        "s.yaml:18:55: search.optimizer.learning_rate_adaptation: random search has no such setting",
    );
    check(
        "report: 0.2}",
        "report: 0.3}",
        "s.yaml:26:14: search.objective[0].split: the fractions sum to 1.1, not to 1",
    );
    check(
        "normalize: false",
        "normalize: {search: [0, 1]}",
        "s.yaml:15:23: parameters.normalize.search: this is true or false, not a number",
    );
    check("[0.1, 1.0]", "[0.1, 2]", "s.yaml:9:25: models[1].parameters.density.search: 2 is not between 0 and 1");
    check(
        "  seed: 1\n",
        "  anchors: {of: 100}\n  racing: true\n",
        "s.yaml:20:12: search.anchors: a race gives candidates different numbers of items, anchors the same to all",
    );
    check(
        "  seed: 1\n  device: cpu\n  objective:\n    - task: tasks/mgsm.yaml\n      items: 60",
        "  anchors: {}\n  objective:\n    - task: tasks/mgsm.yaml\n      items: {from: 15, to: 60}",
        "s.yaml:20:12: search.anchors: anchors are chosen once, but the items of tasks/mgsm.yaml grow",
    );
    check(
        "  seed: 1\n",
        "  anchors: {calibration: -1}\n",
        "s.yaml:20:26: search.anchors.calibration: expected a whole number from 0 up, found -1",
    );
    let whole = GOOD.find("search:\n").expect("a block");
    check(&GOOD[whole..], "", "s.yaml:2:1: this file has no `search` block");
    let text = GOOD.replace("{search: [0.0, 1.5], init: 0.5}", "1").replace("{search: [0.1, 1.0], groups: 4}", "1");
    let text = text.replace("{search: [0.0, 1.5], per: layer}", "1");
    let error = parse(&text).expect_err("no hole");
    assert_eq!(error.to_string(), "s.yaml:18:3: there is nothing to search, as no parameter is a hole");
    let base = GOOD.replace("- model: base\n", "- model: base\n    parameters: {weight: {search: [0, 1]}}\n");
    let error = parse(&base).expect_err("a hole in the base");
    assert!(error.to_string().contains("models[0].parameters.weight: a parameter of the base model has no"), "{error}");
    let error = Recipe::parse(GOOD, Path::new("s.yaml")).expect_err("a search");
    assert_eq!(error.to_string(), "s.yaml:18:3: this file is a search, not a recipe");
    assert_eq!(error.advice(), Some("`evomerge search s.yaml` runs it"));
}

#[test]
fn fills_in_defaults() {
    let text = GOOD.find("search:\n").map(|at| &GOOD[..at]).expect("a block");
    let search = "search: {optimizer: random, budget: 9, objective: [{task: x}]}";
    let search = parse(&format!("{text}{search}")).expect("a good search").search;
    assert_eq!(search.optimizer.name, Some(Algorithm::Random));
    assert_eq!((search.seed, search.device.as_str()), (1, "cpu"));
    assert_eq!((search.objective[0].items.value, search.objective[0].weight()), (Items { from: 60, to: 60 }, 1.0));
    let plain = parse(&format!("{text}search: {{budget: 9, objective: [{{task: x}}]}}")).expect("a good search").search;
    assert_eq!((plain.optimizer.name, plain.optimizer.learning_rate_adaptation()), (None, true));
}

#[test]
fn judges_stand_beside_tasks() {
    let judge = "{command: [./score.sh, \"{model}\"], name: j}";
    let text = GOOD.replace("[tasks/ja.yaml]", &format!("[tasks/ja.yaml, {judge}]"));
    let text =
        text.replace("  seed: 1\n", "  constraints: [{service: \"http://x\", name: k, items: k.jsonl, within: 0.1}]\n");
    let search = parse(&text).expect("a good search").search;
    let names: Vec<&str> = search.entries().map(|entry| entry.name().as_str()).collect();
    assert_eq!(names, ["tasks/mgsm.yaml", "k", "tasks/ja.yaml", "j"]);
    let items: Vec<usize> = search.entries().map(|entry| entry.items.to).collect();
    assert_eq!((items, search.has_judges()), (vec![60, 60, 60, 1], true));
    check("[tasks/ja.yaml]", "[{task: x, weight: 1}]", "s.yaml:27:30: search.report[0].weight: it has no effect here");
    check("  seed: 1\n", "  constraints: [{task: x}]\n", "s.yaml:20:24: search.constraints[0]: `within` is missing");
    check("[tasks/ja.yaml]", "[{name: x}]", "s.yaml:27:12: search.report[0]: `task` is missing");
}

/// A small random number generator, the same in every run, and good enough to break texts with.
fn draw(state: &mut u64, below: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize % below
}

#[test]
fn answers_any_text_with_a_place() {
    let junk = [
        "",
        " ",
        "\n",
        "\t",
        ":",
        "-",
        "- ",
        "[",
        "]",
        "{",
        "}",
        "&a ",
        "*a",
        "!!int ",
        "!x ",
        "|",
        ">",
        "'",
        "\"",
        "#",
        "0",
        "-1",
        "1e999",
        ".nan",
        "null",
        "~",
        "true",
        "日本",
        "\u{0}",
        "\u{feff}",
        "\r",
        "---\n",
        "<<: *p",
        "99999999999999999999999",
        "search",
        "weight",
        "%",
        "@",
        "? ",
    ];
    let letters: Vec<char> = GOOD.chars().collect();
    let (mut state, mut refused) = (1, 0);
    for round in 0..4000 {
        let mut text = letters.clone();
        for _ in 0..=draw(&mut state, 3) {
            let at = draw(&mut state, text.len());
            let end = (at + draw(&mut state, 12)).min(text.len());
            text.splice(at..end, junk[draw(&mut state, junk.len())].chars());
            if round % 5 == 0 {
                text.truncate(draw(&mut state, text.len().max(1)) + 1);
            }
            if text.is_empty() {
                break;
            }
        }
        let text: String = text.into_iter().collect();
        if let Err(error) = parse(&text) {
            refused += 1;
            let message = error.to_string();
            let mut parts = message.split(':').skip(1);
            let numbers = [parts.next(), parts.next()].map(|part| part.and_then(|part| part.parse::<u32>().ok()));
            assert!(matches!(numbers, [Some(1..), Some(1..)]), "{message}\n{text}");
            assert!(!message.contains("invalid type") && !message.contains("struct "), "{message}");
        }
    }
    assert!(refused > 1000, "{refused} were refused");
    let deep = "[".repeat(100_000);
    assert!(parse(&deep).is_err() && parse(&format!("merge_method: {deep}")).is_err());
}

/// The keys that the parser lists when it meets an unknown one.
fn known(text: &str) -> BTreeSet<String> {
    let error = parse(text).expect_err(text);
    let hint = error.advice().expect("a hint").to_string();
    let list = hint.split("known keys here: ").nth(1).expect(&hint);
    list.split(", ").map(|key| key.trim_matches('`').to_string()).collect()
}

#[test]
fn the_schema_has_the_keys_that_the_parser_accepts() {
    let schema = schema();
    let keys = |object: &serde_json::Value| -> BTreeSet<String> {
        assert_eq!(object["additionalProperties"], false);
        object["properties"].as_object().expect("an object").keys().cloned().collect()
    };
    let of = |name: &str| keys(&schema["$defs"][name]);
    let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let zzz = |good: &str, bad: &str| known(&GOOD.replacen(good, bad, 1));
    let top_zzz = |bad: &str| zzz("dtype: bfloat16", bad);
    let mut top = zzz("merge_method", "zzz");
    top.insert("search".to_string());
    assert_eq!(keys(&schema), top);
    assert_eq!(of("Model"), zzz("- model: math", "- zzz: math"));
    assert_eq!(of("RandomSettings"), top_zzz("random: {zzz: 1}"));
    assert_eq!(of("Slice"), top_zzz("slices: [{zzz: 1}]"));
    assert_eq!(of("Source"), top_zzz("slices: [{sources: [{zzz: 1}]}]"));
    assert_eq!(of("Module"), top_zzz("modules: {x: {zzz: 1}}"));
    assert_eq!(of("TokenizerSettings"), top_zzz("tokenizer: {zzz: 1}"));
    assert_eq!(of("Token"), top_zzz("tokenizer: {tokens: {x: {zzz: 1}}}"));
    assert_eq!(of("Search"), zzz("  budget", "  zzz"));
    assert_eq!(of("OptimizerSettings"), zzz("sigma", "zzz"));
    assert_eq!(of("Anchors"), zzz("device: cpu", "anchors: {zzz: 1}"));
    assert_eq!(of("GoalEntry"), zzz("- task", "- zzz"));
    assert_eq!(of("Fractions"), zzz("select", "zzz"));
    assert_eq!(of("Conditional"), zzz("filter: mlp", "zzz: mlp"));
    let (hole, conditional) = (of("Hole"), of("Conditional"));
    assert_eq!(&hole | &conditional, zzz("init", "zzz"));
    assert_eq!(hole, set(&["search", "init", "scale", "integer", "per", "groups", "knots", "filters"]));
    let described = schema["$defs"]["Search"]["properties"].as_object().expect("an object");
    for (key, property) in described.iter().filter(|(key, _)| *key != "optimizer") {
        assert!(property["description"].is_string(), "{key} is described");
    }
    assert!(schema["properties"]["merge_method"]["description"].is_string());
}

#[test]
fn optimizers_are_called_what_they_are_written() {
    let names = [
        "cma_es",
        "sep_cma_es",
        "cma_es_margin",
        "cat_cma",
        "cat_cma_margin",
        "nsga2",
        "one_plus_one",
        "map_elites",
        "m2n2",
        "random",
    ];
    for name in names {
        let algorithm: Algorithm = serde_json::from_value(serde_json::json!(name)).expect("it is one");
        assert_eq!(algorithm.name(), name);
    }
}
