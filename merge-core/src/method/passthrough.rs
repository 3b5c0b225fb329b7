//! Passthrough: one model's tensor, as it is or scaled.
//!
//! `r = scale·x`. For stacking layers (frankenmerges, such as SOLAR's depth up-scaling,
//! <https://arxiv.org/abs/2312.15166>): each slice of a recipe passes one model's layers through. With a `scale` of
//! zero for `o_proj` and `down_proj`, added layers change nothing until they are trained.

use super::{Base, Inputs, Kernel, Method, MethodFacts, Param, Settings, TensorInputs};
use crate::{error::Result, vectors::wide};
use candle_core::Tensor;

/// The method `passthrough`; see the module.
pub struct Passthrough;

const PARAMS: &[Param] = &[Param::model("scale", "factor of the tensor").default(1.0)];

impl Method for Passthrough {
    fn facts(&self) -> MethodFacts {
        MethodFacts {
            name: "passthrough",
            summary: "one model's tensors as they are, or scaled; for stacking layers of several models",
            reference: r#"Kim et al., "SOLAR 10.7B: depth up-scaling" (2023), https://arxiv.org/abs/2312.15166"#,
            base: Base::Merged,
            models: 1..=1,
            params: PARAMS,
        }
    }

    fn shares(&self, _merge: &Settings, models: &[Settings]) -> Option<Vec<f64>> {
        Some(models.iter().map(|model| model.number("scale")).collect())
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
