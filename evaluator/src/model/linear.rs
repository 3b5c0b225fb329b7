//! Projections: a weight and a bias.

use super::{
    load::Source,
    matrix::{Matrix, Part},
    ops::slice,
};
use candle_core::{CpuStorage, CustomOp1, Layout, Result as Candle, Shape, Tensor, bail};
use merge_core::{error::Result, weights::whole};
use pulp::Arch;

/// `x @ wᵀ + bias`.
///
/// On a CPU each element of the result is one sum over the input, in order: it depends on its row and on the weights alone.
/// cuBLAS promises no such thing.
#[derive(Debug)]
pub(super) struct Linear {
    weight: Weight,
    bias: Option<Tensor>, // (out)
}

#[derive(Debug)]
enum Weight {
    /// Ours, on a CPU.
    Packed(Matrix),
    /// On any other device, in `f32`: `(out, input)`.
    Tensor(Tensor),
}

impl Linear {
    /// `x`: `(rows, input)`; result: `(rows, out)`, contiguous.
    pub(super) fn forward(&self, x: &Tensor) -> Candle<Tensor> {
        match (&self.weight, &self.bias) {
            (Weight::Packed(matrix), bias) => x.apply_op1_no_bwd(&Product { matrix, bias: bias.as_ref() }),
            (Weight::Tensor(weight), None) => x.matmul(&weight.t()?),
            (Weight::Tensor(weight), Some(bias)) => x.matmul(&weight.t()?)?.broadcast_add(bias),
        }
    }
}

impl Source<'_> {
    /// Projections of the same input, side by side: one product instead of several.
    ///
    /// Each part is a name (without `.weight`) and its number of outputs.
    pub(super) fn linear(&self, parts: &[(String, usize)], input: usize, bias: bool) -> Result<Linear> {
        let mut tensors = Vec::with_capacity(parts.len());
        let mut biases = Vec::new();
        for (name, rows) in parts {
            let weight = format!("{name}.weight");
            let dtype = self.dtype(&weight, &[*rows, input])?;
            tensors.push((self.weights.tensor(&weight)?, dtype));
            if bias {
                biases.push(self.tensor(&format!("{name}.bias"), &[*rows])?);
            }
        }
        let parts = tensors.iter().map(|(tensor, dtype)| Ok(Part { bytes: whole(&**tensor)?, dtype: *dtype }));
        let bias = if bias { Some(Tensor::cat(&biases, 0)?) } else { None };
        self.packed(&parts.collect::<Result<Vec<_>>>()?, input, bias)
    }

    /// A projection of weights that are read already: parts one below the other, and `(out)` biases.
    pub(super) fn packed(&self, parts: &[Part<'_>], input: usize, bias: Option<Tensor>) -> Result<Linear> {
        if self.device.is_cpu() {
            return Ok(Linear { weight: Weight::Packed(Matrix::pack(parts, input)), bias });
        }
        let mut values = Vec::new(); // (out, input)
        for part in parts {
            let start = values.len();
            values.resize(start + part.bytes.len() / part.dtype.size(), 0.0);
            part.dtype.widen(&part.bytes, &mut values[start..]);
        }
        let out = values.len() / input;
        Ok(Linear { weight: Weight::Tensor(Tensor::from_vec(values, (out, input), self.device)?), bias })
    }
}

struct Product<'a> {
    matrix: &'a Matrix,
    bias: Option<&'a Tensor>,
}

impl CustomOp1 for Product<'_> {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Candle<(CpuStorage, Shape)> {
        let (rows, _) = layout.shape().dims2()?;
        let out = self.matrix.out();
        let mut y = vec![0.0; rows * out]; // (rows, out)
        self.matrix.product(slice(x, layout)?, &mut y, Arch::new());
        if let Some(bias) = self.bias {
            let (bias, layout) = bias.storage_and_layout();
            let candle_core::Storage::Cpu(bias) = &*bias else { bail!("the bias is not on the CPU") };
            let bias = slice(bias, layout)?;
            for y in y.chunks_exact_mut(out) {
                for (y, bias) in y.iter_mut().zip(bias) {
                    *y += bias;
                }
            }
        }
        Ok((CpuStorage::F32(y), (rows, out).into()))
    }
}
