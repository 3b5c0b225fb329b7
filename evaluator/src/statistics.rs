//! How well a model did and how sure that is: estimates with their intervals, and the difference of two models.
//!
//! Proportions and their paired differences have score intervals, Wilson's and Tango's, all else a bootstrap's: see [`bootstrap`].
//! Of fewer than ten items, or where scores do not vary, a bootstrap says less than nothing: an interval that is too short, or has
//! no length. Scores between 0 and 1 then have the interval that right and wrong answers of the same mean would have, the widest
//! that there can be, as they have where fewer than five differ from all others; other numbers have Student's, or none, and
//! statistics that are no means none.
//!
//! [`labels`] has the measures of classification that are no means over items, [`several`] what many tasks or many candidates do
//! to a p-value or a best score.

pub mod bootstrap;
mod intervals;
pub mod labels;
pub mod several;
#[cfg(test)]
mod tests;

use serde::Serialize;

use bootstrap::{Resamples, sign_flip_p};
use intervals::{paired_proportions, proportion, student};
use labels::Confusion;

/// The 97.5% quantile of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Fewest items that are resampled.
const FEWEST: usize = 10;

/// Fewest of them that differ from the commonest score, where there is another interval than a bootstrap's.
const FEWEST_OTHERS: usize = 5;

/// A score, and how far it may be from the score on all items there could be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The score: of a mean, the mean.
    pub value: f64,
    /// Its standard error: of a mean `sqrt(Σ(x − mean)² / (n − 1) / n)`, otherwise the deviation over resamples; none of one item.
    pub stderr: Option<f64>,
    /// A 95% interval, of the mean of zeros and ones a score interval, otherwise as the module says; none where nothing is known
    /// of the spread.
    pub ci95: Option<[f64; 2]>,
    /// Items.
    pub n: usize,
}

impl Estimate {
    /// Of the mean of scores, in any order; `None` of none.
    pub fn of(scores: &[f64]) -> Option<Self> {
        let (value, stderr) = mean_and_stderr(scores)?;
        let n = scores.len();
        let ci95 = if scores.iter().all(|x| is_binary(*x)) || (says_little(scores) && are_shares(scores)) {
            Some(proportion(value, n))
        } else {
            interval(scores, value, stderr)
        };
        Some(Self { value, stderr, ci95, n })
    }

    /// Of a statistic that is no mean over items, such as a ratio of sums; `None` of fewer than two items. It has no interval
    /// of fewer than ten, and if it is the same on every resample.
    ///
    /// It is computed ten thousand times on as many items and once for each item left out, so it should not be slow.
    pub fn of_statistic<T: Copy + Sync>(items: &[T], statistic: impl Fn(&[T]) -> f64 + Sync) -> Option<Self> {
        (items.len() > 1).then(|| {
            let value = statistic(items);
            Self::of_resampled(value, &Resamples::statistic(items, statistic), items.len())
        })
    }

    /// Of a measure of classification, such as [`Confusion::mcc`]; `None` of fewer than two items. It has no interval of fewer
    /// than ten, and if it is the same on every resample.
    ///
    /// # Panics
    /// If there are not as many golds as answers.
    pub fn of_labels(golds: &[usize], answers: &[usize], measure: impl Fn(&Confusion) -> f64 + Sync) -> Option<Self> {
        let confusion = Confusion::of(golds, answers);
        (golds.len() > 1).then(|| {
            let value = measure(&confusion);
            Self::of_resampled(value, &Resamples::labels(&confusion, golds, answers, measure), golds.len())
        })
    }

    fn of_resampled(value: f64, resampled: &Resamples, n: usize) -> Self {
        let ci95 = (n >= FEWEST && resampled.varies()).then(|| resampled.interval(value));
        Self { value, stderr: Some(resampled.stderr()), ci95, n }
    }
}

/// How much better one model is than another on the same items.
///
/// Items that are hard for one model are hard for the other, so this is much sharper than the difference of two
/// [`Estimate`]s: all of it comes from the differences item by item.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PairedDifference {
    /// The mean of `a − b`, item by item.
    pub value: f64,
    /// Its standard error, from the sample variance of the differences; none of one item.
    pub stderr: Option<f64>,
    /// The 95% interval: Tango's where every score is 0 or 1, otherwise that of [`bootstrap`], items resampled with both scores, or
    /// as the module says; none where nothing is known of the spread.
    pub ci95: Option<[f64; 2]>,
    /// Items.
    pub n: usize,
    /// The two-sided p-value that both are equally good, by `test`.
    pub p: f64,
    /// How it was computed.
    pub test: Test,
}

/// A test that two models are equally good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Test {
    /// The exact test of McNemar, where every score is 0 or 1: the items that one model alone has right, as tosses of a coin.
    McNemar,
    /// The sign of each difference tossed ten thousand times: how often the mean is then as far from 0 as it is.
    #[serde(rename = "sign-flip")]
    SignFlip,
}

