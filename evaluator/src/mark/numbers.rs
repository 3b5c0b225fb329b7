//! Reads the number in an answer, by the rules of the published harnesses, quirks included, and by our own.
//!
//! They disagree on text that models write daily (`1,000`, `１８`, `18.00`, `1万2千`, a last sentence that counts
//! something else), so a score on a sum means little without its [`Extractor`]'s name. All can mark one answer.

use std::sync::LazyLock;

use num_rational::BigRational;
use num_traits::ToPrimitive as _;
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::strict;
use crate::text::normalize::Number;

/// A rule that reads the answer to a sum from a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Extractor {
    /// Sakana's `evomerge/eval/ja_mgsm.py`: the last `\d*\.?\d+` as a float. It reads `1,000` as 0 and drops every sign.
    Sakana,
    /// Stability's jp-stable `mgsm` and EleutherAI's `ja_leaderboard_mgsm`: the last `-?[0-9.,]+`, if it is a whole number.
    Stability,
    /// OpenAI's simple-evals and flexeval's `SimpleEvalMGSMProcessor`: the last `-?\d+\.?\d*` after all commas are removed,
    /// compared as text.
    SimpleEvals,
    /// EleutherAI's `mgsm_*`, filter `flexible-extract`: the last `(-?[$0-9.,]{2,})|(-?[0-9]+)`, compared as text without
    /// ASCII punctuation, so that `18.00` is 1800 and -5 is 5.
    EleutherFlexible,
    /// EleutherAI's `mgsm_native_cot_ja`, filter `strict-match`: the first `答えは(-?[0-9.,]+)です。`,
    /// compared the same way.
    EleutherStrict,
    /// Ours: the number that a Japanese reader would take for the answer, in any notation, compared exactly; with one
    /// that was printed from a float, as exactly as its digits tell: [`Number::is_answered_by`].
    ///
    /// The text is normalised once. Then the first of these rules that finds a number decides: the last `\boxed{…}`;
    /// a number after the last `####`; the sentence of the last 答え(は|：|:) …; the last sentence よって|したがって … です; the
    /// last number of the last sentence; the last number. It reads `1,000`, `１８`, 十八, 二千五百, `1万2千`, `1.5億`, `1/2`,
    /// 3分の2, 3時間半 and マイナス5. Units, currency and `%` are not part of the value.
    Strict,
}

/// A number as an extractor read it, for audits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reading {
    /// The rule that found it.
    pub rule: NumberRule,
    /// The text it was read from: normalised and with its unit for [`Extractor::Strict`]; as the
    /// harness reports it for [`Extractor::SimpleEvals`] and EleutherAI's filters.
    pub raw: String,
    /// The value of that text; `None` if a harness compares texts and this one is not a number (`1.5.2`).
    pub value: Option<Number>,
}

/// The reason why a number was taken for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NumberRule {
    /// The first match of a harness's pattern.
    FirstMatch,
    /// The last match of a harness's pattern.
    LastMatch,
    /// It is in the last `\boxed{…}`.
    Boxed,
    /// It follows the last `####`.
    Hashes,
    /// It is in the sentence of the last 答えは or 答え：.
    AnswerIs,
    /// It is in the last sentence that begins with よって or したがって.
    Therefore,
    /// The last number of the last sentence.
    LastSentence,
    /// The last number of the text.
    LastNumber,
}

impl Extractor {
    /// All extractors, the published ones first.
    pub const ALL: [Self; 6] =
        [Self::Sakana, Self::Stability, Self::SimpleEvals, Self::EleutherFlexible, Self::EleutherStrict, Self::Strict];

