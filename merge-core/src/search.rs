//! A search file is a template with a `search` block: what to optimise, how, and for how long.

#[cfg(test)]
mod tests;

use std::{fmt, path::Path};

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, IntoDeserializer, value::MapAccessDeserializer},
};

use crate::{
    error::Result,
    optimizer,
    recipe::{At, MethodInfo, Mistake, Node, Recipe, from_tree, read_text},
    template::{Slot, Space, Template},
};

/// A template and how to search it.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchFile {
    /// The recipe with holes.
    pub template: Template,
    /// How to fill them.
    pub search: Search,
}

/// What to optimise, how, and for how long.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// The optimiser, by its name or with its settings; CMA-ES unless said.
    #[serde(default, deserialize_with = "optimizer")]
    #[schemars(schema_with = "optimizer_schema")]
    pub optimizer: Optimizer,
    /// How many items are evaluated to rank candidates, over all of them. Random search beside it takes as many again;
    /// choosing and reporting the answer take what their items are.
    #[schemars(range(min = 1))]
    pub budget: At<u64>,
    /// The same seed searches the same way; 1 unless said.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Where candidates are evaluated: `cpu`, which it is unless said, or `cuda:0` in a build with CUDA.
    #[serde(default = "default_device")]
    pub device: At<String>,
    /// The tasks whose scores, in their weighted mean, are a candidate's fitness.
    pub objective: At<Vec<Objective>>,
    /// Further tasks, on which the winner is reported and which the search never sees.
    #[serde(default)]
    pub report: Vec<At<String>>,
}

/// How candidates are proposed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Optimizer {
    /// Its name.
    pub name: Algorithm,
    /// CMA-ES: adapt the learning rate to the noise of the scores; true unless said.
    pub learning_rate_adaptation: Option<At<bool>>,
    /// CMA-ES: the first step's standard deviation, where 1 is the whole range; 1/6 unless said.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    pub sigma: Option<At<f64>>,
    /// Candidates in a generation, at least 4; by the number of dimensions unless said.
    #[schemars(range(min = 4))]
    pub population: Option<At<usize>>,
}

/// An optimiser's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Covariance matrix adaptation.
    #[default]
    CmaEs,
    /// Uniform random search, the least that an optimiser must beat.
    Random,
}

/// A task whose score counts.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// The task's file, relative to this file or to the current directory; or what `evomerge tasks` calls one.
    pub task: At<String>,
    /// How many fresh items score a generation; 60 unless said. With 0 the task ranks no candidates, but takes part in
    /// choosing and reporting the answer.
    #[serde(default = "default_items")]
    pub items: At<usize>,
    /// What counts of the task: a measure such as `acc` or `gold_margin`, or with a filter `exact_match,flexible-extract`; the
    /// task's main one unless said.
    pub metric: Option<At<String>>,
    /// The share of this task's score in the fitness, relative to the others'; 1 unless said.
    #[serde(default = "default_weight")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub weight: At<f64>,
    /// How a task that divides one split of its data divides it; 0.6, 0.2 and 0.2 unless said. With it, a built-in task divides
    /// the items that it is reported on.
    pub split: Option<At<Fractions>>,
}

/// The fractions of a task's items for each use; their sum is 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fractions {
    /// Items that score candidates.
    #[schemars(range(min = 0, max = 1))]
    pub search: f64,
    /// Items that choose the winner among the best candidates.
    #[schemars(range(min = 0, max = 1))]
    pub select: f64,
    /// Items that nothing saw before, for the score that is reported.
    #[schemars(range(min = 0, max = 1))]
    pub report: f64,
}

impl Default for Fractions {
    fn default() -> Self {
        Self { search: 0.6, select: 0.2, report: 0.2 }
    }
}

fn default_device() -> At<String> {
    At::nowhere("cpu".to_owned())
}

fn default_seed() -> u64 {
    1
}

fn default_items() -> At<usize> {
    At::nowhere(60)
}

fn default_weight() -> At<f64> {
    At::nowhere(1.0)
}

impl SearchFile {
    /// Reads a search from a file.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&read_text(path)?, path)
    }

    /// Reads a search from the text of `file`.
    pub fn parse(text: &str, file: &Path) -> Result<Self> {
        Self::parse_by(text, file, &MethodInfo::all())
    }

    /// Reads a search whose template may name these methods.
    pub(crate) fn parse_by(text: &str, file: &Path, methods: &[MethodInfo]) -> Result<Self> {
        let read = || {
            let mut tree = Node::parse(text)?;
            let Some(node) = tree.take("search") else {
                return Err(Mistake::new("this file has no `search` block")
                    .hint(format!("if it is a recipe, `evomerge merge {}` runs it", file.display()))
                    .at(tree.place));
            };
            let template: Template = from_tree(&tree, file, methods)?;
            let search = Search::deserialize(&node).and_then(|search| search.check().map(|()| search));
            let search = search.map_err(|mistake| mistake.under("search").at(node.place))?;
            if !template.settings().any(|(_, slot)| matches!(slot.value, Slot::Hole(_))) {
                return Err(Mistake::new("there is nothing to search, as no parameter is a hole")
                    .hint("write one as in `weight: {search: [0.0, 1.5]}`")
                    .at(node.place));
            }
            Ok(Self { template, search })
        };
        read().map_err(|mistake| mistake.into_error(file))
    }
}

