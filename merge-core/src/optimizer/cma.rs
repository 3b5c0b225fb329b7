//! CMA-ES: covariance matrix adaptation in any number of dimensions.

use super::{
    AskTell, Coordinate, Feedback, Fitness, Genome, OptimizerStart, SearchCourse,
    coordinate::decode,
    gaussian::Gaussian,
    learning_rate::LearningRates,
    ranking::{by_coordinates, ranked},
    strategy::{Strategy, default_population},
};
use serde::{Deserialize, Serialize};

/// Covariance matrix adaptation evolution strategy, with active (negative) weights. See
/// [`Optimizer::cma_es`](super::Optimizer::cma_es).
///
/// It draws points from a normal distribution, which it moves towards the better ones, in O(n²)
/// memory and O(n³) time per generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CmaEs {
    course: SearchCourse,
    coordinates: Vec<Coordinate>,
    pub(super) gaussian: Gaussian,
    learning_rates: Option<LearningRates>,
}

impl CmaEs {
    pub(super) fn new(start: OptimizerStart, adapt_rates: bool) -> Self {
        let n = start.n();
        Self {
            course: SearchCourse::new(&start, default_population(n)),
            gaussian: Gaussian::new(start.thresholds(), start.sigma),
            learning_rates: adapt_rates.then(|| LearningRates::new(n)),
            coordinates: start.coordinates,
        }
    }

    /// The real numbers that stand for this generation's points.
    pub(super) fn points(&self) -> Vec<Vec<f64>> {
        let steps = self.gaussian.steps(self.course.population, &mut self.course.generator());
        steps.iter().map(|y| self.gaussian.point(y)).collect()
    }

    /// Moves the distribution towards the fitter of `points`, which need not be its own.
    pub(super) fn update(&mut self, points: &[Vec<f64>], fitness: &[Fitness]) {
        let strategy = Strategy::new(self.coordinates.len(), self.course.population);
        self.course.generation += 1;
        let (points, fitness) = ranked(points, fitness, |x, y| by_coordinates(x, y));
        let y: Vec<_> = points.iter().map(|x| self.gaussian.step(x)).collect();
        let shares = strategy.share(&fitness);
        self.gaussian.learn(&y, &shares, &strategy, self.course.generation, self.learning_rates.as_mut());
    }
}

impl AskTell for CmaEs {
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
        Some(decode(&self.coordinates, self.gaussian.distribution.mean.as_slice()))
    }

    fn gaussian(&self) -> Option<&Gaussian> {
        Some(&self.gaussian)
    }
}
