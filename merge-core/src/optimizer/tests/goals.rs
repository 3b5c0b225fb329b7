//! Searches that keep survivors: for several goals, for behaviours, for items, and for the better of two.

use super::{reals, sphere, step, told};
use crate::optimizer::{Coordinate, Feedback, Genome, Optimizer, OptimizerStart, pareto::dominates};

/// ZDT1 (Zitzler, Deb & Thiele 2000), whose front is f₂ = 1 - √f₁, as goals to maximise.
fn zdt1(x: &[f64]) -> Vec<f64> {
    let g = 1.0 + 9.0 * x[1..].iter().sum::<f64>() / (x.len() - 1) as f64;
    vec![-x[0], -g * (1.0 - (x[0] / g).sqrt())]
}

/// The area between a front of two goals and a point that is worse than all.
fn hypervolume(front: &[Vec<f64>], worst: f64) -> f64 {
    let mut front = front.to_vec();
    front.sort_by(|a, b| b[0].total_cmp(&a[0]));
    let (mut area, mut height) = (0.0, worst);
    for goals in front {
        area += (goals[0] - worst).max(0.0) * (goals[1] - height).max(0.0);
        height = height.max(goals[1]);
    }
    area
}

fn tell_goals(search: &mut Optimizer, goals: fn(&[f64]) -> Vec<f64>) {
    let told: Vec<Feedback> =
        search.ask().iter().map(|x| Feedback { objectives: goals(x), ..Feedback::default() }).collect();
    search.tell(&told);
}

#[test]
fn nsga2_finds_a_whole_front() {
    let mut search = Optimizer::nsga2(reals(&[0.5; 10], 0.3, Some(100), 1));
    for _ in 0..150 {
        tell_goals(&mut search, zdt1);
    }
    let front: Vec<Vec<f64>> = search.elites().iter().map(|x| zdt1(x)).collect();
    assert!(front.len() >= 45, "{}", front.len());
    assert!(front.iter().all(|a| front.iter().all(|b| !dominates(a, b))));
    // The area of the true front is 1.1² - 1/3.
    let volume = hypervolume(&front, -1.1);
    assert!(volume > 0.86 && volume < 1.1_f64.powi(2) - 1.0 / 3.0, "{volume}");
}

/// Two goals that need opposite options: every number of ones is on the front.
#[test]
fn nsga2_finds_a_front_of_choices() {
    let coordinates = vec![Coordinate::Choice { start: vec![0.5, 0.5] }; 20];
    let mut search = Optimizer::nsga2(OptimizerStart { coordinates, sigma: 0.1, population: Some(84), seed: 2 });
    // Ones in the first half help only the first goal, ones in the second half only the second.
    let goals = |x: &[f64]| {
        let [a, b] = [&x[..10], &x[10..]].map(|x| x.iter().sum::<f64>());
        vec![a - 0.5 * b, b - 0.5 * a]
    };
    for _ in 0..100 {
        tell_goals(&mut search, goals);
    }
    let front: Vec<Vec<f64>> = search.elites().iter().map(|x| goals(x)).collect();
    assert!(front.contains(&vec![10.0, -5.0]) && front.contains(&vec![-5.0, 10.0]) && front.contains(&vec![5.0, 5.0]));
}

#[test]
fn one_plus_one_closes_in_by_a_constant_factor() {
    let mut search = Optimizer::one_plus_one(reals(&[0.9; 5], 0.2, None, 3));
    let centred = |x: &[f64]| sphere(&x.iter().map(|x| x - 0.4).collect::<Vec<_>>());
    let mut reached = Vec::new();
    for goal in [1e-4, 1e-8, 1e-12] {
        while centred(&search.mean().unwrap()) > goal {
            step(&mut search, centred);
        }
        reached.push(search.generation() as f64);
    }
    let [first, second] = [reached[1] - reached[0], reached[2] - reached[1]];
    assert!(first / second < 1.5 && second / first < 1.5, "{reached:?}");
    assert!(reached[2] < 800.0, "{reached:?}");
}

