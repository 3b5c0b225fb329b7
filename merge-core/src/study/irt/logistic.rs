//! Logistic regression with a ridge, which every fit of item response theory reduces to.

use nalgebra::{DMatrix, DVector};

/// One score, which the model predicts as σ(features · x + offset).
pub(super) struct Observation {
    pub(super) features: Vec<f64>,
    pub(super) offset: f64,
    pub(super) score: f64,
}

/// Maximum number of Newton steps; about five are usual.
const STEPS: usize = 50;
/// Bound of the logistic function's argument, as in mergenetic.
const ARGUMENT_BOUND: f64 = 30.0;

/// 1 / (1 + e⁻ˣ), with x within ±30.
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x.clamp(-ARGUMENT_BOUND, ARGUMENT_BOUND)).exp())
}

/// The x that maximises Σ y ln p + (1 - y) ln(1 - p) - ½ `ridge` |x - `centre`|².
pub(super) fn logistic(observations: &[Observation], centre: &[f64], ridge: f64) -> Vec<f64> {
    let centre = DVector::from_column_slice(centre);
    let features: Vec<DVector<f64>> = observations.iter().map(|o| DVector::from_column_slice(&o.features)).collect();
    let linear = |x: &DVector<f64>, i: usize| features[i].dot(x) + observations[i].offset;
    let objective = |x: &DVector<f64>| {
        // ln p = -ln(1 + e⁻ᶻ) and ln(1 - p) = ln p - z.
        let log_likelihood = |i: usize| {
            let z = linear(x, i);
            let log_p = if z > 0.0 { -(-z).exp().ln_1p() } else { z - z.exp().ln_1p() };
            log_p - (1.0 - observations[i].score) * z
        };
        (0..observations.len()).map(log_likelihood).sum::<f64>() - 0.5 * ridge * (x - &centre).norm_squared()
    };

    let mut x = centre.clone();
    let mut height = objective(&x);
    for _ in 0..STEPS {
        let mut gradient = (&centre - &x) * ridge;
        // A little more than the ridge, so that a ridge of 0 can be solved too.
        let mut curvature = DMatrix::identity(x.len(), x.len()) * (ridge + 1e-9);
        for (i, observation) in observations.iter().enumerate() {
            let p = sigmoid(linear(&x, i));
            gradient.axpy(observation.score - p, &features[i], 1.0);
            curvature.ger(p * (1.0 - p), &features[i], &features[i], 1.0);
        }
        let Some(cholesky) = curvature.cholesky() else { break };
        let mut step = cholesky.solve(&gradient);
        // A Newton step may go too far where the curve is flat.
        let mut next = objective(&(&x + &step));
        while next < height && step.norm() > 1e-12 {
            step *= 0.5;
            next = objective(&(&x + &step));
        }
        if next.is_nan() || next <= height {
            break;
        }
        x += &step;
        height = next;
        if step.norm() < 1e-10 {
            break;
        }
    }
    x.as_slice().to_vec()
}
