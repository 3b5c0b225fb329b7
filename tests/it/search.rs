//! A search from the command to the table, the recipe and the checkpoint, with all kinds of
//! interruptions.

use crate::kit::{Dir, Said, Snapshot, family};
use merge_core::store::Store;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use std::{fs, path::Path, process::Command, sync::LazyLock, thread::sleep, time::Duration};

/// A study of real models that takes seconds: few items, few candidates.
pub(crate) fn small_study(dir: &Dir) {
    study_on(dir, [60, 8, 12, 8]);
}

/// The small study with these numbers of items to search, to select and to report, and of items of
/// the other task.
pub(crate) fn study_on(dir: &Dir, [search, select, report, choices]: [usize; 4]) {
    let lines = |name: &str, n: usize| {
        let text = fs::read_to_string(family().join("tasks").join(name)).unwrap();
        text.lines().take(n).map(|line| line.to_owned() + "\n").collect::<String>()
    };
    dir.write("search.jsonl", lines("mgsm-ja-mini.optimise.jsonl", search));
    dir.write("select.jsonl", lines("mgsm-ja-mini.validation.jsonl", select));
    dir.write("report.jsonl", lines("mgsm-ja-mini.test.jsonl", report));
    dir.write("choices.jsonl", lines("ja-solution-mini.test.jsonl", choices));
    let mut task = fs::read_to_string(family().join("tasks/mgsm-ja-mini.yaml")).unwrap();
    for (split, file) in [("optimise", "search"), ("validation", "select"), ("test", "report")] {
        task = task.replace(&format!("mgsm-ja-mini.{split}.jsonl"), &format!("{file}.jsonl"));
    }
    dir.write("sums.yaml", task);
    let choices = fs::read_to_string(family().join("tasks/ja-solution-mini.yaml")).unwrap();
    let choices = ["optimise", "validation", "test"]
        .iter()
        .fold(choices, |text, split| text.replace(&format!("ja-solution-mini.{split}.jsonl"), "choices.jsonl"));
    dir.write("choices.yaml", choices.replace("{search: train, select: validation, report: test}", "{report: test}"));
    let models: String = ["ja", "math-a", "math-b"]
        .map(|name| {
            format!(
                "- model: {}\n  parameters: {{weight: {{search: [0.0, 1.5], groups: 2}}}}\n",
                family().join(name).display()
            )
        })
        .concat();
    let text = format!(
        "merge_method: task_arithmetic\nbase_model: {}\nmodels:\n{models}dtype: bfloat16\nsearch:\n  budget: 240\n  seed: 3\n  \
         optimizer: {{name: cma_es, population: 5}}\n  objective:\n  - {{task: sums.yaml, items: 8}}\n  report: [choices.yaml]\n",
        family().join("base").display()
    );
    dir.write("search.yaml", text);
}

/// The smallest possible search, for tests that run it many times.
pub(crate) fn least_study(dir: &Dir) {
    study_on(dir, [60, 2, 2, 2]);
    let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    dir.write("search.yaml", text.replace("budget: 240", "budget: 10").replace("items: 8", "items: 2"));
}

pub(crate) const SEARCH: &[&str] = &["search", "search.yaml", "-o", "out"];

/// Runs the search of a directory to its end in one process, and returns what `found` finds there.
pub(crate) fn finished<T>(dir: &Dir, found: impl FnOnce(&Dir) -> T) -> T {
    let said = dir.run(SEARCH);
    assert_eq!(said.code, Some(0), "{}", said.err);
    found(dir)
}

/// Recipe and result of a study, without the engine's name.
pub(crate) fn answer(dir: &Dir) -> (String, Value) {
    let mut result: Value = serde_json::from_slice(&fs::read(dir.path("out/result.json")).unwrap()).unwrap();
    result["study"].as_object_mut().unwrap().shift_remove("engine");
    (fs::read_to_string(dir.path("out/best.yaml")).unwrap(), result)
}

type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// Results that two runs of one study must have in common: files, and the content of the store.
fn results(dir: &Dir) -> (Vec<Vec<u8>>, Records) {
    let files = ["best.yaml", "result.json", "model/model.safetensors", "model/config.json", "model/README.md"];
    let files = files.map(|name| fs::read(dir.path("out").join(name)).unwrap_or_else(|e| panic!("{name}: {e}")));
    (files.to_vec(), Store::open(&dir.path("out/study")).unwrap().contents().unwrap())
}

