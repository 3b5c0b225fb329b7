//! Selection: finds the greatest elements of a tensor, exactly, without sorting or holding it.
//!
//! Elements are ordered by a 32-bit key, which is computed from the stored values each time. Order statistics are found
//! digit by digit: a first pass counts the upper halves of all keys; a second counts the lower halves of the keys with
//! the wanted upper half, or lists these keys if they are few. Of equal elements, those of lowest index come first; if
//! they are too many for a list, a third pass counts them.

use crate::{
    error::Result,
    model::{Elements, blocks::block_len},
    vectors::wide,
};
use rayon::prelude::*;
use std::{
    cmp::Reverse,
    collections::BTreeMap,
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
};

/// An order of the elements of a tensor, or of values computed from several tensors of one length.
pub(crate) struct Order<'a, K> {
    /// Tensors from which the keys are computed.
    tensors: &'a [&'a dyn Elements],
    /// Keys are computed for whole granules.
    granule: usize,
    keys: K,
}

/// Key of a number by its magnitude.
#[inline(always)]
pub(crate) fn magnitude(x: f32) -> u32 {
    x.to_bits() & 0x7fff_ffff
}

/// Key of a number by its value; [`from_ascending`] is the inverse.
#[inline(always)]
pub(crate) fn ascending(x: f32) -> u32 {
    let bits = x.to_bits();
    // Flips all bits of a negative number, and only the sign of any other.
    bits ^ ((bits as i32 >> 31) as u32 | 0x8000_0000)
}

/// The number with this key; the inverse of [`ascending`].
pub(crate) fn from_ascending(key: u32) -> f32 {
    f32::from_bits(key ^ ((!key as i32 >> 31) as u32 | 0x8000_0000))
}

/// The first elements of an order: greater keys first, and of equal keys those of lower index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Elements with a greater key are in; elements with this key are in if their index is below `end`.
    threshold: u32,
    end: usize,
}

impl Cut {
    /// Every element.
    pub(crate) const ALL: Self = Self { threshold: 0, end: usize::MAX };
    /// No element.
    pub(crate) const NONE: Self = Self { threshold: u32::MAX, end: 0 };

    /// True if an element is in.
    #[cfg(test)]
    fn holds(self, index: usize, key: u32) -> bool {
        key > self.threshold || key == self.threshold && index < self.end
    }

    /// Splits `len` elements from `start` on into two parts. Within each part, the elements that are in are those whose
    /// key is at least the limit, whatever their index. (The limit may be one more than any key.)
    #[inline(always)]
    pub(crate) fn parts(self, start: usize, len: usize) -> [(Range<usize>, u64); 2] {
        let middle = self.end.saturating_sub(start).min(len);
        [(0..middle, u64::from(self.threshold)), (middle..len, u64::from(self.threshold) + 1)]
    }
}

const DIGIT: u32 = 16;

/// Largest number of elements that are listed rather than counted: 16 MiB.
const CANDIDATES: usize = 1 << 20;

/// Visits the keys with an upper half, with their positions.
#[inline(always)]
fn each_with(prefix: u32, keys: &[u32], mut visit: impl FnMut(usize, u32)) {
    // Few keys have it: a vector comparison skips most chunks.
    for (number, chunk) in keys.chunks(16).enumerate() {
        if chunk.iter().fold(false, |any, key| any | (key >> DIGIT == prefix)) {
            for (i, key) in chunk.iter().enumerate().filter(|(_, key)| **key >> DIGIT == prefix) {
                visit(number * 16 + i, *key);
            }
        }
    }
}

