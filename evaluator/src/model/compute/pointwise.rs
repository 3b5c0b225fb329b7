//! The decoder's operations on single rows: our kernels on a CPU, tensor operations on any other device.
//!
//! The tensor operations are also the oracle the kernels are tested against. Candle's own additions and products wake a
//! pool of spinning threads, even inside another rayon pool, so none is used on a CPU.

use super::{
    kernel,
    ops::{each_row, slice},
};
use crate::model::activation::Activation;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, D, Layout, Result, Shape, Tensor};

/// Root mean square norm of each row. `x` and result: `(rows, len)`; `weight`: `(len)`.
pub(crate) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    if x.device().is_cpu() {
        x.apply_op2_no_bwd(weight, &RmsNorm { eps: eps as f32 })
    } else {
        rms_norm_oracle(x, weight, eps)
    }
}

pub(crate) fn rms_norm_oracle(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let mean = x.sqr()?.mean_keepdim(D::Minus1)?; // (…, 1)
    x.broadcast_div(&(mean + eps)?.sqrt()?)?.broadcast_mul(weight)
}

/// Layer norm of each row. `x` and result: `(rows, len)`; `weight` and `bias`: `(len)`.
pub(crate) fn layer_norm(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    if x.device().is_cpu() {
        x.apply_op3_no_bwd(weight, bias, &LayerNorm { eps: eps as f32 })
    } else {
        layer_norm_oracle(x, weight, bias, eps)
    }
}

pub(crate) fn layer_norm_oracle(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let x = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let variance = x.sqr()?.mean_keepdim(D::Minus1)?; // (…, 1)
    x.broadcast_div(&(variance + eps)?.sqrt()?)?.broadcast_mul(weight)?.broadcast_add(bias)
}

/// The sum of two tensors of one shape.
pub(crate) fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.device().is_cpu() { a.apply_op2_no_bwd(b, &Add) } else { a + b }
}

/// The product of a tensor and a number.
pub(crate) fn scale(x: &Tensor, by: f32) -> Result<Tensor> {
    if x.device().is_cpu() { x.apply_op1_no_bwd(&ScaleOp { by }) } else { x * f64::from(by) }
}

/// `cap · tanh(x / cap)` of each element of `(rows, len)`: near to `x` if that is small, never beyond ±cap.
pub(crate) fn soft_cap(x: &Tensor, cap: f32) -> Result<Tensor> {
    if x.device().is_cpu() { x.apply_op1_no_bwd(&SoftCap { cap }) } else { soft_cap_oracle(x, cap) }
}

pub(crate) fn soft_cap_oracle(x: &Tensor, cap: f32) -> Result<Tensor> {
    (x / f64::from(cap))?.tanh()? * f64::from(cap)
}

/// `act(x)`. `x` and result: `(rows, len)`.
pub(crate) fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    if x.device().is_cpu() { x.apply_op1_no_bwd(&Activate { activation }) } else { activation.oracle(x) }
}

/// `act(gate) · up`. `gate_up`: `(rows, 2 · intermediate)`; result: `(rows, intermediate)`.
pub(crate) fn gate(gate_up: &Tensor, activation: Activation) -> Result<Tensor> {
    if gate_up.device().is_cpu() {
        gate_up.apply_op1_no_bwd(&Gate { activation })
    } else {
        gate_oracle(gate_up, activation)
    }
}

pub(crate) fn gate_oracle(gate_up: &Tensor, activation: Activation) -> Result<Tensor> {
    let intermediate = gate_up.dim(1)? / 2;
    activation.oracle(&gate_up.narrow(1, 0, intermediate)?)? * gate_up.narrow(1, intermediate, intermediate)?
}

/// A row of a tensor, and its weight in a sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Term {
    pub row: u32,
    pub weight: f32,
}

/// Weighted sums of rows, each added up in the order of its terms. `x`: `(rows, len)`; `sums`: the
/// terms of each result, equally many for each; result: `(sums, len)`.
pub(crate) fn weighed_sums(x: &Tensor, sums: &[Vec<Term>]) -> Result<Tensor> {
    if x.device().is_cpu() { x.apply_op1_no_bwd(&WeighedSums { sums }) } else { weighed_sums_oracle(x, sums) }
}

