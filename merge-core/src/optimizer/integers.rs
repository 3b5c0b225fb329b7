//! Integers in `CatCMA` with margin ([arXiv 2504.07884](https://arxiv.org/abs/2504.07884)), as in cmaes 0.13.1: changed
//! integers are centred on their value, and the probability to change is remembered.

use super::{
    margin::{IntegerLattice, Thresholds, between_thresholds},
    normal,
};
use nalgebra::DVector;
use serde::{Deserialize, Serialize};

/// Distance that a mutation probability keeps from 0 and ½.
const CLEAR: f64 = 1e-8;

/// An integer's place in the normal distribution, and its probability to change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Integer {
    /// Position among the numbers.
    pub(super) at: usize,
    pub(super) lattice: IntegerLattice,
    /// Probability to change after the last generation; it grows only after a successful change.
    pub(super) mutation_rate: f64,
}

impl Integer {
    pub(super) fn new(at: usize, lattice: IntegerLattice) -> Self {
        Self { at, lattice, mutation_rate: 0.5 - CLEAR }
    }

    /// Moves the selected points that have changed this integer onto its value, and the others so that the mean of all
    /// stays the same, as far as they can. Returns true if any point has changed it.
    pub(super) fn centre(&self, selected: &mut [DVector<f64>], mean: f64) -> bool {
        let old: Vec<f64> = selected.iter().map(|v| v[self.at]).collect();
        let near = |v: f64| self.lattice.value(self.lattice.nearest(v));
        let home = self.lattice.nearest(mean);
        let has_changed = |v: f64| self.lattice.nearest(v) != home;

        // Sums of the possible steps of unchanged points to their value, and of the steps that centre the others.
        let (mut up, mut down, mut bias) = (0.0, 0.0, 0.0);
        for v in &old {
            let delta = near(*v) - v;
            if has_changed(*v) {
                bias += delta;
            } else if delta > 0.0 {
                up += delta;
            } else {
                down += delta;
            }
        }
        let room = if bias < 0.0 { up } else { down };
        let share = if bias * room < 0.0 { (-bias / room).min(1.0) } else { 0.0 };
        for (v, old) in selected.iter_mut().zip(&old) {
            let delta = near(*old) - old;
            if has_changed(*old) {
                v[self.at] = near(*old);
            } else if bias * delta < 0.0 {
                v[self.at] += share * delta;
            }
        }
        old.iter().any(|v| has_changed(*v))
    }

    /// Keeps the probability to change at `margin` or more, and lets it grow only if a change has
    /// succeeded; `deviation` is σ √`C_ii`.
    pub(super) fn correct(&mut self, margin: f64, has_changed: bool, deviation: f64, mean: &mut f64, a: &mut f64) {
        let spread = *a * deviation;
        match self.lattice.place(*mean) {
            Thresholds::Edge(threshold) => {
                let distance = *mean - threshold;
                let rate = normal::below(-distance.abs() / spread).max(margin);
                let rate = if has_changed { rate } else { rate.min(self.mutation_rate) };
                let rate = rate.clamp(CLEAR, 0.5 - CLEAR);
                // Widens the distribution until a mean on the value itself meets the margin.
                let value = self.lattice.value(self.lattice.nearest(*mean));
                *a = a.max((value - threshold).abs() / (deviation * normal::tail(margin)));
                if distance != 0.0 {
                    *mean = threshold + distance.signum() * *a * deviation * normal::tail(rate);
                }
                self.mutation_rate = rate;
            }
            Thresholds::Between(low, up) => {
                let (below, above) = (normal::below((low - *mean) / spread), normal::below((*mean - up) / spread));
                let between = 1.0 - (below + above);
                let (below, above) = (below.max(margin / 2.0), above.max(margin / 2.0));
                let least = if has_changed { 0.5 * margin } else { 1.0 - self.mutation_rate };
                let between = if has_changed { between } else { between.max(least) };
                // The amount added is taken from all three, in proportion to their excess over their minimum.
                let room = below + above + between - margin - least;
                let excess = if room > 0.0 { (1.0 - below - above - between) / room } else { 0.0 };
                let sides = [below, above].map(|p| (p + excess * (p - margin / 2.0)).clamp(CLEAR, 0.5 - CLEAR));
                (*mean, *a) = between_thresholds([low, up], sides, CLEAR, deviation);
                self.mutation_rate = sides[0] + sides[1];
            }
        }
    }
}
