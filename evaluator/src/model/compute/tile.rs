//! The inner loop of matrix products: a tile of sums in registers, with weights widened there.
//!
//! A vector runs over outputs, never along a sum: each sum adds its products in order of `k`, each
//! fused with its addition. So the bits of a sum depend only on its row and its weights, not on its
//! tile, on the storage of its weights, or on the processor.

use half::f16;
use pulp::Simd;

/// Number of outputs of a panel.
pub(crate) const PANEL: usize = 32;
const HALF: usize = PANEL / 2;

/// The weights of a panel's outputs for one `k`.
pub(crate) trait StoredWeights: Send + Sync {
    /// Vector `part` of the panel's first half, and of its second half.
    fn widen<S: Simd>(&self, simd: S, part: usize) -> [S::f32s; 2];

    /// The weight of one output.
    fn at(&self, output: usize) -> f32;
}

/// Weights of a panel, and their multiplication with rows.
pub(crate) trait Panel: Send + Sync + Sized {
    /// Element of a row.
    type Row: Send + Sync;

    /// Adds the products of rows `x` and panels `w` to `ROWS` rows of `y`, from a column on.
    ///
    /// `w` and `x`: each `(k)`. The last panel may have fewer outputs than others: the rows of `y` end there.
    fn add_tile<S: Simd, const ROWS: usize, const PANELS: usize>(
        simd: S,
        w: [&[Self]; PANELS],
        x: [&[Self::Row]; ROWS],
        y: &mut [&mut [f32]],
        column: usize,
    );
}

/// Weights stored in `f32`.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct F32Weights(pub [f32; PANEL]);

/// Weights stored in bf16: output `j` in the lower 16 bits of word `j`, output `j + 16` in the upper.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Bf16Weights(pub [u32; HALF]);

/// Weights stored in IEEE half precision, all finite, laid out like [`Bf16Weights`].
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct F16Weights(pub [u32; HALF]);

impl StoredWeights for F32Weights {
    #[inline(always)]
    fn widen<S: Simd>(&self, _: S, part: usize) -> [S::f32s; 2] {
        let vectors = S::as_simd_f32s(&self.0).0;
        [vectors[part], vectors[part + HALF / S::F32_LANES]]
    }

    fn at(&self, output: usize) -> f32 {
        self.0[output]
    }
}

impl StoredWeights for Bf16Weights {
    #[inline(always)]
    fn widen<S: Simd>(&self, simd: S, part: usize) -> [S::f32s; 2] {
        let words = S::as_simd_u32s(&self.0).0[part];
        let low = simd.wrapping_dyn_shl_u32s(words, simd.splat_u32s(16));
        let high = simd.and_u32s(words, simd.splat_u32s(0xffff_0000));
        [simd.transmute_f32s_u32s(low), simd.transmute_f32s_u32s(high)]
    }

    fn at(&self, output: usize) -> f32 {
        f32::from_bits(u32::from(bits(&self.0, output)) << 16)
    }
}

impl StoredWeights for F16Weights {
    #[inline(always)]
    fn widen<S: Simd>(&self, simd: S, part: usize) -> [S::f32s; 2] {
        let words = S::as_simd_u32s(&self.0).0[part];
        let low = simd.wrapping_dyn_shl_u32s(words, simd.splat_u32s(16));
        [widen_half(simd, low), widen_half(simd, words)]
    }

    fn at(&self, output: usize) -> f32 {
        f16::from_bits(bits(&self.0, output)).to_f32()
    }
}

fn bits(words: &[u32; HALF], output: usize) -> u16 {
    (words[output % HALF] >> (output / HALF * 16)) as u16
}

/// Widens the upper 16 bits of each word, a finite number in half precision.
#[inline(always)]
fn widen_half<S: Simd>(simd: S, half: S::u32s) -> S::f32s {
    // With exponent and mantissa in their places the number is 2^112 times too small, also if it is denormal.
    let moved = simd.wrapping_dyn_shr_u32s(half, simd.splat_u32s(3));
    let magnitude = simd.and_u32s(moved, simd.splat_u32s(0x0fff_e000));
    let sign = simd.and_u32s(half, simd.splat_u32s(0x8000_0000));
    let small = simd.transmute_f32s_u32s(simd.or_u32s(magnitude, sign));
    simd.mul_f32s(small, simd.splat_f32s(f32::from_bits((127 + 112) << 23)))
}

/// Widens weights to `f32`, the element type of rows.
impl<W: StoredWeights> Panel for W {
    type Row = f32;

