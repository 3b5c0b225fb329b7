//! Exact match and F1 of extracted answers, as Stability's harness and flexeval mark JSQuAD and JAQKET.

use std::{collections::HashMap, hash::Hash, sync::LazyLock};

use regex::Regex;

use crate::{python, text::neologdn};

/// Punctuation of the harness's list; such tokens do not count, nor do those of ASCII's punctuation.
const PUNCTUATION: &str = concat!(
    "！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､、〃》「」『』【】〔〕〖〗〘〙〚〛〜〝〞〟〰〾〿",
    "–—‘’‛“”„‟…‧﹏."
);

/// The form in which answers are compared: without emoji, normalised by [`neologdn`], and with single spaces.
pub fn normalize_answer(text: &str) -> String {
    python::split(&neologdn::normalize(&without_emoji(text))).collect::<Vec<_>>().join(" ")
}

/// True if an answer is one of the right ones after [`normalize_answer`].
pub fn exact_match(answer: &str, golds: &[impl AsRef<str>]) -> bool {
    let answer = normalize_answer(answer);
    golds.iter().any(|gold| normalize_answer(gold.as_ref()) == answer)
}

/// The F1 of an answer's tokens as a bag, the best over all right answers; 0 if there are none.
///
/// Tokens are MeCab's, after [`normalize_answer`]: see [`Mecab`](crate::text::mecab::Mecab).
pub fn f1(answer: &[String], golds: &[Vec<String>]) -> f64 {
    let answer = without_punctuation(answer);
    golds.iter().map(|gold| bag_f1(&answer, &without_punctuation(gold))).fold(0.0, f64::max)
}

/// The F1 of an answer's characters as a bag, the best over all right answers: [`f1`] for use without a dictionary.
///
/// It is more lenient than [`f1`] and no replacement for it: 北海 and 北海道 share no token, but most of their characters.
pub fn f1_char(answer: &str, golds: &[impl AsRef<str>]) -> f64 {
    let chars = |text: &str| -> Vec<char> {
        let text = normalize_answer(text);
        text.chars().filter(|c| !c.is_whitespace() && !is_punctuation(*c)).collect()
    };
    let answer = chars(answer);
    golds.iter().map(|gold| bag_f1(&answer, &chars(gold.as_ref()))).fold(0.0, f64::max)
}

fn bag_f1<T: Eq + Hash>(answer: &[T], gold: &[T]) -> f64 {
    let mut left: HashMap<&T, usize> = HashMap::new();
    for token in gold {
        *left.entry(token).or_default() += 1;
    }
    let mut common = 0usize;
    for token in answer {
        if let Some(count) = left.get_mut(token).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    if common == 0 {
        return 0.0;
    }
    let (precision, recall) = (common as f64 / answer.len() as f64, common as f64 / gold.len() as f64);
    2.0 * precision * recall / (precision + recall)
}

fn without_punctuation(tokens: &[String]) -> Vec<&str> {
    let is_mark = |token: &str| {
        let mut chars = token.chars();
        chars.next().is_some_and(is_punctuation) && chars.next().is_none()
    };
    tokens.iter().map(String::as_str).filter(|token| !is_mark(token)).collect()
}

fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() || PUNCTUATION.contains(c)
}

/// The text without the package `emoji`'s emoji, and without the blocks that the harness adds to them.
fn without_emoji(text: &str) -> String {
    // Digits, `#` and `*` are emoji in Unicode, since they begin keycaps, but not in the package.
    const PATTERN: &str = concat!(
        r"[\p{Emoji}\x{1F600}-\x{1F64F}\x{1F300}-\x{1F5FF}\x{1F680}-\x{1F6FF}\x{1F1E0}-\x{1F1FF}\x{2702}-\x{27B0}",
        r"--[0-9#*]]"
    );
    static EMOJI: LazyLock<Regex> = LazyLock::new(|| Regex::new(PATTERN).expect("it is a constant and compiles"));
    EMOJI.replace_all(text, "").into_owned()
}
