//! Estimates of scores with their intervals, and the difference of two models.
//!
//! Proportions and their paired differences have score intervals, Wilson's and Tango's; all else has a bootstrap's:
//! see [`bootstrap`]. With fewer than ten items, or if scores do not vary, a bootstrap's interval is too short or has
//! no length. Scores between 0 and 1 then have the interval of right and wrong answers with the same mean, the widest
//! that there can be; they also have it if fewer than five differ from the commonest. Other numbers then have
//! Student's or none, and statistics that are not means have none.
//!
//! [`labels`] has the measures of classification that are not means over items; [`several`]
//! corrects p-values and best scores for many tasks or many candidates.

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

/// Fewest items that must differ from the commonest score to be resampled, if another interval is possible.
const FEWEST_OTHERS: usize = 5;

/// A score, and its distance from the score on all items that there could be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The score: a mean, or another statistic.
    pub value: f64,
    /// Standard error: `sqrt(Σ(x − mean)² / (n − 1) / n)` or the deviation over resamples; `None` for one item.
    pub stderr: Option<f64>,
    /// 95% interval: a score interval for the mean of zeros and ones, otherwise as the module says;
    /// `None` if nothing is known of the spread.
    pub ci95: Option<[f64; 2]>,
    /// Number of items.
    pub n: usize,
}

impl Estimate {
    /// Estimates the mean of scores, in any order; `None` if there are none.
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

    /// One number, of whose spread nothing is known.
    pub fn of_one(value: f64) -> Self {
        Self { value, stderr: None, ci95: None, n: 1 }
    }

    /// Estimates a statistic that is not a mean over items, such as a ratio of sums; `None` for fewer than two items.
    /// It has no interval for fewer than ten items, or if it is the same on every resample.
    ///
    /// The statistic is computed on ten thousand resamples and once without each item, so it should not be slow.
    pub fn of_statistic<T: Copy + Sync>(items: &[T], statistic: impl Fn(&[T]) -> f64 + Sync) -> Option<Self> {
        (items.len() > 1).then(|| {
            let value = statistic(items);
            Self::of_resampled(value, &Resamples::statistic(items, statistic), items.len())
        })
    }

    /// Estimates a measure of classification, such as [`Confusion::mcc`]; `None` for fewer than two
    /// items. It has no interval for fewer than ten items, or if it is the same on every resample.
    ///
    /// # Panics
    /// If golds and answers differ in number.
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

/// The advantage of one model over another on the same items.
///
/// Items that are hard for one model are hard for the other, so this is much sharper than the
/// difference of two [`Estimate`]s: it uses only the differences item by item.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PairedDifference {
    /// The mean of `a − b`, item by item.
    pub value: f64,
    /// Standard error, from the sample variance of the differences; `None` for one item.
    pub stderr: Option<f64>,
    /// 95% interval: Tango's if every score is 0 or 1, otherwise that of [`bootstrap`], items
    /// resampled with both scores, or as the module says; `None` if nothing is known of the spread.
    pub ci95: Option<[f64; 2]>,
    /// Number of items.
    pub n: usize,
    /// Two-sided p-value of the hypothesis that both are equally good, by `test`.
    pub p: f64,
    /// The test that was used.
    pub test: Test,
}

/// A test that two models are equally good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Test {
    /// McNemar's exact test, if every score is 0 or 1: items that only one model has right count as tosses of a coin.
    McNemar,
    /// Ten thousand random flips of the differences' signs: the share whose mean is as far from 0 as the actual one.
    #[serde(rename = "sign-flip")]
    SignFlip,
}

impl PairedDifference {
    /// The difference of two numbers, of whose spread nothing is known: it proves nothing.
    pub fn of_one(a: f64, b: f64) -> Self {
        Self { value: a - b, stderr: None, ci95: None, n: 1, p: 1.0, test: Test::SignFlip }
    }

    /// Compares the scores of two models on the same items in the same order; `None` if there are none.
    ///
    /// # Panics
    /// If the two are not equally long: they cannot be of the same items then.
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

/// The interval of a mean of numbers of any size.
fn interval(numbers: &[f64], value: f64, stderr: Option<f64>) -> Option<[f64; 2]> {
    match stderr? {
        stderr if numbers.len() < FEWEST => student(value, stderr, numbers.len()),
        _ if is_degenerate(numbers) => None,
        _ => Some(Resamples::mean(numbers).interval(value)),
    }
}

/// True if resampling tells nothing: there are too few numbers, or all are the same.
#[expect(clippy::float_cmp, reason = "a single other score is enough to resample")]
fn is_degenerate(numbers: &[f64]) -> bool {
    numbers.len() < FEWEST || numbers.iter().all(|x| *x == numbers[0])
}

/// True if resampling tells little: as [`is_degenerate`], or nearly all numbers are the same.
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

/// The 95% interval of a value that is a sum of many parts: `value ± 1.96·stderr`.
pub fn normal_interval(value: f64, stderr: f64) -> [f64; 2] {
    [value - Z * stderr, value + Z * stderr]
}

/// The 95% interval of a mean of which only the number of items is known: the widest that there can
/// be; `None` if it is not a share.
pub fn share_interval(mean: f64, n: usize) -> Option<[f64; 2]> {
    (n > 0 && are_shares(&[mean])).then(|| proportion(mean, n))
}

/// The 95% interval of a weighted sum of independent estimates, each with its weight, value and interval: G. Y. Zou
/// and A. Donner, "Construction of Confidence Limits about Effect Measures" (2008). It has a length even if a
/// standard error is 0. For the difference of two proportions it is R. G. Newcombe's (1998, method 10).
pub fn combined(parts: &[(f64, f64, [f64; 2])]) -> [f64; 2] {
    let sum: f64 = parts.iter().map(|(weight, value, _)| weight * value).sum();
    let far = |towards: f64| -> f64 {
        let bound = |weight: f64, [low, high]: [f64; 2]| if weight * towards < 0.0 { low } else { high };
        parts.iter().map(|(weight, value, ci95)| (weight * (bound(*weight, *ci95) - value)).powi(2)).sum::<f64>().sqrt()
    };
    [sum - far(-1.0), sum + far(1.0)]
}

/// The mean of scores and its standard error; a single score has no standard error.
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

/// McNemar's p-value: `min(1, 2·P(X ≤ min(wins, losses)))` for `X ~ Binomial(wins + losses, 1/2)`.
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

/// The quantile function of the standard normal distribution, to the last bits of a double; infinite at 0 and 1.
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
