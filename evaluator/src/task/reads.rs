//! Reads a generated answer by the rules of several harnesses, to show the items on which they disagree.

use super::marking::MarkedItem;
use crate::{
    mark::{numbers::Extractor, squad},
    python,
    text::normalize::{Number, normalize},
};
use serde_json::{Value, json};

/// A generated answer as a harness's rule reads it.
#[derive(Clone, Debug)]
pub struct HarnessReading {
    /// Name of the rule.
    pub rule: &'static str,
    /// A [`Reading`](crate::mark::numbers::Reading) if the right answers are numbers; otherwise the
    /// text that the rule compares.
    pub reading: Value,
    /// True if the answer is right by this rule.
    pub right: bool,
}

/// Results of all harnesses' rules on the same answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Name of each rule, and the number of items that are right by it.
    pub right: Vec<(&'static str, usize)>,
    /// Items on which the rules disagree, by [`MarkedItem::number`].
    pub disagree: Vec<usize>,
}

impl Tally {
    /// Counts the items of a task; `None` if there is only one way to mark them.
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

/// The point on which harnesses may disagree in a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rules {
    /// None: there is only one rule.
    One,
    /// The number that an answer gives; every right answer is a number.
    Numbers,
    /// The right texts that count, and the differences that are ignored; an answer must equal a right text.
    Spans,
}

/// Reads an answer that should give a number.
pub(super) fn of_number(text: &str, gold: &Number) -> Vec<HarnessReading> {
    let read = |extractor: Extractor| HarnessReading {
        rule: extractor.name(),
        reading: json!(extractor.read(text)),
        right: extractor.is_right(text, gold),
    };
    Extractor::ALL.map(read).into()
}

/// A rule for short texts: its name, the form in which it compares, and the most right answers it considers.
type Span = (&'static str, fn(&str) -> String, usize);

const SPANS: [Span; 4] = [
    // `ja_leaderboard_jsquad` and `ja_leaderboard_jaqket_v2`.
    ("eleuther", |text| python::strip(text).to_owned(), 1),
    ("any-gold", |text| python::strip(text).to_owned(), usize::MAX),
    // JSQuAD and JAQKET of Stability AI's harness.
    ("stability", squad::normalize_answer, usize::MAX),
    // Comparison of llm-jp-eval.
    ("nfkc", normalize, usize::MAX),
];

/// Reads an answer that should equal one of `golds`.
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
