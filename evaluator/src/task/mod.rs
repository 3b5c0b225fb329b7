//! A task: items with known answers, prompts that ask a model about them, and rules that mark its answers.
//!
//! Task files are written as for lm-evaluation-harness 0.4.13 and mean the same, to the byte of a prompt and the last
//! example drawn; [`read`] lists the differences. Our own settings are under `metadata.evomerge`.

mod definition;
mod documents;
mod template;
mod regex;
mod prompt_maker;
mod guarded;
mod shots;
mod items;
mod function;
mod ours;
mod filter;
mod exact;
mod score;
mod aggregate;
mod measures;
mod marking;
mod reads;
mod group;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::Path};

pub(crate) use documents::id;
pub use documents::{Datasets, LocalFiles, Splits};
pub use group::{Group, Suite, suite};
pub use guarded::ItemQuestion;
pub(crate) use items::split_of;
pub use marking::{FilterMarks, MarkedItem, MetricRow};
pub use merge_core::search::Fractions;
use merge_core::{
    error::{Error, Result},
    item::{ItemId, ItemScore},
};
pub use reads::{HarnessReading, Tally};
use schemars::JsonSchema;
pub use score::Measurement;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    contained::on_deep_stack,
    request::{Answer, Request},
};
pub use definition::OutputType;
use definition::{Definition, DefinitionFile, Overrides};
use items::{TaskItem, TaskItemSet};
use marking::Marking;
use measures::Measure;
use prompt_maker::PromptMaker;

/// Raised when asking or marking changes, so that scores remembered from before are not used.
const VERSION: u32 = 3;

/// A task's scores, grouped by the values of a field.
#[derive(Clone, Debug, PartialEq)]
pub struct SubtaskScores<'a> {
    /// Name of the field.
    pub field: &'a str,
    /// Scores of the items, by the field's value.
    pub scores: BTreeMap<String, Vec<f64>>,
}

/// The fields of a document.
pub type Doc = Map<String, Value>;

/// Makes requests and marks answers, and never sees a model.
pub trait Task: Sync {
    /// Name of the task.
    fn name(&self) -> &str;
    /// Name of its scores: `acc`, or with several filters `exact_match,strict-match`. If less is
    /// better, the name begins with `-` and the scores are negative.
    fn metric(&self) -> String;
    /// Digest of everything that changes an item's score, except the items: each has its own [`ItemId`].
    fn fingerprint(&self) -> [u8; 32];
    /// The items of one split, in the order of their file; empty if the task has no such split.
    fn split(&self, split: Split) -> &[ItemId];
    /// The requests of each item, in order: one per item, except in a few kinds of task.
    ///
    /// # Panics
    /// If an item is not one of the task's.
    fn requests(&self, items: &[ItemId]) -> Vec<Request>;
    /// Scores of the items, in order; `answers` are those to `requests(items)`. Fails if an answer
    /// cannot be marked as the task says.
    ///
    /// # Panics
    /// If an item is not one of the task's, or the answers are not to these requests.
    fn mark(&self, items: &[ItemId], answers: &[Answer]) -> Result<Vec<ItemScore>>;
}

/// The use of an item. No item has two uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Items by which a search ranks candidates.
    Search,
    /// Items by which the best finalist is chosen.
    Select,
    /// Items on which only the end result is scored.
    Report,
}

impl Split {
    /// All splits, in the order of use.
    pub const ALL: [Self; 3] = [Self::Search, Self::Select, Self::Report];

    /// The name in task files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::Select => "select",
            Self::Report => "report",
        }
    }
}

/// Refuses fractions that are not three shares of one whole.
fn check_fractions(fractions: Fractions) -> Result<()> {
    let Fractions { search, select, report } = fractions;
    let are_shares = [search, select, report].iter().all(|share| (0.0..=1.0).contains(share));
    if are_shares && (search + select + report - 1.0).abs() < 1e-9 {
        return Ok(());
    }
    Err(Error::user(format!(
        "the split fractions search {search}, select {select}, report {report} are not three shares of 1"
    ))
    .hint("give three numbers from 0 to 1 that sum to 1, such as 0.6, 0.2 and 0.2"))
}

/// A task read from files.
pub struct Benchmark {
    name: String,
    written: DefinitionFile,
    marking: Marking,
    items: TaskItemSet,
}

/// Reads a task's definition and its items. Refuses a task that cannot be asked and marked exactly as written.
///
/// Item files are looked for beside the definition, then in the current directory. `fractions` divide the items of a
/// task that has `divide`. Errors name file and line: of YAML that is not a task, an item without a field that the
/// task needs, a split without items, and a question in two splits.
///
/// Differences from lm-evaluation-harness 0.4.13, where that would guess: unknown keys, Python functions that are not
/// built in, random answers, pictures and programs are refused; a field that a document lacks is missing, not `None`;
/// repeated items are asked once; words such as `yes` are text.
pub fn read(path: &Path, fractions: Fractions) -> Result<Benchmark> {
    read_with(path, fractions, &LocalFiles)
}

