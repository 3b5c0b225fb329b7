//! A task: items with known answers, how to ask a model about them, and how to mark what it answers.

mod definition;
mod items;
mod prompt;
mod rules;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

pub use merge_core::search::Fractions;
use merge_core::{
    error::{Error, Result},
    item::{ItemId, ItemScore},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::request::{Answer, Request};
use definition::Files;
use items::{Item, Items};
use rules::Rules;

/// Asks and marks, and never sees a model.
pub trait Task: Sync {
    /// What the task is called.
    fn name(&self) -> &str;
    /// What its scores are: `exact_match` or `acc`.
    fn metric(&self) -> &str;
    /// Changes with everything that changes an item's score. Not with the items: each has its own [`ItemId`].
    fn fingerprint(&self) -> [u8; 32];
    /// The items of one split, in the order of their file; empty if the task has no such split.
    fn split(&self, split: Split) -> &[ItemId];
    /// One request for each item, in order.
    ///
    /// # Panics
    /// If an item is not one of the task's.
    fn requests(&self, items: &[ItemId]) -> Vec<Request>;
    /// One score for each item, in order; `answers` are those to `requests(items)`.
    ///
    /// # Panics
    /// If an item is not one of the task's, or the answers are not to these requests.
    fn mark(&self, items: &[ItemId], answers: &[Answer]) -> Vec<ItemScore>;
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
#[derive(Debug)]
pub struct Benchmark {
    name: String,
    license: Option<String>,
    rules: Rules,
    fingerprint: [u8; 32],
    items: BTreeMap<ItemId, Item>,
    splits: [Vec<ItemId>; 3],
    duplicates: usize,
    divided: bool,
}

/// Reads a task's definition and its items, and refuses what it could not ask and mark exactly as written.
///
/// Item files are looked for beside the definition, then in the current directory. `fractions` divide the items of a
/// task that has a single file. Errors name file and line: YAML that is not a task, an item without a field the task
/// needs, a split without items, and a question that is in two splits.
pub fn read(path: &Path, fractions: Fractions) -> Result<Benchmark> {
    check(fractions)?;
    let text = fs::read_to_string(path).map_err(|e| Error::io("read", path, &e))?;
    let task = definition::parse(path, &text)?;
    let mut items = Items::new(&task.rules, fractions);
    match &task.files {
        Files::One(name) => read_items(&mut items, path, name, None)?,
        Files::Splits(names) => {
            for (split, name) in names {
                read_items(&mut items, path, name, Some(*split))?;
            }
        }
    }
    let Items { by_id: items, splits, duplicates, .. } = items;
    Ok(Benchmark {
        fingerprint: task.rules.fingerprint(),
        name: task.name,
        license: task.license,
        rules: task.rules,
        items,
        splits,
        duplicates,
        divided: matches!(task.files, Files::One(_)),
    })
}

/// The JSON schema of a task definition.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(definition::Definition)
}

impl Benchmark {
    /// Lines that repeat an item of the same split, and were left out.
    pub fn duplicates(&self) -> usize {
        self.duplicates
    }

    /// What an item asks, normalised and without white space.
    ///
    /// # Panics
    /// If the item is not one of the task's.
    pub fn question(&self, id: ItemId) -> &str {
        &self.item(id).question
    }

    /// Whether the items come in one file, which is divided by their content.
    pub fn is_divided(&self) -> bool {
        self.divided
    }

    /// The licence of the items, if the definition names it.
    pub fn license(&self) -> Option<&str> {
        self.license.as_deref()
    }

    fn item(&self, id: ItemId) -> &Item {
        self.items.get(&id).unwrap_or_else(|| panic!("item {id} is not one of task {}", self.name))
    }
}

impl Task for Benchmark {
    fn name(&self) -> &str {
        &self.name
    }

    fn metric(&self) -> &str {
        self.rules.metric()
    }

    fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    fn split(&self, split: Split) -> &[ItemId] {
        &self.splits[split as usize]
    }

    fn requests(&self, items: &[ItemId]) -> Vec<Request> {
        items.iter().map(|id| self.item(*id).request.clone()).collect()
    }

    fn mark(&self, items: &[ItemId], answers: &[Answer]) -> Vec<ItemScore> {
        assert_eq!(items.len(), answers.len(), "one answer for each item");
        items.iter().zip(answers).map(|(id, answer)| self.rules.mark(&self.item(*id).gold, answer)).collect()
    }
}

fn read_items(items: &mut Items, definition: &Path, name: &str, split: Option<Split>) -> Result<()> {
    let path = find(definition, name)?;
    let bytes = fs::read(&path).map_err(|e| Error::io("read", &path, &e))?;
    items.add(&path, &bytes, split)
}

/// The file of that name beside the definition or, if there is none, in the current directory.
fn find(definition: &Path, name: &str) -> Result<PathBuf> {
    let beside = definition.with_file_name("").join(name);
    [&beside, Path::new(name)].into_iter().find(|path| path.exists()).map(Path::to_path_buf).ok_or_else(|| {
        Error::user(format!("there is no item file {}", beside.display()))
            .at(definition.display())
            .hint("item files are looked for beside the task file, then in the current directory")
    })
}
