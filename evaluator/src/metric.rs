//! How well a model did and how sure that is: a mean with its interval, and the difference of two models.

use serde::Serialize;

#[cfg(test)]
mod tests;

/// The 97.5% quantile of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// A mean of item scores, and how far it may be from the mean over all items there could be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub value: f64,
    /// Its standard error, `sqrt(Σ(x − mean)² / (n − 1) / n)`.
    pub stderr: f64,
    /// A 95% interval: Wilson's score interval if every score is 0 or 1, otherwise `value ± 1.96·stderr`.
    pub ci95: [f64; 2],
    /// Items.
    pub n: usize,
}

impl Estimate {
    /// Of scores in any order; `None` of fewer than two, whose spread is not known.
    pub fn of(scores: &[f64]) -> Option<Self> {
        let (value, stderr) = mean_and_stderr(scores)?;
        let ci95 =
            if scores.iter().all(|x| is_binary(*x)) { wilson(value, scores.len()) } else { normal(value, stderr) };
        Some(Self { value, stderr, ci95, n: scores.len() })
    }
}

/// How much better one model is than another on the same items.
///
/// Items that are hard for one model are hard for the other, so this is much sharper than the difference of two
/// [`Estimate`]s: the standard error comes from the differences item by item.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PairedDifference {
    /// The mean of `a − b`, item by item.
    pub value: f64,
    /// Its standard error, from the sample variance of the differences.
    pub stderr: f64,
    /// The 95% interval `value ± 1.96·stderr`; too narrow where few items differ: there, go by [`mcnemar`](Self::mcnemar).
    pub ci95: [f64; 2],
    /// Items.
    pub n: usize,
    /// If every score is 0 or 1: the two-sided p-value of the exact test of `McNemar` that both are equally good.
    pub mcnemar: Option<f64>,
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
        let mcnemar = a.iter().chain(b).all(|x| is_binary(*x)).then(|| {
            let wins = differences.iter().filter(|d| **d > 0.0).count();
            let losses = differences.iter().filter(|d| **d < 0.0).count();
            mcnemar_exact(wins, losses)
        });
        Some(Self { value, stderr, ci95: normal(value, stderr), n: a.len(), mcnemar })
    }
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

fn normal(value: f64, stderr: f64) -> [f64; 2] {
    [value - Z * stderr, value + Z * stderr]
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