    /// The name in definitions and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sakana => "sakana",
            Self::Stability => "stability",
            Self::SimpleEvals => "simple-evals",
            Self::EleutherFlexible => "eleuther-flexible",
            Self::EleutherStrict => "eleuther-strict",
            Self::Strict => "strict",
        }
    }

    /// Reads the answer that a text gives; `None` if the harness finds none.
    pub fn read(self, text: &str) -> Option<Reading> {
        let last = |raw: String| Reading { rule: NumberRule::LastMatch, value: number(&raw), raw };
        match self {
            Self::Sakana => {
                static PATTERN: LazyLock<Regex> = LazyLock::new(|| pattern(r"\d*\.?\d+"));
                Some(last(PATTERN.find_iter(text).last()?.as_str().to_owned()))
            }
            Self::Stability => {
                static PATTERN: LazyLock<Regex> = LazyLock::new(|| pattern(r"-?[0-9.,]+"));
                let raw = PATTERN.find_iter(text).last()?.as_str();
                let value: f64 = raw.trim_matches('.').replace(',', "").parse().ok()?;
                let value = BigRational::from_float(value).filter(BigRational::is_integer)?;
                Some(Reading { value: Some(value.into()), ..last(raw.to_owned()) })
            }
            Self::SimpleEvals => {
                static PATTERN: LazyLock<Regex> = LazyLock::new(|| pattern(r"-?\d+\.?\d*"));
                let text = text.replace(',', "");
                let raw = PATTERN.find_iter(&text).last()?.as_str().trim_end_matches('.');
                let raw = if raw.contains('.') { raw.trim_end_matches('0').trim_end_matches('.') } else { raw };
                Some(last(raw.to_owned()))
            }
            Self::EleutherFlexible => {
                static PATTERN: LazyLock<Regex> = LazyLock::new(|| pattern(r"-?[$0-9.,]{2,}|-?[0-9]+"));
                Some(last(PATTERN.find_iter(text).last()?.as_str().to_owned()))
            }
            Self::EleutherStrict => {
                static PATTERN: LazyLock<Regex> = LazyLock::new(|| pattern(r"答えは(-?[0-9.,]+)です。"));
                Some(Reading { rule: NumberRule::FirstMatch, ..last(PATTERN.captures(text)?[1].to_owned()) })
            }
            Self::Strict => strict::read(text),
        }
    }

    /// True if a text gives the right answer, compared as the harness compares.
    pub fn is_right(self, text: &str, gold: &Number) -> bool {
        let Some(reading) = self.read(text) else { return false };
        match self {
            // Python compares a whole number with a float exactly, and a decimal gold is a float there too.
            Self::Sakana => to_float(&reading.raw).is_some_and(|value| {
                if gold.value().is_integer() {
                    BigRational::from_float(value).as_ref() == Some(gold.value())
                } else {
                    gold.value().to_f64() == Some(value)
                }
            }),
            Self::Stability => reading.value.as_ref() == Some(gold),
            Self::Strict => reading.value.is_some_and(|value| gold.is_answered_by(&value)),
            Self::SimpleEvals => reading.raw == gold.to_string(),
            Self::EleutherFlexible | Self::EleutherStrict => {
                without_punctuation(&reading.raw) == without_punctuation(&gold.to_string())
            }
        }
    }
}

fn pattern(pattern: &str) -> Regex {
    Regex::new(pattern).expect("it is a constant and compiles")
}

/// The value of a harness's match, if it is a number: digits of any script, without commas and dollar signs.
fn number(raw: &str) -> Option<Number> {
    let digits = ascii_digits(raw).replace([',', '$'], "");
    let digits = digits.strip_suffix('.').unwrap_or(&digits);
    let (negative, digits) = digits.strip_prefix('-').map_or((false, digits), |digits| (true, digits));
    let is_number = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && digits.bytes().any(|b| b.is_ascii_digit())
        && digits.matches('.').count() < 2;
    is_number.then(|| Number::decimal(negative, digits))
}

/// Python's `float`, which reads the digits of every script.
fn to_float(raw: &str) -> Option<f64> {
    ascii_digits(raw).parse().ok()
}

/// Turns decimal digits of any script into ASCII; `\d` of Python and of our patterns matches them all.
fn ascii_digits(text: &str) -> String {
    static DIGIT: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\p{Nd}$"));
    let is_digit = |c: char| DIGIT.is_match(c.encode_utf8(&mut [0; 4]));
    let digit = |c: char| {
        if c.is_ascii() || !is_digit(c) {
            return c;
        }
        // Unicode keeps each script's digits together, from 0 to 9; of adjacent scripts, the count is modulo 10.
        let before = (0..u32::from(c)).rev().map_while(char::from_u32).take_while(|c| is_digit(*c)).count();
        char::from(b'0' + (before % 10) as u8)
    };
    text.chars().map(digit).collect()
}

/// The text that lm-eval's `ignore_punctuation` and `ignore_case` leave; digits have no case.
fn without_punctuation(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_punctuation()).collect()
}
