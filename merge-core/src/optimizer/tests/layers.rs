//! Searches on a path through layers: choices, and numbers that count only for some options.

#[path = "../../../../benches/layer_toy.rs"]
mod layer_toy;

use super::told;
use crate::optimizer::{Coordinate, Optimizer, OptimizerStart};
use layer_toy::{LayerToy, SLOTS};

/// Median over seven seeds of the best loss after each of two numbers of evaluations.
fn check(search: fn(OptimizerStart) -> Optimizer, population: Option<usize>, evaluations: [usize; 2]) -> [f64; 2] {
    let mut losses: [Vec<f64>; 2] = [Vec::new(), Vec::new()];
    for seed in 0..7 {
        let toy = LayerToy::new(100 + seed, false);
        let slot = Coordinate::Choice { start: vec![0.5, 0.5] };
        let coordinates = [vec![slot; SLOTS], vec![Coordinate::Real { start: 0.5 }; SLOTS]].concat();
        let mut search = search(OptimizerStart { coordinates, sigma: 0.1, population, seed });
        let (mut spent, mut best) = (0, f64::INFINITY);
        for (losses, evaluations) in losses.iter_mut().zip(evaluations) {
            while spent + search.population() <= evaluations {
                let fitness: Vec<f64> = search.ask().iter().map(|genome| -toy.loss(genome)).collect();
                best = fitness.iter().fold(best, |best, f| best.min(-f));
                search.tell(&told(fitness));
                spent += search.population();
            }
            losses.push(best);
        }
    }
    losses.map(|mut losses| {
        losses.sort_by(f64::total_cmp);
        losses[3]
    })
}

#[test]
fn cat_cma_finds_a_path_that_thresholds_do_not() {
    let cat_cma = check(Optimizer::cat_cma, None, [1000, 3000]);
    assert!(cat_cma[0] < 0.3 && cat_cma[1] < 0.01, "{cat_cma:?}");
    // The setting of Sakana AI.
    let thresholds = check(|start| Optimizer::cma_es(start, false), Some(128), [1000, 3000]);
    assert!(thresholds[0] > 4.0 && thresholds[1] > 4.0, "{thresholds:?}");
}

#[test]
fn margins_keep_the_power_to_change_a_slot() {
    let search: [fn(OptimizerStart) -> Optimizer; 3] =
        [Optimizer::cma_es_margin, Optimizer::cat_cma_margin, |start| Optimizer::cma_es(start, false)];
    let [margin, cat_cma_margin, thresholds] = search.map(|search| check(search, None, [2000, 3000])[1]);
    assert!(margin < 0.05 && cat_cma_margin < 0.05, "{margin} {cat_cma_margin}");
    // A wrong slot costs 1.
    assert!(thresholds > 0.9, "{thresholds}");
}
