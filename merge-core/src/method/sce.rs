//! SCE: select the elements in which the models differ most, calculate a weight for each, erase the minority's sign.
//!
//! With base `b` and models `xᵢ`:
//!
//! 1. `dᵢ = xᵢ − b`; of the elements, the `k = ⌊select_topk · #{v > 0}⌋` with the greatest variance `v` over the models are
//!    kept, and the `dᵢ` of the others become zero (of equal variances, those of lower index are kept);
//! 2. `wᵢ = mean dᵢ²` over the tensor, divided by their sum (equal weights, where that is less than 1e-6);
//! 3. `s = +1` where `Σ dᵢ ≥ 0`, else `−1`; a model takes part where its `dᵢ` has that sign;
//! 4. `r = b + Σ wᵢdᵢ / max(Σ wᵢ, 1e-6)`, over those that take part.
//!
//! No weights to tune: for fine-tunes, or models fused by distillation, of different strengths.
//! (`FuseChat`, Wan et al., <https://arxiv.org/abs/2408.07990>.)

use super::{
    Base, Block, Domain, Inputs, Kernel, Method, Param, Scope, TensorInputs, Value,
    angles::{sums, tensors},
    map_blocks,
    select::{Cut, Order, magnitude},
    sum_over_blocks,
};
use crate::{error::Result, vectors::wide};
use candle_core::{DType, Tensor};

/// See the module.
pub struct Sce;

const PARAMS: &[Param] = &[
    Param {
        name: "select_topk",
        scope: Scope::Merge,
        domain: Domain::SHARE,
        default: Some(Value::Number(1.0)),
        help: "share of the elements that is kept, those in which the models differ most",
        unused: false,
    },
    Param {
        name: "int8_mask",
        scope: Scope::Merge,
        domain: Domain::Flag,
        default: Some(Value::Flag(false)),
        help: "accepted because mergekit recipes carry it; has no effect",
        unused: true,
    },
];

impl Method for Sce {
    fn name(&self) -> &'static str {
        "sce"
    }

    fn summary(&self) -> &'static str {
        "task vectors where models differ most, weighted by their size, the majority's sign; nothing to tune"
    }

    fn base(&self) -> Base {
        Base::Required
    }

    fn params(&self) -> &'static [Param] {
        PARAMS
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

/// No sum of weights counts as less.
const LEAST: f32 = 1e-6;

/// Which elements are kept: step 1.
fn kept(inputs: &Inputs<'_>) -> Result<Cut> {
    let topk = inputs.settings.number("select_topk");
    if topk >= 1.0 {
        return Ok(Cut::ALL);
    }
    let mut read = tensors(&inputs.models);
    read.push(inputs.base());
    let order = Order::new(&read, 1, |_, block: &[Vec<f32>], keys: &mut [u32]| {
        let (base, models) = block.split_last().expect("the base is the last");
        variances(base, models, keys);
    });
    let [different] = sum_over_blocks(&read, 1, |_, block| {
        let (base, models) = block.split_last().expect("the base is the last");
        let mut keys = vec![0; base.len()];
        wide(
            #[inline(always)]
            || {
                variances(base, models, &mut keys);
                [f64::from(keys.iter().map(|key| u32::from(*key != 0)).sum::<u32>())]
            },
        )
    })?;
    Ok(order.first(&[(different * topk) as usize])?[0])
}

/// The variance over the models of each element, as a key that orders them.
#[inline(always)]
fn variances(base: &[f32], models: &[Vec<f32>], keys: &mut [u32]) {
    let n = models.len() as f64;
    let (mut mean, mut squares) = (vec![0.0; base.len()], vec![0.0; base.len()]);
    for x in models {
        for ((mean, x), b) in mean.iter_mut().zip(x).zip(base) {
            *mean += f64::from(x - b);
        }
    }
    for mean in &mut mean {
        *mean /= n;
    }
    for x in models {
        for (((square, x), b), mean) in squares.iter_mut().zip(x).zip(base).zip(&mean) {
            let off = f64::from(x - b) - mean;
            *square += off * off;
        }
    }
    for (key, square) in keys.iter_mut().zip(&squares) {
        *key = magnitude((square / n) as f32);
    }
}

/// The task vectors of a stretch, zero where an element is not kept: (models, elements).
#[inline(always)]
fn differences(start: usize, base: &[f32], models: &[Vec<f32>], kept: Cut) -> Vec<f32> {
    let mut d = vec![0.0; base.len() * models.len()];
    let mut mask = vec![1.0; base.len()];
    if kept != Cut::ALL {
        let mut keys = vec![0; base.len()];
        variances(base, models, &mut keys);
        for (stretch, limit) in kept.parts(start, base.len()) {
            for (mask, key) in mask[stretch.clone()].iter_mut().zip(&keys[stretch]) {
                *mask = if u64::from(*key) >= limit { 1.0 } else { 0.0 };
            }
        }
    }
    for (d, x) in d.chunks_exact_mut(base.len()).zip(models) {
        for (((d, x), b), mask) in d.iter_mut().zip(x).zip(base).zip(&mask) {
            *d = (x - b) * mask;
        }
    }
    d
}

/// The weights of the models: step 2.
fn weights(inputs: &Inputs<'_>, kept: Cut) -> Result<Vec<f32>> {
    let mut read = tensors(&inputs.models);
    read.push(inputs.base());
    let blocks = map_blocks(&read, 1, |start, block| {
        let (base, models) = block.split_last().expect("the base is the last");
        wide(
            #[inline(always)]
            || {
                let d = differences(start, base, models, kept);
                let mut squares = vec![0.0; models.len()];
                for (square, d) in squares.iter_mut().zip(d.chunks_exact(base.len())) {
                    [*square] = sums(d, d, |d, _| [d * d]);
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

/// The weights by the sums of squares of the task vectors.
fn shares(squares: &[f64], len: usize) -> Vec<f32> {
    let mean = |square: f64| square / len.max(1) as f64;
    let sum: f64 = squares.iter().map(|square| mean(*square)).sum();
    let share = |square: &f64| if sum < 1e-6 { 1.0 / squares.len() as f64 } else { mean(*square) / sum };
    squares.iter().map(|square| share(square) as f32).collect()
}

/// Steps 3 and 4.
#[inline(always)]
fn merge(block: &Block<'_>, kept: Cut, weights: &[f32], out: &mut [f32]) {
    let d = differences(block.start, block.base, block.models, kept);
    let (mut total, mut divisor) = (vec![0.0f32; out.len()], vec![0.0f32; out.len()]);
    for d in d.chunks_exact(out.len()) {
        for (total, d) in total.iter_mut().zip(d) {
            *total += d;
        }
    }
    out.fill(0.0);
    for (w, d) in weights.iter().zip(d.chunks_exact(out.len())) {
        for (((sum, divisor), total), d) in out.iter_mut().zip(&mut divisor).zip(&total).zip(d) {
            let takes_part = *d != 0.0 && (*d < 0.0) == (*total < 0.0);
            *sum += if takes_part { d * w } else { 0.0 };
            *divisor += if takes_part { *w } else { 0.0 };
        }
    }
    for ((r, divisor), b) in out.iter_mut().zip(&divisor).zip(block.base) {
        *r = b + *r / divisor.max(LEAST);
    }
}