fn distinct(found: &[FoundKey]) -> Vec<u32> {
    let mut keys: Vec<u32> = found.iter().map(|found| found.key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Fills in the keys of a stretch, given the position of its first element and the elements of each tensor.
pub(crate) trait KeySource: Fn(usize, &[Vec<f32>], &mut [u32]) + Sync {}
impl<K: Fn(usize, &[Vec<f32>], &mut [u32]) + Sync> KeySource for K {}

impl<'a, K: KeySource> Order<'a, K> {
    /// An order of the elements of tensors of one length by `keys(start, elements of each tensor, keys)`, which is
    /// called with stretches of whole granules.
    pub(crate) fn new(tensors: &'a [&'a dyn Elements], granule: usize, keys: K) -> Self {
        Self { tensors, granule: granule.max(1), keys }
    }

    fn len(&self) -> usize {
        self.tensors.first().map_or(0, |tensor| tensor.len())
    }

    /// The keys of these ranks; the smallest key has rank 0.
    ///
    /// Fails if a tensor cannot be read.
    ///
    /// # Panics
    /// If a rank is not less than the number of elements.
    pub(crate) fn nth(&self, ranks: &[usize]) -> Result<Vec<u32>> {
        Ok(self.lower(&self.upper(ranks)?, ranks)?.iter().map(|found| found.key).collect())
    }

    /// The cut of the first `count` elements, for each of these counts.
    ///
    /// Fails if a tensor cannot be read.
    pub(crate) fn first(&self, counts: &[usize]) -> Result<Vec<Cut>> {
        let len = self.len();
        let mut searched: Vec<usize> = counts.iter().copied().filter(|count| (1..len).contains(count)).collect();
        searched.sort_unstable();
        searched.dedup();
        let cuts = self.cuts(&searched)?;
        let cut = |count: &usize| match searched.binary_search(count) {
            Ok(at) => cuts[at],
            Err(_) if *count == 0 => Cut::NONE,
            Err(_) => Cut::ALL,
        };
        Ok(counts.iter().map(cut).collect())
    }

    /// The cuts for counts that leave some elements in and some out.
    fn cuts(&self, counts: &[usize]) -> Result<Vec<Cut>> {
        let ranks: Vec<usize> = counts.iter().map(|count| self.len() - count).collect();
        let uppers = self.upper(&ranks)?;
        if uppers.iter().map(|upper| upper.equal).sum::<usize>() <= CANDIDATES {
            let mut lists = self.with_upper(&distinct(&uppers))?;
            let cut = |(upper, rank): (&FoundKey, &usize)| {
                let list = lists.get_mut(&upper.key).expect("all were listed");
                let wanted = upper.below + upper.equal - rank;
                let (_, last, _) = list.select_nth_unstable_by_key(wanted - 1, |(key, index)| (Reverse(*key), *index));
                Cut { threshold: last.0, end: last.1 + 1 }
            };
            return Ok(uppers.iter().zip(&ranks).map(cut).collect());
        }
        let cut = |(found, rank): (&FoundKey, &usize)| {
            // Number of elements with the threshold key that are in.
            let wanted = found.below + found.equal - rank;
            let end = if wanted == found.equal { usize::MAX } else { self.end_of(found.key, wanted)? };
            Ok(Cut { threshold: found.key, end })
        };
        self.lower(&uppers, &ranks)?.iter().zip(&ranks).map(cut).collect()
    }

    /// The upper halves of the keys of these ranks.
    fn upper(&self, ranks: &[usize]) -> Result<Vec<FoundKey>> {
        if ranks.is_empty() {
            return Ok(Vec::new());
        }
        assert!(ranks.iter().all(|rank| *rank < self.len()), "a rank is less than the number of elements");
        let counts = self.count(1, |keys, counts| {
            for key in keys {
                counts[(key >> DIGIT) as usize] += 1;
            }
        })?;
        Ok(ranks.iter().map(|rank| FoundKey::among(&counts, *rank)).collect())
    }

    /// The whole keys of these ranks, given their upper halves.
    fn lower(&self, uppers: &[FoundKey], ranks: &[usize]) -> Result<Vec<FoundKey>> {
        let prefixes = distinct(uppers);
        let counts = self.count(prefixes.len(), |keys, counts| {
            for (prefix, counts) in prefixes.iter().zip(counts.chunks_exact_mut(1 << DIGIT)) {
                each_with(*prefix, keys, |_, key| counts[(key & 0xffff) as usize] += 1);
            }
        })?;
        let found = uppers.iter().zip(ranks).map(|(upper, rank)| {
            let at = prefixes.binary_search(&upper.key).expect("all were counted");
            let lower = FoundKey::among(&counts[at << DIGIT..(at + 1) << DIGIT], rank - upper.below);
            FoundKey { key: upper.key << DIGIT | lower.key, below: upper.below + lower.below, equal: lower.equal }
        });
        Ok(found.collect())
    }

    /// The keys with these upper halves and their positions, in any order.
    fn with_upper(&self, prefixes: &[u32]) -> Result<BTreeMap<u32, Vec<(u32, usize)>>> {
        let lists = self.over_blocks(
            || vec![Vec::new(); prefixes.len()],
            |lists, start, keys| {
                for (prefix, list) in prefixes.iter().zip(lists) {
                    each_with(*prefix, keys, |place, key| list.push((key, start + place)));
                }
            },
        )?;
        let whole =
            |(at, prefix): (usize, &u32)| (*prefix, lists.iter().flat_map(|lists| &lists[at]).copied().collect());
        Ok(prefixes.iter().enumerate().map(whole).collect())
    }

    /// The index after the first `wanted` elements with this key.
    fn end_of(&self, key: u32, wanted: usize) -> Result<usize> {
        let equal = |keys: &[u32]| keys.iter().map(|k| u32::from(*k == key)).sum::<u32>() as usize;
        let counts = self.over_blocks(Vec::new, |counts, start, keys| counts.push((start, equal(keys))))?;
        let mut counts: Vec<(usize, usize)> = counts.into_iter().flatten().collect();
        counts.sort_unstable();
        let mut before = 0;
        for (start, count) in counts {
            if before + count >= wanted {
                let keys = self.keys_at(start)?;
                let places = keys.iter().enumerate().filter(|(_, k)| **k == key);
                let last = places.map(|(place, _)| start + place).nth(wanted - before - 1);
                return Ok(last.expect("it was counted") + 1);
            }
            before += count;
        }
        Ok(self.len())
    }

    /// Fills `tables` tables of 2¹⁶ counts from all keys.
    fn count(&self, tables: usize, of: impl Fn(&[u32], &mut [u64]) + Sync) -> Result<Vec<u64>> {
        let counts = self.over_blocks(|| vec![0; tables << DIGIT], |counts, _, keys| of(keys, counts))?;
        let sum = |mut sum: Vec<u64>, counts: Vec<u64>| {
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            sum
        };
        Ok(counts.into_iter().reduce(sum).unwrap_or_default())
    }

    /// The keys of the block that begins at `start`.
    fn keys_at(&self, start: usize) -> Result<Vec<u32>> {
        let mut room = SelectRoom::new(self.tensors.len());
        self.fill(start, &mut room)?;
        Ok(room.keys)
    }

    fn fill(&self, start: usize, room: &mut SelectRoom) -> Result<()> {
        let len = block_len(self.granule).min(self.len() - start);
        for (tensor, values) in self.tensors.iter().zip(&mut room.values) {
            values.resize(len, 0.0);
            tensor.read(start, values)?;
        }
        room.keys.resize(len, 0);
        wide(
            #[inline(always)]
            || (self.keys)(start, &room.values, &mut room.keys),
        );
        Ok(())
    }

    /// Visits the keys of every block once. Each thread has its own state and takes the next block when it has finished
    /// one, so a result made of the states must not depend on which blocks each has seen.
    fn over_blocks<S: Send>(
        &self,
        state: impl Fn() -> S + Sync,
        visit: impl Fn(&mut S, usize, &[u32]) + Sync,
    ) -> Result<Vec<S>> {
        let step = block_len(self.granule);
        let blocks = self.len().div_ceil(step);
        let next = AtomicUsize::new(0);
        let work = |_| {
            let (mut state, mut room) = (state(), SelectRoom::new(self.tensors.len()));
            loop {
                let block = next.fetch_add(1, Ordering::Relaxed);
                if block >= blocks {
                    return Ok(state);
                }
                self.fill(block * step, &mut room)?;
                wide(
                    #[inline(always)]
                    || visit(&mut state, block * step, &room.keys),
                );
            }
        };
        (0..rayon::current_num_threads().min(blocks)).into_par_iter().map(work).collect()
    }
}

/// Buffers of a thread.
struct SelectRoom {
    values: Vec<Vec<f32>>,
    keys: Vec<u32>,
}

impl SelectRoom {
    fn new(tensors: usize) -> Self {
        Self { values: vec![Vec::new(); tensors], keys: Vec::new() }
    }
}

/// The key at a rank.
struct FoundKey {
    key: u32,
    /// Number of elements with a smaller key.
    below: usize,
    /// Number of elements with this key.
    equal: usize,
}

impl FoundKey {
    /// The first key up to which more than `rank` elements are counted.
    fn among(counts: &[u64], rank: usize) -> Self {
        let mut below = 0;
        for (key, count) in counts.iter().enumerate() {
            if below + *count as usize > rank {
                return Self { key: key as u32, below, equal: *count as usize };
            }
            below += *count as usize;
        }
        unreachable!("there are more elements than the rank")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Stored, dtype::Dtype};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use std::borrow::Cow;

    /// Compares with a sort.
    fn check(values: &[f32], granule: usize) {
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let tensor = Stored::new(Dtype::F32, Cow::Owned(bytes));
        let tensors: [&dyn Elements; 1] = [&tensor];
        let keys = |_: usize, values: &[Vec<f32>], keys: &mut [u32]| {
            assert_eq!(values[0].len() % granule, 0);
            keys.iter_mut().zip(&values[0]).for_each(|(key, x)| *key = magnitude(*x));
        };
        let order = Order::new(&tensors, granule, keys);
        let mut sorted: Vec<usize> = (0..values.len()).collect();
        sorted.sort_by(|a, b| values[*b].abs().total_cmp(&values[*a].abs()).then(a.cmp(b)));
        let n = values.len();
        let counts = [0, 1, 2, n / 7, n / 3, n / 2, n - 1, n, n + 1];
        for (count, cut) in counts.iter().zip(order.first(&counts).unwrap()) {
            let mut kept: Vec<usize> = (0..n).filter(|i| cut.holds(*i, magnitude(values[*i]))).collect();
            let mut expected = sorted[..(*count).min(n)].to_vec();
            expected.sort_unstable();
            assert_eq!(kept, expected, "the first {count} of {n}");
            kept.clear();
            for start in (0..n).step_by(1000) {
                for (part, limit) in cut.parts(start, 1000.min(n - start)) {
                    kept.extend(part.map(|i| start + i).filter(|i| u64::from(magnitude(values[*i])) >= limit));
                }
            }
            assert_eq!(kept, expected, "the first {count} of {n}, in parts");
        }
        let ranks = [0, n / 4, n / 2, n - 1];
        for (rank, key) in ranks.iter().zip(order.nth(&ranks).unwrap()) {
            assert_eq!(key, magnitude(values[sorted[n - 1 - rank]]), "rank {rank} of {n}");
        }
    }

    #[test]
    fn finds_what_a_sort_finds() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        // The last has more equal elements than a list may hold.
        for (n, granule) in [(10, 1), (50_000, 1), (50_000, 125), (3 * 20_000, 20_000), (CANDIDATES + 100_000, 1)] {
            check(&(0..n).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f32>>(), granule);
            check(&(0..n).map(|_| rng.random_range(-3..3) as f32).collect::<Vec<_>>(), granule);
            check(&vec![0.5; n], granule);
        }
    }

    #[test]
    fn keys_are_in_the_order_of_the_numbers() {
        let numbers = [f32::NEG_INFINITY, -2.0, -1e-40, -0.0, 0.0, 1e-40, 1.0, f32::INFINITY];
        for pair in numbers.windows(2) {
            assert!(ascending(pair[0]) < ascending(pair[1]), "{pair:?}");
        }
        for x in numbers {
            assert_eq!(from_ascending(ascending(x)).to_bits(), x.to_bits());
        }
    }
}
