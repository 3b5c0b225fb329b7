//! Optimizers that ask for genomes and are told how fit each of them is.
//!
//! Asking is pure: it draws from `(seed, generation)`, so an optimizer that comes back from its JSON goes on as if it
//! had never been away.
//!
//! **Whoever survives is asked again.** The elitist searches ((1+1)-ES, NSGA-II, MAP-Elites, M2N2) ask for their
//! survivors together with the newcomers, because scores on different items cannot be compared, and because the best of
//! many noisy scores is an accident that would never be put right. Where the items do not change, whoever remembers
//! scores pays nothing for it.
//!
//! **Thresholds.** A search of real numbers that is given an integer or a choice keeps one real number for it, and cuts
//! [0, 1] into equal intervals, one for each value: what lies beyond the ends belongs to the outer ones. For two options
//! that is the encoding of Sakana AI's layer space (arXiv 2403.13187). As steps shrink such a search loses the power to
//! change its mind; the margins of [`Optimizer::cma_es_margin`] and `CatCMA` are there to keep it.

mod coordinate;
mod normal;
mod ranking;
mod strategy;
mod gaussian;
mod learning_rate;
mod cma;
mod sep_cma;
mod margin;
mod cma_margin;
mod categorical;
mod cat_cma;
mod integers;
mod penalty;
mod cat_cma_margin;
mod restarts;
mod variation;
mod one_plus_one;
pub mod pareto;
mod nsga2;
mod map_elites;
mod m2n2;
mod random;
#[cfg(test)]
mod tests;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::fmt;

pub use cat_cma::CatCma;
pub use cat_cma_margin::CatCmaMargin;
pub use cma::CmaEs;
pub use cma_margin::CmaEsMargin;
pub use coordinate::{Coordinate, OptimizerStart};
pub use m2n2::M2n2;
pub use map_elites::MapElites;
pub use nsga2::Nsga2;
pub use one_plus_one::OnePlusOne;
pub use random::RandomSearch;
pub use restarts::{Regime, Restarts};
pub use sep_cma::SepCmaEs;

/// A point of the search space, one number for each coordinate.
///
/// The natural range of a real coordinate is [0, 1], but an optimizer may leave it: the caller folds it back. An integer
/// coordinate is a whole number below its levels, a choice the whole number of its option.
pub type Genome = Vec<f64>;

/// How good a genome is: higher is better, and NaN is as bad as negative infinity.
///
/// Only the order matters, but for [`Optimizer::cat_cma_margin`], which measures its penalty by differences.
pub type Fitness = f64;

/// What an optimizer is told of a genome.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Feedback {
    /// How good it is, all in all. What ranks, but for those who look at several goals or at items.
    pub fitness: Fitness,
    /// How good it is at each of several goals, higher is better: for NSGA-II and MAP-Elites, to whom the fitness is the
    /// only goal if there is none here. The same number of goals each time.
    pub objectives: Vec<Fitness>,
    /// Its score on each item of this generation, from 0 up: for M2N2, to whom the fitness is the only item if there is
    /// none here. The same number of items for everyone in a generation.
    pub items: Vec<f64>,
}

impl From<Fitness> for Feedback {
    fn from(fitness: Fitness) -> Self {
        Self { fitness, ..Self::default() }
    }
}

impl Feedback {
    /// The goals as finite numbers, which survive JSON.
    fn goals(&self) -> Vec<f64> {
        let goals = if self.objectives.is_empty() { std::slice::from_ref(&self.fitness) } else { &self.objectives };
        goals.iter().map(|goal| ranking::finite(*goal)).collect()
    }
}

/// A search through genomes, generation by generation; plain data that survives JSON exactly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    /// Covariance matrix adaptation evolution strategy.
    CmaEs(CmaEs),
    /// The same with a diagonal covariance matrix.
    SepCmaEs(SepCmaEs),
    /// The same with a least probability for each integer to change.
    CmaEsMargin(CmaEsMargin),
    /// A normal distribution for numbers and a categorical one for choices.
    CatCma(CatCma),
    /// The same with margins for integers.
    CatCmaMargin(CatCmaMargin),
    /// CMA-ES that starts anew where it stops.
    Restarts(Restarts),
    /// Non-dominated sorting: a front of genomes for several goals.
    Nsga2(Nsga2),
    /// One parent and its mutants.
    OnePlusOne(OnePlusOne),
    /// The best genome for each kind of behaviour.
    MapElites(MapElites),
    /// Competition for items, and mates who complement each other.
    M2n2(M2n2),
    /// Points drawn uniformly, learning nothing: the baseline.
    Random(RandomSearch),
}

