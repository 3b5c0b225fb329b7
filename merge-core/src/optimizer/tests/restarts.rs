//! Restarts leave local optima.

use super::{reals, step};
use crate::optimizer::{Optimizer, Regime};
use std::{collections::BTreeSet, f64::consts::TAU};

/// Rastrigin's function in five dimensions; of its many optima, the best has 0.6 in every coordinate.
fn rastrigin(x: &[f64]) -> f64 {
    let one = |x: &f64| {
        let x = 10.0 * (x - 0.6);
        x * x + 10.0 - 10.0 * (TAU * x).cos()
    };
    x.iter().map(one).sum()
}

/// Number of seeds (of 5) that end at the best optimum, and all populations that were asked.
fn check(search: impl Fn(u64) -> Optimizer) -> (usize, BTreeSet<usize>) {
    let mut populations = BTreeSet::new();
    let solved = (0..5).filter(|seed| {
        let mut search = search(*seed);
        let mut evaluations = 0;
        while evaluations < 50_000 && search.stop().is_none() {
            populations.insert(search.population());
            evaluations += search.population();
            step(&mut search, rastrigin);
        }
        rastrigin(&search.mean().expect("it has one")) < 1e-6
    });
    (solved.count(), populations)
}

#[test]
fn larger_populations_find_the_best_of_many_optima() {
    let start = |seed| reals(&[0.2; 5], 0.2, None, seed);
    let (plain, _) = check(|seed| Optimizer::cma_es(start(seed), false));
    let (ipop, ipop_populations) = check(|seed| Optimizer::restarts(start(seed), Regime::Ipop));
    let (bipop, bipop_populations) = check(|seed| Optimizer::restarts(start(seed), Regime::Bipop));
    assert!(plain <= 1 && ipop >= 4 && bipop >= 3, "{plain} {ipop} {bipop}");
    assert!(ipop_populations.iter().all(|population| (*population / 8).is_power_of_two() && population % 8 == 0));
    assert!(ipop_populations.len() > 2, "{ipop_populations:?}");
    assert!(bipop_populations.iter().any(|population| population % 8 != 0), "{bipop_populations:?}");
}

#[test]
fn a_plateau_is_left() {
    let mut search = Optimizer::restarts(reals(&[0.5; 3], 0.2, Some(10), 1), Regime::Ipop);
    while search.population() == 10 {
        step(&mut search, |_| 0.25);
        assert!(search.generation() < 300);
    }
}
