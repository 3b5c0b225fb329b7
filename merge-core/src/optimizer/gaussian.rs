//! The normal distribution of CMA-ES and its updates, with the equation numbers of Hansen's
//! tutorial (arXiv 1604.00772), to be read beside it.

use super::{
    Stop,
    learning_rate::{LearningRates, positive},
    strategy::{Shares, Strategy},
};
use nalgebra::{DMatrix, DVector, SymmetricEigen};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

/// σ stays within [1 / `SIGMA_MAX`, `SIGMA_MAX`] for any feedback, so that every formula stays finite.
pub(super) const SIGMA_MAX: f64 = 1e32;

/// The normal distribution N(m, σ²C).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Distribution {
    /// Centre m. (n)
    pub(super) mean: DVector<f64>,
    /// Step size.
    pub(super) sigma: f64,
    /// Shape C, symmetric. (n, n)
    pub(super) c: DMatrix<f64>,
}

/// A distribution with its evolution paths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Gaussian {
    pub(super) distribution: Distribution,
    /// Evolution path of the step size.
    pub(super) p_sigma: DVector<f64>,
    /// Evolution path of the covariance.
    pub(super) p_c: DVector<f64>,
    /// σ of the first generation, against which [`Gaussian::stop`] measures later ones.
    sigma_0: f64,
}

impl Gaussian {
    /// A distribution about `mean` with step size `sigma`, the same in all directions.
    pub(super) fn new(mean: Vec<f64>, sigma: f64) -> Self {
        let n = mean.len();
        Self {
            distribution: Distribution { mean: DVector::from_vec(mean), sigma, c: DMatrix::identity(n, n) },
            p_sigma: DVector::zeros(n),
            p_c: DVector::zeros(n),
            sigma_0: sigma,
        }
    }

    /// Draws steps y ~ N(0, C).
    pub(super) fn steps(&self, count: usize, generator: &mut ChaCha8Rng) -> Vec<DVector<f64>> {
        let n = self.distribution.mean.len();
        // C^(1/2) for the tutorial's BD: as good, and independent of the eigenvectors' order and signs.
        let root = self.eigen().power(1);
        (0..count)
            .map(|_| {
                let z = DVector::from_fn(n, |_, _| generator.sample(StandardNormal)); // (38)
                &root * z // (39)
            })
            .collect()
    }

    /// The point at the end of a step.
    pub(super) fn point(&self, y: &DVector<f64>) -> Vec<f64> {
        let Distribution { mean, sigma, .. } = &self.distribution;
        (mean + y * *sigma).as_slice().to_vec() // (40)
    }

    /// The step that leads to a point.
    pub(super) fn step(&self, x: &[f64]) -> DVector<f64> {
        (DVector::from_column_slice(x) - &self.distribution.mean) / self.distribution.sigma
    }

    /// Moves the distribution along the steps `y`, best first; `generation` includes this one.
    pub(super) fn learn(
        &mut self,
        y: &[DVector<f64>],
        shares: &Shares,
        strategy: &Strategy,
        generation: u64,
        learning_rates: Option<&mut LearningRates>,
    ) {
        let n = self.distribution.mean.len() as f64;
        let Strategy { weights, c_sigma, d_sigma, c_c, c_1, c_mu, chi_n, .. } = strategy;
        let eigen = self.eigen();
        let inverse_root = eigen.power(-1);
        let old = Distribution { c: eigen.power(2), ..self.distribution.clone() };

        // Selection and recombination, with c_m = 1.
        let y_w: DVector<f64> = y.iter().zip(&shares.plus).map(|(y, w)| y * *w).sum(); // (41)
        let mean = &old.mean + &y_w * old.sigma; // (42)

        // Step-size control.
        let gain = (c_sigma * (2.0 - c_sigma) * shares.mu_eff).sqrt();
        self.p_sigma = &self.p_sigma * (1.0 - c_sigma) + &inverse_root * &y_w * gain; // (43)
        let length = self.p_sigma.norm();
        let sigma = old.sigma * (c_sigma / d_sigma * (length / chi_n - 1.0)).exp(); // (44)
        let sigma = sigma.clamp(1.0 / SIGMA_MAX, SIGMA_MAX);

        // Covariance matrix adaptation. The rank-one update pauses while σ still has to grow a lot.
        let settled = length / (1.0 - (1.0 - c_sigma).powf(2.0 * (generation + 1) as f64)).sqrt();
        let h_sigma = f64::from(settled < (1.4 + 2.0 / (n + 1.0)) * chi_n);
        let gain = h_sigma * (c_c * (2.0 - c_c) * shares.mu_eff).sqrt();
        self.p_c = &self.p_c * (1.0 - c_c) + &y_w * gain; // (45)
        let delta_h_sigma = (1.0 - h_sigma) * c_c * (2.0 - c_c);
        let total: f64 = weights.iter().sum();
        let mut c = &old.c * (1.0 + c_1 * delta_h_sigma - c_1 - c_mu * total); // (47)
        c.ger(*c_1, &self.p_c, &self.p_c, 1.0);
        for ((y, plus), minus) in y.iter().zip(&shares.plus).zip(&shares.minus) {
            let w = plus + minus * (n / ((&inverse_root * y).norm_squared() + 1e-8)); // (46)
            c.ger(c_mu * w, y, y, 1.0);
        }

        let new = Distribution { mean, sigma, c };
        self.distribution = match learning_rates {
            Some(rates) => rates.damp(&old, &new, &inverse_root),
            None => new,
        };
    }

