//! The margin of CMA-ES with margin ([arXiv 2205.13482](https://arxiv.org/abs/2205.13482)): a least probability for an
//! integer to change.
//!
//! The distribution is widened by a diagonal matrix A, to N(m, σ² A C A), which leaves C to its learning.

use super::{Coordinate, normal};
use serde::{Deserialize, Serialize};

/// A mutation probability stays clear of 0 and ½ by this much.
const CLEAR: f64 = 1e-10;

/// The values of an integer on the axis of its real number, evenly spaced; thresholds lie in the middle between them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct IntegerLattice {
    pub(super) first: f64,
    pub(super) step: f64,
    pub(super) levels: usize,
}

impl IntegerLattice {
    /// The middles of equal intervals of [0, 1], for an integer or a choice.
    pub(super) fn of(coordinate: &Coordinate) -> Option<Self> {
        let levels = coordinate.levels()?;
        let step = 1.0 / levels as f64;
        Some(Self { first: 0.5 * step, step, levels })
    }

    /// The number of the nearest value, the lower of two equally near.
    pub(super) fn nearest(&self, x: f64) -> usize {
        let above = ((x - self.first) / self.step - 0.5).ceil().max(0.0);
        (above as usize).min(self.levels - 1)
    }

    /// The value of that number.
    pub(super) fn value(&self, level: usize) -> f64 {
        self.first + level as f64 * self.step
    }

    /// Where the mean of a distribution is between thresholds.
    pub(super) fn place(&self, mean: f64) -> Thresholds {
        let threshold = |level: usize| self.first + (level as f64 + 0.5) * self.step;
        match self.nearest(mean) {
            0 => Thresholds::Edge(threshold(0)),
            level if level == self.levels - 1 => Thresholds::Edge(threshold(level - 1)),
            level => Thresholds::Between(threshold(level - 1), threshold(level)),
        }
    }
}

/// The thresholds nearest to a mean.
pub(super) enum Thresholds {
    /// At the least or the greatest value there is one.
    Edge(f64),
    /// Elsewhere there are two.
    Between(f64, f64),
}

/// Moves an integer's mean, or widens its distribution by `a`, so that the integer keeps at least the probability `margin` to
/// change; `deviation` is σ √`C_ii`.
pub(super) fn correct(lattice: &IntegerLattice, margin: f64, deviation: f64, mean: &mut f64, a: &mut f64) {
    let spread = *a * deviation;
    match lattice.place(*mean) {
        Thresholds::Edge(threshold) => {
            let distance = (*mean - threshold).abs();
            // The farthest that the mean may be from the only threshold.
            let most = spread * normal::tail(margin);
            if distance > most {
                *mean = threshold + most * (*mean - threshold).signum();
            }
        }
        Thresholds::Between(low, up) => {
            let below = normal::below((low - *mean) / spread).max(margin / 2.0);
            let above = normal::below((*mean - up) / spread).max(margin / 2.0);
            let between = 1.0 - normal::below((low - *mean) / spread) - normal::below((*mean - up) / spread);
            // What the two sides have gained is taken from all, in proportion to what they have above their least.
            let excess = (1.0 - below - above - between) / (below + between + above - 1.5 * margin);
            let below = below + excess * (below - margin / 2.0);
            let above = above + excess * (above - margin / 2.0);
            (*mean, *a) = between_thresholds([low, up], [below, above], CLEAR, deviation);
        }
    }
}

/// The mean and the widening that give a distribution these probabilities below and above two thresholds.
pub(super) fn between_thresholds(
    [low, up]: [f64; 2],
    [below, above]: [f64; 2],
    clear: f64,
    deviation: f64,
) -> (f64, f64) {
    let [z_low, z_up] = [below, above].map(|p| normal::tail(p.clamp(clear, 0.5 - clear)));
    ((low * z_up + up * z_low) / (z_low + z_up), (up - low) / ((z_low + z_up) * deviation))
}
