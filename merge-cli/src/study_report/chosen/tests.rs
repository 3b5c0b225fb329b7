//! Tests of the sentences on scores seen in a search and reported scores.

use super::*;
use merge_core::{
    item::{ItemId, ItemScore},
    search::Items,
    study::{CandidateRecord, Entry},
};

fn scores(right: usize, n: usize) -> Vec<ItemScore> {
    (0..n).map(|i| ItemScore { value: f64::from(u8::from(i < right)), tokens: 0, truncated: false }).collect()
}

fn items(n: u8) -> Vec<ItemId> {
    (0..n).map(|i| ItemId([i; 16])).collect()
}

/// A generation of candidates with these rungs and scores; the last rung has `n` items.
fn generation(n: usize, candidates: &[(usize, f64)]) -> Generation {
    let candidate = |(rung, score): &(usize, f64)| CandidateRecord {
        genome: vec![0.5],
        state: CandidateState::Ranked { rung: *rung },
        fitness: Some(*score),
        goals: vec![Some(*score)],
        costs: Vec::new(),
    };
    Generation {
        candidates: candidates.iter().map(candidate).collect(),
        items: vec![n],
        level: 0,
        grows: false,
        evaluations: n * candidates.len(),
        tokens: 0,
        mean: None,
        sigma: None,
    }
}

fn goal(select: &[ItemId]) -> Goal {
    Goal {
        name: "sums".to_owned(),
        weight: 1.0,
        items: Items { from: 2, to: 2 },
        select: select.to_vec(),
        report: items(24),
        ..Goal::default()
    }
}

/// Checks the lines for an answer that has 12 of 24 report items right, after these generations.
fn check(generations: &[Generation], estimated: bool, select: &[ItemId], expected: &[&str]) {
    let goal = goal(select);
    let entry = |name: &str, right: usize| Entry { name: name.to_owned(), scores: vec![scores(right, 24)] };
    let finalist = Finalist {
        name: "the mean".to_owned(),
        genome: vec![0.5],
        recipe: String::new(),
        fitness: 0.5,
        violation: 0.0,
        costs: Vec::new(),
        on_front: true,
        scores: vec![scores(1, select.len())],
    };
    let (winner, parents) = (entry("evolved", 12), [entry("a", 0)]);
    let reported = ReportedModels { parents: &parents, baselines: &[], winner: &winner };
    assert_eq!(lines(&[goal], &[finalist], &reported, generations, estimated, Language::En).unwrap(), expected);
}

const CHOSE: &str = "chose the mean among 1 finalist:";
const SELECT: &str =
    "  sums 50.0% [9.5, 90.5] on 2 select items, then 50.0% [31.4, 68.6] on 24 report items, which nothing had used";

#[test]
fn a_gap_is_luck_only_if_it_is_proved() {
    // Intervals by Newcombe's method 10 for independent proportions, computed in Python.
    let more = "  the best sums seen in the search was 95.0% [76.4, 99.1] on 20 search items, the largest of 2; the answer has 50.0% \
                [31.4, 68.6] on 24 report items: 45.0 [18.7, 64.0] points too many, by luck or easier items";
    check(&[generation(20, &[(0, 0.25), (0, 0.95)])], false, &items(2), &[CHOSE, SELECT, more]);
    let as_good = "  the best sums seen in the search was 75.0% [30.1, 95.4] on 4 search items, the largest of 2; the answer has 50.0% \
                   [31.4, 68.6] on 24 report items: no difference between the two is proved";
    check(&[generation(4, &[(0, 0.25), (0, 0.75)])], false, &items(2), &[CHOSE, SELECT, as_good]);
    // A seen score below the reported one is not called bad luck.
    let far_less = "  the best sums seen in the search was 5.0% [0.9, 23.6] on 20 search items, the largest of 1; the answer has 50.0% \
                    [31.4, 68.6] on 24 report items: 45.0 [18.7, 64.0] points more, by easier items or a better model";
    check(&[generation(20, &[(0, 0.05)])], false, &items(2), &[CHOSE, SELECT, far_less]);
    let less = "  the best sums seen in the search was 25.0% [4.6, 69.9] on 4 search items, the largest of 1; the answer has 50.0% \
                [31.4, 68.6] on 24 report items: no difference between the two is proved";
    check(&[generation(4, &[(0, 0.25)])], false, &items(2), &[CHOSE, SELECT, less]);
}

#[test]
fn an_estimate_is_called_one() {
    let estimate = "  the best sums estimated in the search was 75.0%, the largest of 1; the answer has 50.0% [31.4, 68.6] on 24 report \
                    items: estimates grow too good as a search fits its anchors";
    check(&[generation(4, &[(0, 0.75)])], true, &items(2), &[CHOSE, SELECT, estimate]);
}

#[test]
fn who_fell_out_of_a_race_met_fewer_items_and_is_not_the_best() {
    let last = "  the best sums seen in the search was 50.0% [15.0, 85.0] on 4 search items, the largest of 1; the answer has 50.0% \
                [31.4, 68.6] on 24 report items: no difference between the two is proved";
    check(&[generation(4, &[(0, 1.0), (1, 0.5)])], false, &items(2), &[CHOSE, SELECT, last]);
}

#[test]
fn a_score_that_is_no_share_has_no_interval() {
    let plain = "  the best sums seen in the search was 310.0% [no interval] on 4 search items, the largest of 1; the answer has 50.0% \
                 [31.4, 68.6] on 24 report items";
    check(&[generation(4, &[(0, 3.1)])], false, &items(2), &[CHOSE, SELECT, plain]);
}

#[test]
fn a_task_without_a_part_in_the_choice_is_named() {
    let note = "note: sums ranked candidates, but had no part in the choice: it has no select items";
    check(&[], false, &[], &[note, CHOSE]);
}

/// A margin is not a share, even if its value lies between 0 and 1.
#[test]
fn a_score_that_is_no_share_has_no_interval_of_one() {
    let entry = |name: &str| Entry { name: name.to_owned(), scores: vec![scores(12, 24)] };
    let (winner, parents) = (entry("evolved"), [entry("a")]);
    let reported = ReportedModels { parents: &parents, baselines: &[], winner: &winner };
    let seen = |metric: &str| {
        let goal = Goal { metric: metric.to_owned(), ..goal(&items(2)) };
        claims(&[goal], &reported, &[generation(4, &[(0, 0.375)])], false)[0].search_ci95
    };
    assert!(seen("exact_match").is_some() && seen("gold_margin").is_none());
}
