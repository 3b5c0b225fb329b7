//! A toy search space like a layer path: slots are on or off, and each has a scale that counts
//! only if the slot is on.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub(crate) const SLOTS: usize = 32;

/// A target path for an optimizer to find.
pub(crate) struct LayerToy {
    on: [bool; SLOTS],
    scales: [f64; SLOTS],
    /// True if two neighbouring wrong slots cost one more.
    neighbours: bool,
}

impl LayerToy {
    /// Draws a target: about half of the slots are on, and scales are between 0.5 and 1.5.
    pub(crate) fn new(seed: u64, neighbours: bool) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let on = std::array::from_fn(|_| generator.random());
        let scales = std::array::from_fn(|_| generator.random_range(0.5..1.5));
        Self { on, scales, neighbours }
    }

    /// Loss of a genome, 0 for the target: the number of wrong slots, plus three times the squared
    /// error of each active slot's scale, so that a slot may be better off than on with a bad scale.
    /// A genome has an option for each slot, then a number for each scale, which is 0.5 more.
    pub(crate) fn loss(&self, genome: &[f64]) -> f64 {
        let (slots, scales) = genome.split_at(SLOTS);
        let wrong: [bool; SLOTS] = std::array::from_fn(|i| (slots[i] > 0.5) != self.on[i]);
        let n_wrong = wrong.iter().filter(|wrong| **wrong).count();
        let pairs = if self.neighbours { wrong.windows(2).filter(|pair| pair[0] && pair[1]).count() } else { 0 };
        let errors = (0..SLOTS).filter(|i| slots[*i] > 0.5).map(|i| 3.0 * (0.5 + scales[i] - self.scales[i]).powi(2));
        (n_wrong + pairs) as f64 + errors.sum::<f64>()
    }
}
