//! Tests of verdicts: scores of an answer and of other models in, findings and sentences out.

use super::*;
use merge_core::item::{ItemId, ItemScore};

/// A model that has the first `right` items of each task right.
fn entry(name: &str, right: &[usize], n: &[usize]) -> Entry {
    let score = |right: bool| ItemScore { value: f64::from(u8::from(right)), tokens: 0, truncated: false };
    let scores = right.iter().zip(n).map(|(right, n)| (0..*n).map(|i| score(i < *right)).collect()).collect();
    Entry { name: name.to_owned(), scores }
}

/// Tasks `t1`, `t2`, … with these numbers of items and weights.
fn goals(n: &[usize], weights: &[f64]) -> Vec<Goal> {
    let goal = |(number, (n, weight)): (usize, (&usize, &f64))| Goal {
        name: format!("t{}", number + 1),
        metric: "acc".to_owned(),
        weight: *weight,
        report: (0..*n as u128).map(|i| ItemId(i.to_be_bytes())).collect(),
        ..Goal::default()
    };
    n.iter().zip(weights).enumerate().map(goal).collect()
}

/// Judgement of an answer; all models are given by their numbers of right items.
pub(crate) fn judgement(
    n: &[usize],
    weights: &[f64],
    winner: &[usize],
    parents: &[(&str, &[usize])],
    baselines: &[(&str, &[usize])],
) -> Judgement {
    let all =
        |models: &[(&str, &[usize])]| models.iter().map(|(name, right)| entry(name, right, n)).collect::<Vec<_>>();
    let (parents, baselines, winner) = (all(parents), all(baselines), entry("evolved", winner, n));
    let reported = ReportedModels { parents: &parents, baselines: &baselines, winner: &winner };
    Judgement::of(&goals(n, weights), &reported)
}

/// Checks the sentences of a verdict.
fn check(
    n: &[usize],
    weights: &[f64],
    winner: &[usize],
    parents: &[(&str, &[usize])],
    baselines: &[(&str, &[usize])],
    sentences: &[&str],
) -> Judgement {
    let judgement = judgement(n, weights, winner, parents, baselines);
    assert_eq!(judgement.sentences(Language::En), sentences);
    judgement
}

#[test]
fn the_best_parent_is_another_on_each_task() {
    // Observed in a search: A has 17 and 2 of 100 right, B the reverse, the answer 33 and 30.
    let judgement = check(
        &[100, 100],
        &[1.0, 1.0],
        &[33, 30],
        &[("A", &[17, 2]), ("B", &[2, 17])],
        &[],
        &["better than the best parent on t1 and t2"],
    );
    let best: Vec<(&str, f64)> = judgement
        .tasks
        .iter()
        .map(|task| (task.best_parent.name.as_str(), (100.0 * task.best_parent.difference.value).round()))
        .collect();
    assert_eq!(best, [("A", 16.0), ("B", 13.0)]);
    assert_eq!(
        judgement.comparisons(Language::En),
        [
            "the answer on t1 (100 items), item by item, p by Holm:",
            "  +16.0 [+10.1, +24.4]  p <0.0001  better than the best parent, A",
            "the answer on t2 (100 items), item by item, p by Holm:",
            "  +13.0 [+7.8, +21.0]   p 0.0002   better than the best parent, B",
        ]
    );
}

#[test]
fn worse_is_said_also_of_a_task_that_is_only_reported() {
    check(
        &[60, 60],
        &[1.0, 0.0],
        &[50, 10],
        &[("A", &[54, 40])],
        &[],
        &["not proved different from the best parent on t1", "worse than the best parent on t2"],
    );
}

#[test]
fn the_best_of_many_parents_is_better_by_chance_more_often() {
    // Only the parent has six items right: p = 0.03125; for the better of two parents, twice that.
    let of_two: &[(&str, &[usize])] = &[("A", &[26]), ("B", &[0])];
    check(&[50], &[1.0], &[20], &of_two[..1], &[], &["worse than the best parent on t1"]);
    check(&[50], &[1.0], &[20], of_two, &[], &["not proved different from the best parent on t1"]);
    // Beating the best of two parents needs no correction.
    check(&[50], &[1.0], &[32], of_two, &[], &["better than the best parent on t1"]);
}

