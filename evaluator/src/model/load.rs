//! From a model's bytes to `f32` tensors on a device.

use candle_core::{Device, Tensor};
use merge_core::{
    dtype::Dtype,
    error::{Error, Result},
    weights::Weights,
};

/// Where tensors come from, and where they go.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    /// The model.
    pub weights: &'a dyn Weights,
    /// Where to compute.
    pub device: &'a Device,
}

impl Source<'_> {
    /// A tensor as it is stored, in `f32`.
    pub(super) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let mut values = vec![0.0; shape.iter().product()];
        self.dtype(name, shape)?;
        self.weights.tensor(name)?.read(0, &mut values)?;
        Ok(Tensor::from_vec(values, shape, self.device)?)
    }

    pub(super) fn dtype(&self, name: &str, shape: &[usize]) -> Result<Dtype> {
        let Some(meta) = self.weights.index().get(name) else {
            return Err(Error::user(format!("tensor {name} is missing")));
        };
        if meta.shape != shape {
            return Err(Error::user(format!(
                "tensor {name} has shape {:?}, but config.json makes it {shape:?}",
                meta.shape
            )));
        }
        Ok(meta.dtype)
    }
}
