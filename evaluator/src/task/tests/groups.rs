//! Groups: their tasks, and their measures over all scores.

use super::{Fractions, GENERATE, LocalFiles, Split, Suite, Task, in_folder, suite, sums, text};
use std::collections::BTreeMap;

const GROUP: &str =
    "group: all\ntask: [one, two]\naggregate_metric_list: [{metric: exact_match, weight_by_size: true}]\n";

fn read(files: &[(&str, &str)]) -> Result<Suite, String> {
    let [one, two] =
        ["one", "two"].map(|name| GENERATE.replace("sums", name).replace("i.jsonl", &format!("{name}.jsonl")));
    let (small, large) = (sums(0..4), sums(0..6));
    let own = [("one.yaml", one.as_str()), ("two.yaml", &two), ("one.jsonl", &small), ("two.jsonl", &large)];
    let files: Vec<(&str, &str)> = files.iter().copied().chain(own).collect();
    in_folder(&files, |path| suite(path, Fractions::default(), &LocalFiles))
}

#[track_caller]
fn check(group: &str, expected: &str) {
    assert_eq!(read(&[("g.yaml", group)]).err().as_deref(), Some(expected));
}

/// The group's only measure, if the first task has 2 right answers and the second has 1.
fn score(suite: &Suite) -> (f64, Option<f64>, usize) {
    let rows: Vec<_> = suite
        .tasks
        .iter()
        .enumerate()
        .map(|(i, task)| {
            let right = if i == 0 { 2 } else { 1 };
            let answer = |n: usize| text(&if n < right { (n + 1).to_string() } else { "x".to_owned() });
            let items = task.split(Split::Report);
            let answers: Vec<_> = (0..items.len()).map(answer).collect();
            task.aggregate(&task.marked(items, &answers).unwrap(), 1000)
        })
        .collect();
    let rows: BTreeMap<_, _> =
        suite.tasks.iter().zip(&rows).map(|(task, rows)| (task.name(), rows.as_slice())).collect();
    let all = suite.groups.last().unwrap().aggregate(&rows);
    assert_eq!(all.len(), 1);
    (all[0].value, all[0].stderr, all[0].n)
}

#[test]
fn weighs_tasks_by_their_items_or_alike() {
    let by_size = score(&read(&[("g.yaml", GROUP)]).unwrap());
    let alike = score(&read(&[("g.yaml", &GROUP.replace("true", "false"))]).unwrap());
    // pooled_sample_stderr and unweighted_mean_stderr of lm_eval 0.4.13, for 2 of 4 and 1 of 6 right.
    let (first, second) = ((1.0_f64 / 12.0).sqrt(), (1.0_f64 / 36.0).sqrt());
    assert!((by_size.0 - 0.3).abs() < 1e-12 && (alike.0 - 1.0 / 3.0).abs() < 1e-12);
    let pooled = ((3.0 * first * first * 4.0 + 5.0 * second * second * 6.0) / 8.0 / 10.0).sqrt();
    assert!((by_size.1.unwrap() - pooled).abs() < 1e-12);
    assert!((alike.1.unwrap() - (first * first + second * second).sqrt() / 2.0).abs() < 1e-12);
    assert_eq!((by_size.2, alike.2), (10, 10));
}

#[test]
fn writes_over_the_keys_of_its_tasks() {
    let group = "group: all\ntask: [{task: one, doc_to_text: 'Q{{question}}'}, two]\ndescription: 'D '\n";
    let suite = read(&[("g.yaml", group)]).unwrap();
    let first: Vec<String> = suite.tasks.iter().map(|task| super::prompts(task)[0].clone()).collect();
    assert_eq!(first, ["D Q0+1", "D 問題：0+1\n答え："]);
}

#[test]
fn holds_groups_and_tags() {
    let group = "group: all\ntask: [{group: inner, task: [one]}, both]\n";
    let tagged = GENERATE.replace("sums", "three").replace("i.jsonl", "one.jsonl") + "tag: both\n";
    let suite = read(&[("g.yaml", group), ("three.yaml", &tagged)]).unwrap();
    let names: Vec<&str> = suite.tasks.iter().map(Task::name).collect();
    assert_eq!(names, ["one", "three"]);
    let groups: Vec<(&str, Vec<String>)> =
        suite.groups.iter().map(|group| (group.name.as_str(), group.children.clone())).collect();
    assert_eq!(
        groups,
        [("all::inner", vec!["one".to_owned()]), ("all", vec!["all::inner".to_owned(), "three".to_owned()])]
    );
}

#[test]
fn refuses_a_group_that_says_nothing() {
    check(
        "group: all\ntask: [onee]\n",
        "g.yaml:2:8: there is no task `onee`\nhint: did you mean `one`? there are: `all`, `one`, `two`",
    );
    check("group: all\n", "g.yaml:1:1: the group `all` names no tasks\nhint: add `task: [name, …]`");
    check("group: all\ntask: [all]\n", "g.yaml:1:1: the group `all` contains itself");
    check(
        &GROUP.replace("weight_by_size: true", "aggregation: median"),
        "g.yaml:3:60: aggregate_metric_list: a group has no aggregation `median`\nhint: write `mean`",
    );
    let unknown = read(&[("g.yaml", &format!("{GROUP}num_fewshots: 2\n"))]).err().unwrap();
    assert!(unknown.starts_with("g.yaml:4:1: there is no key `num_fewshots`"), "{unknown}");
}
