//! The order among the points of a generation.

use super::Fitness;
use std::cmp::Ordering;

/// Fitness without NaN, which is as bad as can be.
pub(super) fn number(fitness: Fitness) -> Fitness {
    if fitness.is_nan() { f64::NEG_INFINITY } else { fitness }
}

/// Fitness as JSON can hold it: infinity becomes the greatest number.
pub(super) fn finite(fitness: Fitness) -> Fitness {
    number(fitness).clamp(f64::MIN, f64::MAX)
}

/// Points and their fitness, best first; equals come in the `order` of points, so that it does not matter who was told
/// first, not even in the last bit of a sum.
pub(super) fn ranked<'a, P>(
    points: &'a [P],
    fitness: &[Fitness],
    order: impl Fn(&P, &P) -> Ordering,
) -> (Vec<&'a P>, Vec<Fitness>) {
    let fitness = fitness.iter().map(|f| number(*f));
    let mut told: Vec<(&P, Fitness)> = points.iter().zip(fitness).collect();
    told.sort_by(|(x, f), (y, g)| g.partial_cmp(f).expect("no NaN is left").then_with(|| order(x, y)));
    told.into_iter().unzip()
}

/// By the first number that differs.
pub(super) fn by_coordinates(x: &[f64], y: &[f64]) -> Ordering {
    x.iter().zip(y).map(|(a, b)| a.total_cmp(b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
}
