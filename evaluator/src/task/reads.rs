//! One generated answer by the rules of several harnesses, so that it can be said on which items they disagree.

use super::marking::MarkedItem;
use crate::{
    mark::{numbers::Extractor, squad},
    python,
    text::normalize::{Number, normalize},
};
use serde_json::{Value, json};

/// What the rule of a harness makes of a generated answer.
#[derive(Clone, Debug)]
pub struct HarnessReading {
    /// The rule.
    pub rule: &'static str,
    /// What it reads: a [`Reading`](crate::mark::numbers::Reading) where the right answers are numbers, otherwise the text as it
    /// compares it.
    pub reading: Value,
    /// Whether that is right, as the harness compares.
    pub right: bool,
}

/// What the rules of all harnesses make of the same answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Each rule, and how many items are right by it.
    pub right: Vec<(&'static str, usize)>,
    /// The items on which the rules disagree, by [`MarkedItem::number`].
    pub disagree: Vec<usize>,
}

impl Tally {
    /// Of the items of a task; `None` where there is only one way to mark them.
    pub fn of(marked: &[MarkedItem]) -> Option<Self> {
        let rules = &marked.first()?.reads;
        let right = |i: usize| marked.iter().filter(|marked| marked.reads[i].right).count();
        let disagree = |marked: &&MarkedItem| marked.reads.iter().any(|read| read.right != marked.reads[0].right);
        (!rules.is_empty()).then(|| Self {
            right: rules.iter().enumerate().map(|(i, read)| (read.rule, right(i))).collect(),
            disagree: marked.iter().filter(disagree).map(|marked| marked.number).collect(),
        })
    }
}

/// What harnesses disagree about in a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// Nothing.
    One,
    /// Every right answer is a number: which number an answer gives.
    Numbers,
    /// Answers are right if they are one of the right texts: which of those count, and what is ignored.
    Spans,
}

/// An answer that should give a number.
pub(super) fn of_number(text: &str, gold: &Number) -> Vec<HarnessReading> {
    let read = |extractor: Extractor| HarnessReading {
        rule: extractor.name(),
        reading: json!(extractor.read(text)),
        right: extractor.is_right(text, gold),
    };
    Extractor::ALL.map(read).into()
}

/// A rule for short texts: its name, in what form it compares, and with how many of the right answers at most.
type Span = (&'static str, fn(&str) -> String, usize);

const SPANS: [Span; 4] = [
    // `ja_leaderboard_jsquad` and `ja_leaderboard_jaqket_v2`.
    ("eleuther", |text| python::strip(text).to_owned(), 1),
    ("any-gold", |text| python::strip(text).to_owned(), usize::MAX),
    // JSQuAD and JAQKET of Stability AI's harness.
    ("stability", squad::normalize_answer, usize::MAX),
    // As llm-jp-eval compares.
    ("nfkc", normalize, usize::MAX),
];

/// An answer that should be one of these.
pub(super) fn of_span(text: &str, golds: &[String]) -> Vec<HarnessReading> {
    let read = |(rule, form, most): Span| {
        let reading = form(text);
        let right = golds.iter().take(most).any(|gold| form(gold) == reading);
        HarnessReading { rule, reading: reading.into(), right }
    };
    SPANS.map(read).into()
}

#[cfg(test)]
mod tests {
    use super::of_span;

    #[track_caller]
    fn check(text: &str, expected: [bool; 4]) {
        let golds = ["東京", "東京都", "１２３", "平成"].map(str::to_owned);
        let right: Vec<bool> = of_span(text, &golds).iter().map(|read| read.right).collect();
        assert_eq!(right, expected, "{text}");
    }

    #[test]
    fn harnesses_disagree_on_extracted_answers() {
        check("東京\u{3000}\n", [true; 4]);
        check("東京都", [false, true, true, true]);
        check("123", [false, false, true, true]);
        check("東京都😀", [false, false, true, false]);
        check("㍻", [false, false, false, true]);
        check("東京。", [false; 4]);
    }
}