/// What every search can do; see the methods of [`Optimizer`].
trait AskTell {
    fn ask(&self) -> Vec<Genome>;
    fn tell(&mut self, told: &[Feedback]);
    /// How far it is, which says what the next two do unless they say otherwise.
    fn course(&self) -> &SearchCourse;
    fn generation(&self) -> u64 {
        self.course().generation
    }
    fn population(&self) -> usize {
        self.course().population
    }
    fn mean(&self) -> Option<Genome> {
        None
    }
    fn sigma(&self) -> Option<f64> {
        None
    }
    fn stop(&self) -> Option<Stop> {
        None
    }
    fn elites(&self) -> Vec<Genome> {
        Vec::new()
    }
}

/// Constructors: each takes its start, and panics if that is not one: see [`OptimizerStart`].
impl Optimizer {
    /// CMA-ES (Hansen, [arXiv 1604.00772](https://arxiv.org/abs/1604.00772)) with active weights.
    ///
    /// Learning-rate adaptation ([arXiv 2304.03473](https://arxiv.org/abs/2304.03473)) slows the search down when
    /// fitness is noisy, at the cost of more generations when it is not. A population is 4 + ⌊3 ln n⌋ unless said, here
    /// and for its kin. Integers and choices are cut by thresholds.
    pub fn cma_es(start: OptimizerStart, learning_rate_adaptation: bool) -> Self {
        Self::CmaEs(CmaEs::new(start, learning_rate_adaptation))
    }

    /// CMA-ES with a diagonal covariance matrix (Ros & Hansen, PPSN 2008): linear in time and memory, and it learns
    /// faster in more than about a hundred dimensions. Integers and choices are cut by thresholds.
    pub fn sep_cma_es(start: OptimizerStart) -> Self {
        Self::SepCmaEs(SepCmaEs::new(start))
    }

    /// CMA-ES with margin (Hamano et al., [arXiv 2205.13482](https://arxiv.org/abs/2205.13482)): integers, as which it
    /// takes choices too, keep a probability to change, 1 / (n λ).
    pub fn cma_es_margin(start: OptimizerStart) -> Self {
        Self::CmaEsMargin(CmaEsMargin::new(start))
    }

    /// `CatCMA` (Hamano et al., [arXiv 2405.09962](https://arxiv.org/abs/2405.09962)): a normal distribution for
    /// numbers, with integers cut by thresholds, and a categorical one for choices.
    pub fn cat_cma(start: OptimizerStart) -> Self {
        Self::CatCma(CatCma::new(start))
    }

    /// `CatCMA` with margin (Hamano et al., [arXiv 2504.07884](https://arxiv.org/abs/2504.07884)): integers keep a
    /// probability to change, bad points count too, and reals stay in [0, 1] by a penalty. The one that suits all kinds of
    /// coordinates.
    pub fn cat_cma_margin(start: OptimizerStart) -> Self {
        Self::CatCmaMargin(CatCmaMargin::new(start))
    }

    /// CMA-ES that starts anew where it stops, so that it never does itself: for many optima.
    pub fn restarts(start: OptimizerStart, regime: Regime) -> Self {
        Self::Restarts(Restarts::new(start, regime))
    }

    /// NSGA-II (Deb et al., IEEE Transactions on Evolutionary Computation 6(2), 2002), for several goals.
    ///
    /// Half of a generation are the parents, who are asked again; a population is 40 unless said (the usual 100 parents are
    /// 200).
    pub fn nsga2(start: OptimizerStart) -> Self {
        Self::Nsga2(Nsga2::new(start))
    }

    /// (1+1)-ES: a parent and its mutant, of whom the better survives; the baseline of evolution. A population of P is
    /// one parent and P - 1 mutants; 2 unless said.
    pub fn one_plus_one(start: OptimizerStart) -> Self {
        Self::OnePlusOne(OnePlusOne::new(start))
    }

    /// MAP-Elites in the form of `CycleQD` (Kuroki et al., [arXiv 2410.14735](https://arxiv.org/abs/2410.14735)) among
    /// genomes: for each goal an archive whose cells are cut, `bins` along each, by the scores at the other goals.
    ///
    /// The population of the start counts newcomers, 8 unless said; the elites are asked with them. Goals are cut between
    /// 0 and 1, so that is where they should lie. `sigma` is the standard deviation of mutations, which should be small.
    ///
    /// # Panics
    ///
    /// Also if there is no bin.
    pub fn map_elites(start: OptimizerStart, bins: usize) -> Self {
        Self::MapElites(MapElites::new(start, bins))
    }

    /// M2N2 (Abrantes, Lange & Tang, [arXiv 2508.16204](https://arxiv.org/abs/2508.16204)) among genomes: whoever solves
    /// what few solve survives, and mates are chosen for what they add.
    ///
    /// Half of a generation is the archive, which is asked again; a population is 40 unless said, for the archive of 20
    /// of the authors.
    pub fn m2n2(start: OptimizerStart) -> Self {
        Self::M2n2(M2n2::new(start))
    }

