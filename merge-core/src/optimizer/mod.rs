//! Optimizers: each asks for genomes, and is told the fitness of each.
//!
//! Asking is pure: it draws from `(seed, generation)`, so an optimizer that is read back from its
//! JSON continues as if it had never stopped.
//!
//! **Survivors are asked again.** The elitist searches ((1+1)-ES, NSGA-II, MAP-Elites, M2N2) ask
//! for their survivors together with new genomes. Scores on different items cannot be compared, and
//! the best of many noisy scores is an accident that would otherwise never be corrected. If the
//! items do not change, remembered scores make this free.
//!
//! **Thresholds.** A search of real numbers keeps one real number for an integer or a choice, and cuts [0, 1] into
//! equal intervals, one for each value; the outer intervals extend beyond the ends. For two options this is the
//! encoding of Sakana AI's layer space (arXiv 2403.13187). As its steps shrink, such a search can no longer change a
//! value; the margins of [`Optimizer::cma_es_margin`] and `CatCMA` prevent this.

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

use gaussian::Gaussian;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

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
/// The natural range of a real coordinate is [0, 1], but an optimizer may leave it: the caller folds it back. An
/// integer coordinate is a whole number below its levels, a choice the number of its option.
pub type Genome = Vec<f64>;

/// Fitness of a genome: higher is better, and NaN is as bad as negative infinity.
///
/// Only the order matters, except for [`Optimizer::cat_cma_margin`], whose penalty is measured by differences.
pub type Fitness = f64;

/// The scores that an optimizer is told for a genome.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Feedback {
    /// Overall fitness. It ranks genomes, except for optimizers that use several goals or items.
    pub fitness: Fitness,
    /// Fitness for each of several goals, higher is better: for NSGA-II and MAP-Elites. If empty,
    /// the fitness is the only goal. The number of goals is always the same.
    pub objectives: Vec<Fitness>,
    /// Score on each item of this generation, from 0 up: for M2N2. If empty, the fitness is the
    /// only item. The number of items is the same for all genomes of a generation.
    pub items: Vec<f64>,
}

impl From<Fitness> for Feedback {
    fn from(fitness: Fitness) -> Self {
        Self { fitness, ..Self::default() }
    }
}

impl Feedback {
    /// The goals as finite numbers, which JSON can hold.
    fn goals(&self) -> Vec<f64> {
        let goals = if self.objectives.is_empty() { std::slice::from_ref(&self.fitness) } else { &self.objectives };
        goals.iter().map(|goal| ranking::finite(*goal)).collect()
    }
}

/// A search through genomes, generation by generation: plain data that JSON keeps exactly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimizer {
    /// Covariance matrix adaptation evolution strategy.
    CmaEs(CmaEs),
    /// CMA-ES with a diagonal covariance matrix.
    SepCmaEs(SepCmaEs),
    /// CMA-ES that keeps a minimum probability for each integer to change.
    CmaEsMargin(CmaEsMargin),
    /// A normal distribution for numbers and a categorical one for choices.
    CatCma(CatCma),
    /// `CatCMA` with margins for integers.
    CatCmaMargin(CatCmaMargin),
    /// CMA-ES that starts again after it stops.
    Restarts(Restarts),
    /// Non-dominated sorting: a front of genomes for several goals.
    Nsga2(Nsga2),
    /// One parent and its mutants.
    OnePlusOne(OnePlusOne),
    /// The best genome for each kind of behaviour.
    MapElites(MapElites),
    /// Competition for items, and parents that complement each other.
    M2n2(M2n2),
    /// Points drawn uniformly, without learning: the baseline.
    Random(RandomSearch),
}

/// The interface of every search; see the methods of [`Optimizer`].
trait AskTell {
    fn ask(&self) -> Vec<Genome>;
    fn tell(&mut self, told: &[Feedback]);
    /// Progress of the search, from which `generation` and `population` follow by default.
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
    /// The normal distribution that points are drawn from, from which `sigma` and `stop` follow by default.
    fn gaussian(&self) -> Option<&Gaussian> {
        None
    }
    fn sigma(&self) -> Option<f64> {
        self.gaussian().map(|gaussian| gaussian.distribution.sigma)
    }
    fn stop(&self) -> Option<Stop> {
        self.gaussian()?.stop()
    }
    fn elites(&self) -> Vec<Genome> {
        Vec::new()
    }
}

