//! Products of bf16 rows with bf16 weights, two at a time, on processors with AVX512-BF16 (`vdpbf16ps`).
//!
//! They are not the default: rows are rounded to bf16 first, and not every processor has the instruction. Each sum adds
//! its products in a fixed order of `k`, so here too its bits depend only on its row and its weights.

use super::tile::{PANEL, Panel, STEPS, each, prefetch};
use merge_core::{
    error::{Error, Result},
    model::dtype::Dtype,
};
use pulp::Simd;
use rayon::prelude::*;

/// Proof that this processor can multiply bf16.
#[derive(Clone, Copy, Debug)]
pub struct Bf16Dot(Proof);

#[cfg(target_arch = "x86_64")]
type Proof = ();
#[cfg(not(target_arch = "x86_64"))]
type Proof = std::convert::Infallible;

impl Bf16Dot {
    /// Returns the proof; fails on a processor without the instructions.
    pub fn of_this_processor() -> Result<Self> {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512bf16") {
            return Ok(Self(()));
        }
        Err(Error::user("this processor has no bf16 dot products (AVX512-BF16)")
            .hint("leave the option out: weights in bf16 are then multiplied in float32, which any processor can do"))
    }
}

/// Weights of a panel's outputs for two `k`: word `j` has those of output `j`, the first in the lower 16 bits.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct PairedWeights {
    words: [u32; PANEL],
    /// Weights can exist only on a processor with the instruction.
    #[cfg_attr(target_arch = "x86_64", expect(dead_code, reason = "to hold it is its purpose"))]
    proof: Bf16Dot,
}

impl PairedWeights {
    pub(crate) fn zero(proof: Bf16Dot) -> Self {
        Self { words: [0; PANEL], proof }
    }

    /// Writes a number that bf16 can hold, as an output's first weight (`second` 0) or second weight (1).
    pub(crate) fn put(&mut self, output: usize, second: usize, x: f32) {
        self.words[output] |= x.to_bits() >> 16 << (16 * second);
    }

    /// An output's first weight (`second` 0) or second weight (1).
    pub(crate) fn at(&self, output: usize, second: usize) -> f32 {
        f32::from_bits(self.words[output] >> (16 * second) << 16)
    }
}

/// Rounds rows to bf16, two numbers a word, with a zero beside the last if their count is odd: `(rows, input / 2)`.
pub(crate) fn pairs(x: &[f32], input: usize) -> Vec<u32> {
    // Numbers that one thread rounds at a time.
    const TASK: usize = 1 << 14;
    let words = input.div_ceil(2);
    let mut rounded = vec![0; x.len() / input * words];
    let rows = TASK.div_ceil(input);
    rounded.par_chunks_mut(rows * words).zip(x.par_chunks(rows * input)).for_each(|(rounded, x)| {
        let mut bytes = vec![0; words * 4];
        for (rounded, x) in rounded.chunks_mut(words).zip(x.chunks(input)) {
            Dtype::BF16.narrow(x, &mut bytes[..input * 2]);
            for (word, bytes) in rounded.iter_mut().zip(bytes.as_chunks().0) {
                *word = u32::from_le_bytes(*bytes);
            }
        }
    });
    rounded
}

impl Panel for PairedWeights {
    type Row = u32;

