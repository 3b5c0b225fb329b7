//! MAP-Elites in the form of `CycleQD` (Kuroki et al., [arXiv 2410.14735](https://arxiv.org/abs/2410.14735)): the goals
//! take turns; one goal is improved while the others define a genome's behaviour.

use super::{
    AskTell, Coordinate, Feedback, Genome, OptimizerStart, SearchCourse,
    variation::{about_start, blend, mutate, start, weighted},
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Range of the factors in a parent's chance (`alpha_low` and `alpha_high`).
const CHANCES: [f64; 2] = [0.5, 0.8];
/// Standard deviation of the weights of crossover, whose mean is 1.
const WEIGHT_SIGMA: f64 = 0.01;

/// The best genome for each kind of behaviour. See [`Optimizer::map_elites`](super::Optimizer::map_elites).
///
/// All elites are asked again, so the archives of a generation depend only on its scores, and only
/// the genomes in an archive are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MapElites {
    course: SearchCourse,
    coordinates: Vec<Coordinate>,
    sigma: f64,
    bins: usize,
    elites: Vec<Elite>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Elite {
    genome: Genome,
    goals: Vec<f64>,
}

impl MapElites {
    pub(super) fn new(start: OptimizerStart, bins: usize) -> Self {
        assert!(bins > 0, "an archive has at least one cell");
        let course = SearchCourse::new(&start, 8);
        Self { course, sigma: start.sigma, coordinates: start.coordinates, bins, elites: Vec::new() }
    }

    /// For each cell of a goal's archive, the elite that is best at the goal.
    fn archive(&self, elites: &[Elite], goal: usize) -> Vec<usize> {
        let mut cells: BTreeMap<Vec<usize>, usize> = BTreeMap::new();
        for (at, elite) in elites.iter().enumerate() {
            let others = elite.goals.iter().enumerate().filter(|(other, _)| *other != goal);
            // The conversion turns negative scores into 0.
            let bin = |score: f64| ((score * self.bins as f64) as usize).min(self.bins - 1);
            let best = cells.entry(others.map(|(_, score)| bin(*score)).collect()).or_insert(at);
            if elite.goals[goal] > elites[*best].goals[goal] {
                *best = at;
            }
        }
        cells.into_values().collect()
    }

    /// A child of two elites of an archive.
    fn child(&self, archive: &[usize], generator: &mut ChaCha8Rng) -> Genome {
        let mut chances = self.chances(archive);
        let mut pick = || {
            let at = weighted(&chances, generator)?;
            chances[at] = 0.0;
            Some(archive[at])
        };
        let a = pick().expect("an archive has an elite");
        let b = pick().unwrap_or(a);
        // Model-wise linear crossover: (w₁ τ₁ + w₂ τ₂) / (w₁ + w₂).
        let [w_a, w_b] = [(); 2].map(|()| 1.0 + WEIGHT_SIGMA * generator.sample::<f64, _>(StandardNormal));
        let parents = [a, b].map(|at| self.elites[at].genome.as_slice());
        let mut child = blend(&self.coordinates, parents, |_| w_a / (w_a + w_b), generator);
        mutate(&self.coordinates, &mut child, self.sigma, generator);
        child
    }

    /// The chances of an archive's elites to be a parent: the product over all goals of
    /// `α_low` + (v - min) / (max - min) · (`α_high` - `α_low`).
    fn chances(&self, archive: &[usize]) -> Vec<f64> {
        let mut chances = vec![1.0; archive.len()];
        let n_goals = archive.first().map_or(0, |at| self.elites[*at].goals.len());
        for goal in 0..n_goals {
            let scores = archive.iter().map(|at| self.elites[*at].goals[goal]);
            let least = scores.clone().fold(f64::MAX, f64::min);
            let most = scores.clone().fold(f64::MIN, f64::max);
            for (chance, score) in chances.iter_mut().zip(scores).filter(|_| (most - least).is_finite() && most > least)
            {
                *chance *= CHANCES[0] + (score - least) / (most - least) * (CHANCES[1] - CHANCES[0]);
            }
        }
        chances
    }
}

impl AskTell for MapElites {
    fn ask(&self) -> Vec<Genome> {
        let mut generator = self.course.generator();
        let mut genomes: Vec<Genome> = self.elites.iter().map(|elite| elite.genome.clone()).collect();
        if let Some(first) = self.elites.first() {
            let goal = (self.course.generation % first.goals.len() as u64) as usize;
            let archive = self.archive(&self.elites, goal);
            genomes.extend((0..self.course.population).map(|_| self.child(&archive, &mut generator)));
        } else {
            genomes.push(start(&self.coordinates, &mut generator));
            let others = 1..self.course.population;
            genomes.extend(others.map(|_| about_start(&self.coordinates, self.sigma, &mut generator)));
        }
        genomes
    }

    fn tell(&mut self, told: &[Feedback]) {
        let genomes = self.ask();
        let all: Vec<Elite> =
            genomes.into_iter().zip(told).map(|(genome, told)| Elite { genome, goals: told.goals() }).collect();
        self.course.generation += 1;
        let n_goals = all.first().map_or(0, |first| first.goals.len());
        let kept: BTreeSet<usize> = (0..n_goals).flat_map(|goal| self.archive(&all, goal)).collect();
        self.elites = kept.into_iter().map(|at| all[at].clone()).collect();
    }

    fn course(&self) -> &SearchCourse {
        &self.course
    }

    fn population(&self) -> usize {
        self.elites.len() + self.course.population
    }

    fn elites(&self) -> Vec<Genome> {
        self.elites.iter().map(|elite| elite.genome.clone()).collect()
    }
}
