//! Anchors in a search: the items asked, the estimated scores, and refusals.

use super::{resuming::check, *};
use crate::{
    optimizer::Feedback,
    study::{
        anchors::calibrate,
        generation::{GenerationInput, generation},
    },
};

const ANCHORS: &str = "  anchors: {of: 20, calibration: 3}\n";
/// Evaluations of a calibration: three models and three candidates on 20 items of two tasks.
const CALIBRATION: usize = 6 * 20 * 2;

#[test]
fn resumes_in_the_middle_of_a_calibration_and_after_it() {
    let noisy = || Fake { noisy: true, ..Fake::new() };
    let broken = [
        check(&Family::with("{name: cma_es, population: 5}", 500, ANCHORS), Fake::new, 2, 11),
        check(&Family::with("{name: nsga2, population: 8}", 500, "  anchors: {calibration: 0}\n"), noisy, 1, 12),
        check(
            &Family::with("{name: random, population: 5}", 500, ANCHORS),
            || Fake { breaks: true, ..Fake::new() },
            3,
            13,
        ),
    ];
    assert!(broken.iter().all(|times| *times > 10), "it broke down {broken:?} times");
}

#[test]
fn all_candidates_meet_the_anchors_and_the_calibration_is_paid() {
    let family = Family::with("{name: cma_es, population: 5}", 1200, ANCHORS);
    let fake = Fake::new();
    let findings = family.finish(&family.study("study"), &fake, 2);
    let seen = fake.seen.lock().expect("no panic");
    let of = |phase: &'static str| seen.iter().filter(move |seen| seen.phase == phase);
    assert_eq!(of("calibration").count(), CALIBRATION);
    let pool: BTreeSet<_> = of("calibration").map(|seen| (seen.goal, seen.item)).collect();
    assert_eq!(pool.len(), 40, "everybody answers the same");

    let mut candidates: BTreeMap<Fingerprint, BTreeSet<(usize, ItemId)>> = BTreeMap::new();
    for seen in of("evolution") {
        candidates.entry(seen.weights).or_default().insert((seen.goal, seen.item));
    }
    let generations = &findings.history.generations;
    // The calibration's candidates are not asked again.
    assert_eq!(candidates.len(), 5 * generations.len() - 3);
    let anchors = candidates.values().next().expect("a candidate");
    assert!(candidates.values().all(|asked| asked == anchors) && anchors.is_subset(&pool));
    assert_eq!(anchors.iter().filter(|(goal, _)| *goal == 0).count(), generations[0].items[0]);
    assert!((2..=7).contains(&generations[0].items[0]) && (2..=4).contains(&generations[0].items[1]));

    let evaluations: usize = generations.iter().map(|generation| generation.evaluations).sum();
    assert_eq!(evaluations, 5 * anchors.len() * generations.len());
    assert_eq!(findings.history.item_evaluations, CALIBRATION + evaluations);
    assert!(findings.history.item_evaluations <= 1200 && findings.history.item_evaluations > 1200 - 5 * 11);
    // Random search has as many evaluations, and fresh items.
    let fresh: BTreeSet<_> = of("random search").map(|seen| (seen.goal, seen.item)).collect();
    assert!(!fresh.is_subset(&pool));
}

/// For candidates on a line: the record, the feedback, and for each goal the mean of the answers to
/// the anchors and the mean score on all items that these stand for.
fn estimated(fake: &Fake) -> Vec<(CandidateRecord, Feedback, Vec<f64>, Vec<f64>)> {
    let family = Family::with("{name: cma_es, population: 5}", 1200, ANCHORS);
    let store = Store::open(&family.study("study")).expect("a store");
    let study = family.as_study(fake, &store, 1, &|_| {});
    let (scorer, space) = scorer(&study);
    let start = family.file.search.optimizer.start(&space, 5);
    let (anchors, cost) = calibrate(&scorer, &space, &start).expect("nothing fails");
    assert_eq!(cost, CALIBRATION as u64);
    let pool: BTreeSet<_> = fake.seen.lock().expect("no panic").iter().map(|seen| (seen.goal, seen.item)).collect();
    let asked = |goal: usize| pool.iter().filter(|(of, _)| *of == goal).map(|(_, item)| *item).collect::<Vec<_>>();

    let genomes: Vec<Vec<f64>> = (0..5).map(|step| vec![f64::from(step) / 4.0; 3]).collect();
    let round = GenerationInput { number: 0, genomes: &genomes, level: 0, anchors: anchors.as_ref(), parents: None };
    let (generation, _, told) = generation(&scorer, &space, &round).expect("nothing fails");
    let mut all = Vec::new();
    for (candidate, told) in generation.candidates.into_iter().zip(told) {
        let merge = study.candidate(&space, &candidate.genome);
        let mut scores = vec![Vec::new(); 4];
        let mut listener = |news: News| {
            let News::Scores(goal, of_chunk) = news else { panic!("nobody gives up") };
            scores[goal].extend(of_chunk.into_iter().map(|(_, score)| score.value));
            Ok(ControlFlow::Continue(()))
        };
        fake.score(&merge, &[asked(0), asked(1), Vec::new(), Vec::new()], &mut listener).expect("it is scored");
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let plain = vec![mean(&told.items[..generation.items[0]]), mean(&told.items[generation.items[0]..])];
        all.push((candidate, told, plain, vec![mean(&scores[0]), mean(&scores[1])]));
    }
    all
}

