//! The strategy parameters of CMA-ES: constants of a search, which follow from its dimension and population.
//!
//! Equation numbers are those of Hansen's tutorial, arXiv 1604.00772.

use super::Fitness;
use std::f64::consts::SQRT_2;

/// Default population of a search in `n` dimensions: 4 + ⌊3 ln n⌋.
pub(super) fn default_population(n: usize) -> usize {
    4 + (3.0 * (n as f64).ln()).floor() as usize // (48)
}

/// Strategy parameters, fixed from the first generation to the last.
pub(super) struct Strategy {
    /// Recombination weights by rank, best first: positive ones sum to 1, the rest are negative (active CMA) or 0.
    pub(super) weights: Vec<f64>,
    /// Variance effective selection mass.
    pub(super) mu_eff: f64,
    /// Decay of the evolution path of the step size.
    pub(super) c_sigma: f64,
    /// Damping of the step size.
    pub(super) d_sigma: f64,
    /// Decay of the evolution path of the covariance.
    pub(super) c_c: f64,
    /// Learning rate of the rank-one update.
    pub(super) c_1: f64,
    /// Learning rate of the rank-μ update.
    pub(super) c_mu: f64,
    /// Expected length of a standard normal vector.
    pub(super) chi_n: f64,
}

impl Strategy {
    /// The defaults for `n` dimensions and `lambda` points in a generation (table 1 of the
    /// tutorial). If `n` is 0, only the weights have a meaning.
    pub(super) fn new(n: usize, lambda: usize) -> Self {
        let n = n as f64;
        let mut weights: Vec<f64> =
            (1..=lambda).map(|i| f64::midpoint(lambda as f64, 1.0).ln() - (i as f64).ln()).collect(); // (49)
        let (best, rest) = weights.split_at(lambda / 2);
        let mu_eff = effective_mass(best);
        let mu_eff_minus = effective_mass(rest);

        let c_1 = 2.0 / ((n + 1.3).powi(2) + mu_eff); // (57)
        // (58); the 1e-8 is for large populations.
        let c_mu = (1.0 - c_1 - 1e-8).min(2.0 * (mu_eff - 2.0 + 1.0 / mu_eff) / ((n + 2.0).powi(2) + mu_eff));

        let alpha = (1.0 + c_1 / c_mu) // (50)
            .min(1.0 + 2.0 * mu_eff_minus / (mu_eff + 2.0)) // (51)
            .min((1.0 - c_1 - c_mu) / (n * c_mu)); // (52)
        let positive: f64 = weights.iter().filter(|w| **w > 0.0).sum();
        let negative: f64 = weights.iter().filter(|w| **w < 0.0).map(|w| w.abs()).sum();
        for w in &mut weights {
            *w *= if *w >= 0.0 { 1.0 / positive } else { alpha / negative }; // (53)
        }

        let c_sigma = (mu_eff + 2.0) / (n + mu_eff + 5.0); // (55)
        Self {
            weights,
            mu_eff,
            c_sigma,
            d_sigma: 1.0 + 2.0 * (((mu_eff - 1.0) / (n + 1.0)).sqrt() - 1.0).max(0.0) + c_sigma, // (55)
            c_c: (4.0 + mu_eff / n) / (n + 4.0 + 2.0 * mu_eff / n),                              // (56)
            c_1,
            c_mu,
            chi_n: chi(n),
        }
    }

    /// The defaults without negative weights.
    pub(super) fn positive(n: usize, lambda: usize) -> Self {
        let mut strategy = Self::new(n, lambda);
        for w in &mut strategy.weights {
            *w = w.max(0.0);
        }
        strategy
    }

    /// The defaults for a diagonal covariance matrix, as in cmaes: those of Ros & Hansen (PPSN
    /// 2008), whose rank-μ update learns (n + 2) / 3 times as fast.
    pub(super) fn separable(n: usize, lambda: usize) -> Self {
        let mu = lambda / 2;
        let n = n as f64;
        let mut weights: Vec<f64> = (1..=lambda).map(|i| (((mu + 1) as f64).ln() - (i as f64).ln()).max(0.0)).collect();
        let positive: f64 = weights.iter().sum();
        for w in &mut weights {
            *w /= positive;
        }
        let mu_eff = effective_mass(&weights);
        let c_1 = 2.0 / ((n + 1.3).powi(2) + mu_eff);
        let c_mu = 2.0 / mu_eff / (n + SQRT_2).powi(2)
            + (1.0 - 1.0 / mu_eff) * 1.0_f64.min((2.0 * mu_eff - 1.0) / ((n + 2.0).powi(2) + mu_eff));
        let c_sigma = (mu_eff + 2.0) / (n + mu_eff + 3.0);
        Self {
            weights,
            mu_eff,
            c_sigma,
            d_sigma: 1.0 + 2.0 * (((mu_eff - 1.0) / (n + 1.0)).sqrt() - 1.0).max(0.0) + c_sigma,
            c_c: 4.0 / (n + 4.0),
            c_1,
            // Bounded, for large populations.
            c_mu: ((n + 2.0) / 3.0 * c_mu).min(1.0 - c_1),
            chi_n: chi(n),
        }
    }

    /// The weights of a generation with fitness `ranked`, best first: equals share the weights of their ranks.
    ///
    /// With equal points, a search thus does what it would do on average over all their orders.
    pub(super) fn share(&self, ranked: &[Fitness]) -> Shares {
        let mut plus = Vec::with_capacity(ranked.len());
        let mut minus = Vec::with_capacity(ranked.len());
        let mut from = 0;
        // Best first, so neighbours with a ≤ b are equal.
        for equals in ranked.chunk_by(|a, b| a <= b) {
            let weights = &self.weights[from..from + equals.len()];
            let mean = |part: fn(f64) -> f64| weights.iter().map(|&w| part(w)).sum::<f64>() / weights.len() as f64;
            plus.resize(from + equals.len(), mean(|w| w.max(0.0)));
            minus.resize(from + equals.len(), mean(|w| w.min(0.0)));
            from += equals.len();
        }
        // Shared weights select less. The evolution paths must take this into account, or they
        // would shrink at each tie. Without a tie the quotient is exactly 1.
        let concentration: f64 = self.weights.iter().map(|w| w.max(0.0).powi(2)).sum();
        let shared: f64 = plus.iter().map(|w| w.powi(2)).sum();
        Shares { mu_eff: self.mu_eff * (concentration / shared), plus, minus }
    }
}

/// Recombination weights of a generation, by rank.
pub(super) struct Shares {
    /// Mean of the positive weights of a point's ranks; they draw the distribution towards the point.
    pub(super) plus: Vec<f64>,
    /// Mean of the negative weights of a point's ranks; they reduce variance. Without ties, 0 where `plus` is not.
    pub(super) minus: Vec<f64>,
    /// Variance effective selection mass of `plus`.
    pub(super) mu_eff: f64,
}

/// Expected length of a standard normal vector in `n` dimensions, approximately.
fn chi(n: f64) -> f64 {
    n.sqrt() * (1.0 - 1.0 / (4.0 * n) + 1.0 / (21.0 * n * n))
}

/// (Σ w)² / Σ w².
fn effective_mass(weights: &[f64]) -> f64 {
    weights.iter().sum::<f64>().powi(2) / weights.iter().map(|w| w * w).sum::<f64>()
}
