//! CMA-ES under noise, ties and plateaus, and its reasons to stop.

use super::{reals, sphere, step, told};
use crate::optimizer::{AskTell, CmaEs, Genome, Optimizer, Stop, strategy::Strategy};
use std::array;

#[test]
fn learning_rate_adaptation_gets_nearer_through_noise() {
    let distance = |adapt, seed| {
        let mut search = Optimizer::cma_es(reals(&[3.0; 10], 2.0, None, seed), adapt);
        let mut noise = Optimizer::random(reals(&[0.5], 1.0, Some(10), seed));
        for _ in 0..1000 {
            let draws = noise.ask();
            noise.tell(&told([0.0; 10]));
            let mut draws = draws.iter().map(|d| 10.0 * (d[0] - 0.5));
            step(&mut search, |x| sphere(x) + draws.next().unwrap());
        }
        sphere(&search.mean().unwrap())
    };
    for seed in 0..5 {
        let [plain, adapted] = [false, true].map(|adapt| distance(adapt, seed));
        assert!(adapted < plain / 2.0, "seed {seed}: {adapted} is not half of {plain}");
    }
}

/// Fitness with only the values 0, 1 and 2, like a score on two items.
fn in_steps(x: &[f64]) -> f64 {
    (2.0 * sphere(x)).floor().min(2.0)
}

#[test]
fn does_not_care_who_among_equals_was_told_first() {
    for adapt in [false, true] {
        let mut forwards = CmaEs::new(reals(&[0.4; 4], 0.3, Some(12), 3), adapt);
        let mut backwards = forwards.clone();
        for _ in 0..20 {
            let mut points = forwards.points();
            let fitness = |points: &[Genome]| points.iter().map(|x| -in_steps(x)).collect::<Vec<_>>();
            forwards.update(&points, &fitness(&points));
            points.reverse();
            backwards.update(&points, &fitness(&points));
            assert_eq!(forwards, backwards);
        }
    }
}

#[test]
fn equals_share_the_weights_of_their_ranks() {
    let strategy = Strategy::new(2, 6);
    let [w1, w2, w3, w4, w5, w6] = strategy.weights[..] else { panic!("six weights") };

    let distinct = strategy.share(&[5.0, 4.0, 3.0, 2.0, 1.0, 0.0]);
    assert_eq!(distinct.plus, [w1, w2, w3, 0.0, 0.0, 0.0]);
    assert_eq!(distinct.minus, [0.0, 0.0, 0.0, w4, w5, w6]);
    assert_eq!(distinct.mu_eff.to_bits(), strategy.mu_eff.to_bits());

    let tied = strategy.share(&[2.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    assert_eq!(tied.plus, [w1, (w2 + w3) / 3.0, (w2 + w3) / 3.0, (w2 + w3) / 3.0, 0.0, 0.0]);
    assert_eq!(tied.minus, [0.0, w4 / 3.0, w4 / 3.0, w4 / 3.0, f64::midpoint(w5, w6), f64::midpoint(w5, w6)]);

    let equal = strategy.share(&[1.0; 6]);
    assert!((equal.plus.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    assert!((equal.mu_eff - 6.0).abs() < 1e-12, "all points count alike: {}", equal.mu_eff);
}

#[test]
fn a_generation_of_equals_moves_the_mean_to_their_average() {
    let mut search = Optimizer::cma_es(reals(&[0.5; 5], 0.2, None, 1), false);
    let points = search.ask();
    search.tell(&told([0.25; 8]));
    for (axis, mean) in search.mean().unwrap().iter().enumerate() {
        let average = points.iter().map(|x| x[axis]).sum::<f64>() / 8.0;
        assert!((mean - average).abs() < 1e-12, "{mean} is not {average}");
    }
}

/// If weights were shared and the evolution paths not corrected, steps would shrink by a tenth each generation.
#[test]
fn a_plateau_neither_stops_nor_shrinks_the_search() {
    // Learning-rate adaptation lengthens steps as it slows the mean, so more growth is allowed.
    for (adapt, most) in [(false, 2.0), (true, 20.0)] {
        let mut sigmas: [f64; 21] = array::from_fn(|seed| {
            let mut search = Optimizer::cma_es(reals(&[0.5; 5], 0.2, None, seed as u64), adapt);
            for _ in 0..200 {
                step(&mut search, |_| 0.25);
                assert_eq!(search.stop(), None);
            }
            search.sigma().unwrap()
        });
        sigmas.sort_unstable_by(f64::total_cmp);
        assert!((0.02..most).contains(&sigmas[10]), "{sigmas:?}");
    }
}

#[test]
fn nan_is_as_bad_as_can_be() {
    let start = CmaEs::new(reals(&[0.5; 3], 0.2, None, 5), false);
    let after = |fitness: &[f64]| {
        let mut search = start.clone();
        search.tell(&told(fitness.iter().copied()));
        search
    };
    let [nan, worst] = [f64::NAN, f64::NEG_INFINITY];
    assert_eq!(after(&[1.0, nan, 3.0, nan, 2.0, 0.0, 4.0]), after(&[1.0, worst, 3.0, worst, 2.0, 0.0, 4.0]));
    assert_eq!(after(&[1.0, nan, 3.0, 5.0, 2.0, 0.0, 4.0]), after(&[1.0, -9.0, 3.0, 5.0, 2.0, 0.0, 4.0]));
    assert_eq!(after(&[nan; 7]), after(&[0.0; 7]));
}

#[test]
fn stops_when_nothing_is_left_to_find() {
    fn check(search: &Optimizer, expected: Option<Stop>) {
        assert_eq!(search.stop(), expected);
    }
    let mut converging = Optimizer::cma_es(reals(&[3.0; 3], 2.0, None, 0), false);
    check(&converging, None);
    while converging.stop().is_none() && converging.generation() < 1000 {
        step(&mut converging, sphere);
    }
    check(&converging, Some(Stop::StepTooSmall));

    let mut fleeing = Optimizer::cma_es(reals(&[0.0; 3], 0.1, None, 0), false);
    for _ in 0..200 {
        step(&mut fleeing, |x| x[0]);
    }
    check(&fleeing, Some(Stop::Diverged));

    check(&Optimizer::cma_es(reals(&[1e20, 0.0], 0.1, None, 0), false), Some(Stop::NoEffect));

    let mut flat = CmaEs::new(reals(&[0.5; 2], 0.1, None, 0), false);
    flat.gaussian.distribution.c[(1, 1)] = 1e-15;
    check(&Optimizer::CmaEs(flat), Some(Stop::IllConditioned));
}
