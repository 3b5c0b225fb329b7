//! Nuslerp: slerp between two models by their weights, or between their task vectors, whole or row by row.
//!
//! With models `x₁` and `x₂` and `t = w₂ / (w₁ + w₂)` (1/2 if the weights sum to zero),
//!
//! `r = sin((1−t)θ)/sin θ · x₁ + sin(tθ)/sin θ · x₂`,
//!
//! and `(1−t)·x₁ + t·x₂` if their directions are equal or opposite. With a base `b`: `b` plus the same of `x₁ − b` and
//! `x₂ − b`. There is one angle for a whole tensor, with `nuslerp_flatten: false` one for each row (the last
//! dimension), with `nuslerp_row_wise: true` besides one for each vector along the first dimension. For two models like
//! slerp, where neither is the base; for fine-tunes of one base, take the task vectors' angle. (mergekit.)

use super::{
    Base, Block, Inputs, Kernel, Method, MethodFacts, Param, Settings, TensorInputs,
    angles::{Gram, arc, combine, tensors},
};
use crate::{error::Result, vectors::wide};
use candle_core::Tensor;
use rayon::prelude::*;

/// The method `nuslerp`; see the module.
pub struct Nuslerp;

const PARAMS: &[Param] = &[
    Param::model("weight", "the model's share of the result, relative to the other model's weight"),
    Param::merge(
        "nuslerp_row_wise",
        "if not flattened: one angle for each vector along the first dimension, not the last",
    )
    .flag(false),
    Param::merge("nuslerp_flatten", "one angle for the whole tensor").flag(true),
];

/// The vectors of a tensor that each have an angle.
enum Vectors {
    Whole,
    Rows,
    Columns,
}

impl Vectors {
    fn of(settings: &Settings, shape: &[usize]) -> Self {
        match (settings.flag("nuslerp_flatten"), settings.flag("nuslerp_row_wise")) {
            (false, true) if shape.len() > 1 => Self::Columns,
            (false, false) if shape.len() > 1 => Self::Rows,
            _ => Self::Whole,
        }
    }
}

impl Method for Nuslerp {
    fn facts(&self) -> MethodFacts {
        MethodFacts {
            name: "nuslerp",
            summary: "slerp of two models by weight, or of their task vectors; for two fine-tunes of a base",
            reference: "mergekit, https://github.com/arcee-ai/mergekit",
            base: Base::Optional,
            models: 2..=2,
            params: PARAMS,
        }
    }

    fn kernel(&self, inputs: &Inputs<'_>) -> Result<Kernel> {
        let t = interpolation(inputs.models.iter().map(|model| &model.settings));
        match Vectors::of(&inputs.settings, inputs.shape) {
            Vectors::Whole => {
                let gram = Gram::of_tensors(&tensors(&inputs.models), inputs.base.as_deref())?;
                let shares = shares(&gram, t);
                Ok(Kernel::new(move |block, out| combine_stretch(block, 0, shares, out)))
            }
            // A row lies in one block, so its angle is computed there.
            Vectors::Rows => Ok(by_rows(inputs.row(), t)),
            Vectors::Columns => by_columns(inputs, t),
        }
    }

    fn tensors(&self, inputs: &TensorInputs) -> candle_core::Result<Tensor> {
        let t = interpolation(inputs.models.iter().map(|(_, settings, _)| settings));
        let (x1, x2) = (&inputs.models[0].0, &inputs.models[1].0);
        let (len, dims) = (x1.elem_count(), x1.dims().to_vec());
        // Each as (vectors, elements of a vector).
        let rows = |x: &Tensor| match Vectors::of(&inputs.settings, &dims) {
            Vectors::Whole => x.reshape((1, len)),
            Vectors::Rows => x.reshape((len / dims[dims.len() - 1], dims[dims.len() - 1])),
            Vectors::Columns => x.reshape((dims[0], len / dims[0]))?.t()?.contiguous(),
        };
        let less_base = |x: &Tensor| rows(&inputs.base.as_ref().map_or_else(|| Ok(x.clone()), |b| x - b)?);
        let vectors = [less_base(x1)?, less_base(x2)?];
        let (c1, c2): (Vec<f32>, Vec<f32>) =
            Gram::of_rows(&vectors)?.iter().map(|gram| shares(gram, t)).map(|[c1, c2]| (c1, c2)).unzip();
        let part = |c: Vec<f32>, x: &Tensor| x.broadcast_mul(&Tensor::from_vec(c, (x.dim(0)?, 1), x.device())?);
        let r = (part(c1, &vectors[0])? + part(c2, &vectors[1])?)?;
        let r = match Vectors::of(&inputs.settings, &dims) {
            Vectors::Columns => r.t()?.reshape(dims)?,
            _ => r.reshape(dims)?,
        };
        inputs.base.as_ref().map_or_else(|| Ok(r.clone()), |b| b + &r)
    }
}

