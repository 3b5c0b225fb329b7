//! DELLA's thinning: an element's chance depends on the rank of its magnitude in its row.
//!
//! For most elements, the rank itself is not needed. Magnitudes are counted in bins; all elements
//! of a bin have ranks, and so chances, within narrow limits, and only a draw between these limits
//! needs the exact rank: about one in a thousand elements of a continuous distribution.

use super::super::select::magnitude;

/// Layout of the rows of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rows {
    /// Number of elements of a stretch that holds whole rows.
    pub(super) granule: usize,
    /// Distance between neighbours in a row.
    stride: usize,
}

impl Rows {
    /// Number of elements of the longest row.
    const LONGEST: usize = 1 << 20;

    /// The rows of a tensor of this shape, as described at [`super::DELLA`].
    pub(super) fn of(shape: &[usize]) -> Self {
        let slab: usize = shape[shape.len().min(1)..].iter().product();
        let (granule, stride) = match shape {
            [] => (1, 1),
            [len] => (*len, 1),
            [_, _, rest @ ..] if slab <= Self::LONGEST => (slab, rest.iter().product()),
            [.., last] => (*last, 1),
        };
        Self { granule: granule.clamp(1, Self::LONGEST), stride: stride.max(1) }
    }

    /// The rows of a tensor of `len` elements, each as the positions of its elements.
    pub(super) fn places(self, len: usize) -> impl Iterator<Item = impl Iterator<Item = usize>> {
        (0..len).step_by(self.granule).flat_map(move |start| {
            let end = (start + self.granule).min(len);
            (0..self.stride).map(move |first| (start + first..end).step_by(self.stride))
        })
    }
}

/// The chance of an element to be kept, by its rank.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chance {
    /// Chance of the only element of a row.
    density: f32,
    /// Chance of the smallest element.
    least: f32,
    /// Difference between the chances of the greatest and of the smallest element.
    span: f32,
    /// True if kept elements are divided by their chance.
    inverse: bool,
}

impl Chance {
    pub(super) fn new(density: f64, epsilon: f64, inverse: bool) -> Self {
        Self { density: density as f32, least: (density - epsilon) as f32, span: 2.0 * epsilon as f32, inverse }
    }

    /// The chance of a rank from 0 to `last`.
    #[inline(always)]
    pub(super) fn of(self, rank: u32, last: f32) -> f32 {
        if last == 0.0 { self.density } else { rank as f32 / last * self.span + self.least }
    }
}

/// Buffers of a thread.
#[derive(Default)]
pub(super) struct Ranks {
    keys: Vec<u32>,
    bins: Vec<u32>,
    /// Number of elements in smaller bins; one entry more than there are bins.
    before: Vec<u32>,
    /// Chances of the first and of the last rank of each bin.
    lows: Vec<f32>,
    highs: Vec<f32>,
    /// Elements whose draw is between the chances of the smallest and of the greatest element.
    between: Vec<u32>,
    /// Elements whose exact rank is needed.
    open: Vec<u32>,
    /// Keys with their positions in the row.
    sorted: Vec<u64>,
    /// A row with a stride, and its draws.
    row: [Vec<f32>; 2],
}

/// Sets the dropped elements to zero.
#[inline(always)]
pub(super) fn thin(rows: &Rows, chance: Chance, d: &mut [f32], draws: &[f32], room: &mut Ranks) {
    for (d, draws) in d.chunks_mut(rows.granule).zip(draws.chunks(rows.granule)) {
        if rows.stride == 1 {
            thin_row(chance, d, draws, room);
            continue;
        }
        let mut row = std::mem::take(&mut room.row);
        for first in 0..rows.stride {
            for (row, from) in row.iter_mut().zip([&*d, draws]) {
                row.clear();
                row.extend(from[first..].iter().step_by(rows.stride));
            }
            let [thinned, draws] = &mut row;
            thin_row(chance, thinned, draws, room);
            d[first..].iter_mut().step_by(rows.stride).zip(thinned).for_each(|(d, thinned)| *d = *thinned);
        }
        room.row = row;
    }
}

/// Rows with more open elements than this are sorted.
const FEW: usize = 64;

