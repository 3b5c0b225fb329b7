//! A search file is a template with a `search` block: the objective, the optimizer and the budget.

mod entry;
mod items;
mod mergekit;
mod optimizer;
mod stages;
#[cfg(test)]
mod tests;

pub use self::{
    entry::{GoalEntry, JudgeCall, JudgeEntry, ScoredBy},
    items::{Anchors, Items, Racing},
    optimizer::{Algorithm, OptimizerSettings, RestartSettings},
    stages::Stage,
};

use std::path::Path;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Deserialize, Serialize};

use crate::{
    error::Result,
    recipe::{Recipe, Slot, parse_unified},
    template::Template,
    yaml::{At, Mistake, Node, NodeKind, read_text},
};

/// Largest budget, in evaluations of items: a thousand a second for thirty years.
pub const MOST_BUDGET: u64 = 1_000_000_000_000;

/// A template and the settings of its search.
#[derive(Clone, Debug, PartialEq)]
pub struct SearchFile {
    /// The recipe with holes.
    pub template: Template,
    /// The settings of the search.
    pub search: Search,
}

/// Settings of a search: the objective, the optimizer and the budget.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Search {
    /// The optimizer, by its name or with its settings; default: CMA-ES if only real numbers are
    /// searched, `CatCMA` with margin if there are choices or whole numbers too.
    #[serde(default, deserialize_with = "optimizer::read")]
    #[schemars(schema_with = "optimizer::schema")]
    pub optimizer: OptimizerSettings,
    /// Number of items that are evaluated to rank candidates, over all candidates. Random search beside it takes as
    /// many again; choosing and reporting the answer take their own items in addition.
    #[schemars(range(min = 1))]
    pub budget: At<u64>,
    /// Seed; the same seed searches the same way. Default: 1.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Device on which candidates are evaluated: `cpu`, the default, or `cuda:0` in a build with CUDA.
    #[serde(default = "default_device")]
    pub device: At<String>,
    /// Tasks and judges. A candidate's fitness is the weighted mean of their scores.
    pub objective: At<Vec<GoalEntry>>,
    /// Conditions on candidates: those that break one are ranked behind all that do not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constraints: Vec<GoalEntry>,
    /// Costs to keep small: objectives for optimizers of several, which also lower the fitness by their weights.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub minimise: Vec<Minimise>,
    /// Largest number of layers of a candidate; longer ones are ranked behind all others, unscored.
    pub most_layers: Option<At<usize>>,
    /// Gives better candidates of a generation more items, and others fewer: `true` for 3 rungs, or their number.
    #[serde(default)]
    pub racing: Racing,
    /// Scores candidates on the same few items in all generations; these stand for many: fitness is estimated.
    pub anchors: Option<At<Anchors>>,
    /// Starts a search among layers by leaving out each layer of the first path once, to see how each matters.
    #[serde(default)]
    pub layer_scan: Option<At<bool>>,
    /// Further tasks and judges, on which the answer is reported and which the search never sees.
    #[serde(default, deserialize_with = "entry::report")]
    #[schemars(schema_with = "entry::report_schema")]
    pub report: Vec<GoalEntry>,
}

/// A cost to keep small.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Minimise {
    /// The cost.
    pub what: At<Cost>,
    /// Amount that a cost as large as the first model's takes off the fitness; default: 0, which
    /// makes the cost only an objective for optimizers of several.
    #[serde(default = "default_cost")]
    #[schemars(range(min = 0))]
    pub weight: At<f64>,
}

/// A cost of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cost {
    /// Number of layers.
    Layers,
    /// Number of parameters.
    Parameters,
    /// Number of tokens that it generates for an answer, on average.
    Tokens,
}

impl Cost {
    /// Name in a search file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Layers => "layers",
            Self::Parameters => "parameters",
            Self::Tokens => "tokens",
        }
    }
}

/// Fractions of a task's items for each use; their sum is 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Fractions {
    /// Items that score candidates.
    #[schemars(range(min = 0, max = 1))]
    pub search: f64,
    /// Items that choose the answer among the finalists.
    #[schemars(range(min = 0, max = 1))]
    pub select: f64,
    /// Items for the score that is reported; nothing has used them before.
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

fn default_cost() -> At<f64> {
    At::nowhere(0.0)
}

impl SearchFile {
    /// Reads a search from a file.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&read_text(path)?, path)
    }

    /// Reads a search from the text of `file`.
    pub fn parse(text: &str, file: &Path) -> Result<Self> {
        let read = parse_unified(text).and_then(|tree| Self::of(tree, file));
        read.map_err(|mistake| mistake.seen_in(text).into_error(file))
    }

    /// Reads a search from its tree.
    fn of(mut tree: Node, file: &Path) -> std::result::Result<Self, Mistake> {
        let Some(node) = tree.take("search") else {
            return Err(no_search_block("this file", &tree, file));
        };
        let template = Template::read(&tree, file)?;
        let search = Search::deserialize(&node).and_then(|search| search.check().map(|()| search));
        let search = search.map_err(|mistake| mistake.under("search").at(node.place))?;
        let has_hole = |recipe: &Recipe<Slot>| recipe.settings().any(|(_, slot)| matches!(slot.value, Slot::Hole(_)));
        if template.variants().len() == 1 && !has_hole(template.first()) {
            return Err(Mistake::new("there is nothing to search, as no parameter is a hole")
                .hint("write one as in `weight: {search: [0.0, 1.5]}`")
                .at(node.place));
        }
        Ok(Self { template, search })
    }
}

