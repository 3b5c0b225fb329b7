//! (1+1)-ES: a parent and its mutant, of which the better continues; the step size follows the one-fifth rule.

use super::{
    AskTell, Coordinate, Feedback, Genome, OptimizerStart, SearchCourse,
    gaussian::SIGMA_MAX,
    generator,
    ranking::number,
    variation::{mutate, start},
};
use serde::{Deserialize, Serialize};

/// A parent that is asked again with its mutants. See [`Optimizer::one_plus_one`](super::Optimizer::one_plus_one).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OnePlusOne {
    course: SearchCourse,
    coordinates: Vec<Coordinate>,
    parent: Genome,
    sigma: f64,
}

impl OnePlusOne {
    pub(super) fn new(begin: OptimizerStart) -> Self {
        // A stream that no generation uses.
        let parent = start(&begin.coordinates, &mut generator(begin.seed, u64::MAX));
        Self { course: SearchCourse::new(&begin, 2), parent, sigma: begin.sigma, coordinates: begin.coordinates }
    }
}

impl AskTell for OnePlusOne {
    fn ask(&self) -> Vec<Genome> {
        let mut generator = self.course.generator();
        let mut genomes = vec![self.parent.clone(); self.course.population];
        for mutant in &mut genomes[1..] {
            mutate(&self.coordinates, mutant, self.sigma, &mut generator);
        }
        genomes
    }

    fn tell(&mut self, told: &[Feedback]) {
        let genomes = self.ask();
        let fitness: Vec<f64> = told.iter().map(|told| number(told.fitness)).collect();
        let (parent, mutants) = fitness.split_first().expect("the parent comes first");
        self.course.generation += 1;

        // Of equals, the newest is taken, so that the search moves on a plateau.
        let best = (0..genomes.len()).max_by(|a, b| fitness[*a].total_cmp(&fitness[*b])).expect("the parent at least");
        self.parent.clone_from(&genomes[best]);

        // σ grows by 1.5 with each success, and shrinks by the fourth root of 1.5 with each failure
        // (Auger, BBOB workshop 2009); equals leave it unchanged.
        let n_better = mutants.iter().filter(|f| *f > parent).count() as f64;
        let n_worse = mutants.iter().filter(|f| *f < parent).count() as f64;
        let exponent = (n_better - n_worse / 4.0) / mutants.len() as f64;
        self.sigma = (self.sigma * 1.5_f64.powf(exponent)).clamp(1.0 / SIGMA_MAX, SIGMA_MAX);
    }

    fn course(&self) -> &SearchCourse {
        &self.course
    }

    fn mean(&self) -> Option<Genome> {
        Some(self.parent.clone())
    }

    fn sigma(&self) -> Option<f64> {
        Some(self.sigma)
    }

    fn elites(&self) -> Vec<Genome> {
        vec![self.parent.clone()]
    }
}
