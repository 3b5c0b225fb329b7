//! What a search moves: coordinates of three kinds, where they start, and how a real number stands for each.

use super::{Genome, normal};
use serde::{Deserialize, Serialize};

/// A dimension of the search space, and where the search begins in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coordinate {
    /// A real number, whose natural range is [0, 1].
    Real {
        /// Where it starts.
        start: f64,
    },
    /// A whole number from 0 up, whose order means something.
    Integer {
        /// How many values there are, at least 2.
        levels: usize,
        /// Where it starts, below `levels`.
        start: usize,
    },
    /// One of several options, whose order means nothing.
    Choice {
        /// With which probability each of the options, at least 2, is drawn at first. The sum is 1.
        start: Vec<f64>,
    },
}

/// Where a search begins, and what all searches have in common.
///
/// It is one if there is a coordinate, reals start at finite numbers, integers and choices have at least two values and
/// start at one of them, `sigma` is positive and finite, and the population is at least 2 (4 for those who ask their
/// parents again).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OptimizerStart {
    /// What is searched.
    pub coordinates: Vec<Coordinate>,
    /// The first step's standard deviation, where 1 is the range of a real, or all levels of an integer.
    pub sigma: f64,
    /// Points in a generation; what the optimizer thinks best unless said.
    pub population: Option<usize>,
    /// The same seed searches the same way.
    pub seed: u64,
}

impl Coordinate {
    /// How many values it has, if it is not real.
    pub(super) fn levels(&self) -> Option<usize> {
        match self {
            Self::Real { .. } => None,
            Self::Integer { levels, .. } => Some(*levels),
            Self::Choice { start } => Some(start.len()),
        }
    }

    /// The coordinate of the genome for which `x` stands: itself, or by thresholds the number of its interval.
    pub(super) fn decode(&self, x: f64) -> f64 {
        match self.levels() {
            None => x,
            // The conversion rounds towards 0 and keeps within the type: what lies below 0 becomes 0.
            Some(levels) => ((x * levels as f64) as usize).min(levels - 1) as f64,
        }
    }

    /// Where a real number starts that stands for this coordinate and moves in steps of `sigma`.
    ///
    /// For a choice the thresholds that a normal distribution would need for the given probabilities lie
    /// σ Φ⁻¹(Σ p) from its mean; with two options it has that mean, with more the one that misses the equal thresholds least
    /// (by squares).
    pub(super) fn threshold_start(&self, sigma: f64) -> f64 {
        match self {
            Self::Real { start } => *start,
            Self::Integer { levels, start } => (*start as f64 + 0.5) / *levels as f64,
            Self::Choice { start } => {
                let n_thresholds = start.len() - 1;
                let mut below = 0.0;
                let means = start[..n_thresholds].iter().enumerate().map(|(option, p)| {
                    below += p;
                    // What is certain keeps a thousandth of doubt.
                    (option + 1) as f64 / start.len() as f64 - sigma * normal::quantile(below.clamp(0.001, 0.999))
                });
                means.sum::<f64>() / n_thresholds as f64
            }
        }
    }

    fn check(&self) {
        match self {
            Self::Real { start } => assert!(start.is_finite(), "a real number starts at a finite one"),
            Self::Integer { levels, start } => {
                assert!(*levels >= 2 && start < levels, "an integer has two levels or more, and starts at one of them");
            }
            Self::Choice { start } => {
                assert!(start.len() >= 2, "a choice has two options or more");
                assert!(start.iter().all(|p| (0.0..=1.0).contains(p)), "a probability is between 0 and 1");
                assert!((start.iter().sum::<f64>() - 1.0).abs() < 1e-6, "the probabilities of options sum to 1");
            }
        }
    }
}

impl OptimizerStart {
    /// Panics unless it is one.
    pub(super) fn check(&self) {
        assert!(!self.coordinates.is_empty(), "a search has at least one dimension");
        assert!(self.sigma > 0.0 && self.sigma.is_finite(), "the first step size is positive and finite");
        assert!(
            self.population.is_none_or(|population| population >= 2),
            "a generation has at least two points, or there is nothing to choose"
        );
        for coordinate in &self.coordinates {
            coordinate.check();
        }
    }

    /// How many coordinates there are.
    pub(super) fn n(&self) -> usize {
        self.coordinates.len()
    }

    /// Where real numbers start that stand for the coordinates.
    pub(super) fn thresholds(&self) -> Vec<f64> {
        self.coordinates.iter().map(|coordinate| coordinate.threshold_start(self.sigma)).collect()
    }
}

/// The genome for which real numbers stand, by thresholds where it has to.
pub(super) fn decode(coordinates: &[Coordinate], x: &[f64]) -> Genome {
    coordinates.iter().zip(x).map(|(coordinate, x)| coordinate.decode(*x)).collect()
}
