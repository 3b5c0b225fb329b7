//! How a task asks about an item and marks the answer; pure, and the source of the task's fingerprint.

use merge_core::error::{Error, Result};
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{
    ItemScore,
    items::Item,
    prompt::{Prompt, field},
};
use crate::{
    normalize::{Number, final_number, is_japanese, normalize},
    request::{Answer, Ask, Encoding, Limit, Pairs, Prompt as Text, Request, Said},
};

/// Raised when marking changes, so that no score remembered from before is taken for one of now.
const MARKING_VERSION: u32 = 1;

/// What a definition says about an item.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) prompt: Prompt,
    /// The field with the right answer.
    pub(super) answer: String,
    pub(super) asking: Asking,
}

/// What differs between the kinds of task.
#[derive(Debug)]
pub(super) enum Asking {
    Generate { stop: Vec<String>, max_tokens: usize, pattern: Option<Regex>, language: Option<Language> },
    MultipleChoice { choices: String },
    Likelihood,
}

/// A language an answer has to be in.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Language {
    /// Japanese: most letters are, and one at least is kana.
    Ja,
}

/// The right answer.
#[derive(Debug, PartialEq)]
pub(super) enum Gold {
    Number(Number),
    Choice(usize),
    /// The request's only choice.
    Reference,
}

impl Rules {
    pub(super) fn metric(&self) -> &'static str {
        match self.asking {
            Asking::Generate { .. } => "exact_match",
            Asking::MultipleChoice { .. } => "acc",
            Asking::Likelihood => "likelihood",
        }
    }

    /// A hash of all that decides an item's score beside the item itself.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let asking = match &self.asking {
            Asking::Generate { stop, max_tokens, pattern, language } => {
                json!({
                    "stop": stop,
                    "max_tokens": max_tokens,
                    "pattern": pattern.as_ref().map(Regex::as_str),
                    "language": language,
                })
            }
            Asking::MultipleChoice { choices } => json!({ "choices": choices }),
            Asking::Likelihood => json!({}),
        };
        let all = json!([MARKING_VERSION, self.metric(), self.prompt.text, self.answer, asking]);
        Sha256::digest(all.to_string()).into()
    }

    /// The request an item makes and its right answer; refuses an item that lacks something.
    pub(super) fn item(&self, item: &Map<String, Value>) -> Result<Item> {
        let prompt = self.prompt.fill(item)?;
        let question = normalize(&prompt).replace(' ', "");
        let gold = field(item, &self.answer)?;
        match &self.asking {
            Asking::Generate { stop, max_tokens, .. } => {
                let gold = Gold::Number(self.number(gold)?);
                let ask = Ask::Generate { stop: stop.clone(), limit: Limit::Tokens(*max_tokens) };
                Ok(Item { request: request(prompt, ask), gold, question })
            }
            Asking::MultipleChoice { choices: name } => {
                let choices = texts(name, field(item, name)?)?;
                let gold = Gold::Choice(self.index(gold, choices.len())?);
                Ok(Item { request: request(prompt, Ask::Choose { choices }), gold, question })
            }
            Asking::Likelihood => {
                let reference = gold.as_str().filter(|text| !text.is_empty()).ok_or_else(|| {
                    Error::user(format!("`{}` is not text", self.answer))
                        .hint("a likelihood is that of a written answer")
                })?;
                Ok(Item {
                    request: request(prompt, Ask::Choose { choices: vec![reference.to_owned()] }),
                    gold: Gold::Reference,
                    question,
                })
            }
        }
    }

    /// # Panics
    /// If the answer is not to a request of this task's.
    pub(super) fn mark(&self, gold: &Gold, answer: &Answer) -> ItemScore {
        let score = |right: bool| if right { 1.0 } else { 0.0 };
        match (&self.asking, gold, &answer.said) {
            (
                Asking::Generate { pattern, language, .. },
                Gold::Number(gold),
                Said::Text { text, tokens, truncated },
            ) => {
                let in_language = match language {
                    Some(Language::Ja) => is_japanese(text),
                    None => true,
                };
                let right = in_language && number_in(text, pattern.as_ref()).as_ref() == Some(gold);
                let tokens = u32::try_from(*tokens).unwrap_or(u32::MAX);
                ItemScore { value: score(right), tokens, truncated: *truncated }
            }
            (Asking::MultipleChoice { .. }, Gold::Choice(gold), Said::Likelihoods(values)) => {
                let values: Vec<f64> = values.iter().map(|choice| choice.log).collect();
                ItemScore { value: score(likeliest(&values) == Some(*gold)), tokens: 0, truncated: false }
            }
            (Asking::Likelihood, Gold::Reference, Said::Likelihoods(values)) => {
                let value = values.first().map_or(0.0, |reference| reference.log.exp());
                ItemScore { value: if value.is_finite() { value } else { 0.0 }, tokens: 0, truncated: false }
            }
            _ => panic!("the answer is of another kind than the request"),
        }
    }

    fn number(&self, gold: &Value) -> Result<Number> {
        let name = &self.answer;
        match gold {
            Value::Number(number) => number.to_string().parse(),
            Value::String(text) => text.parse(),
            _ => Err(Error::user("neither a number nor text").hint("the right answer is a number such as 18")),
        }
        .map_err(|e: Error| e.at(format!("`{name}`")))
    }

    fn index(&self, gold: &Value, choices: usize) -> Result<usize> {
        gold.as_u64().and_then(|index| usize::try_from(index).ok()).filter(|index| *index < choices).ok_or_else(|| {
            Error::user(format!("`{}`: {gold} is not the index of one of the {choices} choices", self.answer))
                .hint("indices are whole numbers from 0")
        })
    }
}

/// A prompt and its continuation are encoded each for itself.
fn request(prompt: String, ask: Ask) -> Request {
    Request { prompt: Text::plain(prompt), ask, encoding: Encoding { pairs: Pairs::Separate, ..Encoding::default() } }
}

fn texts(name: &str, value: &Value) -> Result<Vec<String>> {
    let texts: Option<Vec<String>> =
        value.as_array().and_then(|list| list.iter().map(|text| text.as_str().map(str::to_string)).collect());
    texts
        .filter(|texts| texts.len() > 1)
        .ok_or_else(|| Error::user(format!("`{name}` is not a list of two texts or more")))
}

/// The number an answer gives.
fn number_in(text: &str, pattern: Option<&Regex>) -> Option<Number> {
    match pattern {
        Some(pattern) => final_number(pattern.captures(&normalize(text))?.get(1)?.as_str()),
        None => final_number(text),
    }
}

/// The index of the largest value, the lowest on ties; NaN is never the largest.
fn likeliest(values: &[f64]) -> Option<usize> {
    let mut best: Option<usize> = None;
    for (i, value) in values.iter().enumerate() {
        if !value.is_nan() && best.is_none_or(|best| *value > values[best]) {
            best = Some(i);
        }
    }
    best
}
