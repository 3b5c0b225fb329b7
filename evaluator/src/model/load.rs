//! Reads a model's bytes as `f32` tensors on a device, and as rows of projections, however they are stored.

use super::{architecture::Architecture, compute::Bf16Dot, config::Heads};
use candle_core::{Device, Tensor};
use merge_core::{
    error::{Error, Result},
    model::{Elements, Weights, dtype::Dtype, whole},
};
use rayon::prelude::*;
use std::borrow::Cow;

/// A model to read tensors from, and the device to put them on.
#[derive(Clone, Copy)]
pub(crate) struct WeightSource<'a> {
    /// The model.
    pub weights: &'a dyn Weights,
    /// Device to compute on.
    pub device: &'a Device,
    /// Set to multiply weights stored in bf16 by bf16, on a CPU.
    pub dot: Option<Bf16Dot>,
}

impl WeightSource<'_> {
    /// Reads a tensor of this shape, as `f32`.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        Ok(Tensor::from_vec(self.values(name, shape)?, shape, self.device)?)
    }

    /// Reads a tensor's elements.
    pub(crate) fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        self.dtype(name, shape)?;
        let mut values = vec![0.0; shape.iter().product()];
        self.weights.tensor(name)?.read(0, &mut values)?;
        Ok(values)
    }

    /// True if the model has this tensor.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.weights.index().contains_key(name)
    }

    pub(crate) fn dtype(&self, name: &str, shape: &[usize]) -> Result<Dtype> {
        let Some(meta) = self.weights.index().get(name) else {
            return Err(Error::user(format!("tensor {name} is missing")));
        };
        if meta.shape != shape {
            return Err(Error::user(format!(
                "tensor {name} has shape {:?}, but config.json requires {shape:?}",
                meta.shape
            )));
        }
        Ok(meta.dtype)
    }
}

/// Some of a projection's outputs, and how a model stores them.
#[derive(Clone, Debug)]
pub(crate) struct ProjectionPart {
    /// Name of the weight.
    pub weight: String,
    /// Shape that the weight must have.
    pub shape: Vec<usize>,
    /// Number of outputs.
    pub out: usize,
    bias: Option<String>,
    order: RowOrder,
}

/// Order of the stored rows.
#[derive(Clone, Copy, Debug)]
enum RowOrder {
    /// All rows, in order of outputs.
    Stored,
    /// The weight is stored `(in, out)`.
    Transposed,
    /// Rows of a larger tensor, from this one on.
    From(usize),
    /// Each head's query, key and value together; outputs are all queries, all keys, all values.
    Interleaved { heads: usize, size: usize },
}

impl ProjectionPart {
    /// A part stored as `NAME.weight`, `(out, input)`.
    pub(crate) fn new(name: &str, out: usize, input: usize) -> Self {
        Self { weight: format!("{name}.weight"), shape: vec![out, input], out, bias: None, order: RowOrder::Stored }
    }

    /// A part stored as `NAME.weight`, transposed if the architecture stores projections so.
    pub(crate) fn of(architecture: &Architecture, name: &str, out: usize, input: usize) -> Self {
        if !architecture.transposed {
            return Self::new(name, out, input);
        }
        Self { shape: vec![input, out], order: RowOrder::Transposed, ..Self::new(name, out, input) }
    }

    /// Queries, keys and values of all heads, stored one head after the other.
    pub(crate) fn interleaved(name: &str, heads: Heads, input: usize) -> Self {
        let order = RowOrder::Interleaved { heads: heads.query, size: heads.size };
        Self { order, ..Self::new(name, heads.fused_len(), input) }
    }

    /// Expert `number` of a tensor that holds `count` of them, `(count, out, input)`.
    pub(crate) fn expert(weight: String, [number, count]: [usize; 2], out: usize, input: usize) -> Self {
        Self { weight, shape: vec![count, out, input], out, bias: None, order: RowOrder::From(number * out) }
    }

    /// The same part with a bias.
    #[must_use]
    pub(crate) fn bias(mut self, name: Option<String>) -> Self {
        self.bias = name;
        self
    }

    /// Rows of the part, as stored elements: `(out, input)`.
    pub(crate) fn rows<'t>(&self, tensor: &'t dyn Elements, input: usize) -> Result<Cow<'t, [u8]>> {
        // Number of rows that one thread copies at a time.
        const ROWS: usize = 64;
        let size = tensor.dtype().size();
        let row = input * size;
        match self.order {
            RowOrder::Stored => return whole(tensor),
            RowOrder::From(first) => {
                if let Some(bytes) = tensor.lent() {
                    return Ok(Cow::Borrowed(&bytes[first * row..(first + self.out) * row]));
                }
                let mut rows = vec![0; self.out * row];
                let stretches = rows.par_chunks_mut(ROWS * row).enumerate();
                stretches.try_for_each(|(i, rows)| tensor.copy((first + i * ROWS) * input, rows))?;
                return Ok(Cow::Owned(rows));
            }
            RowOrder::Transposed | RowOrder::Interleaved { .. } => {}
        }
        let bytes = whole(tensor)?;
        let mut rows = vec![0; self.out * row];
        rows.par_chunks_exact_mut(row).enumerate().for_each(|(i, out)| {
            let stored = self.stored(i);
            if let RowOrder::Transposed = self.order {
                for (out, column) in out.chunks_exact_mut(size).zip(bytes.chunks_exact(self.out * size)) {
                    out.copy_from_slice(&column[stored * size..(stored + 1) * size]);
                }
            } else {
                out.copy_from_slice(&bytes[stored * row..(stored + 1) * row]);
            }
        });
        Ok(Cow::Owned(rows))
    }

    /// Biases of the part, in the order of its rows; `None` if it has none.
    pub(crate) fn biases(&self, source: &WeightSource<'_>) -> Result<Option<Vec<f32>>> {
        let Some(name) = &self.bias else { return Ok(None) };
        let stored = source.values(name, &[self.out])?;
        Ok(Some((0..self.out).map(|i| stored[self.stored(i)]).collect()))
    }

    /// Stored row of output `i`.
    fn stored(&self, i: usize) -> usize {
        match self.order {
            RowOrder::Stored | RowOrder::Transposed => i,
            RowOrder::From(first) => first + i,
            RowOrder::Interleaved { heads, size } => {
                let (kind, head) = (i / (heads * size), i / size % heads);
                (head * 3 + kind) * size + i % size
            }
        }
    }
}
