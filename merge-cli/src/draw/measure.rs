//! Formats scores: shares of 1 in percent, other measures as they are.

use evaluator::statistics::{Estimate, PairedDifference};

/// Measures that are not shares of 1.
const PLAIN: [&str; 8] = [
    "bits_per_byte",
    "byte_perplexity",
    "word_perplexity",
    "perplexity",
    "gold_margin",
    "gold_logprob_per_byte",
    "brier_score",
    // A judge's scores that are any numbers.
    "points",
];

/// True if a measure's scores lie between 0 and 1.
pub(crate) fn is_share(metric: &str) -> bool {
    let name = metric.trim_start_matches('-').split(',').next().unwrap_or(metric);
    !PLAIN.contains(&name)
}

/// Unit after a measure's name in a table's header: ` %` or nothing.
pub(crate) fn unit(metric: &str) -> &'static str {
    if is_share(metric) { " %" } else { "" }
}

/// Formats a score without its unit. Very large ones get an exponent: the word perplexity of a text
/// without spaces has dozens of digits.
pub(crate) fn number(metric: &str, value: f64) -> String {
    if is_share(metric) {
        format!("{:.1}", 100.0 * value)
    } else if value.abs() < 1e6 {
        format!("{value:.4}")
    } else {
        format!("{value:.3e}")
    }
}

/// Formats a difference of scores without its unit.
pub(crate) fn signed(metric: &str, value: f64) -> String {
    if is_share(metric) { format!("{:+.1}", 100.0 * value) } else { format!("{value:+.4}") }
}

/// Formats a score: `58.2%` or `-0.9309`.
pub(crate) fn value(metric: &str, value: f64) -> String {
    number(metric, value) + unit(metric).trim_start()
}

/// Formats an estimate: `58.2% [53.8, 62.5]` or `-0.9309 [-1.7760, -0.2016]`.
pub(crate) fn score(metric: &str, estimate: &Estimate) -> String {
    score_of(metric, estimate.value, estimate.ci95)
}

/// Formats a score and its interval, like [`score`].
pub(crate) fn score_of(metric: &str, value: f64, ci95: Option<[f64; 2]>) -> String {
    let ci95 = ci95.map(|ci95| ci95.map(|bound| number(metric, bound)));
    format!("{} {}", self::value(metric, value), bracketed(ci95))
}

/// Formats a difference: `+39.0 [+34.4, +43.6]`, in percentage points for shares.
pub(crate) fn difference(metric: &str, difference: &PairedDifference) -> String {
    difference_of(metric, difference.value, difference.ci95)
}

/// Formats a difference and its interval, like [`difference`].
pub(crate) fn difference_of(metric: &str, value: f64, ci95: Option<[f64; 2]>) -> String {
    let ci95 = ci95.map(|ci95| ci95.map(|bound| signed(metric, bound)));
    format!("{} {}", signed(metric, value), bracketed(ci95))
}

/// Formats an interval in brackets, or `[no interval]`.
fn bracketed(ci95: Option<[String; 2]>) -> String {
    ci95.map_or_else(|| "[no interval]".to_owned(), |[low, high]| format!("[{low}, {high}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percent_and_other_measures_are_as_they_are() {
        let said = |metric: &str| score_of(metric, -0.5, Some([-1.25, 2.0]));
        assert_eq!(said("exact_match"), "-50.0% [-125.0, 200.0]");
        assert_eq!(said("-bits_per_byte,none"), "-0.5000 [-1.2500, 2.0000]");
        assert_eq!(number("word_perplexity", 1.234_56e38), "1.235e38");
        assert_eq!(score_of("acc", 0.5, None), "50.0% [no interval]");
        assert_eq!([signed("acc", 0.25), signed("gold_margin", 0.25)], ["+25.0", "+0.2500"]);
    }
}
