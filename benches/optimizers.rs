//! Prints the evaluations that CMA-ES variants need, and each optimizer's result on a layer path.
//!
//! `optimizers` prints both tables, `optimizers speed` or `optimizers layers` one of them.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

mod layer_toy;

use layer_toy::{LayerToy, SLOTS};
use merge_core::optimizer::{Coordinate, Feedback, Optimizer, OptimizerStart};
use std::env;

fn main() {
    let which = env::args().nth(1).unwrap_or_default();
    if which != "layers" {
        speed();
    }
    if which != "speed" {
        layers();
    }
}

/// Name of a function to minimise, the function, and the start and step size of the search.
type Problem = (&'static str, fn(&[f64]) -> f64, f64, f64);

const PROBLEMS: [Problem; 5] = [
    ("sphere", |x| weighted(x, |_| 1.0), 3.0, 2.0),
    ("ellipsoid", |x| weighted(x, |i| 1e6_f64.powf(i)), 3.0, 2.0),
    ("cigar", |x| weighted(x, |i| if i == 0.0 { 1.0 } else { 1e6 }), 3.0, 2.0),
    ("tablet", |x| weighted(x, |i| if i == 0.0 { 1e6 } else { 1.0 }), 3.0, 2.0),
    ("Rosenbrock", rosenbrock, 0.0, 0.5),
];

/// Median evaluations of CMA-ES and sep-CMA-ES to reach 1e-8; `never` after more than 2000 n².
fn speed() {
    println!("| evaluations to 1e-8 | n = 5 | 10 | 20 | 40 |\n|---|---|---|---|---|");
    for (name, f, start, sigma) in PROBLEMS {
        let median = |new: fn(OptimizerStart) -> Optimizer, n: usize| {
            let runs = if n <= 10 { 21 } else { 7 };
            let evaluations = (0..runs).map(|seed| {
                let coordinates = vec![Coordinate::Real { start }; n];
                let mut search = new(OptimizerStart { coordinates, sigma, population: None, seed });
                let mut spent = 0;
                while spent < 2000 * n * n {
                    spent += search.population();
                    if step(&mut search, f) <= 1e-8 {
                        return spent;
                    }
                }
                usize::MAX
            });
            let mut evaluations: Vec<usize> = evaluations.collect();
            evaluations.sort_unstable();
            evaluations[runs as usize / 2]
        };
        let row = |new: fn(OptimizerStart) -> Optimizer| {
            let cells = [5, 10, 20, 40].map(|n| match median(new, n) {
                usize::MAX => "never".to_owned(),
                evaluations => evaluations.to_string(),
            });
            cells.join(" | ")
        };
        println!("| {name}, CMA-ES | {} |", row(|start| Optimizer::cma_es(start, false)));
        println!("| {name}, sep-CMA-ES | {} |", row(Optimizer::sep_cma_es));
    }
}

/// Name of an optimizer, its constructor, initial step size and population.
type Contender = (&'static str, fn(OptimizerStart) -> Optimizer, f64, Option<usize>);

const CONTENDERS: [Contender; 9] = [
    ("random", Optimizer::random, 0.1, None),
    ("CMA-ES, thresholds, λ = 128, σ = 0.1 (Sakana AI's)", |start| Optimizer::cma_es(start, false), 0.1, Some(128)),
    ("CMA-ES, thresholds", |start| Optimizer::cma_es(start, false), 0.1, None),
    ("sep-CMA-ES, thresholds", Optimizer::sep_cma_es, 0.1, None),
    ("CMA-ES with margin", Optimizer::cma_es_margin, 0.1, None),
    ("CatCMA", Optimizer::cat_cma, 0.1, None),
    ("CatCMA with margin", Optimizer::cat_cma_margin, 0.1, None),
    ("(1+1)-ES", Optimizer::one_plus_one, 0.1, None),
    ("NSGA-II, one goal", Optimizer::nsga2, 0.1, None),
];

/// Median best loss of seven runs, without and with the cost of wrong neighbours.
fn layers() {
    let budgets = [500, 1000, 3000, 12_800];
    println!("\n| best loss | {} |\n|---|---|---|---|---|", budgets.map(|budget| budget.to_string()).join(" | "));
    for (name, new, sigma, population) in CONTENDERS {
        let medians = |neighbours: bool| {
            let mut losses: Vec<[f64; 4]> = (0..7)
                .map(|seed| {
                    let toy = LayerToy::new(100 + seed, neighbours);
                    let slot = Coordinate::Choice { start: vec![0.5, 0.5] };
                    let coordinates = [vec![slot; SLOTS], vec![Coordinate::Real { start: 0.5 }; SLOTS]].concat();
                    let mut search = new(OptimizerStart { coordinates, sigma, population, seed });
                    let (mut spent, mut best) = (0, f64::INFINITY);
                    budgets.map(|budget| {
                        while spent + search.population() <= budget {
                            spent += search.population();
                            best = step(&mut search, |genome| toy.loss(genome)).min(best);
                        }
                        best
                    })
                })
                .collect();
            [0, 1, 2, 3].map(|at| {
                losses.sort_by(|a, b| a[at].total_cmp(&b[at]));
                losses[3][at]
            })
        };
        let (plain, neighbours) = (medians(false), medians(true));
        let cells = [0, 1, 2, 3].map(|at| format!("{:.2} / {:.2}", plain[at], neighbours[at]));
        println!("| {name} | {} |", cells.join(" | "));
    }
}

/// Runs one generation and returns its least value.
fn step(search: &mut Optimizer, f: impl Fn(&[f64]) -> f64) -> f64 {
    let values: Vec<f64> = search.ask().iter().map(|genome| f(genome)).collect();
    search.tell(&values.iter().map(|value| Feedback::from(-value)).collect::<Vec<_>>());
    values.into_iter().fold(f64::INFINITY, f64::min)
}

/// Weighted sum of squares, where coordinate i has the weight `weight(i / (n - 1))`.
fn weighted(x: &[f64], weight: impl Fn(f64) -> f64) -> f64 {
    let n = x.len() as f64;
    x.iter().enumerate().map(|(i, x)| weight(i as f64 / (n - 1.0)) * x * x).sum()
}

fn rosenbrock(x: &[f64]) -> f64 {
    x.windows(2).map(|x| 100.0 * (x[1] - x[0] * x[0]).powi(2) + (1.0 - x[0]).powi(2)).sum()
}
