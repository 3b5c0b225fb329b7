//! Ranking of the points of a generation.

use super::Fitness;
use std::cmp::Ordering;

/// Fitness with NaN replaced by negative infinity.
pub(super) fn number(fitness: Fitness) -> Fitness {
    if fitness.is_nan() { f64::NEG_INFINITY } else { fitness }
}

/// Fitness that JSON can hold: infinity becomes the greatest number.
pub(super) fn finite(fitness: Fitness) -> Fitness {
    number(fitness).clamp(f64::MIN, f64::MAX)
}

/// Points and their fitness, best first. Equal points are sorted by `order`, so that the order in
/// which they were told changes nothing, not even the last bit of a sum.
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

/// Order by the first coordinate that differs.
pub(super) fn by_coordinates(x: &[f64], y: &[f64]) -> Ordering {
    x.iter().zip(y).map(|(a, b)| a.total_cmp(b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
}
