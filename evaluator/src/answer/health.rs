//! Signs that a merged model is broken, in what it answers.

use crate::{
    request::{Answer, Likelihood, Said},
    text::normalize::normalize,
};
use merge_core::words::counted;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Illness {
    /// The model computed what is no finite number.
    NonFinite,
    /// The text ran to the limit in circles: its second half, at least, repeats a stretch of at most 32 characters, four
    /// times or more.
    Repetition,
    /// There is no text, or white space alone.
    Empty,
    /// Japanese is expected, but of the text's letters fewer than one in ten are kana or kanji.
    WrongScript,
}

/// Longest stretch, in characters, whose repetition is an illness: a sentence may well come twice.
const LONGEST_CYCLE: usize = 32;
/// Fewest times a stretch comes in a text that runs in circles.
const FEWEST_TURNS: usize = 4;
/// Fewest letters that say what script a text is in: an answer may be a number or a name.
const FEWEST_LETTERS: usize = 10;

/// What is wrong with an answer, if anything is.
///
/// A right answer may look ill: say that a model is broken only of many, as [`HealthWatch`] does.
pub fn illness(answer: &Answer, expects_japanese: bool) -> Option<Illness> {
    if answer.broken {
        return Some(Illness::NonFinite);
    }
    match &answer.said {
        Said::Likelihoods(values) => {
            let impossible = |value: &Likelihood| value.log == f64::NEG_INFINITY;
            (!values.is_empty() && values.iter().all(impossible)).then_some(Illness::NonFinite)
        }
        Said::Text { text, .. } if text.trim().is_empty() => Some(Illness::Empty),
        Said::Text { text, truncated: true, .. } if runs_in_circles(text) => Some(Illness::Repetition),
        Said::Text { text, .. } if expects_japanese && is_in_another_script(text) => Some(Illness::WrongScript),
        Said::Text { .. } => None,
    }
}

/// Whether the text's second half is in a tail that repeats a short stretch.
fn runs_in_circles(text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    (1..=LONGEST_CYCLE).any(|period| {
        // The longest tail in which each character is the one a period before.
        let repeated = text.iter().rev().zip(text.iter().rev().skip(period)).take_while(|(a, b)| a == b).count();
        let tail = repeated + period;
        tail >= FEWEST_TURNS * period && 2 * tail >= text.len()
    })
}

fn is_in_another_script(text: &str) -> bool {
    let text = normalize(text);
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let japanese = text.chars().filter(|c| matches!(c, '\u{3041}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}')).count();
    letters >= FEWEST_LETTERS && 10 * japanese < letters
}

/// Watches a candidate's answers, and says when there is no point in asking it more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthWatch {
    /// Answers seen.
    pub answers: usize,
    /// Generated texts seen.
    pub texts: usize,
    /// How many answers had each illness.
    pub ill: BTreeMap<Illness, usize>,
    /// Why the candidate is dead, if it is.
    pub verdict: Option<Verdict>,
}

/// Why a candidate is dead, and what was seen until then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The illness most answers had.
    pub illness: Illness,
    /// How many had it.
    pub ill: usize,
    /// Of how many answers.
    pub answers: usize,
}

/// Texts that are enough for a judgement: a model that answers one question in five well passes 97 times in 100.
const ENOUGH: usize = 16;

impl HealthWatch {
    /// Takes the next answer, and returns why the candidate is dead, if it is: it has computed what is not finite, or its
    /// first 16 texts are all ill. A verdict is final.
    ///
    /// It depends on the first answers: those of [`super::Transformer`] come in an order that depends on what is asked alone.
    pub fn tell(&mut self, answer: &Answer, expects_japanese: bool) -> Option<&Verdict> {
        if self.verdict.is_some() {
            return self.verdict.as_ref();
        }
        let illness = illness(answer, expects_japanese);
        self.answers += 1;
        self.texts += usize::from(matches!(answer.said, Said::Text { .. }));
        if let Some(illness) = illness {
            *self.ill.entry(illness).or_default() += 1;
        }
        let cause = if illness == Some(Illness::NonFinite) {
            illness
        } else if self.texts >= ENOUGH && self.ill.values().sum::<usize>() == self.texts {
            self.ill.iter().rev().max_by_key(|(_, ill)| **ill).map(|(illness, _)| *illness)
        } else {
            None
        };
        self.verdict = cause.map(|illness| Verdict { illness, ill: self.ill[&illness], answers: self.answers });
        self.verdict.as_ref()
    }
}

