//! Chooses anchor items: a few that stand for all, each for the items like it.

use super::IrtItem;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Maximum number of rounds of Lloyd's algorithm.
const ROUNDS: usize = 100;

/// At most `count` items, each with the share of all items that it stands for; shares sum to 1.
///
/// The anchors are the items nearest to the centres of clusters (k-means, started by k-means++) of
/// (a, b), as in tinyBenchmarks; the same seed chooses the same anchors.
pub(crate) fn anchors(items: &[IrtItem], count: usize, seed: u64) -> Vec<(usize, f64)> {
    let points: Vec<Vec<f64>> =
        items.iter().map(|item| item.discrimination.iter().copied().chain([item.difficulty]).collect()).collect();
    let mut centres = spread(&points, count, &mut ChaCha8Rng::seed_from_u64(seed));
    if centres.is_empty() {
        return Vec::new();
    }
    let mut clusters: Vec<usize> = Vec::new();
    for _ in 0..ROUNDS {
        let nearest: Vec<usize> = points.iter().map(|point| nearest(&centres, point)).collect();
        if nearest == clusters {
            break;
        }
        clusters = nearest;
        for (number, centre) in centres.iter_mut().enumerate() {
            let members: Vec<&Vec<f64>> =
                points.iter().zip(&clusters).filter(|(_, c)| **c == number).map(|(p, _)| p).collect();
            for (d, coordinate) in centre.iter_mut().enumerate().filter(|_| !members.is_empty()) {
                *coordinate = members.iter().map(|point| point[d]).sum::<f64>() / members.len() as f64;
            }
        }
    }
    let anchor = |(number, centre): (usize, &Vec<f64>)| {
        let members: Vec<usize> = (0..points.len()).filter(|at| clusters[*at] == number).collect();
        let distance = |at: &usize| squared_distance(&points[*at], centre);
        let best = *members.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
        Some((best, members.len() as f64 / points.len() as f64))
    };
    centres.iter().enumerate().filter_map(anchor).collect()
}

/// Centres far from each other: each is drawn by its squared distance from the nearest earlier one
/// (k-means++, Arthur & Vassilvitskii 2007). Fewer than `count` if fewer points differ.
fn spread(points: &[Vec<f64>], count: usize, generator: &mut ChaCha8Rng) -> Vec<Vec<f64>> {
    let mut centres: Vec<Vec<f64>> = Vec::new();
    if points.is_empty() {
        return centres;
    }
    let mut distances = vec![1.0; points.len()];
    while centres.len() < count {
        let mut rest = generator.random::<f64>() * distances.iter().sum::<f64>();
        let drawn = distances.iter().position(|distance| {
            rest -= distance;
            rest < 0.0
        });
        let Some(drawn) = drawn.or_else(|| distances.iter().rposition(|distance| *distance > 0.0)) else { break };
        centres.push(points[drawn].clone());
        for (distance, point) in distances.iter_mut().zip(points) {
            let new = squared_distance(point, &points[drawn]);
            *distance = if centres.len() == 1 { new } else { distance.min(new) };
        }
    }
    centres
}

fn nearest(centres: &[Vec<f64>], point: &[f64]) -> usize {
    let distance = |number: &usize| squared_distance(&centres[*number], point);
    (0..centres.len()).min_by(|a, b| distance(a).total_cmp(&distance(b))).expect("there is a centre")
}

fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}
