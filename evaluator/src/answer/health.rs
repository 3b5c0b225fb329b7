//! Signs in a merged model's answers that it is broken.

use crate::{
    request::{Answer, Likelihood, Said},
    text::normalize::normalize,
};
use merge_core::words::counted;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// Fault of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Illness {
    /// The model computed a number that is not finite.
    NonFinite,
    /// The text reached the limit while repeating itself: at least its second half repeats a
    /// stretch of at most 32 characters, four times or more.
    Repetition,
    /// There is no text, or only white space.
    Empty,
    /// Japanese is expected, but fewer than one in ten of the text's letters are kana or kanji.
    WrongScript,
}

/// Longest stretch, in characters, whose repetition is an illness: a whole sentence may well come twice.
const LONGEST_CYCLE: usize = 32;
/// Fewest repetitions of the stretch in such a text.
const FEWEST_TURNS: usize = 4;
/// Fewest letters that show the script of a text: an answer may be a number or a name.
const FEWEST_LETTERS: usize = 10;

/// What an answer says about the health of its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AnswerHealth {
    /// Its fault, if it has one. A right answer may look ill: judge a model only by many answers, as [`HealthWatch`] does.
    pub illness: Option<Illness>,
    /// True for a generated text.
    pub is_text: bool,
}

impl AnswerHealth {
    /// Looks at an answer.
    pub fn of(answer: &Answer, expects_japanese: bool) -> Self {
        Self { illness: illness(answer, expects_japanese), is_text: matches!(answer.said, Said::Text { .. }) }
    }
}

fn illness(answer: &Answer, expects_japanese: bool) -> Option<Illness> {
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

/// True if the text's second half lies in a tail that repeats a short stretch.
fn runs_in_circles(text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    (1..=LONGEST_CYCLE).any(|period| {
        // The longest tail in which each character equals the one a period before.
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

/// Watches a candidate's answers, and tells when more of them would be useless.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthWatch {
    /// Number of answers seen.
    pub answers: usize,
    /// Number of generated texts seen.
    pub texts: usize,
    /// Number of answers with each illness.
    pub ill: BTreeMap<Illness, usize>,
    /// Verdict that the candidate is dead, if it is.
    pub verdict: Option<Verdict>,
}

/// Reason why a candidate is dead, and the counts until then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The illness that decided.
    pub illness: Illness,
    /// Number of answers with this illness.
    pub ill: usize,
    /// Number of answers seen.
    pub answers: usize,
}

/// Texts that are enough for a verdict: a model that answers one question in five well passes 97 times in 100.
const ENOUGH: usize = 16;

impl HealthWatch {
    /// Takes the next answer, and returns the verdict if the candidate is dead: if it computed a
    /// number that is not finite, or if its first 16 texts are all ill. A verdict is final.
    ///
    /// It depends on the order of the answers, which for [`super::Transformer`] depends on the requests alone.
    pub fn observe(&mut self, answer: AnswerHealth) -> Option<&Verdict> {
        if self.verdict.is_some() {
            return self.verdict.as_ref();
        }
        let illness = answer.illness;
        self.answers += 1;
        self.texts += usize::from(answer.is_text);
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
        // The text ends in the middle of a repetition.
        check(&text(&(turns(4) + "答え"), true), Some(Illness::Repetition));
        check(&text(&format!("{}{}", "一二三四五六七八九十", "あ".repeat(9)), true), None);
        check(&text(&format!("{}{}", "一二三四五六七八九十", "あ".repeat(10)), true), Some(Illness::Repetition));
        // A stretch of 33 characters is too long.
        let long: String = ('ぁ'..).take(33).collect();
        check(&text(&long.repeat(8), true), None);
        check(&text(&long[3..].repeat(8), true), Some(Illness::Repetition));
    }

    #[test]
    fn a_candidate_is_dead_when_its_first_texts_all_are_ill() {
        let ill = AnswerHealth::of(&text("", false), true);
        let well = AnswerHealth::of(&text("答えは18です。", false), true);
        let broken = AnswerHealth::of(&likelihoods(&[f64::NEG_INFINITY]), true);
        let mut watch = HealthWatch::default();
        for _ in 0..15 {
            assert_eq!(watch.observe(ill), None);
        }
        let verdict = Verdict { illness: Illness::Empty, ill: 16, answers: 16 };
        assert_eq!(watch.observe(ill), Some(&verdict));
        assert_eq!(watch.observe(well), Some(&verdict));
        assert_eq!(verdict.to_string(), "it says nothing (16 of 16 answers)");
        let kept = serde_json::to_string(&watch).unwrap();
        assert_eq!(serde_json::from_str::<HealthWatch>(&kept).unwrap(), watch);
        // One healthy text is enough to live.
        let mut watch = HealthWatch::default();
        watch.observe(well);
        assert!((0..100).all(|_| watch.observe(ill).is_none()));
        // A number that is not finite decides at once.
        assert!(watch.observe(broken).is_some());
    }
}
