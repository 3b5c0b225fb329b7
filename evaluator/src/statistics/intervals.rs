//! Intervals in closed form: of a proportion, of a paired difference of two, and of a mean of few numbers.

use super::Z;

/// A proportion's interval by E. B. Wilson (1927): the proportions that a score test at 5% does not reject; sound at
/// 0 and 1 too. A single item has the exact interval of C. J. Clopper and E. S. Pearson (1934), since Wilson's then
/// holds the truth in only 79% of cases; by Markov's inequality the exact one suits any score between 0 and 1.
///
/// Scores between 0 and 1 have at most the variance of right and wrong answers with the same mean:
/// for them, this is the widest interval that there can be.
pub(super) fn proportion(p: f64, n: usize) -> [f64; 2] {
    if n == 1 {
        return [p * 0.025, 1.0 - (1.0 - p) * 0.025];
    }
    let n = n as f64;
    let scale = 1.0 + Z * Z / n;
    let centre = (p + Z * Z / (2.0 * n)) / scale;
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt() / scale;
    // Rounding must not put the mean outside its interval, as it would by 1e-17 if every answer is wrong.
    [(centre - half).clamp(0.0, p), (centre + half).clamp(p, 1.0)]
}

/// T. Tango's interval, "Equivalence Test and Confidence Interval for the Difference in Proportions for the
/// Paired-Sample Design" (1998): the differences that a score test at 5% does not reject, for a model alone right on
/// `wins` of `n` items and alone wrong on `losses`. It has a length even if they never differ.
///
/// A single item, where Tango's holds the truth in only 80% of cases, has a proportion's exact one, scaled to −1 … 1.
///
/// Other scores between 0 and 1 count by the sums of one model's gains and losses against the
/// other: their differences then have at most this variance.
pub(super) fn paired_proportions(wins: f64, losses: f64, n: usize) -> [f64; 2] {
    if n == 1 {
        return proportion(0.5 * (1.0 + wins - losses), 1).map(|x| 2.0 * x - 1.0);
    }
    let n = n as f64;
    let value = (wins - losses) / n;
    // Equation 5, falling with the difference; q is the restricted maximum likelihood estimate of the losses' share.
    let score = |difference: f64| {
        let b = (2.0 * n - wins + losses) * difference - wins - losses;
        let c = -losses * difference * (1.0 - difference);
        let q = ((b * b - 8.0 * n * c).max(0.0).sqrt() - b) / (4.0 * n);
        let variance = n * (2.0 * q + difference * (1.0 - difference));
        let away = wins - losses - n * difference;
        if variance > 0.0 { away / variance.sqrt() } else { away.signum() * f64::INFINITY }
    };
    // Bisects between a difference that is rejected and one that is not.
    let bound = |mut rejected: f64, mut kept: f64| {
        for _ in 0..60 {
            let middle = 0.5 * (rejected + kept);
            if score(middle).abs() > Z { rejected = middle } else { kept = middle }
        }
        kept
    };
    // If the value itself is an end, there is nothing to search.
    let low = if value > -1.0 { bound(-1.0, value) } else { -1.0 };
    let high = if value < 1.0 { bound(1.0, value) } else { 1.0 };
    [low, high]
}

/// Student's interval of the mean of two to nine numbers; `None` if all are equal, so that their spread is unknown.
///
/// # Panics
/// If there are fewer numbers, or more.
pub(super) fn student(value: f64, stderr: f64, n: usize) -> Option<[f64; 2]> {
    /// The 97.5% quantiles of Student's distribution with 1 to 8 degrees of freedom.
    const T: [f64; 8] = [
        12.706_204_736_174_7,
        4.302_652_729_749_46,
        3.182_446_305_283_71,
        2.776_445_105_197_79,
        2.570_581_835_636_31,
        2.446_911_851_144_97,
        2.364_624_251_592_78,
        2.306_004_135_204_17,
    ];
    let half = T[n - 2] * stderr;
    (half > 0.0).then_some([value - half, value + half])
}