    #[inline(always)]
    fn add_tile<S: Simd, const ROWS: usize, const PANELS: usize>(
        _: S,
        w: [&[Self]; PANELS],
        x: [&[u32]; ROWS],
        y: &mut [&mut [f32]],
        column: usize,
    ) {
        let mut sums = [[[0.0; PANEL]; PANELS]; ROWS];
        let len = |y: &[f32], panel: usize| PANEL.min(y.len() - column - panel * PANEL);
        for (sums, y) in sums.iter_mut().zip(y.iter()) {
            for (panel, sums) in sums.iter_mut().enumerate() {
                let len = len(y, panel);
                sums[..len].copy_from_slice(&y[column + panel * PANEL..][..len]);
            }
        }
        add(w, x, &mut sums);
        for (sums, y) in sums.iter().zip(y.iter_mut()) {
            for (panel, sums) in sums.iter().enumerate() {
                let len = len(y, panel);
                y[column + panel * PANEL..][..len].copy_from_slice(&sums[..len]);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[expect(unsafe_code, reason = "whether a processor has an instruction is known to the program, not to the compiler")]
fn add<const ROWS: usize, const PANELS: usize>(
    w: [&[PairedWeights]; PANELS],
    x: [&[u32]; ROWS],
    sums: &mut [[[f32; PANEL]; PANELS]; ROWS],
) {
    if w[0].is_empty() {
        return;
    }
    // SAFETY: there are weights; their proof was made where the processor was found to have the instructions.
    unsafe { add_dots(w, x, sums) }
}

#[cfg(not(target_arch = "x86_64"))]
fn add<const ROWS: usize, const PANELS: usize>(
    w: [&[PairedWeights]; PANELS],
    _: [&[u32]; ROWS],
    _: &mut [[[f32; PANEL]; PANELS]; ROWS],
) {
    if let Some(pairs) = w[0].first() {
        match pairs.proof.0 {}
    }
}

/// Adds the products of these rows and panels to the sums: of each two `k` the second, then the first, each fused with
/// its addition. Numbers below the smallest normal one count as zero (Intel's manual, `VDPBF16PS`).
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn add_dots<const ROWS: usize, const PANELS: usize>(
    w: [&[PairedWeights]; PANELS],
    x: [&[u32]; ROWS],
    sums: &mut [[[f32; PANEL]; PANELS]; ROWS],
) {
    use std::arch::x86_64::{__m512, __m512bh, _mm512_dpbf16_ps, _mm512_set1_epi32};

    type Halves<T> = [T; 2];
    let mut vectors: [[Halves<__m512>; PANELS]; ROWS] =
        each(|row| each(|panel| bits::<[f32; PANEL], Halves<__m512>>(sums[row][panel])));
    let mut step = |w: [&PairedWeights; PANELS], x: [u32; ROWS]| {
        let w: [Halves<__m512bh>; PANELS] = each(|panel| bits::<[u32; PANEL], Halves<__m512bh>>(w[panel].words));
        for (sums, x) in vectors.iter_mut().zip(x) {
            let x = bits::<_, __m512bh>(_mm512_set1_epi32(x.cast_signed()));
            for (sums, w) in sums.iter_mut().zip(&w) {
                for (sum, w) in sums.iter_mut().zip(*w) {
                    *sum = _mm512_dpbf16_ps(*sum, x, w);
                }
            }
        }
    };
    let pairs = w[0].len();
    for chunk in 0..pairs / STEPS {
        let w: [&[PairedWeights; STEPS]; PANELS] = each(|panel| &w[panel].as_chunks().0[chunk]);
        let x: [&[u32; STEPS]; ROWS] = each(|row| &x[row].as_chunks().0[chunk]);
        for k in 0..STEPS {
            for w in w {
                prefetch(w.as_ptr().wrapping_add(k + AHEAD));
            }
            step(each(|panel| &w[panel][k]), each(|row| x[row][k]));
        }
    }
    for k in pairs / STEPS * STEPS..pairs {
        step(each(|panel| &w[panel][k]), each(|row| x[row][k]));
    }
    for (sums, vectors) in sums.iter_mut().zip(vectors) {
        for (sums, vectors) in sums.iter_mut().zip(vectors) {
            *sums = bits(vectors);
        }
    }
}

/// Number of steps by which weights are prefetched.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 32;

/// Reinterprets numbers as a vector, or a vector as numbers.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[expect(unsafe_code, reason = "the standard library has no other way from numbers to vectors of bf16")]
fn bits<A: Copy, B: Copy>(a: A) -> B {
    const { assert!(size_of::<A>() == size_of::<B>()) };
    // SAFETY: both are as long, and only arrays of numbers and vectors come here, for which any bits are valid.
    unsafe { std::mem::transmute_copy(&a) }
}

#[cfg(test)]
mod tests {
    use super::{
        super::matrix::{Matrix, Piece},
        *,
    };
    use pulp::Arch;

    /// Pseudo-random numbers with only the bits of `keep`.
    fn numbers(count: usize, mut seed: u64, keep: u32) -> Vec<f32> {
        let next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f32::from_bits((seed >> 32) as u32 & keep)
        };
        std::iter::repeat_with(next).take(count).collect()
    }

    /// `a + b·c` as in the manual: fused, without denormal numbers.
    fn fused(a: f32, b: f32, c: f32) -> f32 {
        let normal = |x: f32| if x.is_subnormal() { 0_f32.copysign(x) } else { x };
        normal(normal(b).mul_add(normal(c), normal(a)))
    }

    fn rounded(x: f32) -> f32 {
        half::bf16::from_f32(x).to_f32()
    }

    /// The oracle: pairs in order, of each pair the second product first.
    fn oracle(x: &[f32], w: &[f32]) -> f32 {
        let mut sum = 0.0;
        for (x, w) in x.chunks(2).zip(w.chunks(2)) {
            for k in (0..2).rev() {
                let at = |of: &[f32]| of.get(k).map_or(0.0, |x| rounded(*x));
                sum = fused(sum, at(x), at(w));
            }
        }
        sum
    }

    fn multiply(matrix: &Matrix, x: &[f32], arch: Arch) -> Vec<f32> {
        let mut y = vec![0.0; x.len() / matrix.input() * matrix.out()];
        matrix.product(x, &mut y, arch);
        y
    }

    fn stored(weights: &[f32]) -> Piece<'static> {
        let mut bytes = vec![0; weights.len() * 2];
        Dtype::BF16.narrow(weights, &mut bytes);
        Piece { bytes: bytes.into(), dtype: Dtype::BF16 }
    }

    #[test]
    #[cfg_attr(not(has_bf16_dot), ignore = "needs a processor with AVX512-BF16")]
    fn bits_are_those_of_the_manual_for_any_company() {
        let dot = Bf16Dot::of_this_processor().unwrap();
        let threads = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        // Exponents of all sizes below 1, where sums fall below the normal numbers; then those of weights and states.
        for (keep, set) in [(0xbfff_ffff, 0), (0x81ff_ffff, 0), (0x807f_ffff, 0x3f00_0000)] {
            for (input, out, rows) in [(64, 40, 23), (601, 33, 13), (1700, 129, 4), (7, 64, 130), (1, 1, 2)] {
                let set = |x: f32| f32::from_bits(x.to_bits() | set);
                let x: Vec<f32> = numbers(rows * input, 1, keep).into_iter().map(set).collect();
                let weights: Vec<f32> = numbers(out * input, 2, keep).into_iter().map(set).collect();
                let matrix = Matrix::pack(&[stored(&weights)], input, Some(dot));
                let sums = x.chunks(input).flat_map(|x| weights.chunks(input).map(move |w| oracle(x, w)));
                let oracle: Vec<u32> = sums.map(f32::to_bits).collect();
                let bits = |y: Vec<f32>| y.into_iter().map(f32::to_bits).collect::<Vec<_>>();
                for arch in [Arch::new(), Arch::Scalar] {
                    let all = threads.install(|| multiply(&matrix, &x, arch));
                    assert!(bits(all) == oracle, "{rows} rows, {input} to {out}, {keep:x}");
                }
                for row in 0..rows {
                    let alone = multiply(&matrix, &x[row * input..][..input], Arch::new());
                    assert!(bits(alone) == oracle[row * out..][..out], "row {row} of {rows}, {input} to {out}");
                }
            }
        }
    }

    #[test]
    #[cfg_attr(not(has_bf16_dot), ignore = "needs a processor with AVX512-BF16")]
    fn weights_stay_what_they_are() {
        let dot = Bf16Dot::of_this_processor().unwrap();
        let weights: Vec<f32> = numbers(90 * 21, 3, 0xbfff_ffff).into_iter().map(rounded).collect();
        let matrix = Matrix::pack(&[stored(&weights)], 21, Some(dot));
        assert_eq!(
            matrix.rows(&[89, 0, 33]),
            [&weights[89 * 21..], &weights[..21], &weights[33 * 21..34 * 21]].concat()
        );
        let broken = [1.0, f32::INFINITY, f32::NAN];
        let y = multiply(&Matrix::pack(&[stored(&broken)], 1, Some(dot)), &[2.0], Arch::new());
        assert!(y[0].is_finite() && y[1] == f32::INFINITY && y[2].is_nan(), "{y:?}");
    }
}
