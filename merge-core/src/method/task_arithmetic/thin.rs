//! Steps 1 to 3 in blocks: task vectors that are thinned, rescaled and weighted.

use super::{
    super::{
        Input, Inputs,
        select::{Cut, Order, magnitude},
    },
    PIECE, Rescale, Sparsify, TaskArithmetic,
    rank::{self, Chance, Ranks, Rows},
};
use crate::{
    error::Result,
    model::{Elements, blocks::map_blocks},
    random::Draws,
    vectors::wide,
};
use std::cell::RefCell;

/// One model's part in a merge: all that is known after the whole tensor has been seen.
pub(super) struct ModelPart {
    /// Weight and rescale factor are applied one after the other, as in the formula.
    pub(super) weight: f32,
    rescale: f32,
    keep: Keep,
}

/// The elements of a task vector that are kept.
enum Keep {
    All,
    Nothing,
    /// The elements of one cut by magnitude that are not in another.
    Between {
        dropped: Cut,
        kept: Cut,
    },
    /// Each element with the same chance.
    Random {
        draws: Draws,
        chance: f32,
    },
    /// Each element with the chance of its rank.
    Ranked {
        draws: Draws,
        chance: Chance,
        rows: Rows,
    },
    /// The elements whose bit is set: remembered from the first look at the tensor.
    Remembered(Vec<u64>),
}

/// Buffers of a thread.
#[derive(Default)]
pub(super) struct ThinRoom {
    draws: Vec<f32>,
    ranks: Ranks,
}

thread_local! {
    /// Buffers of a thread for the first look, and for a piece of a task vector.
    static ROOM: RefCell<(ThinRoom, Vec<f32>)> = RefCell::default();
}

/// Looks at the task vectors of a whole tensor.
pub(super) fn parts(method: &TaskArithmetic, inputs: &Inputs<'_>, granule: usize) -> Result<Vec<ModelPart>> {
    let rescale = method.rescale(&inputs.settings);
    let part = |model: &Input<'_>| {
        let keep = Keep::of(method, inputs, model, rescale)?;
        let factor = match (&keep, rescale) {
            (Keep::Random { chance, .. }, Rescale::Chance) if *chance > 0.0 => 1.0 / chance,
            _ => 1.0,
        };
        Ok(ModelPart { weight: model.settings.number("weight") as f32, rescale: factor, keep })
    };
    let mut parts = inputs.models.iter().map(part).collect::<Result<Vec<_>>>()?;
    if rescale == Rescale::Norm {
        rescale_norms(inputs, &mut parts, granule)?;
    }
    Ok(parts)
}

/// Sets the factor `Σ|d| / Σ|kept d|` for all models with dropped elements.
fn rescale_norms(inputs: &Inputs<'_>, parts: &mut [ModelPart], granule: usize) -> Result<()> {
    let thinned: Vec<usize> = (0..parts.len()).filter(|i| parts[*i].keep.drops_some()).collect();
    if thinned.is_empty() {
        return Ok(());
    }
    let remembers = granule.is_multiple_of(64) && inputs.len() * thinned.len() <= REMEMBERED;
    let models = thinned.iter().map(|i| &*inputs.models[*i].values);
    let tensors: Vec<&dyn Elements> = [inputs.base()].into_iter().chain(models).collect();
    let piece = PIECE.next_multiple_of(granule);
    let looks = map_blocks(&tensors, granule, |start, block| {
        let (base, models) = block.split_first().expect("the base was asked for");
        ROOM.with_borrow_mut(|(room, d)| {
            let look = |(i, model): (&usize, &Vec<f32>)| {
                let mut bits = Vec::with_capacity(if remembers { base.len().div_ceil(64) } else { 0 });
                let sums = wide(
                    #[inline(always)]
                    || {
                        let mut sums = [0.0; 2];
                        for (number, (b, x)) in base.chunks(piece).zip(model.chunks(piece)).enumerate() {
                            d.resize(b.len(), 0.0);
                            difference(x, b, d);
                            sums[0] += l1(d);
                            parts[*i].keep.thin(start + number * piece, d, room);
                            sums[1] += l1(d);
                            if remembers {
                                bits.extend(d.chunks(64).map(not_zero));
                            }
                        }
                        sums
                    },
                );
                (sums, bits)
            };
            thinned.iter().zip(models).map(look).collect::<Vec<_>>()
        })
    })?;
    for (at, i) in thinned.into_iter().enumerate() {
        let of_model = || looks.iter().map(|look| &look[at]);
        let [all, kept] = of_model().fold([0.0, 0.0], |[all, kept], (sums, _)| [all + sums[0], kept + sums[1]]);
        parts[i].rescale = rescale_factor(all, kept);
        if remembers {
            parts[i].keep = Keep::Remembered(of_model().flat_map(|(_, bits)| bits).copied().collect());
        }
    }
    Ok(())
}

/// Largest number of elements, over all models, for which the look remembers if they are kept: 16 MiB.
const REMEMBERED: usize = 1 << 27;

/// A word with a bit for each of up to 64 elements, set if the element is not zero.
#[inline(always)]
fn not_zero(d: &[f32]) -> u64 {
    d.iter().enumerate().fold(0, |bits, (i, d)| bits | u64::from(*d != 0.0) << i)
}

/// `Σ|d| / Σ|kept d|`, or 1 if either sum is almost zero.
pub(super) fn rescale_factor(all: f64, kept: f64) -> f32 {
    if all < 1e-7 || kept < 1e-7 { 1.0 } else { (all / kept) as f32 }
}

