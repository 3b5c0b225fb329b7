//! `evomerge report`: its text, its page in a browser, its tables and its JSON.

use crate::{
    kit::{CHROMIUM, Dir, Said, Snapshot, family, program},
    search::{SEARCH, small_study, two_seeds, uninterrupted},
};
use merge_core::{store::Store, study};
use serde_json::Value;
use std::{collections::BTreeMap, fs, process::Command, sync::LazyLock, thread::sleep, time::Duration};

/// A finished study of paths with two objectives. It is run once for all tests.
fn small_front() -> Dir {
    static DONE: LazyLock<Snapshot> = LazyLock::new(|| Snapshot::of(&new_front()));
    DONE.restore()
}

fn new_front() -> Dir {
    let dir = Dir::new();
    small_study(&dir);
    let [ja, math] = ["ja", "math-a"].map(|name| family().join(name).display().to_string());
    let text = format!(
        "merge_method: passthrough\nbase_model: {ja}\npath:\n- {{model: {ja}, layer_range: [0, 6], use: {{search: [false, true], \
         init: 0.9}}}}\n- {{model: {math}, layer_range: [3, 6], use: {{search: [false, true], init: 0.5}}, scale: {{search: [0.8, \
         1.2]}}}}\ndtype: bfloat16\nsearch:\n  budget: 240\n  seed: 5\n  optimizer: {{name: nsga2, population: 6}}\n  objective:\n  \
         - {{task: sums.yaml, items: 8}}\n  minimise:\n  - {{what: layers, weight: 0.01}}\n"
    );
    dir.write("search.yaml", text);
    let said = dir.run(SEARCH);
    assert_eq!(said.code, Some(0), "{}", said.err);
    dir
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn shows_the_table_of_the_end_and_how_it_came_to_it() {
    let (dir, _) = uninterrupted();
    let said = dir.run(&["report", "out"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let again = dir.run(SEARCH);
    assert!(said.out.contains(again.out.trim_end()), "the same table: {}", said.out);
    for part in [
        "on 8 search items, the largest of 30",
        "points to the best parent, ",
        "● mean of a generation, smoothed   r random search   - the best parent",
        "weight by layer",
        "gained",
        "240 of 240 in the evolution",
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
}

/// Compares with `result.json`, which the search wrote.
#[test]
fn json_and_tables_agree_with_the_result() {
    let (dir, _) = uninterrupted();
    let said = dir.run(&["report", "out", "--json", "--csv", "tables"]);
    let (report, result) = (json(&said.out), json(&fs::read_to_string(dir.path("out/result.json")).unwrap()));
    let evolved = report["table"].as_array().unwrap().last().unwrap();
    for score in evolved["scores"].as_array().unwrap() {
        let known = &result["winner"]["scores"][score["task"].as_str().unwrap()];
        assert_eq!((&score["value"], &score["ci95"]), (&known["value"], &known["ci95"]));
    }
    assert_eq!(report["winners_curse"], result["study"]["winners_curse"]);
    assert_eq!(report["convergence"].as_array().unwrap().len(), 6);
    let best: Vec<&Value> = report["convergence"].as_array().unwrap().iter().map(|step| &step["best"]).collect();
    let known: Vec<&Value> = result["study"]["fitness"].as_array().unwrap().iter().map(|one| &one["best"]).collect();
    assert_eq!(best, known);

    let rows = |name: &str| -> Vec<Vec<String>> {
        let text = fs::read_to_string(dir.path("tables").join(name)).unwrap();
        text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
    };
    // The items' mean is the score, for every model and task. No name in this study has a comma.
    let mut means: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    let items = fs::read_to_string(dir.path("tables/items.csv")).unwrap().replace("\"DARE-TIES, untuned\"", "DARE");
    for line in items.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        means.entry((cells[0].to_owned(), cells[1].to_owned())).or_default().push(cells[3].parse().unwrap());
    }
    let scores = fs::read_to_string(dir.path("tables/scores.csv")).unwrap().replace("\"DARE-TIES, untuned\"", "DARE");
    assert_eq!(scores.lines().count(), 1 + means.len());
    for line in scores.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let values = &means[&(cells[0].to_owned(), cells[1].to_owned())];
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        assert!(
            (cells[4].parse::<f64>().unwrap() - mean).abs() < 1e-12 && cells[3] == values.len().to_string(),
            "{line}"
        );
    }
    let phases = rows("candidates.csv").into_iter().map(|row| row[0].clone());
    assert_eq!(phases.filter(|phase| phase == "evolution").count(), 30);
    // Items gained minus items lost is the difference of the scores.
    for one in report["items"].as_array().unwrap() {
        let [gained, lost] = ["gained", "lost"].map(|what| one[what].as_array().unwrap().len() as f64);
        let sum =
            |model: &str| -> f64 { means[&(model.to_owned(), one["task"].as_str().unwrap().to_owned())].iter().sum() };
        let difference = sum("evolved") - sum(one["parent"].as_str().unwrap());
        assert!((gained - lost - difference).abs() < 1e-9, "{one}");
    }
}

/// Studies of two kinds, and the sections of their pages.
fn pages() -> [(Dir, &'static str); 2] {
    [
        (uninterrupted().0, "verdict result convergence weights items genealogy costs recipe"),
        (small_front(), "verdict result convergence front weights path items genealogy costs recipe"),
    ]
}

/// The page that `report` writes.
fn page(dir: &Dir) -> String {
    let said = dir.run(&["report", "out", "--html", "page.html"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    fs::read_to_string(dir.path("page.html")).unwrap()
}

/// Ids of a page's sections.
fn sections(page: &str) -> String {
    let ids = page.split("<section id=").skip(1);
    ids.map(|rest| rest[1..].split(['\'', '"']).next().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
}

#[test]
fn everything_is_in_the_page_itself() {
    for (dir, expected) in pages() {
        let page = page(&dir);
        for word in ["http:", "https:", "src=", "url(", "@import", "<script", "<link"] {
            assert!(!page.contains(word), "{word}");
        }
        assert_eq!(sections(&page), expected);
    }
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "needs chromium and chromedriver on the path")]
fn a_browser_draws_the_page_without_an_error() {
    for (dir, expected) in pages() {
        let page = page(&dir);
        let profile = format!("--user-data-dir={}", dir.path("profile").display());
        let output = Command::new(program(CHROMIUM))
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom", &profile])
            .arg(dir.path("page.html"))
            .output()
            .unwrap();
        let said = Said::of(output);
        assert_eq!(sections(&said.out), expected, "{}", said.err);
        let complaints: Vec<&str> = said.err.lines().filter(|line| line.contains("CONSOLE")).collect();
        assert!(complaints.is_empty(), "{complaints:?}");
        // The browser has parsed all figures.
        assert_eq!(said.out.matches("</svg>").count(), page.matches("</svg>").count());
    }
}

/// JSON and the figures are the same in both languages.
#[test]
fn results_are_japanese_where_that_is_asked_for() {
    let (dir, _) = uninterrupted();
    let english = page(&dir);
    let by_option = dir.run(&["report", "out", "--lang", "ja", "--html", "page.html"]);
    let japanese = fs::read_to_string(dir.path("page.html")).unwrap();
    assert!(english.contains("<html lang='en'>") && japanese.contains("<html lang='ja'>"));
    assert!(english.contains("<h2>Result</h2>") && japanese.contains("<h2>結果</h2>"), "{japanese}");
    assert_eq!(sections(&english), sections(&japanese));
    assert_eq!(english.matches("<circle").count(), japanese.matches("<circle").count());
    let by_locale = |args: &[&str]| {
        let mut command = dir.command(args);
        command.env_remove("EVOMERGE_LANG").env_remove("LC_ALL").env("LC_MESSAGES", "").env("LANG", "ja_JP.UTF-8");
        Said::of(command.output().unwrap())
    };
    assert_eq!(by_locale(&["report", "out"]).out, by_option.out);
    assert!(by_option.out.contains("判定：mgsm-ja-miniでは、"), "{}", by_option.out);
    assert!(!by_option.out.contains("generation"), "{}", by_option.out);
    let again = by_locale(SEARCH);
    assert!(again.err.contains("判定：mgsm-ja-miniでは、") && again.out.contains("最良の親モデル"), "{}", again.err);
    let json = |args: &[&str]| by_locale(args).out;
    assert_eq!(json(&["report", "out", "--json"]), dir.run(&["report", "out", "--json"]).out);
    // With JSON, the page is still translated.
    dir.run(&["report", "out", "--lang", "ja", "--json", "--html", "page.html"]);
    assert_eq!(fs::read_to_string(dir.path("page.html")).unwrap(), japanese);
    assert_eq!(dir.run(&["report", "out", "--lang", "jp"]).code, Some(2));
    let said = Said::of(dir.command(&["report", "out"]).env("EVOMERGE_LANG", "jp").output().unwrap());
    assert_eq!((said.code, said.error()), (Some(1), "EVOMERGE_LANG is `jp`, which is no language of results"));
}

/// Compares with `eval`, which scores the picked recipe again.
#[test]
fn picks_another_member_of_the_front_without_evaluating() {
    let dir = small_front();
    let record = {
        let store = Store::open(&dir.path("out/study")).unwrap();
        study::record(&store).unwrap()
    };
    let fewest =
        record.ending.unwrap().finalists.iter().filter(|one| one.on_front).map(|one| one.costs[0]).fold(99.0, f64::min);
    let said = dir.run(&["report", "out", "--pick", "layers=-1", "--json"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    let picked = json(&said.out);
    assert_eq!(picked["values"]["layers"].as_f64(), Some(fewest));
    // The recipe is written to another folder, so its paths must change.
    fs::create_dir(dir.path("deep")).unwrap();
    let said = dir.run(&["report", "out", "--pick", "layers=-1", "-o", "deep/small.yaml"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains(&format!("layers {fewest}")), "{}", said.out);
    let eval = dir.run(&["eval", "deep/small.yaml", "--json", "--items", "select", "--tasks", "sums.yaml"]);
    assert_eq!(eval.code, Some(0), "{}", eval.err);
    assert_eq!(json(&eval.out)["scores"]["mgsm-ja-mini"]["value"], picked["values"]["mgsm-ja-mini"]);

    let said = dir.run(&["report", "out", "--pick", "layer=-1"]);
    assert_eq!((said.code, said.error()), (Some(1), "--pick: finalists cannot be picked by `layer`"));
    assert_eq!(said.hint(), Some("did you mean `layers`?"));
}

#[test]
fn a_study_that_is_not_done_shows_what_there_is() {
    let dir = Dir::new();
    small_study(&dir);
    let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    dir.write("search.yaml", text.replace("budget: 240", "budget: 240000"));
    let child = dir.command(SEARCH).spawn().unwrap();
    while !dir.path("out/study/db").exists() {
        sleep(Duration::from_millis(5));
    }
    sleep(Duration::from_millis(700));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(Said::of(child.wait_with_output().unwrap()).code, Some(130));
    let said = dir.run(&["report", "out", "--html", "page.html"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.starts_with("not done yet: ") && !said.out.contains("evolved"), "{}", said.out);
    assert!(fs::read_to_string(dir.path("page.html")).unwrap().contains("This study is not done yet"));
    let said = dir.run(&["report", "out", "--pick", "mgsm-ja-mini=1"]);
    assert_eq!((said.code, said.error()), (Some(1), "out: the study is not done, so there is nothing to pick from"));
}

#[test]
fn what_is_no_study_or_in_use_is_refused() {
    let dir = Dir::new();
    fs::create_dir(dir.path("empty")).unwrap();
    for place in ["empty", "nowhere"] {
        let said = dir.run(&["report", place]);
        assert_eq!((said.code, said.error().to_owned()), (Some(1), format!("{place}: there is no study in it")));
    }
    assert_eq!(dir.tree(), ["empty"], "looking makes nothing");
    let held = Store::open(&dir.path("out/study")).unwrap();
    let said = dir.run(&["report", "out"]);
    assert_eq!((said.code, said.error()), (Some(1), "out: a search has just begun there, and has told nothing yet"));
    assert_eq!(said.hint(), Some("try again in a moment"));
    drop(held);
    let said = dir.run(&["report", "out"]);
    assert_eq!((said.code, said.error()), (Some(1), "out: there is no study in it"));
    let said = dir.run(&["report", "out/study"]);
    assert_eq!(said.hint(), Some("it is a study's store: give what holds it, out"));
    let said = dir.run(&["report", "out", "--html", "no/page.html"]);
    assert_eq!((said.code, said.error()), (Some(1), "no/page.html: there is no directory no"));
}

#[test]
fn several_seeds_are_shown_in_short() {
    let (dir, _) = two_seeds();
    let said = dir.run(&["report", "out"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.contains("evolved % [95% CI]") && said.out.matches(" 240 ").count() == 2, "{}", said.out);
    let said = dir.run(&["report", "out", "--html", "page.html"]);
    assert_eq!((said.code, said.error()), (Some(1), "out: these are 2 studies"));
    assert_eq!(said.hint(), Some("give one of them, such as out/seed-3"));
    assert_eq!(dir.run(&["report", "out/seed-4"]).code, Some(0));
}
