//! Arcee fusion: the base with the most important changes of one model.
//!
//! With base `b` and model `x`, row by row (the last dimension):
//!
//! 1. `p = softmax(x) + 1e-8`, `q = softmax(b) + 1e-8`; an element's importance is `|x − b|·Σ p·ln(p/q)`, the sum over its row;
//! 2. the threshold is `median + 1.5·(q₃ − q₁)` of the importance over the tensor, where a quantile is the element of
//!    rank `⌊q·(n−1)⌋`, exactly, for any size (mergekit takes a random sample of tensors of more than a million
//!    elements, and gives another model each time);
//! 3. `r = x` if the importance reaches the threshold, else `b`.
//!
//! For the most prominent changes of one fine-tune, on a base that otherwise stays as it is. (mergekit.)

use super::{
    Base, Inputs, Kernel, Method, MethodFacts, TensorInputs,
    select::{KeySource, Order, ascending, from_ascending},
};
use crate::{error::Result, model::blocks::map_blocks, vectors::wide};
use candle_core::Tensor;

/// The method `arcee_fusion`; see the module.
pub struct ArceeFusion;

impl Method for ArceeFusion {
    fn facts(&self) -> MethodFacts {
        MethodFacts {
            name: "arcee_fusion",
            summary: "the base with one model's most important changes; for one fine-tune that should change little",
            reference: "mergekit, https://github.com/arcee-ai/mergekit",
            base: Base::Required,
            models: 1..=1,
            params: &[],
        }
    }

    fn kernel(&self, inputs: &Inputs<'_>) -> Result<Kernel> {
        if inputs.is_empty() {
            return Ok(Kernel::new(|_, _| {}));
        }
        let (row, read) = (inputs.row(), [inputs.base(), &*inputs.models[0].values]);
        let divergences = map_blocks(&read, row, |_, block| {
            let rows = block[0].chunks_exact(row).zip(block[1].chunks_exact(row));
            rows.map(|(b, x)| divergence(x, b)).collect::<Vec<f32>>()
        })?;
        let divergences: Vec<f32> = divergences.into_iter().flatten().collect();
        let order = Order::new(
            &read,
            row,
            #[inline(always)]
            |start, block: &[Vec<f32>], keys: &mut [u32]| {
                let rows = block[0].chunks_exact(row).zip(block[1].chunks_exact(row));
                for (((b, x), keys), divergence) in
                    rows.zip(keys.chunks_exact_mut(row)).zip(&divergences[start / row..])
                {
                    for ((key, x), b) in keys.iter_mut().zip(x).zip(b) {
                        *key = ascending((x - b).abs() * divergence);
                    }
                }
            },
        );
        let threshold = threshold(&order, inputs.len())?;
        Ok(Kernel::by(row, move |block, out| {
            let divergences = &divergences[block.start / row..];
            wide(
                #[inline(always)]
                || {
                    let rows = block.base.chunks_exact(row).zip(block.models[0].chunks_exact(row));
                    for (((b, x), out), divergence) in rows.zip(out.chunks_exact_mut(row)).zip(divergences) {
                        for ((r, x), b) in out.iter_mut().zip(x).zip(b) {
                            let d = x - b;
                            *r = b + if d.abs() * divergence >= threshold { d } else { 0.0 };
                        }
                    }
                },
            );
        }))
    }

    fn tensors(&self, inputs: &TensorInputs) -> candle_core::Result<Tensor> {
        let (b, (x, ..)) = (inputs.base.as_ref().expect("planned with a base"), &inputs.models[0]);
        let (n, row) = (b.elem_count(), b.dims().last().copied().unwrap_or(1));
        let rows = |x: &Tensor| x.reshape((n / row, row));
        let (x_rows, b_rows): (Vec<Vec<f32>>, Vec<Vec<f32>>) = (rows(x)?.to_vec2()?, rows(b)?.to_vec2()?);
        let divergences: Vec<f32> = x_rows.iter().zip(&b_rows).map(|(x, b)| divergence(x, b)).collect();
        let d = (rows(x)? - rows(b)?)?;
        let importance = d.abs()?.broadcast_mul(&Tensor::from_vec(divergences, (n / row, 1), b.device())?)?;
        let mut sorted: Vec<f32> = importance.flatten_all()?.to_vec1()?;
        sorted.sort_by(f32::total_cmp);
        let important = importance.ge(limit(ranks(n).map(|rank| sorted[rank])))?.to_dtype(d.dtype())?;
        b + (d * important)?.reshape(b.shape())?
    }
}

/// `Σ p·ln(p/q)` over a row.
///
/// The logarithms almost cancel, so the rounding of `p` and `q` shows in the third digit of the sum
/// and moves elements over the threshold. Both forms and all processors therefore use this
/// function. It rounds as mergekit does with vectors of 512 bits.
fn divergence(x: &[f32], b: &[f32]) -> f32 {
    let (mut p, mut q) = (x.to_vec(), b.to_vec());
    wide(
        #[inline(always)]
        || {
            softmax(&mut p);
            softmax(&mut q);
        },
    );
    for (p, q) in p.iter_mut().zip(&q) {
        *p *= f64::from(*p / q).ln() as f32;
    }
    sums(&p).iter().sum()
}

