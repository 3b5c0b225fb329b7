//! Penalty for leaving the box: the adaptive penalty of Hansen et al. (IEEE Transactions on Evolutionary Computation
//! 13(1), 2009, [section IV.B](https://ieeexplore.ieee.org/document/4634579)), as in cmaes 0.13.1.

use super::{Fitness, gaussian::Gaussian, learning_rate::positive, ranking::number};
use nalgebra::DVector;
use serde::{Deserialize, Serialize};

/// Spread of fitness in recent generations, by which penalties are scaled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Penalty {
    /// Distances between the quartiles of fitness, the newest first.
    spreads: Vec<f64>,
}

impl Penalty {
    /// The penalty of each of the points `v` for its coordinates `reals` outside of [0, 1], in
    /// units of fitness: small while the search is near the box.
    ///
    /// `a` is the widening of the distribution (n); `mu_eff` is the selection mass.
    pub(super) fn of(
        &mut self,
        v: &[DVector<f64>],
        fitness: &[Fitness],
        gaussian: &Gaussian,
        a: &DVector<f64>,
        reals: &[usize],
        mu_eff: f64,
    ) -> Vec<f64> {
        let n = a.len() as f64;
        let spread = self.spread(fitness, 20 + (3.0 * n / v.len() as f64).ceil() as usize);
        let distribution = &gaussian.distribution;
        // A to the first power, as in cmaes.
        let variances = distribution.c.diagonal().map(positive).component_mul(a);
        let weight = 2.0 * spread / (distribution.sigma.powi(2) * variances.sum());
        let mean_log = variances.map(f64::ln).sum() / n;
        let cost = |v: &DVector<f64>, at: usize| {
            let outside = v[at] - v[at].clamp(0.0, 1.0);
            if outside == 0.0 {
                return 0.0;
            }
            let mean = distribution.mean[at];
            let far = 3.0 * distribution.sigma * variances[at].sqrt() * 1.0_f64.max(n.sqrt() / mu_eff);
            let is_far = (mean - mean.clamp(0.0, 1.0)).abs() > far;
            let weight = if is_far { weight * 1.1_f64.powf(1.0_f64.max(mu_eff / (10.0 * n))) } else { weight };
            let scale = (0.9 * (variances[at].ln() - mean_log)).exp(); // ξ
            weight * outside.powi(2) / scale
        };
        v.iter().map(|v| reals.iter().map(|at| cost(v, *at)).sum()).collect()
    }

    /// Median of the last `len` spreads, with this generation's; generations of equal fitness do not count.
    fn spread(&mut self, fitness: &[Fitness], len: usize) -> f64 {
        let mut sorted: Vec<f64> = fitness.iter().map(|f| number(*f)).collect();
        sorted.sort_by(|f, g| g.total_cmp(f));
        let spread = sorted[sorted.len() / 4] - sorted[3 * sorted.len() / 4];
        if spread.is_finite() && spread > 0.0 {
            self.spreads.insert(0, spread);
        }
        self.spreads.truncate(len);
        let mut sorted = self.spreads.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            // All have been equal so far, so any penalty ranks them alike.
            0 => 1.0,
            len if len % 2 == 1 => sorted[len / 2],
            len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
        }
    }
}