/// The error for a document without a `search` block.
fn no_search_block(what: &str, tree: &Node, file: &Path) -> Mistake {
    let hint = if has_hole(tree) {
        "add one, such as\n\n  search:\n    budget: 6000\n    objective:\n    - {task: jcommonsenseqa, items: 30}\n\n\
         where `evomerge tasks` lists what a task may be"
            .to_owned()
    } else {
        format!("if it is a recipe, `evomerge merge {}` runs it", file.display())
    };
    Mistake::new(format!("{what} has no `search` block")).hint(hint).at(tree.place)
}

/// True if something in a tree looks like a hole or a choice.
fn has_hole(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Block(entries) => entries.iter().any(|(key, value)| {
            let is_open = matches!(&key.kind, NodeKind::Text(key) if key == "search" || key == "choose");
            (is_open && matches!(value.kind, NodeKind::List(_))) || has_hole(value)
        }),
        NodeKind::List(nodes) => nodes.iter().any(has_hole),
        _ => false,
    }
}

impl Search {
    fn check(&self) -> std::result::Result<(), Mistake> {
        self.optimizer.check().map_err(|mistake| mistake.under("optimizer"))?;
        if self.budget.value == 0 {
            let mistake = Mistake::new("it must be at least 1").hint("give the number of items to evaluate");
            return Err(mistake.under("budget").at(self.budget.place));
        }
        if self.budget.value > MOST_BUDGET {
            let mistake = Mistake::new(format!("{} evaluations are more than {MOST_BUDGET}", self.budget.value));
            return Err(mistake
                .hint("a search can be continued with a larger budget")
                .under("budget")
                .at(self.budget.place));
        }
        if self.objective.value.is_empty() {
            let mistake = Mistake::new("a search needs a task").hint("write one as in `- task: tasks/math.yaml`");
            return Err(mistake.under("objective").at(self.objective.place));
        }
        self.objective.iter().enumerate().try_for_each(|(index, objective)| {
            objective.check_objective().map_err(|mistake| mistake.under(&format!("objective[{index}]")))
        })?;
        self.constraints.iter().enumerate().try_for_each(|(index, constraint)| {
            constraint.check_constraint().map_err(|mistake| mistake.under(&format!("constraints[{index}]")))
        })?;
        self.report.iter().enumerate().try_for_each(|(index, entry)| {
            entry.check_report().map_err(|mistake| mistake.under(&format!("report[{index}]")))
        })?;
        self.check_anchors().map_err(|mistake| mistake.under("anchors"))?;
        for (index, Minimise { weight, .. }) in self.minimise.iter().enumerate() {
            if weight.value < 0.0 {
                let mistake = Mistake::new(format!("{} is less than 0", weight.value)).under("weight");
                return Err(mistake.under(&format!("minimise[{index}]")).at(weight.place));
            }
        }
        match self.most_layers {
            Some(At { value: 0, place }) => Err(Mistake::new("it must be at least 1").under("most_layers").at(place)),
            _ => Ok(()),
        }
    }
}

impl Search {
    /// Everything that scores: the objective, the constraints and the report, in this order.
    pub fn entries(&self) -> impl Iterator<Item = &GoalEntry> {
        self.objective.iter().chain(&self.constraints).chain(&self.report)
    }

    /// True if a judge scores.
    pub fn has_judges(&self) -> bool {
        self.entries().any(|entry| matches!(entry.by, ScoredBy::Judge(_)))
    }

    /// Refuses racing and growing items with anchors, which are the same items for all candidates and generations.
    fn check_anchors(&self) -> std::result::Result<(), Mistake> {
        let Some(At { place, .. }) = self.anchors else { return Ok(()) };
        if self.racing.rungs > 1 {
            let mistake = Mistake::new("a race gives candidates different numbers of items, anchors the same to all");
            return Err(mistake.hint("remove one of `racing` and `anchors`").at(place));
        }
        let grows = |objective: &&GoalEntry| objective.items.from < objective.items.to;
        match self.objective.iter().find(grows) {
            Some(objective) => {
                let Items { from, to } = objective.items.value;
                let mistake =
                    Mistake::new(format!("anchors are chosen once, but the items of {} grow", **objective.name()));
                Err(mistake.hint(format!("write `items: {from}` or `items: {to}`")).at(place))
            }
            None => Ok(()),
        }
    }
}

/// The JSON Schema of recipes and search files, for editors: a recipe is a search file without holes and `search`.
pub fn schema() -> serde_json::Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let search = generator.subschema_for::<Search>();
    let mut root = serde_json::Value::from(generator.into_root_schema_for::<Recipe<Slot>>());
    root["properties"]["search"] = search.into();
    root
}
