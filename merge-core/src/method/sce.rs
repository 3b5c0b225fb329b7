//! SCE: selects the elements in which the models differ most, computes a weight for each model, erases minority signs.
//!
//! With base `b` and models `xᵢ`:
//!
//! 1. `dᵢ = xᵢ − b`; of the elements, the `k = ⌊select_topk · #{v > 0}⌋` with the greatest variance `v` over the models are
//!    kept, and the `dᵢ` of the others become zero (of equal variances, those of lower index are kept);
//! 2. `wᵢ = mean dᵢ²` over the tensor, divided by their sum (equal weights if that is less than 1e-6);
//! 3. `s = +1` if `Σ dᵢ ≥ 0`, else `−1`; a model takes part if its `dᵢ` has that sign;
//! 4. `r = b + Σ wᵢdᵢ / max(Σ wᵢ, 1e-6)`, over the models that take part.
//!
//! For fine-tunes, or models fused by distillation, of different strengths: there are no weights to tune.
//! (`FuseChat`, Wan et al., <https://arxiv.org/abs/2408.07990>.)

use super::{
    Base, Block, Inputs, Kernel, Method, MethodFacts, Param, TensorInputs,
    angles::{PART, dot, tensors},
    select::{Cut, Order, magnitude},
};
use crate::{
    error::Result,
    model::blocks::{map_blocks, sum_over_blocks},
    vectors::wide,
};
use candle_core::{DType, Tensor};

/// The method `sce`; see the module.
pub struct Sce;

const PARAMS: &[Param] =
    &[Param::merge("select_topk", "share of the elements that is kept, those in which the models differ most")
        .between(0.0, 1.0)
        .default(1.0)];

impl Method for Sce {
    fn facts(&self) -> MethodFacts {
        MethodFacts {
            name: "sce",
            summary: "task vectors where models differ most, weighted by their size, the majority's sign; nothing to tune",
            reference: r#"Wan et al., "FuseChat" (2024), https://arxiv.org/abs/2408.07990"#,
            base: Base::Required,
            models: 1..=usize::MAX,
            params: PARAMS,
        }
    }

    fn kernel(&self, inputs: &Inputs<'_>) -> Result<Kernel> {
        let kept = kept(inputs)?;
        let weights = weights(inputs, kept)?;
        Ok(Kernel::new(move |block, out| {
            wide(
                #[inline(always)]
                || merge(block, kept, &weights, out),
            );
        }))
    }

    fn tensors(&self, inputs: &TensorInputs) -> candle_core::Result<Tensor> {
        let b = inputs.base.as_ref().expect("planned with a base");
        let n = inputs.models.len() as f64;
        let mut d = inputs.models.iter().map(|(x, ..)| x - b).collect::<candle_core::Result<Vec<_>>>()?;
        let topk = inputs.settings.number("select_topk");
        if topk < 1.0 {
            let wide = d.iter().map(|d| d.to_dtype(DType::F64)).collect::<candle_core::Result<Vec<_>>>()?;
            let mean = (wide.iter().try_fold(wide[0].zeros_like()?, |sum, d| sum + d)? / n)?;
            let squares = wide.iter().map(|d| (d - &mean)?.sqr()).collect::<candle_core::Result<Vec<_>>>()?;
            let v = (squares.iter().try_fold(mean.zeros_like()?, |sum, square| sum + square)? / n)?;
            let v: Vec<f32> = v.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            let mut order: Vec<usize> = (0..v.len()).collect();
            order.sort_by(|i, j| v[*j].total_cmp(&v[*i]));
            let mut mask = vec![0f32; v.len()];
            for i in &order[..(v.iter().filter(|v| **v > 0.0).count() as f64 * topk) as usize] {
                mask[*i] = 1.0;
            }
            let mask = Tensor::from_vec(mask, b.shape(), b.device())?;
            d = d.iter().map(|d| d * &mask).collect::<candle_core::Result<Vec<_>>>()?;
        }
        let squares = d.iter().map(|d| d.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar());
        let squares = squares.collect::<candle_core::Result<Vec<f64>>>()?;
        let positive = d.iter().try_fold(b.zeros_like()?, |sum, d| sum + d)?.ge(0f32)?;
        let (mut sum, mut divisor) = (b.zeros_like()?, b.zeros_like()?);
        for (d, w) in d.iter().zip(shares(&squares, b.elem_count())) {
            let mask = positive.where_cond(&d.gt(0f32)?, &d.lt(0f32)?)?.to_dtype(DType::F32)?;
            sum = (sum + ((d * &mask)? * f64::from(w))?)?;
            divisor = (divisor + (mask * f64::from(w))?)?;
        }
        b + (sum / divisor.maximum(LEAST)?)?
    }
}

/// Smaller sums of weights count as this.
const LEAST: f32 = 1e-6;

/// Step 1: the elements that are kept.
fn kept(inputs: &Inputs<'_>) -> Result<Cut> {
    let topk = inputs.settings.number("select_topk");
    if topk >= 1.0 {
        return Ok(Cut::ALL);
    }
    let mut read = tensors(&inputs.models);
    read.push(inputs.base());
    let order = Order::new(
        &read,
        1,
        #[inline(always)]
        |_, block: &[Vec<f32>], keys: &mut [u32]| {
            let (base, models) = block.split_last().expect("the base is the last");
            let mut d = vec![0.0; models.len() * PART];
            for (number, keys) in keys.chunks_mut(PART).enumerate() {
                let d = &mut d[..models.len() * keys.len()];
                task_vectors(number * PART, base, models, d);
                variances(d, keys);
            }
        },
    );
    let [different] = sum_over_blocks(&read, 1, |_, block| {
        let (base, models) = block.split_last().expect("the base is the last");
        wide(
            #[inline(always)]
            || {
                let (mut d, mut keys) = (vec![0.0; models.len() * PART], [0; PART]);
                let mut count = 0;
                for at in (0..base.len()).step_by(PART) {
                    let len = PART.min(base.len() - at);
                    let d = &mut d[..models.len() * len];
                    task_vectors(at, base, models, d);
                    variances(d, &mut keys[..len]);
                    for key in &keys[..len] {
                        count += u32::from(*key != 0);
                    }
                }
                [f64::from(count)]
            },
        )
    })?;
    Ok(order.first(&[(different * topk) as usize])?[0])
}

