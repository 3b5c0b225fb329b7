//! RAM: changes made by one model alone are kept whole, changes made by several are averaged.
//!
//! With base `b` and `dᵢ = xᵢ − b`, a model takes part in an element if `|dᵢ| > ε`. If `c` models do:
//!
//! `r = b + dᵢ` if `c` is 1, `r = b + Σ dᵢ / c` over those models if `c` is greater, `r = b` if `c` is 0.
//!
//! RAM+ (`ramplus_tl`) compensates for what the mean takes away: the elements that only model `i` has changed are
//! scaled by `λᵢ = 1 + r·clamp(sharedᵢ / max(uniqueᵢ, ε), 0, α)`, where `sharedᵢ` and `uniqueᵢ` are the numbers of the
//! tensor's elements that it has changed with others and alone.
//!
//! For models trained by reinforcement learning, which change few elements each. ("Reinforced agent merging", as in
//! mergekit.)

use super::{
    Base, Block, Inputs, Kernel, Method, MethodFacts, Param, Settings, TensorInputs,
    angles::{PART, tensors},
};
use crate::{error::Result, model::blocks::map_blocks, vectors::wide};
use candle_core::{DType, Tensor};

/// Keeps unique changes, and averages shared ones.
pub const RAM: Ram = Ram {
    name: "ram",
    summary: "keeps what one model alone has changed, averages what several have; for models of sparse changes",
    reference: r#""Reinforced agent merging", as in mergekit, https://github.com/arcee-ai/mergekit"#,
    params: &[EPSILON],
    scaled: false,
};

/// [`RAM`] with unique changes scaled up.
pub const RAMPLUS_TL: Ram = Ram {
    name: "ramplus_tl",
    summary: "like ram, but scales up what one model alone has changed: more if the model shares more changes with others",
    reference: r#""Reinforced agent merging", as in mergekit, https://github.com/arcee-ai/mergekit"#,
    params: &[R, ALPHA, EPSILON],
    scaled: true,
};

/// A method of this family: a row of a table.
pub struct Ram {
    name: &'static str,
    summary: &'static str,
    reference: &'static str,
    params: &'static [Param],
    scaled: bool,
}

const EPSILON: Param = Param::merge("epsilon", "largest difference from the base that does not count as a change")
    .between(0.0, f64::MAX)
    .default(1e-5);
const R: Param =
    Param::merge("r", "unique changes are scaled by 1 + r * (ratio of shared to unique changes)").default(0.1);
const ALPHA: Param =
    Param::merge("alpha", "greatest ratio of shared to unique changes that counts").between(0.0, f64::MAX).default(0.2);

impl Method for Ram {
    fn facts(&self) -> MethodFacts {
        let Self { name, summary, reference, params, .. } = *self;
        MethodFacts { name, summary, reference, base: Base::Required, models: 1..=usize::MAX, params }
    }

    fn kernel(&self, inputs: &Inputs<'_>) -> Result<Kernel> {
        let epsilon = inputs.settings.number("epsilon") as f32;
        let mut factors = vec![1.0; inputs.models.len()];
        if self.scaled {
            for (factor, [unique, shared]) in factors.iter_mut().zip(counts(inputs, epsilon)?) {
                *factor = scale(unique as f64, shared as f64, &inputs.settings);
            }
        }
        Ok(Kernel::new(move |block, out| {
            wide(
                #[inline(always)]
                || merge(block, &factors, epsilon, out),
            );
        }))
    }

    fn tensors(&self, inputs: &TensorInputs) -> candle_core::Result<Tensor> {
        let b = inputs.base.as_ref().expect("planned with a base");
        let epsilon = inputs.settings.number("epsilon") as f32;
        let mut changes = Vec::new();
        let mut count = b.zeros_like()?;
        for (x, ..) in &inputs.models {
            let d = (x - b)?;
            let changed = d.abs()?.gt(epsilon)?.to_dtype(DType::F32)?;
            count = (count + &changed)?;
            changes.push(((d * &changed)?, changed));
        }
        let alone = count.le(1f32)?.to_dtype(DType::F32)?;
        let mut sum = b.zeros_like()?;
        for (d, changed) in changes {
            let mut factor = 1.0;
            if self.scaled {
                let total = |mask: &Tensor| mask.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>();
                let unique = total(&(&changed * &alone)?)?;
                factor = scale(unique, total(&changed)? - unique, &inputs.settings);
            }
            // λ for unique changes, 1 elsewhere.
            let factors = alone.affine(f64::from(factor) - 1.0, 1.0)?;
            sum = (sum + (d * factors)?)?;
        }
        b + (sum / count.maximum(1f32)?)?
    }
}

/// `λ`, the factor of a model's unique changes, from the numbers of elements that it has changed alone and with others.
fn scale(unique: f64, shared: f64, settings: &Settings) -> f32 {
    let ratio = shared / unique.max(settings.number("epsilon")).max(f64::MIN_POSITIVE);
    (1.0 + settings.number("r") * ratio.clamp(0.0, settings.number("alpha"))) as f32
}

/// Numbers of elements that each model has changed alone, and with others.
fn counts(inputs: &Inputs<'_>, epsilon: f32) -> Result<Vec<[u64; 2]>> {
    let mut read = tensors(&inputs.models);
    read.push(inputs.base());
    let blocks = map_blocks(&read, 1, |_, block| {
        let (base, models) = block.split_last().expect("the base is the last");
        wide(
            #[inline(always)]
            || {
                let mut count = vec![0u32; base.len()];
                for x in models {
                    for ((count, x), b) in count.iter_mut().zip(x).zip(base) {
                        *count += u32::from((x - b).abs() > epsilon);
                    }
                }
                let mut sums = vec![[0; 2]; models.len()];
                for ([unique, shared], x) in sums.iter_mut().zip(models) {
                    for ((count, x), b) in count.iter().zip(x).zip(base) {
                        let changed = u64::from((x - b).abs() > epsilon);
                        *unique += changed * u64::from(*count == 1);
                        *shared += changed * u64::from(*count > 1);
                    }
                }
                sums
            },
        )
    })?;
    let mut counts = vec![[0; 2]; inputs.models.len()];
    for block in blocks {
        for (count, of_block) in counts.iter_mut().zip(block) {
            *count = [count[0] + of_block[0], count[1] + of_block[1]];
        }
    }
    Ok(counts)
}

#[inline(always)]
fn merge(block: &Block<'_>, factors: &[f32], epsilon: f32, out: &mut [f32]) {
    for (number, (out, base)) in out.chunks_mut(PART).zip(block.base.chunks(PART)).enumerate() {
        let (mut alone, mut count) = ([0.0; PART], [0.0f32; PART]);
        out.fill(0.0);
        for (factor, x) in factors.iter().zip(block.models) {
            let x = &x[number * PART..];
            for ((((sum, alone), count), x), b) in out.iter_mut().zip(&mut alone).zip(&mut count).zip(x).zip(base) {
                let d = x - b;
                let (d, one) = if d.abs() > epsilon { (d, 1.0) } else { (0.0, 0.0) };
                *sum += d;
                *alone += factor * d;
                *count += one;
            }
        }
        for (((r, alone), count), b) in out.iter_mut().zip(&alone).zip(&count).zip(base) {
            *r = b + if *count > 1.0 { *r / count } else { *alone };
        }
    }
}
