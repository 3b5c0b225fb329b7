//! Activation functions, by the names that `config.json` gives them.

use super::compute::kernel::exp;
use candle_core::{Result, Tensor};

/// Activation function between an MLP's projections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// `x · Φ(x)`, with the error function (arXiv 1606.08415, section 2).
    Gelu,
    /// Approximation of `Gelu` with a hyperbolic tangent (the same section).
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    /// The activation that `config.json` means by a name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Some(match name {
            "silu" | "swish" => Self::Silu,
            "gelu" | "gelu_python" => Self::Gelu,
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" | "gelu_python_tanh" => Self::GeluTanh,
            "relu" => Self::Relu,
            _ => return None,
        })
    }

    /// Applies `act(x)` to a row, in place.
    #[inline(always)]
    pub(crate) fn apply(self, x: &mut [f32]) {
        // The match is outside the loops, so that each loop becomes vectors.
        match self {
            Self::Silu => x.iter_mut().for_each(|x| *x = silu(*x)),
            Self::Gelu => x.iter_mut().for_each(|x| *x = gelu(*x)),
            Self::GeluTanh => x.iter_mut().for_each(|x| *x = gelu_tanh(*x)),
            Self::Relu => x.iter_mut().for_each(|x| *x = relu(*x)),
        }
    }

    /// Writes `act(gate) · up` of a row to `out` (arXiv 2002.05202). `gate_up` is twice as long as `out`.
    #[inline(always)]
    pub(crate) fn gate(self, gate_up: &[f32], out: &mut [f32]) {
        let (gate, up) = gate_up.split_at(out.len());
        out.copy_from_slice(gate);
        self.apply(out);
        for (out, up) in out.iter_mut().zip(up) {
            *out *= up;
        }
    }

    /// `act(x)` by tensor operations, for any shape.
    pub(crate) fn oracle(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Silu => x.silu(),
            Self::Gelu => x.gelu_erf(),
            Self::GeluTanh => x.gelu(),
            Self::Relu => x.relu(),
        }
    }
}

#[inline(always)]
fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// `½ x (1 + tanh u)` equals `x · sigmoid(2u)`.
#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    // 2 · √(2 / π)
    const TWICE: f32 = 1.595_769;
    x / (1.0 + exp(-TWICE * (x + 0.044_715 * x * x * x)))
}

/// `max(x, 0)`. Unlike `f32::max`, it keeps NaN.
#[inline(always)]
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// The error function within 4e-7, by Eigen's approximation: an odd rational function on ±4, and ±1 outside.
#[inline(always)]
fn erf(x: f32) -> f32 {
    const P: [f32; 7] = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    const Q: [f32; 5] = [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2];
    let x = if x < -4.0 { -4.0 } else { x };
    let x = if x > 4.0 { 4.0 } else { x };
    let square = x * x;
    let (mut p, mut q) = (0.0_f32, 0.0_f32);
    for c in P {
        p = p * square + c;
    }
    for c in Q {
        q = q * square + c;
    }
    x * p / q
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_function_is_exact_to_four_ten_millionths() {
        for i in -600..=600 {
            let x = f64::from(i) / 100.0;
            // Its series converges everywhere; for these x, f64 gives it to a relative error of 1e-7.
            let (mut term, mut sum) = (x, x);
            for n in 1..200 {
                term *= -x * x / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            let exact = if x.abs() < 4.0 { sum * std::f64::consts::FRAC_2_SQRT_PI } else { x.signum() };
            assert!((f64::from(erf(x as f32)) - exact).abs() < 4e-7, "{x}: {} {exact}", erf(x as f32));
        }
        assert!(erf(f32::NAN).is_nan() && relu(f32::NAN).is_nan());
    }
}
