//! Feedback to an optimizer, and the choice among finalists.

use super::*;
use crate::{
    optimizer::Feedback,
    study::{
        finalists::ranked,
        generation::{GenerationInput, generation},
        score::Scores,
    },
};

/// An objective with a constraint that prefers a mean of 0.3, beside goals that prefer 0.6.
fn constrained() -> Fake {
    let mut fake = Fake::new();
    fake.goals[3] = Goal { within: Some(0.0), items: Items { from: 10, to: 10 }, ..fake.goals[3].clone() };
    (fake.goals[3].search, fake.goals[3].select) = (items(SEARCH + 3, 40), items(SELECT + 3, 20));
    fake.wants = [0.6, 0.6, 0.6, 0.3];
    fake
}

/// Record and feedback of a generation of these genomes.
fn check(family: &Family, fake: &Fake, genomes: &[Vec<f64>]) -> (Generation, Vec<Feedback>) {
    let store = Store::open(&family.study("study")).expect("a store");
    let study = family.as_study(fake, &store, 1, &|_| {});
    let (scorer, space) = scorer(&study);
    let round = GenerationInput { number: 0, genomes, level: 0, anchors: None, parents: None };
    let (generation, _, told) = generation(&scorer, &space, &round).expect("nothing fails");
    (generation, told)
}

/// Genomes on a line through the space.
fn line() -> Vec<Vec<f64>> {
    (0..6).map(|step| vec![f64::from(step) / 5.0; 3]).collect()
}

#[test]
fn every_goal_every_cost_and_every_item_is_told() {
    let family = Family::with("{name: nsga2, population: 6}", 440, "  minimise: [{what: tokens}]\n");
    let (generation, told) = check(&family, &Fake::new(), &line());
    for (candidate, told) in generation.candidates.iter().zip(&told) {
        let [Some(first), Some(second), None, None] = candidate.goals[..] else { panic!("two tasks rank") };
        assert_eq!(told.objectives, [first, second, -candidate.costs[0]]);
        assert!(candidate.costs[0] > 0.0);
        let (of_first, of_second) = told.items.split_at(7);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        assert!((mean(of_first) - first).abs() < 1e-12 && (mean(of_second) - second).abs() < 1e-12);
        assert_eq!(of_second.len(), 4);
    }
    assert!(told.windows(2).any(|two| two[0].objectives[0].to_bits() != two[1].objectives[0].to_bits()));
}

/// A goal that is only a constraint is no objective.
#[test]
fn the_front_is_of_what_optimizers_are_told() {
    let family = Family::with("{name: nsga2, population: 6}", 440, "  minimise: [{what: tokens}]\n");
    let fake = constrained();
    let (generation, told) = check(&family, &fake, &line());
    let mut ranked = 0;
    for (candidate, told) in generation.candidates.iter().zip(told) {
        let objectives = candidate.objectives(&fake.goals);
        assert_eq!(objectives.is_some(), matches!(candidate.state, CandidateState::Ranked { .. }));
        assert!(objectives.is_none_or(|objectives| objectives.len() == 3 && objectives == told.objectives));
        ranked += usize::from(matches!(candidate.state, CandidateState::Ranked { .. }));
    }
    assert!(ranked > 0);
    let point = Point::of(&generation, ParentComparison::default(), &fake.goals);
    assert!(!point.front.is_empty() && point.front.iter().all(|one| one.len() == 3));
}

#[test]
fn the_more_a_constraint_is_broken_the_worse_and_all_that_keep_to_it_are_better() {
    let family = Family::with("{name: cma_es, population: 6}", 440, "");
    let (generation, told) = check(&family, &constrained(), &line());
    let mut broken: Vec<(f64, f64)> = Vec::new();
    let mut kept: Vec<f64> = Vec::new();
    for (candidate, told) in generation.candidates.iter().zip(&told) {
        match candidate.state {
            CandidateState::Infeasible { by } => broken.push((by, told.fitness)),
            CandidateState::Ranked { .. } => kept.push(told.fitness),
            ref other => panic!("{other:?}"),
        }
    }
    assert!(broken.len() >= 2 && !kept.is_empty(), "{broken:?} {kept:?}");
    broken.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert!(broken.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 > two[1].1), "{broken:?}");
    let worst = kept.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(broken.iter().all(|(_, fitness)| *fitness < worst), "{broken:?} {kept:?}");
}

#[test]
fn who_keeps_to_the_constraints_is_chosen_before_who_is_fitter() {
    let family = Family::with("{name: cma_es, population: 6}", 440, "");
    let fake = constrained();
    let store = Store::open(&family.study("study")).expect("a store");
    let study = family.as_study(&fake, &store, 1, &|_| {});
    let (scorer, space) = scorer(&study);
    let asked: Vec<Vec<ItemId>> = fake.goals.iter().map(|goal| goal.select.clone()).collect();
    let finalist = |name: &str, genome: f64, fit: f64, constraint: f64| {
        let score = |value: f64| ItemScore { value, tokens: 0, truncated: false };
        let values = [fit, fit, fit, constraint];
        let scores = asked.iter().zip(values).map(|(items, value)| vec![score(value); items.len()]).collect();
        let genome = vec![genome; 3];
        let candidate = study.candidate(&space, &genome);
        (((name.to_owned(), genome), candidate), Scores { goals: scores, failed: None })
    };
    let three = vec![
        finalist("fit, but breaks it", 0.1, 0.9, 0.0),
        finalist("keeps to it", 0.2, 0.4, 1.0),
        finalist("keeps to it, and fitter", 0.3, 0.5, 1.0),
    ];
    let ranked = ranked(&scorer, three, &asked).expect("nothing fails");
    let names: Vec<&str> = ranked.iter().map(|finalist| finalist.name.as_str()).collect();
    assert_eq!(names, ["keeps to it, and fitter", "keeps to it", "fit, but breaks it"]);
    assert!(ranked[0].violation.abs() < 1e-12 && ranked[2].violation > 0.5);
}