/// The search within an optimizer, whichever it is.
macro_rules! each {
    ($optimizer:expr) => {
        match $optimizer {
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
    };
}

/// Constructors. Each panics if its start is not valid: see [`OptimizerStart`].
impl Optimizer {
    /// CMA-ES (Hansen, [arXiv 1604.00772](https://arxiv.org/abs/1604.00772)) with active weights.
    ///
    /// Learning-rate adaptation ([arXiv 2304.03473](https://arxiv.org/abs/2304.03473)) slows the search down if fitness
    /// is noisy, and costs more generations if it is not. Default population: 4 + ⌊3 ln n⌋, as in the related searches.
    /// Integers and choices are cut by thresholds.
    pub fn cma_es(start: OptimizerStart, learning_rate_adaptation: bool) -> Self {
        Self::CmaEs(CmaEs::new(start, learning_rate_adaptation))
    }

    /// CMA-ES with a diagonal covariance matrix (Ros & Hansen, PPSN 2008): linear in time and memory, and faster to
    /// learn in more than about a hundred dimensions. Integers and choices are cut by thresholds.
    pub fn sep_cma_es(start: OptimizerStart) -> Self {
        Self::SepCmaEs(SepCmaEs::new(start))
    }

    /// CMA-ES with margin (Hamano et al., [arXiv 2205.13482](https://arxiv.org/abs/2205.13482)):
    /// integers, and choices taken as integers, keep a probability to change of 1 / (n λ).
    pub fn cma_es_margin(start: OptimizerStart) -> Self {
        Self::CmaEsMargin(CmaEsMargin::new(start))
    }

    /// `CatCMA` (Hamano et al., [arXiv 2405.09962](https://arxiv.org/abs/2405.09962)): a normal distribution for
    /// numbers, with integers cut by thresholds, and a categorical one for choices.
    pub fn cat_cma(start: OptimizerStart) -> Self {
        Self::CatCma(CatCma::new(start))
    }

    /// `CatCMA` with margin (Hamano et al., [arXiv 2504.07884](https://arxiv.org/abs/2504.07884)):
    /// integers keep a probability to change, bad points count too, and a penalty keeps reals in
    /// [0, 1]. It suits all kinds of coordinates.
    pub fn cat_cma_margin(start: OptimizerStart) -> Self {
        Self::CatCmaMargin(CatCmaMargin::new(start))
    }

    /// CMA-ES that starts again each time it stops, and so never stops itself: for many optima.
    pub fn restarts(start: OptimizerStart, regime: Regime) -> Self {
        Self::Restarts(Restarts::new(start, regime))
    }

    /// NSGA-II (Deb et al., IEEE Transactions on Evolutionary Computation 6(2), 2002), for several goals.
    ///
    /// Half of a generation are the parents, which are asked again. Default population: 40 (the
    /// usual 100 parents are a population of 200).
    pub fn nsga2(start: OptimizerStart) -> Self {
        Self::Nsga2(Nsga2::new(start))
    }

    /// (1+1)-ES: a parent and its mutant, of which the better survives; the baseline of evolution.
    /// A population of P is one parent and P - 1 mutants; default: 2.
    pub fn one_plus_one(start: OptimizerStart) -> Self {
        Self::OnePlusOne(OnePlusOne::new(start))
    }

    /// MAP-Elites in the form of `CycleQD` (Kuroki et al., [arXiv 2410.14735](https://arxiv.org/abs/2410.14735)) on
    /// genomes: an archive for each goal, cut into `bins` cells along each of the other goals.
    ///
    /// The start's population counts new genomes, default: 8; the elites are asked beside them. Goals are cut between 0
    /// and 1, and should lie there. `sigma` is the standard deviation of mutations, and should be small.
    ///
    /// # Panics
    ///
    /// Also if `bins` is 0.
    pub fn map_elites(start: OptimizerStart, bins: usize) -> Self {
        Self::MapElites(MapElites::new(start, bins))
    }

    /// M2N2 on genomes (Abrantes, Lange & Tang, [arXiv 2508.16204](https://arxiv.org/abs/2508.16204)): genomes that
    /// solve items that few solve survive, and a second parent is chosen for what it adds to the first.
    ///
    /// Half of a generation is the archive, which is asked again. Default population: 40, for the
    /// authors' archive of 20.
    pub fn m2n2(start: OptimizerStart) -> Self {
        Self::M2n2(M2n2::new(start))
    }

    /// Points drawn uniformly from [0, 1), from the levels and from the options; default population: 12.
    pub fn random(start: OptimizerStart) -> Self {
        Self::Random(RandomSearch::new(start))
    }

    fn search(&self) -> &dyn AskTell {
        each!(self)
    }

    fn search_mut(&mut self) -> &mut dyn AskTell {
        each!(self)
    }
}

/// The steps of a search, as a study takes them.
impl Optimizer {
    /// The points of this generation: the same ones until [`Optimizer::tell`].
    pub fn ask(&self) -> Vec<Genome> {
        self.search().ask()
    }

    /// Learns the scores of the points of [`Optimizer::ask`], in their order, and moves on to the next generation.
    ///
    /// # Panics
    ///
    /// If the number of scores is not that of the points.
    pub fn tell(&mut self, told: &[Feedback]) {
        assert_eq!(told.len(), self.population(), "every point of the generation is told");
        self.search_mut().tell(told);
    }

    /// Number of generations that have been told.
    pub fn generation(&self) -> u64 {
        self.search().generation()
    }

    /// Number of points that [`Optimizer::ask`] gives. With restarts and MAP-Elites it may change
    /// between generations.
    pub fn population(&self) -> usize {
        self.search().population()
    }

    /// The centre of the distribution that points are drawn from, if it moves: the mean of reals,
    /// the nearest level, and the most likely option; for (1+1)-ES the parent.
    pub fn mean(&self) -> Option<Genome> {
        self.search().mean()
    }

    /// The overall step size, if it moves.
    pub fn sigma(&self) -> Option<f64> {
        self.search().sigma()
    }

    /// The reason why the search should stop, if there is one.
    pub fn stop(&self) -> Option<Stop> {
        self.search().stop()
    }

    /// The survivors, each of which may be the answer: the first front of NSGA-II, the elites of MAP-Elites, the
    /// archive of M2N2 (all empty before the first `tell`), the parent of (1+1)-ES. Empty for the other searches.
    pub fn elites(&self) -> Vec<Genome> {
        self.search().elites()
    }
}

/// Reason why a search has nothing left to find.
///
/// Flat fitness is no reason: a benchmark score is a step function, and generations of equal scores are normal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stop {
    /// Steps in every coordinate have shrunk to less than 1e-12 of the first ones.
    StepTooSmall,
    /// The covariance matrix has a condition number above 1e14.
    IllConditioned,
    /// Steps have grown to more than 1e4 times the first ones.
    Diverged,
    /// Steps no longer change the mean in some coordinate or along some axis.
    NoEffect,
}

/// Progress of a search, and the source of its random numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SearchCourse {
    seed: u64,
    generation: u64,
    /// Number of points in a generation; for MAP-Elites, of new ones.
    population: usize,
}

impl SearchCourse {
    /// The course of a new search: the population is the start's, or else `population`.
    fn new(start: &OptimizerStart, population: usize) -> Self {
        start.check();
        Self { seed: start.seed, generation: 0, population: start.population.unwrap_or(population) }
    }

    /// The generator of this generation's random numbers.
    fn generator(&self) -> ChaCha8Rng {
        generator(self.seed, self.generation)
    }
}

/// A generator for one generation. It is chosen by name, not as "the standard one", so that its numbers never change.
fn generator(seed: u64, generation: u64) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(generation);
    generator
}
