//! Weights of a projection, kept as they are stored, in the order in which products read them.

use super::{
    Bf16Dot,
    dot::{self, PairedWeights},
    product::product,
    tile::{Bf16Weights, F16Weights, F32Weights, PANEL, StoredWeights},
};
use merge_core::model::dtype::Dtype;
use pulp::Arch;
use rayon::prelude::*;
use std::borrow::Cow;

/// Weights of some outputs, as a checkpoint stores them: `(rows, input)`.
#[derive(Debug)]
pub(crate) struct Piece<'a> {
    /// Bytes, little-endian and row-major.
    pub bytes: Cow<'a, [u8]>,
    /// Element type.
    pub dtype: Dtype,
}

/// Weights `(out, input)` in panels of outputs: `(panels, input, outputs of a panel)`, zeros where there is no output.
#[derive(Debug)]
pub(crate) struct Matrix {
    panels: Panels,
    input: usize,
    out: usize,
}

/// Panels by element type. 16-bit weights halve memory and reading time; widening them changes no bit of a product.
#[derive(Debug)]
enum Panels {
    F32(Vec<F32Weights>),
    Bf16(Vec<Bf16Weights>),
    F16(Vec<F16Weights>),
    /// bf16 weights to multiply by bf16: `(panels, input / 2, outputs of a panel)`.
    Pairs(Vec<PairedWeights>),
}

impl Matrix {
    /// Packs parts of the same input, one below the other.
    ///
    /// bf16 stays so if all parts are bf16 or 8-bit floats (bf16 holds these exactly), and half precision if all parts
    /// are half and finite; anything else becomes `f32`. With `dot`, bf16 is multiplied by bf16: rows are rounded.
    pub(crate) fn pack(parts: &[Piece<'_>], input: usize, dot: Option<Bf16Dot>) -> Self {
        let mut rows: Vec<StoredRow<'_>> = parts.iter().flat_map(|part| part.rows(input)).collect();
        let all = |dtypes: &[Dtype]| parts.iter().all(|part| dtypes.contains(&part.dtype));
        let panels = if all(&[Dtype::BF16, Dtype::F8E4M3, Dtype::F8E5M2]) {
            if let Some(dot) = dot {
                Panels::Pairs(pack::<_, 2>(&rows, input, PairedWeights::zero(dot), PairedWeights::put))
            } else {
                let zero = Bf16Weights([0; PANEL / 2]);
                Panels::Bf16(pack::<_, 1>(&rows, input, zero, |w, output, _, x| put_upper(&mut w.0, output, x)))
            }
        } else if all(&[Dtype::F16]) && parts.iter().all(|part| part.dtype.all_finite(&part.bytes)) {
            // Half precision takes the same way as bf16, which is read as the upper half of an `f32`.
            for row in &mut rows {
                row.dtype = Dtype::BF16;
            }
            let zero = F16Weights([0; PANEL / 2]);
            Panels::F16(pack::<_, 1>(&rows, input, zero, |w, output, _, x| put_upper(&mut w.0, output, x)))
        } else {
            Panels::F32(pack::<_, 1>(&rows, input, F32Weights([0.0; PANEL]), |w, output, _, x| w.0[output] = x))
        };
        Self { panels, input, out: rows.len() }
    }

    /// Number of outputs: length of a row of the result.
    pub(crate) fn out(&self) -> usize {
        self.out
    }

    /// Number of weights of an output.
    pub(crate) fn input(&self) -> usize {
        self.input
    }

    /// The weights of some outputs, as numbers: `(outputs, input)`.
    pub(crate) fn rows(&self, outputs: &[u32]) -> Vec<f32> {
        let mut rows = vec![0.0; outputs.len() * self.input];
        rows.par_chunks_mut(self.input).zip(outputs).for_each(|(row, output)| {
            let output = *output as usize;
            assert!(output < self.out, "the matrix has the output");
            match &self.panels {
                Panels::F32(w) => unpack(w, output, row),
                Panels::Bf16(w) => unpack(w, output, row),
                Panels::F16(w) => unpack(w, output, row),
                Panels::Pairs(w) => {
                    let panel = &w[output / PANEL * row.len().div_ceil(2)..];
                    for (k, x) in row.iter_mut().enumerate() {
                        *x = panel[k / 2].at(output % PANEL, k % 2);
                    }
                }
            }
        });
        rows
    }

    /// `y = x @ wᵀ`. `x`: `(rows, input)`; `y`: `(rows, out)`, zeros; computed with the instructions of `arch`.
    ///
    /// # Panics
    /// If `x` and `y` do not have the same number of rows.
    pub(crate) fn product(&self, x: &[f32], y: &mut [f32], arch: Arch) {
        assert_eq!(x.len() * self.out, y.len() * self.input, "both have as many rows");
        match &self.panels {
            Panels::F32(w) => product(x, w, y, self.input, self.out, arch),
            Panels::Bf16(w) => product(x, w, y, self.input, self.out, arch),
            Panels::F16(w) => product(x, w, y, self.input, self.out, arch),
            Panels::Pairs(w) => product(&dot::pairs(x, self.input), w, y, self.input.div_ceil(2), self.out, arch),
        }
    }
}

/// One output's weights, as stored.
#[derive(Clone, Copy)]
struct StoredRow<'a> {
    bytes: &'a [u8],
    dtype: Dtype,
}

