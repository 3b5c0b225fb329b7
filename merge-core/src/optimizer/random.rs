//! Random search: points drawn uniformly, the baseline that an optimizer has to beat.

use super::{AskTell, Coordinate, Feedback, Genome, OptimizerStart, SearchCourse};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Draws each generation uniformly and learns nothing from it. See [`Optimizer::random`](super::Optimizer::random).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RandomSearch {
    course: SearchCourse,
    coordinates: Vec<Coordinate>,
}

impl RandomSearch {
    pub(super) fn new(start: OptimizerStart) -> Self {
        Self { course: SearchCourse::new(&start, 12), coordinates: start.coordinates }
    }
}

impl AskTell for RandomSearch {
    fn ask(&self) -> Vec<Genome> {
        let mut generator = self.course.generator();
        (0..self.course.population).map(|_| uniform(&self.coordinates, &mut generator)).collect()
    }

    fn tell(&mut self, _: &[Feedback]) {
        self.course.generation += 1;
    }

    fn course(&self) -> &SearchCourse {
        &self.course
    }
}

/// A genome drawn uniformly from the space.
fn uniform(coordinates: &[Coordinate], generator: &mut ChaCha8Rng) -> Genome {
    let draw = |coordinate: &Coordinate| match coordinate.levels() {
        None => generator.random(),
        Some(levels) => generator.random_range(0..levels) as f64,
    };
    coordinates.iter().map(draw).collect()
}
