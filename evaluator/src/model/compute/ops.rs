//! Rotation, norms of heads and attention: our kernels on a CPU, tensor operations on any other device.
//!
//! The tensor operations are also the oracle the kernels are tested against.

use super::{
    attend::attend,
    kernel,
    pointwise::{layer_norm_oracle, rms_norm_oracle, soft_cap_oracle},
};
use crate::model::config::{Attention, Heads};
use candle_core::{CpuStorage, CustomOp2, D, Layout, Result, Shape, Tensor, bail};
use merge_core::vectors::wide;
use rayon::prelude::*;

/// New tokens of one sequence, and all rows of the cache that the last of them sees.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenRun<'a> {
    /// The new tokens.
    pub tokens: &'a [u32],
    /// Rows of the cache in order of position; the last `tokens.len()` of them are those of the new tokens.
    pub rows: &'a [u32],
    /// Number of tokens that the sequence had when it was first read.
    pub whole: usize,
}

impl TokenRun<'_> {
    /// Position of the first new token.
    pub(crate) fn position(&self) -> usize {
        self.rows.len() - self.tokens.len()
    }
}

/// Runs of a step, and the tokens whose attention is wanted.
#[derive(Clone, Copy)]
pub(crate) struct StepRuns<'a> {
    /// All runs of the step.
    pub runs: &'a [TokenRun<'a>],
    /// Tokens of the step, ascending, whose attention is wanted; `None` for all.
    pub wanted: Option<&'a [u32]>,
    /// Attention of the layer.
    pub attention: Attention,
}

/// Applies rotary positions to the first elements of each query and key head; the rest and the values stay.
///
/// `fused` and result: `(tokens, (query + 2 · kv heads) · size)`; `angles`: `(tokens, turned)`, cosines, then sines.
pub(crate) fn rotate(fused: &Tensor, angles: &Tensor, heads: Heads) -> Result<Tensor> {
    if fused.device().is_cpu() {
        fused.apply_op2_no_bwd(angles, &Rotate { heads })
    } else {
        rotate_oracle(fused, angles, heads)
    }
}

pub(crate) fn rotate_oracle(fused: &Tensor, angles: &Tensor, heads: Heads) -> Result<Tensor> {
    let (tokens, half) = (fused.dim(0)?, angles.dim(1)? / 2);
    let (query_len, kv_len) = (heads.query_len(), heads.kv_len());
    let turned = fused.narrow(1, 0, query_len + kv_len)?.reshape((tokens, heads.query + heads.kv, heads.size))?;
    let a = turned.narrow(2, 0, half)?; // (tokens, heads, turned / 2)
    let b = turned.narrow(2, half, half)?; // (tokens, heads, turned / 2)
    let kept = turned.narrow(2, 2 * half, heads.size - 2 * half)?; // (tokens, heads, size - turned)
    let cos = angles.narrow(1, 0, half)?.unsqueeze(1)?; // (tokens, 1, turned / 2)
    let sin = angles.narrow(1, half, half)?.unsqueeze(1)?; // (tokens, 1, turned / 2)
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    let turned = Tensor::cat(&[first, second, kept], 2)?.reshape((tokens, query_len + kv_len))?;
    Tensor::cat(&[turned, fused.narrow(1, query_len + kv_len, kv_len)?], 1)
}

/// Applies a norm to each query and key head; values stay.
///
/// `fused` and result: `(tokens, (query + 2 · kv heads) · size)`; `weight`: `((query + kv heads) · size)`.
pub(crate) fn norm_heads(fused: &Tensor, weight: &Tensor, heads: Heads, norm: HeadNorm) -> Result<Tensor> {
    if fused.device().is_cpu() {
        fused.apply_op2_no_bwd(weight, &NormHeads { heads, norm })
    } else {
        norm_heads_oracle(fused, weight, heads, norm)
    }
}

/// Norm of a head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadNorm {
    /// True to subtract the mean first, as in a layer norm.
    pub centred: bool,
    /// Number added under the square root.
    pub eps: f64,
}

pub(crate) fn norm_heads_oracle(fused: &Tensor, weight: &Tensor, heads: Heads, norm: HeadNorm) -> Result<Tensor> {
    let (tokens, normed) = (fused.dim(0)?, heads.query + heads.kv);
    let (len, kv_len) = (normed * heads.size, heads.kv_len());
    let x = fused.narrow(1, 0, len)?.reshape((tokens, normed, heads.size))?;
    let weight = weight.reshape((1, normed, heads.size))?;
    let x = if norm.centred {
        layer_norm_oracle(&x, &weight, &weight.zeros_like()?, norm.eps)?
    } else {
        rms_norm_oracle(&x, &weight, norm.eps)?
    };
    Tensor::cat(&[x.reshape((tokens, len))?, fused.narrow(1, len, kv_len)?], 1)
}