/// The task vectors of the part of a block that begins at element `at`: (models, elements).
#[inline(always)]
fn task_vectors(at: usize, base: &[f32], models: &[Vec<f32>], d: &mut [f32]) {
    let len = d.len() / models.len();
    for (d, x) in d.chunks_exact_mut(len).zip(models) {
        for ((d, x), b) in d.iter_mut().zip(&x[at..]).zip(&base[at..]) {
            *d = x - b;
        }
    }
}

/// The variance of each element over the models, as a key that orders them: `Σ (dᵢ − dⱼ)² / n²`
/// over all pairs. It is exactly zero if the models do not differ.
#[inline(always)]
fn variances(d: &[f32], keys: &mut [u32]) {
    let n = d.len() / keys.len();
    let mut squares = [0.0; PART];
    for i in 0..n {
        for j in 0..i {
            let [d_i, d_j] = [i, j].map(|i| &d[i * keys.len()..(i + 1) * keys.len()]);
            for ((square, d_i), d_j) in squares.iter_mut().zip(d_i).zip(d_j) {
                let apart = f64::from(*d_i) - f64::from(*d_j);
                *square += apart * apart;
            }
        }
    }
    let share = ((n * n) as f64).recip();
    for (key, square) in keys.iter_mut().zip(&squares) {
        *key = magnitude((square * share) as f32);
    }
}

/// Like [`task_vectors`], with zeros for elements that are not kept. The block begins at `start` of the tensor.
#[inline(always)]
fn differences(start: usize, at: usize, base: &[f32], models: &[Vec<f32>], kept: Cut, d: &mut [f32]) {
    task_vectors(at, base, models, d);
    if kept == Cut::ALL {
        return;
    }
    let len = d.len() / models.len();
    let (mut keys, mut mask) = ([0; PART], [0.0; PART]);
    variances(d, &mut keys[..len]);
    for (stretch, limit) in kept.parts(start + at, len) {
        for (mask, key) in mask[stretch.clone()].iter_mut().zip(&keys[stretch]) {
            *mask = if u64::from(*key) >= limit { 1.0 } else { 0.0 };
        }
    }
    for d in d.chunks_exact_mut(len) {
        for (d, mask) in d.iter_mut().zip(&mask) {
            *d *= mask;
        }
    }
}

/// Step 2: the weights of the models.
fn weights(inputs: &Inputs<'_>, kept: Cut) -> Result<Vec<f32>> {
    let mut read = tensors(&inputs.models);
    read.push(inputs.base());
    let blocks = map_blocks(&read, 1, |start, block| {
        let (base, models) = block.split_last().expect("the base is the last");
        wide(
            #[inline(always)]
            || {
                let mut d = vec![0.0; models.len() * PART.min(base.len())];
                let mut squares = vec![0.0; models.len()];
                for at in (0..base.len()).step_by(PART) {
                    let len = PART.min(base.len() - at);
                    let d = &mut d[..models.len() * len];
                    differences(start, at, base, models, kept, d);
                    for (square, d) in squares.iter_mut().zip(d.chunks_exact(len)) {
                        *square += dot(d, d);
                    }
                }
                squares
            },
        )
    })?;
    let mut squares = vec![0.0; inputs.models.len()];
    for block in blocks {
        squares.iter_mut().zip(block).for_each(|(sum, square)| *sum += square);
    }
    Ok(shares(&squares, inputs.len()))
}

/// The weights, from the sums of squares of the task vectors.
fn shares(squares: &[f64], len: usize) -> Vec<f32> {
    let mean = |square: f64| square / len.max(1) as f64;
    let sum: f64 = squares.iter().map(|square| mean(*square)).sum();
    let share = |square: &f64| if sum < 1e-6 { 1.0 / squares.len() as f64 } else { mean(*square) / sum };
    squares.iter().map(|square| share(square) as f32).collect()
}

/// Steps 3 and 4: merges a block.
#[inline(always)]
fn merge(block: &Block<'_>, kept: Cut, weights: &[f32], out: &mut [f32]) {
    let mut d = vec![0.0; weights.len() * PART.min(out.len())];
    for (number, (out, base)) in out.chunks_mut(PART).zip(block.base.chunks(PART)).enumerate() {
        let d = &mut d[..weights.len() * out.len()];
        differences(block.start, number * PART, block.base, block.models, kept, d);
        let (mut total, mut divisor) = ([0.0f32; PART], [0.0f32; PART]);
        for d in d.chunks_exact(out.len()) {
            for (total, d) in total.iter_mut().zip(d) {
                *total += d;
            }
        }
        out.fill(0.0);
        for (w, d) in weights.iter().zip(d.chunks_exact(out.len())) {
            for (((sum, divisor), total), d) in out.iter_mut().zip(&mut divisor).zip(&total).zip(d) {
                let takes_part = if *total < 0.0 { *d < 0.0 } else { *d > 0.0 };
                *sum += if takes_part { d * w } else { 0.0 };
                *divisor += if takes_part { *w } else { 0.0 };
            }
        }
        for ((r, divisor), b) in out.iter_mut().zip(&divisor).zip(base) {
            *r = b + *r / divisor.max(LEAST);
        }
    }
}
