//! Properties that every search keeps for any feedback; the other files test the purpose of each.

mod cma;
mod goals;
mod layers;
mod mixed;
mod replay;
mod restarts;
mod speed;

use super::{Coordinate, Feedback, Optimizer, OptimizerStart, Regime};

fn sphere(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum()
}

fn rosenbrock(x: &[f64]) -> f64 {
    x.windows(2).map(|x| 100.0 * (x[1] - x[0] * x[0]).powi(2) + (1.0 - x[0]).powi(2)).sum()
}

/// A start with only real coordinates.
fn reals(mean: &[f64], sigma: f64, population: Option<usize>, seed: u64) -> OptimizerStart {
    OptimizerStart {
        coordinates: mean.iter().map(|start| Coordinate::Real { start: *start }).collect(),
        sigma,
        population,
        seed,
    }
}

/// Feedback of a generation that has only fitness.
fn told(fitness: impl IntoIterator<Item = f64>) -> Vec<Feedback> {
    fitness.into_iter().map(Feedback::from).collect()
}

/// One generation of minimising `f`, with goals and items too; returns the least value seen in it.
fn step(search: &mut Optimizer, mut f: impl FnMut(&[f64]) -> f64) -> f64 {
    let of = |x: &Vec<f64>| {
        let fitness = -f(x);
        let items = x.iter().map(|x| (1.0 - (x - 0.3).abs()).max(0.0)).collect();
        Feedback { fitness, objectives: vec![x[0], 1.0 - x[0] + fitness / 100.0], items }
    };
    let told: Vec<Feedback> = search.ask().iter().map(of).collect();
    search.tell(&told);
    -told.iter().map(|told| told.fitness).fold(f64::NEG_INFINITY, f64::max)
}

/// One search of each kind over the same coordinates.
fn each(start: &OptimizerStart) -> Vec<Optimizer> {
    let start = || start.clone();
    vec![
        Optimizer::cma_es(start(), false),
        Optimizer::cma_es(start(), true),
        Optimizer::sep_cma_es(start()),
        Optimizer::cma_es_margin(start()),
        Optimizer::cat_cma(start()),
        Optimizer::cat_cma_margin(start()),
        Optimizer::restarts(start(), Regime::Ipop),
        Optimizer::restarts(start(), Regime::Bipop),
        Optimizer::nsga2(start()),
        Optimizer::one_plus_one(start()),
        Optimizer::map_elites(start(), 5),
        Optimizer::m2n2(start()),
        Optimizer::random(start()),
    ]
}

/// Spaces: all kinds of coordinates; several of one kind; a single one of each kind.
fn spaces() -> Vec<Vec<Coordinate>> {
    let real = || Coordinate::Real { start: 0.5 };
    let integer = |levels| Coordinate::Integer { levels, start: 1 };
    let choice = |start: &[f64]| Coordinate::Choice { start: start.to_vec() };
    vec![
        vec![
            real(),
            integer(4),
            choice(&[0.2, 0.3, 0.5]),
            real(),
            choice(&[0.5, 0.5]),
            integer(2),
            choice(&[1.0, 0.0]),
        ],
        vec![real(); 6],
        vec![integer(3); 4],
        vec![choice(&[0.25; 4]); 3],
        vec![real()],
        vec![integer(2)],
        vec![choice(&[0.9, 0.1])],
    ]
}

