//! Random search: points drawn uniformly from the unit box, the baseline that an optimizer has to beat.

use super::{Genome, generator};
use rand::Rng;
use serde::{Deserialize, Serialize};

/// Draws each generation uniformly and learns nothing from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RandomSearch {
    dimensions: usize,
    population: usize,
    seed: u64,
    generation: u64,
}

impl RandomSearch {
    pub(super) fn new(dimensions: usize, population: usize, seed: u64) -> Self {
        assert!(dimensions > 0, "a search has at least one dimension");
        assert!(population > 0, "a generation has at least one point");
        Self { dimensions, population, seed, generation: 0 }
    }

    pub(super) fn ask(&self) -> Vec<Genome> {
        let mut generator = generator(self.seed, self.generation);
        (0..self.population).map(|_| (0..self.dimensions).map(|_| generator.random()).collect()).collect()
    }

    pub(super) fn tell(&mut self) {
        self.generation += 1;
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn population(&self) -> usize {
        self.population
    }
}
