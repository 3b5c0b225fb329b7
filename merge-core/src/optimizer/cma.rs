//! CMA-ES, written to be read beside Hansen's tutorial (arXiv 1604.00772), whose equation numbers it carries.

use super::{
    Fitness, Genome, Stop, generator,
    learning_rate::{LearningRates, positive},
    strategy::{Strategy, default_population},
};
use nalgebra::{DMatrix, DVector, SymmetricEigen};
use rand::Rng;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// σ stays within [1 / `SIGMA_MAX`, `SIGMA_MAX`], whatever it is told, so that every formula stays finite.
const SIGMA_MAX: f64 = 1e32;

/// Covariance matrix adaptation evolution strategy, with active (negative) weights, in any number of dimensions.
///
/// It draws points from a normal distribution and moves that towards the better ones, in O(n²) memory and O(n³) time a
/// generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CmaEs {
    seed: u64,
    population: usize,
    /// σ of the first generation, by which [`CmaEs::stop`] measures the later ones.
    sigma_0: f64,
    generation: u64,
    pub(super) distribution: Distribution,
    /// Evolution path of the step size.
    pub(super) p_sigma: DVector<f64>,
    /// Evolution path of the covariance.
    pub(super) p_c: DVector<f64>,
    learning_rates: Option<LearningRates>,
}

/// The normal distribution N(m, σ²C).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Distribution {
    /// Its centre m. (n)
    pub(super) mean: DVector<f64>,
    /// Step size.
    pub(super) sigma: f64,
    /// Shape, symmetric. (n, n)
    pub(super) c: DMatrix<f64>,
}

impl CmaEs {
    pub(super) fn new(mean: Genome, sigma: f64, population: Option<usize>, adapt_rates: bool, seed: u64) -> Self {
        let n = mean.len();
        let population = population.unwrap_or_else(|| default_population(n));
        assert!(n > 0, "a search has at least one dimension");
        assert!(mean.iter().all(|m| m.is_finite()), "the first mean is finite");
        assert!(sigma > 0.0 && sigma.is_finite(), "the first step size is positive and finite");
        assert!(population >= 2, "a generation has at least two points, or there is nothing to choose");
        Self {
            seed,
            population,
            sigma_0: sigma,
            generation: 0,
            distribution: Distribution { mean: DVector::from_vec(mean), sigma, c: DMatrix::identity(n, n) },
            p_sigma: DVector::zeros(n),
            p_c: DVector::zeros(n),
            learning_rates: adapt_rates.then(|| LearningRates::new(n)),
        }
    }

    pub(super) fn ask(&self) -> Vec<Genome> {
        let Distribution { mean, sigma, .. } = &self.distribution;
        // C^(1/2) where the tutorial has BD: as good, and the same however eigenvectors are ordered and signed.
        let root = self.eigen().power(1);
        let mut generator = generator(self.seed, self.generation);
        (0..self.population)
            .map(|_| {
                let z = DVector::from_fn(mean.len(), |_, _| generator.sample(StandardNormal)); // (38)
                let y: DVector<f64> = &root * z; // (39)
                (mean + y * *sigma).as_slice().to_vec() // (40)
            })
            .collect()
    }

    pub(super) fn tell(&mut self, fitness: &[Fitness]) {
        self.update(&self.ask(), fitness);
    }

    /// Moves the distribution towards the fitter of `points`, whoever drew them.
    pub(super) fn update(&mut self, points: &[Genome], fitness: &[Fitness]) {
        let n = self.distribution.mean.len() as f64;
        let strategy = self.strategy();
        let Strategy { weights, c_sigma, d_sigma, c_c, c_1, c_mu, chi_n, .. } = &strategy;
        let eigen = self.eigen();
        let inverse_root = eigen.power(-1);
        let old = Distribution { c: eigen.power(2), ..self.distribution.clone() };
        self.generation += 1;

        let (points, fitness) = ranked(points, fitness);
        let shares = strategy.share(&fitness);
        let y: Vec<DVector<f64>> =
            points.iter().map(|x| (DVector::from_column_slice(x) - &old.mean) / old.sigma).collect();

        // Selection and recombination, with c_m = 1.
        let y_w: DVector<f64> = y.iter().zip(&shares.plus).map(|(y, w)| y * *w).sum(); // (41)
        let mean = &old.mean + &y_w * old.sigma; // (42)

        // Step-size control.
        let gain = (c_sigma * (2.0 - c_sigma) * shares.mu_eff).sqrt();
        self.p_sigma = &self.p_sigma * (1.0 - c_sigma) + &inverse_root * &y_w * gain; // (43)
        let length = self.p_sigma.norm();
        let sigma = old.sigma * (c_sigma / d_sigma * (length / chi_n - 1.0)).exp(); // (44)
        let sigma = sigma.clamp(1.0 / SIGMA_MAX, SIGMA_MAX);

        // Covariance matrix adaptation. The rank-one update stalls while σ still has to grow a lot.
        let settled = length / (1.0 - (1.0 - c_sigma).powf(2.0 * (self.generation + 1) as f64)).sqrt();
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
        self.distribution = match &mut self.learning_rates {
            Some(rates) => rates.damp(&old, &new, &inverse_root),
            None => new,
        };
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn mean(&self) -> &[f64] {
        self.distribution.mean.as_slice()
    }

    pub(super) fn sigma(&self) -> f64 {
        self.distribution.sigma
    }

    pub(super) fn population(&self) -> usize {
        self.population
    }

    /// The tutorial's reasons to stop (appendix B.3) that hold for fitness full of noise and ties.
    pub(super) fn stop(&self) -> Option<Stop> {
        let Distribution { mean, sigma, c } = &self.distribution;
        let Eigen { b, d } = self.eigen();
        let deviations = c.diagonal().map(|v| sigma * v.sqrt());
        let small = |step: f64| step.abs() < 1e-12 * self.sigma_0;
        let no_coordinate = mean.iter().zip(&deviations).any(|(m, s)| lost(*m, 0.2 * s));
        let no_axis =
            b.column_iter().zip(&d).any(|(b, d)| mean.iter().zip(&b).all(|(m, b)| lost(*m, 0.1 * sigma * d * b)));

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

    /// Strategy parameters cost less to compute than to keep in step with the state.
    pub(super) fn strategy(&self) -> Strategy {
        Strategy::new(self.distribution.mean.len(), self.population)
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

/// Points and their fitness, best first; equals come in order of coordinates, so that it does not matter who was told
/// first, not even in the last bit of a sum.
fn ranked<'a>(points: &'a [Genome], fitness: &[Fitness]) -> (Vec<&'a Genome>, Vec<Fitness>) {
    let fitness = fitness.iter().map(|f| if f.is_nan() { f64::NEG_INFINITY } else { *f });
    let mut told: Vec<(&Genome, Fitness)> = points.iter().zip(fitness).collect();
    told.sort_by(|(x, f), (y, g)| g.partial_cmp(f).expect("no NaN is left").then_with(|| by_coordinates(x, y)));
    told.into_iter().unzip()
}

/// Whether a step is too small for `m` to feel.
#[expect(clippy::float_cmp, reason = "the question is whether rounding swallows the step")]
fn lost(m: f64, step: f64) -> bool {
    m + step == m
}

fn by_coordinates(x: &Genome, y: &Genome) -> Ordering {
    x.iter().zip(y).map(|(a, b)| a.total_cmp(b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
}
