//! What a search has to keep to: the reference's arithmetic and speed, and a state that survives anything.

mod replay;

use super::{CmaEs, Genome, Optimizer, Stop, strategy::Strategy};
use std::array;

fn sphere(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum()
}

fn ellipsoid(x: &[f64]) -> f64 {
    let n = x.len() as f64;
    x.iter().enumerate().map(|(i, x)| 1e6_f64.powf(i as f64 / (n - 1.0)) * x * x).sum()
}

fn rosenbrock(x: &[f64]) -> f64 {
    x.windows(2).map(|x| 100.0 * (x[1] - x[0] * x[0]).powi(2) + (1.0 - x[0]).powi(2)).sum()
}

/// One generation of minimising `f`; gives the least value seen in it.
fn step(search: &mut Optimizer, mut f: impl FnMut(&[f64]) -> f64) -> f64 {
    let fitness: Vec<f64> = search.ask().iter().map(|x| -f(x)).collect();
    search.tell(&fitness);
    -fitness.into_iter().fold(f64::NEG_INFINITY, f64::max)
}

/// The median number of evaluations to f ≤ 1e-8 lies in 0.93 to 1.07 of those of pycma and cmaes.
fn check_speed(f: fn(&[f64]) -> f64, start: f64, sigma: f64, n: usize, theirs: [f64; 2]) {
    let mut evaluations: [usize; 21] = array::from_fn(|seed| {
        let mut search = Optimizer::cma_es(vec![start; n], sigma, None, false, seed as u64);
        // Rosenbrock has a local optimum where some runs stay.
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
fn learning_rate_adaptation_gets_nearer_through_noise() {
    let distance = |adapt, seed| {
        let mut search = Optimizer::cma_es(vec![3.0; 10], 2.0, None, adapt, seed);
        let mut noise = Optimizer::random(1, 10, seed);
        for _ in 0..1000 {
            let draws = noise.ask();
            noise.tell(&[0.0; 10]);
            let mut draws = draws.iter().map(|d| 10.0 * (d[0] - 0.5));
            step(&mut search, |x| sphere(x) + draws.next().unwrap());
        }
        sphere(search.mean().unwrap())
    };
    for seed in 0..5 {
        let [plain, adapted] = [false, true].map(|adapt| distance(adapt, seed));
        assert!(adapted < plain / 2.0, "seed {seed}: {adapted} is not half of {plain}");
    }
}

/// One search of each kind, some generations in.
fn searches() -> Vec<Optimizer> {
    let mut searches = vec![
        Optimizer::cma_es(vec![0.5; 6], 0.2, None, false, 7),
        Optimizer::cma_es(vec![0.5; 6], 0.2, Some(13), true, u64::MAX),
        Optimizer::random(6, 10, 7),
    ];
    for search in &mut searches {
        for _ in 0..5 {
            step(search, rosenbrock);
        }
    }
    searches
}

#[test]
fn asks_for_the_same_until_told() {
    for mut search in searches() {
        let first = search.ask();
        assert_eq!(first.len(), search.population());
        assert_eq!(first, search.ask());
        assert_eq!(first, search.clone().ask());
        step(&mut search, sphere);
        assert_ne!(first, search.ask());
        assert_eq!(search.generation(), 6);
    }
}

#[test]
fn goes_on_from_its_json_as_if_uninterrupted() {
    for mut search in searches() {
        let mut resumed: Optimizer = serde_json::from_str(&serde_json::to_string(&search).unwrap()).unwrap();
        for _ in 0..20 {
            assert_eq!(resumed.ask(), search.ask());
            step(&mut search, rosenbrock);
            step(&mut resumed, rosenbrock);
        }
        assert_eq!(serde_json::to_string(&resumed).unwrap(), serde_json::to_string(&search).unwrap());
    }
}

/// Fitness whose only values are 0, 1 and 2: a score on two items.
fn in_steps(x: &[f64]) -> f64 {
    (2.0 * sphere(x)).floor().min(2.0)
}

#[test]
fn does_not_care_who_among_equals_was_told_first() {
    for adapt in [false, true] {
        let mut forwards = CmaEs::new(vec![0.4; 4], 0.3, Some(12), adapt, 3);
        let mut backwards = forwards.clone();
        for _ in 0..20 {
            let mut points = forwards.ask();
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
    let mut search = Optimizer::cma_es(vec![0.5; 5], 0.2, None, false, 1);
    let points = search.ask();
    search.tell(&[0.25; 8]);
    for (axis, mean) in search.mean().unwrap().iter().enumerate() {
        let average = points.iter().map(|x| x[axis]).sum::<f64>() / 8.0;
        assert!((mean - average).abs() < 1e-12, "{mean} is not {average}");
    }
}

/// With the weights shared but the evolution paths not told, steps would shrink by a tenth each generation.
#[test]
fn a_plateau_neither_stops_nor_shrinks_the_search() {
    // Learning-rate adaptation lengthens steps as it slows the mean down: that much growth is its own.
    for (adapt, most) in [(false, 2.0), (true, 20.0)] {
        let mut sigmas: [f64; 21] = array::from_fn(|seed| {
            let mut search = Optimizer::cma_es(vec![0.5; 5], 0.2, None, adapt, seed as u64);
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
    let start = CmaEs::new(vec![0.5; 3], 0.2, None, false, 5);
    let after = |fitness: &[f64]| {
        let mut search = start.clone();
        search.tell(fitness);
        search
    };
    let [nan, worst] = [f64::NAN, f64::NEG_INFINITY];
    assert_eq!(after(&[1.0, nan, 3.0, nan, 2.0, 0.0, 4.0]), after(&[1.0, worst, 3.0, worst, 2.0, 0.0, 4.0]));
    assert_eq!(after(&[1.0, nan, 3.0, 5.0, 2.0, 0.0, 4.0]), after(&[1.0, -9.0, 3.0, 5.0, 2.0, 0.0, 4.0]));
    assert_eq!(after(&[nan; 7]), after(&[0.0; 7]));
}

#[test]
fn no_fitness_breaks_it() {
    let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 1.0];
    for (adapt, seed) in [(false, 0), (true, 1), (false, 2), (true, 3)] {
        for (n, population) in [(1, 2), (2, 3), (7, 40)] {
            let mut search = Optimizer::cma_es(vec![0.5; n], 0.2, Some(population), adapt, seed);
            let mut dice = Optimizer::random(population, 1, seed);
            for _ in 0..500 {
                let fitness: Vec<f64> =
                    dice.ask()[0].iter().map(|u| values[(u * values.len() as f64) as usize]).collect();
                dice.tell(&[0.0]);
                search.tell(&fitness);
                let _ = search.stop();
                assert!(search.ask().iter().flatten().all(|x| x.is_finite()));
            }
        }
    }
}

#[test]
fn stops_when_nothing_is_left_to_find() {
    fn check(search: &Optimizer, expected: Option<Stop>) {
        assert_eq!(search.stop(), expected);
    }
    let mut converging = Optimizer::cma_es(vec![3.0; 3], 2.0, None, false, 0);
    check(&converging, None);
    while converging.stop().is_none() && converging.generation() < 1000 {
        step(&mut converging, sphere);
    }
    check(&converging, Some(Stop::StepTooSmall));

    let mut fleeing = Optimizer::cma_es(vec![0.0; 3], 0.1, None, false, 0);
    for _ in 0..200 {
        step(&mut fleeing, |x| x[0]);
    }
    check(&fleeing, Some(Stop::Diverged));

    check(&Optimizer::cma_es(vec![1e20, 0.0], 0.1, None, false, 0), Some(Stop::NoEffect));

    let mut flat = CmaEs::new(vec![0.5; 2], 0.1, None, false, 0);
    flat.distribution.c[(1, 1)] = 1e-15;
    check(&Optimizer::CmaEs(flat), Some(Stop::IllConditioned));

    check(&Optimizer::random(2, 4, 0), None);
}

#[test]
fn random_search_is_uniform_in_the_box() {
    let mut search = Optimizer::random(3, 100, 11);
    let mut counts = [[0_usize; 10]; 3];
    for _ in 0..100 {
        for point in search.ask() {
            for (axis, x) in point.iter().enumerate() {
                counts[axis][(x * 10.0) as usize] += 1;
            }
        }
        search.tell(&[0.0; 100]);
    }
    // 1000 expected in each bin, with a standard deviation of 30.
    assert!(counts.iter().flatten().all(|count| count.abs_diff(1000) < 150), "{counts:?}");
    assert_eq!((search.mean(), search.sigma()), (None, None));
}
