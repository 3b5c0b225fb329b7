//! The decoder's operations on tensors: our kernels on a CPU, tensor operations on any other device.
//!
//! The tensor operations are also the oracle the kernels are tested against.

use super::{config::Heads, kernel};
use candle_core::{CpuStorage, CustomOp1, CustomOp2, D, Layout, Result, Shape, Tensor, bail};
use merge_core::vectors::wide;
use rayon::prelude::*;

/// A stretch of new tokens of one sequence, and all the rows of the cache its last token sees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run<'a> {
    /// The new tokens.
    pub tokens: &'a [u32],
    /// Rows of the cache in order of position; the last `tokens.len()` of them are those of the new tokens.
    pub rows: &'a [u32],
}

impl Run<'_> {
    /// Position of the first new token.
    pub(super) fn position(&self) -> usize {
        self.rows.len() - self.tokens.len()
    }
}

/// The runs of a step, and which of its tokens ask.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    /// All runs of the step.
    pub runs: &'a [Run<'a>],
    /// Tokens of the step, ascending, whose attention is wanted; `None` for all.
    pub wanted: Option<&'a [u32]>,
    /// How the attention is divided.
    pub heads: Heads,
}

/// Root mean square norm of each row. `x` and result: `(tokens, hidden)`; `weight`: `(hidden)`.
pub(super) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    if x.device().is_cpu() {
        x.apply_op2_no_bwd(weight, &RmsNorm { eps: eps as f32 })
    } else {
        rms_norm_oracle(x, weight, eps)
    }
}

pub(super) fn rms_norm_oracle(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let mean = x.sqr()?.mean_keepdim(D::Minus1)?; // (tokens, 1)
    x.broadcast_div(&(mean + eps)?.sqrt()?)?.broadcast_mul(weight)
}

/// The sum of two tensors of one shape.
///
/// Candle's own addition wakes a pool of spinning threads, whatever rayon pool it is called in.
pub(super) fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.device().is_cpu() { a.apply_op2_no_bwd(b, &Add) } else { a + b }
}

/// `silu(gate) · up`. `gate_up`: `(tokens, 2 · intermediate)`; result: `(tokens, intermediate)`.
pub(super) fn swiglu(gate_up: &Tensor) -> Result<Tensor> {
    if gate_up.device().is_cpu() { gate_up.apply_op1_no_bwd(&SwiGlu) } else { swiglu_oracle(gate_up) }
}

pub(super) fn swiglu_oracle(gate_up: &Tensor) -> Result<Tensor> {
    let intermediate = gate_up.dim(1)? / 2;
    let gate = gate_up.narrow(1, 0, intermediate)?;
    gate.silu()? * gate_up.narrow(1, intermediate, intermediate)?
}

/// Rotary positions for queries and keys, values untouched.
///
/// `fused` and result: `(tokens, (query + 2 · kv heads) · size)`; `angles`: `(tokens, size)`, cosines, then sines.
pub(super) fn rotate(fused: &Tensor, angles: &Tensor, heads: Heads) -> Result<Tensor> {
    if fused.device().is_cpu() {
        fused.apply_op2_no_bwd(angles, &Rotate { heads })
    } else {
        rotate_oracle(fused, angles, heads)
    }
}

pub(super) fn rotate_oracle(fused: &Tensor, angles: &Tensor, heads: Heads) -> Result<Tensor> {
    let (tokens, half) = (fused.dim(0)?, heads.size / 2);
    let (query_len, kv_len) = (heads.query_len(), heads.kv_len());
    let turned = fused.narrow(1, 0, query_len + kv_len)?.reshape((tokens, heads.query + heads.kv, heads.size))?;
    let a = turned.narrow(2, 0, half)?; // (tokens, heads, size / 2)
    let b = turned.narrow(2, half, half)?; // (tokens, heads, size / 2)
    let cos = angles.narrow(1, 0, half)?.unsqueeze(1)?; // (tokens, 1, size / 2)
    let sin = angles.narrow(1, half, half)?.unsqueeze(1)?; // (tokens, 1, size / 2)
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    let turned = Tensor::cat(&[first, second], 2)?.reshape((tokens, query_len + kv_len))?;
    Tensor::cat(&[turned, fused.narrow(1, query_len + kv_len, kv_len)?], 1)
}

/// Softmax attention of each wanted token over the rows it sees.
///
/// `fused`: `(tokens, (query + 2 · kv heads) · size)`; `cache`: `(rows, 2 · kv heads · size)`;
/// result: `(wanted, query heads · size)`.
pub(super) fn attention(fused: &Tensor, cache: &Tensor, seen: Seen<'_>) -> Result<Tensor> {
    if fused.device().is_cpu() {
        fused.apply_op2_no_bwd(cache, &Attention { seen })
    } else {
        attention_oracle(fused, cache, seen)
    }
}

