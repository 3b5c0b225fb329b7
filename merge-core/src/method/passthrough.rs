//! Passthrough: one model's tensor, as it is or scaled.
//!
//! `r = scale·x`. For stacking layers (frankenmerges, such as SOLAR's depth up-scaling,
//! <https://arxiv.org/abs/2312.15166>): each slice of a recipe passes one model's layers through. With a `scale` of
//! zero for `o_proj` and `down_proj`, added layers change nothing until they are trained.

use super::{Base, Domain, Inputs, Kernel, Method, Param, Scope, TensorInputs, Value};
use crate::{error::Result, vectors::wide};
use candle_core::Tensor;
use std::ops::RangeInclusive;

/// The method `passthrough`; see the module.
pub struct Passthrough;

const PARAMS: &[Param] = &[Param {
    name: "scale",
    scope: Scope::Model,
    domain: Domain::REAL,
    default: Some(Value::Number(1.0)),
    help: "factor of the tensor",
    unused: false,
}];

impl Method for Passthrough {
    fn name(&self) -> &'static str {
        "passthrough"
    }

    fn summary(&self) -> &'static str {
        "one model's tensors as they are, or scaled; for stacking layers of several models"
    }

    fn reference(&self) -> &'static str {
        r#"Kim et al., "SOLAR 10.7B: depth up-scaling" (2023), https://arxiv.org/abs/2312.15166"#
    }

    fn base(&self) -> Base {
        Base::Merged
    }

    fn models(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn params(&self) -> &'static [Param] {
        PARAMS
    }

    fn kernel(&self, inputs: &Inputs<'_>) -> Result<Kernel> {
        let scale = inputs.models[0].settings.number("scale") as f32;
        Ok(Kernel::new(move |block, out| {
            wide(
                #[inline(always)]
                || {
                    for (r, x) in out.iter_mut().zip(&block.models[0]) {
                        *r = scale * x;
                    }
                },
            );
        }))
    }

    fn tensors(&self, inputs: &TensorInputs) -> candle_core::Result<Tensor> {
        let (x, settings, _) = &inputs.models[0];
        x * f64::from(settings.number("scale") as f32)
    }
}
