//! Resampling: the interval of a statistic of unknown distribution, and a test of differences that are not counts.
//!
//! Intervals are BCa (bias-corrected and accelerated): B. Efron, "Better Bootstrap Confidence Intervals" (1987),
//! equation 6.8 of T. J. DiCiccio & B. Efron, "Bootstrap Confidence Intervals" (1996). Scores such as F1 pile up at 0
//! and 1, and Matthews' correlation is biased on few items: the percentile interval then covers too little on one
//! side, by an error of order `1/sqrt(n)`, which BCa reduces to `1/n` for one more pass over the items. If no
//! resample is smaller or none larger than the value, BCa is undefined, and the percentiles are used.
//!
//! All draws come from one seed, by counter: the same scores have the same interval on any number of threads.

use merge_core::{random::Stream, vectors::wide};
use rayon::prelude::*;

use super::{Z, labels::Confusion, normal_cdf, normal_quantile};

/// Number of resamples: an interval's ends move by a fiftieth of its length from seed to seed.
const RESAMPLES: usize = 10_000;

const SEED: u64 = 0;

/// Random bits of one draw.
const BITS: usize = 24;

/// A statistic over resamples, and the effect of leaving out one item.
pub(super) struct Resamples {
    /// The statistic on each resample, ascending.
    replicates: Vec<f64>,
    /// `Σd³ / (6·(Σd²)^1.5)`, where `d` is the mean of the statistics without one item, minus each of them.
    acceleration: f64,
}

impl Resamples {
    /// Resamples the mean of scores.
    pub(super) fn mean(scores: &[f64]) -> Self {
        let n = scores.len() as f64;
        let sum: f64 = scores.iter().sum();
        let replicates = replicate(scores.len(), |draws| {
            // Eight sums at once: each addition has to wait for the one before.
            let (blocks, rest) = draws.as_chunks::<8>();
            let mut sums = [0.0; 8];
            for block in blocks {
                for (sum, i) in sums.iter_mut().zip(block) {
                    *sum += scores[*i as usize];
                }
            }
            let rest: f64 = rest.iter().map(|i| scores[*i as usize]).sum();
            (sums.iter().sum::<f64>() + rest) / n
        });
        Self::new(replicates, scores.iter().map(|score| ((sum - score) / (n - 1.0), 1.0)))
    }

    /// Resamples any statistic of items.
    pub(super) fn statistic<T: Copy + Sync>(items: &[T], statistic: impl Fn(&[T]) -> f64 + Sync) -> Self {
        let replicates = replicate(items.len(), |draws| {
            let sample: Vec<T> = draws.iter().map(|i| items[*i as usize]).collect();
            statistic(&sample)
        });
        let without = (0..items.len()).into_par_iter().map(|out| {
            let rest: Vec<T> = items[..out].iter().chain(&items[out + 1..]).copied().collect();
            (statistic(&rest), 1.0)
        });
        let without: Vec<_> = without.collect();
        Self::new(replicates, without.into_iter())
    }

    /// Resamples a measure of classification, which needs only the counts.
    pub(super) fn labels(
        confusion: &Confusion,
        golds: &[usize],
        answers: &[usize],
        measure: impl Fn(&Confusion) -> f64 + Sync,
    ) -> Self {
        let cells: Vec<u32> =
            golds.iter().zip(answers).map(|(gold, answer)| confusion.cell(*gold, *answer) as u32).collect();
        let replicates = replicate(cells.len(), |draws| {
            // Four sets of counts: a count that was just changed has to be waited for.
            let n_cells = confusion.counts().len();
            let mut counts = vec![0; 4 * n_cells];
            for (at, i) in draws.iter().enumerate() {
                counts[at % 4 * n_cells + cells[*i as usize] as usize] += 1;
            }
            let counts = (0..n_cells).map(|cell| counts.iter().skip(cell).step_by(n_cells).sum()).collect();
            measure(&confusion.with_counts(counts))
        });
        // Items of one cell leave the same counts behind.
        let without = (0..confusion.counts().len()).filter(|cell| confusion.counts()[*cell] > 0).map(|cell| {
            let mut counts = confusion.counts().to_vec();
            counts[cell] -= 1;
            (measure(&confusion.with_counts(counts)), confusion.counts()[cell] as f64)
        });
        Self::new(replicates, without)
    }

