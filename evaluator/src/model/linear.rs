//! Projections: a weight and a bias, laid out for the matrix product.

use super::{
    load::{Part, Source},
    product::product,
};
use candle_core::Tensor;
use merge_core::{dtype::Dtype, error::Result};
use rayon::prelude::*;

/// gemm chooses how to divide a sum of more than 512 terms by the number of rows, unless there are more columns than this.
const NARROW: usize = 64;

/// A projection, stored transposed: `(in, out)`.
///
/// That way round gemm reads the weights as they lie (`x @ wᵀ` would pack all of them in every call), and each element of
/// the result is one sum over `in`, in order, in blocks whose length depends on `in` alone. So a row's result does
/// not depend on the other rows, with two exceptions, avoided here: one row alone takes another path (a row of zeros
/// is added), and up to 64 columns and rows together are divided differently (columns of zeros are added). cuBLAS promises
/// no such thing.
#[derive(Debug)]
pub(super) struct Linear {
    weight: Tensor,       // (in, out), or (in, more than 64)
    bias: Option<Tensor>, // (out)
    out: usize,
}

impl Linear {
    /// `x`: `(rows, in)`; result: `(rows, out)`, contiguous.
    pub(super) fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let (rows, _) = x.dims2()?;
        let y = if rows == 1 {
            product(&x.pad_with_zeros(0, 0, 1)?, &self.weight)?.narrow(0, 0, 1)?
        } else {
            product(x, &self.weight)?
        };
        let y = if y.dim(1)? > self.out { y.narrow(1, 0, self.out)?.contiguous()? } else { y };
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }

    /// The weights of some outputs, `(outputs, in)`: where outputs are tokens, their embeddings.
    pub(super) fn rows(&self, outputs: &[u32]) -> candle_core::Result<Tensor> {
        self.weight.index_select(&Tensor::new(outputs, self.weight.device())?, 1)?.t()?.contiguous()
    }
}

impl Source<'_> {
    /// Projections of the same input, side by side: one product instead of several.
    ///
    /// A part without a bias beside parts with one has a bias of zeros.
    pub(super) fn linear(&self, parts: &[Part], input: usize) -> Result<Linear> {
        // Before anything is made whose size config.json says.
        let dtypes: Vec<Dtype> =
            parts.iter().map(|part| self.dtype(&part.weight, &part.shape)).collect::<Result<_>>()?;
        let out: usize = parts.iter().map(|part| part.out).sum();
        let columns = columns(input, out);
        let mut transposed = vec![0.0; input * columns]; // (in, columns)
        let mut biases = vec![0.0; out];
        let mut biased = false;
        let mut first = 0;
        for (part, dtype) in parts.iter().zip(dtypes) {
            let tensor = self.weights.tensor(&part.weight)?;
            transpose(&part.rows(&*tensor, input)?, dtype, input, &mut transposed, columns, first);
            if let Some(bias) = part.biases(self)? {
                biases[first..first + part.out].copy_from_slice(&bias);
                biased = true;
            }
            first += part.out;
        }
        let bias = if biased { Some(Tensor::from_vec(biases, out, self.device)?) } else { None };
        Ok(Linear { weight: Tensor::from_vec(transposed, (input, columns), self.device)?, bias, out })
    }
}

/// Columns of a projection's stored weight: its outputs, and zeros where gemm would divide its sums by the number of rows.
fn columns(input: usize, out: usize) -> usize {
    if out <= NARROW && input > 512 { NARROW + 16 } else { out }
}

/// Writes a `(rows, input)` tensor into columns `first..first + rows` of an `(input, columns)` one.
fn transpose(bytes: &[u8], dtype: Dtype, input: usize, out: &mut [f32], columns: usize, first: usize) {
    // A block of 64 inputs by 16 rows: its reads and its writes are whole cache lines.
    const INPUTS: usize = 64;
    const ROWS: usize = 16;
    let rows = bytes.len() / (input * dtype.size());
    out.par_chunks_mut(INPUTS * columns).enumerate().for_each(|(block, out)| {
        let inputs = out.len() / columns;
        let mut values = [0.0; INPUTS * ROWS]; // (rows of the block, inputs)
        for row in (0..rows).step_by(ROWS) {
            let count = ROWS.min(rows - row);
            for (r, values) in values.chunks_exact_mut(inputs).take(count).enumerate() {
                let start = ((row + r) * input + block * INPUTS) * dtype.size();
                dtype.widen(&bytes[start..start + inputs * dtype.size()], values);
            }
            for (i, out) in out.chunks_exact_mut(columns).enumerate() {
                for (r, out) in out[first + row..first + row + count].iter_mut().enumerate() {
                    *out = values[r * inputs + i];
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// A row's bits do not depend on how many rows there are, for sums that gemm divides and for few columns.
    #[test]
    fn rows_do_not_depend_on_each_other() {
        for (input, out) in
            [(128, 704), (352, 128), (128, 16), (600, 80), (2048, 300), (5632, 96), (1100, 65), (600, 48)]
        {
            let numbers = |count: usize, seed: u32| -> Vec<f32> {
                (0..count).map(|i| ((i as u32).wrapping_mul(seed) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
            };
            let weight = Tensor::from_vec(numbers(input * out, 2_654_435_761), (input, out), &Device::Cpu).unwrap();
            let weight = weight.pad_with_zeros(1, 0, columns(input, out) - out).unwrap();
            let linear = Linear { weight, bias: None, out };
            let x = Tensor::from_vec(numbers(300 * input, 2_246_822_519), (300, input), &Device::Cpu).unwrap();
            let rows = |start, count| {
                let y = linear.forward(&x.narrow(0, start, count).unwrap()).unwrap();
                let bits = |row: &Vec<f32>| row.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
                y.to_vec2().unwrap().iter().map(bits).collect::<Vec<_>>()
            };
            let all = rows(0, 300);
            for count in [1, 2, 3, 5, 7, 16, 32, 63, 64, 65, 128, 257] {
                for start in [0, 11, 300 - count] {
                    if start + count <= 300 {
                        let same = rows(start, count) == all[start..start + count];
                        assert!(same, "{count} rows from {start}, {input} to {out}");
                    }
                }
            }
        }
    }
}
