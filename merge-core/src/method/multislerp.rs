//! Multislerp: the mean direction of any number of models, with their mean length.
//!
//! With models `xᵢ` (less the base, if there is one), weights `wᵢ` (divided by their sum if `normalize_weights`) and unit
//! vectors `uᵢ = xᵢ / (‖xᵢ‖ + ε)`:
//!
//! 1. `m = Σ wᵢuᵢ / ‖Σ wᵢuᵢ‖`;
//! 2. `T = Σ wᵢ·(uᵢ − (uᵢ·m)m)`, the models seen from `m` in its tangent plane; `n = ‖T‖ + ε`;
//! 3. `r = (m·cos n + T·sin n / n) · Σ wᵢ‖xᵢ‖`, plus the base.
//!
//! `m` is the direction of the same weighted sum, so `T` is zero but for rounding, and
//! `r = m · cos ε · Σ wᵢ‖xᵢ‖`: a linear combination of the models, whose factors follow from their
//! inner products. The kernel computes this; the tensor form follows the formula.
//!
//! Slerp for more than two models, in one step ([`super::karcher`] iterates). (mergekit; Buss & Fillmore, "Spherical averages",
//! ACM Transactions on Graphics 2001.)

use super::{
    Base, Inputs, Kernel, Method, MethodFacts, Param, Settings, TensorInputs,
    angles::{Gram, combination, product, tensors},
};
use crate::error::{Error, Result};
use candle_core::Tensor;

/// The method `multislerp`; see the module.
pub struct Multislerp;

const PARAMS: &[Param] = &[
    Param::model("weight", "share of the model in the mean direction"),
    Param::merge("normalize_weights", "divide the weights by their sum").flag(true),
    Param::merge("eps", "small number that keeps divisions from being by zero").between(0.0, 1.0).default(1e-8),
];

impl Method for Multislerp {
    fn facts(&self) -> MethodFacts {
        MethodFacts {
            name: "multislerp",
            summary: "mean direction and mean length of the models or of their task vectors; slerp for more than two",
            reference: r#"mergekit; Buss & Fillmore, "Spherical averages", ACM Transactions on Graphics 2001"#,
            base: Base::Optional,
            models: 1..=usize::MAX,
            params: PARAMS,
        }
    }

    fn refusal(&self, merge: &Settings, models: &[Settings]) -> Option<String> {
        let sum: f64 = models.iter().map(|model| model.number("weight")).sum();
        (models.len() > 1 && merge.flag("normalize_weights") && sum.abs() < 1e-8)
            .then(|| "the weights sum to zero, and `normalize_weights` divides by their sum".to_owned())
    }

    fn kernel(&self, inputs: &Inputs<'_>) -> Result<Kernel> {
        if let [_] = &*inputs.models {
            return Ok(Kernel::new(|block, out| out.copy_from_slice(&block.models[0])));
        }
        let gram = Gram::of_tensors(&tensors(&inputs.models), inputs.base.as_deref())?;
        let w = weights(&inputs.settings, inputs.models.iter().map(|model| &model.settings));
        Ok(combination(factors(&gram, &w, inputs.settings.number("eps"))?))
    }

    fn tensors(&self, inputs: &TensorInputs) -> candle_core::Result<Tensor> {
        if let [(x, ..)] = &*inputs.models {
            return Ok(x.clone());
        }
        let eps = inputs.settings.number("eps");
        let w = weights(&inputs.settings, inputs.models.iter().map(|(_, settings, _)| settings));
        let less_base = |x: &Tensor| inputs.base.as_ref().map_or_else(|| Ok(x.clone()), |b| x - b);
        let x = inputs.models.iter().map(|(x, ..)| less_base(x)).collect::<candle_core::Result<Vec<_>>>()?;
        let norms = x.iter().map(norm).collect::<candle_core::Result<Vec<_>>>()?;
        let u = x.iter().zip(&norms).map(|(x, norm)| x / (norm + eps).max(f64::MIN_POSITIVE));
        let u = u.collect::<candle_core::Result<Vec<_>>>()?;
        let sum = |w: &[f64], x: &[Tensor]| w.iter().zip(x).try_fold(x[0].zeros_like()?, |sum, (w, x)| sum + (x * *w)?);
        let m = sum(&w, &u)?;
        let length = norm(&m)?;
        let r = if is_nothing(length, &w, eps) {
            if x.len() > 2 && norms.iter().any(|norm| *norm > 0.0) {
                candle_core::bail!("{NO_MEAN}");
            }
            sum(&w, &x)?
        } else {
            let m = (m / length)?;
            let tangents = u.iter().map(|u| u - (&m * product(u, &m)?)?).collect::<candle_core::Result<Vec<_>>>()?;
            let tangent = sum(&w, &tangents)?;
            let n = norm(&tangent)? + eps;
            // The limit of sin n / n at zero is one.
            let r = ((m * n.cos())? + (tangent * if n > 0.0 { n.sin() / n } else { 1.0 })?)?;
            (r * w.iter().zip(&norms).map(|(w, norm)| w * norm).sum::<f64>())?
        };
        inputs.base.as_ref().map_or_else(|| Ok(r.clone()), |b| b + &r)
    }
}

const NO_MEAN: &str = "the directions of the models cancel out, so that they have no mean direction";

/// The weights `w`.
fn weights<'s>(merge: &Settings, models: impl Iterator<Item = &'s Settings>) -> Vec<f64> {
    let w: Vec<f64> = models.map(|settings| settings.number("weight")).collect();
    let sum = if merge.flag("normalize_weights") { w.iter().sum() } else { 1.0 };
    w.iter().map(|w| w / sum).collect()
}

/// True if the mean's length is no more than the rounding of the models' elements to `f32`.
fn is_nothing(length: f64, w: &[f64], eps: f64) -> bool {
    length <= eps.max(1e-7 * w.iter().map(|w| w.abs()).sum::<f64>())
}

/// The factor of each model in the result.
///
/// Fails if their directions cancel out.
fn factors(gram: &Gram, w: &[f64], eps: f64) -> Result<Vec<f32>> {
    let norms: Vec<f64> = (0..gram.len()).map(|i| gram.norm(i)).collect();
    // A vector of length zero adds nothing, whatever its factor.
    let m: Vec<f64> = w.iter().zip(&norms).map(|(w, norm)| w / (norm + eps).max(f64::MIN_POSITIVE)).collect();
    let length = gram.length(&m);
    if is_nothing(length, w, eps) {
        if w.len() > 2 && norms.iter().any(|norm| *norm > 0.0) {
            return Err(Error::user(NO_MEAN).hint("change the weights, or merge this tensor by `linear`"));
        }
        return Ok(w.iter().map(|w| *w as f32).collect());
    }
    let size: f64 = w.iter().zip(&norms).map(|(w, norm)| w * norm).sum();
    Ok(m.iter().map(|c| (c / length * eps.cos() * size) as f32).collect())
}

fn norm(x: &Tensor) -> candle_core::Result<f64> {
    Ok(product(x, x)?.sqrt())
}
