//! Draws the search items of a generation.

use super::{Goal, goal::GoalItems};
use crate::search::Search;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Draws search items of each goal, afresh in each generation, the same for every optimizer.
pub(super) fn draw(search: &Search, goals: &[Goal], generation: u64, n_items: impl Fn(&Goal) -> usize) -> GoalItems {
    let of_goal = |(number, goal): (usize, &Goal)| {
        let mut rng = ChaCha8Rng::seed_from_u64(search.seed);
        // Own random streams: the optimizers draw from the same seed.
        rng.set_stream(1 << 63 | (number as u64) << 40 | generation);
        let n = n_items(goal).min(goal.search.len());
        let mut drawn = rand::seq::index::sample(&mut rng, goal.search.len(), n).into_vec();
        // In a race the first items are met first, so they must be a random sample too.
        if search.racing.rungs == 1 {
            drawn.sort_unstable();
        }
        drawn.into_iter().map(|position| goal.search[position]).collect()
    };
    goals.iter().enumerate().map(of_goal).collect()
}