impl PairedDifference {
    /// Of the scores of two models on the same items in the same order; `None` of none.
    ///
    /// # Panics
    /// If the two are not equally long: they can't be of the same items then.
    pub fn of(a: &[f64], b: &[f64]) -> Option<Self> {
        assert_eq!(a.len(), b.len(), "both models are scored on the same items");
        let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        let (value, stderr) = mean_and_stderr(&differences)?;
        let n = differences.len();
        let are_binary = a.iter().chain(b).all(|x| is_binary(*x));
        let ci95 = if are_binary || (says_little(&differences) && are_shares(a) && are_shares(b)) {
            let gains: f64 = differences.iter().filter(|d| **d > 0.0).sum();
            let losses: f64 = differences.iter().filter(|d| **d < 0.0).map(|d| -d).sum();
            Some(paired_proportions(gains, losses, n))
        } else {
            interval(&differences, value, stderr)
        };
        let (p, test) = if are_binary {
            let wins = differences.iter().filter(|d| **d > 0.0).count();
            let losses = differences.iter().filter(|d| **d < 0.0).count();
            (mcnemar_exact(wins, losses), Test::McNemar)
        } else {
            (sign_flip_p(&differences), Test::SignFlip)
        };
        Some(Self { value, stderr, ci95, n, p, test })
    }
}

/// Of numbers of any size.
fn interval(numbers: &[f64], value: f64, stderr: Option<f64>) -> Option<[f64; 2]> {
    match stderr? {
        stderr if numbers.len() < FEWEST => student(value, stderr, numbers.len()),
        _ if is_degenerate(numbers) => None,
        _ => Some(Resamples::mean(numbers).interval(value)),
    }
}

/// Whether resampling tells nothing: there are too few, or all are the same.
#[expect(clippy::float_cmp, reason = "a single other score is enough to resample")]
fn is_degenerate(numbers: &[f64]) -> bool {
    numbers.len() < FEWEST || numbers.iter().all(|x| *x == numbers[0])
}

/// Whether resampling tells little: as [`is_degenerate`], or nearly all are the same.
#[expect(clippy::float_cmp, reason = "scores that only seem to be the same are resampled")]
fn says_little(numbers: &[f64]) -> bool {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let commonest = sorted.chunk_by(|a, b| a == b).map(<[f64]>::len).max().unwrap_or(0);
    is_degenerate(numbers) || numbers.len() - commonest < FEWEST_OTHERS
}

fn are_shares(scores: &[f64]) -> bool {
    scores.iter().all(|score| (0.0..=1.0).contains(score))
}

/// The 95% interval of a value that is a sum of many: `value ± 1.96·stderr`.
pub fn normal_interval(value: f64, stderr: f64) -> [f64; 2] {
    [value - Z * stderr, value + Z * stderr]
}

/// The 95% interval of a mean of which only its number of items is known: none if it is no share, otherwise the widest that there
/// can be.
pub fn share_interval(mean: f64, n: usize) -> Option<[f64; 2]> {
    (n > 0 && are_shares(&[mean])).then(|| proportion(mean, n))
}

/// The 95% interval of a weighted sum of independent estimates, each with its weight, value and interval: G. Y. Zou and A. Donner,
/// "Construction of Confidence Limits about Effect Measures" (2008). It has a length where a standard error would be 0. The
/// difference of two proportions has R. G. Newcombe's (1998, method 10).
pub fn combined(parts: &[(f64, f64, [f64; 2])]) -> [f64; 2] {
    let sum: f64 = parts.iter().map(|(weight, value, _)| weight * value).sum();
    let far = |towards: f64| -> f64 {
        let bound = |weight: f64, [low, high]: [f64; 2]| if weight * towards < 0.0 { low } else { high };
        parts.iter().map(|(weight, value, ci95)| (weight * (bound(*weight, *ci95) - value)).powi(2)).sum::<f64>().sqrt()
    };
    [sum - far(-1.0), sum + far(1.0)]
}

/// Of any scores; one alone has no standard error.
fn mean_and_stderr(scores: &[f64]) -> Option<(f64, Option<f64>)> {
    if scores.is_empty() {
        return None;
    }
    let n = scores.len() as f64;
    let mean = scores.iter().sum::<f64>() / n;
    let squares: f64 = scores.iter().map(|x| (x - mean).powi(2)).sum();
    Some((mean, (scores.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt())))
}

#[expect(clippy::float_cmp, reason = "scores of right or wrong are exactly 0 or 1")]
fn is_binary(score: f64) -> bool {
    score == 0.0 || score == 1.0
}

/// `min(1, 2·P(X ≤ min(wins, losses)))` for `X ~ Binomial(wins + losses, 1/2)`.
fn mcnemar_exact(wins: usize, losses: usize) -> f64 {
    let n = wins + losses;
    // In logarithms, since 2⁻ⁿ is no double above n = 1,074.
    let mut ln_term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = ln_term.exp();
    for k in 1..=wins.min(losses) {
        ln_term += ((n - k + 1) as f64 / k as f64).ln();
        tail += ln_term.exp();
    }
    (2.0 * tail).min(1.0)
}

/// The distribution function of the standard normal distribution.
fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}

/// Its inverse, to the last bits of a double; infinite at 0 and 1.
fn normal_quantile(p: f64) -> f64 {
    if p <= 0.0 || p >= 1.0 {
        return if p <= 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    // Beyond 39 the distribution function is 0 or 1.
    let (mut low, mut high) = (-39.0, 39.0);
    for _ in 0..80 {
        let middle = 0.5 * (low + high);
        if normal_cdf(middle) < p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}