/// Three of four items are alike: one anchor stands for all, but is one of seven in the mean.
#[test]
fn candidates_are_ranked_by_what_they_would_score_on_all_items() {
    let (mut of_estimate, mut of_mean) = (0.0, 0.0);
    for (candidate, told, plain, truth) in estimated(&Fake { alike: true, ..Fake::new() }) {
        let [Some(first), Some(second), None, None] = candidate.goals[..] else { panic!("two tasks rank") };
        assert!((told.fitness - (first + 0.5 * second) / 1.5).abs() < 1e-12);
        assert_eq!(told.objectives, [first, second]);
        for (estimate, (plain, truth)) in [first, second].into_iter().zip(plain.into_iter().zip(truth)) {
            assert!((0.0..=1.0).contains(&estimate));
            of_estimate += (estimate - truth).abs();
            of_mean += (plain - truth).abs();
        }
    }
    assert!(of_estimate < 0.5 * of_mean, "errors of {of_estimate} and {of_mean}");
}

/// Message that refuses a search with these anchors.
fn refusal(budget: u64, more: &str, fake: &Fake) -> String {
    let family = Family::with("{name: cma_es, population: 5}", budget, more);
    let found = check::check(&family.file.template, &family.sources, &family.file.search, fake);
    let message = found.expect_err("it is refused").to_string();
    let (place, message) = message.split_once(": ").expect("a place");
    let (_, place) = place.split_once("search.yaml").expect("the file");
    format!("{place}: {message}")
}

#[test]
fn refuses_anchors_that_cannot_be_had() {
    let fake = Fake::new();
    let margin = || {
        let mut fake = Fake::new();
        (fake.goals[1].worst, fake.goals[1].metric) = (-50.0, "gold_margin".to_owned());
        fake
    };
    assert_eq!(
        refusal(1200, ANCHORS, &margin()),
        ":11:12: search.anchors: the scores of task task 1 (gold_margin) are not between 0 and 1"
    );
    assert_eq!(
        refusal(1200, "  anchors: {of: 50}\n", &fake),
        ":11:17: search.anchors.of: task task 0 has 40 search items, not 50"
    );
    assert_eq!(
        refusal(1200, "  anchors: {of: 7}\n", &fake),
        ":11:12: search.anchors: task task 0: 7 anchors cannot stand for 7"
    );
    assert_eq!(
        refusal(1200, "  anchors: {of: 20, calibration: 6}\n", &fake),
        ":11:34: search.anchors.calibration: the first generation has only 5 candidates, but the calibration needs 6"
    );
    assert_eq!(
        refusal(294, ANCHORS, &fake),
        ":8:11: search.budget: 294 item evaluations do not pay for one generation, which takes 295: \
         5 candidates on 11 items, and 240 of the calibration"
    );
}

/// More generations make a lead surer only with fresh items, up to the size of the pool.
#[test]
fn with_anchors_generations_share_all_of_a_leads_variance() {
    for (more, shares_all) in [(ANCHORS, true), ("", false)] {
        let family = Family::with("{name: cma_es, population: 5}", 1200, more);
        let findings = family.finish(&family.study("study"), &Fake { noisy: true, ..Fake::new() }, 1);
        let leads = findings.progress.curves.evolution.iter().flat_map(|point| point.beside.leads.iter().flatten());
        let shares: Vec<f64> = leads.map(|lead| lead.shared / lead.variance).collect();
        assert!(!shares.is_empty());
        for share in shares {
            assert!(if shares_all { (share - 1.0).abs() < 1e-9 } else { share < 0.5 }, "{more}: {share}");
        }
    }
}