/// Softmax attention of each wanted token over the rows it sees.
///
/// `fused`: `(tokens, (query + 2 · kv heads) · size)`; `cache`: `(rows, 2 · kv heads · size)`;
/// result: `(wanted, query heads · size)`.
pub(crate) fn attention(fused: &Tensor, cache: &Tensor, seen: StepRuns<'_>) -> Result<Tensor> {
    if fused.device().is_cpu() {
        fused.apply_op2_no_bwd(cache, &Attend { seen })
    } else {
        attention_oracle(fused, cache, seen)
    }
}

pub(crate) fn attention_oracle(fused: &Tensor, cache: &Tensor, seen: StepRuns<'_>) -> Result<Tensor> {
    let Attention { heads, scale, cap, window } = seen.attention;
    let Heads { query, kv, size } = heads;
    let (device, group, kv_len) = (fused.device(), query / kv, heads.kv_len());
    let mut outs = Vec::with_capacity(seen.runs.len());
    let mut first = 0;
    for run in seen.runs {
        let (new, all) = (run.tokens.len(), run.rows.len());
        let rows = cache.index_select(&Tensor::new(run.rows, device)?, 0)?; // (all, 2 · kv_len)
        let k = rows.narrow(1, 0, kv_len)?.reshape((all, kv, size))?.permute((1, 2, 0))?.contiguous()?; // (kv, size, all)
        let v = rows.narrow(1, kv_len, kv_len)?.reshape((all, kv, size))?.transpose(0, 1)?.contiguous()?; // (kv, all, size)
        let q = fused.narrow(0, first, new)?.narrow(1, 0, query * size)?.reshape((new, kv, group * size))?;
        let q = q.transpose(0, 1)?.contiguous()?.reshape((kv, new * group, size))?; // (kv, new · group, size)
        let sees = |token: usize, t: usize| t <= token && window.is_none_or(|window| t + window > token);
        let mask: Vec<f32> = (run.position()..all)
            .flat_map(|token| (0..all).map(move |t| if sees(token, t) { 0.0 } else { f32::NEG_INFINITY }))
            .collect();
        let mask = Tensor::from_vec(mask, (1, new, 1, all), device)?;
        let scores = (q.matmul(&k)? * f64::from(scale))?; // (kv, new · group, all)
        let scores = match cap {
            Some(cap) => soft_cap_oracle(&scores, cap)?,
            None => scores,
        };
        let scores = scores.reshape((kv, new, group, all))?.broadcast_add(&mask)?;
        let scores = candle_nn::ops::softmax(&scores, D::Minus1)?.reshape((kv, new * group, all))?;
        let out = scores.matmul(&v)?.reshape((kv, new, group * size))?; // (kv, new, group · size)
        outs.push(out.transpose(0, 1)?.reshape((new, query * size))?);
        first += new;
    }
    let out = Tensor::cat(&outs, 0)?; // (tokens, query · size)
    match seen.wanted {
        Some(wanted) => out.index_select(&Tensor::new(wanted, device)?, 0),
        None => Ok(out),
    }
}

struct Rotate {
    heads: Heads,
}

impl CustomOp2 for Rotate {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, angles: &CpuStorage, al: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, angles) = (slice(x, xl)?, slice(angles, al)?);
        let (_, turned) = al.shape().dims2()?;
        let len = self.heads.query_len() + self.heads.kv_len();
        let mut out = x.to_vec(); // (tokens, fused)
        each_row(&mut out, self.heads.fused_len(), |row, out| {
            let (cos, sin) = angles[row * turned..(row + 1) * turned].split_at(turned / 2);
            kernel::rotate(&mut out[..len], self.heads.size, cos, sin);
        });
        Ok((CpuStorage::F32(out), xl.shape().clone()))
    }
}

struct NormHeads {
    heads: Heads,
    norm: HeadNorm,
}

impl CustomOp2 for NormHeads {
    fn name(&self) -> &'static str {
        "norm-heads"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (slice(x, xl)?, slice(w, wl)?);
        let Heads { size, .. } = self.heads;
        let eps = self.norm.eps as f32;
        let (fused, no_bias) = (self.heads.fused_len(), vec![0.0; size]);
        let mut out = x.to_vec(); // (tokens, fused)
        each_row(&mut out, fused, |row, out| {
            let x = &x[row * fused..(row + 1) * fused];
            for ((x, weight), out) in x.chunks(size).zip(weight.chunks(size)).zip(out.chunks_mut(size)) {
                if self.norm.centred {
                    kernel::layer_norm(x, weight, &no_bias, eps, out);
                } else {
                    kernel::rms_norm(x, weight, eps, out);
                }
            }
        });
        Ok((CpuStorage::F32(out), xl.shape().clone()))
    }
}

