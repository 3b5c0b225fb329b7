//! `CatCMA` (Hamano et al., [arXiv 2405.09962](https://arxiv.org/abs/2405.09962)), as in cmaes
//! 0.13.1: a normal and a categorical distribution learn from the same ranks.

use super::{
    AskTell, Coordinate, Feedback, Fitness, Genome, OptimizerStart, SearchCourse, Stop,
    categorical::Categorical,
    gaussian::Gaussian,
    ranking::{by_coordinates, ranked},
    strategy::{Strategy, default_population},
};
use nalgebra::DVector;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// Smallest variance of numbers along any axis.
pub(super) const LEAST_VARIANCE: f64 = 1e-30;

/// CMA-ES for numbers beside ASNG for choices. See [`Optimizer::cat_cma`](super::Optimizer::cat_cma).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CatCma {
    course: SearchCourse,
    coordinates: Vec<Coordinate>,
    pub(super) mixed: Mixed,
}

/// The joint distribution of numbers (reals and integers) and choices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Mixed {
    /// Distribution of the coordinates that are not choices, in their order.
    pub(super) gaussian: Option<Gaussian>,
    /// Distribution of the choices, in their order.
    pub(super) categorical: Option<Categorical>,
}

/// A genome as it is drawn.
#[derive(Clone, Debug)]
pub(super) struct DrawnPoint {
    /// Step of the numbers, from N(0, C).
    pub(super) y: DVector<f64>,
    /// Options of the choices.
    pub(super) choices: Vec<usize>,
}

impl CatCma {
    pub(super) fn new(start: OptimizerStart) -> Self {
        let n_choices = start.coordinates.iter().filter(|c| is_choice(c)).count();
        Self {
            course: SearchCourse::new(&start, default_population(start.n())),
            mixed: Mixed::new(&start, n_choices),
            coordinates: start.coordinates,
        }
    }

    /// Moves the distributions towards the fitter of `drawn`, which need not be their own.
    pub(super) fn update(&mut self, drawn: &[DrawnPoint], fitness: &[Fitness]) {
        let n_numbers = self.mixed.gaussian.as_ref().map_or(0, |gaussian| gaussian.distribution.mean.len());
        let strategy = Strategy::positive(n_numbers, self.course.population);
        self.course.generation += 1;
        let (drawn, fitness) = ranked(drawn, fitness, DrawnPoint::order);
        let shares = strategy.share(&fitness);
        if let Some(gaussian) = &mut self.mixed.gaussian {
            let y: Vec<_> = drawn.iter().map(|drawn| drawn.y.clone()).collect();
            gaussian.learn(&y, &shares, &strategy, self.course.generation, None);
            gaussian.keep_above(LEAST_VARIANCE);
        }
        if let Some(categorical) = &mut self.mixed.categorical {
            let choices: Vec<&[usize]> = drawn.iter().map(|drawn| drawn.choices.as_slice()).collect();
            categorical.learn(&choices, &shares.plus, 1e-30);
        }
    }
}

impl AskTell for CatCma {
    fn ask(&self) -> Vec<Genome> {
        let genome = |drawn: DrawnPoint| {
            let numbers = self.mixed.gaussian.as_ref().map_or_else(Vec::new, |gaussian| gaussian.point(&drawn.y));
            assemble(&self.coordinates, &numbers, &drawn.choices)
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
        Some(self.mixed.mode(&self.coordinates))
    }

    fn gaussian(&self) -> Option<&Gaussian> {
        self.mixed.gaussian.as_ref()
    }

    fn stop(&self) -> Option<Stop> {
        self.mixed.stop()
    }
}

impl Mixed {
    /// The distributions at their start; `n_discrete` coordinates share the margin.
    pub(super) fn new(start: &OptimizerStart, n_discrete: usize) -> Self {
        let numbers = start.coordinates.iter().filter(|c| !is_choice(c)).map(|c| c.threshold_start(start.sigma));
        let mean: Vec<f64> = numbers.collect();
        Self {
            gaussian: (!mean.is_empty()).then(|| Gaussian::new(mean, start.sigma)),
            categorical: Categorical::new(&start.coordinates, n_discrete),
        }
    }

    /// Draws a generation.
    pub(super) fn draw(&self, course: &SearchCourse) -> Vec<DrawnPoint> {
        let mut generator = course.generator();
        let steps = match &self.gaussian {
            Some(gaussian) => gaussian.steps(course.population, &mut generator),
            None => vec![DVector::zeros(0); course.population],
        };
        let choices = |y| {
            let choices = self.categorical.as_ref().map_or_else(Vec::new, |choices| choices.draw(&mut generator));
            DrawnPoint { y, choices }
        };
        steps.into_iter().map(choices).collect()
    }

    /// The mean of numbers and the most likely options.
    pub(super) fn mode(&self, coordinates: &[Coordinate]) -> Genome {
        let mean = self.gaussian.as_ref().map_or(&[][..], |gaussian| gaussian.distribution.mean.as_slice());
        let mode = self.categorical.as_ref().map_or_else(Vec::new, Categorical::mode);
        assemble(coordinates, mean, &mode)
    }

    /// A reason to stop. Numbers that have converged are none while a choice is open.
    pub(super) fn stop(&self) -> Option<Stop> {
        let stop = self.gaussian.as_ref()?.stop()?;
        let converged = matches!(stop, Stop::StepTooSmall | Stop::NoEffect);
        let open = self.categorical.as_ref().is_some_and(|choices| !choices.is_settled());
        (!(converged && open)).then_some(stop)
    }
}

impl DrawnPoint {
    /// An order for points of equal fitness.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        by_coordinates(self.y.as_slice(), other.y.as_slice()).then_with(|| self.choices.cmp(&other.choices))
    }
}

pub(super) fn is_choice(coordinate: &Coordinate) -> bool {
    matches!(coordinate, Coordinate::Choice { .. })
}

/// The genome of these numbers and choices, both in the order of the coordinates.
pub(super) fn assemble(coordinates: &[Coordinate], numbers: &[f64], choices: &[usize]) -> Genome {
    let (mut numbers, mut choices) = (numbers.iter(), choices.iter());
    let mut next = |coordinate: &Coordinate| {
        if is_choice(coordinate) {
            *choices.next().expect("one for each choice") as f64
        } else {
            coordinate.decode(*numbers.next().expect("one for each number"))
        }
    };
    coordinates.iter().map(&mut next).collect()
}
