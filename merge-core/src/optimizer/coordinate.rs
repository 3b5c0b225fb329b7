//! Coordinates of three kinds, their start, and the real number that stands for each.

use super::{Genome, normal};
use serde::{Deserialize, Serialize};

/// A dimension of the search space, and the start of the search in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coordinate {
    /// A real number, whose natural range is [0, 1].
    Real {
        /// Start.
        start: f64,
    },
    /// A whole number from 0 up; the order of the values has a meaning.
    Integer {
        /// Number of values, at least 2.
        levels: usize,
        /// Start, below `levels`.
        start: usize,
    },
    /// One of several options; their order has no meaning.
    Choice {
        /// Probability of each option at first. There are at least 2 options, and the sum is 1.
        start: Vec<f64>,
    },
}

/// Start of a search, and the settings that all searches have in common.
///
/// It is valid if there is a coordinate, reals start at finite numbers, integers and choices have
/// at least two values and start at one of them, `sigma` is positive and finite, and the population
/// is at least 2 (4 for NSGA-II and M2N2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OptimizerStart {
    /// Dimensions of the search space.
    pub coordinates: Vec<Coordinate>,
    /// Standard deviation of the first step, where 1 is the range of a real, or all levels of an integer.
    pub sigma: f64,
    /// Number of points in a generation; default: chosen by the optimizer.
    pub population: Option<usize>,
    /// Seed; the same seed searches the same way.
    pub seed: u64,
}

impl Coordinate {
    /// Number of values; `None` for a real.
    pub(super) fn levels(&self) -> Option<usize> {
        match self {
            Self::Real { .. } => None,
            Self::Integer { levels, .. } => Some(*levels),
            Self::Choice { start } => Some(start.len()),
        }
    }

    /// The coordinate of the genome for the real number `x`: `x` itself, or the number of its interval.
    pub(super) fn decode(&self, x: f64) -> f64 {
        match self.levels() {
            None => x,
            // The conversion rounds towards 0 and saturates: numbers below 0 become 0.
            Some(levels) => ((x * levels as f64) as usize).min(levels - 1) as f64,
        }
    }

    /// Start of the real number that stands for this coordinate and moves in steps of `sigma`.
    ///
    /// For a choice, a normal distribution would need thresholds at σ Φ⁻¹(Σ p) from its mean to
    /// give the start's probabilities. With two options the mean is set so that the one threshold
    /// fits, with more so that the squared distances to the equal thresholds are least.
    pub(super) fn threshold_start(&self, sigma: f64) -> f64 {
        match self {
            Self::Real { start } => *start,
            Self::Integer { levels, start } => (*start as f64 + 0.5) / *levels as f64,
            Self::Choice { start } => {
                let n_thresholds = start.len() - 1;
                let mut below = 0.0;
                let means = start[..n_thresholds].iter().enumerate().map(|(option, p)| {
                    below += p;
                    // A certain option keeps a doubt of a thousandth.
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
    /// Panics unless the start is valid.
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

    /// Number of coordinates.
    pub(super) fn n(&self) -> usize {
        self.coordinates.len()
    }

    /// Starts of the real numbers that stand for the coordinates.
    pub(super) fn thresholds(&self) -> Vec<f64> {
        self.coordinates.iter().map(|coordinate| coordinate.threshold_start(self.sigma)).collect()
    }
}

/// The genome for real numbers, cut by thresholds where needed.
pub(super) fn decode(coordinates: &[Coordinate], x: &[f64]) -> Genome {
    coordinates.iter().zip(x).map(|(coordinate, x)| coordinate.decode(*x)).collect()
}
