//! A task: items with known answers, how to ask a model about them, and how to mark what it answers.
//!
//! Tasks are written as for lm-evaluation-harness 0.4.13, and mean what they mean there, to the byte of a prompt and the last
//! document drawn: [`read`] says where that ends. What is ours stands under `metadata.evomerge`.

mod definition;
mod dataset;
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

pub use dataset::{Datasets, LocalFiles, Splits};
pub use group::{Group, Suite, suite};
pub use guarded::ItemQuestion;
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
    contained::deep,
    request::{Answer, Request},
};
pub use definition::OutputType;
use definition::{Definition, DefinitionFile, Over};
use items::{TaskItem, TaskItemSet};
use marking::Marking;
use measures::Measure;
use prompt_maker::PromptMaker;

/// Raised when asking or marking changes, so that no score remembered from before is taken for one of now.
const VERSION: u32 = 3;

/// A task's scores, apart by the values of a field.
#[derive(Clone, Debug, PartialEq)]
pub struct SubtaskScores<'a> {
    /// The field.
    pub field: &'a str,
    /// By its values, the scores of the items.
    pub scores: BTreeMap<String, Vec<f64>>,
}

/// A document: its fields.
pub type Doc = Map<String, Value>;

/// Asks and marks, and never sees a model.
pub trait Task: Sync {
    /// What the task is called.
    fn name(&self) -> &str;
    /// What its scores are: `acc`, or `exact_match,strict-match` where there are several filters; a `-` in front where less is
    /// better, and the scores are negative for it.
    fn metric(&self) -> String;
    /// Changes with everything that changes an item's score. Not with the items: each has its own [`ItemId`].
    fn fingerprint(&self) -> [u8; 32];
    /// The items of one split, in the order of their file; empty if the task has no such split.
    fn split(&self, split: Split) -> &[ItemId];
    /// The requests of each item, in order: one, but for a few kinds of task.
    ///
    /// # Panics
    /// If an item is not one of the task's.
    fn requests(&self, items: &[ItemId]) -> Vec<Request>;
    /// One score for each item, in order; `answers` are those to `requests(items)`. Fails if one cannot be marked as the task
    /// says.
    ///
    /// # Panics
    /// If an item is not one of the task's, or the answers are not to these requests.
    fn mark(&self, items: &[ItemId], answers: &[Answer]) -> Result<Vec<ItemScore>>;
}

/// What an item may be used for; no item is used for two things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// A search ranks candidates by these.
    Search,
    /// The winner is chosen among the best by these.
    Select,
    /// Only the end result is scored on these.
    Report,
}

impl Split {
    /// Every split, in the order they are used.
    pub const ALL: [Self; 3] = [Self::Search, Self::Select, Self::Report];

    /// The name task files use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Search => "search",
            Self::Select => "select",
            Self::Report => "report",
        }
    }
}

/// Refuses what is not three shares of one whole.
fn check(fractions: Fractions) -> Result<()> {
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

/// Reads a task's definition and its items, and refuses what it could not ask and mark exactly as written.
///
/// Item files are looked for beside the definition, then in the current directory. `fractions` divide the items of a
/// task that has `divide`. Errors name file and line: YAML that is not a task, an item without a field the task
/// needs, a split without items, and a question that is in two splits.
///
/// It differs from lm-evaluation-harness 0.4.13 where that would guess: unknown keys are refused, and so are Python functions
/// that are not built in, answers drawn at random, pictures and programs; a field that a document lacks is missing, not `None`;
/// items that are there twice are asked once; words such as `yes` are text.
pub fn read(path: &Path, fractions: Fractions) -> Result<Benchmark> {
    read_with(path, fractions, &LocalFiles)
}

/// Reads a task whose documents may be those of a data set.
pub fn read_with(path: &Path, fractions: Fractions, datasets: &dyn Datasets) -> Result<Benchmark> {
    check(fractions)?;
    of(definition::read(path, &Over::default())?, fractions, datasets)
}

/// Reads a task that is no file, and includes none; `name` stands for it in messages.
pub fn read_text(name: &str, text: &str, fractions: Fractions, datasets: &dyn Datasets) -> Result<Benchmark> {
    check(fractions)?;
    of(definition::read_str(Path::new(name), text)?, fractions, datasets)
}

/// The task of a definition.
fn of(written: DefinitionFile, fractions: Fractions, datasets: &dyn Datasets) -> Result<Benchmark> {
    // Each document fills several templates.
    deep(|| gathered(written, fractions, datasets))
}

fn gathered(written: DefinitionFile, fractions: Fractions, datasets: &dyn Datasets) -> Result<Benchmark> {
    definition::check(&written)?;
    let mut marking = Marking::new(&written, datasets)?;
    let unconditional = marking.measures.iter().any(|measure| measure.name == "acc_mutual_info");
    let mut asking = PromptMaker::new(&written, unconditional)?;
    let items = items::gather(&written, &mut asking, &marking, fractions, datasets)?;
    // As lm-evaluation-harness does, by the first document.
    let first = items.splits.iter().flatten().next().map(|id| &items.by_id[id]);
    marking.many = first.is_some_and(|item| item.asked.target.is_array());
    marking.rules = marking.rules(!items.by_id.is_empty() && items.by_id.values().all(|item| item.gold.is_some()));
    let name = written.definition.task.as_ref().map_or_else(String::new, |task| task.value.clone());
    Ok(Benchmark { name, written, marking, items })
}

/// The JSON schema of a task definition.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Definition)
}

