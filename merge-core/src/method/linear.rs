//! Linear: the weighted mean of the models.
//!
//! `r = Σ wᵢ·xᵢ`, divided by `Σ wᵢ` if `normalize`. The oldest merge ("model soups", Wortsman et al.,
//! <https://arxiv.org/abs/2203.05482>), and the first to try for fine-tunes of one base that are good at the same task.

use super::{Base, Inputs, Kernel, Method, MethodFacts, Param, Settings, TensorInputs};
use crate::{error::Result, vectors::wide};
use candle_core::Tensor;

/// The method `linear`; see the module.
pub struct Linear;

const PARAMS: &[Param] = &[
    Param::model("weight", "share of the model in the mean"),
    Param::merge("normalize", "divide by the sum of the weights").flag(true),
];

impl Method for Linear {
    fn facts(&self) -> MethodFacts {
        MethodFacts {
            name: "linear",
            summary: "weighted mean of the models; the one to try first for fine-tunes of one base",
            reference: r#"Wortsman et al., "Model soups" (2022), https://arxiv.org/abs/2203.05482"#,
            base: Base::Merged,
            models: 1..=usize::MAX,
            params: PARAMS,
        }
    }

    fn refusal(&self, merge: &Settings, models: &[Settings]) -> Option<String> {
        let sum: f64 = models.iter().map(|m| m.number("weight")).sum();
        (merge.flag("normalize") && sum.abs() < 1e-8)
            .then(|| "the weights sum to zero, and `normalize` divides by their sum".to_owned())
    }

    fn shares(&self, merge: &Settings, models: &[Settings]) -> Option<Vec<f64>> {
        let weights: Vec<f64> = models.iter().map(|model| model.number("weight")).collect();
        let divisor = if merge.flag("normalize") { weights.iter().sum() } else { 1.0 };
        Some(weights.iter().map(|weight| weight / divisor).collect())
    }

    fn kernel(&self, inputs: &Inputs<'_>) -> Result<Kernel> {
        let weights: Vec<f32> = inputs.models.iter().map(|m| m.settings.number("weight") as f32).collect();
        let divisor = divisor(&inputs.settings, &weights);
        Ok(Kernel::new(move |block, out| {
            wide(
                #[inline(always)]
                || {
                    out.fill(0.0);
                    for (w, x) in weights.iter().zip(block.models) {
                        for (r, x) in out.iter_mut().zip(x) {
                            // One rounding, as in PyTorch: ties of the stored type round alike.
                            *r = w.mul_add(*x, *r);
                        }
                    }
                    if let Some(divisor) = divisor {
                        for r in out.iter_mut() {
                            *r /= divisor;
                        }
                    }
                },
            );
        }))
    }

    fn tensors(&self, inputs: &TensorInputs) -> candle_core::Result<Tensor> {
        let weights: Vec<f32> = inputs.models.iter().map(|(_, s, _)| s.number("weight") as f32).collect();
        let mut r = inputs.models[0].0.zeros_like()?;
        for (w, (x, ..)) in weights.iter().zip(&inputs.models) {
            r = (r + (x * f64::from(*w))?)?;
        }
        match divisor(&inputs.settings, &weights) {
            Some(divisor) => r / f64::from(divisor),
            None => Ok(r),
        }
    }
}

fn divisor(merge: &Settings, weights: &[f32]) -> Option<f32> {
    merge.flag("normalize").then(|| weights.iter().sum())
}