impl Optimizer {
    /// The optimiser at its first generation.
    pub fn start(&self, space: &Space, seed: u64) -> optimizer::Optimizer {
        let start = optimizer::Start {
            coordinates: space.init().into_iter().map(|start| optimizer::Coordinate::Real { start }).collect(),
            sigma: self.sigma(),
            population: self.population.map(|population| population.value),
            seed,
        };
        match self.name {
            Algorithm::CmaEs => optimizer::Optimizer::cma_es(start, self.learning_rate_adaptation()),
            Algorithm::Random => optimizer::Optimizer::random(start),
        }
    }

    /// Whether CMA-ES adapts its learning rate to the noise of the scores.
    pub fn learning_rate_adaptation(&self) -> bool {
        self.learning_rate_adaptation.is_none_or(|adapt| adapt.value)
    }

    /// The first step's standard deviation: a sixth of the range, so that the bounds are three of them from the middle.
    pub fn sigma(&self) -> f64 {
        self.sigma.map_or(1.0 / 6.0, |sigma| sigma.value)
    }

    fn check(&self) -> std::result::Result<(), Mistake> {
        if let Some(sigma) = self.sigma.filter(|sigma| !(sigma.value > 0.0 && sigma.value <= 1.0)) {
            let mistake = Mistake::new(format!("{} is not more than 0 and at most 1", sigma.value));
            return Err(mistake.hint("1 is the whole range").under("sigma").at(sigma.place));
        }
        if let Some(population) = self.population.filter(|population| population.value < 4) {
            return Err(Mistake::new(format!("{} is less than 4", population.value))
                .under("population")
                .at(population.place));
        }
        let ours = [
            ("learning_rate_adaptation", self.learning_rate_adaptation.map(|adapt| adapt.place)),
            ("sigma", self.sigma.map(|sigma| sigma.place)),
        ];
        match ours.into_iter().find_map(|(key, place)| place.map(|place| (key, place))) {
            Some((key, place)) if self.name == Algorithm::Random => {
                Err(Mistake::new("random search has no such setting").hint("remove it").under(key).at(place))
            }
            _ => Ok(()),
        }
    }
}

impl Search {
    fn check(&self) -> std::result::Result<(), Mistake> {
        self.optimizer.check().map_err(|mistake| mistake.under("optimizer"))?;
        if self.budget.value == 0 {
            let mistake = Mistake::new("0 evaluations find nothing").hint("give the number of items to evaluate");
            return Err(mistake.under("budget").at(self.budget.place));
        }
        if self.objective.value.is_empty() {
            let mistake = Mistake::new("a search needs a task").hint("write one as in `- task: tasks/math.yaml`");
            return Err(mistake.under("objective").at(self.objective.place));
        }
        self.objective.iter().enumerate().try_for_each(|(index, objective)| {
            objective.check().map_err(|mistake| mistake.under(&format!("objective[{index}]")))
        })
    }
}

impl Objective {
    fn check(&self) -> std::result::Result<(), Mistake> {
        if self.weight.value <= 0.0 {
            let mistake = Mistake::new(format!("{} is not more than 0", self.weight.value));
            return Err(mistake
                .hint("a task that should not count belongs under `report`")
                .under("weight")
                .at(self.weight.place));
        }
        let Some(At { value: Fractions { search, select, report }, place }) = self.split else { return Ok(()) };
        let refused = |message: String| Err(Mistake::new(message).under("split").at(place));
        if [search, select, report].iter().any(|share| !(0.0..=1.0).contains(share)) {
            return refused("each fraction must be between 0 and 1".to_string());
        }
        if search == 0.0 {
            return refused("a search needs items to search on".to_string());
        }
        // Room for the last bits of fractions such as 1/3.
        if (search + select + report - 1.0).abs() > 1e-6 {
            return refused(format!("the fractions sum to {}, not to 1", search + select + report));
        }
        Ok(())
    }
}

/// `optimizer: cma_es` is short for `optimizer: {name: cma_es}`.
fn optimizer<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Optimizer, D::Error> {
    deserializer.deserialize_any(OptimizerVisitor)
}

struct OptimizerVisitor;

impl<'de> de::Visitor<'de> for OptimizerVisitor {
    type Value = Optimizer;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an optimiser's name, or a block with its `name` and settings")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> std::result::Result<Optimizer, E> {
        Ok(Optimizer { name: Algorithm::deserialize(name.into_deserializer())?, ..Optimizer::default() })
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> std::result::Result<Optimizer, A::Error> {
        Optimizer::deserialize(MapAccessDeserializer::new(map))
    }
}

fn optimizer_schema(generator: &mut SchemaGenerator) -> schemars::Schema {
    let (name, block) = (generator.subschema_for::<Algorithm>(), generator.subschema_for::<Optimizer>());
    json_schema!({ "anyOf": [name, block] })
}

/// The JSON Schema of recipes and search files, for editors: a recipe is a search file without holes and `search`.
pub fn schema() -> serde_json::Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let search = generator.subschema_for::<Search>();
    let mut root = serde_json::Value::from(generator.into_root_schema_for::<Recipe<Slot>>());
    root["properties"]["search"] = search.into();
    root
}