struct Attend<'a> {
    seen: StepRuns<'a>,
}

impl CustomOp2 for Attend<'_> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, cache: &CpuStorage, cl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, cache) = (slice(x, xl)?, slice(cache, cl)?);
        let (tokens, _) = xl.shape().dims2()?;
        let tokens = self.seen.wanted.map_or(tokens, <[u32]>::len);
        let query_len = self.seen.attention.heads.query_len();
        let mut out = vec![0.0; tokens * query_len]; // (wanted, query_len)
        attend(x, cache, self.seen, &mut out);
        Ok((CpuStorage::F32(out), (tokens, query_len).into()))
    }
}

/// Works on rows in tasks of about 16 thousand elements, so that a task is worth its start.
pub(crate) fn each_row(out: &mut [f32], len: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let rows = (16_384 / len).max(1);
    out.par_chunks_mut(rows * len).enumerate().for_each(|(task, out)| {
        // Compiled for each level of vector instructions, which changes no bit: Rust never fuses a product and a sum.
        wide(
            #[inline(always)]
            || {
                for (i, out) in out.chunks_exact_mut(len).enumerate() {
                    work(task * rows + i, out);
                }
            },
        );
    });
}

pub(crate) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("the kernels want contiguous tensors"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use candle_core::Device;

    /// Pseudo-random numbers between -2 and 2.
    pub(in super::super) fn tensor(shape: (usize, usize), seed: u32) -> Tensor {
        let number = |i: usize| (i as u32 + 1).wrapping_mul(2_654_435_761).wrapping_mul(seed) >> 8;
        let values: Vec<f32> = (0..shape.0 * shape.1).map(|i| number(i) as f32 / (1 << 22) as f32 - 2.0).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    pub(in super::super) fn check(kernel: &Tensor, oracle: &Tensor) {
        assert_eq!(kernel.dims(), oracle.dims());
        let (kernel, oracle) = (kernel.flatten_all().unwrap(), oracle.flatten_all().unwrap());
        for (a, b) in kernel.to_vec1::<f32>().unwrap().iter().zip(oracle.to_vec1::<f32>().unwrap()) {
            assert!((a - b).abs() < 1e-5 * (1.0 + b.abs()), "{a} is not {b}");
        }
    }

    #[test]
    fn kernels_compute_what_tensor_operations_compute() {
        for heads in [(4, 2, 32), (3, 1, 20), (8, 8, 64), (2, 1, 6)] {
            let heads = Heads { query: heads.0, kv: heads.1, size: heads.2 };
            let x = tensor((7, heads.fused_len()), 3);
            for turned in [heads.size, 2, heads.size / 4 * 2] {
                let angles = tensor((7, turned), 7);
                check(&rotate(&x, &angles, heads).unwrap(), &rotate_oracle(&x, &angles, heads).unwrap());
            }
            let weight = tensor((1, (heads.query + heads.kv) * heads.size), 5).flatten_all().unwrap();
            for centred in [true, false] {
                let norm = HeadNorm { centred, eps: 1e-5 };
                let normed = norm_heads(&x, &weight, heads, norm).unwrap();
                check(&normed, &norm_heads_oracle(&x, &weight, heads, norm).unwrap());
            }
            let cache = tensor((50, 2 * heads.kv_len()), 11);
            let rows: Vec<u32> = (0..40).chain([45, 41, 49]).collect();
            let runs = [
                TokenRun { tokens: &[0; 3], rows: &rows[..20], whole: 20 },
                TokenRun { tokens: &[0; 1], rows: &rows, whole: 40 },
                TokenRun { tokens: &[0; 3], rows: &[7, 9, 8], whole: 3 },
            ];
            let scale = (heads.size as f32).powf(-0.5);
            for (wanted, cap, window) in [
                (None, None, None),
                (Some(&[1, 3, 6][..]), None, Some(1)),
                (None, Some(1.5), Some(2)),
                (Some(&[0, 3][..]), Some(30.0), Some(18)),
            ] {
                let seen = StepRuns { runs: &runs, wanted, attention: Attention { heads, scale, cap, window } };
                check(&attention(&x, &cache, seen).unwrap(), &attention_oracle(&x, &cache, seen).unwrap());
            }
        }
    }
}