impl Benchmark {
    /// Lines that repeat an item of the same split, and were left out.
    pub fn duplicates(&self) -> usize {
        self.items.duplicates
    }

    /// What an item asks, normalised and without white space.
    ///
    /// # Panics
    /// If the item is not one of the task's.
    pub fn question(&self, id: ItemId) -> &str {
        &self.item(id).asked.question
    }

    /// Whether an answer in another language than Japanese is wrong.
    pub fn expects_japanese(&self) -> bool {
        self.marking.expects_japanese()
    }

    /// What stands for the score of an item that a broken model was not asked: no worse is possible, or would be told from it.
    pub fn worst(&self) -> f64 {
        self.marking.worst()
    }

    /// An item's document, as it was asked.
    ///
    /// # Panics
    /// If the item is not one of the task's.
    pub fn doc(&self, id: ItemId) -> &Doc {
        &self.item(id).doc
    }

    /// Whether one split of the data is divided by the content of its items.
    pub fn is_divided(&self) -> bool {
        self.written.definition.ours().is_some_and(|ours| ours.divide.is_some())
    }

    /// The licence of the items, if the definition names it.
    pub fn licence(&self) -> Option<&str> {
        self.written.definition.ours()?.licence.as_deref()
    }

    /// How a model is asked.
    pub fn output(&self) -> OutputType {
        self.written.definition.output()
    }

    /// The same task, going by another measure in tables and searches: `metric`, or `metric,filter`.
    ///
    /// Fails if the task has no such measure, or none that each item has.
    pub fn by(mut self, metric: &str) -> Result<Self> {
        let file = self.written.path.clone();
        self.marking.go_by(metric).map_err(|mistake| mistake.into_error(&file))?;
        Ok(self)
    }

    /// Everything that is known of items whose requests were answered, in order; `answers` are those to `requests(items)`. Fails
    /// if one cannot be marked as the task says.
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

    /// Every measure under every filter over items; `draws` is how often what is no mean is drawn again for its standard
    /// error (lm-evaluation-harness: 100,000; none with 0).
    pub fn aggregate(&self, marked: &[MarkedItem], draws: usize) -> Vec<MetricRow> {
        self.marking.aggregate(marked, draws)
    }

    /// The scores that count for tables and searches, apart by the values of a field; `None` if the task names no field for that.
    pub fn parts(&self, marked: &[MarkedItem]) -> Option<SubtaskScores<'_>> {
        let field = self.written.definition.ours()?.parts.as_deref()?;
        let mut scores: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for one in marked {
            let part = self.doc(one.item).get(field).map_or_else(String::new, crate::python::str);
            scores.entry(part).or_default().push(one.main);
        }
        Some(SubtaskScores { field, scores })
    }

    /// What tables call it.
    pub fn alias(&self) -> Option<&str> {
        self.written.definition.task_alias.as_deref()
    }

    /// The file it was read from.
    pub fn file(&self) -> &Path {
        &self.written.path
    }

    /// Examples before a question.
    pub fn n_shots(&self) -> usize {
        self.written.definition.num_fewshot.map_or(0, |count| count.value)
    }

    /// Its version as written; `Yaml` if none is.
    pub fn version(&self) -> Value {
        let metadata = self.written.definition.metadata.as_ref();
        metadata.and_then(|metadata| metadata.version.clone()).unwrap_or_else(|| "Yaml".into())
    }

    /// By measure, whether more is better.
    pub(crate) fn better(&self) -> Value {
        let better = |measure: &Measure| (measure.name.clone(), Value::Bool(measure.higher_is_better));
        self.marking.measures.iter().map(better).collect()
    }

    /// How often a question counts as asked.
    pub(crate) fn repeats(&self) -> usize {
        self.marking.repeats
    }

    /// The definition as data.
    pub(crate) fn written_json(&self) -> &Value {
        &self.written.json
    }

    /// What stands where an item's answer would.
    pub(crate) fn target(&self, id: ItemId) -> &Value {
        &self.item(id).asked.target
    }

    /// The requests an item makes.
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
        let sign = if self.marking.main_is_better_high() { "" } else { "-" };
        match self.marking.filters.len() {
            1 => format!("{sign}{metric}"),
            _ => format!("{sign}{metric},{filter}"),
        }
    }

    fn fingerprint(&self) -> [u8; 32] {
        // Names and places of things say nothing about how an item is asked and marked.
        const APART: [&str; 10] = [
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
            for key in APART {
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
        let all = json!([VERSION, content, ours, self.marking.main, self.marking.many]);
        Sha256::new().chain_update(all.to_string()).chain_update(self.items.drawn).finalize().into()
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