    #[inline(always)]
    fn add_tile<S: Simd, const ROWS: usize, const PANELS: usize>(
        simd: S,
        w: [&[W]; PANELS],
        x: [&[f32]; ROWS],
        y: &mut [&mut [f32]],
        column: usize,
    ) {
        for part in 0..HALF / S::F32_LANES {
            let mut sums = [[[simd.splat_f32s(0.0); 2]; PANELS]; ROWS];
            for (sums, y) in sums.iter_mut().zip(y.iter()) {
                for (panel, sums) in sums.iter_mut().enumerate() {
                    *sums = load(&y[column + panel * PANEL..], simd, part);
                }
            }
            let sums = add_products(simd, w, x, sums, part);
            for (sums, y) in sums.iter().zip(y.iter_mut()) {
                for (panel, sums) in sums.iter().enumerate() {
                    store(&mut y[column + panel * PANEL..], simd, part, *sums);
                }
            }
        }
    }
}

/// Steps of `k` whose places in `x` and `w` are determined together.
pub(crate) const STEPS: usize = 16;
/// Steps of `k` by which weights are prefetched: the time from memory, at a tile's speed.
const AHEAD: usize = 64;

#[inline(always)]
fn add_products<S: Simd, W: StoredWeights, const ROWS: usize, const PANELS: usize>(
    simd: S,
    w: [&[W]; PANELS],
    x: [&[f32]; ROWS],
    mut sums: [[[S::f32s; 2]; PANELS]; ROWS],
    part: usize,
) -> [[[S::f32s; 2]; PANELS]; ROWS] {
    let inner = w[0].len();
    for chunk in 0..inner / STEPS {
        let w: [&[W; STEPS]; PANELS] = each(|panel| &w[panel].as_chunks().0[chunk]);
        let x: [&[f32; STEPS]; ROWS] = each(|row| &x[row].as_chunks().0[chunk]);
        for k in 0..STEPS {
            for w in w {
                prefetch(w.as_ptr().wrapping_add(k + AHEAD));
            }
            add_step(simd, each(|panel| &w[panel][k]), each(|row| x[row][k]), &mut sums, part);
        }
    }
    for k in inner / STEPS * STEPS..inner {
        add_step(simd, each(|panel| &w[panel][k]), each(|row| x[row][k]), &mut sums, part);
    }
    sums
}

/// Adds the products of one `k`.
#[inline(always)]
fn add_step<S: Simd, W: StoredWeights, const ROWS: usize, const PANELS: usize>(
    simd: S,
    w: [&W; PANELS],
    x: [f32; ROWS],
    sums: &mut [[[S::f32s; 2]; PANELS]; ROWS],
    part: usize,
) {
    let mut wide = [[simd.splat_f32s(0.0); 2]; PANELS];
    for (wide, w) in wide.iter_mut().zip(w) {
        *wide = w.widen(simd, part);
    }
    for (sums, x) in sums.iter_mut().zip(x) {
        let x = simd.splat_f32s(x);
        for (sums, w) in sums.iter_mut().zip(&wide) {
            for (sum, w) in sums.iter_mut().zip(*w) {
                *sum = simd.mul_add_f32s(x, w, *sum);
            }
        }
    }
}

/// An array of the results of `item` for each index.
#[inline(always)]
pub(crate) fn each<T, const N: usize>(item: impl FnMut(usize) -> T) -> [T; N] {
    std::array::from_fn(item)
}

#[inline(always)]
fn load<S: Simd>(y: &[f32], _: S, part: usize) -> [S::f32s; 2] {
    let mut whole = [0.0; PANEL];
    let y = y.get(..PANEL).unwrap_or_else(|| {
        whole[..y.len()].copy_from_slice(y);
        &whole
    });
    let vectors = S::as_simd_f32s(y).0;
    [vectors[part], vectors[part + HALF / S::F32_LANES]]
}

#[inline(always)]
fn store<S: Simd>(y: &mut [f32], _: S, part: usize, sums: [S::f32s; 2]) {
    let put = |y: &mut [f32]| {
        let vectors = S::as_mut_simd_f32s(y).0;
        vectors[part] = sums[0];
        vectors[part + HALF / S::F32_LANES] = sums[1];
    };
    if let Some(y) = y.get_mut(..PANEL) {
        put(y);
    } else {
        let mut whole = [0.0; PANEL];
        whole[..y.len()].copy_from_slice(y);
        put(&mut whole);
        y.copy_from_slice(&whole[..y.len()]);
    }
}

/// Prefetches weights. The processor's own prefetching stops at the end of a page.
#[inline(always)]
#[expect(unsafe_code, reason = "there is no safe way to ask, and few rows wait for memory twice as long without it")]
pub(crate) fn prefetch<W>(place: *const W) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..size_of::<W>()).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction reads nothing that the program sees, and is permitted for any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast::<i8>().wrapping_add(line)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
