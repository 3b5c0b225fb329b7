//! Karcher: the mean of the models on the sphere, with the mean of their lengths.
//!
//! Models `xᵢ` are taken as unit vectors `uᵢ = xᵢ/‖xᵢ‖`, all of the same weight `a`; those with
//! `‖xᵢ‖ ≤ tol` have no direction and are left out. From the direction of their sum, the mean `m`
//! moves along the sphere in steps, each in the mean direction from `m` to the models:
//!
//! `T = Σ a · θᵢ/sin θᵢ · (uᵢ − cos θᵢ·m)`, `cos θᵢ = uᵢ·m`; `m ← cos‖T‖·m + sin‖T‖·T/‖T‖`
//!
//! until `‖T‖ < tol`, or `max_iter` times. The result is `m · mean ‖xᵢ‖`. It is a linear combination of the models, so
//! the kernel takes the steps on its coefficients, and needs only the models' inner products.
//!
//! For equal shares of any number of models that are far apart, where [`super::linear`] would lose length. (Karcher,
//! "Riemannian center of mass and mollifier smoothing", Communications on Pure and Applied Mathematics 1977.)

use super::{
    Base, Inputs, Kernel, Method, MethodFacts, Param, Settings, TensorInputs,
    angles::{Gram, combination, product, tensors},
};
use crate::error::{Error, Result};
use candle_core::Tensor;
use std::f64::consts::PI;

/// The method `karcher`; see the module.
pub struct Karcher;

const PARAMS: &[Param] = &[
    Param::merge("max_iter", "steps at most").between(0.0, 1e6).default(10.0),
    Param::merge("tol", "a step shorter than this is the last; models of no greater length have no direction")
        .between(0.0, 1.0)
        .default(1e-5),
];

impl Method for Karcher {
    fn facts(&self) -> MethodFacts {
        MethodFacts {
            name: "karcher",
            summary: "mean on the sphere, by iteration; equal shares of models that are far apart",
            reference: r#"Karcher, "Riemannian center of mass and mollifier smoothing", 1977"#,
            base: Base::Merged,
            models: 1..=usize::MAX,
            params: PARAMS,
        }
    }

    fn refusal(&self, merge: &Settings, _models: &[Settings]) -> Option<String> {
        let steps = merge.number("max_iter");
        (steps.fract() != 0.0).then(|| format!("`max_iter` is {steps}, and counts whole steps"))
    }

    fn kernel(&self, inputs: &Inputs<'_>) -> Result<Kernel> {
        let gram = Gram::of_tensors(&tensors(&inputs.models), None)?;
        let factors = factors(&gram, &inputs.settings)
            .ok_or_else(|| Error::user(OPPOSITE).hint("leave a model out, or merge this tensor by `linear`"))?;
        Ok(combination(factors.into_iter().map(|c| c as f32).collect()))
    }

    fn tensors(&self, inputs: &TensorInputs) -> candle_core::Result<Tensor> {
        let (steps, tol) = (inputs.settings.number("max_iter") as usize, inputs.settings.number("tol"));
        let mut u = Vec::new();
        let mut size = 0.0;
        for (x, ..) in &inputs.models {
            let norm = product(x, x)?.sqrt();
            size += norm / inputs.models.len() as f64;
            if norm > tol {
                u.push((x / norm)?);
            }
        }
        let Some(first) = u.first() else { return inputs.models[0].0.zeros_like() };
        let a = 1.0 / u.len() as f64;
        let sum = u.iter().try_fold(first.zeros_like()?, |sum, u| sum + (u * a)?)?;
        let length = product(&sum, &sum)?.sqrt();
        let mut m = if length < tol.max(ROUNDING) { first.clone() } else { (sum / length)? };
        for _ in 0..steps {
            let mut step = m.zeros_like()?;
            for u in &u {
                let cos = product(u, &m)?.clamp(-1.0, 1.0);
                let angle = cos.acos();
                if angle > PI - OPPOSITE_ANGLE {
                    candle_core::bail!("{OPPOSITE}");
                }
                if angle >= tol {
                    step = (step + ((u - (&m * cos)?)? * (a * angle / angle.sin()))?)?;
                }
            }
            let length = product(&step, &step)?.sqrt();
            if length < tol || length == 0.0 {
                break;
            }
            m = ((m * length.cos())? + (step * (length.sin() / length))?)?;
            m = (&m / product(&m, &m)?.sqrt())?;
        }
        m * size
    }
}

const OPPOSITE: &str = "a model is the opposite of the others' mean, so that they have no single mean on the sphere";

/// Lengths of combinations of unit vectors below this are rounding errors.
const ROUNDING: f64 = 1e-7;

/// Smallest difference from 180° at which the direction from one vector to another is more than rounding.
const OPPOSITE_ANGLE: f64 = 1e-6;

/// The factor of each model in the result; `None` if a model is the opposite of the mean.
fn factors(gram: &Gram, settings: &Settings) -> Option<Vec<f64>> {
    let (steps, tol) = (settings.number("max_iter") as usize, settings.number("tol"));
    let norms: Vec<f64> = (0..gram.len()).map(|i| gram.norm(i)).collect();
    // Coefficients refer to the xᵢ: uᵢ has 1/‖xᵢ‖ at i, or 0 if it is left out.
    let unit: Vec<f64> = norms.iter().map(|norm| if *norm > tol { norm.recip() } else { 0.0 }).collect();
    let Some(first) = unit.iter().position(|c| *c > 0.0) else { return Some(unit) };
    let a = 1.0 / unit.iter().filter(|c| **c > 0.0).count() as f64;
    let mut m: Vec<f64> = unit.iter().map(|c| a * c).collect();
    let length = gram.length(&m);
    if length < tol.max(ROUNDING) {
        m.fill(0.0);
        m[first] = unit[first];
    } else {
        for c in &mut m {
            *c /= length;
        }
    }
    for _ in 0..steps {
        let mut step = vec![0.0; m.len()];
        let mut towards_m = 0.0;
        for (i, unit) in unit.iter().enumerate().filter(|(_, unit)| **unit > 0.0) {
            let cos = (unit * gram.with(i, &m)).clamp(-1.0, 1.0);
            let angle = cos.acos();
            if angle > PI - OPPOSITE_ANGLE {
                return None;
            }
            if angle >= tol && angle > 0.0 {
                let pull = a * angle / angle.sin();
                step[i] = pull * unit;
                towards_m += pull * cos;
            }
        }
        step.iter_mut().zip(&m).for_each(|(step, m)| *step -= towards_m * m);
        let length = gram.length(&step);
        if length < tol || length == 0.0 {
            break;
        }
        for (m, step) in m.iter_mut().zip(&step) {
            *m = length.cos() * *m + length.sin() / length * step;
        }
        let length = gram.length(&m);
        for c in &mut m {
            *c /= length;
        }
    }
    let size = norms.iter().sum::<f64>() / norms.len() as f64;
    Some(m.iter().map(|c| c * size).collect())
}
