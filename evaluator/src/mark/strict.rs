//! Finds the number in an answer by the rules of [`Extractor::Strict`](super::numbers::Extractor::Strict).

use std::sync::LazyLock;

use regex::Regex;

use super::{
    grammar::{FoundNumber, ends_answer, number_at, numbers},
    numbers::{NumberRule, Reading},
};
use crate::text::normalize::normalize;

/// Reads the number of an answer; the first rule that finds one decides.
pub(super) fn read(text: &str) -> Option<Reading> {
    let lines: Vec<String> = plain(text).lines().map(normalize).filter(|line| !line.is_empty()).collect();
    let sentences: Vec<Vec<char>> = lines.iter().flat_map(|line| sentences(line)).collect();
    boxed(&lines.join(" "))
        .or_else(|| hashes(&lines))
        .or_else(|| answer_is(&sentences))
        .or_else(|| therefore(&sentences))
        .or_else(|| last_number(&sentences))
}

/// The text without marks of Markdown and LaTeX in and around numbers.
fn plain(text: &str) -> String {
    static FRACTION: LazyLock<Regex> = LazyLock::new(|| regex(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"));
    static WORDS: LazyLock<Regex> = LazyLock::new(|| regex(r"\\(?:text|mathrm|mathbf|textbf)\s*\{([^{}]*)\}"));
    let text = text.replace("**", "").replace("{,}", ",").replace("\\$", "$").replace("\\%", "%");
    let text = WORDS.replace_all(&text, "$1");
    let text = FRACTION.replace_all(&text, "$1/$2");
    ["\\,", "\\!", "\\;", "\\(", "\\)", "\\[", "\\]"]
        .iter()
        .fold(text.into_owned(), |text, mark| text.replace(mark, ""))
}

/// Cuts a line after 。, ！, ？ and a full stop that white space follows.
fn sentences(line: &str) -> Vec<Vec<char>> {
    let text: Vec<char> = line.chars().collect();
    let mut all = Vec::new();
    let mut sentence = Vec::new();
    for (i, &c) in text.iter().enumerate() {
        sentence.push(c);
        let next = text.get(i + 1);
        if matches!(c, '。' | '！' | '？' | '!' | '?') || (c == '.' && next.is_none_or(|c| *c == ' ')) {
            all.push(std::mem::take(&mut sentence));
        }
    }
    all.push(sentence);
    all.retain(|sentence| sentence.iter().any(|c| !c.is_whitespace()));
    all
}

fn boxed(text: &str) -> Option<Reading> {
    let at = text.rfind("\\boxed")?;
    let inside = text[at + "\\boxed".len()..].trim_start().strip_prefix('{')?;
    let mut depth = 1;
    let end = inside.find(|c| {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        depth == 0
    });
    let inside: Vec<char> = inside[..end.unwrap_or(inside.len())].chars().collect();
    last(&inside, NumberRule::Boxed)
}

fn hashes(lines: &[String]) -> Option<Reading> {
    let line = lines.iter().rev().find_map(|line| line.strip_prefix("####"))?;
    let text: Vec<char> = line.trim_start_matches(['#', ' ']).chars().collect();
    let found = number_at(&text, 0, false)?;
    // `#### ステップ1` is a heading, and so is `#### 1. まず`.
    let is_all = ends_answer(&text[found.end..]) && !(text.get(found.end) == Some(&'.') && text.len() > found.end + 1);
    is_all.then(|| reading(&text, found, NumberRule::Hashes))
}

fn answer_is(sentences: &[Vec<char>]) -> Option<Reading> {
    static ANSWER: LazyLock<Regex> = LazyLock::new(|| regex(r"答え?\s*(?:は|が|[:：])[、,\s「『$]*"));
    sentences.iter().rev().find_map(|sentence| {
        let text: String = sentence.iter().collect();
        let answer = ANSWER.find_iter(&text).last()?;
        let rest: Vec<char> = text[answer.end()..].chars().collect();
        let first = rest.iter().position(|c| *c != '約').unwrap_or(0);
        // 答えは18個で… gives the answer at once, 答えは2日で18個です only later.
        match number_at(&rest, first, false).filter(|number| ends_answer(&rest[number.end..])) {
            Some(number) => Some(reading(&rest, number, NumberRule::AnswerIs)),
            None => last(&without_brackets(&rest), NumberRule::AnswerIs),
        }
    })
}

fn therefore(sentences: &[Vec<char>]) -> Option<Reading> {
    static THEREFORE: LazyLock<Regex> =
        LazyLock::new(|| regex(r"(?:よって|したがって|従って|ゆえに|故に)(.*)(?:です|ます)"));
    sentences.iter().rev().find_map(|sentence| {
        let text: String = sentence.iter().collect();
        let concluded: Vec<char> = THEREFORE.captures(&text)?[1].chars().collect();
        last(&without_brackets(&concluded), NumberRule::Therefore)
    })
}

fn last_number(sentences: &[Vec<char>]) -> Option<Reading> {
    let (end, rest) = sentences.split_last()?;
    last(end, NumberRule::LastSentence)
        .or_else(|| rest.iter().rev().find_map(|sentence| last(sentence, NumberRule::LastNumber)))
}

fn last(text: &[char], rule: NumberRule) -> Option<Reading> {
    numbers(text).pop().map(|found| reading(text, found, rule))
}

fn reading(text: &[char], found: FoundNumber, rule: NumberRule) -> Reading {
    Reading { rule, raw: text[found.start..found.end].iter().collect(), value: Some(found.value.into()) }
}

/// The text without its round brackets, unless all numbers are in them.
fn without_brackets(text: &[char]) -> Vec<char> {
    let mut depth = 0;
    let mut outside = Vec::new();
    for &c in text {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            c if depth <= 0 => outside.push(c),
            _ => {}
        }
    }
    if numbers(&outside).is_empty() { text.to_vec() } else { outside }
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("it is a constant and compiles")
}
