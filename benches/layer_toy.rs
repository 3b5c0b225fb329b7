//! A search space in the shape of a layer path: slots that are on or off, and a scale for each that counts only where its
//! slot is on.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How many slots there are.
pub(crate) const SLOTS: usize = 32;

/// The path to be found.
pub(crate) struct LayerToy {
    on: [bool; SLOTS],
    scales: [f64; SLOTS],
    /// Whether two neighbours that are both wrong cost as much again.
    neighbours: bool,
}

impl LayerToy {
    /// Half of the slots, about, are to be on, with scales between 0.5 and 1.5.
    pub(crate) fn new(seed: u64, neighbours: bool) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let on = std::array::from_fn(|_| generator.random());
        let scales = std::array::from_fn(|_| generator.random_range(0.5..1.5));
        Self { on, scales, neighbours }
    }

    /// The loss of a genome, 0 where it is solved: the number of slots that are wrong, and for each that is on three times the
    /// squared error of its scale, so that one may be better off than on with a bad scale. A genome is an option for each slot
    /// and then a number for each scale, which is half more.
    pub(crate) fn loss(&self, genome: &[f64]) -> f64 {
        let (slots, scales) = genome.split_at(SLOTS);
        let wrong: [bool; SLOTS] = std::array::from_fn(|i| (slots[i] > 0.5) != self.on[i]);
        let n_wrong = wrong.iter().filter(|wrong| **wrong).count();
        let pairs = if self.neighbours { wrong.windows(2).filter(|pair| pair[0] && pair[1]).count() } else { 0 };
        let errors = (0..SLOTS).filter(|i| slots[*i] > 0.5).map(|i| 3.0 * (0.5 + scales[i] - self.scales[i]).powi(2));
        (n_wrong + pairs) as f64 + errors.sum::<f64>()
    }
}
