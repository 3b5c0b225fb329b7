//! Projections: a weight and a bias.

use super::{
    compute::{
        matrix::{Matrix, Piece},
        ops::slice,
    },
    load::{ProjectionPart, WeightSource},
};
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result as Candle, Shape, Tensor, bail};
use merge_core::error::Result;
use pulp::Arch;

/// `x @ wᵀ + bias`.
///
/// On a CPU each element of the result is one sum over the input, in order, so it depends only on
/// its row and the weights. cuBLAS does not promise this.
#[derive(Debug)]
pub(crate) struct Projection {
    weight: Weight,
    bias: Option<Tensor>, // (out)
}

#[derive(Debug)]
enum Weight {
    /// In our own layout, on a CPU.
    Packed(Matrix),
    /// On any other device, in `f32`: `(out, input)`.
    Tensor(Tensor),
}

impl Projection {
    /// `x`: `(rows, input)`; result: `(rows, out)`, contiguous.
    pub(crate) fn forward(&self, x: &Tensor) -> Candle<Tensor> {
        match (&self.weight, &self.bias) {
            (Weight::Packed(matrix), bias) => x.apply_op1_no_bwd(&Product { matrix, bias: bias.as_ref() }),
            (Weight::Tensor(weight), None) => x.matmul(&weight.t()?),
            (Weight::Tensor(weight), Some(bias)) => x.matmul(&weight.t()?)?.broadcast_add(bias),
        }
    }

    /// Weights of some outputs, `(outputs, input)`; for an embedding, whose outputs are tokens, their embeddings.
    pub(crate) fn rows(&self, outputs: &[u32]) -> Candle<Tensor> {
        match &self.weight {
            Weight::Packed(matrix) => {
                Tensor::from_vec(matrix.rows(outputs), (outputs.len(), matrix.input()), &Device::Cpu)
            }
            Weight::Tensor(weight) => weight.index_select(&Tensor::new(outputs, weight.device())?, 0),
        }
    }
}

impl WeightSource<'_> {
    /// Reads projections of the same input, side by side: one product instead of several.
    ///
    /// A part without a bias beside parts with one gets a bias of zeros.
    pub(crate) fn linear(&self, parts: &[ProjectionPart], input: usize) -> Result<Projection> {
        // Before anything is allocated whose size config.json says.
        for part in parts {
            self.dtype(&part.weight, &part.shape)?;
        }
        let tensors = parts.iter().map(|part| self.weights.tensor(&part.weight)).collect::<Result<Vec<_>>>()?;
        let pieces = parts
            .iter()
            .zip(&tensors)
            .map(|(part, tensor)| Ok(Piece { bytes: part.rows(&**tensor, input)?, dtype: tensor.dtype() }));
        let pieces = pieces.collect::<Result<Vec<_>>>()?;
        let weight = if self.device.is_cpu() {
            Weight::Packed(Matrix::pack(&pieces, input, self.dot))
        } else {
            let values: Vec<f32> = pieces.iter().flat_map(Piece::values).collect(); // (out, input)
            Weight::Tensor(Tensor::from_vec(values, ((), input), self.device)?)
        };
        Ok(Projection { weight, bias: self.biases(parts)? })
    }

    fn biases(&self, parts: &[ProjectionPart]) -> Result<Option<Tensor>> {
        let biases = parts.iter().map(|part| part.biases(self)).collect::<Result<Vec<_>>>()?;
        if biases.iter().all(Option::is_none) {
            return Ok(None);
        }
        let all = parts.iter().zip(biases).map(|(part, biases)| biases.unwrap_or_else(|| vec![0.0; part.out]));
        Ok(Some(Tensor::new(all.collect::<Vec<_>>().concat(), self.device)?)) // (out)
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
