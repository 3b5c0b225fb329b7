//! Claims of a search about its answer: against which models, on which task, how certain; and
//! claims that it refuses to make.

use crate::{
    kit::{Dir, Said, family},
    search::{SEARCH, small_study, two_seeds, uninterrupted},
};
use serde_json::Value;
use std::{
    fs,
    process::Child,
    thread::sleep,
    time::{Duration, Instant},
};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// The small study with pieces of its files replaced.
fn study(changes: &[(&str, &str, &str)]) -> Dir {
    let dir = Dir::new();
    small_study(&dir);
    for (file, from, to) in changes {
        let text = fs::read_to_string(dir.path(file)).unwrap();
        assert!(text.contains(from), "{from}: {text}");
        dir.write(file, text.replace(from, to));
    }
    dir
}

/// The verdict is the same in the summary, `result.json`, the card, `report` and its page.
#[test]
fn the_verdict_is_the_same_wherever_it_is_told() {
    let (dir, said) = uninterrupted();
    let verdict: Vec<&str> = said.err.lines().filter_map(|line| line.strip_prefix("verdict: ")).collect();
    assert!(verdict.iter().any(|line| line.contains("the best parent on mgsm-ja-mini")), "{}", said.err);
    let card = fs::read_to_string(dir.path("out/model/README.md")).unwrap();
    let report = dir.run(&["report", "out", "--html", "page.html"]);
    let page = fs::read_to_string(dir.path("page.html")).unwrap();
    for line in &verdict {
        assert!(report.out.contains(&format!("verdict: {line}\n")), "{line}: {}", report.out);
        assert!(card.contains(&format!("- {line}\n")), "{line}: {card}");
        assert!(page.contains(&format!("<li>{line}</li>")), "{line}: {page}");
    }
    assert!(page.find("<ul class='verdict'>").unwrap() < page.find("<div class='tiles'>").unwrap());
    let result = json(&fs::read_to_string(dir.path("out/result.json")).unwrap());
    assert_eq!(result["verdict"], json(&dir.run(&["report", "out", "--json"]).out)["verdict"]);
    // By the table, the best parent on each task is the one with the highest score there.
    for task in result["verdict"]["tasks"].as_array().unwrap() {
        let name = task["task"].as_str().unwrap();
        let score = |entry: &Value| entry["scores"][name]["value"].as_f64().unwrap();
        let best = result["parents"].as_array().unwrap().iter().map(score).fold(f64::MIN, f64::max);
        let difference = task["best_parent"]["value"].as_f64().unwrap();
        assert!((score(&result["winner"]) - best - difference).abs() < 1e-12, "{task}");
        assert_eq!(task["best_parent"]["name"], result["study"]["best_parents"][name]);
        assert_eq!(task["best_parent"]["ci95"], result["study"]["differences_to_best_parent"][name]["ci95"]);
        assert_eq!(task["baselines"].as_array().unwrap().len(), 4);
    }
    assert_eq!(result["verdict"]["tasks"][1]["is_objective"], false);
}

/// A card keeps two models apart if their paths end alike.
#[test]
fn a_card_tells_models_apart_whose_paths_end_alike() {
    let dir = study(&[("search.yaml", "budget: 240", "budget: 40")]);
    let mut text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    for (place, name) in [("one", "math-a"), ("two", "math-b")] {
        fs::create_dir(dir.path(place)).unwrap();
        std::os::unix::fs::symlink(family().join(name), dir.path(&format!("{place}/math"))).unwrap();
        text = text.replace(&family().join(name).display().to_string(), &format!("{place}/math"));
    }
    dir.write("search.yaml", text);
    let said = dir.run(SEARCH);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let card = fs::read_to_string(dir.path("out/model/README.md")).unwrap();
    let rows = |heading: &str| -> Vec<String> {
        let (_, table) = card.split_once(heading).unwrap();
        let rows = table.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
        rows.map_while(|line| Some(line.strip_prefix("| ")?.split_once(" |")?.0.to_owned())).collect()
    };
    let scored = rows("## Scores");
    for name in ["math", "math (2)"] {
        assert!(scored.iter().any(|row| row == name), "{scored:?}");
    }
    let rivals = rows("\n## Verdict");
    let all: std::collections::BTreeSet<&String> = scored.iter().collect();
    assert_eq!(all.len(), scored.len(), "{scored:?}");
    assert!(rivals.iter().all(|row| scored.iter().any(|name| row.ends_with(name.as_str()))), "{rivals:?} {scored:?}");
}

