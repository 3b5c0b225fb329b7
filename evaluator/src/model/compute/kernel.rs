//! The decoder's arithmetic between its matrix products, over `f32` slices on a CPU.
//!
//! Each function computes one row from that row alone, and adds up in an order that depends only on
//! the row's length: no result depends on the number of rows or threads. Sums run in sixteen lanes,
//! which the compiler turns into vectors, and are folded in a fixed tree.

const LANES: usize = 16;

/// `x / rms(x) · weight`, equation 4 of arXiv 1910.07467.
///
/// `x`, `weight` and `out` have the hidden state's length.
#[inline(always)]
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let mean = dot(x, x) / x.len() as f32;
    let scale = 1.0 / (mean + eps).sqrt();
    for ((out, x), w) in out.iter_mut().zip(x).zip(weight) {
        *out = x * scale * w;
    }
}

/// `(x - mean) / deviation · weight + bias`, equation 3 of arXiv 1607.06450 over the whole row.
#[inline(always)]
pub(crate) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let mean = sum(x) / x.len() as f32;
    for (out, x) in out.iter_mut().zip(x) {
        *out = x - mean;
    }
    let scale = 1.0 / (dot(out, out) / x.len() as f32 + eps).sqrt();
    for ((out, w), b) in out.iter_mut().zip(weight).zip(bias) {
        *out = *out * scale * w + b;
    }
}

/// `cap · tanh(x / cap)`, in place.
#[inline(always)]
pub(crate) fn soft_cap(x: &mut [f32], cap: f32) {
    for x in x {
        // tanh u is 1 - 2 / (e^2u + 1).
        *x = cap * (1.0 - 2.0 / (exp(*x / cap * 2.0) + 1.0));
    }
}

/// Rotates the pairs `(i, i + turned / 2)` of each head by the position's angles, like `rotate_half` in transformers.
///
/// `heads` is a whole number of heads of length `size`; `cos` and `sin` have half as many elements as are turned.
#[inline(always)]
pub(crate) fn rotate(heads: &mut [f32], size: usize, cos: &[f32], sin: &[f32]) {
    for head in heads.chunks_exact_mut(size) {
        let (first, second) = head[..2 * cos.len()].split_at_mut(cos.len());
        for (((a, b), c), s) in first.iter_mut().zip(second).zip(cos).zip(sin) {
            (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
        }
    }
}

/// Turns scores into `exp(score - max)` and returns their sum. A NaN makes the sum NaN.
#[inline(always)]
pub(crate) fn exponentials(scores: &mut [f32]) -> f32 {
    let max = maximum(scores);
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = scores.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *x = exp(*x - max);
            *lane += *x;
        }
    }
    // The rest as a vector too: one exponential alone takes longer than sixteen together.
    let mut last = [max; LANES];
    last[..rest.len()].copy_from_slice(rest);
    for x in &mut last {
        *x = exp(*x - max);
    }
    for ((lane, x), out) in lanes.iter_mut().zip(last).zip(rest) {
        *out = x;
        *lane += x;
    }
    fold(lanes)
}

/// The greatest value except NaN; minus infinity if there is none.
#[inline(always)]
pub(crate) fn maximum(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = if x > lane { *x } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |max, x| if *x > max { *x } else { max })
}

/// Index of the greatest value, the first of equals; 0 if all are NaN.
pub(crate) fn argmax(values: &[f32]) -> usize {
    let max = maximum(values);
    values.iter().position(|x| *x >= max).unwrap_or(0)
}

/// `log Σ exp(values)`; NaN if a value is NaN or plus infinity, or if all are minus infinity.
pub(crate) fn log_sum_exp(values: &[f32]) -> f64 {
    let max = maximum(values);
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(exp(x - max));
        }
    }
    let sum: f64 = lanes.iter().sum::<f64>() + rest.iter().map(|x| f64::from(exp(x - max))).sum::<f64>();
    f64::from(max) + sum.ln()
}

/// Dot product: sixteen sums side by side, folded in a fixed tree.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for ((sum, x), y) in lanes.iter_mut().zip(a).zip(b) {
            *sum += x * y;
        }
    }
    for ((sum, x), y) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += x * y;
    }
    fold(lanes)
}

/// Sum: sixteen sums side by side, folded in a fixed tree.
#[inline(always)]
fn sum(x: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, x) in lanes.iter_mut().zip(chunk) {
            *sum += x;
        }
    }
    for (sum, x) in lanes.iter_mut().zip(rest) {
        *sum += x;
    }
    fold(lanes)
}

#[inline(always)]
fn fold(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// `e^x` within two units in the last place (Cephes' `expf`), without a branch, so that a loop of it becomes vectors.
///
/// Below -87 it stays at e^-87, above 88 at e^88; NaN stays NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // 1.5 · 2^23: adding it rounds to a whole number, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts; the first has few bits, so that its products are exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut p = 1.987_569_2e-4_f32;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + c;
    }
    let p = p * r * r + r + 1.0;
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_is_exact_to_two_units() {
        for i in -8700..8800 {
            let x = i as f32 / 100.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 2.5e-7, "{x}: {} {exact}", exp(x));
        }
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn greatest_value_is_defined_for_nan() {
        assert_eq!(argmax(&[f32::NAN; 20]), 0);
        assert_eq!(argmax(&[f32::NAN, 1.0, 3.0, f32::NAN, 3.0]), 2);
        assert_eq!(argmax(&[f32::NEG_INFINITY; 3]), 0);
    }
}
