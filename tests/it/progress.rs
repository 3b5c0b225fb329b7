//! Progress of a job: one share and one estimate for the whole job, the same in every view.

use crate::{
    kit::{Dir, Said, family},
    queue::{Server, job, long_search, ok, signal},
    search::small_study,
};
use std::{fs, thread::sleep, time::Duration};

const LONG: &[&str] = &["search", "long.yaml", "-o", "out"];

/// The small study, and a second stage that merges its answer with another model. Each part takes
/// long enough to be observed.
fn two_stages() -> Dir {
    let dir = Dir::new();
    small_study(&dir);
    let first = fs::read_to_string(dir.path("search.yaml")).unwrap();
    let model = |name: &str| format!("- {{model: {name}, parameters: {{weight: {{search: [0.0, 1.0]}}}}}}\n");
    let second = format!(
        "merge_method: linear\nmodels:\n{}{}dtype: bfloat16\nsearch:\n  budget: 160\n  optimizer: {{name: cma_es, population: 5}}\n  \
         objective:\n  - {{task: sums.yaml, items: 8}}\n",
        model("mixed"),
        model(&family().join("math-a").display().to_string())
    );
    dir.write("both.yaml", format!("name: mixed\n{first}---\n{second}"));
    dir
}

#[test]
fn a_job_has_one_share_which_grows_through_all_stages_and_baselines_are_called_so() {
    let dir = two_stages();
    let _server = Server::start(&dir, &[]);
    ok(&dir, &["submit", "both.yaml"]);
    let mut seen: Vec<(f64, String)> = Vec::new();
    let ended = loop {
        let job = job(&dir, 1);
        let progress = &job["progress"];
        if let (Some(share), Some(label)) = (progress["share"].as_f64(), progress["label"].as_str()) {
            seen.push((share, label.to_owned()));
        }
        if ["done", "failed"].contains(&job["state"].as_str().unwrap()) {
            break job;
        }
        sleep(Duration::from_millis(20));
    };
    assert_eq!(ended["state"], "done", "{ended}");
    assert!(seen.windows(2).all(|two| two[0].0 <= two[1].0), "{seen:?}");
    assert_eq!(ended["progress"]["share"], 1.0);
    assert_eq!(ended["progress"]["left_seconds"], 0.0);
    let first = |part: &str| seen.iter().position(|(_, label)| label.contains(part));
    let [one, random, two] =
        ["stage 1 of 2 · ", "stage 1 of 2 · baseline: random search", "stage 2 of 2 · "].map(first);
    assert!(one.is_some() && one < random && random < two, "{seen:?}");
    assert!(seen[two.unwrap()].0 < 0.8, "{seen:?}");
    let gain = &ended["progress"]["gain"];
    let [low, high] = [0, 1].map(|end| gain["ci95"][end].as_f64().unwrap());
    let points = gain["points"].as_f64().unwrap();
    assert!(low < points && points < high && gain["parent"].is_string(), "{gain}");
}

/// `jobs` shows the same kind of progress line as the job's log.
#[test]
fn what_is_said_of_a_job_is_the_same_everywhere() {
    let dir = Dir::new();
    small_study(&dir);
    let text = fs::read_to_string(dir.path("search.yaml")).unwrap();
    dir.write("long.yaml", text.replace("budget: 240", "budget: 240000"));
    let _server = Server::start(&dir, &[]);
    ok(&dir, &["submit", "long.yaml"]);
    // The first line of the log about a generation that was compared.
    let logged = loop {
        let log = fs::read_to_string(dir.path("home/jobs/1/log")).unwrap_or_default();
        if let Some(line) = log.lines().find(|line| line.contains(" to the best parent")) {
            break line.to_owned();
        }
        sleep(Duration::from_millis(50));
    };
    let place = |line: &str| line.split(" · ").map(str::to_owned).collect::<Vec<_>>();
    let listed = ok(&dir, &["jobs"]).out;
    let listed = listed.lines().find(|line| line.contains("long")).unwrap().to_owned();
    let (listed, logged) = (place(listed.rsplit("  ").next().unwrap()), place(&logged));
    assert_eq!(listed.len(), logged.len(), "{listed:?} {logged:?}");
    assert_eq!(listed[1], "evolution");
    for said in [&listed, &logged] {
        assert!(
            said[0].ends_with('%') && said[2].contains(" of about ") && said[3].ends_with(" to the best parent"),
            "{said:?}"
        );
    }
    ok(&dir, &["cancel", "1"]);
}

/// A resumed search counts the work done before.
#[test]
fn a_search_that_goes_on_does_not_begin_at_nothing() {
    let dir = long_search();
    let shares = |said: &Said| -> Vec<u32> {
        let share = |line: &str| line.split_once("% · ").and_then(|(share, _)| share.parse().ok());
        said.err.lines().filter_map(share).collect()
    };
    let text = fs::read_to_string(dir.path("long.yaml")).unwrap().replace("budget: 240000", "budget: 480");
    dir.write("long.yaml", text);
    let first = dir.command(LONG).spawn().unwrap();
    while fs::read_to_string(dir.path("out/study/record.jsonl")).map_or(0, |text| text.lines().count()) < 8 {
        sleep(Duration::from_millis(10));
    }
    signal(first.id(), "INT");
    let first = Said::of(first.wait_with_output().unwrap());
    assert_eq!(first.code, Some(130), "{}", first.err);
    let second = dir.run(LONG);
    assert_eq!(second.code, Some(0), "{}", second.err);
    let (before, after) = (shares(&first), shares(&second));
    assert!(before.first().unwrap() < after.first().unwrap(), "{before:?} {after:?}");
}
