//! Optimizers that ask for genomes and are told how fit each of them is.
//!
//! Asking is pure: it draws from `(seed, generation)`, so an optimizer that comes back from its JSON goes on as if it
//! had never been away.

mod cma;
mod learning_rate;
mod random;
mod strategy;
#[cfg(test)]
mod tests;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::fmt;

pub use cma::CmaEs;
pub use random::RandomSearch;

/// A point of the search space, one coordinate per dimension.
///
/// The natural range of each coordinate is [0, 1], but an optimizer may leave it: the caller folds coordinates back.
pub type Genome = Vec<f64>;

/// How good a genome is: higher is better, and NaN is as bad as negative infinity. Only the order matters.
pub type Fitness = f64;

/// A search through genomes, generation by generation; plain data that survives JSON exactly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::large_enum_variant, reason = "a study holds one optimizer")]
pub enum Optimizer {
    /// Covariance matrix adaptation evolution strategy.
    CmaEs(CmaEs),
    /// Points drawn uniformly, learning nothing: the baseline.
    Random(RandomSearch),
}

impl Optimizer {
    /// CMA-ES that starts at `mean` with steps of `sigma`, with `population` points a generation or else 4 + ⌊3 ln n⌋.
    ///
    /// Learning-rate adaptation (arXiv 2304.03473) slows the search down when fitness is noisy, at the cost of
    /// more generations when it is not.
    ///
    /// # Panics
    ///
    /// If there is no dimension, a coordinate is not finite, `sigma` is not positive and finite, or the population is
    /// less than 2.
    pub fn cma_es(
        mean: Genome,
        sigma: f64,
        population: Option<usize>,
        learning_rate_adaptation: bool,
        seed: u64,
    ) -> Self {
        Self::CmaEs(CmaEs::new(mean, sigma, population, learning_rate_adaptation, seed))
    }

    /// `population` points a generation, uniform in [0, 1)^`dimensions`.
    ///
    /// # Panics
    ///
    /// If there is no dimension or no point.
    pub fn random(dimensions: usize, population: usize, seed: u64) -> Self {
        Self::Random(RandomSearch::new(dimensions, population, seed))
    }

    /// The points of this generation, the same ones each time until [`Optimizer::tell`].
    pub fn ask(&self) -> Vec<Genome> {
        match self {
            Self::CmaEs(search) => search.ask(),
            Self::Random(search) => search.ask(),
        }
    }

    /// Learns the fitness of what [`Optimizer::ask`] gave, in that order, and moves on to the next generation.
    ///
    /// # Panics
    ///
    /// If there is not exactly one fitness for each point.
    pub fn tell(&mut self, fitness: &[Fitness]) {
        assert_eq!(fitness.len(), self.population(), "one fitness for each point of the generation");
        match self {
            Self::CmaEs(search) => search.tell(fitness),
            Self::Random(search) => search.tell(),
        }
    }

    /// How many generations have been told.
    pub fn generation(&self) -> u64 {
        match self {
            Self::CmaEs(search) => search.generation(),
            Self::Random(search) => search.generation(),
        }
    }

    /// The centre of the distribution that points are drawn from, if it moves.
    pub fn mean(&self) -> Option<&[f64]> {
        match self {
            Self::CmaEs(search) => Some(search.mean()),
            Self::Random(_) => None,
        }
    }

    /// The overall step size, if there is one.
    pub fn sigma(&self) -> Option<f64> {
        match self {
            Self::CmaEs(search) => Some(search.sigma()),
            Self::Random(_) => None,
        }
    }

    /// How many points a generation has.
    pub fn population(&self) -> usize {
        match self {
            Self::CmaEs(search) => search.population(),
            Self::Random(search) => search.population(),
        }
    }

    /// Why going on would be useless, if it would be.
    pub fn stop(&self) -> Option<Stop> {
        match self {
            Self::CmaEs(search) => search.stop(),
            Self::Random(_) => None,
        }
    }
}

/// Why a search has nothing left to find.
///
/// Flat fitness is no reason: a benchmark score is a step function, and a generation of equals is an ordinary one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// Steps have shrunk, in every coordinate, to less than 1e-12 of the first ones.
    StepTooSmall,
    /// The covariance matrix has a condition number above 1e14.
    IllConditioned,
    /// Steps have grown to more than 1e4 times the first ones.
    Diverged,
    /// Steps no longer change the mean in some coordinate or along some axis.
    NoEffect,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StepTooSmall => "the search has converged: its steps are too small to matter",
            Self::IllConditioned => "the search is stuck: its covariance matrix is ill-conditioned",
            Self::Diverged => "the search has diverged: its steps are far larger than the first ones",
            Self::NoEffect => "the search has converged: its steps are lost in rounding",
        })
    }
}

/// The random numbers of one generation. The generator is named, not "the standard one", so that they never change.
fn generator(seed: u64, generation: u64) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(generation);
    generator
}
