//! CMA-ES takes as many evaluations as pycma 4.5.0 and cmaes 0.13.1; `benches/optimizers.rs` tests higher dimensions.

use super::{reals, rosenbrock, sphere, step};
use crate::optimizer::Optimizer;
use std::array;

/// A sum of squares in which coordinate i has the weight `weight(i / (n - 1))`.
fn weighted(x: &[f64], weight: impl Fn(f64) -> f64) -> f64 {
    let n = x.len() as f64;
    x.iter().enumerate().map(|(i, x)| weight(i as f64 / (n - 1.0)) * x * x).sum()
}

fn ellipsoid(x: &[f64]) -> f64 {
    weighted(x, |i| 1e6_f64.powf(i))
}

fn cigar(x: &[f64]) -> f64 {
    weighted(x, |i| if i == 0.0 { 1.0 } else { 1e6 })
}

fn tablet(x: &[f64]) -> f64 {
    weighted(x, |i| if i == 0.0 { 1e6 } else { 1.0 })
}

/// Checks that the median number of evaluations to f ≤ 1e-8 is within 0.93 to 1.07 times those of pycma and cmaes.
fn check_speed(f: fn(&[f64]) -> f64, start: f64, sigma: f64, n: usize, theirs: [f64; 2]) {
    let mut evaluations: [usize; 21] = array::from_fn(|seed| {
        let mut search = Optimizer::cma_es(reals(&vec![start; n], sigma, None, seed as u64), false);
        // Some runs of Rosenbrock stay in a local optimum.
        let generation = (1..2000).find(|_| step(&mut search, f) <= 1e-8).unwrap_or(2000);
        generation * search.population()
    });
    evaluations.sort_unstable();
    let median = evaluations[10] as f64;
    let [least, most] = [0.93 * theirs[0].min(theirs[1]), 1.07 * theirs[0].max(theirs[1])];
    assert!((least..=most).contains(&median), "n={n}: {median} is not within {least}..{most}");
}

#[test]
fn solves_the_sphere_as_fast_as_the_references() {
    check_speed(sphere, 3.0, 2.0, 5, [736.0, 728.0]);
    check_speed(sphere, 3.0, 2.0, 10, [1480.0, 1500.0]);
}

#[test]
fn solves_the_ellipsoid_as_fast_as_the_references() {
    check_speed(ellipsoid, 3.0, 2.0, 5, [1536.0, 1576.0]);
    check_speed(ellipsoid, 3.0, 2.0, 10, [4140.0, 4240.0]);
}

#[test]
fn solves_rosenbrock_as_fast_as_the_references() {
    check_speed(rosenbrock, 0.0, 0.5, 5, [1616.0, 1832.0]);
    check_speed(rosenbrock, 0.0, 0.5, 10, [5080.0, 5060.0]);
}

#[test]
fn solves_the_cigar_as_fast_as_the_references() {
    check_speed(cigar, 3.0, 2.0, 5, [1736.0, 1848.0]);
    check_speed(cigar, 3.0, 2.0, 10, [4010.0, 4080.0]);
}

#[test]
fn solves_the_tablet_as_fast_as_the_references() {
    check_speed(tablet, 3.0, 2.0, 5, [1320.0, 1400.0]);
    check_speed(tablet, 3.0, 2.0, 10, [3030.0, 3210.0]);
}
