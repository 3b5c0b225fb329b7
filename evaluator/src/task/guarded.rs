//! The questions of items, for the guard that keeps searched items apart from reported ones.

use super::{Benchmark, items::TaskItem};
use crate::{guard::Family, request::Ask};
use merge_core::item::ItemId;

/// The question of an item.
#[derive(Clone, Debug)]
pub struct ItemQuestion {
    /// Text of the question.
    pub text: String,
    /// Index of the item in its split of the data, as published.
    pub row: usize,
    /// Family of benchmarks that share the item, if one is known.
    pub family: Option<Family>,
}

impl Benchmark {
    /// The questions of items, for the guard between splits: each with its choices, but without its
    /// examples and without the text that all items of the task begin or end with.
    ///
    /// # Panics
    /// If an item is not one of the task's.
    pub fn asks(&self, items: &[ItemId]) -> Vec<ItemQuestion> {
        let first =
            |item: &TaskItem| item.asked.requests.first().map_or("", |first| first.prompt.question.as_str()).to_owned();
        let (before, after) = frame(&self.items.by_id.values().map(first).collect::<Vec<_>>());
        let is_mgsm = self.written.definition.dataset_path.as_ref().is_some_and(|path| path.value.contains("/mgsm"));
        let of = |id: &ItemId| {
            let item = self.item(*id);
            let question = first(item);
            let more: &[String] = match item.asked.requests.first().map(|first| &first.ask) {
                Some(Ask::Choose { choices }) => choices,
                Some(Ask::Read { text }) => std::slice::from_ref(text),
                Some(Ask::Generate { .. }) | None => &[],
            };
            let all = std::iter::once(&question[before..question.len() - after]).chain(more.iter().map(String::as_str));
            let text = all.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n");
            ItemQuestion { text, row: item.row, family: is_mgsm.then_some(Family::Mgsm) }
        };
        items.iter().map(of).collect()
    }
}

/// Number of bytes that all texts share at their beginning, and at the end of the rest; 0 for fewer than two texts.
fn frame(texts: &[String]) -> (usize, usize) {
    let [first, rest @ ..] = texts else { return (0, 0) };
    if rest.is_empty() {
        return (0, 0);
    }
    let shared = |a: &mut dyn Iterator<Item = char>, b: &mut dyn Iterator<Item = char>| {
        a.zip(b).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum::<usize>()
    };
    let before = rest.iter().fold(first.len(), |len, text| shared(&mut first[..len].chars(), &mut text.chars()));
    let after = rest.iter().fold(first.len() - before, |len, text| {
        shared(&mut first[first.len() - len..].chars().rev(), &mut text[before..].chars().rev())
    });
    (before, after)
}