    /// Points drawn uniformly from [0, 1), from the levels and from the options; 12 a generation unless said.
    pub fn random(start: OptimizerStart) -> Self {
        Self::Random(RandomSearch::new(start))
    }

    fn search(&self) -> &dyn AskTell {
        match self {
            Self::CmaEs(search) => search,
            Self::SepCmaEs(search) => search,
            Self::CmaEsMargin(search) => search,
            Self::CatCma(search) => search,
            Self::CatCmaMargin(search) => search,
            Self::Restarts(search) => search,
            Self::Nsga2(search) => search,
            Self::OnePlusOne(search) => search,
            Self::MapElites(search) => search,
            Self::M2n2(search) => search,
            Self::Random(search) => search,
        }
    }

    fn search_mut(&mut self) -> &mut dyn AskTell {
        match self {
            Self::CmaEs(search) => search,
            Self::SepCmaEs(search) => search,
            Self::CmaEsMargin(search) => search,
            Self::CatCma(search) => search,
            Self::CatCmaMargin(search) => search,
            Self::Restarts(search) => search,
            Self::Nsga2(search) => search,
            Self::OnePlusOne(search) => search,
            Self::MapElites(search) => search,
            Self::M2n2(search) => search,
            Self::Random(search) => search,
        }
    }
}

/// What a study does with a search.
impl Optimizer {
    /// The points of this generation, the same ones each time until [`Optimizer::tell`].
    pub fn ask(&self) -> Vec<Genome> {
        self.search().ask()
    }

    /// Learns how good what [`Optimizer::ask`] gave is, in that order, and moves on to the next generation.
    ///
    /// # Panics
    ///
    /// If not every point of the generation is told exactly once.
    pub fn tell(&mut self, told: &[Feedback]) {
        assert_eq!(told.len(), self.population(), "every point of the generation is told");
        self.search_mut().tell(told);
    }

    /// How many generations have been told.
    pub fn generation(&self) -> u64 {
        self.search().generation()
    }

    /// How many points [`Optimizer::ask`] gives. It may change from one generation to the next: restarts and
    /// MAP-Elites.
    pub fn population(&self) -> usize {
        self.search().population()
    }

    /// The centre of the distribution that points are drawn from, if it moves: the mean of reals, the nearest level, and
    /// the option that is most likely; for (1+1)-ES the parent.
    pub fn mean(&self) -> Option<Genome> {
        self.search().mean()
    }

    /// The overall step size, if it moves.
    pub fn sigma(&self) -> Option<f64> {
        self.search().sigma()
    }

    /// Why going on would be useless, if it would be.
    pub fn stop(&self) -> Option<Stop> {
        self.search().stop()
    }

    /// What has survived and is an answer each: the first front of NSGA-II, the elites of MAP-Elites, the archive of
    /// M2N2, the parent of (1+1)-ES; none for the others and before the first generation has been told.
    pub fn elites(&self) -> Vec<Genome> {
        self.search().elites()
    }
}

/// Why a search has nothing left to find.
///
/// Flat fitness is no reason: a benchmark score is a step function, and a generation of equals is an ordinary one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// Steps have shrunk, in every coordinate, to less than 1e-12 of the first ones.
    StepTooSmall,
    /// The covariance matrix has a condition number above 1e14.
    IllConditioned,
    /// Steps have grown to more than 1e4 times the first ones.
    Diverged,
    /// Steps no longer change the mean in some coordinate or along some axis.
    NoEffect,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StepTooSmall => "the search has converged: its steps are too small to matter",
            Self::IllConditioned => "the search is stuck: its covariance matrix is ill-conditioned",
            Self::Diverged => "the search has diverged: its steps are far larger than the first ones",
            Self::NoEffect => "the search has converged: its steps are lost in rounding",
        })
    }
}

/// How far a search is, and what it draws from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SearchCourse {
    seed: u64,
    generation: u64,
    /// Points of a generation, or those of them that are new.
    population: usize,
}

impl SearchCourse {
    /// The course of a search that begins, with as many points as the start says, or else `population`.
    fn new(start: &OptimizerStart, population: usize) -> Self {
        start.check();
        Self { seed: start.seed, generation: 0, population: start.population.unwrap_or(population) }
    }

    /// The random numbers of this generation.
    fn generator(&self) -> ChaCha8Rng {
        generator(self.seed, self.generation)
    }
}

/// The random numbers of one generation. The generator is named, not "the standard one", so that they never change.
fn generator(seed: u64, generation: u64) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(generation);
    generator
}