/// `softmax(x) + 1e-8`, in place.
#[inline(always)]
fn softmax(x: &mut [f32]) {
    let greatest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for x in x.iter_mut() {
        *x = exp(*x - greatest);
    }
    let mut sums = sums(x);
    for half in [8, 4, 2, 1] {
        let (low, high) = sums.split_at_mut(half);
        low.iter_mut().zip(high).for_each(|(low, high)| *low += *high);
    }
    let scale = 1.0 / sums[0];
    for x in x.iter_mut() {
        *x = *x * scale + 1e-8;
    }
}

/// Partial sums side by side, as in a vector of 16 numbers, on any processor.
#[inline(always)]
fn sums(x: &[f32]) -> [f32; 16] {
    let mut sums = [0.0; 16];
    for x in x.chunks(16) {
        sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
    }
    sums
}

/// `eˣ` for `x ≤ 0`, to one unit in the last place: `2^q·e^s`, with a polynomial for `e^s` (SLEEF's `expf`).
#[inline(always)]
fn exp(x: f32) -> f32 {
    const LN_2: [f32; 2] = [0.693_145_75, 1.428_606_8e-6]; // its upper bits, and the rest
    let q = (x * std::f32::consts::LOG2_E).round_ties_even();
    let s = q.mul_add(-LN_2[1], q.mul_add(-LN_2[0], x));
    let u = [0.001_393_043_6, 0.008_333_361, 0.041_666_485, 0.166_666_67, 0.5];
    let u = u.iter().fold(0.000_198_527_62, |u: f32, c| u.mul_add(s, *c));
    let e = 1.0 + (s * s).mul_add(u, s);
    // Below the smallest normal number, the value is zero beside 1e-8.
    if q < -126.0 { 0.0 } else { e * f32::from_bits(((q as i32 + 127) << 23) as u32) }
}

/// The smallest importance at which the model's element is taken.
fn threshold<K: KeySource>(order: &Order<'_, K>, len: usize) -> Result<f32> {
    let keys = order.nth(&ranks(len))?;
    Ok(limit([0, 1, 2].map(|i| from_ascending(keys[i]))))
}

/// Ranks of the quartiles.
fn ranks(len: usize) -> [usize; 3] {
    [0.25, 0.5, 0.75].map(|q| (q * (len - 1) as f64) as usize)
}

fn limit([q1, median, q3]: [f32; 3]) -> f32 {
    median + 1.5 * (q3 - q1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Elements, Stored, dtype::Dtype};
    use std::borrow::Cow;

    /// mergekit's own regression test: quantiles of 0 to 11.
    #[test]
    fn quantiles_are_elements_and_exact() {
        let numbers = [7f32, 0.0, 11.0, 3.0, 5.0, 1.0, 9.0, 2.0, 10.0, 4.0, 8.0, 6.0];
        let stored = Stored::new(Dtype::F32, Cow::Owned(numbers.iter().flat_map(|x| x.to_le_bytes()).collect()));
        let tensors: [&dyn Elements; 1] = [&stored];
        let order = Order::new(&tensors, 1, |_, values: &[Vec<f32>], keys: &mut [u32]| {
            keys.iter_mut().zip(&values[0]).for_each(|(key, x)| *key = ascending(*x));
        });
        let quantiles: Vec<f32> = order.nth(&ranks(12)).unwrap().into_iter().map(from_ascending).collect();
        assert_eq!(quantiles, [2.0, 5.0, 8.0]);
        assert!((threshold(&order, 12).unwrap() - 14.0).abs() < f32::EPSILON);
    }

    /// Compares with the formula in `f64`.
    #[test]
    fn divergence_is_that_of_softmaxes() {
        let softmax = |x: &[f32]| {
            let e: Vec<f64> = x.iter().map(|x| f64::from(*x).exp()).collect();
            let sum: f64 = e.iter().sum();
            e.iter().map(|e| e / sum + 1e-8).collect::<Vec<f64>>()
        };
        let b: Vec<f32> = (0..101).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
        let x: Vec<f32> = (0..101).map(|i| b[i] + (i as f32 * 1.3).cos()).collect();
        let formula: f64 = softmax(&x).iter().zip(softmax(&b)).map(|(p, q)| p * (p / q).ln()).sum();
        // Terms are up to 0.1 in f32.
        assert!((f64::from(divergence(&x, &b)) - formula).abs() < 1e-6, "{formula}");
    }

    #[test]
    fn exp_is_right_to_the_last_place() {
        for i in 0..=200_000 {
            let x = -87.3 * (i as f32 / 200_000.0);
            let right = f64::from(x).exp();
            let place = f64::from(f32::EPSILON) * right;
            assert!((f64::from(exp(x)) - right).abs() <= place, "{x}: {}, not {right}", exp(x));
        }
        assert!(exp(-1e4) < f32::MIN_POSITIVE);
    }
}