/// Reads a task as [`read`] does, whose documents may also come from `datasets`.
pub fn read_with(path: &Path, fractions: Fractions, datasets: &dyn Datasets) -> Result<Benchmark> {
    check_fractions(fractions)?;
    benchmark_of(definition::read(path, &Overrides::default())?, fractions, datasets)
}

/// Reads a task from text, without includes; `name` stands for its path in messages.
pub fn read_text(name: &str, text: &str, fractions: Fractions, datasets: &dyn Datasets) -> Result<Benchmark> {
    check_fractions(fractions)?;
    benchmark_of(definition::read_str(Path::new(name), text)?, fractions, datasets)
}

/// Makes a task of its definition.
fn benchmark_of(written: DefinitionFile, fractions: Fractions, datasets: &dyn Datasets) -> Result<Benchmark> {
    // One deep stack for all documents: each fills several templates.
    on_deep_stack(|| build_benchmark(written, fractions, datasets))
}

fn build_benchmark(written: DefinitionFile, fractions: Fractions, datasets: &dyn Datasets) -> Result<Benchmark> {
    definition::check(&written)?;
    let mut marking = Marking::new(&written, datasets)?;
    let unconditional = marking.measures.iter().any(|measure| measure.name == "acc_mutual_info");
    let mut asking = PromptMaker::new(&written, unconditional)?;
    let items = items::gather(&written, &mut asking, &marking, fractions, datasets)?;
    // lm-evaluation-harness decides by the first document too.
    let first = items.splits.iter().flatten().next().map(|id| &items.by_id[id]);
    marking.has_several_golds = first.is_some_and(|item| item.asked.target.is_array());
    marking.rules = marking.rules(!items.by_id.is_empty() && items.by_id.values().all(|item| item.gold.is_some()));
    let name = written.definition.task.as_ref().map_or_else(String::new, |task| task.value.clone());
    Ok(Benchmark { name, written, marking, items })
}

/// The JSON schema of a task definition.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Definition)
}

impl Benchmark {
    /// Number of items left out because they repeat one of the same split.
    pub fn duplicates(&self) -> usize {
        self.items.duplicates
    }

    /// The question of an item, normalised and without white space.
    ///
    /// # Panics
    /// If the item is not one of the task's.
    pub fn question(&self, id: ItemId) -> &str {
        &self.item(id).asked.question
    }

    /// True if an answer in another language than Japanese is wrong.
    pub fn expects_japanese(&self) -> bool {
        self.marking.expects_japanese()
    }

    /// Score of an item that a broken model was not asked: the worst of the measure.
    pub fn worst(&self) -> f64 {
        self.marking.worst()
    }

    /// The document of an item, after `process_docs`.
    ///
    /// # Panics
    /// If the item is not one of the task's.
    pub fn doc(&self, id: ItemId) -> &Doc {
        &self.item(id).doc
    }

    /// True if one split of the data is divided by the content of its items.
    pub fn is_divided(&self) -> bool {
        self.written.definition.ours().is_some_and(|ours| ours.divide.is_some())
    }

    /// The licence of the items, if the definition names it.
    pub fn licence(&self) -> Option<&str> {
        self.written.definition.ours()?.licence.as_deref()
    }

    /// The way a model is asked.
    pub fn output(&self) -> OutputType {
        self.written.definition.output()
    }

    /// The same task with another measure for tables and searches: `metric`, or `metric,filter`.
    ///
    /// Fails if the task has no such measure, or if only all items together have it.
    pub fn with_metric(mut self, metric: &str) -> Result<Self> {
        let file = self.written.path.clone();
        self.marking.set_main(metric).map_err(|mistake| mistake.into_error(&file))?;
        Ok(self)
    }

    /// Marks items, with all details, in order; `answers` are those to `requests(items)`. Fails if
    /// an answer cannot be marked as the task says.
    ///
    /// # Panics
    /// If an item is not one of the task's, or the answers are not to these requests.
    pub fn marked(&self, items: &[ItemId], mut answers: &[Answer]) -> Result<Vec<MarkedItem>> {
        let of = |id: &ItemId| {
            let item = self.item(*id);
            assert!(item.asked.requests.len() <= answers.len(), "an answer for each request");
            let (own, rest) = answers.split_at(item.asked.requests.len());
            answers = rest;
            let marked = self.marking.mark(*id, item, own);
            marked.map_err(|e| e.at(format_args!("task {}: item {}", self.name, item.number)))
        };
        let marked = items.iter().map(of).collect::<Result<_>>()?;
        assert!(answers.is_empty(), "an answer for each request");
        Ok(marked)
    }

