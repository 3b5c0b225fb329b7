//! Tests if the candidates of a generation differ by more than the noise of the items.

use super::{Goal, score::Scores};

/// Threshold of the F statistic. If candidates differ by chance alone, it is about 1 on average,
/// and below this in five of six generations of a dozen candidates.
const F_THRESHOLD: f64 = 1.5;

/// True if candidates with these scores differ by chance alone.
pub(super) fn is_noise(goals: &[Goal], candidates: &[&Scores]) -> bool {
    signal(goals, candidates).is_some_and(|signal| signal < F_THRESHOLD)
}

/// F statistic: the variance of the candidates' fitness, divided by the variance from the noise of
/// the items alone (two-way analysis of variance without repetition), on items that all met. (In a
/// race, those that met more were chosen for being alike.) `None` if there is nothing to compare.
fn signal(goals: &[Goal], candidates: &[&Scores]) -> Option<f64> {
    if candidates.len() < 3 {
        return None;
    }
    let k = candidates.len() as f64;
    let average = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let mut fitness = vec![0.0; candidates.len()];
    let mut noise = 0.0;
    for (number, goal) in goals.iter().enumerate().filter(|(_, goal)| goal.weight > 0.0) {
        let n = candidates.iter().map(|scores| scores.goals[number].len()).min().unwrap_or(0);
        if n < 2 {
            continue;
        }
        let of = |scores: &&Scores| scores.goals[number][..n].iter().map(|score| score.value).collect();
        let values: Vec<Vec<f64>> = candidates.iter().map(of).collect();
        let means: Vec<f64> = values.iter().map(|values| average(values)).collect();
        let grand = average(&means);
        let residual = |item: usize| {
            let of_item: Vec<f64> = values.iter().map(|values| values[item]).collect();
            let centre = average(&of_item);
            of_item.iter().zip(&means).map(|(value, mean)| (value - mean - centre + grand).powi(2)).sum::<f64>()
        };
        let residuals: f64 = (0..n).map(residual).sum();
        noise += goal.weight.powi(2) * residuals / ((k - 1.0) * (n - 1) as f64) / n as f64;
        fitness.iter_mut().zip(&means).for_each(|(sum, mean)| *sum += goal.weight * mean);
    }
    let centre = average(&fitness);
    let varies = fitness.iter().map(|sum| (sum - centre).powi(2)).sum::<f64>() / (k - 1.0);
    // No noise, as when candidates agree on every item: more items may show a difference.
    Some(if noise > 0.0 { varies / noise } else { 0.0 }).filter(|signal| signal.is_finite())
}
