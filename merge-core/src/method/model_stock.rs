//! Model stock: towards the mean of the models, as far as their task vectors agree.
//!
//! With base `b`, `N` models `xᵢ`, and `cos θ` the mean over all pairs of the cosine of `xᵢ − b` and `xⱼ − b`:
//!
//! `t = N·cos θ / (1 + (N−1)·cos θ)`, `r = t·mean xᵢ + (1−t)·b`
//!
//! (`t = 0` if the divisor is zero), for each tensor, or for each row (the last dimension) with `filter_wise`. No
//! parameter to tune. For several fine-tunes on the same data, each of which is the ideal model plus noise.
//! (Jang et al., <https://arxiv.org/abs/2403.19522>.)

use super::{
    Base, Inputs, Kernel, Method, MethodFacts, Param, TensorInputs,
    angles::{Gram, combination, combine, tensors},
};
use crate::{error::Result, vectors::wide};
use candle_core::Tensor;

/// The method `model_stock`; see the module.
pub struct ModelStock;

const PARAMS: &[Param] = &[Param::merge("filter_wise", "one angle for each row, not one for the tensor").flag(false)];

impl Method for ModelStock {
    fn facts(&self) -> MethodFacts {
        MethodFacts {
            name: "model_stock",
            summary: "from the base towards the mean, as far as the task vectors agree; for fine-tunes on the same data",
            reference: r#"Jang et al., "Model Stock" (2024), https://arxiv.org/abs/2403.19522"#,
            base: Base::Required,
            models: 2..=usize::MAX,
            params: PARAMS,
        }
    }

    fn kernel(&self, inputs: &Inputs<'_>) -> Result<Kernel> {
        if inputs.settings.flag("filter_wise") {
            // A row lies in one block, so its angles are computed there.
            return Ok(by_rows(inputs.row()));
        }
        let share = share(&Gram::of_tensors(&tensors(&inputs.models), Some(inputs.base()))?);
        Ok(combination(vec![share; inputs.models.len()]))
    }

    fn tensors(&self, inputs: &TensorInputs) -> candle_core::Result<Tensor> {
        let b = inputs.base.as_ref().expect("planned with a base");
        let row = match (inputs.settings.flag("filter_wise"), b.dims()) {
            (true, [.., row]) => *row,
            (true, []) => 1,
            (false, _) => b.elem_count(),
        };
        let rows = (b.elem_count() / row, row);
        let offsets = inputs.models.iter().map(|(x, ..)| (x - b)?.reshape(rows));
        let offsets = offsets.collect::<candle_core::Result<Vec<_>>>()?;
        let shares: Vec<f32> = Gram::of_rows(&offsets)?.iter().map(share).collect();
        let sum = offsets.iter().try_fold(offsets[0].zeros_like()?, |sum, d| sum + d)?;
        let moved = sum.broadcast_mul(&Tensor::from_vec(shares, (rows.0, 1), b.device())?)?;
        b + moved.reshape(b.shape())?
    }
}

/// The share of each task vector in the result: `t / N`.
fn share(offsets: &Gram) -> f32 {
    let n = offsets.len() as f64;
    let mut sum = 0.0;
    for i in 0..offsets.len() {
        for j in 0..i {
            let norms = (offsets.norm(i) * offsets.norm(j)).max(1e-6);
            sum += (offsets.product(i, j) / norms).clamp(-1.0, 1.0);
        }
    }
    let cos = sum / (n * (n - 1.0) / 2.0);
    let divisor = 1.0 + (n - 1.0) * cos;
    if divisor.abs() < 1e-6 { 0.0 } else { (cos / divisor) as f32 }
}

fn by_rows(row: usize) -> Kernel {
    Kernel::by(row, move |block, out| {
        wide(
            #[inline(always)]
            || {
                for (number, out) in out.chunks_mut(row).enumerate() {
                    let stretch = number * row..(number + 1) * row;
                    let base = &block.base[stretch.clone()];
                    let models: Vec<&[f32]> = block.models.iter().map(|x| &x[stretch.clone()]).collect();
                    let share = share(&Gram::of_differences(base, &models));
                    let terms: Vec<_> = models.into_iter().map(|x| (share, x)).collect();
                    combine(Some(base), &terms, out);
                }
            },
        );
    })
}
