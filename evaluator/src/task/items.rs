//! The items of a task: read line by line, known by their content, each in one split.

use std::{
    collections::{BTreeMap, HashMap, btree_map::Entry},
    path::Path,
};

use merge_core::error::{Error, Result};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    Fractions, ItemId, Split,
    rules::{Gold, Rules},
};
use crate::request::Request;

/// An item, ready to be asked and marked.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) request: Request,
    pub(super) gold: Gold,
    /// The prompt, normalised and without white space: what no two splits may share.
    pub(super) question: String,
}

/// Items as they come in.
pub(super) struct Items<'a> {
    rules: &'a Rules,
    fractions: Fractions,
    /// The normalised prompt of every item without white space, where it was first seen, and the split it belongs to.
    questions: HashMap<String, (Split, String)>,
    pub(super) by_id: BTreeMap<ItemId, Item>,
    pub(super) splits: [Vec<ItemId>; 3],
    pub(super) duplicates: usize,
}

impl<'a> Items<'a> {
    pub(super) fn new(rules: &'a Rules, fractions: Fractions) -> Self {
        let splits = [const { Vec::new() }; 3];
        Self { rules, fractions, questions: HashMap::new(), by_id: BTreeMap::new(), splits, duplicates: 0 }
    }

    /// Adds a JSONL file: to one split, or to all by the items' hashes. Blank lines don't count.
    pub(super) fn add(&mut self, path: &Path, bytes: &[u8], split: Option<Split>) -> Result<()> {
        for (i, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if !line.trim_ascii().is_empty() {
                self.add_line(&format!("{}:{}", path.display(), i + 1), line, split)?;
            }
        }
        let empty = |split: &Split| self.splits[*split as usize].is_empty();
        let wanted = |split: &Split| share(self.fractions, *split) > 0.0;
        let path = path.display();
        if split.is_some_and(|split| empty(&split)) || Split::ALL.iter().all(empty) {
            return Err(Error::user(format!("{path}: no item in it")).hint("put one JSON object on each line"));
        }
        match Split::ALL.iter().find(|each| split.is_none() && wanted(each) && empty(each)) {
            Some(split) => Err(Error::user(format!("{path}: no item falls into the split `{}`", split.name())).hint(
                "it has too few items to be divided: add some, change the fractions, or name a file for each split",
            )),
            None => Ok(()),
        }
    }

    fn add_line(&mut self, place: &str, line: &[u8], split: Option<Split>) -> Result<()> {
        let value: Value = serde_json::from_slice(line).map_err(|e| not_json(place, &e))?;
        let id = id(value.clone());
        let Value::Object(fields) = value else {
            return Err(Error::user(format!("{place}: not a JSON object"))
                .hint("an item is one line such as {\"question\": \"…\", \"answer_number\": 18}"));
        };
        let split = split.unwrap_or_else(|| split_of(id, self.fractions));
        let item = self.rules.item(&fields).map_err(|e| e.at(place))?;
        let (owner, first) = self.questions.entry(item.question.clone()).or_insert_with(|| (split, place.to_string()));
        if *owner != split {
            return Err(Error::user(format!(
                "{place}: the question of this item of `{}` is in `{}` too, at {first}",
                split.name(),
                owner.name()
            ))
            .hint("remove it from one of them: what was searched on can't be reported on"));
        }
        match self.by_id.entry(id) {
            Entry::Occupied(_) => self.duplicates += 1,
            Entry::Vacant(place) => {
                place.insert(item);
                self.splits[split as usize].push(id);
            }
        }
        Ok(())
    }
}

fn share(of: Fractions, split: Split) -> f64 {
    match split {
        Split::Search => of.search,
        Split::Select => of.select,
        Split::Report => of.report,
    }
}

/// Where an item falls: by its hash as a number from 0 to 1, whatever other items there are.
fn split_of(id: ItemId, fractions: Fractions) -> Split {
    let (head, _) = id.0.split_first_chunk::<8>().expect("an id has 16 bytes");
    // 53 bits, so that no rounding makes it 1.
    let position = (u64::from_be_bytes(*head) >> 11) as f64 / (1_u64 << 53) as f64;
    if position < fractions.search {
        Split::Search
    } else if position < fractions.search + fractions.select {
        Split::Select
    } else {
        Split::Report
    }
}

fn id(mut item: Value) -> ItemId {
    item.sort_all_objects();
    let hash = Sha256::digest(item.to_string());
    ItemId(*hash.first_chunk().expect("a SHA-256 has 32 bytes"))
}

/// serde counts lines within the one it was given, so only its column is of use.
fn not_json(place: &str, error: &serde_json::Error) -> Error {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    Error::user(format!("{place}:{}: not JSON: {what}", error.column())).hint("an item is one JSON object on one line")
}
