//! Random search: points drawn uniformly, the baseline that an optimizer has to beat.

use super::{Coordinate, Course, Genome, Search, Start, Told};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Draws each generation uniformly and learns nothing from it. See [`Optimizer::random`](super::Optimizer::random).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RandomSearch {
    course: Course,
    coordinates: Vec<Coordinate>,
}

impl RandomSearch {
    pub(super) fn new(start: Start) -> Self {
        Self { course: Course::new(&start, 12), coordinates: start.coordinates }
    }
}

impl Search for RandomSearch {
    fn ask(&self) -> Vec<Genome> {
        let mut generator = self.course.generator();
        (0..self.course.population).map(|_| uniform(&self.coordinates, &mut generator)).collect()
    }

    fn tell(&mut self, _: &[Told]) {
        self.course.generation += 1;
    }

    fn course(&self) -> &Course {
        &self.course
    }
}

/// A genome of which nothing is known.
fn uniform(coordinates: &[Coordinate], generator: &mut ChaCha8Rng) -> Genome {
    let draw = |coordinate: &Coordinate| match coordinate.levels() {
        None => generator.random(),
        Some(levels) => generator.random_range(0..levels) as f64,
    };
    coordinates.iter().map(draw).collect()
}
