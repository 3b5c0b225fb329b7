//! How well a model did and how sure that is: estimates with their intervals, and the difference of two models.
//!
//! Proportions have Wilson's interval, all else a bootstrap's: see [`bootstrap`]. [`labels`] has the measures of
//! classification that are no means over items, [`several`] what many tasks or many candidates do to a p-value or a best score.

pub mod bootstrap;
pub mod labels;
pub mod several;
#[cfg(test)]
mod tests;

use serde::Serialize;

use bootstrap::{Resampled, sign_flip_p};
use labels::Confusion;

/// The 97.5% quantile of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// A score, and how far it may be from the score on all items there could be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The score: of a mean, the mean.
    pub value: f64,
    /// Its standard error: of a mean `sqrt(Σ(x − mean)² / (n − 1) / n)`, otherwise the deviation over resamples.
    pub stderr: f64,
    /// A 95% interval: Wilson's score interval of a mean of zeros and ones, otherwise that of [`bootstrap`].
    pub ci95: [f64; 2],
    /// Items.
    pub n: usize,
}

impl Estimate {
    /// Of the mean of scores, in any order; `None` of fewer than two, whose spread is not known.
    pub fn of(scores: &[f64]) -> Option<Self> {
        let (value, stderr) = mean_and_stderr(scores)?;
        let ci95 = if scores.iter().all(|x| is_binary(*x)) {
            wilson(value, scores.len())
        } else {
            Resampled::mean(scores).interval(value)
        };
        Some(Self { value, stderr, ci95, n: scores.len() })
    }

    /// Of a statistic that is no mean over items, such as a ratio of sums; `None` of fewer than two items.
    ///
    /// It is computed ten thousand times on as many items and once for each item left out, so it should not be slow.
    pub fn of_statistic<T: Copy + Sync>(items: &[T], statistic: impl Fn(&[T]) -> f64 + Sync) -> Option<Self> {
        (items.len() > 1).then(|| {
            let value = statistic(items);
            let resampled = Resampled::statistic(items, statistic);
            Self { value, stderr: resampled.stderr(), ci95: resampled.interval(value), n: items.len() }
        })
    }

    /// Of a measure of classification, such as [`Confusion::mcc`]; `None` of fewer than two items.
    ///
    /// # Panics
    /// If there are not as many golds as answers.
    pub fn of_labels(golds: &[usize], answers: &[usize], measure: impl Fn(&Confusion) -> f64 + Sync) -> Option<Self> {
        let confusion = Confusion::of(golds, answers);
        (golds.len() > 1).then(|| {
            let value = measure(&confusion);
            let resampled = Resampled::labels(&confusion, golds, answers, measure);
            Self { value, stderr: resampled.stderr(), ci95: resampled.interval(value), n: golds.len() }
        })
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
    /// Its standard error, from the sample variance of the differences.
    pub stderr: f64,
    /// The 95% interval of [`bootstrap`], items resampled with both scores; `[0, 0]` where the models never differ.
    pub ci95: [f64; 2],
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
    /// Of the scores of two models on the same items in the same order; `None` of fewer than two.
    ///
    /// # Panics
    /// If the two are not equally long: they can't be of the same items then.
    pub fn of(a: &[f64], b: &[f64]) -> Option<Self> {
        assert_eq!(a.len(), b.len(), "both models are scored on the same items");
        let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        let (value, stderr) = mean_and_stderr(&differences)?;
        let ci95 = Resampled::mean(&differences).interval(value);
        let (p, test) = if a.iter().chain(b).all(|x| is_binary(*x)) {
            let wins = differences.iter().filter(|d| **d > 0.0).count();
            let losses = differences.iter().filter(|d| **d < 0.0).count();
            (mcnemar_exact(wins, losses), Test::McNemar)
        } else {
            (sign_flip_p(&differences), Test::SignFlip)
        };
        Some(Self { value, stderr, ci95, n: a.len(), p, test })
    }
}

/// The 95% interval of a value that is a sum of many: `value ± 1.96·stderr`.
pub fn normal_interval(value: f64, stderr: f64) -> [f64; 2] {
    [value - Z * stderr, value + Z * stderr]
}

fn mean_and_stderr(scores: &[f64]) -> Option<(f64, f64)> {
    if scores.len() < 2 {
        return None;
    }
    let n = scores.len() as f64;
    let mean = scores.iter().sum::<f64>() / n;
    let squares: f64 = scores.iter().map(|x| (x - mean).powi(2)).sum();
    Some((mean, (squares / (n - 1.0) / n).sqrt()))
}

#[expect(clippy::float_cmp, reason = "scores of right or wrong are exactly 0 or 1")]
fn is_binary(score: f64) -> bool {
    score == 0.0 || score == 1.0
}

/// E. B. Wilson (1927): the proportions that a score test at 5% does not reject; sound at 0 and 1 too.
fn wilson(p: f64, n: usize) -> [f64; 2] {
    let n = n as f64;
    let scale = 1.0 + Z * Z / n;
    let centre = (p + Z * Z / (2.0 * n)) / scale;
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt() / scale;
    // Rounding must not put the mean outside its interval, as it would by 1e-17 where every answer is wrong.
    [(centre - half).clamp(0.0, p), (centre + half).clamp(p, 1.0)]
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
