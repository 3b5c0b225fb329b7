//! The standard normal distribution: its cumulative distribution function and the inverse.

use std::f64::consts::{PI, SQRT_2};

/// Φ(x), the probability of a number below `x`.
pub(super) fn below(x: f64) -> f64 {
    0.5 * libm::erfc(-x / SQRT_2)
}

/// Φ⁻¹(p), for p in (0, 1).
pub(super) fn quantile(p: f64) -> f64 {
    if p <= 0.5 { -tail(p) } else { tail(1.0 - p) }
}

/// The z ≥ 0 with the probability `p` beyond it, for p in (0, 0.5]; z² is the quantile 1 - 2p of χ²
/// with one degree of freedom.
pub(super) fn tail(p: f64) -> f64 {
    // Abramowitz & Stegun 26.2.23, accurate to 4.5e-4; three Newton steps each double the digits.
    let t = (-2.0 * p.ln()).sqrt();
    let start =
        t - (2.515_517 + t * (0.802_853 + t * 0.010_328)) / (1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308)));
    let newton = |z: f64| z + (below(-z) - p) * (2.0 * PI).sqrt() * (z * z / 2.0).exp();
    newton(newton(newton(start))).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::{below, quantile, tail};

    /// Quantiles from printed tables, to all their digits.
    #[test]
    fn agrees_with_tables() {
        for (p, z) in
            [(0.5, 0.0), (0.841_344_746_068_543, 1.0), (0.975, 1.959_963_984_540_054), (0.999, 3.090_232_306_167_814)]
        {
            assert!((quantile(p) - z).abs() < 1e-12, "{p}: {}", quantile(p));
            assert!((quantile(1.0 - p) + z).abs() < 1e-12, "{p}: {}", quantile(1.0 - p));
            assert!((below(z) - p).abs() < 1e-14, "{z}: {}", below(z));
        }
        // χ² with one degree of freedom: 3.841 is its 95% point.
        assert!((tail(0.025).powi(2) - 3.841_458_820_694_124).abs() < 1e-12);
    }

    #[test]
    fn is_its_inverse_far_out() {
        for exponent in 1..=14 {
            let p = 0.4 * 10.0_f64.powi(-exponent);
            assert!((below(-tail(p)) / p - 1.0).abs() < 1e-12, "{p}");
        }
    }
}