#[test]
fn a_search_that_no_baseline_is_worse_than_was_not_worth_its_cost() {
    let judgement = check(
        &[9],
        &[1.0],
        &[4],
        &[("A", &[2])],
        &[("uniform average", &[5]), ("random search", &[3])],
        &[
            "not proved different from the best parent on t1",
            "not proved different from any of the 2 baselines on t1",
            "it is not proved that the search was worth its cost: uniform average and random search may be as good",
        ],
    );
    assert_eq!(judgement.as_good, ["uniform average", "random search"]);
}

#[test]
fn baselines_are_told_apart() {
    check(
        &[200],
        &[1.0],
        &[100],
        &[("A", &[20])],
        &[("uniform average", &[60]), ("greedy soup", &[99]), ("random search", &[140])],
        &[
            "better than the best parent on t1",
            "better than uniform average on t1",
            "not proved different from greedy soup on t1",
            "worse than random search on t1",
            "the search was not worth its cost; better than its answer: random search",
            "it is not proved that the search was worth its cost: greedy soup may be as good",
        ],
    );
    // A baseline that is beaten on one objective does not count as unbeaten.
    let judgement = check(
        &[200, 200],
        &[1.0, 1.0],
        &[100, 100],
        &[("A", &[20, 20])],
        &[("soup", &[60, 140])],
        &["better than the best parent on t1 and t2", "better than soup on t1", "worse than soup on t2"],
    );
    assert!(judgement.as_good.is_empty());
}

#[test]
fn what_too_few_items_cannot_prove_is_not_held_against_a_search() {
    let said = ["not proved different from the best parent on t1", "not proved different from soup on t1"];
    check(&[5], &[1.0], &[5], &[("A", &[0])], &[("soup", &[0])], &said);
}

#[test]
fn a_baseline_that_breaks_a_constraint_is_not_as_good() {
    let [parents, baselines] = ["A", "soup"].map(|name| vec![entry(name, &[50, 100], &[200, 200])]);
    let winner = entry("evolved", &[52, 180], &[200, 200]);
    let mut goals = goals(&[200, 200], &[1.0, 0.0]);
    let reported = ReportedModels { parents: &parents, baselines: &baselines, winner: &winner };
    assert_eq!(Judgement::of(&goals, &reported).as_good, ["soup"]);
    goals[1].within = Some(0.02);
    assert!(Judgement::of(&goals, &reported).as_good.is_empty());
}

#[test]
fn many_comparisons_take_more_to_prove() {
    // Only the answer has six items right: p = 0.03125; with two comparisons, twice that.
    let finding = |baselines: &[(&str, &[usize])]| {
        let all: Vec<Entry> = baselines.iter().map(|(name, right)| entry(name, right, &[50])).collect();
        let (parents, winner) = ([entry("A", &[0], &[50])], entry("evolved", &[26], &[50]));
        let reported = ReportedModels { parents: &parents, baselines: &all, winner: &winner };
        let judgement = Judgement::of(&goals(&[50], &[1.0]), &reported);
        judgement.tasks[0].baselines.iter().map(|rival| rival.finding).collect::<Vec<_>>()
    };
    assert_eq!(finding(&[("soup", &[20])]), [Finding::Better]);
    assert_eq!(finding(&[("soup", &[20]), ("average", &[20])]), [Finding::NotProvedDifferent; 2]);
}

#[test]
fn few_items_are_named() {
    let few = |n: &[usize]| few_items(&goals(n, &vec![1.0; n.len()]), Language::En);
    assert_eq!(few(&[0, 30, 500]), Vec::<String>::new());
    assert_eq!(
        few(&[1, 5, 29]),
        [
            "note: task t1 has 1 report item: on fewer than 6 no difference can be proved",
            "note: task t2 has 5 report items: on fewer than 6 no difference can be proved",
            "note: task t3 has 29 report items: on fewer than 30 only a large difference can be proved",
        ]
    );
}