pub(super) fn attention_oracle(fused: &Tensor, cache: &Tensor, seen: Seen<'_>) -> Result<Tensor> {
    let Heads { query, kv, size } = seen.heads;
    let (device, group, kv_len) = (fused.device(), query / kv, seen.heads.kv_len());
    let mut outs = Vec::with_capacity(seen.runs.len());
    let mut first = 0;
    for run in seen.runs {
        let (new, all) = (run.tokens.len(), run.rows.len());
        let rows = cache.index_select(&Tensor::new(run.rows, device)?, 0)?; // (all, 2 · kv_len)
        let k = rows.narrow(1, 0, kv_len)?.reshape((all, kv, size))?.permute((1, 2, 0))?.contiguous()?; // (kv, size, all)
        let v = rows.narrow(1, kv_len, kv_len)?.reshape((all, kv, size))?.transpose(0, 1)?.contiguous()?; // (kv, all, size)
        let q = fused.narrow(0, first, new)?.narrow(1, 0, query * size)?.reshape((new, kv, group * size))?;
        let q = q.transpose(0, 1)?.contiguous()?.reshape((kv, new * group, size))?; // (kv, new · group, size)
        let mask: Vec<f32> = (0..new)
            .flat_map(|i| (0..all).map(move |t| if t <= run.position() + i { 0.0 } else { f32::NEG_INFINITY }))
            .collect();
        let mask = Tensor::from_vec(mask, (1, new, 1, all), device)?;
        let scores = (q.matmul(&k)? * (1.0 / (size as f64).sqrt()))?; // (kv, new · group, all)
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

struct RmsNorm {
    eps: f32,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (slice(x, xl)?, slice(w, wl)?);
        let mut out = vec![0.0; x.len()]; // (tokens, hidden)
        each_row(&mut out, w.len(), |row, out| {
            kernel::rms_norm(&x[row * w.len()..(row + 1) * w.len()], w, self.eps, out);
        });
        Ok((CpuStorage::F32(out), xl.shape().clone()))
    }
}

struct Add;

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(&self, a: &CpuStorage, al: &Layout, b: &CpuStorage, bl: &Layout) -> Result<(CpuStorage, Shape)> {
        let sum = slice(a, al)?.iter().zip(slice(b, bl)?).map(|(a, b)| a + b).collect();
        Ok((CpuStorage::F32(sum), al.shape().clone()))
    }
}

struct SwiGlu;

impl CustomOp1 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (tokens, both) = layout.shape().dims2()?;
        let x = slice(x, layout)?;
        let mut out = vec![0.0; x.len() / 2]; // (tokens, intermediate)
        each_row(&mut out, both / 2, |row, out| kernel::swiglu(&x[row * both..(row + 1) * both], out));
        Ok((CpuStorage::F32(out), (tokens, both / 2).into()))
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
        let Heads { size, .. } = self.heads;
        let turned = self.heads.query_len() + self.heads.kv_len();
        let mut out = x.to_vec(); // (tokens, fused)
        each_row(&mut out, self.heads.fused_len(), |row, out| {
            let (cos, sin) = angles[row * size..(row + 1) * size].split_at(size / 2);
            kernel::rotate(&mut out[..turned], cos, sin);
        });
        Ok((CpuStorage::F32(out), xl.shape().clone()))
    }
}

struct Attention<'a> {
    seen: Seen<'a>,
}

impl CustomOp2 for Attention<'_> {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, x: &CpuStorage, xl: &Layout, cache: &CpuStorage, cl: &Layout) -> Result<(CpuStorage, Shape)> {
        let (x, cache) = (slice(x, xl)?, slice(cache, cl)?);
        let Seen { runs, wanted, heads } = self.seen;
        // What each token of the step sees: its run's rows up to its own.
        let seen: Vec<&[u32]> =
            runs.iter().flat_map(|run| (run.position()..run.rows.len()).map(|last| &run.rows[..=last])).collect();
        let (fused, query_len) = (heads.fused_len(), heads.query_len());
        let tokens = wanted.map_or(seen.len(), <[u32]>::len);
        let mut out = vec![0.0; tokens * query_len]; // (wanted, query_len)
        out.par_chunks_mut(query_len).enumerate().for_each_init(Vec::new, |scores, (i, out)| {
            let token = wanted.map_or(i, |wanted| wanted[i] as usize);
            let query = &x[token * fused..token * fused + query_len];
            wide(
                #[inline(always)]
                || kernel::attend(query, cache, seen[token], heads, scores, out),
            );
        });
        Ok((CpuStorage::F32(out), (tokens, query_len).into()))
    }
}

/// Rows in tasks of about 16 thousand elements, so that a task is worth its start.
fn each_row(out: &mut [f32], len: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
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

pub(super) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<f32>()?[start..end]),
        None => bail!("the kernels want contiguous tensors"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Numbers between -2 and 2 that look random.
    fn tensor(shape: (usize, usize), seed: u32) -> Tensor {
        let number = |i: usize| (i as u32 + 1).wrapping_mul(2_654_435_761).wrapping_mul(seed) >> 8;
        let values: Vec<f32> = (0..shape.0 * shape.1).map(|i| number(i) as f32 / (1 << 22) as f32 - 2.0).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn check(kernel: &Tensor, oracle: &Tensor) {
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
            let weight = tensor((1, heads.fused_len()), 5).flatten_all().unwrap();
            check(&rms_norm(&x, &weight, 1e-5).unwrap(), &rms_norm_oracle(&x, &weight, 1e-5).unwrap());
            check(&swiglu(&x).unwrap(), &swiglu_oracle(&x).unwrap());
            let angles = tensor((7, heads.size), 7);
            check(&rotate(&x, &angles, heads).unwrap(), &rotate_oracle(&x, &angles, heads).unwrap());
            let cache = tensor((50, 2 * heads.kv_len()), 11);
            let rows: Vec<u32> = (0..40).chain([45, 41, 49]).collect();
            let runs = [
                Run { tokens: &[0; 3], rows: &rows[..20] },
                Run { tokens: &[0; 1], rows: &rows },
                Run { tokens: &[0; 3], rows: &[7, 9, 8] },
            ];
            for wanted in [None, Some(&[1, 3, 6][..])] {
                let seen = Seen { runs: &runs, wanted, heads };
                check(&attention(&x, &cache, seen).unwrap(), &attention_oracle(&x, &cache, seen).unwrap());
            }
        }
    }
}