#[test]
fn few_report_items_are_told_before_the_search_and_with_its_result() {
    let divided = "splits: {search: train, select: validation, report: test}";
    let dir = study(&[
        ("sums.yaml", divided, "divide: train"),
        (
            "search.yaml",
            "{task: sums.yaml, items: 8}",
            "{task: sums.yaml, items: 8, split: {search: 0.7, select: 0.2, report: 0.1}}",
        ),
    ]);
    let said = dir.run(SEARCH);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let result = json(&fs::read_to_string(dir.path("out/result.json")).unwrap());
    let n = result["verdict"]["tasks"][0]["n"].as_u64().unwrap();
    assert!((2..30).contains(&n), "{n}");
    let note = format!("note: task mgsm-ja-mini has {n} report items: on fewer than ");
    assert_eq!(said.err.matches(&note).count(), 2, "{}", said.err);
    assert!(said.err.find(&note).unwrap() < said.err.find("ranked ").unwrap());
    assert!(fs::read_to_string(dir.path("out/model/README.md")).unwrap().contains(&note));
    // Even with few items, a difference has an interval with a length.
    for row in json(&dir.run(&["report", "out", "--json"]).out)["table"].as_array().unwrap() {
        for score in row["scores"].as_array().unwrap() {
            let length = |ci95: &Value| ci95[1].as_f64().unwrap() - ci95[0].as_f64().unwrap();
            assert!(length(&score["ci95"]) > 0.05, "{score}");
            let difference = &score["difference_to_best_parent"];
            assert!(difference.is_null() || length(&difference["ci95"]) > 0.05, "{score}");
        }
    }
}

#[test]
fn an_objective_that_could_not_take_part_in_the_choice_is_refused() {
    for optimizer in ["nsga2", "map_elites", "m2n2"] {
        let dir = study(&[("search.yaml", "cma_es, population: 5", &format!("{optimizer}, population: 6"))]);
        let sums = fs::read_to_string(dir.path("sums.yaml")).unwrap();
        dir.write("select.yaml", sums.replace("task: mgsm-ja-mini", "task: other").replace("[]", "[\"\\n\"]"));
        dir.write("sums.yaml", sums.replace("search: train, select: validation, report: test", "search: train"));
        let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
        let both = "{task: sums.yaml, items: 8}\n  - {task: select.yaml, items: 0}";
        dir.write("search.yaml", text.replace("{task: sums.yaml, items: 8}", both));
        let said = dir.run(SEARCH);
        let error = format!(
            "search.yaml:16:12: task mgsm-ja-mini has no select items, but {optimizer} keeps candidates for being good at each \
             objective, and the answer is chosen among them on select items"
        );
        assert_eq!((said.code, said.error()), (Some(1), error.as_str()));
        let hint = "give the task select items (by `splits`, or by `split:` if it divides one split), or choose an optimizer of one \
                    objective, such as cma_es";
        assert_eq!(said.hint(), Some(hint));
        assert!(!dir.path("out").exists(), "{:?}", dir.tree());
    }
}

/// Waits until the search has published `n` records.
fn records(dir: &Dir, n: usize) {
    let began = Instant::now();
    while fs::read_to_string(dir.path("out/study/record.jsonl")).map_or(0, |text| text.lines().count()) < n {
        assert!(began.elapsed() < Duration::from_secs(120), "it tells nothing");
        sleep(Duration::from_millis(10));
    }
}

fn stop(mut child: Child) {
    child.kill().unwrap();
    Said::of(child.wait_with_output().unwrap());
}

#[test]
fn a_study_that_runs_is_reported_as_of_its_last_generation() {
    let dir = study(&[("search.yaml", "budget: 240", "budget: 240000")]);
    let child = dir.command(SEARCH).spawn().unwrap();
    records(&dir, 4);
    let said = dir.run(&["report", "out", "--html", "page.html", "--csv", "tables"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.starts_with("still running: as of generation "), "{}", said.out);
    assert!(fs::read_to_string(dir.path("page.html")).unwrap().contains("still running: as of generation "));
    assert!(fs::read_to_string(dir.path("tables/candidates.csv")).unwrap().lines().count() > 10);
    let report = json(&dir.run(&["report", "out", "--json"]).out);
    assert_eq!((&report["running"], &report["done"]), (&true.into(), &false.into()));
    let said = dir.run(&["report", "out", "--pick", "mgsm-ja-mini=1"]);
    assert_eq!((said.code, said.error()), (Some(1), "out: the study is not done, so there is nothing to pick from"));
    assert_eq!(said.hint(), Some("a search is running there: wait until it ends"));
    stop(child);
    // A stopped study is read from the store, which has at least as much; a truncated record does
    // no harm.
    let text = fs::read_to_string(dir.path("out/study/record.jsonl")).unwrap();
    dir.write("out/study/record.jsonl", &text[..text.len() - 10]);
    let stopped = json(&dir.run(&["report", "out", "--json"]).out);
    assert_eq!(stopped["running"], false);
    let generations = |report: &Value| report["convergence"].as_array().unwrap().len();
    assert!(generations(&stopped) >= generations(&report) && generations(&report) >= 2);
    for number in 0..generations(&report) {
        assert_eq!(stopped["convergence"][number], report["convergence"][number]);
    }
}

#[test]
fn several_seeds_say_with_how_many_of_them() {
    let (dir, said) = two_seeds();
    let verdicts: Vec<&str> = said.err.lines().filter(|line| line.contains(" of 2 seeds")).collect();
    assert_eq!(verdicts.len(), 3, "{}", said.err);
    let result = json(&fs::read_to_string(dir.path("out/result.json")).unwrap());
    let better = |seed: &Value| seed["tasks"][0]["best_parent"]["finding"] == "better";
    let better = result["verdicts"].as_array().unwrap().iter().filter(|seed| better(seed)).count();
    assert!(verdicts[0].contains(&format!("on mgsm-ja-mini with {better} of 2 seeds")), "{}", verdicts[0]);
}
