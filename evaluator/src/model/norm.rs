//! Norms of the hidden state.

use super::{architecture::NormKind as Kind, compute::pointwise, load::WeightSource};
use candle_core::Tensor;
use merge_core::error::Result;

/// A norm of rows of one length.
#[derive(Debug)]
pub(crate) struct Norm {
    weight: Tensor,       // (len)
    bias: Option<Tensor>, // (len)
    eps: f64,
}

impl Norm {
    /// Reads `NAME.weight`, and `NAME.bias` for a layer norm.
    pub(crate) fn load(source: WeightSource<'_>, name: &str, kind: Kind, len: usize, eps: f64) -> Result<Self> {
        let weight = weights(source, name, kind, len)?;
        let bias = match kind {
            Kind::Layer => Some(source.tensor(&format!("{name}.bias"), &[len])?),
            Kind::Rms | Kind::RmsFromOne => None,
        };
        Ok(Self { weight: Tensor::from_vec(weight, len, source.device)?, bias, eps })
    }

    /// `x` and result: `(rows, len)`.
    pub(crate) fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        match &self.bias {
            Some(bias) => pointwise::layer_norm(x, &self.weight, bias, self.eps),
            None => pointwise::rms_norm(x, &self.weight, self.eps),
        }
    }
}

/// Weights of a norm, in the form in which they are multiplied.
pub(crate) fn weights(source: WeightSource<'_>, name: &str, kind: Kind, len: usize) -> Result<Vec<f32>> {
    let mut weights = source.values(&format!("{name}.weight"), &[len])?;
    if kind == Kind::RmsFromOne {
        for weight in &mut weights {
            *weight += 1.0;
        }
    }
    Ok(weights)
}