/// One search of each kind over each space, after five generations.
fn searches() -> Vec<Optimizer> {
    let start = |coordinates| OptimizerStart { coordinates, sigma: 0.2, population: Some(9), seed: 7 };
    let mut searches: Vec<Optimizer> = spaces().into_iter().flat_map(|space| each(&start(space))).collect();
    for search in &mut searches {
        for _ in 0..5 {
            step(search, sphere);
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
        assert_eq!(search.generation(), 6);
        // Each generation draws from its own stream, so the points differ if the space has room.
        if first[0].len() > 5 {
            assert_ne!(first, search.ask(), "{search:?}");
        }
    }
}

#[test]
fn goes_on_from_its_json_as_if_uninterrupted() {
    for mut search in searches() {
        let mut resumed: Optimizer = serde_json::from_str(&serde_json::to_string(&search).unwrap()).unwrap();
        for _ in 0..10 {
            assert_eq!(resumed.ask(), search.ask());
            step(&mut search, sphere);
            step(&mut resumed, sphere);
        }
        assert_eq!(resumed, search);
        assert_eq!(serde_json::to_string(&resumed).unwrap(), serde_json::to_string(&search).unwrap());
    }
}

#[test]
fn no_fitness_breaks_it() {
    let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 1.0];
    for (seed, coordinates) in spaces().into_iter().enumerate() {
        for population in [4, 13] {
            let start = OptimizerStart {
                coordinates: coordinates.clone(),
                sigma: 0.2,
                population: Some(population),
                seed: seed as u64,
            };
            for mut search in each(&start) {
                let mut dice = Optimizer::random(reals(&[0.5; 5], 0.1, Some(search.population().max(2)), seed as u64));
                for _ in 0..40 {
                    // An endless stream, for any number of points.
                    let throws = dice.ask().concat().into_iter().cycle();
                    dice.tell(&vec![Feedback::default(); dice.population()]);
                    let mut throws = throws.map(|u| values[(u * values.len() as f64) as usize]);
                    let mut throw = |n: usize| throws.by_ref().take(n).collect::<Vec<f64>>();
                    let told = |_| Feedback { fitness: throw(1)[0], objectives: throw(2), items: throw(3) };
                    search.tell(&(0..search.population()).map(told).collect::<Vec<Feedback>>());
                    let _ = search.stop();
                    let genomes = search.ask().into_iter().chain(search.mean()).chain(search.elites());
                    check(&coordinates, genomes.collect(), &search);
                    assert!(search.sigma().is_none_or(f64::is_finite));
                }
                let resumed: Optimizer = serde_json::from_str(&serde_json::to_string(&search).unwrap()).unwrap();
                assert_eq!(resumed, search);
            }
        }
    }
}

/// Checks that every genome belongs to the space.
fn check(coordinates: &[Coordinate], genomes: Vec<Vec<f64>>, search: &Optimizer) {
    for genome in genomes {
        assert_eq!(genome.len(), coordinates.len());
        for (x, coordinate) in genome.iter().zip(coordinates) {
            let is_one = match coordinate.levels() {
                None => x.is_finite(),
                Some(levels) => x.fract() == 0.0 && (0.0..levels as f64).contains(x),
            };
            assert!(is_one, "{x} is no {coordinate:?}: {search:?}");
        }
    }
}

#[test]
fn begins_where_it_is_told_to() {
    let coordinates = vec![
        Coordinate::Real { start: 0.25 },
        Coordinate::Integer { levels: 5, start: 3 },
        Coordinate::Choice { start: vec![0.1, 0.9] },
        Coordinate::Choice { start: vec![0.98, 0.01, 0.01] },
    ];
    let start = OptimizerStart { coordinates, sigma: 0.1, population: Some(10), seed: 3 };
    for search in each(&start) {
        if let (Some(mean), true) = (search.mean(), search.elites().is_empty()) {
            assert_eq!(mean, [0.25, 3.0, 1.0, 0.0], "{search:?}");
        }
    }
}

/// The threshold of two options follows from their probabilities: Sakana AI's 2 σ are 0.977.
#[test]
fn draws_options_with_the_probabilities_of_the_start() {
    for p in [0.5, 0.9, 0.977] {
        let coordinates = vec![Coordinate::Choice { start: vec![1.0 - p, p] }; 20];
        let start = OptimizerStart { coordinates, sigma: 0.1, population: Some(500), seed: 5 };
        for search in each(&start) {
            if let Optimizer::Random(_) | Optimizer::OnePlusOne(_) = search {
                continue;
            }
            let genomes = search.ask();
            let share = genomes.iter().flatten().sum::<f64>() / (20 * genomes.len()) as f64;
            // 10,000 draws: a standard deviation of 0.005 at most.
            assert!((share - p).abs() < 0.025, "{p}: {share} {search:?}");
        }
    }
}

#[test]
fn random_search_is_uniform() {
    let coordinates = vec![
        Coordinate::Real { start: 0.9 },
        Coordinate::Integer { levels: 10, start: 0 },
        Coordinate::Choice { start: vec![0.1; 10] },
    ];
    let mut search = Optimizer::random(OptimizerStart { coordinates, sigma: 0.1, population: Some(100), seed: 11 });
    let mut counts = [[0_usize; 10]; 3];
    for _ in 0..100 {
        for point in search.ask() {
            for (axis, x) in [point[0] * 10.0, point[1], point[2]].into_iter().enumerate() {
                counts[axis][x as usize] += 1;
            }
        }
        search.tell(&told([0.0; 100]));
    }
    // 1000 expected in each bin, with a standard deviation of 30.
    assert!(counts.iter().flatten().all(|count| count.abs_diff(1000) < 150), "{counts:?}");
    assert_eq!((search.mean(), search.sigma(), search.stop()), (None, None, None));
}
