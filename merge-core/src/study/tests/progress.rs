//! Progress that a study reports, and its comparison with the parents.

use super::{candidates::among_layers, *};

/// Progress reports of a run: items done, items left, and the phase.
type Course = Vec<(u64, u64, Phase)>;

/// Runs a study, and records its progress reports.
fn followed(family: &Family, fake: &Fake, study: &str, workers: usize) -> (Result<Findings>, Course) {
    let store = Store::open(&family.study(study)).expect("a store");
    let seen: Mutex<Course> = Mutex::default();
    let note = |progress: &Progress| {
        seen.lock().expect("no panic").push((progress.done, progress.left, progress.phase));
        *fake.now.lock().expect("no panic") = (progress.phase.name(), 0);
    };
    let outcome = run(&family.as_study(fake, &store, workers, &note));
    (outcome, seen.into_inner().expect("no panic"))
}

fn share((done, left, _): &(u64, u64, Phase)) -> f64 {
    *done as f64 / (done + left).max(1) as f64
}

/// Studies with races, growing subsets, constraints, a layer scan and anchors, elites and failures.
fn families() -> Vec<(Family, Fake)> {
    vec![
        (Family::new("cma_es", 220), Fake::new()),
        (Family::new("random", 220), Fake::new()),
        (Family::with("{name: nsga2, population: 8}", 480, ""), Fake::new()),
        (Family::with("{name: map_elites, population: 4}", 240, ""), Fake::new()),
        (Family::with("{name: one_plus_one, population: 4}", 240, ""), Fake::new()),
        (Family::with("{name: cma_es, population: 8}", 560, EVERYTHING), growing()),
        (Family::new("cma_es", 220), Fake { breaks: true, ..Fake::new() }),
        (among_layers(1200, "  layer_scan: true\n  anchors: {of: 20, calibration: 3}\n"), Fake::new()),
    ]
}

#[test]
fn a_share_never_goes_backward_and_all_is_done_at_the_end() {
    for (number, (family, fake)) in families().into_iter().enumerate() {
        let (outcome, course) = followed(&family, &fake, "study", 2);
        assert!(outcome.is_ok());
        for two in course.windows(2) {
            assert!(share(&two[0]) <= share(&two[1]), "family {number}: {two:?}");
        }
        assert_eq!(course.last().map(|(_, left, phase)| (*left, *phase)), Some((0, Phase::Report)), "family {number}");
        assert!(course.iter().any(|step| step.2 == Phase::Evolution && share(step) < 0.5), "family {number}");
    }
}

/// A resumed study starts from its last finished generation, and reports nothing before that again.
#[test]
fn a_study_that_goes_on_says_the_same_as_before() {
    for (number, (family, fake)) in families().into_iter().enumerate() {
        fake.break_down_after(60, true);
        let (_, before) = followed(&family, &fake, "study", 1);
        fake.break_down_after(i64::MAX, true);
        let (_, after) = followed(&family, &fake, "study", 1);
        let (_, whole) = followed(&family, &fake, "whole", 1);
        assert!(before.iter().all(|step| whole.contains(step)), "family {number}: said what a whole run does not");
        let stopped = before.last().map_or(0.0, share);
        let resumed = after.iter().map(share).find(|share| *share >= stopped);
        assert!(resumed.is_some_and(|resumed| resumed < stopped + 0.05), "family {number}: {stopped} {resumed:?}");
    }
}

#[test]
fn parents_are_asked_a_generation_and_then_a_tenth_beside() {
    let family = Family::new("cma_es", 4400);
    let fake = Fake::new();
    let findings = family.finish(&family.study("study"), &fake, 2);
    let parents = family.parents();
    let seen = fake.seen.lock().expect("no panic");
    let beside = |seen: &&Seen| seen.phase == "evolution" && parents.contains(&seen.weights);
    let asked = seen.iter().filter(beside).count() as u64;
    assert!(asked > 0 && asked <= findings.history.beside, "{asked} of {}", findings.history.beside);
    let first = 3 * 11;
    assert!(findings.history.beside <= 440.max(first), "{}", findings.history.beside);
    // The comparison costs the search nothing.
    assert_eq!(findings.history.item_evaluations, 4400);
    let curves = &findings.progress.curves;
    assert_eq!((curves.evolution.len(), curves.random.len()), (80, 80));
    let compared = |point: &&Point| point.beside.leads.iter().all(Option::is_some) && point.beside.leads.len() == 3;
    assert!(curves.evolution.iter().filter(compared).count() > 60);
    // Random search met the same items, so it is compared without asking.
    assert!(curves.random.iter().filter(compared).count() > 60);
    assert!(curves.random.iter().all(|point| point.beside.asked == 0));
}