    /// Takes the statistic on each resample and, with weights, without one item.
    fn new(mut replicates: Vec<f64>, without: impl Iterator<Item = (f64, f64)>) -> Self {
        replicates.sort_unstable_by(f64::total_cmp);
        let without: Vec<(f64, f64)> = without.collect();
        let n: f64 = without.iter().map(|(_, weight)| weight).sum();
        let mean = without.iter().map(|(value, weight)| value * weight).sum::<f64>() / n;
        let moment = |power| -> f64 { without.iter().map(|(value, weight)| weight * (mean - value).powi(power)).sum() };
        let (squares, cubes) = (moment(2), moment(3));
        let acceleration = if squares > 0.0 { cubes / (6.0 * squares.powf(1.5)) } else { 0.0 };
        Self { replicates, acceleration }
    }

    /// True if the statistic differs between resamples.
    pub(super) fn varies(&self) -> bool {
        self.replicates.first() != self.replicates.last()
    }

    /// The standard deviation over resamples.
    pub(super) fn stderr(&self) -> f64 {
        let n = self.replicates.len() as f64;
        let mean = self.replicates.iter().sum::<f64>() / n;
        (self.replicates.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt()
    }

    /// The 95% interval of a statistic whose value on the items themselves is `value`; it always holds that value.
    pub(super) fn interval(&self, value: f64) -> [f64; 2] {
        let n = self.replicates.len();
        let below = self.replicates.partition_point(|x| *x < value);
        let not_above = self.replicates.partition_point(|x| *x <= value);
        let z0 = normal_quantile((below + not_above) as f64 / (2 * n) as f64);
        let bound = |z: f64| {
            let corrected = normal_cdf(z0 + (z0 + z) / (1.0 - self.acceleration * (z0 + z)));
            self.quantile(if z0.is_finite() { corrected } else { normal_cdf(z) })
        };
        [bound(-Z).min(value), bound(Z).max(value)]
    }

    /// A quantile, interpolated between the two nearest replicates, as numpy does.
    fn quantile(&self, p: f64) -> f64 {
        let at = p * (self.replicates.len() - 1) as f64;
        let (low, high) = (self.replicates[at.floor() as usize], self.replicates[at.ceil() as usize]);
        low + (high - low) * at.fract()
    }
}

/// The two-sided p-value of a mean of differences under random signs, by ten thousand flips and the actual signs.
pub(super) fn sign_flip_p(differences: &[f64]) -> f64 {
    let differences: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    let n = differences.len();
    let stream = Stream::new(SEED, &["signs"]);
    let sum = differences.iter().sum::<f64>().abs();
    // Sums of the same numbers with other signs may differ in the last bits.
    let as_far = sum - 1e-9 * differences.iter().map(|d| d.abs()).sum::<f64>();
    let n_draws = n.div_ceil(BITS);
    let is_as_far = |draws: &mut Vec<f32>, resample: usize| {
        stream.uniform(resample * n_draws, draws);
        let flipped: f64 = differences
            .chunks(BITS)
            .zip(draws)
            .map(|(differences, draw)| {
                let bits = (*draw * (1 << BITS) as f32) as u64;
                let sign = |i: usize| (bits >> i & 1) << 63;
                differences.iter().enumerate().map(|(i, d)| f64::from_bits(d.to_bits() ^ sign(i))).sum::<f64>()
            })
            .sum();
        usize::from(flipped.abs() >= as_far)
    };
    let n_as_far: usize = (0..RESAMPLES).into_par_iter().map_init(|| vec![0.0; n_draws], is_as_far).sum();
    (n_as_far + 1) as f64 / (RESAMPLES + 1) as f64
}

/// Computes a statistic of `n` draws among `n` items with replacement, [`RESAMPLES`] times.
fn replicate(n: usize, statistic: impl Fn(&[u32]) -> f64 + Sync) -> Vec<f64> {
    let stream = Stream::new(SEED, &["items"]);
    let last = n as u32 - 1;
    let one = |(uniform, draws): &mut (Vec<f32>, Vec<u32>), resample: usize| {
        stream.uniform(resample * n, uniform);
        wide(
            #[inline(always)]
            || {
                for (draw, uniform) in draws.iter_mut().zip(uniform.iter()) {
                    // A draw next to 1 may round up to n.
                    *draw = ((*uniform * n as f32) as i32 as u32).min(last);
                }
            },
        );
        statistic(draws)
    };
    (0..RESAMPLES).into_par_iter().map_init(|| (vec![0.0; n], vec![0; n]), one).collect()
}
