//! The optimizer of a search, and its settings.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, IntoDeserializer, value::MapAccessDeserializer},
};

use crate::{
    optimizer::{self, Coordinate, OptimizerStart, Regime},
    template::Space,
    yaml::{At, Mistake},
};

/// Default number of candidates that random search draws for each subset of items.
const RANDOM_POPULATION: usize = 12;

/// Largest generation: each candidate is kept as a recipe while it runs, some 100 KB for a large model.
const MOST_POPULATION: usize = 10_000;

/// Most dimensions for an optimizer that learns a full covariance: it keeps several matrices of that size.
const MOST_TOGETHER: usize = 2_000;

/// Most numbers in a generation, over all its candidates: 160 MB, and as much again when they are written.
const MOST_NUMBERS: usize = 20_000_000;

/// Number of cells of MAP-Elites along each task, as in `CycleQD`.
const BINS: usize = 15;

/// Optimizer that proposes candidates, and its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OptimizerSettings {
    /// Name of the optimizer.
    pub name: Option<Algorithm>,
    /// CMA-ES: adapt the learning rate to the noise of the scores; default: true.
    pub learning_rate_adaptation: Option<At<bool>>,
    /// CMA-ES: start again, with larger generations, after it has converged.
    pub restarts: Option<At<RestartSettings>>,
    /// Standard deviation of the first step, where 1 is the whole range; default: 1/6, for MAP-Elites 1/20.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub sigma: Option<At<f64>>,
    /// Candidates in a generation, from 4 to 10,000; default: by the number of dimensions.
    #[schemars(range(min = 4, max = MOST_POPULATION))]
    pub population: Option<At<usize>>,
}

/// Name of an optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Covariance matrix adaptation. Each option of a choice is an interval of a real number, as in Sakana's paper.
    CmaEs,
    /// CMA-ES that learns only the scale of each dimension, for hundreds of dimensions.
    SepCmaEs,
    /// CMA-ES with steps that stay large enough for whole numbers and choices to change.
    CmaEsMargin,
    /// CMA-ES for numbers, with a distribution over the options of each choice.
    CatCma,
    /// `cat_cma` for whole numbers too, with a margin that keeps every option possible.
    CatCmaMargin,
    /// Non-dominated sorting, for several objectives.
    Nsga2,
    /// One candidate that is changed a little, and replaced if the change is better.
    OnePlusOne,
    /// A grid of the best candidate for every combination of scores, in `CycleQD`'s form.
    MapElites,
    /// An archive whose members compete for the items that they solve, in M2N2's form.
    M2n2,
    /// Uniform random search, which every other optimizer must beat.
    Random,
}

/// Restarts of CMA-ES.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestartSettings {
    /// Each restart doubles the number of candidates.
    Ipop,
    /// Restarts with twice as many candidates, and restarts with few candidates and short steps.
    Bipop,
}

/// Properties of an optimizer.
struct AlgorithmRow {
    /// Its name in a search file.
    name: &'static str,
    /// Candidates of the whole search that it keeps.
    keeps: Keeps,
    /// True if it learns how every two dimensions go together.
    has_covariance: bool,
}

/// Candidates of the whole search that an optimizer keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeps {
    Nothing,
    /// The best ones.
    Best,
    /// Those that are good at one objective of several.
    BestOfEach,
}

impl Algorithm {
    /// The table of the optimizers.
    fn row(self) -> AlgorithmRow {
        let row = |name, keeps, has_covariance| AlgorithmRow { name, keeps, has_covariance };
        match self {
            Self::CmaEs => row("cma_es", Keeps::Nothing, true),
            Self::SepCmaEs => row("sep_cma_es", Keeps::Nothing, false),
            Self::CmaEsMargin => row("cma_es_margin", Keeps::Nothing, true),
            Self::CatCma => row("cat_cma", Keeps::Nothing, true),
            Self::CatCmaMargin => row("cat_cma_margin", Keeps::Nothing, true),
            Self::Nsga2 => row("nsga2", Keeps::BestOfEach, false),
            Self::OnePlusOne => row("one_plus_one", Keeps::Best, false),
            Self::MapElites => row("map_elites", Keeps::BestOfEach, false),
            Self::M2n2 => row("m2n2", Keeps::BestOfEach, false),
            Self::Random => row("random", Keeps::Nothing, false),
        }
    }

    /// Name in a search file.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// True if it keeps candidates that are good at one objective of several.
    pub fn weighs_several(self) -> bool {
        self.row().keeps == Keeps::BestOfEach
    }

    /// True if it keeps the best candidates of the whole search, which then are finalists.
    pub(crate) fn keeps_elites(self) -> bool {
        self.row().keeps != Keeps::Nothing
    }
}

impl OptimizerSettings {
    /// The optimizer at its first generation.
    pub fn start(&self, space: &Space, seed: u64) -> optimizer::Optimizer {
        use optimizer::Optimizer as O;
        let population = self.population.map(|population| population.value);
        let algorithm = self.algorithm(space);
        let sigma = match algorithm {
            Algorithm::MapElites if self.sigma.is_none() => 0.05,
            _ => self.sigma(),
        };
        let start = OptimizerStart { coordinates: space.coordinates(), sigma, population, seed };
        match (algorithm, self.restarts.map(|restarts| restarts.value)) {
            (Algorithm::CmaEs, None) => O::cma_es(start, self.learning_rate_adaptation()),
            (Algorithm::CmaEs, Some(RestartSettings::Ipop)) => O::restarts(start, Regime::Ipop),
            (Algorithm::CmaEs, Some(RestartSettings::Bipop)) => O::restarts(start, Regime::Bipop),
            (Algorithm::SepCmaEs, _) => O::sep_cma_es(start),
            (Algorithm::CmaEsMargin, _) => O::cma_es_margin(start),
            (Algorithm::CatCma, _) => O::cat_cma(start),
            (Algorithm::CatCmaMargin, _) => O::cat_cma_margin(start),
            (Algorithm::Nsga2, _) => O::nsga2(start),
            (Algorithm::OnePlusOne, _) => O::one_plus_one(start),
            (Algorithm::MapElites, _) => O::map_elites(start, BINS),
            (Algorithm::M2n2, _) => O::m2n2(start),
            (Algorithm::Random, _) => {
                O::random(OptimizerStart { population: Some(population.unwrap_or(RANDOM_POPULATION)), ..start })
            }
        }
    }

