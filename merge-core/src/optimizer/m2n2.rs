//! M2N2 (Abrantes, Lange & Tang, GECCO 2025, [arXiv 2508.16204](https://arxiv.org/abs/2508.16204)): moving boundaries,
//! competition for items, and attraction between parents that complement each other.

use super::{
    AskTell, Coordinate, Feedback, Genome, OptimizerStart, SearchCourse,
    ranking::finite,
    variation::{about_start, blend, mutate, weighted},
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Standard deviation of mutations: the authors' for evolution from scratch, which fits the evolution of genomes.
const MUTATION_SIGMA: f64 = 0.01;

/// An archive whose members compete for items. See [`Optimizer::m2n2`](super::Optimizer::m2n2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct M2n2 {
    course: SearchCourse,
    coordinates: Vec<Coordinate>,
    sigma: f64,
    /// Survivors; empty in the first generation.
    archive: Vec<ArchiveMember>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ArchiveMember {
    genome: Genome,
    /// Scores `s_ij` on the items of the last generation, which all members were asked.
    items: Vec<f64>,
}

impl M2n2 {
    pub(super) fn new(start: OptimizerStart) -> Self {
        let course = SearchCourse::new(&start, 40);
        assert!(course.population >= 4, "the archive has two members at least");
        Self { course, sigma: start.sigma, coordinates: start.coordinates, archive: Vec::new() }
    }

    fn child(&self, fitness: &[f64], capacity: &[f64], generator: &mut ChaCha8Rng) -> Genome {
        let n = self.archive.len();
        let first = weighted(fitness, generator).unwrap_or_else(|| generator.random_range(0..n));
        let attraction: Vec<f64> =
            self.archive.iter().map(|other| attraction(&self.archive[first].items, &other.items, capacity)).collect();
        // A first parent to which no member adds anything is paired with any other.
        let second = weighted(&attraction, generator).unwrap_or_else(|| (first + generator.random_range(1..n)) % n);

        // The boundary: the parents swap their shares at a split point.
        let split = generator.random_range(0..self.coordinates.len());
        let w = generator.random::<f64>();
        let weight = |i: usize| if i < split { w } else { 1.0 - w };
        let parents = [first, second].map(|at| self.archive[at].genome.as_slice());
        let mut child = blend(&self.coordinates, parents, weight, generator);
        mutate(&self.coordinates, &mut child, MUTATION_SIGMA, generator);
        child
    }
}

impl AskTell for M2n2 {
    fn ask(&self) -> Vec<Genome> {
        let mut generator = self.course.generator();
        let n_new = self.course.population - self.archive.len();
        if self.archive.is_empty() {
            return (0..n_new).map(|_| about_start(&self.coordinates, self.sigma, &mut generator)).collect();
        }
        let capacity = capacity(&self.archive);
        let fitness: Vec<f64> = self.archive.iter().map(|member| shared_fitness(&member.items, &capacity)).collect();
        let mut genomes: Vec<Genome> = self.archive.iter().map(|member| member.genome.clone()).collect();
        genomes.extend((0..n_new).map(|_| self.child(&fitness, &capacity, &mut generator)));
        genomes
    }

    fn tell(&mut self, told: &[Feedback]) {
        let items = |told: &Feedback| {
            let items = if told.items.is_empty() { std::slice::from_ref(&told.fitness) } else { &told.items };
            // An invalid or negative score counts as 0.
            items.iter().map(|score| finite(*score).max(0.0)).collect()
        };
        let genomes = self.ask();
        self.archive =
            genomes.into_iter().zip(told).map(|(genome, told)| ArchiveMember { genome, items: items(told) }).collect();
        self.course.generation += 1;
        // Members are removed one by one, as a removed member leaves its items to the others.
        while self.archive.len() > self.course.population / 2 {
            let capacity = capacity(&self.archive);
            let fitness = self.archive.iter().map(|member| shared_fitness(&member.items, &capacity));
            // Of equals, the newest is removed.
            let worst = fitness.enumerate().min_by(|(i, f), (j, g)| f.total_cmp(g).then(j.cmp(i)));
            let (worst, _) = worst.expect("the archive is too large");
            self.archive.remove(worst);
        }
    }

    fn course(&self) -> &SearchCourse {
        &self.course
    }

    fn elites(&self) -> Vec<Genome> {
        self.archive.iter().map(|member| member.genome.clone()).collect()
    }
}

/// The total score of all members on each item: `z_j` = Σ `s_ij`.
fn capacity(archive: &[ArchiveMember]) -> Vec<f64> {
    let n_items = archive.first().map_or(0, |member| member.items.len());
    (0..n_items).map(|j| archive.iter().map(|member| member.items[j]).sum::<f64>().min(f64::MAX)).collect()
}

/// A member's share of the items: F = Σ `s_ij` / max(`z_j`, 1), with α = 1.
fn shared_fitness(items: &[f64], capacity: &[f64]) -> f64 {
    items.iter().zip(capacity).map(|(s, z)| s / z.max(1.0)).sum()
}

/// What a mate adds to the first parent, summed over the items: Σ max(0, `s_ij` - `s_1j`) / `z_j`.
fn attraction(first: &[f64], mate: &[f64], capacity: &[f64]) -> f64 {
    let items = first.iter().zip(mate).zip(capacity).filter(|(_, z)| **z > 0.0);
    items.map(|((first, mate), z)| (mate - first).max(0.0) / z).sum()
}
