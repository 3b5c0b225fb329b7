//! `CatCMA` with margin (Hamano et al., [arXiv 2504.07884](https://arxiv.org/abs/2504.07884)), as
//! in cmaes 0.13.1: reals in a box, integers that keep a probability to change, and choices.

use super::{
    AskTell, Coordinate, Feedback, Fitness, Genome, OptimizerStart, SearchCourse, Stop,
    cat_cma::{DrawnPoint, LEAST_VARIANCE, Mixed, assemble, is_choice},
    categorical::margin,
    gaussian::Gaussian,
    integers::Integer,
    margin::IntegerLattice,
    penalty::Penalty,
    ranking::ranked,
    strategy::{Shares, Strategy, default_population},
};
use nalgebra::DVector;
use serde::{Deserialize, Serialize};

/// Mixed search with margins. See [`Optimizer::cat_cma_margin`](super::Optimizer::cat_cma_margin).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CatCmaMargin {
    course: SearchCourse,
    coordinates: Vec<Coordinate>,
    pub(super) mixed: Mixed,
    /// Diagonal of A, which widens the normal distribution; 1 for reals.
    pub(super) a: DVector<f64>,
    /// Positions of the reals among the numbers.
    reals: Vec<usize>,
    pub(super) integers: Vec<Integer>,
    /// Smallest probability of an integer to change.
    margin: f64,
    penalty: Penalty,
}

impl CatCmaMargin {
    pub(super) fn new(start: OptimizerStart) -> Self {
        let numbers: Vec<&Coordinate> = start.coordinates.iter().filter(|c| !is_choice(c)).collect();
        let lattices = numbers.iter().enumerate().map(|(at, number)| (at, IntegerLattice::of(number)));
        let integers: Vec<Integer> = lattices.filter_map(|(at, lattice)| Some(Integer::new(at, lattice?))).collect();
        let n_discrete = integers.len() + start.n() - numbers.len();
        Self {
            course: SearchCourse::new(&start, default_population(start.n())),
            mixed: Mixed::new(&start, n_discrete),
            a: DVector::repeat(numbers.len(), 1.0),
            reals: (0..numbers.len()).filter(|at| integers.iter().all(|integer| integer.at != *at)).collect(),
            integers,
            margin: margin(n_discrete),
            penalty: Penalty::default(),
            coordinates: start.coordinates,
        }
    }

    /// Moves the distributions towards the fitter of `drawn`, which need not be their own.
    pub(super) fn update(&mut self, drawn: &[DrawnPoint], fitness: &[Fitness]) {
        let strategy = Strategy::new(self.a.len(), self.course.population);
        self.course.generation += 1;
        let fitness = self.penalised(drawn, fitness, strategy.mu_eff);
        let (drawn, fitness) = ranked(drawn, &fitness, DrawnPoint::order);
        let shares = strategy.share(&fitness);
        self.learn_numbers(&drawn, &shares, &strategy);
        if let Some(categorical) = &mut self.mixed.categorical {
            let choices: Vec<&[usize]> = drawn.iter().map(|drawn| drawn.choices.as_slice()).collect();
            categorical.learn(&choices, &shares.plus, 1e-8);
        }
    }

    /// Fitness less the penalty for leaving the box.
    fn penalised(&mut self, drawn: &[DrawnPoint], fitness: &[Fitness], mu_eff: f64) -> Vec<Fitness> {
        let Some(gaussian) = self.mixed.gaussian.as_ref().filter(|_| !self.reals.is_empty()) else {
            return fitness.to_vec();
        };
        let v: Vec<DVector<f64>> = drawn.iter().map(|drawn| widened(gaussian, &self.a, &drawn.y)).collect();
        let penalties = self.penalty.of(&v, fitness, gaussian, &self.a, &self.reals, mu_eff);
        fitness.iter().zip(penalties).map(|(fitness, penalty)| fitness - penalty).collect()
    }

    fn learn_numbers(&mut self, drawn: &[&DrawnPoint], shares: &Shares, strategy: &Strategy) {
        let Some(gaussian) = &mut self.mixed.gaussian else { return };
        let mut y: Vec<DVector<f64>> = drawn.iter().map(|drawn| drawn.y.clone()).collect();

        // Integers of the selected points are centred in widened space, then narrowed back.
        let n_selected = shares.plus.iter().take_while(|w| **w > 0.0).count();
        let mut v: Vec<DVector<f64>> = y[..n_selected].iter().map(|y| widened(gaussian, &self.a, y)).collect();
        let centre = |integer: &Integer| integer.centre(&mut v, gaussian.distribution.mean[integer.at]);
        let changed: Vec<bool> = self.integers.iter().map(centre).collect();
        for (y, v) in y.iter_mut().zip(&v) {
            for Integer { at, .. } in &self.integers {
                let mean = gaussian.distribution.mean[*at];
                y[*at] = (v[*at] - mean) / (self.a[*at] * gaussian.distribution.sigma);
            }
        }

        gaussian.learn(&y, shares, strategy, self.course.generation, None);
        gaussian.keep_above(LEAST_VARIANCE);
        let deviations = gaussian.deviations();
        for (integer, has_changed) in self.integers.iter_mut().zip(changed) {
            let at = integer.at;
            let (mean, a) = (&mut gaussian.distribution.mean[at], &mut self.a[at]);
            integer.correct(self.margin, has_changed, deviations[at], mean, a);
        }
    }

    /// The genome with reals clamped to the box.
    fn within(&self, mut genome: Genome) -> Genome {
        for (x, coordinate) in genome.iter_mut().zip(&self.coordinates) {
            if coordinate.levels().is_none() {
                *x = x.clamp(0.0, 1.0);
            }
        }
        genome
    }
}

/// The point m + σAy.
fn widened(gaussian: &Gaussian, a: &DVector<f64>, y: &DVector<f64>) -> DVector<f64> {
    &gaussian.distribution.mean + a.component_mul(y) * gaussian.distribution.sigma
}

impl AskTell for CatCmaMargin {
    fn ask(&self) -> Vec<Genome> {
        let genome = |drawn: DrawnPoint| {
            let v = self.mixed.gaussian.as_ref().map(|gaussian| widened(gaussian, &self.a, &drawn.y));
            let numbers = v.as_ref().map_or(&[][..], DVector::as_slice);
            self.within(assemble(&self.coordinates, numbers, &drawn.choices))
        };
        self.mixed.draw(&self.course).into_iter().map(genome).collect()
    }

    fn tell(&mut self, told: &[Feedback]) {
        let fitness: Vec<Fitness> = told.iter().map(|told| told.fitness).collect();
        self.update(&self.mixed.draw(&self.course), &fitness);
    }

    fn course(&self) -> &SearchCourse {
        &self.course
    }

    fn mean(&self) -> Option<Genome> {
        Some(self.within(self.mixed.mode(&self.coordinates)))
    }

    fn gaussian(&self) -> Option<&Gaussian> {
        self.mixed.gaussian.as_ref()
    }

    fn stop(&self) -> Option<Stop> {
        self.mixed.stop()
    }
}