impl fmt::Display for Illness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NonFinite => "its logits are not finite",
            Self::Repetition => "it repeats itself until the limit",
            Self::Empty => "it says nothing",
            Self::WrongScript => "it does not answer in Japanese",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} of {})", self.illness, self.ill, counted(self.answers, "answer"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Fit;

    fn text(text: &str, truncated: bool) -> Answer {
        answer(Said::Text { text: text.to_owned(), tokens: 7, truncated })
    }

    fn answer(said: Said) -> Answer {
        Answer { said, fit: Fit::default(), broken: false, compared: None }
    }

    fn likelihoods(logs: &[f64]) -> Answer {
        let values = logs.iter().map(|log| Likelihood { log: *log, tokens: 1, greedy: false });
        answer(Said::Likelihoods(values.collect()))
    }

    #[track_caller]
    fn check(answer: &Answer, expected: Option<Illness>) {
        assert_eq!(illness(answer, true), expected, "{answer:?}");
    }

    #[test]
    fn names_what_is_wrong() {
        let (lost, alive) = (f64::NEG_INFINITY, -3.0);
        check(&likelihoods(&[lost, lost]), Some(Illness::NonFinite));
        check(&likelihoods(&[lost, alive]), None);
        check(&Answer { broken: true, ..likelihoods(&[alive]) }, Some(Illness::NonFinite));
        check(&text(" \u{3000}\n", false), Some(Illness::Empty));
        check(&text("答えは18です。", false), None);
        check(&text("18", false), None);
        check(&text("The answer is 18, of course.", false), Some(Illness::WrongScript));
        check(&text("The answer is 18, したがって18です。", false), None);
        assert_eq!(illness(&text("The answer is 18, of course.", false), false), None);
    }

    #[test]
    fn runs_in_circles_only_until_the_limit_and_for_half_of_the_text() {
        let turns = |n: usize| format!("初めに計算します。{}", "答えは18です。".repeat(n));
        check(&text(&turns(4), true), Some(Illness::Repetition));
        check(&text(&turns(4), false), None);
        check(&text(&turns(3), true), None);
        // Broken off in the middle of a turn.
        check(&text(&(turns(4) + "答え"), true), Some(Illness::Repetition));
        check(&text(&format!("{}{}", "一二三四五六七八九十", "あ".repeat(9)), true), None);
        check(&text(&format!("{}{}", "一二三四五六七八九十", "あ".repeat(10)), true), Some(Illness::Repetition));
        // A period of 33.
        let long: String = ('ぁ'..).take(33).collect();
        check(&text(&long.repeat(8), true), None);
        check(&text(&long[3..].repeat(8), true), Some(Illness::Repetition));
    }

    #[test]
    fn a_candidate_is_dead_when_its_first_texts_all_are_ill() {
        let ill = text("", false);
        let mut watch = HealthWatch::default();
        for _ in 0..15 {
            assert_eq!(watch.tell(&ill, true), None);
        }
        let verdict = Verdict { illness: Illness::Empty, ill: 16, answers: 16 };
        assert_eq!(watch.tell(&ill, true), Some(&verdict));
        assert_eq!(watch.tell(&text("答えは18です。", false), true), Some(&verdict));
        assert_eq!(verdict.to_string(), "it says nothing (16 of 16 answers)");
        let kept = serde_json::to_string(&watch).unwrap();
        assert_eq!(serde_json::from_str::<HealthWatch>(&kept).unwrap(), watch);
        // One that is well is enough to live.
        let mut watch = HealthWatch::default();
        watch.tell(&text("答えは18です。", false), true);
        assert!((0..100).all(|_| watch.tell(&ill, true).is_none()));
        // What is not finite is not waited for.
        assert!(watch.tell(&likelihoods(&[f64::NEG_INFINITY]), true).is_some());
    }
}