    /// Every measure under every filter, over all items. `draws` is the number of resamples for the standard error of
    /// a measure that is not a mean (lm-evaluation-harness: 100,000). With 0, there are no standard errors.
    pub fn aggregate(&self, marked: &[MarkedItem], draws: usize) -> Vec<MetricRow> {
        self.marking.aggregate(marked, draws)
    }

    /// Scores for tables and searches, grouped by the values of a field; `None` if the task names no such field.
    pub fn parts(&self, marked: &[MarkedItem]) -> Option<SubtaskScores<'_>> {
        let field = self.written.definition.ours()?.parts.as_deref()?;
        let mut scores: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for one in marked {
            let part = self.doc(one.item).get(field).map_or_else(String::new, crate::python::str);
            scores.entry(part).or_default().push(one.main);
        }
        Some(SubtaskScores { field, scores })
    }

    /// Name of the task in tables, if that is another.
    pub fn alias(&self) -> Option<&str> {
        self.written.definition.task_alias.as_deref()
    }

    /// Path of the file that it was read from.
    pub fn file(&self) -> &Path {
        &self.written.path
    }

    /// Number of examples before a question.
    pub fn n_shots(&self) -> usize {
        self.written.definition.num_fewshot.map_or(0, |count| count.value)
    }

    /// Version as written; `Yaml` if none is written.
    pub fn version(&self) -> Value {
        let metadata = self.written.definition.metadata.as_ref();
        metadata.and_then(|metadata| metadata.version.clone()).unwrap_or_else(|| "Yaml".into())
    }

    /// By measure, true if more is better.
    pub(crate) fn higher_is_better(&self) -> Value {
        let by_measure = |measure: &Measure| (measure.name.clone(), Value::Bool(measure.higher_is_better));
        self.marking.measures.iter().map(by_measure).collect()
    }

    /// Number of times that a question counts as asked.
    pub(crate) fn repeats(&self) -> usize {
        self.marking.repeats
    }

    /// The definition as JSON.
    pub(crate) fn written_json(&self) -> &Value {
        &self.written.json
    }

    /// The target of an item, which stands in the place of an answer.
    pub(crate) fn target(&self, id: ItemId) -> &Value {
        &self.item(id).asked.target
    }

    /// The requests of an item.
    pub(crate) fn requests_of(&self, id: ItemId) -> &[Request] {
        &self.item(id).asked.requests
    }

    fn item(&self, id: ItemId) -> &TaskItem {
        self.items.by_id.get(&id).unwrap_or_else(|| panic!("item {id} is not one of task {}", self.name))
    }
}

impl Task for Benchmark {
    fn name(&self) -> &str {
        &self.name
    }

    fn metric(&self) -> String {
        let (metric, filter) = &self.marking.main;
        let sign = if self.marking.main_is_higher_better() { "" } else { "-" };
        match self.marking.filters.len() {
            1 => format!("{sign}{metric}"),
            _ => format!("{sign}{metric},{filter}"),
        }
    }

    fn fingerprint(&self) -> [u8; 32] {
        // Names and places do not change how an item is asked and marked.
        const KEYS_WITHOUT_EFFECT: [&str; 10] = [
            "task",
            "task_alias",
            "tag",
            "dataset_path",
            "dataset_name",
            "dataset_kwargs",
            "training_split",
            "validation_split",
            "test_split",
            "fewshot_split",
        ];
        let mut content = self.written.json.clone();
        let metadata = content.as_object_mut().and_then(|content| {
            for key in KEYS_WITHOUT_EFFECT {
                content.remove(key);
            }
            content.remove("metadata")
        });
        let ours = metadata.as_ref().and_then(|metadata| metadata.get("evomerge")).and_then(Value::as_object);
        let counts = [
            "encoding",
            "gold_limit",
            "cut_at_sentences",
            "rouge_of_tokens",
            "tie_is_wrong",
            "shuffle",
            "stratified",
            "language",
        ];
        let ours: Map<String, Value> = ours
            .into_iter()
            .flatten()
            .filter(|(key, _)| counts.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        content.sort_all_objects();
        let mut ours = Value::from(ours);
        ours.sort_all_objects();
        let all = json!([VERSION, content, ours, self.marking.main, self.marking.has_several_golds]);
        Sha256::new().chain_update(all.to_string()).chain_update(self.items.examples_hash).finalize().into()
    }

    fn split(&self, split: Split) -> &[ItemId] {
        &self.items.splits[split as usize]
    }

    fn requests(&self, items: &[ItemId]) -> Vec<Request> {
        items.iter().flat_map(|id| self.item(*id).asked.requests.iter().cloned()).collect()
    }

    fn mark(&self, items: &[ItemId], answers: &[Answer]) -> Result<Vec<ItemScore>> {
        Ok(self.marked(items, answers)?.iter().map(marking::score).collect())
    }
}