fn unpack<W: StoredWeights>(panels: &[W], output: usize, row: &mut [f32]) {
    let panel = &panels[output / PANEL * row.len()..][..row.len()];
    for (x, w) in row.iter_mut().zip(panel) {
        *x = w.at(output % PANEL);
    }
}

impl Piece<'_> {
    /// All weights, row by row.
    pub(crate) fn values(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.bytes.len() / self.dtype.size()];
        self.dtype.widen(&self.bytes, &mut values);
        values
    }

    fn rows(&self, input: usize) -> impl Iterator<Item = StoredRow<'_>> {
        let dtype = self.dtype;
        self.bytes.chunks_exact(input * dtype.size()).map(move |bytes| StoredRow { bytes, dtype })
    }
}

/// Writes the upper half of a number to an output's place.
fn put_upper(words: &mut [u32; PANEL / 2], output: usize, x: f32) {
    words[output % (PANEL / 2)] |= x.to_bits() >> 16 << (output / (PANEL / 2) * 16);
}

/// Panels of rows. `put` writes a weight, given its output and its place among the `N` that panels hold of each output.
fn pack<W: Copy + Send + Sync, const N: usize>(
    rows: &[StoredRow<'_>],
    input: usize,
    zero: W,
    put: impl Fn(&mut W, usize, usize, f32) + Sync,
) -> Vec<W> {
    // Weights of each row taken at a time: reads and writes are whole cache lines.
    const INPUTS: usize = 64;
    let len = input.div_ceil(N);
    let mut panels = vec![zero; rows.len().div_ceil(PANEL) * len];
    panels.par_chunks_mut(len).zip(rows.par_chunks(PANEL)).for_each(|(panel, rows)| {
        let mut values = [0.0; INPUTS];
        for (block, panel) in panel.chunks_mut(INPUTS / N).enumerate() {
            let values = &mut values[..INPUTS.min(input - block * INPUTS)];
            for (output, StoredRow { bytes, dtype }) in rows.iter().enumerate() {
                let start = block * INPUTS * dtype.size();
                dtype.widen(&bytes[start..start + values.len() * dtype.size()], values);
                for (w, x) in panel.iter_mut().zip(values.chunks(N)) {
                    for (place, x) in x.iter().enumerate() {
                        put(w, output, place, *x);
                    }
                }
            }
        }
    });
    panels
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: usize = 300;

    /// Pseudo-random numbers between -1 and 1.
    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        (0..count).map(|i| ((i as u32).wrapping_mul(seed) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
    }

    /// The numbers of `weights`, stored in a type that can hold all of them.
    fn part(weights: &[f32], dtype: Dtype) -> Piece<'static> {
        let mut bytes = vec![0; weights.len() * dtype.size()];
        dtype.narrow(weights, &mut bytes);
        Piece { bytes: bytes.into(), dtype }
    }

    /// Weights that bf16 and half precision hold.
    fn weights(input: usize, out: usize) -> Vec<f32> {
        numbers(input * out, 2_654_435_761).iter().map(|x| (x * 128.0).round() / 128.0).collect()
    }

    fn multiply(matrix: &Matrix, x: &[f32], arch: Arch) -> Vec<u32> {
        let mut y = vec![0.0; x.len() / matrix.input * matrix.out()];
        matrix.product(x, &mut y, arch);
        y.iter().map(|y| y.to_bits()).collect()
    }

    /// Every set of instructions that this processor has.
    fn archs() -> Vec<Arch> {
        let mut archs = vec![Arch::Scalar, Arch::new()];
        #[cfg(target_arch = "x86_64")]
        archs.extend(pulp::x86::V3::try_new().map(Arch::V3));
        archs
    }

    #[test]
    fn rows_do_not_depend_on_each_other() {
        let one_thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let threads = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for (input, out) in [(128, 704), (352, 128), (128, 16), (600, 80), (2048, 300), (1100, 65), (7, 33)] {
            let x = numbers(ROWS * input, 2_246_822_519);
            let weights = weights(input, out);
            let whole = Matrix::pack(&[part(&weights, Dtype::F32)], input, None);
            let all = one_thread.install(|| multiply(&whole, &x, Arch::new()));
            for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
                let matrix = Matrix::pack(&[part(&weights, dtype)], input, None);
                for count in [1, 2, 3, 4, 5, 7, 10, 16, 63, 65, 128, 257, 300] {
                    for start in [0, 11, ROWS - count] {
                        if start + count <= ROWS {
                            let x = &x[start * input..(start + count) * input];
                            let same = threads.install(|| multiply(&matrix, x, Arch::new()))
                                == all[start * out..(start + count) * out];
                            assert!(same, "{count} rows from {start}, {input} to {out}, {dtype:?}");
                        }
                    }
                }
            }
        }
    }

    /// The oracle is the definition: one sum in order, each product fused with its addition.
    #[test]
    fn every_processor_computes_the_same_bits() {
        for (input, out) in [(100, 70), (1600, 33)] {
            let (x, weights) = (numbers(13 * input, 2_246_822_519), weights(input, out));
            let sum = |x: &[f32], w: &[f32]| x.iter().zip(w).fold(0.0_f32, |sum, (x, w)| x.mul_add(*w, sum));
            let rows = x.chunks(input);
            let sums = rows.flat_map(|x| weights.chunks(input).map(move |w| sum(x, w).to_bits()));
            let oracle: Vec<u32> = sums.collect();
            for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
                let matrix = Matrix::pack(&[part(&weights, dtype)], input, None);
                for arch in archs() {
                    assert!(multiply(&matrix, &x, arch) == oracle, "{input} to {out}, {dtype:?}, {arch:?}");
                }
            }
        }
    }

    /// Tests every 16-bit number by a product with 1.
    #[test]
    fn widens_exactly() {
        let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
        for dtype in [Dtype::BF16, Dtype::F16] {
            let keep = |bytes: &&[u8]| dtype.all_finite(bytes);
            let bytes: Vec<u8> = all.chunks(2).filter(keep).flatten().copied().collect();
            let mut wide = vec![0.0; bytes.len() / 2];
            dtype.widen(&bytes, &mut wide);
            let matrix = Matrix::pack(&[Piece { bytes: bytes.into(), dtype }], 1, None);
            for arch in archs() {
                // A sum that begins with zero turns -0 into 0.
                assert!(multiply(&matrix, &[1.0], arch).iter().zip(&wide).all(|(a, b)| *a == (b + 0.0).to_bits()));
            }
        }
    }

    #[test]
    fn infinite_weights_stay_so() {
        for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
            let mut y = [0.0; 3];
            let weights = [1.0, f32::INFINITY, f32::NAN];
            Matrix::pack(&[part(&weights, dtype)], 1, None).product(&[2.0], &mut y, Arch::new());
            assert!(y[0].is_finite() && y[1] == f32::INFINITY && y[2].is_nan(), "{dtype:?}: {y:?}");
        }
    }

    #[test]
    fn gives_back_what_it_holds() {
        let weights = weights(20, 90);
        for dtype in [Dtype::F32, Dtype::BF16, Dtype::F16] {
            let rows = Matrix::pack(&[part(&weights, dtype)], 20, None).rows(&[89, 0, 33, 16]);
            assert_eq!(rows, [&weights[1780..], &weights[..20], &weights[660..680], &weights[320..340]].concat());
        }
    }

    #[test]
    fn parts_follow_each_other() {
        let weights = weights(20, 90);
        let parts = [part(&weights[..20 * 50], Dtype::BF16), part(&weights[20 * 50..], Dtype::F32)];
        let x = numbers(40, 7_919_777);
        let whole = multiply(&Matrix::pack(&[part(&weights, Dtype::F32)], 20, None), &x, Arch::new());
        assert_eq!(multiply(&Matrix::pack(&parts, 20, None), &x, Arch::new()), whole);
    }
}
