//! The categorical distribution of `CatCMA` ([arXiv 2405.09962](https://arxiv.org/abs/2405.09962)): steps along the
//! natural gradient that adapt to the signal (ASNG: Akimoto et al., ICML 2019, PMLR 97:171-180), above a margin.

use super::Coordinate;
use nalgebra::DVector;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Signal-to-noise ratio that steps keep.
const ALPHA: f64 = 1.5;
/// Once all choices have settled, the probability that none leaves its most likely option is 0.73,
/// for any number of choices; the authors of `CatCMA` derive the margin from it.
const UNMOVED: f64 = 0.73;

/// The smallest probability that one of `n` integers and choices leaves its best value.
pub(super) fn margin(n: usize) -> f64 {
    1.0 - UNMOVED.powf(1.0 / n as f64)
}

/// Independent choices, with the state of ASNG.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Categorical {
    /// Probability of each option, for each choice.
    pub(super) q: Vec<Vec<f64>>,
    /// Smallest probability of an option, for each choice.
    pub(super) q_min: Vec<f64>,
    /// Length δ of the next step.
    delta: f64,
    /// Divisor Δ of steps: it grows while there is no signal.
    pub(super) divisor: f64,
    /// Moving average γ: the squared length that `s` would have without a signal.
    pub(super) gamma: f64,
    /// Moving average s of the gradient's direction. (Σ (K - 1))
    pub(super) s: DVector<f64>,
}

impl Categorical {
    /// The choices among the coordinates; `None` without a choice. `n_discrete` coordinates share the margin.
    pub(super) fn new(coordinates: &[Coordinate], n_discrete: usize) -> Option<Self> {
        let starts = coordinates.iter().filter_map(|coordinate| match coordinate {
            Coordinate::Choice { start } => Some(start.clone()),
            _ => None,
        });
        let q: Vec<Vec<f64>> = starts.collect();
        if q.is_empty() {
            return None;
        }
        let len = q.iter().map(|q| q.len() - 1).sum();
        let q_min = q.iter().map(|q| margin(n_discrete) / (q.len() - 1) as f64).collect();
        let mut new = Self { q, q_min, delta: 1.0, divisor: 1.0, gamma: 0.0, s: DVector::zeros(len) };
        new.keep_margins();
        Some(new)
    }

    /// Draws an option for each choice.
    pub(super) fn draw(&self, generator: &mut ChaCha8Rng) -> Vec<usize> {
        let draw = |q: &Vec<f64>| {
            let mut rest = generator.random::<f64>();
            let drawn = q.iter().position(|p| {
                rest -= p;
                rest < 0.0
            });
            // The sum may be less than 1 by a rounding error.
            drawn.unwrap_or(q.len() - 1)
        };
        self.q.iter().map(draw).collect()
    }

    /// Moves probability to the chosen options; `weights` are not negative and sum to 1. A gradient
    /// shorter than `epsilon` counts as none.
    pub(super) fn learn(&mut self, choices: &[&[usize]], weights: &[f64], epsilon: f64) {
        // The natural gradient, Σ w (c - q), where c is 1 for the option chosen and 0 for the others.
        let mut gradient: Vec<Vec<f64>> = self.q.iter().map(|q| vec![0.0; q.len()]).collect();
        for (choices, w) in choices.iter().zip(weights).filter(|(_, w)| **w > 0.0) {
            for ((gradient, q), chosen) in gradient.iter_mut().zip(&self.q).zip(*choices) {
                for (option, (g, p)) in gradient.iter_mut().zip(q).enumerate() {
                    *g += w * (f64::from(option == *chosen) - p);
                }
            }
        }
        let direction = root_of_fisher(&self.q, &gradient);
        let length = direction.norm();
        let step = self.delta / (length + epsilon);
        for (p, g) in self.q.iter_mut().flatten().zip(gradient.iter().flatten()) {
            *p += step * g;
        }
        self.adapt(&direction, length);
        self.keep_margins();
    }

    /// Adapts the length of steps to the agreement between the directions of the gradient.
    fn adapt(&mut self, direction: &DVector<f64>, length: f64) {
        self.delta = 1.0 / self.divisor;
        // The average cannot move by more than all of itself.
        let beta = (self.delta / (self.s.len() as f64).sqrt()).min(1.0);
        self.s *= 1.0 - beta;
        if length > 0.0 {
            self.s += direction * ((beta * (2.0 - beta)).sqrt() / length);
        }
        self.gamma = (1.0 - beta).powi(2) * self.gamma + beta * (2.0 - beta);
        let growth = beta * (self.gamma - self.s.norm_squared() / ALPHA);
        self.divisor = (self.divisor * growth.exp()).clamp(1e-12, 1e12);
    }

    /// Raises every probability to the margin, and takes the difference from the others' excess over it.
    fn keep_margins(&mut self) {
        for (q, q_min) in self.q.iter_mut().zip(&self.q_min) {
            for p in q.iter_mut() {
                *p = p.max(*q_min);
            }
            let sum: f64 = q.iter().sum();
            let above = sum - q_min * q.len() as f64;
            for p in q.iter_mut() {
                *p -= (sum - 1.0) * (*p - q_min) / above;
            }
            let sum: f64 = q.iter().sum();
            for p in q.iter_mut() {
                *p /= sum;
            }
        }
    }

    /// The most likely option of each choice; of equal ones the first.
    pub(super) fn mode(&self) -> Vec<usize> {
        let best =
            |q: &Vec<f64>| (0..q.len()).rev().max_by(|a, b| q[*a].total_cmp(&q[*b])).expect("two options or more");
        self.q.iter().map(best).collect()
    }

    /// True if every choice is as certain as its margin allows.
    pub(super) fn is_settled(&self) -> bool {
        self.q.iter().zip(&self.q_min).all(|(q, q_min)| {
            let most = q.iter().fold(0.0_f64, |most, p| most.max(*p));
            most >= 1.0 - q_min * (q.len() - 1) as f64 - 1e-9
        })
    }
}

/// A gradient times the square root of the Fisher information, without the last option (appendix B of ASNG).
fn root_of_fisher(q: &[Vec<f64>], gradient: &[Vec<f64>]) -> DVector<f64> {
    let mut direction = Vec::new();
    for (q, gradient) in q.iter().zip(gradient) {
        let (last, rest) = q.split_last().expect("two options or more");
        let gradient = &gradient[..rest.len()];
        let sum: f64 = gradient.iter().sum();
        let part = |(p, g): (&f64, &f64)| g / p.sqrt() + p.sqrt() * sum / (last + last.sqrt());
        direction.extend(rest.iter().zip(gradient).map(part));
    }
    DVector::from_vec(direction)
}