#[test]
fn one_plus_one_counts_ones_in_n_log_n() {
    let coordinates = vec![Coordinate::Choice { start: vec![1.0, 0.0] }; 30];
    let mut search = Optimizer::one_plus_one(OptimizerStart { coordinates, sigma: 0.1, population: None, seed: 4 });
    while sphere(&search.mean().unwrap()) < 30.0 {
        step(&mut search, |x| -sphere(x));
        // e n ln n = 277 on average.
        assert!(search.generation() < 1000);
    }
}

/// The behaviour is the first coordinate; each is best if all other coordinates are 0.3.
fn behaviours(x: &[f64]) -> Vec<f64> {
    let quality = 1.0 - sphere(&x[1..].iter().map(|x| x - 0.3).collect::<Vec<_>>());
    vec![x[0], quality - x[0]]
}

#[test]
fn map_elites_fills_its_cells_with_good_ones() {
    let mut search = Optimizer::map_elites(reals(&[0.5; 4], 0.05, None, 5), 8);
    let mut best_before = f64::MIN;
    for _ in 0..400 {
        tell_goals(&mut search, behaviours);
        let best = search.elites().iter().map(|x| behaviours(x)[1]).fold(f64::MIN, f64::max);
        assert!(best >= best_before, "an elite is only replaced by a better one");
        best_before = best;
    }
    let mut qualities = [0.0_f64; 8];
    for x in search.elites() {
        let goals = behaviours(&x);
        let cell = ((goals[0] * 8.0) as usize).min(7);
        qualities[cell] = qualities[cell].max(goals[1] + x[0]);
    }
    assert!(qualities.iter().all(|quality| *quality > 0.95), "{qualities:?}");
    assert!(search.population() <= 8 + 16);
}

/// Ten items of two kinds: a number near one end solves the first eight, near the other end the last two.
fn niches(x: &Genome) -> Feedback {
    let near = |place: f64| f64::from((x[0] - place).abs() < 0.1);
    let items = (0..10).map(|item| if item < 8 { near(0.1) } else { near(0.9) }).collect::<Vec<f64>>();
    Feedback { fitness: items.iter().sum(), items, ..Feedback::default() }
}

#[test]
fn m2n2_keeps_those_who_solve_what_few_solve() {
    for seed in 0..5 {
        let mut search = Optimizer::m2n2(reals(&[0.5; 3], 0.3, Some(40), seed));
        for _ in 0..100 {
            let told: Vec<Feedback> = search.ask().iter().map(niches).collect();
            search.tell(&told);
        }
        let rare = search.elites().iter().filter(|x| niches(x).items[9] > 0.0).count();
        // Two of ten items feed two of ten members; by fitness alone, all members would solve the eight.
        assert!((1..=8).contains(&rare), "{rare}");
    }
}

#[test]
fn survivors_are_asked_again_first() {
    let spaces = || reals(&[0.5; 3], 0.2, Some(8), 6);
    for mut search in [
        Optimizer::nsga2(spaces()),
        Optimizer::one_plus_one(spaces()),
        Optimizer::map_elites(spaces(), 4),
        Optimizer::m2n2(spaces()),
    ] {
        for _ in 0..10 {
            step(&mut search, sphere);
            let (asked, elites) = (search.ask(), search.elites());
            assert!(elites.iter().all(|elite| asked.contains(elite)), "{search:?}");
            assert!(asked.len() > elites.len());
        }
    }
}

/// A parent with a lucky score does not stay because of it.
#[test]
fn luck_does_not_last() {
    let mut search = Optimizer::one_plus_one(reals(&[0.9; 2], 0.1, None, 7));
    search.tell(&told([100.0, 0.0]));
    let lucky = search.mean();
    for _ in 0..50 {
        step(&mut search, sphere);
    }
    assert_ne!(search.mean(), lucky);
}