/// `t`, from the weights of the two models.
fn interpolation<'s>(models: impl Iterator<Item = &'s Settings>) -> f64 {
    let weights: Vec<f64> = models.map(|settings| settings.number("weight")).collect();
    let sum = weights[0] + weights[1];
    if sum.abs() < 1e-6 { 0.5 } else { weights[1] / sum }
}

/// The shares of two vectors at `t` of the way.
fn shares(gram: &Gram, t: f64) -> [f32; 2] {
    let norm = |i: usize| gram.norm(i).max(1e-7);
    let cos = (gram.product(0, 1) / (norm(0) * norm(1))).clamp(-1.0, 1.0);
    // Vectors are colinear if their cosine is ±1 in f32. Vectors that are opposite but for rounding have no meaningful
    // arc. (mergekit tests 1 − cos² ≤ 1e-16 on a cosine in f32, which is the same.)
    let colinear = (cos as f32).abs() >= 1.0;
    let shares = if colinear { [1.0 - t, t] } else { arc(t, cos) };
    shares.map(|c| c as f32)
}

/// Merges a stretch of a block that has one angle, from `start` of the block on.
#[inline(always)]
fn combine_stretch(block: &Block<'_>, start: usize, [c1, c2]: [f32; 2], out: &mut [f32]) {
    let [x1, x2] = [0, 1].map(|i| &block.models[i][start..start + out.len()]);
    let base = (!block.base.is_empty()).then(|| &block.base[start..start + out.len()]);
    wide(
        #[inline(always)]
        || combine(base, &[(c1, x1), (c2, x2)], out),
    );
}

/// A kernel with one angle for each row.
fn by_rows(row: usize, t: f64) -> Kernel {
    Kernel::by(row, move |block, out| {
        for (number, out) in out.chunks_mut(row).enumerate() {
            let stretch = number * row..number * row + out.len();
            let vectors = [0, 1].map(|i| &block.models[i][stretch.clone()]);
            let gram = wide(
                #[inline(always)]
                || match block.base {
                    [] => Gram::of(&vectors),
                    base => Gram::of_differences(&base[stretch.clone()], &vectors),
                },
            );
            combine_stretch(block, stretch.start, shares(&gram, t), out);
        }
    })
}

/// Number of columns that are summed at a time.
const STRIPE: usize = 1024;

/// A kernel with one angle for each vector along the first dimension. Each stripe of columns is summed row by row.
fn by_columns(inputs: &Inputs<'_>, t: f64) -> Result<Kernel> {
    let columns = (inputs.len() / inputs.shape[0].max(1)).max(1);
    let stripes: Vec<usize> = (0..columns).step_by(STRIPE).collect();
    let shares = stripes.into_par_iter().map(|first| {
        let width = STRIPE.min(columns - first);
        let mut sums = vec![[0.0; 3]; width];
        let mut room = [vec![0.0; width], vec![0.0; width], vec![0.0; width]];
        for start in (first..inputs.len()).step_by(columns) {
            let [base, x1, x2] = &mut room;
            inputs.models[0].values.read(start, x1)?;
            inputs.models[1].values.read(start, x2)?;
            if let Some(values) = &inputs.base {
                values.read(start, base)?;
            }
            for (((sums, b), x1), x2) in sums.iter_mut().zip(base).zip(x1).zip(x2) {
                let (d1, d2) = (f64::from(*x1 - *b), f64::from(*x2 - *b));
                let terms = [d1 * d1, d1 * d2, d2 * d2];
                sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
            }
        }
        Ok(sums.into_iter().map(|sums| shares(&Gram::pair(sums), t)).collect::<Vec<_>>())
    });
    let shares: Vec<[f32; 2]> = shares.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    let (c1, c2): (Vec<f32>, Vec<f32>) = shares.into_iter().map(|[c1, c2]| (c1, c2)).unzip();
    Ok(Kernel::by(columns, move |block, out| {
        wide(
            #[inline(always)]
            || {
                for (number, out) in out.chunks_mut(columns).enumerate() {
                    let stretch = number * columns..(number + 1) * columns;
                    let [x1, x2] = [0, 1].map(|i| &block.models[i][stretch.clone()]);
                    if block.base.is_empty() {
                        for ((((r, x1), x2), c1), c2) in out.iter_mut().zip(x1).zip(x2).zip(&c1).zip(&c2) {
                            *r = c1 * x1 + c2 * x2;
                        }
                    } else {
                        let base = &block.base[stretch];
                        for (((((r, x1), x2), c1), c2), b) in out.iter_mut().zip(x1).zip(x2).zip(&c1).zip(&c2).zip(base)
                        {
                            *r = b + (c1 * (x1 - b) + c2 * (x2 - b));
                        }
                    }
                }
            },
        );
    }))
}
