//! New genomes for the searches without a distribution: about the start, between two parents, by mutation.

use super::{Coordinate, Genome};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// A genome about the start: numbers by normal steps of `sigma`, options by their probabilities.
pub(super) fn about_start(coordinates: &[Coordinate], sigma: f64, generator: &mut ChaCha8Rng) -> Genome {
    let draw = |coordinate: &Coordinate| {
        if let Coordinate::Choice { start } = coordinate {
            return option(start, generator) as f64;
        }
        let x = coordinate.threshold_start(sigma) + sigma * generator.sample::<f64, _>(StandardNormal);
        coordinate.decode(folded(x))
    };
    coordinates.iter().map(draw).collect()
}

/// The genome at the start, with options drawn by their probabilities.
pub(super) fn start(coordinates: &[Coordinate], generator: &mut ChaCha8Rng) -> Genome {
    let draw = |coordinate: &Coordinate| match coordinate {
        Coordinate::Real { start } => *start,
        Coordinate::Integer { start, .. } => *start as f64,
        Coordinate::Choice { start } => option(start, generator) as f64,
    };
    coordinates.iter().map(draw).collect()
}

/// A genome between two: coordinate number i is a weighted mean, with weight `weight(i)` for `a`
/// and the rest for `b`. An option is taken from `a` with that probability.
pub(super) fn blend(
    coordinates: &[Coordinate],
    [a, b]: [&[f64]; 2],
    weight: impl Fn(usize) -> f64,
    generator: &mut ChaCha8Rng,
) -> Genome {
    let one = |(i, coordinate): (usize, &Coordinate)| {
        let w = weight(i);
        match coordinate {
            Coordinate::Real { .. } => w * a[i] + (1.0 - w) * b[i],
            Coordinate::Integer { levels, .. } => (w * a[i] + (1.0 - w) * b[i]).round().clamp(0.0, (levels - 1) as f64),
            Coordinate::Choice { .. } => {
                if generator.random::<f64>() < w {
                    a[i]
                } else {
                    b[i]
                }
            }
        }
    };
    coordinates.iter().enumerate().map(one).collect()
}

/// Changes all reals by normal steps of `sigma`, folded into [0, 1], and each of the d integers and
/// choices with probability 1/d: an integer by 1, a choice to any other option.
pub(super) fn mutate(coordinates: &[Coordinate], genome: &mut Genome, sigma: f64, generator: &mut ChaCha8Rng) {
    let rate = flip_rate(coordinates);
    for (coordinate, x) in coordinates.iter().zip(genome) {
        match coordinate {
            Coordinate::Real { .. } => *x = folded(*x + sigma * generator.sample::<f64, _>(StandardNormal)),
            _ => flip(coordinate, x, rate, generator),
        }
    }
}

/// One divided by the number of integers and choices.
pub(super) fn flip_rate(coordinates: &[Coordinate]) -> f64 {
    1.0 / coordinates.iter().filter(|coordinate| coordinate.levels().is_some()).count().max(1) as f64
}

/// Changes an integer by 1, or a choice to another option, with probability `rate`.
pub(super) fn flip(coordinate: &Coordinate, x: &mut f64, rate: f64, generator: &mut ChaCha8Rng) {
    let Some(levels) = coordinate.levels() else { return };
    if generator.random::<f64>() >= rate {
        return;
    }
    let level = *x as usize;
    let other = match coordinate {
        // At an end there is only one way.
        Coordinate::Integer { .. } if level == 0 => 1,
        Coordinate::Integer { .. } if level == levels - 1 => level - 1,
        Coordinate::Integer { .. } => level + 1 - 2 * usize::from(generator.random::<bool>()),
        _ => (level + generator.random_range(1..levels)) % levels,
    };
    *x = other as f64;
}

/// A number reflected at the ends of [0, 1].
fn folded(x: f64) -> f64 {
    let x = x.rem_euclid(2.0);
    if x > 1.0 { 2.0 - x } else { x }
}

/// Number of an option drawn by probabilities.
fn option(probabilities: &[f64], generator: &mut ChaCha8Rng) -> usize {
    weighted(probabilities, generator).unwrap_or(probabilities.len() - 1)
}

/// A position drawn by weights that are not negative; `None` if all are 0.
pub(super) fn weighted(weights: &[f64], generator: &mut ChaCha8Rng) -> Option<usize> {
    let total: f64 = weights.iter().sum();
    if !(total > 0.0 && total.is_finite()) {
        return None;
    }
    let mut rest = generator.random::<f64>() * total;
    let drawn = weights.iter().position(|w| {
        rest -= w;
        rest < 0.0
    });
    // Rounding has left a rest: take the last position with a weight.
    drawn.or_else(|| weights.iter().rposition(|w| *w > 0.0))
}