    /// Keeps the variance σ²λ along every axis at `least` or more, so that it does not vanish while
    /// choices are still open (`min_eigenvalue` in cmaes).
    pub(super) fn keep_above(&mut self, least: f64) {
        let smallest = self.eigen().d.min();
        self.distribution.sigma = self.distribution.sigma.max(least.sqrt() / smallest).min(SIGMA_MAX);
    }

    /// The standard deviation of each coordinate, σ √`C_ii`.
    pub(super) fn deviations(&self) -> DVector<f64> {
        let Distribution { sigma, c, .. } = &self.distribution;
        c.diagonal().map(|v| sigma * positive(v).sqrt())
    }

    /// The tutorial's stopping criteria (appendix B.3) that hold for fitness with noise and ties.
    pub(super) fn stop(&self) -> Option<Stop> {
        let Distribution { mean, sigma, c } = &self.distribution;
        let Eigen { b, d } = self.eigen();
        let deviations = c.diagonal().map(|v| sigma * v.sqrt());
        let small = |step: f64| step.abs() < 1e-12 * self.sigma_0;
        let no_coordinate = mean.iter().zip(&deviations).any(|(m, s)| vanishes_in_rounding(*m, 0.2 * s));
        let no_axis = b
            .column_iter()
            .zip(&d)
            .any(|(b, d)| mean.iter().zip(&b).all(|(m, b)| vanishes_in_rounding(*m, 0.1 * sigma * d * b)));

        if deviations.iter().all(|s| small(*s)) && self.p_c.iter().all(|p| small(sigma * p)) {
            Some(Stop::StepTooSmall)
        } else if sigma * d.max() > 1e4 * self.sigma_0 {
            Some(Stop::Diverged)
        } else if (d.max() / d.min()).powi(2) > 1e14 {
            Some(Stop::IllConditioned)
        } else if no_coordinate || no_axis {
            Some(Stop::NoEffect)
        } else {
            None
        }
    }

    fn eigen(&self) -> Eigen {
        Eigen::new(&self.distribution.c)
    }
}

/// C = B D² Bᵀ.
struct Eigen {
    /// Orthonormal eigenvectors, one a column. (n, n)
    b: DMatrix<f64>,
    /// Square roots of the eigenvalues, all positive. (n)
    d: DVector<f64>,
}

impl Eigen {
    fn new(c: &DMatrix<f64>) -> Self {
        let SymmetricEigen { eigenvectors, eigenvalues } = SymmetricEigen::new(c.clone());
        Self { b: eigenvectors, d: eigenvalues.map(|l| positive(l).sqrt()) }
    }

    /// C^(k/2) = B D^k Bᵀ.
    fn power(&self, k: i32) -> DMatrix<f64> {
        let mut bd = self.b.clone();
        for (mut column, d) in bd.column_iter_mut().zip(&self.d) {
            column *= d.powi(k);
        }
        bd * self.b.transpose()
    }
}

/// True if a step is so small that adding it to `m` changes nothing.
#[expect(clippy::float_cmp, reason = "the question is whether rounding swallows the step")]
pub(super) fn vanishes_in_rounding(m: f64, step: f64) -> bool {
    m + step == m
}
