//! A study that breaks down again and again ends as one that never did.

use super::*;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Number of evaluations of the same item by the same weights, beyond the first of each.
fn n_repeated(seen: &[Seen]) -> usize {
    let distinct: BTreeSet<_> = seen.iter().map(|seen| (seen.weights, seen.goal, seen.item)).collect();
    seen.len() - distinct.len()
}

/// Breaks a search down until it ends, and checks the end; returns the number of breakdowns.
pub(super) fn check(family: &Family, fakes: impl Fn() -> Fake, workers: usize, seed: u64) -> usize {
    let fake = fakes();
    let expected = essence(family.finish(&family.study("whole"), &fake, workers));
    let n_evaluations = fake.seen.lock().expect("no panic").len();
    assert_eq!(n_repeated(&fake.seen.lock().expect("no panic")), 0, "what is known is not evaluated again");

    let (fake, study) = (fakes(), family.study("broken"));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut failures, mut interruptions) = (0, 0);
    let findings = loop {
        fake.break_down_after(rng.random_range(0..9), rng.random_ratio(1, 4));
        match family.run(&study, &fake, workers) {
            Ok(findings) => break findings,
            Err(error) if error.fault() == Fault::Interrupted => interruptions += 1,
            Err(error) => {
                assert_eq!(error.to_string(), "the power is gone");
                failures += 1;
            }
        }
    };
    assert_eq!(essence(findings), expected, "after {failures} failures");
    assert!(family.contents("whole") == family.contents("broken"), "after {failures} failures");
    let seen = fake.seen.lock().expect("no panic");
    // Only evaluations in flight are lost.
    assert!(n_repeated(&seen) <= failures * workers * CHUNK);
    assert_eq!(seen.len() - n_repeated(&seen), n_evaluations);
    failures + interruptions
}

#[test]
fn resumes_where_it_broke_down_hundreds_of_times() {
    let broken = [("cma_es", 1, 1), ("cma_es", 3, 2), ("random", 2, 3)]
        .map(|(optimizer, workers, seed)| check(&Family::new(optimizer, 440), Fake::new, workers, seed));
    assert!(broken.iter().sum::<usize>() > 200, "it broke down {broken:?} times");
}

fn resumes_with(optimizers: &[&str]) {
    for (seed, optimizer) in optimizers.iter().enumerate() {
        let broken = check(&Family::with(optimizer, 220, ""), Fake::new, 2, seed as u64);
        assert!(broken > 10, "{optimizer} broke down {broken} times");
    }
}

#[test]
fn resumes_with_every_distribution() {
    resumes_with(&[
        "{name: cma_es, restarts: bipop, population: 5}",
        "sep_cma_es",
        "cma_es_margin",
        "cat_cma",
        "cat_cma_margin",
    ]);
}

#[test]
fn resumes_with_every_population_and_archive() {
    resumes_with(&[
        "{name: nsga2, population: 8}",
        "{name: one_plus_one, population: 4}",
        "{name: map_elites, population: 4}",
        "{name: m2n2, population: 8}",
    ]);
}

#[test]
fn resumes_in_the_middle_of_a_race() {
    let family = Family::with("{name: cma_es, population: 8}", 560, EVERYTHING);
    assert!(check(&family, growing, 2, 7) > 20);
}
