//! The margin of CMA-ES with margin ([arXiv 2205.13482](https://arxiv.org/abs/2205.13482)): a
//! smallest probability for an integer to change.
//!
//! A diagonal matrix A widens the distribution to N(m, σ² A C A), and does not disturb the learning of C.

use super::{Coordinate, normal};
use serde::{Deserialize, Serialize};

/// Distance that a mutation probability keeps from 0 and ½.
const CLEAR: f64 = 1e-10;

/// Values of an integer on the axis of its real number, evenly spaced; thresholds lie midway between them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct IntegerLattice {
    pub(super) first: f64,
    pub(super) step: f64,
    pub(super) levels: usize,
}

impl IntegerLattice {
    /// The middles of equal intervals of [0, 1], for an integer or a choice; `None` for a real.
    pub(super) fn of(coordinate: &Coordinate) -> Option<Self> {
        let levels = coordinate.levels()?;
        let step = 1.0 / levels as f64;
        Some(Self { first: 0.5 * step, step, levels })
    }

    /// Number of the nearest value; of two equally near the lower.
    pub(super) fn nearest(&self, x: f64) -> usize {
        let above = ((x - self.first) / self.step - 0.5).ceil().max(0.0);
        (above as usize).min(self.levels - 1)
    }

    /// The value of number `level`.
    pub(super) fn value(&self, level: usize) -> f64 {
        self.first + level as f64 * self.step
    }

    /// The thresholds next to the mean of a distribution.
    pub(super) fn place(&self, mean: f64) -> Thresholds {
        let threshold = |level: usize| self.first + (level as f64 + 0.5) * self.step;
        match self.nearest(mean) {
            0 => Thresholds::Edge(threshold(0)),
            level if level == self.levels - 1 => Thresholds::Edge(threshold(level - 1)),
            level => Thresholds::Between(threshold(level - 1), threshold(level)),
        }
    }
}

/// The thresholds next to a mean.
pub(super) enum Thresholds {
    /// The only threshold, for the smallest and the greatest value.
    Edge(f64),
    /// The two thresholds, for all other values.
    Between(f64, f64),
}

/// Moves an integer's mean, or widens its distribution by `a`, so that the probability to change is
/// at least `margin`; `deviation` is σ √`C_ii`.
pub(super) fn correct(lattice: &IntegerLattice, margin: f64, deviation: f64, mean: &mut f64, a: &mut f64) {
    let spread = *a * deviation;
    match lattice.place(*mean) {
        Thresholds::Edge(threshold) => {
            let distance = (*mean - threshold).abs();
            // Largest distance of the mean from the only threshold.
            let most = spread * normal::tail(margin);
            if distance > most {
                *mean = threshold + most * (*mean - threshold).signum();
            }
        }
        Thresholds::Between(low, up) => {
            let below = normal::below((low - *mean) / spread).max(margin / 2.0);
            let above = normal::below((*mean - up) / spread).max(margin / 2.0);
            let between = 1.0 - normal::below((low - *mean) / spread) - normal::below((*mean - up) / spread);
            // The amount added to the sides is taken from all three, in proportion to their excess over their minimum.
            let excess = (1.0 - below - above - between) / (below + between + above - 1.5 * margin);
            let below = below + excess * (below - margin / 2.0);
            let above = above + excess * (above - margin / 2.0);
            (*mean, *a) = between_thresholds([low, up], [below, above], CLEAR, deviation);
        }
    }
}

/// The mean and the widening of a distribution with these probabilities below and above two thresholds.
pub(super) fn between_thresholds(
    [low, up]: [f64; 2],
    [below, above]: [f64; 2],
    clear: f64,
    deviation: f64,
) -> (f64, f64) {
    let [z_low, z_up] = [below, above].map(|p| normal::tail(p.clamp(clear, 0.5 - clear)));
    ((low * z_up + up * z_low) / (z_low + z_up), (up - low) / ((z_low + z_up) * deviation))
}
