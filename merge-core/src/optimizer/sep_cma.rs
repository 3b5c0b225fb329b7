//! sep-CMA-ES: covariance matrix adaptation with a diagonal matrix, as in cmaes 0.13.1.
//!
//! Equation numbers are those of Hansen's tutorial, arXiv 1604.00772, whose formulas are applied to each coordinate.

use super::{
    AskTell, Coordinate, Feedback, Fitness, Genome, OptimizerStart, SearchCourse, Stop,
    coordinate::decode,
    gaussian::{SIGMA_MAX, vanishes_in_rounding},
    learning_rate::positive,
    ranking::{by_coordinates, ranked},
    strategy::{Strategy, default_population},
};
use nalgebra::DVector;
use rand::Rng;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

/// CMA-ES with a diagonal covariance matrix. See [`Optimizer::sep_cma_es`](super::Optimizer::sep_cma_es).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SepCmaEs {
    course: SearchCourse,
    coordinates: Vec<Coordinate>,
    /// Centre m of the distribution. (n)
    pub(super) mean: DVector<f64>,
    /// Step size.
    pub(super) sigma: f64,
    /// Diagonal of the covariance matrix. (n)
    pub(super) c: DVector<f64>,
    /// Evolution path of the step size. (n)
    pub(super) p_sigma: DVector<f64>,
    /// Evolution path of the covariance. (n)
    pub(super) p_c: DVector<f64>,
    /// σ of the first generation.
    sigma_0: f64,
}

impl SepCmaEs {
    pub(super) fn new(start: OptimizerStart) -> Self {
        let n = start.n();
        Self {
            course: SearchCourse::new(&start, default_population(n)),
            mean: DVector::from_vec(start.thresholds()),
            sigma: start.sigma,
            c: DVector::repeat(n, 1.0),
            p_sigma: DVector::zeros(n),
            p_c: DVector::zeros(n),
            sigma_0: start.sigma,
            coordinates: start.coordinates,
        }
    }

    /// The real numbers that stand for this generation's points.
    fn points(&self) -> Vec<Vec<f64>> {
        let mut generator = self.course.generator();
        let root = self.root();
        (0..self.course.population)
            .map(|_| {
                let y = root.map(|d| d * generator.sample::<f64, _>(StandardNormal)); // (39)
                (&self.mean + y * self.sigma).as_slice().to_vec() // (40)
            })
            .collect()
    }

    /// Moves the distribution towards the fitter of `points`, which need not be its own.
    pub(super) fn update(&mut self, points: &[Vec<f64>], fitness: &[Fitness]) {
        let strategy = Strategy::separable(self.coordinates.len(), self.course.population);
        let Strategy { weights, c_sigma, d_sigma, c_c, c_1, c_mu, chi_n, .. } = &strategy;
        let n = self.coordinates.len() as f64;
        self.course.generation += 1;
        let (points, fitness) = ranked(points, fitness, |x, y| by_coordinates(x, y));
        let shares = strategy.share(&fitness);
        let y: Vec<DVector<f64>> =
            points.iter().map(|x| (DVector::from_column_slice(x) - &self.mean) / self.sigma).collect();
        let root = self.root();

        let y_w: DVector<f64> = y.iter().zip(&shares.plus).map(|(y, w)| y * *w).sum(); // (41)
        self.mean += &y_w * self.sigma; // (42)

        let gain = (c_sigma * (2.0 - c_sigma) * shares.mu_eff).sqrt();
        self.p_sigma = &self.p_sigma * (1.0 - c_sigma) + y_w.component_div(&root) * gain; // (43)
        let length = self.p_sigma.norm();
        let sigma = self.sigma * (c_sigma / d_sigma * (length / chi_n - 1.0)).exp(); // (44)
        self.sigma = sigma.clamp(1.0 / SIGMA_MAX, SIGMA_MAX);

        let settled = length / (1.0 - (1.0 - c_sigma).powf(2.0 * (self.course.generation + 1) as f64)).sqrt();
        let h_sigma = f64::from(settled < (1.4 + 2.0 / (n + 1.0)) * chi_n);
        let gain = h_sigma * (c_c * (2.0 - c_c) * shares.mu_eff).sqrt();
        self.p_c = &self.p_c * (1.0 - c_c) + &y_w * gain; // (45)
        let delta_h_sigma = (1.0 - h_sigma) * c_c * (2.0 - c_c);
        let total: f64 = weights.iter().sum();
        let rank_mu: DVector<f64> = y.iter().zip(&shares.plus).map(|(y, w)| y.component_mul(y) * *w).sum();
        self.c = &self.c * (1.0 + c_1 * delta_h_sigma - c_1 - c_mu * total)
            + self.p_c.component_mul(&self.p_c) * *c_1
            + rank_mu * *c_mu; // (47)
    }

    /// √C, the standard deviations of a step.
    fn root(&self) -> DVector<f64> {
        self.c.map(|v| positive(v).sqrt())
    }
}

impl AskTell for SepCmaEs {
    fn ask(&self) -> Vec<Genome> {
        self.points().iter().map(|x| decode(&self.coordinates, x)).collect()
    }

    fn tell(&mut self, told: &[Feedback]) {
        let fitness: Vec<Fitness> = told.iter().map(|told| told.fitness).collect();
        self.update(&self.points(), &fitness);
    }

    fn course(&self) -> &SearchCourse {
        &self.course
    }

    fn mean(&self) -> Option<Genome> {
        Some(decode(&self.coordinates, self.mean.as_slice()))
    }

    fn sigma(&self) -> Option<f64> {
        Some(self.sigma)
    }

    fn stop(&self) -> Option<Stop> {
        let d = self.root();
        let small = |step: f64| step.abs() < 1e-12 * self.sigma_0;
        if d.iter().chain(&self.p_c).all(|step| small(self.sigma * step)) {
            Some(Stop::StepTooSmall)
        } else if self.sigma * d.max() > 1e4 * self.sigma_0 {
            Some(Stop::Diverged)
        } else if (d.max() / d.min()).powi(2) > 1e14 {
            Some(Stop::IllConditioned)
        } else if self.mean.iter().zip(&d).any(|(m, d)| vanishes_in_rounding(*m, 0.1 * self.sigma * d)) {
            Some(Stop::NoEffect)
        } else {
            None
        }
    }
}
