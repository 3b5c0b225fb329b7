//! ROUGE-1, ROUGE-2 and ROUGE-L as the package `rouge_score` 0.1.2 computes them, over the caller's tokens.
//!
//! C.-Y. Lin, "ROUGE: A Package for Automatic Evaluation of Summaries" (2004). Sakana and
//! EleutherAI take MeCab's tokens: see [`Mecab`](crate::text::mecab::Mecab).

use std::{collections::HashMap, hash::Hash};

use serde::Serialize;

use super::squad::normalize_answer;

/// F-measures from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rouge {
    /// F-measure of single tokens.
    pub rouge1: f64,
    /// F-measure of pairs of adjacent tokens.
    pub rouge2: f64,
    /// F-measure of the longest common subsequence.
    #[serde(rename = "rougeL")]
    pub rouge_l: f64,
}

/// The ROUGE scores of an answer's tokens against those of the reference.
pub fn rouge<T: Eq + Hash>(answer: &[T], gold: &[T]) -> Rouge {
    Rouge {
        rouge1: n_gram(answer, gold, 1),
        rouge2: n_gram(answer, gold, 2),
        rouge_l: f_measure(longest_common_subsequence(answer, gold), answer.len(), gold.len()),
    }
}

/// [`rouge`] over characters without spaces, after [`normalize_answer`]: for use without a dictionary.
///
/// It is higher than over words, so report it under other names: `rouge1_char`, `rouge2_char` and `rougeL_char`.
pub fn rouge_char(answer: &str, gold: &str) -> Rouge {
    let chars = |text: &str| -> Vec<char> { normalize_answer(text).chars().filter(|c| !c.is_whitespace()).collect() };
    rouge(&chars(answer), &chars(gold))
}

fn n_gram<T: Eq + Hash>(answer: &[T], gold: &[T], n: usize) -> f64 {
    let mut left: HashMap<&[T], usize> = HashMap::new();
    for gram in gold.windows(n) {
        *left.entry(gram).or_default() += 1;
    }
    let mut common = 0;
    for gram in answer.windows(n) {
        if let Some(count) = left.get_mut(gram).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    let grams = |tokens: &[T]| (tokens.len() + 1).saturating_sub(n);
    f_measure(common, grams(answer), grams(gold))
}

/// The length of the longest sequence that is in both, with gaps.
pub(super) fn longest_common_subsequence<T: Eq>(one: &[T], other: &[T]) -> usize {
    // One row of the table: lengths for prefixes of `other`.
    let mut row = vec![0; other.len() + 1];
    for a in one {
        let mut diagonal = 0;
        for (j, b) in other.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if a == b { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[other.len()]
}

/// The harmonic mean of precision and recall; 0 if nothing is in common.
fn f_measure(common: usize, answer: usize, gold: usize) -> f64 {
    if common == 0 {
        return 0.0;
    }
    let (precision, recall) = (common as f64 / answer as f64, common as f64 / gold as f64);
    2.0 * precision * recall / (precision + recall)
}
