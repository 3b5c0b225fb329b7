//! Nearswap: the base, with the model's elements that are near to it.
//!
//! With base `b` and model `x`: `w = clamp(t / max(|x − b|, 1e-6), 0, 1)`, `r = w·x + (1−w)·b`, element by element.
//! Elements that differ by `t` or less become the model's; the others move towards it by about `t`. The result has a
//! touch of a second model without its large changes. (mergekit, after Alchemonaut's `QuartetAnemoi`.)

use super::{Base, Inputs, Kernel, Method, MethodFacts, Param, TensorInputs};
use crate::{error::Result, vectors::wide};
use candle_core::Tensor;

/// The method `nearswap`; see the module.
pub struct Nearswap;

const PARAMS: &[Param] =
    &[Param::merge("t", "greatest difference at which the model's element is taken").between(0.0, f64::MAX)];

/// Smaller differences count as this.
const LEAST: f32 = 1e-6;

impl Method for Nearswap {
    fn facts(&self) -> MethodFacts {
        MethodFacts {
            name: "nearswap",
            summary: "moves each element of the base towards one model's, by `t` at most; for a shade of a second model",
            reference: "mergekit, after QuartetAnemoi by Alchemonaut",
            base: Base::Required,
            models: 1..=1,
            params: PARAMS,
        }
    }

    fn kernel(&self, inputs: &Inputs<'_>) -> Result<Kernel> {
        let t = inputs.settings.number("t") as f32;
        Ok(Kernel::new(move |block, out| {
            wide(
                #[inline(always)]
                || {
                    for ((r, x), b) in out.iter_mut().zip(&block.models[0]).zip(block.base) {
                        let w = (t / (x - b).abs().max(LEAST)).clamp(0.0, 1.0);
                        *r = w * x + (1.0 - w) * b;
                    }
                },
            );
        }))
    }

    fn tensors(&self, inputs: &TensorInputs) -> candle_core::Result<Tensor> {
        let (b, (x, ..)) = (inputs.base.as_ref().expect("planned with a base"), &inputs.models[0]);
        let t = f64::from(inputs.settings.number("t") as f32);
        let w = ((x - b)?.abs()?.maximum(LEAST)?.recip()? * t)?.clamp(0f32, 1f32)?;
        (&w * x)? + (w.affine(-1.0, 1.0)? * b)?
    }
}
