//! Converts files of mergekit-evolve (`genome`, `tasks`) to search files: same models, method, granularity, tasks.
//!
//! mergekit-evolve's values are unbounded, and it takes their absolute value; here weights lie between 0 and 2 (or -2
//! and 2), and densities between 0 and 1. Tasks are asked without a chat template, on fresh items in each generation.

use std::path::Path;

use crate::{
    checkpoint::Checkpoint,
    error::{Error, Result},
    merge::sources::Library,
    recipe::{Location, locate},
    words::counted,
    yaml::{At, Mistake, Node, NodeKind, Place},
};
use serde::Deserialize;

/// Parameters of a genome by method: mergekit's `METHOD_PARAM_MAPS`.
const METHODS: &[(&str, &[&str])] = &[
    ("linear", &["weight"]),
    ("task_arithmetic", &["weight"]),
    ("ties", &["weight", "density"]),
    ("dare_ties", &["weight", "density"]),
    ("slerp", &["t"]),
];

/// mergekit-evolve's default limit on candidates.
const CANDIDATES: u64 = 100;
/// Default number of items of a task that score a candidate, for a file without `limit`.
const ITEMS: u64 = 60;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MergekitFile {
    genome: At<MergekitGenome>,
    tasks: At<Vec<At<MergekitTask>>>,
    limit: Option<At<u64>>,
    num_fewshot: Option<At<u64>>,
    #[serde(default)]
    #[expect(dead_code, reason = "every generation's items are drawn afresh anyway")]
    shuffle: Option<bool>,
    random_init: Option<At<bool>>,
    apply_chat_template: Option<At<bool>>,
    fewshot_as_multiturn: Option<At<bool>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MergekitGenome {
    models: At<Vec<At<String>>>,
    merge_method: At<String>,
    base_model: Option<At<String>>,
    tokenizer_source: Option<At<String>>,
    layer_granularity: Option<At<i64>>,
    normalize: Option<At<bool>>,
    allow_negative_weights: Option<bool>,
    filters: Option<At<Vec<At<String>>>>,
    smooth: Option<At<bool>>,
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum MergekitTask {
    Name(String),
    Block { name: String, weight: Option<f64>, metric: Option<String> },
}

/// The tree of a search file with the same content.
pub(super) fn converted(tree: &Node, file: &Path, library: &dyn Library) -> Result<Node> {
    let refused = |mistake: Mistake| mistake.into_error(file);
    let read = MergekitFile::deserialize(tree).map_err(refused)?;
    read.check().map_err(refused)?;
    let genome = &read.genome;
    let granularity = genome.layer_granularity.filter(|granularity| granularity.value > 0);
    let groups = granularity.map(|granularity| groups(genome, granularity, file, library)).transpose()?;
    Ok(read.search_file(groups))
}

/// Number of groups into which the layers of the first model fall.
fn groups(genome: &MergekitGenome, granularity: At<i64>, file: &Path, library: &dyn Library) -> Result<usize> {
    let first = &genome.models[0];
    let directory = match locate(file, first)?.model {
        Location::Path(path) => path,
        Location::Hub { repo, revision } => library.fetch(&repo, revision.as_deref())?,
    };
    let checkpoint = Checkpoint::open(&directory)?;
    let layers = crate::model::layers::Layers::of(&checkpoint).count;
    let each_layers = granularity.value as usize;
    if !layers.is_multiple_of(each_layers) {
        let place = granularity.place.of(file);
        return Err(Error::user(format!(
            "{place}: genome.layer_granularity: {} do not fall into groups of {each_layers}",
            counted(layers, "layer")
        ))
        .hint("give a divisor, as mergekit-evolve wants too"));
    }
    Ok(layers / each_layers)
}

impl MergekitFile {
    fn check(&self) -> std::result::Result<(), Mistake> {
        let genome = &self.genome;
        let under = |mistake: Mistake| mistake.under("genome");
        if genome.models.is_empty() {
            return Err(under(Mistake::new("a merge needs a model").under("models").at(genome.models.place)));
        }
        let method = &genome.merge_method;
        if METHODS.iter().all(|(name, _)| *name != method.value) {
            let names: Vec<&str> = METHODS.iter().map(|(name, _)| *name).collect();
            return Err(under(
                Mistake::new(format!("mergekit-evolve has no method `{}`", method.value))
                    .hint(format!("it has {}; a search file of evomerge takes any method", names.join(", ")))
                    .under("merge_method")
                    .at(method.place),
            ));
        }
        if method.value == "slerp" && genome.models.len() != 2 {
            return Err(under(Mistake::new(format!("slerp is between 2 models, not {}", genome.models.len()))
                .hint("mergekit-evolve picks two by their weights: write a search file with `multislerp` or `karcher` instead")
                .under("models")
                .at(genome.models.place)));
        }
        if self.tasks.is_empty() {
            return Err(Mistake::new("a search needs a task").under("tasks").at(self.tasks.place));
        }
        let unsupported = [
            ("num_fewshot", self.num_fewshot.map(|at| at.place), "set `num_fewshot` in the task's own file"),
            (
                "apply_chat_template",
                self.apply_chat_template.filter(|at| at.value).map(|at| at.place),
                "searches ask without a chat template: remove the key, or write the template into the task's prompt",
            ),
            (
                "fewshot_as_multiturn",
                self.fewshot_as_multiturn.filter(|at| at.value).map(|at| at.place),
                "searches ask without a chat template: remove the key",
            ),
            (
                "random_init",
                self.random_init.filter(|at| at.value).map(|at| at.place),
                "remove it, or write a search file with `init`",
            ),
        ];
        match unsupported.into_iter().find_map(|(key, place, hint)| place.map(|place| (key, place, hint))) {
            Some((key, place, hint)) => {
                Err(Mistake::new("this setting is not supported").hint(hint).under(key).at(place))
            }
            None => Ok(()),
        }
    }

    fn search_file(&self, groups: Option<usize>) -> Node {
        let genome = &self.genome;
        let place = genome.place;
        let is_slerp = genome.merge_method.value == "slerp";
        let params =
            METHODS.iter().find(|(name, _)| *name == genome.merge_method.value).map_or(&[][..], |(_, all)| all);
        let model = |model: &At<String>| {
            let holes = params.iter().filter(|_| !is_slerp).map(|name| (*name, self.hole(name, groups))).collect();
            block(model.place, vec![("model", text(model)), ("parameters", block(model.place, holes))])
        };
        let mut entries = vec![("merge_method", text(&genome.merge_method))];
        let base = genome.base_model.as_ref().or(is_slerp.then(|| &genome.models[0]));
        entries.extend(base.map(|base| ("base_model", text(base))));
        let models = genome.models.iter().map(model).collect();
        entries.push(("models", Node { place: genome.models.place, kind: NodeKind::List(models) }));
        let mut parameters = Vec::new();
        if is_slerp {
            parameters.push(("t", self.hole("t", groups)));
        } else {
            let usual = genome.merge_method.value != "task_arithmetic";
            let normalize = genome.normalize.unwrap_or(At { value: usual, place });
            parameters.push(("normalize", Node { place: normalize.place, kind: NodeKind::Flag(normalize.value) }));
        }
        entries.push(("parameters", block(place, parameters)));
        entries.push(("dtype", word(place, "bfloat16")));
        entries.extend(genome.tokenizer_source.as_ref().map(|source| ("tokenizer_source", text(source))));
        entries.push(("search", self.search()));
        block(place, entries)
    }

    fn hole(&self, name: &str, groups: Option<usize>) -> Node {
        let genome = &self.genome;
        let place = genome.place;
        let negative = genome.allow_negative_weights.unwrap_or(false);
        let (range, init) = match name {
            "weight" => ([if negative { -2.0 } else { 0.0 }, 2.0], 1.0 / genome.models.len() as f64),
            "density" => ([0.0, 1.0], 1.0),
            _ => ([0.0, 1.0], 0.5),
        };
        let bounds = range.map(|bound| number(place, bound)).to_vec();
        let mut hole = vec![("search", Node { place, kind: NodeKind::List(bounds) }), ("init", number(place, init))];
        let smooth = genome.smooth.is_some_and(|smooth| smooth.value);
        if let Some(groups) = groups.filter(|groups| *groups > 1) {
            hole.push((if smooth { "knots" } else { "groups" }, Node { place, kind: NodeKind::Whole(groups as i128) }));
        }
        if let Some(filters) = genome.filters.as_ref().filter(|filters| !filters.is_empty()) {
            let list = filters.iter().map(text).collect();
            hole.push(("filters", Node { place: filters.place, kind: NodeKind::List(list) }));
        }
        block(place, hole)
    }

    fn search(&self) -> Node {
        let place = self.tasks.place;
        let items = self.limit.map_or(ITEMS, |limit| limit.value);
        let task = |task: &At<MergekitTask>| {
            let (name, weight, metric) = match &task.value {
                MergekitTask::Name(name) => (name, None, None),
                MergekitTask::Block { name, weight, metric } => (name, *weight, metric.as_deref()),
            };
            let mut entries = vec![
                ("task", word(task.place, name)),
                ("items", Node { place: task.place, kind: NodeKind::Whole(items.into()) }),
                ("weight", number(task.place, weight.unwrap_or(1.0))),
            ];
            // `none` is the default filter.
            let metric = metric.map(|metric| metric.strip_suffix(",none").unwrap_or(metric));
            entries.extend(metric.map(|metric| ("metric", word(task.place, metric))));
            block(task.place, entries)
        };
        let tasks: Vec<Node> = self.tasks.iter().map(task).collect();
        let budget = CANDIDATES * items * tasks.len() as u64;
        block(
            place,
            vec![
                ("budget", Node { place, kind: NodeKind::Whole(budget.into()) }),
                ("objective", Node { place, kind: NodeKind::List(tasks) }),
            ],
        )
    }
}

fn block(place: Place, entries: Vec<(&str, Node)>) -> Node {
    let entries = entries.into_iter().map(|(key, node)| (word(node.place, key), node)).collect();
    Node { place, kind: NodeKind::Block(entries) }
}

fn text(written: &At<String>) -> Node {
    word(written.place, &written.value)
}

fn word(place: Place, word: &str) -> Node {
    Node { place, kind: NodeKind::Text(word.to_owned()) }
}

fn number(place: Place, value: f64) -> Node {
    Node { place, kind: NodeKind::Number(value) }
}
