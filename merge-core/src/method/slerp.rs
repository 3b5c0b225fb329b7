//! Slerp: the point between the base and one model along the arc of a great circle.
//!
//! With base `v₀` and model `v₁`, each taken as one vector, and `θ` the angle between them,
//!
//! `r = sin((1−t)θ)/sin θ · v₀ + sin(tθ)/sin θ · v₁`,
//!
//! and `(1−t)·v₀ + t·v₁` if `|cos θ| > 0.9995`. The vectors are not normalised: an arc keeps the
//! length that a mean of unlike models loses. Two models, and a `t` for each layer, make the best
//! known merges of a pair. (Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985.)

use super::{
    Base, Inputs, Kernel, Method, MethodFacts, Param, Settings, TensorInputs,
    angles::{Gram, arc, combine, product},
};
use crate::{error::Result, vectors::wide};
use candle_core::Tensor;

/// The method `slerp`; see the module.
pub struct Slerp;

const PARAMS: &[Param] = &[Param::merge("t", "how far to go: 0 is the base, 1 the model")];

impl Method for Slerp {
    fn facts(&self) -> MethodFacts {
        MethodFacts {
            name: "slerp",
            summary: "a point on the arc from the base to one model; for two models, with a `t` for each layer",
            reference: r#"Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985"#,
            base: Base::Required,
            models: 1..=1,
            params: PARAMS,
        }
    }

    fn kernel(&self, inputs: &Inputs<'_>) -> Result<Kernel> {
        let gram = Gram::of_tensors(&[inputs.base(), &*inputs.models[0].values], None)?;
        let [c0, c1] = shares([gram.product(0, 0), gram.product(0, 1), gram.product(1, 1)], &inputs.settings);
        Ok(Kernel::new(move |block, out| {
            let terms = [(c0, block.base), (c1, &*block.models[0])];
            wide(
                #[inline(always)]
                || combine(None, &terms, out),
            );
        }))
    }

    fn tensors(&self, inputs: &TensorInputs) -> candle_core::Result<Tensor> {
        let (v0, (v1, ..)) = (inputs.base.as_ref().expect("planned with a base"), &inputs.models[0]);
        let [c0, c1] = shares([product(v0, v0)?, product(v0, v1)?, product(v1, v1)?], &inputs.settings);
        (v0 * f64::from(c0))? + (v1 * f64::from(c1))?
    }
}

/// The shares of base and model, given `v₀·v₀`, `v₀·v₁` and `v₁·v₁`.
fn shares([p00, p01, p11]: [f64; 3], settings: &Settings) -> [f32; 2] {
    let t = settings.number("t");
    let norm = |square: f64| if square.sqrt() <= 1e-8 { 1.0 } else { square.sqrt() };
    let cos = (p01 / (norm(p00) * norm(p11))).clamp(-1.0, 1.0);
    let shares = if cos.abs() > 0.9995 { [1.0 - t, t] } else { arc(t, cos) };
    shares.map(|c| c as f32)
}
