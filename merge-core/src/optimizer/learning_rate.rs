//! Learning-rate adaptation for CMA-ES (Nomura, Akimoto, Ono, arXiv 2304.03473): slower until the signal is clear.

use super::gaussian::Distribution;
use nalgebra::{DMatrix, DVector, SymmetricEigen};
use serde::{Deserialize, Serialize};

/// Signal-to-noise ratio that a learning rate of 1 keeps.
const ALPHA: f64 = 1.4;
/// Decay of the moving averages of the mean's updates.
const BETA_MEAN: f64 = 0.1;
/// Decay of the moving averages of the covariance's updates.
const BETA_SIGMA: f64 = 0.03;
/// Largest change of a learning rate in a step, relative to itself.
const GAMMA: f64 = 0.1;

/// The learning rates of the mean and of the covariance Σ = σ²C.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LearningRates {
    mean: LearningRate,
    covariance: LearningRate,
}

impl LearningRates {
    /// Learning rates of 1, which is ordinary CMA-ES, in `n` dimensions.
    pub(super) fn new(n: usize) -> Self {
        Self { mean: LearningRate::new(n), covariance: LearningRate::new(n * n) }
    }

    /// The part of the step from `old` to `new` that has proved to be signal; `inverse_root` is the old C^(-1/2).
    pub(super) fn damp(&mut self, old: &Distribution, new: &Distribution, inverse_root: &DMatrix<f64>) -> Distribution {
        let n = old.mean.len() as f64;
        let sigma_old = &old.c * old.sigma.powi(2); // Σ
        let delta_mean = &new.mean - &old.mean;
        let delta_sigma = &new.c * new.sigma.powi(2) - &sigma_old;

        // In coordinates in which the old distribution is standard normal, the Fisher metric is plain length.
        let inverse_root = inverse_root / old.sigma; // Σ^(-1/2)
        let local_mean = &inverse_root * &delta_mean;
        let local_sigma = &inverse_root * &delta_sigma * &inverse_root / 2.0_f64.sqrt();
        let eta_mean_old = self.mean.eta;
        self.mean.adapt(BETA_MEAN, &local_mean);
        self.covariance.adapt(BETA_SIGMA, &DVector::from_column_slice(local_sigma.as_slice()));

        // Σ is split so that det C = 1.
        let covariance = sigma_old + delta_sigma * self.covariance.eta;
        let log_det: f64 = SymmetricEigen::new(covariance.clone()).eigenvalues.iter().map(|l| positive(*l).ln()).sum();
        let sigma = (log_det / 2.0 / n).exp();
        Distribution {
            mean: &old.mean + delta_mean * self.mean.eta,
            c: covariance / sigma.powi(2),
            // A slower mean needs longer steps: the best σ grows as η falls.
            sigma: sigma * (eta_mean_old / self.mean.eta),
        }
    }
}

/// An eigenvalue, replaced if rounding has made it zero or negative.
pub(super) fn positive(eigenvalue: f64) -> f64 {
    if eigenvalue > 0.0 { eigenvalue } else { 1e-8 }
}

/// A learning rate, and the moving averages that separate signal from noise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LearningRate {
    /// The learning rate η, in (0, 1].
    eta: f64,
    /// Moving average E of the updates.
    e: DVector<f64>,
    /// Moving average V of the updates' squared length.
    v: f64,
}

impl LearningRate {
    fn new(len: usize) -> Self {
        Self { eta: 1.0, e: DVector::zeros(len), v: 0.0 }
    }

    fn adapt(&mut self, beta: f64, update: &DVector<f64>) {
        self.e = &self.e * (1.0 - beta) + update * beta;
        self.v = (1.0 - beta) * self.v + beta * update.norm_squared();
        let squared = self.e.norm_squared();
        // V > |E|² by Jensen's inequality, unless nothing has moved yet.
        let noise = self.v - squared;
        let snr = if noise > 0.0 { (squared - beta / (2.0 - beta) * self.v) / noise } else { 0.0 };
        let relative = (snr / ALPHA / self.eta - 1.0).clamp(-1.0, 1.0);
        self.eta = (self.eta * ((GAMMA * self.eta).min(beta) * relative).exp()).min(1.0);
    }
}
