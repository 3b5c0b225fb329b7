//! NSGA-II (Deb et al., IEEE Transactions on Evolutionary Computation 6(2), 2002): parents and
//! children compete by front, and within a front by crowding.

use super::{
    AskTell, Coordinate, Feedback, Genome, OptimizerStart, SearchCourse,
    pareto::{crowding, fronts},
    variation::{about_start, flip, flip_rate},
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Distribution index of simulated binary crossover: higher keeps children nearer to their parents.
const ETA_CROSSOVER: f64 = 15.0;
/// Probability that a pair is crossed.
const CROSSOVER: f64 = 0.9;
/// Distribution index of polynomial mutation.
const ETA_MUTATION: f64 = 20.0;
/// Largest number of further mutations of a child that already exists.
const TRIES: usize = 10;

/// A front of genomes for several goals. See [`Optimizer::nsga2`](super::Optimizer::nsga2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Nsga2 {
    course: SearchCourse,
    coordinates: Vec<Coordinate>,
    sigma: f64,
    /// Survivors; empty in the first generation.
    parents: Vec<Parent>,
}

/// A survivor, with the values that decide its chances in a tournament.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Parent {
    genome: Genome,
    /// Number of its front.
    rank: usize,
    /// Crowding distance.
    crowding: f64,
}

impl Nsga2 {
    pub(super) fn new(start: OptimizerStart) -> Self {
        let course = SearchCourse::new(&start, 40);
        assert!(course.population >= 4, "there are two parents at least");
        Self { course, sigma: start.sigma, coordinates: start.coordinates, parents: Vec::new() }
    }

    /// The better of two parents drawn at random.
    fn tournament(&self, generator: &mut ChaCha8Rng) -> &Genome {
        let [a, b] = [(); 2].map(|()| &self.parents[generator.random_range(0..self.parents.len())]);
        let a_wins = a.rank < b.rank || (a.rank == b.rank && a.crowding >= b.crowding);
        if a_wins { &a.genome } else { &b.genome }
    }

    fn children(&self, generator: &mut ChaCha8Rng) -> [Genome; 2] {
        let mut children = [(); 2].map(|()| self.tournament(generator).clone());
        if generator.random::<f64>() < CROSSOVER {
            let [a, b] = &mut children;
            for ((coordinate, a), b) in self.coordinates.iter().zip(a).zip(b) {
                if generator.random::<bool>() {
                    match coordinate {
                        Coordinate::Real { .. } => cross(a, b, generator),
                        _ => std::mem::swap(a, b),
                    }
                }
            }
        }
        for child in &mut children {
            self.mutate(child, generator);
        }
        children
    }

    /// Changes each real with probability 1/n, and each of the d integers and choices with probability 1/d.
    fn mutate(&self, genome: &mut Genome, generator: &mut ChaCha8Rng) {
        let (rate, flips) = (1.0 / self.coordinates.len() as f64, flip_rate(&self.coordinates));
        for (coordinate, x) in self.coordinates.iter().zip(genome) {
            match coordinate {
                Coordinate::Real { .. } if generator.random::<f64>() < rate => *x = mutated(*x, generator),
                Coordinate::Real { .. } => {}
                _ => flip(coordinate, x, flips, generator),
            }
        }
    }
}

impl AskTell for Nsga2 {
    fn ask(&self) -> Vec<Genome> {
        let mut generator = self.course.generator();
        let mut genomes: Vec<Genome> = self.parents.iter().map(|parent| parent.genome.clone()).collect();
        while genomes.len() < self.course.population {
            if self.parents.is_empty() {
                genomes.push(about_start(&self.coordinates, self.sigma, &mut generator));
                continue;
            }
            for mut child in self.children(&mut generator) {
                // A copy adds nothing, but the space may hold no other genome.
                for _ in 0..TRIES {
                    if !genomes.contains(&child) {
                        break;
                    }
                    self.mutate(&mut child, &mut generator);
                }
                genomes.push(child);
            }
        }
        genomes.truncate(self.course.population);
        genomes
    }

    fn tell(&mut self, told: &[Feedback]) {
        let genomes = self.ask();
        let goals: Vec<Vec<f64>> = told.iter().map(Feedback::goals).collect();
        self.course.generation += 1;
        let room = self.course.population / 2;
        let mut parents = Vec::with_capacity(room);
        for (rank, front) in fronts(&goals).into_iter().enumerate() {
            let mut front: Vec<(usize, f64)> = front.iter().copied().zip(crowding(&goals, &front)).collect();
            // The last front that fits only in part keeps its least crowded points.
            front.sort_by(|(_, a), (_, b)| b.total_cmp(a));
            let survivors = front.into_iter().take(room - parents.len());
            parents.extend(survivors.map(|(at, crowding)| Parent { genome: genomes[at].clone(), rank, crowding }));
        }
        self.parents = parents;
    }

    fn course(&self) -> &SearchCourse {
        &self.course
    }

    fn elites(&self) -> Vec<Genome> {
        self.parents.iter().filter(|parent| parent.rank == 0).map(|parent| parent.genome.clone()).collect()
    }
}

/// Simulated binary crossover of two numbers in [0, 1] (Deb & Agrawal 1995, with bounds as in pymoo).
fn cross(a: &mut f64, b: &mut f64, generator: &mut ChaCha8Rng) {
    let (low, high) = (a.min(*b).max(0.0), a.max(*b).min(1.0));
    if high - low <= 1e-14 {
        return;
    }
    let u = generator.random::<f64>();
    // Spread of a child from the middle, if the nearer parent has `room` up to the bound.
    let spread = |room: f64| {
        let beta = 1.0 + 2.0 * room / (high - low);
        let alpha = 2.0 - beta.powf(-(ETA_CROSSOVER + 1.0));
        let base = if u <= 1.0 / alpha { u * alpha } else { 1.0 / (2.0 - u * alpha) };
        base.powf(1.0 / (ETA_CROSSOVER + 1.0))
    };
    let middle = f64::midpoint(low, high);
    let half = (high - low) / 2.0;
    (*a, *b) = ((middle - spread(low) * half).clamp(0.0, 1.0), (middle + spread(1.0 - high) * half).clamp(0.0, 1.0));
    if generator.random::<bool>() {
        std::mem::swap(a, b);
    }
}

/// Polynomial mutation of a number in [0, 1] (Deb & Deb 2014).
fn mutated(x: f64, generator: &mut ChaCha8Rng) -> f64 {
    let x = x.clamp(0.0, 1.0);
    let u = generator.random::<f64>();
    let step = if u < 0.5 {
        let base = 2.0 * u + (1.0 - 2.0 * u) * (1.0 - x).powf(ETA_MUTATION + 1.0);
        base.powf(1.0 / (ETA_MUTATION + 1.0)) - 1.0
    } else {
        let base = 2.0 * (1.0 - u) + (2.0 * u - 1.0) * x.powf(ETA_MUTATION + 1.0);
        1.0 - base.powf(1.0 / (ETA_MUTATION + 1.0))
    };
    (x + step).clamp(0.0, 1.0)
}
