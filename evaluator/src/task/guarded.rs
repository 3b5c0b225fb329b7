//! What items ask, for the guard between what is searched on and what is reported.

use super::{Benchmark, items::TaskItem};
use crate::{guard::Family, request::Ask};
use merge_core::item::ItemId;

/// What an item asks.
#[derive(Clone, Debug)]
pub struct ItemQuestion {
    /// The text.
    pub text: String,
    /// The item's position in its split of the data, as it is published.
    pub row: usize,
    /// A benchmark of which the same items are known elsewhere.
    pub family: Option<Family>,
}

impl Benchmark {
    /// What items ask, for the guard between splits: the question without its examples and without what all items of the task
    /// begin and end with, and its choices.
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

/// How many bytes texts have in common at their beginning and, apart from that, at their end; none of fewer than two texts.
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