/// The finished small study and its output. It is run once for all tests.
pub(crate) fn uninterrupted() -> (Dir, Said) {
    static DONE: LazyLock<(Snapshot, Said)> = LazyLock::new(|| done(SEARCH));
    (DONE.0.restore(), DONE.1.clone())
}

/// The finished small study with two seeds.
pub(crate) fn two_seeds() -> (Dir, Said) {
    static DONE: LazyLock<(Snapshot, Said)> = LazyLock::new(|| done(&[SEARCH, &["--seeds", "2"]].concat()));
    (DONE.0.restore(), DONE.1.clone())
}

fn done(command: &[&str]) -> (Snapshot, Said) {
    let dir = Dir::new();
    small_study(&dir);
    let said = dir.run(command);
    assert_eq!(said.code, Some(0), "{}", said.err);
    (Snapshot::of(&dir), said)
}

#[test]
fn ends_with_a_table_a_recipe_and_a_checkpoint() {
    let (dir, said) = uninterrupted();
    for row in ["ja", "base", "uniform average", "DARE-TIES, untuned", "greedy soup", "random search", "evolved"] {
        assert!(
            said.out.lines().any(|line| line.trim_start_matches('│').trim_start().starts_with(row)),
            "{row}: {}",
            said.out
        );
    }
    let result: Value = serde_json::from_slice(&fs::read(dir.path("out/result.json")).unwrap()).unwrap();
    assert_eq!(result["parents"].as_array().unwrap().len(), 4);
    assert_eq!(result["baselines"].as_array().unwrap().len(), 4);
    let entries = [&result["parents"], &result["baselines"]].into_iter().flat_map(|list| list.as_array().unwrap());
    for entry in entries.chain([&result["winner"]]) {
        assert!(entry["name"].is_string());
        for (task, metric, n) in [("sums", "exact_match", 12), ("choices", "acc", 8)] {
            let task = if task == "sums" { "mgsm-ja-mini" } else { "ja-solution-mini" };
            let score = &entry["scores"][task];
            assert_eq!((score["metric"].as_str(), score["n"].as_u64()), (Some(metric), Some(n)), "{entry}");
            let [value, low, high] =
                [&score["value"], &score["ci95"][0], &score["ci95"][1]].map(|v| v.as_f64().unwrap());
            assert!(0.0 <= low && low <= value && value <= high && high <= 1.0, "{entry}");
            assert!(score["stderr"].is_f64());
        }
    }
    assert_eq!((&result["study"]["seed"], &result["study"]["item_evaluations"]), (&3.into(), &240.into()));

    // `best.yaml` makes the same checkpoint again, which scores as reported.
    let said = dir.run(&["merge", "out/best.yaml", "-o", "again"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let bytes = ["again", "out/model"].map(|model| fs::read(dir.path(model).join("model.safetensors")).unwrap());
    assert!(bytes[0] == bytes[1]);
    let eval = dir.run(&["eval", "out/model", "--json", "--tasks", "sums.yaml", "choices.yaml"]);
    let eval: Value = serde_json::from_str(&eval.out).unwrap();
    assert_eq!(eval["scores"], result["winner"]["scores"]);
    let card = fs::read_to_string(dir.path("out/model/README.md")).unwrap();
    for part in
        ["## Scores", "95% intervals", "seed 3", "## Recipe", "merge_method: task_arithmetic", "SHA-256", "| evolved |"]
    {
        assert!(card.contains(part), "{part}: {card}");
    }
}

#[test]
fn one_worker_and_three_find_the_same() {
    let (dir, _) = uninterrupted();
    let other = Dir::new();
    small_study(&other);
    assert_eq!(other.run(&[SEARCH, &["--workers", "3"]].concat()).code, Some(0));
    assert!(results(&dir) == results(&other));
}

#[test]
fn goes_on_where_it_was_killed_and_ends_as_if_nothing_had_happened() {
    let (dir, _) = uninterrupted();
    let killed = Dir::new();
    small_study(&killed);
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut kills = 0;
    let finished = loop {
        let mut child = killed.command(SEARCH).spawn().unwrap();
        sleep(Duration::from_millis(rng.random_range(50..600)));
        child.kill().unwrap();
        let said = Said::of(child.wait_with_output().unwrap());
        match said.code {
            None if kills < 60 => kills += 1,
            None => break killed.run(SEARCH),
            Some(_) => break said,
        }
    };
    assert_eq!(finished.code, Some(0), "after {kills} kills: {}", finished.err);
    assert!(kills >= 2, "it was killed {kills} times");
    assert!(results(&dir) == results(&killed), "after {kills} kills");
}

#[test]
fn a_finished_study_shows_its_table_again_without_evaluating() {
    let (dir, first) = uninterrupted();
    let before = results(&dir);
    let again = dir.run(SEARCH);
    assert_eq!((again.code, &again.out), (Some(0), &first.out));
    assert!(again.err.contains("\n0 items scored now, "), "{}", again.err);
    assert!(results(&dir) == before);
}

#[test]
fn a_study_goes_on_with_a_larger_budget_but_with_nothing_else_changed() {
    let (dir, _) = uninterrupted();
    let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    for (from, to, what) in [
        ("seed: 3", "seed: 4", "the seed"),
        ("groups: 2", "groups: 3", "the recipe"),
        ("items: 8", "items: 9", "the objective"),
    ] {
        dir.write("search.yaml", text.replace(from, to));
        let said = dir.run(SEARCH);
        assert_eq!(said.code, Some(1));
        assert_eq!(said.error(), format!("search.yaml: this directory holds another study: {what} differs"));
    }
    dir.write("search.yaml", text.replace("budget: 240", "budget: 320"));
    assert_eq!(dir.run(SEARCH).code, Some(0));
    let result: Value = serde_json::from_slice(&fs::read(dir.path("out/result.json")).unwrap()).unwrap();
    assert_eq!(result["study"]["generations"], 8);
}

#[test]
fn ctrl_c_stops_cleanly_and_says_how_to_go_on() {
    let dir = Dir::new();
    small_study(&dir);
    let child = dir.command(SEARCH).spawn().unwrap();
    let study = dir.path("out/study/db");
    while !study.exists() {
        sleep(Duration::from_millis(5));
    }
    sleep(Duration::from_millis(300));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let said = Said::of(child.wait_with_output().unwrap());
    assert_eq!(said.code, Some(130), "{}", said.err);
    assert!(said.err.contains("To go on: evomerge search search.yaml -o out"), "{}", said.err);
    assert!(!dir.path("out/model").exists() && said.out.is_empty());
    assert_eq!(dir.run(SEARCH).code, Some(0));
}

#[test]
fn the_command_to_go_on_carries_the_seed() {
    let dir = Dir::new();
    small_study(&dir);
    let child = dir.command(&[SEARCH, &["--seed", "9"]].concat()).spawn().unwrap();
    while !dir.path("out/study/db").exists() {
        sleep(Duration::from_millis(5));
    }
    sleep(Duration::from_millis(300));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let said = Said::of(child.wait_with_output().unwrap());
    assert!(said.err.contains("To go on: evomerge search search.yaml -o out --seed 9"), "{}", said.err);
}

#[test]
fn a_larger_budget_ends_where_one_run_of_it_would_have_ended() {
    let (dir, _) = uninterrupted();
    let other = Dir::new();
    small_study(&other);
    for dir in [&dir, &other] {
        let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
        dir.write("search.yaml", text.replace("budget: 240", "budget: 320"));
        let said = dir.run(SEARCH);
        assert_eq!(said.code, Some(0), "{}", said.err);
    }
    // Only the files are compared: the first store also has the finalists of the smaller budget.
    assert!(results(&dir).0 == results(&other).0);
}

#[test]
fn a_finished_study_takes_another_report_task_into_its_card_too() {
    let (dir, _) = uninterrupted();
    let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    let choices = fs::read_to_string(dir.path("choices.yaml")).unwrap();
    dir.write("more.yaml", choices.replace("task: ja-solution-mini", "task: more"));
    dir.write("search.yaml", text.replace("report: [choices.yaml]", "report: [choices.yaml, more.yaml]"));
    assert_eq!(dir.run(SEARCH).code, Some(0));
    for name in ["out/model/README.md", "out/result.json"] {
        assert!(fs::read_to_string(dir.path(name)).unwrap().contains("more"), "{name}");
    }
}

#[test]
fn a_parent_that_does_not_fit_is_refused_and_the_mended_search_runs_in_the_same_place() {
    let dir = Dir::new();
    small_study(&dir);
    let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    dir.tiny("other", 0.1);
    let ja = family().join("ja").display().to_string();
    dir.write("search.yaml", text.replace(&ja, "other"));
    let said = dir.run(SEARCH);
    assert_eq!(said.code, Some(1));
    assert!(said.error().contains("other lacks `model.layers.1"), "{}", said.err);
    assert!(!dir.path("out").exists(), "{:?}", dir.tree());
    dir.write("search.yaml", text);
    assert_eq!(dir.run(SEARCH).code, Some(0));
}

#[test]
fn a_parent_changed_under_a_study_is_noticed() {
    let dir = Dir::new();
    small_study(&dir);
    for model in ["base", "ja", "math-a", "math-b"] {
        for entry in fs::read_dir(family().join(model)).unwrap() {
            let entry = entry.unwrap();
            dir.write(&format!("{model}/{}", entry.file_name().display()), fs::read(entry.path()).unwrap());
        }
    }
    let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    dir.write("search.yaml", text.replace(&format!("{}/", family().display()), ""));
    assert_eq!(dir.run(SEARCH).code, Some(0));
    let config = fs::read_to_string(dir.path("base/config.json")).unwrap();
    dir.write("base/config.json", config.replace("\"rope_theta\": 10000.0", "\"rope_theta\": 20000.0"));
    let said = dir.run(SEARCH);
    assert_eq!(said.error(), "search.yaml: this directory holds another study: a file of the models differs");
}

#[test]
fn a_second_process_on_one_study_is_refused() {
    let dir = Dir::new();
    small_study(&dir);
    let held = Store::open(&dir.path("out/study")).unwrap();
    let said = dir.run(SEARCH);
    assert_eq!((said.code, said.error()), (Some(1), "out/study: another process is using this study"));
    drop(held);
    assert_eq!(dir.run(SEARCH).code, Some(0));
}

#[test]
fn a_question_searched_on_in_one_task_cannot_be_reported_on_in_another() {
    let dir = Dir::new();
    small_study(&dir);
    // The same question in another item, with other fields and content.
    let item = fs::read_to_string(dir.path("search.jsonl")).unwrap();
    let item: Value = serde_json::from_str(item.lines().nth(3).unwrap()).unwrap();
    let choices = fs::read_to_string(dir.path("choices.jsonl")).unwrap();
    let leak = serde_json::json!({ "question": item["question"], "choices": ["1", "2"], "answer": 0 });
    dir.write("choices.jsonl", format!("{choices}{leak}\n"));
    let said = dir.run(SEARCH);
    assert_eq!(said.code, Some(1));
    let error = "search.yaml:16:5: 1 report item is a search item too: item 8 of task ja-solution-mini is a near copy of \
                 item 3 of task mgsm-ja-mini";
    assert_eq!(said.error(), error);
}

#[test]
fn a_directory_with_other_things_in_it_is_refused() {
    let dir = Dir::new();
    small_study(&dir);
    dir.write("out/thesis.tex", "precious");
    let said = dir.run(SEARCH);
    assert_eq!((said.code, said.error()), (Some(1), "out: holds `thesis.tex`, which no search has written"));
    assert_eq!(dir.tree().iter().filter(|path| path.starts_with("out/")).count(), 1);
}

#[test]
fn a_search_that_cannot_be_done_is_refused_before_it_begins() {
    let check = |from: &str, to: &str, error: &str| {
        let dir = Dir::new();
        small_study(&dir);
        let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
        assert!(text.contains(from), "{from}");
        dir.write("search.yaml", text.replace(from, to));
        let said = dir.run(SEARCH);
        assert_eq!((said.code, said.error()), (Some(1), error));
        assert!(!Path::new(&dir.path("out/model")).exists());
    };
    check(
        "budget: 240",
        "budget: 39",
        "search.yaml:12:11: search.budget: 39 item evaluations do not pay for one generation, which takes 40: 5 candidates on 8 items",
    );
    check(
        "items: 8",
        "items: 61",
        "search.yaml:16:12: task mgsm-ja-mini: 61 items per generation, but it has only 60 search items",
    );
    check(
        "task: sums.yaml",
        "task: choices.yaml",
        "search.yaml:16:12: task ja-solution-mini: 8 items per generation, but it has only 0 search items",
    );
    check("items: 8", "items: 0", "search.yaml:16:5: no task of the objective has search items");
    check(
        "weight: {search: [0.0, 1.5], groups: 2}",
        "weight: 1, density: {search: [0.0, 1.0]}",
        "search.yaml:5:36: models[0].parameters.density: it has no effect in `task_arithmetic`, so there is nothing to search",
    );
    check("seed: 3", "seeed: 3", "search.yaml:13:3: search: there is no key `seeed`");
    check("groups: 2", "groups: 7", "search.yaml:5:53: models[0].weight.groups: only 6 layers for 7 groups");
}
