//! CMA-ES with margin (Hamano et al., [arXiv 2205.13482](https://arxiv.org/abs/2205.13482)), as in cmaes 0.13.1.

use super::{
    AskTell, Coordinate, Feedback, Fitness, Genome, OptimizerStart, SearchCourse,
    coordinate::decode,
    gaussian::Gaussian,
    margin::{IntegerLattice, correct},
    ranking::{by_coordinates, ranked},
    strategy::{Strategy, default_population},
};
use nalgebra::DVector;
use serde::{Deserialize, Serialize};

/// CMA-ES whose integers keep a probability to change. See
/// [`Optimizer::cma_es_margin`](super::Optimizer::cma_es_margin).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CmaEsMargin {
    course: SearchCourse,
    coordinates: Vec<Coordinate>,
    pub(super) gaussian: Gaussian,
    /// Values of integers and choices on their axes; `None` for reals. (n)
    pub(super) lattices: Vec<Option<IntegerLattice>>,
    /// Diagonal of A, which widens steps before they are cut by thresholds; 1 for reals. (n)
    pub(super) a: DVector<f64>,
}

impl CmaEsMargin {
    pub(super) fn new(start: OptimizerStart) -> Self {
        let n = start.n();
        Self {
            course: SearchCourse::new(&start, default_population(n)),
            gaussian: Gaussian::new(start.thresholds(), start.sigma),
            lattices: start.coordinates.iter().map(IntegerLattice::of).collect(),
            a: DVector::repeat(n, 1.0),
            coordinates: start.coordinates,
        }
    }

    fn steps(&self) -> Vec<DVector<f64>> {
        self.gaussian.steps(self.course.population, &mut self.course.generator())
    }

    /// Moves the distribution along the fitter of `steps`, which need not be its own.
    pub(super) fn update(&mut self, steps: &[DVector<f64>], fitness: &[Fitness]) {
        let n = self.coordinates.len();
        let strategy = Strategy::new(n, self.course.population);
        self.course.generation += 1;
        let (y, fitness) = ranked(steps, fitness, |x, y| by_coordinates(x.as_slice(), y.as_slice()));
        let y: Vec<DVector<f64>> = y.into_iter().cloned().collect();
        self.gaussian.learn(&y, &strategy.share(&fitness), &strategy, self.course.generation, None);

        let margin = 1.0 / (n * self.course.population) as f64;
        let deviations = self.gaussian.deviations();
        let mean = &mut self.gaussian.distribution.mean;
        for (i, lattice) in self.lattices.iter().enumerate() {
            if let Some(lattice) = lattice {
                correct(lattice, margin, deviations[i], &mut mean[i], &mut self.a[i]);
            }
        }
    }
}

impl AskTell for CmaEsMargin {
    fn ask(&self) -> Vec<Genome> {
        let widened = |y: &DVector<f64>| self.gaussian.point(&y.component_mul(&self.a));
        self.steps().iter().map(|y| decode(&self.coordinates, &widened(y))).collect()
    }

    fn tell(&mut self, told: &[Feedback]) {
        let fitness: Vec<Fitness> = told.iter().map(|told| told.fitness).collect();
        self.update(&self.steps(), &fitness);
    }

    fn course(&self) -> &SearchCourse {
        &self.course
    }

    fn mean(&self) -> Option<Genome> {
        Some(decode(&self.coordinates, self.gaussian.distribution.mean.as_slice()))
    }

    fn gaussian(&self) -> Option<&Gaussian> {
        Some(&self.gaussian)
    }
}
