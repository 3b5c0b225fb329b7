//! Which optimizer a search asks, and its settings.

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

/// Candidates that random search draws for each subset of items, unless said.
const RANDOM_POPULATION: usize = 12;

/// Most candidates of a generation: each is kept as a recipe while it runs, some 100 KB for a large model.
const MOST_POPULATION: usize = 10_000;

/// Most numbers of an optimizer that learns how each goes with each: a square of them is kept several times over.
const MOST_TOGETHER: usize = 2_000;

/// Most numbers of a generation's candidates together: 160 MB, and again when they are written.
const MOST_NUMBERS: usize = 20_000_000;

/// Cells of MAP-Elites along each task, as `CycleQD` has them.
const BINS: usize = 15;

/// How candidates are proposed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OptimizerSettings {
    /// Its name.
    pub name: Option<Algorithm>,
    /// CMA-ES: adapt the learning rate to the noise of the scores; true unless said.
    pub learning_rate_adaptation: Option<At<bool>>,
    /// CMA-ES: begin again, with larger generations, when it has come to rest.
    pub restarts: Option<At<RestartSettings>>,
    /// The first step's standard deviation, where 1 is the whole range; 1/6 unless said, and 1/20 for the mutations of MAP-Elites.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub sigma: Option<At<f64>>,
    /// Candidates in a generation, from 4 to 10,000; by the number of dimensions unless said.
    #[schemars(range(min = 4, max = MOST_POPULATION))]
    pub population: Option<At<usize>>,
}

/// An optimizer's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Covariance matrix adaptation. Choices are cut from real numbers, as in Sakana's paper.
    CmaEs,
    /// CMA-ES that learns each dimension's scale alone, for hundreds of them.
    SepCmaEs,
    /// CMA-ES whose steps never get too small for whole numbers and choices to change.
    CmaEsMargin,
    /// CMA-ES for numbers with a distribution over the options of each choice.
    CatCma,
    /// The same for whole numbers too, with a margin that keeps every option possible.
    CatCmaMargin,
    /// Several objectives: sorts by who is beaten in all of them.
    Nsga2,
    /// One candidate that is changed a little, and replaced by what is better.
    OnePlusOne,
    /// A grid of the best candidate for every combination of scores, in `CycleQD`'s form.
    MapElites,
    /// An archive whose members compete for the items they solve, in M2N2's form.
    M2n2,
    /// Uniform random search, the least that an optimizer must beat.
    Random,
}

/// How CMA-ES begins again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestartSettings {
    /// With twice as many candidates each time.
    Ipop,
    /// In turn with twice as many, and with few and short steps.
    Bipop,
}

impl Algorithm {
    /// Its name, as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::CmaEs => "cma_es",
            Self::SepCmaEs => "sep_cma_es",
            Self::CmaEsMargin => "cma_es_margin",
            Self::CatCma => "cat_cma",
            Self::CatCmaMargin => "cat_cma_margin",
            Self::Nsga2 => "nsga2",
            Self::OnePlusOne => "one_plus_one",
            Self::MapElites => "map_elites",
            Self::M2n2 => "m2n2",
            Self::Random => "random",
        }
    }

    /// Whether it keeps candidates for being good at one objective of several.
    pub fn weighs_several(self) -> bool {
        matches!(self, Self::Nsga2 | Self::MapElites | Self::M2n2)
    }

    /// Whether it keeps the best candidates of the whole search, which are finalists then.
    pub(crate) fn keeps_elites(self) -> bool {
        self.weighs_several() || self == Self::OnePlusOne
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

    /// Refuses a space that the optimizer could not keep in memory.
    pub(crate) fn check_space(&self, space: &Space) -> Result<(), Mistake> {
        let (n, algorithm) = (space.dimensions.len(), self.algorithm(space));
        let is_square = matches!(
            algorithm,
            Algorithm::CmaEs | Algorithm::CmaEsMargin | Algorithm::CatCma | Algorithm::CatCmaMargin
        );
        let place = self.population.map(|population| population.place).unwrap_or_default();
        if is_square && n > MOST_TOGETHER {
            let message = format!(
                "there are {n} numbers to search, and this optimizer learns how each goes with each of {MOST_TOGETHER}"
            );
            return Err(Mistake::new(message).hint(
                "`optimizer: sep_cma_es` is for many numbers; or let layers share one, with `groups` or `knots`",
            ));
        }
        if let Some(..=MOST_NUMBERS) = self.population.map_or(0, |population| population.value).checked_mul(n) {
            return Ok(());
        }
        let message = format!("so many candidates of {n} numbers each are more than {MOST_NUMBERS} numbers");
        let most = MOST_NUMBERS / n;
        Err(Mistake::new(message).hint(format!("write {most} or less")).under("population").at(place))
    }

    /// Which it is: the one that is named, or else one for what there is to search.
    pub fn algorithm(&self, space: &Space) -> Algorithm {
        let only_numbers = || space.coordinates().iter().all(|x| matches!(x, Coordinate::Real { .. }));
        self.name.unwrap_or_else(|| if only_numbers() { Algorithm::CmaEs } else { Algorithm::CatCmaMargin })
    }

    /// Whether CMA-ES adapts its learning rate to the noise of the scores.
    pub fn learning_rate_adaptation(&self) -> bool {
        self.learning_rate_adaptation.is_none_or(|adapt| adapt.value)
    }

    /// The first step's standard deviation: a sixth of the range, so that the bounds are three of them from the middle.
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

/// `optimizer: cma_es` is short for `optimizer: {name: cma_es}`.
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
