//! How long items take, as seen from what workers took.

use evaluator::objective::ItemChunk;
use merge_core::item::{ItemId, ItemScore};
use std::collections::{BTreeMap, VecDeque};

/// Portions that are remembered of each goal: enough for a median, few enough to follow a change.
const REMEMBERED: usize = 64;
/// Portions that tell how long others take.
const ENOUGH: usize = 4;

/// What is known of the time that items take.
#[derive(Default)]
pub(super) struct Pace {
    goals: BTreeMap<usize, GoalPace>,
}

/// What is known of the items of one goal.
#[derive(Default)]
struct GoalPace {
    /// Weight and seconds of the last portions.
    portions: VecDeque<(f64, f64)>,
    /// Generated tokens of each item, summed over candidates, and their number; and of all of them.
    tokens: BTreeMap<ItemId, (f64, f64)>,
    all: (f64, f64),
}

/// Seconds of a portion: a part that each has, such as the loading of a model and a network's latency, and one that grows
/// with its weight.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct PortionTime {
    pub(super) fixed: f64,
    pub(super) each: f64,
}

impl Pace {
    /// Takes note of a portion that a worker scored, and of the seconds if the candidate was loaded for it: others would not tell
    /// what loading takes.
    pub(super) fn note(&mut self, goal: usize, scores: &[(ItemId, ItemScore)], seconds: Option<f64>) {
        let weight = scores.iter().map(|(item, _)| self.weight(goal, item)).sum();
        let pace = self.goals.entry(goal).or_default();
        pace.portions.extend(seconds.map(|seconds| (weight, seconds)));
        if pace.portions.len() > REMEMBERED {
            pace.portions.pop_front();
        }
        for (item, score) in scores {
            for sum in [pace.tokens.entry(*item).or_default(), &mut pace.all] {
                *sum = (sum.0 + f64::from(score.tokens), sum.1 + 1.0);
            }
        }
    }

    /// How much longer than others of its goal an item takes, by the length of its answers so far: 1 for the mean.
    pub(super) fn weight(&self, goal: usize, item: &ItemId) -> f64 {
        let Some(pace) = self.goals.get(&goal) else { return 1.0 };
        // One token more for the question.
        let mean = |(tokens, n): (f64, f64)| 1.0 + tokens / n;
        pace.tokens.get(item).map_or(1.0, |own| mean(*own) / mean(pace.all))
    }

    /// Seconds of a goal's portions; a guess from other goals, or of a second for each item, if too few were seen.
    pub(super) fn of(&self, goal: usize) -> PortionTime {
        self.seen(goal)
            .or_else(|| self.goals.keys().find_map(|other| self.seen(*other)))
            .unwrap_or(PortionTime { fixed: 0.0, each: 1.0 })
    }

    /// Seconds of a goal's portions, if enough were seen. The line through the medians of the lighter and of the heavier half
    /// (Tukey's): a portion that took a hundred times as long as others does not move it.
    pub(super) fn seen(&self, goal: usize) -> Option<PortionTime> {
        let portions = &self.goals.get(&goal)?.portions;
        if portions.len() < ENOUGH {
            return None;
        }
        let mut portions: Vec<(f64, f64)> = portions.iter().copied().collect();
        portions.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (light, heavy) = portions.split_at(portions.len() / 2);
        let (light, heavy) = (middle(light), middle(heavy));
        let growth = (heavy.1 - light.1) / (heavy.0 - light.0);
        // Portions of one size do not tell what is fixed.
        let each = if growth.is_finite() && heavy.0 > 1.2 * light.0 { growth } else { heavy.1 / heavy.0 };
        let each = each.clamp(0.0, heavy.1 / heavy.0);
        Some(PortionTime { fixed: (heavy.1 - each * heavy.0).max(0.0), each })
    }

    /// Seconds that items of a chunk take beside what is fixed.
    pub(super) fn seconds(&self, chunk: &ItemChunk, positions: &[usize]) -> f64 {
        let weights = positions.iter().map(|position| self.weight(chunk.goal, &chunk.items[*position]));
        self.of(chunk.goal).each * weights.sum::<f64>()
    }
}

/// Medians of the weights and of the seconds.
fn middle(portions: &[(f64, f64)]) -> (f64, f64) {
    let median = |of: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = portions.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    (median(|one| one.0), median(|one| one.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(number: u8) -> ItemId {
        ItemId([number; 16])
    }

    fn noted(pace: &mut Pace, items: std::ops::Range<u8>, tokens: u32, seconds: f64) {
        let score = ItemScore { value: 0.0, tokens, truncated: false };
        pace.note(0, &items.map(|number| (item(number), score)).collect::<Vec<_>>(), Some(seconds));
    }

    #[test]
    fn what_is_fixed_is_told_from_what_grows_and_a_straggler_moves_neither() {
        let mut pace = Pace::default();
        for _ in 0..8 {
            noted(&mut pace, 0..4, 0, 3.0 + 4.0 * 0.5);
            noted(&mut pace, 0..16, 0, 3.0 + 16.0 * 0.5);
        }
        noted(&mut pace, 0..4, 0, 500.0);
        assert_eq!(pace.of(0), PortionTime { fixed: 3.0, each: 0.5 });
        // Another goal is taken to be like it until it is seen.
        assert_eq!(pace.of(1), pace.of(0));
        assert_eq!(pace.seen(1), None);
    }

    #[test]
    fn portions_of_one_size_are_taken_to_grow() {
        let mut pace = Pace::default();
        assert_eq!(pace.of(0), PortionTime { fixed: 0.0, each: 1.0 });
        for _ in 0..ENOUGH {
            noted(&mut pace, 0..4, 0, 2.0);
        }
        assert_eq!(pace.of(0), PortionTime { fixed: 0.0, each: 0.5 });
    }

    #[test]
    fn items_with_long_answers_weigh_more() {
        let mut pace = Pace::default();
        noted(&mut pace, 0..1, 29, 1.0);
        noted(&mut pace, 1..2, 9, 1.0);
        for (number, weight) in [(0, 30.0 / 20.0), (1, 10.0 / 20.0), (2, 1.0)] {
            assert!((pace.weight(0, &item(number)) - weight).abs() < 1e-12);
        }
    }
}