/// Sum of magnitudes. Always in 16 sums side by side, so that any width of vectors gives the same.
#[inline(always)]
fn l1(d: &[f32]) -> f64 {
    let (chunks, rest) = d.as_chunks::<16>();
    let mut lanes = [0.0; 16];
    for chunk in chunks {
        for (lane, d) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(d.abs());
        }
    }
    lanes.into_iter().chain(rest.iter().map(|d| f64::from(d.abs()))).sum()
}

#[inline(always)]
fn difference(model: &[f32], base: &[f32], d: &mut [f32]) {
    for ((d, x), b) in d.iter_mut().zip(model).zip(base) {
        *d = x - b;
    }
}

impl ModelPart {
    /// Steps 1 to 3 for the elements from `start` on; their number is a multiple of a granule.
    #[inline(always)]
    pub(super) fn vector(&self, start: usize, base: &[f32], model: &[f32], d: &mut [f32], room: &mut ThinRoom) {
        if let Keep::All = self.keep {
            for ((d, x), b) in d.iter_mut().zip(model).zip(base) {
                *d = (x - b) * self.weight;
            }
            return;
        }
        difference(model, base, d);
        self.keep.thin(start, d, room);
        for d in d.iter_mut() {
            *d = *d * self.rescale * self.weight;
        }
    }
}

/// Number of elements that TIES keeps: the greatest `max(1, ⌊p·n⌋)`.
pub(super) fn greatest(density: f64, len: usize) -> usize {
    ((density * len as f64) as usize).max(1)
}

/// Number of greatest elements that Breadcrumbs drops, and this number plus the number that it keeps.
pub(super) fn outliers(density: f64, gamma: f64, len: usize) -> [usize; 2] {
    let [kept, dropped] = [density, gamma].map(|share| (share * len as f64) as usize);
    let smallest = len.saturating_sub(kept + dropped);
    [len - smallest - kept, len - smallest]
}

impl Keep {
    fn of(method: &TaskArithmetic, inputs: &Inputs<'_>, model: &Input<'_>, rescale: Rescale) -> Result<Self> {
        let density = || model.settings.number("density");
        if method.sparsify == Sparsify::No || density() >= 1.0 {
            return Ok(Self::All);
        }
        if density() <= 0.0 {
            return Ok(Self::Nothing);
        }
        let draws = || model.draws.clone();
        let between = |counts: [usize; 2]| {
            let tensors = [inputs.base(), &*model.values];
            let keys = |_: usize, values: &[Vec<f32>], keys: &mut [u32]| {
                for ((key, b), x) in keys.iter_mut().zip(&values[0]).zip(&values[1]) {
                    *key = magnitude(x - b);
                }
            };
            let cuts = Order::new(&tensors, 1, keys).first(&counts)?;
            Ok(Self::Between { dropped: cuts[0], kept: cuts[1] })
        };
        match method.sparsify {
            Sparsify::No => unreachable!("nothing is dropped"),
            Sparsify::Magnitude => between([0, greatest(density(), inputs.len())]),
            Sparsify::Outliers => between(outliers(density(), model.settings.number("gamma"), inputs.len())),
            Sparsify::Random => Ok(Self::Random { draws: draws(), chance: density() as f32 }),
            Sparsify::Ranked => {
                let inverse = rescale == Rescale::Chance;
                let chance = Chance::new(density(), model.settings.number("epsilon"), inverse);
                Ok(Self::Ranked { draws: draws(), chance, rows: Rows::of(inputs.shape) })
            }
        }
    }

    fn drops_some(&self) -> bool {
        !matches!(self, Self::All | Self::Nothing)
    }

    /// Sets the dropped elements to zero; `d` begins at element `start`.
    #[inline(always)]
    fn thin(&self, start: usize, d: &mut [f32], room: &mut ThinRoom) {
        match self {
            Self::All => {}
            Self::Nothing => d.fill(0.0),
            Self::Between { dropped, kept } => {
                clear(*kept, start, d, |key, limit| key < limit);
                clear(*dropped, start, d, |key, limit| key >= limit);
            }
            Self::Random { draws, chance } => {
                room.draws.resize(d.len(), 0.0);
                draws.uniform(start, &mut room.draws);
                for (d, u) in d.iter_mut().zip(&room.draws) {
                    *d = if *u < *chance { *d } else { 0.0 };
                }
            }
            Self::Ranked { draws, chance, rows } => {
                room.draws.resize(d.len(), 0.0);
                draws.uniform(start, &mut room.draws);
                rank::thin(rows, *chance, d, &room.draws, &mut room.ranks);
            }
            Self::Remembered(bits) => {
                for (d, bits) in d.chunks_mut(64).zip(&bits[start / 64..]) {
                    for (i, d) in d.iter_mut().enumerate() {
                        *d = if bits >> i & 1 == 1 { *d } else { 0.0 };
                    }
                }
            }
        }
    }
}

/// Sets elements to zero if `out(key, limit)` is true, where `limit` is that of a cut.
#[inline(always)]
fn clear(cut: Cut, start: usize, d: &mut [f32], out: impl Fn(u32, u32) -> bool) {
    for (part, limit) in cut.parts(start, d.len()) {
        // A limit beyond all keys becomes the greatest key, which only a NaN can have.
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        for d in &mut d[part] {
            *d = if out(magnitude(*d), limit) { 0.0 } else { *d };
        }
    }
}