    /// Refuses a space for which the optimizer would need too much memory.
    pub(crate) fn check_space(&self, space: &Space) -> Result<(), Mistake> {
        let (n, algorithm) = (space.dimensions.len(), self.algorithm(space));
        let place = self.population.map(|population| population.place).unwrap_or_default();
        if algorithm.row().has_covariance && n > MOST_TOGETHER {
            let message = format!(
                "there are {n} numbers to search, and this optimizer learns the covariances of at most {MOST_TOGETHER}"
            );
            return Err(Mistake::new(message).hint(
                "`optimizer: sep_cma_es` is for many numbers; or let layers share one, with `groups` or `knots`",
            ));
        }
        let population = self.population.map_or(0, |population| population.value);
        if let Some(..=MOST_NUMBERS) = population.checked_mul(n) {
            return Ok(());
        }
        let message =
            format!("{population} candidates of {n} numbers each are more than {MOST_NUMBERS} numbers in all");
        let most = MOST_NUMBERS / n;
        Err(Mistake::new(message).hint(format!("write {most} or less")).under("population").at(place))
    }

    /// The algorithm that is named, or else the default for the space.
    pub fn algorithm(&self, space: &Space) -> Algorithm {
        let only_numbers = || space.coordinates().iter().all(|x| matches!(x, Coordinate::Real { .. }));
        self.name.unwrap_or_else(|| if only_numbers() { Algorithm::CmaEs } else { Algorithm::CatCmaMargin })
    }

    /// True if CMA-ES adapts its learning rate to the noise of the scores.
    pub fn learning_rate_adaptation(&self) -> bool {
        self.learning_rate_adaptation.is_none_or(|adapt| adapt.value)
    }

    /// Standard deviation of the first step; default: 1/6 of the range, which puts a bound 3 σ from the middle.
    pub fn sigma(&self) -> f64 {
        self.sigma.map_or(1.0 / 6.0, |sigma| sigma.value)
    }

    pub(super) fn check(&self) -> Result<(), Mistake> {
        if let Some(sigma) = self.sigma.filter(|sigma| !(sigma.value > 0.0 && sigma.value <= 1.0)) {
            let mistake = Mistake::new(format!("{} is not more than 0 and at most 1", sigma.value));
            return Err(mistake.hint("1 is the whole range").under("sigma").at(sigma.place));
        }
        if let Some(population) = self.population.filter(|population| population.value < 4) {
            return Err(Mistake::new(format!("{} is less than 4", population.value))
                .under("population")
                .at(population.place));
        }
        if let Some(population) = self.population.filter(|population| population.value > MOST_POPULATION) {
            let mistake = Mistake::new(format!("{} is more than {MOST_POPULATION}", population.value));
            return Err(mistake
                .hint("a generation is kept in memory as a whole; more generations find more than larger ones")
                .under("population")
                .at(population.place));
        }
        let is_cma = self.name.is_none_or(|name| name == Algorithm::CmaEs);
        let only_cma = [
            ("learning_rate_adaptation", self.learning_rate_adaptation.map(|adapt| adapt.place)),
            ("restarts", self.restarts.map(|restarts| restarts.place)),
        ];
        let no_step = self.name == Some(Algorithm::Random);
        let steps = [("sigma", self.sigma.map(|sigma| sigma.place))];
        let foreign = only_cma.into_iter().filter(|_| !is_cma).chain(steps.into_iter().filter(|_| no_step));
        match foreign.into_iter().find_map(|(key, place)| place.map(|place| (key, place))) {
            Some((key, place)) => {
                let name = if no_step { "random search" } else { "this optimizer" };
                Err(Mistake::new(format!("{name} has no such setting")).hint("remove it").under(key).at(place))
            }
            None => Ok(()),
        }
    }
}

/// Reads the settings, of which `optimizer: cma_es` is the short form of `optimizer: {name: cma_es}`.
pub(super) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OptimizerSettings, D::Error> {
    deserializer.deserialize_any(OptimizerVisitor)
}

struct OptimizerVisitor;

impl<'de> de::Visitor<'de> for OptimizerVisitor {
    type Value = OptimizerSettings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an optimizer's name, or a block with its `name` and settings")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<OptimizerSettings, E> {
        Ok(OptimizerSettings {
            name: Some(Algorithm::deserialize(name.into_deserializer())?),
            ..OptimizerSettings::default()
        })
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<OptimizerSettings, A::Error> {
        OptimizerSettings::deserialize(MapAccessDeserializer::new(map))
    }
}

pub(super) fn schema(generator: &mut SchemaGenerator) -> Schema {
    let (name, block) = (generator.subschema_for::<Algorithm>(), generator.subschema_for::<OptimizerSettings>());
    json_schema!({ "anyOf": [name, block] })
}
