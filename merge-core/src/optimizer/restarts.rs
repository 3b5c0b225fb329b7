//! Restarts of CMA-ES: from other places, with larger populations (IPOP), or also with small ones and short steps (BIPOP).

use super::{
    AskTell, CmaEs, Coordinate, Feedback, Genome, OptimizerStart, SearchCourse, generator, ranking::finite,
    strategy::default_population,
};
use rand::Rng;
use serde::{Deserialize, Serialize};

/// By which rule a search starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Regime {
    /// Twice the population each time (Auger & Hansen, CEC 2005).
    Ipop,
    /// Twice the population, or else a small one with a short step (Hansen, BBOB workshop 2009): whichever has spent fewer
    /// evaluations.
    Bipop,
}

/// CMA-ES, run after run. See [`Optimizer::restarts`](super::Optimizer::restarts).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restarts {
    regime: Regime,
    start: OptimizerStart,
    /// Generations of all runs.
    generation: u64,
    run: CmaEs,
    /// What the current run has to keep to.
    small: Option<Small>,
    /// Runs begun after the first.
    begun: u64,
    /// How often the population has been doubled.
    doublings: u32,
    /// Points told to runs with large populations and to those with small ones.
    evaluations: [u64; 2],
    /// The median fitness of each generation of the current run. The best would say how lucky it was.
    medians: Vec<f64>,
    /// The best of the runs that have ended: how it did, and its mean.
    best: Option<(f64, Genome)>,
}

/// A run with a small population, which ends early.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Small {
    generations: u64,
}

impl Restarts {
    pub(super) fn new(start: OptimizerStart, regime: Regime) -> Self {
        Self {
            regime,
            generation: 0,
            run: CmaEs::new(start.clone(), false),
            start,
            small: None,
            begun: 0,
            doublings: 0,
            evaluations: [0, 0],
            medians: Vec::new(),
            best: None,
        }
    }

    /// Begins the next run, somewhere in the box.
    fn restart(&mut self) {
        if self.best.as_ref().is_none_or(|(best, _)| self.now() > *best) {
            self.best = self.run.mean().map(|mean| (self.now(), mean));
        }
        // The streams of the first run's generations begin at 0.
        let mut generator = generator(self.start.seed, u64::MAX - self.begun);
        self.begun += 1;
        let default = self.start.population.unwrap_or_else(|| default_population(self.start.n()));
        let [large, small] = self.evaluations;
        let (population, sigma) = if self.regime == Regime::Bipop && self.begun > 1 && small < large {
            // As pycma has it: λ₀ (2^k)^(U²) points, steps of σ₀ 0.01^U, and half of what large runs have spent at most.
            let (u, v) = (generator.random::<f64>(), generator.random::<f64>());
            let population = (default as f64 * 2.0_f64.powf(f64::from(self.doublings) * u * u)) as usize;
            self.small = Some(Small { generations: (large / 2 / population as u64).max(1) });
            (population, self.start.sigma * 0.01_f64.powf(v))
        } else {
            self.doublings += 1;
            self.small = None;
            (default << self.doublings.min(16), self.start.sigma)
        };
        let anywhere = |coordinate: &Coordinate| match coordinate {
            Coordinate::Real { .. } => Coordinate::Real { start: generator.random() },
            Coordinate::Integer { levels, .. } => {
                Coordinate::Integer { levels: *levels, start: generator.random_range(0..*levels) }
            }
            Coordinate::Choice { .. } => coordinate.clone(),
        };
        let coordinates = self.start.coordinates.iter().map(anywhere).collect();
        let start = OptimizerStart { coordinates, sigma, population: Some(population), seed: generator.random() };
        self.run = CmaEs::new(start, false);
        self.medians.clear();
    }

    /// How the current run does.
    fn now(&self) -> f64 {
        self.medians.last().copied().unwrap_or(f64::MIN)
    }

    /// Whether the last twenty generations were no better than twenty long ago (pycma's `tolstagnation`). A search that
    /// begins again has no reason to sit on a plateau.
    fn stagnates(&self) -> bool {
        let (n, lambda) = (self.start.n() as f64, self.run.population() as f64);
        let ago = (100.0 + 100.0 * n.powf(1.5) / lambda) as usize;
        let Some(then) = self.medians.len().checked_sub(ago + 20) else { return false };
        median(&self.medians[then + ago..]) <= median(&self.medians[then..then + 20])
    }
}

impl AskTell for Restarts {
    fn ask(&self) -> Vec<Genome> {
        self.run.ask()
    }

    fn tell(&mut self, told: &[Feedback]) {
        self.run.tell(told);
        self.generation += 1;
        self.evaluations[usize::from(self.small.is_some())] += told.len() as u64;
        self.medians.push(median(&told.iter().map(|told| finite(told.fitness)).collect::<Vec<f64>>()));
        let is_over = self.small.as_ref().is_some_and(|small| self.run.generation() >= small.generations);
        if is_over || self.stagnates() || self.run.stop().is_some() {
            self.restart();
        }
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    fn course(&self) -> &SearchCourse {
        self.run.course()
    }

    /// That of the run that did best in its last generation, the current one among them.
    fn mean(&self) -> Option<Genome> {
        match &self.best {
            Some((best, mean)) if *best >= self.now() => Some(mean.clone()),
            _ => self.run.mean(),
        }
    }

    fn sigma(&self) -> Option<f64> {
        self.run.sigma()
    }
}

/// The middle number, the greater of two.
fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