pub(crate) fn weighed_sums_oracle(x: &Tensor, sums: &[Vec<Term>]) -> Result<Tensor> {
    let terms = sums.first().map_or(0, Vec::len);
    let mut total = Tensor::zeros((sums.len(), x.dim(1)?), x.dtype(), x.device())?; // (sums, len)
    for term in 0..terms {
        let rows: Vec<u32> = sums.iter().map(|terms| terms[term].row).collect();
        let weights: Vec<f32> = sums.iter().map(|terms| terms[term].weight).collect();
        let weights = Tensor::from_vec(weights, (sums.len(), 1), x.device())?;
        let rows = x.index_select(&Tensor::new(rows, x.device())?, 0)?; // (sums, len)
        total = (total + rows.broadcast_mul(&weights)?)?;
    }
    Ok(total)
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
        let mut out = vec![0.0; x.len()]; // (rows, len)
        each_row(&mut out, w.len(), |row, out| {
            kernel::rms_norm(&x[row * w.len()..(row + 1) * w.len()], w, self.eps, out);
        });
        Ok((CpuStorage::F32(out), xl.shape().clone()))
    }
}

struct LayerNorm {
    eps: f32,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
        b: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w, b) = (slice(x, xl)?, slice(w, wl)?, slice(b, bl)?);
        let mut out = vec![0.0; x.len()]; // (rows, len)
        each_row(&mut out, w.len(), |row, out| {
            kernel::layer_norm(&x[row * w.len()..(row + 1) * w.len()], w, b, self.eps, out);
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

struct ScaleOp {
    by: f32,
}

impl CustomOp1 for ScaleOp {
    fn name(&self) -> &'static str {
        "scale"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let product = slice(x, layout)?.iter().map(|x| x * self.by).collect();
        Ok((CpuStorage::F32(product), layout.shape().clone()))
    }
}

struct SoftCap {
    cap: f32,
}

impl CustomOp1 for SoftCap {
    fn name(&self) -> &'static str {
        "soft-cap"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, len) = layout.shape().dims2()?;
        let mut out = slice(x, layout)?.to_vec(); // (rows, len)
        each_row(&mut out, len, |_, out| kernel::soft_cap(out, self.cap));
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

struct Activate {
    activation: Activation,
}

impl CustomOp1 for Activate {
    fn name(&self) -> &'static str {
        "activate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, len) = layout.shape().dims2()?;
        let mut out = slice(x, layout)?.to_vec(); // (rows, len)
        each_row(&mut out, len, |_, out| self.activation.apply(out));
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }
}

struct Gate {
    activation: Activation,
}

impl CustomOp1 for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, both) = layout.shape().dims2()?;
        let x = slice(x, layout)?;
        let mut out = vec![0.0; x.len() / 2]; // (rows, intermediate)
        each_row(&mut out, both / 2, |row, out| self.activation.gate(&x[row * both..(row + 1) * both], out));
        Ok((CpuStorage::F32(out), (rows, both / 2).into()))
    }
}

struct WeighedSums<'a> {
    sums: &'a [Vec<Term>],
}

impl CustomOp1 for WeighedSums<'_> {
    fn name(&self) -> &'static str {
        "weighed-sums"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, len) = layout.shape().dims2()?;
        let x = slice(x, layout)?;
        let mut out = vec![0.0; self.sums.len() * len]; // (sums, len)
        each_row(&mut out, len, |sum, out| {
            for Term { row, weight } in &self.sums[sum] {
                let row = *row as usize * len;
                for (sum, x) in out.iter_mut().zip(&x[row..row + len]) {
                    *sum += weight * x;
                }
            }
        });
        Ok((CpuStorage::F32(out), (self.sums.len(), len).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::ops::tests::{check, tensor},
        *,
    };

    #[test]
    fn kernels_compute_what_tensor_operations_compute() {
        for len in [6, 20, 64, 202] {
            let x = tensor((7, len), 3);
            let [weight, bias] = [5, 13].map(|seed| tensor((1, len), seed).flatten_all().unwrap());
            check(&rms_norm(&x, &weight, 1e-5).unwrap(), &rms_norm_oracle(&x, &weight, 1e-5).unwrap());
            let normed = layer_norm(&x, &weight, &bias, 1e-5).unwrap();
            check(&normed, &layer_norm_oracle(&x, &weight, &bias, 1e-5).unwrap());
            check(&soft_cap(&x, 1.5).unwrap(), &soft_cap_oracle(&x, 1.5).unwrap());
            check(&scale(&x, 1.5).unwrap(), &(&x * 1.5).unwrap());
            for activation in [Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::Relu] {
                check(&activate(&x, activation).unwrap(), &activation.oracle(&x).unwrap());
                check(&gate(&x, activation).unwrap(), &gate_oracle(&x, activation).unwrap());
            }
            let term = |row, weight| Term { row, weight };
            let sums = [
                vec![term(3, 0.25), term(0, 2.0)],
                vec![term(6, 1.0), term(6, -0.5)],
                vec![term(1, 0.0), term(2, 3.0)],
            ];
            check(&weighed_sums(&x, &sums).unwrap(), &weighed_sums_oracle(&x, &sums).unwrap());
        }
    }
}
