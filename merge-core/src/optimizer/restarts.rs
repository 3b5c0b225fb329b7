//! Restarts of CMA-ES elsewhere: with larger populations (IPOP), or also with small ones and short steps (BIPOP).

use super::{
    AskTell, CmaEs, Coordinate, Feedback, Genome, OptimizerStart, SearchCourse, generator, ranking::finite,
    strategy::default_population,
};
use rand::Rng;
use serde::{Deserialize, Serialize};

/// Rule by which a search starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Regime {
    /// Doubles the population each time (Auger & Hansen, CEC 2005).
    Ipop,
    /// Doubles the population, or takes a small one with a short step (Hansen, BBOB workshop 2009):
    /// the kind that has spent fewer evaluations.
    Bipop,
}

/// CMA-ES, run after run. See [`Optimizer::restarts`](super::Optimizer::restarts).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restarts {
    regime: Regime,
    start: OptimizerStart,
    /// Number of generations over all runs.
    generation: u64,
    run: CmaEs,
    /// Limit of the current run, if its population is small.
    small: Option<SmallRun>,
    /// Number of restarts so far.
    begun: u64,
    /// Number of times that the population has been doubled.
    doublings: u32,
    /// Points told to runs with large populations, and to runs with small ones.
    evaluations: [u64; 2],
    /// Median fitness of each generation of the current run. The best fitness would be a matter of luck.
    medians: Vec<f64>,
    /// Last median fitness and mean of the best run that has ended.
    best: Option<(f64, Genome)>,
}

/// A run with a small population, which ends after so many generations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct SmallRun {
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

    /// Starts the next run, anywhere in the box.
    fn restart(&mut self) {
        if self.best.as_ref().is_none_or(|(best, _)| self.last_median() > *best) {
            self.best = self.run.mean().map(|mean| (self.last_median(), mean));
        }
        // Streams count down from the end, as those of the first run's generations count up from 0.
        let mut generator = generator(self.start.seed, u64::MAX - self.begun);
        self.begun += 1;
        let default = self.start.population.unwrap_or_else(|| default_population(self.start.n()));
        let [large, small] = self.evaluations;
        let (population, sigma) = if self.regime == Regime::Bipop && self.begun > 1 && small < large {
            // As in pycma: λ₀ (2^k)^(U²) points, steps of σ₀ 0.01^V, and at most half of the large runs' evaluations.
            let (u, v) = (generator.random::<f64>(), generator.random::<f64>());
            let population = (default as f64 * 2.0_f64.powf(f64::from(self.doublings) * u * u)) as usize;
            self.small = Some(SmallRun { generations: (large / 2 / population as u64).max(1) });
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

    /// Median fitness of the current run's last generation.
    fn last_median(&self) -> f64 {
        self.medians.last().copied().unwrap_or(f64::MIN)
    }

    /// True if the last twenty generations were no better than twenty long ago (pycma's
    /// `tolstagnation`). A search that can start again need not stay on a plateau.
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

    /// The mean of the run whose last generation was best, the current run included.
    fn mean(&self) -> Option<Genome> {
        match &self.best {
            Some((best, mean)) if *best >= self.last_median() => Some(mean.clone()),
            _ => self.run.mean(),
        }
    }

    fn sigma(&self) -> Option<f64> {
        self.run.sigma()
    }
}

/// The median; of two middle numbers the greater.
fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