#[inline(always)]
fn thin_row(chance: Chance, d: &mut [f32], draws: &[f32], room: &mut Ranks) {
    let last = (d.len() - 1) as f32;
    count(d, room);
    if chance.inverse {
        sort(room);
        return decide_all(chance, last, d, draws, room);
    }
    let bins = room.before.len() - 1;
    room.lows.resize(bins, 0.0);
    room.highs.resize(bins, 0.0);
    for ((low, high), ends) in room.lows.iter_mut().zip(&mut room.highs).zip(room.before.windows(2)) {
        *low = chance.of(ends[0], last);
        *high = chance.of(ends[1].saturating_sub(1), last);
    }
    decide_by_bin(chance, d, draws, room);
    if room.open.len() > FEW {
        sort(room);
        return decide_all(chance, last, d, draws, room);
    }
    for i in &room.open {
        let i = *i as usize;
        let key = room.keys[i];
        let lesser: u32 = room.keys.iter().map(|k| u32::from(*k < key)).sum();
        let equal: u32 = room.keys[..i].iter().map(|k| u32::from(*k == key)).sum();
        let rank = lesser + equal;
        if draws[i] >= chance.of(rank, last) {
            d[i] = 0.0;
        }
    }
}

/// Decides all elements that their bin decides, and lists the others as open.
#[inline(always)]
fn decide_by_bin(chance: Chance, d: &mut [f32], draws: &[f32], room: &mut Ranks) {
    // Draws are random, so branches would often be mispredicted. Most draws are below every chance, or above.
    let (least, most) = (chance.of(0, 1.0), chance.of(1, 1.0));
    room.between.resize(d.len(), 0);
    let (between, mut len) = (&mut room.between[..d.len()], 0);
    for (number, (d, u)) in d.chunks_mut(64).zip(draws.chunks(64)).enumerate() {
        let flags = d.iter().zip(u).map(|(d, u)| (*u >= least) & (*u < most) & (*d != 0.0));
        let mut bits = flags.enumerate().fold(0, |bits, (i, flag)| bits | u64::from(flag) << i);
        for (d, u) in d.iter_mut().zip(u) {
            *d = if *u < most { *d } else { 0.0 };
        }
        while bits != 0 {
            between[len] = number as u32 * 64 + bits.trailing_zeros();
            bits &= bits - 1;
            len += 1;
        }
    }
    room.open.resize(len, 0);
    let (bins, lows, highs, open) = (&room.bins[..d.len()], &room.lows[..], &room.highs[..], &mut room.open[..]);
    let mut left = 0;
    for i in &between[..len] {
        let (u, bin) = (draws[*i as usize], bins[*i as usize] as usize);
        let (low, high) = (lows[bin], highs[bin]);
        open[left] = *i;
        left += usize::from((u >= low) & (u < high));
        // A mask of all bits or none: the compiler would turn a conditional into a branch.
        let d = &mut d[*i as usize];
        *d = f32::from_bits(d.to_bits() & 0u32.wrapping_sub(u32::from(u < high)));
    }
    room.open.truncate(left);
}

/// Counts a row's magnitudes in bins, in the order of the magnitudes.
#[inline(always)]
fn count(d: &[f32], room: &mut Ranks) {
    room.keys.clear();
    room.keys.extend(d.iter().map(|d| magnitude(*d)));
    // Half as many bins as elements, over eight powers of two below the greatest; the first bin takes all smaller ones.
    let bits = (d.len() / 2).max(1).ilog2().clamp(6, 12);
    let floor = room.keys.iter().fold(0, |max, key| max.max(*key)).saturating_sub((1 << OCTAVE_KEY_BITS) - 1);
    let shift = OCTAVE_KEY_BITS - bits;
    room.bins.clear();
    room.bins.extend(room.keys.iter().map(|key| key.saturating_sub(floor) >> shift));
    room.before.clear();
    room.before.resize((1 << bits) + 1, 0);
    for bin in &room.bins {
        room.before[*bin as usize + 1] += 1;
    }
    let mut sum = 0;
    for before in &mut room.before {
        sum += *before;
        *before = sum;
    }
}

/// Base-2 logarithm of the number of keys in eight powers of two.
const OCTAVE_KEY_BITS: u32 = 26;

/// Sorts keys and positions, lower positions first among equal keys, after [`count`].
fn sort(room: &mut Ranks) {
    room.sorted.resize(room.keys.len(), 0);
    for (i, (key, bin)) in room.keys.iter().zip(&room.bins).enumerate() {
        let next = &mut room.before[*bin as usize];
        room.sorted[*next as usize] = u64::from(*key) << 32 | i as u64;
        *next += 1;
    }
    // Each bin now ends where the next one began.
    let mut start = 0;
    for end in &room.before[..room.before.len() - 1] {
        room.sorted[start..*end as usize].sort_unstable();
        start = *end as usize;
    }
}

/// Decides every element by its exact rank, after [`sort`].
fn decide_all(chance: Chance, last: f32, d: &mut [f32], draws: &[f32], room: &Ranks) {
    for (rank, entry) in room.sorted.iter().enumerate() {
        let i = (entry & 0xffff_ffff) as usize;
        let p = chance.of(rank as u32, last);
        if draws[i] >= p {
            d[i] = 0.0;
        } else if chance.inverse {
            d[i] /= p;
        }
    }
}
