//! The items of a judge: rows of a JSON-lines file, known to the judge by their ids and to a search by their content.

use crate::task::{ItemQuestion, Split, id, split_of};
use merge_core::{
    error::{Error, Result},
    item::ItemId,
    model::hash::hex,
    recipe::resolve,
    search::Fractions,
    yaml::{At, read_text},
};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

/// Items of a judge, each in one split; or one that stands for the whole model, in every split.
pub struct JudgeItems {
    rows: BTreeMap<ItemId, JudgeRow>,
    splits: [Vec<ItemId>; 3],
    /// SHA-256 of the file's content; empty without a file.
    sha256: String,
}

/// A row of the file.
struct JudgeRow {
    /// Index in the file.
    number: usize,
    name: String,
    row: Map<String, Value>,
}

/// An item that a judge is asked: its id in the file, and its row. The whole model has neither.
pub(super) struct AskedRow<'a> {
    pub(super) item: ItemId,
    pub(super) name: Option<&'a str>,
    pub(super) row: Option<&'a Map<String, Value>>,
}

/// Shortest text, in characters, that is compared with other questions: shorter ones are words such as a category.
const SENTENCE: usize = 20;

impl JudgeItems {
    /// The item that stands for a whole model.
    pub(super) fn whole() -> Self {
        let only = vec![id(json!("the whole model"))];
        Self { rows: BTreeMap::new(), splits: [only.clone(), only.clone(), only], sha256: String::new() }
    }

    /// Reads the items that a search file names. Rows that do not name their split are divided by `split`.
    pub(super) fn read(name: &At<String>, split: Option<At<Fractions>>, file: &Path) -> Result<Self> {
        let path = resolve(file, name, "it is a JSON-lines file, such as one that `jq -c` writes")?;
        let text = read_text(&path).map_err(|e| e.at(name.place.of(file)))?;
        let at = |line: usize| format!("{}:{}", path.display(), line + 1);
        let mut items = Self { rows: BTreeMap::new(), splits: Default::default(), sha256: String::new() };
        let (mut names, mut named): (HashMap<String, usize>, Option<bool>) = (HashMap::new(), None);
        let fractions = split.map_or_else(Fractions::default, |split| split.value);
        for (number, (line, text)) in text.lines().enumerate().filter(|(_, text)| !text.trim().is_empty()).enumerate() {
            let wrong = |what: &str, hint: &str| Err(Error::user(what).at(at(line)).hint(hint));
            let Ok(Value::Object(row)) = serde_json::from_str(text) else {
                return wrong("not a JSON object", "an item is one line such as {\"id\": \"a-1\", \"prompt\": \"…\"}");
            };
            let Some(name) = row.get("id").and_then(name_of) else {
                return wrong("the item has no `id`", "give each item an `id` of its own, a text or a whole number");
            };
            if let Some(first) = names.insert(name.clone(), line) {
                return wrong(
                    &format!("the id `{name}` is on line {} too", first + 1),
                    "give each item an `id` of its own",
                );
            }
            let own = match row.get("split") {
                None => None,
                Some(said) => match Split::ALL.into_iter().find(|split| said == split.name()) {
                    Some(split) => Some(split),
                    None => {
                        return wrong(
                            "`split` is not search, select or report",
                            "write one of these, or no `split` at all",
                        );
                    }
                },
            };
            if *named.get_or_insert(own.is_some()) != own.is_some() {
                return wrong("some items name their `split`, others do not", "name it in all of them, or in none");
            }
            let item = id(row.clone().into());
            items.splits[own.unwrap_or_else(|| split_of(item, fractions)) as usize].push(item);
            items.rows.insert(item, JudgeRow { number, name, row });
        }
        let at_name = |e: Error| e.at(name.place.of(file));
        match (split, named) {
            (_, None) => Err(Error::user(format!("{}: has no items", path.display())).hint("write one on each line")),
            (Some(split), Some(true)) => {
                let message = format!("`split` has no effect: the items of {} name theirs", path.display());
                return Err(Error::user(message).at(split.place.of(file)).hint("remove it"));
            }
            (_, Some(false)) => items.check_shares(fractions),
            (None, Some(true)) => Ok(()),
        }
        .map_err(at_name)?;
        items.sha256 = hex(&Sha256::digest(&text));
        Ok(items)
    }

    /// Refuses a division that leaves a split empty although it has a share.
    fn check_shares(&self, Fractions { search, select, report }: Fractions) -> Result<()> {
        let wanted = [search, select, report].map(|share| share > 0.0);
        match Split::ALL.into_iter().find(|split| wanted[*split as usize] && self.split(*split).is_empty()) {
            Some(split) => Err(Error::user(format!("no item falls into the split `{}`", split.name()))
                .hint("add some, change the fractions, or name a `split` in each item")),
            None => Ok(()),
        }
    }

    /// True if its only item is the whole model.
    pub fn is_whole(&self) -> bool {
        self.rows.is_empty()
    }

    /// The items of a split, in the order of the file.
    pub(super) fn split(&self, split: Split) -> &[ItemId] {
        &self.splits[split as usize]
    }

    pub(super) fn sha256(&self) -> &str {
        &self.sha256
    }

    /// What a judge is asked for items.
    ///
    /// # Panics
    /// If an item is not one of these.
    pub(super) fn asked(&self, items: &[ItemId]) -> Vec<AskedRow<'_>> {
        let row = |item: &ItemId| {
            let row = self.rows.get(item);
            assert!(row.is_some() || self.is_whole(), "the item is one of the judge's");
            AskedRow { item: *item, name: row.map(|row| row.name.as_str()), row: row.map(|row| &row.row) }
        };
        items.iter().map(row).collect()
    }

    /// The longest text of each item, to be compared with other questions, if it is as long as a sentence.
    pub(super) fn questions(&self, items: &[ItemId]) -> Vec<ItemQuestion> {
        let question = |item: &ItemId| {
            let JudgeRow { number, row, .. } = self.rows.get(item)?;
            let texts = row.iter().filter(|(key, _)| *key != "id").filter_map(|(_, value)| value.as_str());
            let text = texts.max_by_key(|text| text.chars().count())?;
            let is_question = text.chars().count() >= SENTENCE;
            is_question.then(|| ItemQuestion { text: text.to_owned(), row: *number, family: None })
        };
        items.iter().filter_map(question).collect()
    }
}

/// An id as text: `7` and `"7"` are the same.
pub(super) fn name_of(id: &Value) -> Option<String> {
    match id {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if !number.is_f64() => Some(number.to_string()),
        _ => None,
    }
}
