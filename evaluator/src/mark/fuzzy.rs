//! `char_f1` of llm-jp-eval, not a real F1: `fuzzywuzzy.fuzz.token_sort_ratio` 0.18 with Levenshtein, divided by 100.

use std::sync::LazyLock;

use regex::Regex;

use super::rouge::longest_common_subsequence;

/// llm-jp-eval's `char_f1` of an answer and the right one: from 0 to 1, in hundredths.
///
/// Both texts lose U+0080 to U+00FF and all but letters, digits and `_`, become lower case, and
/// have their words sorted. The score is `(a + b − d) / (a + b)` for lengths `a` and `b` in
/// characters and the distance `d` of insertions and deletions, rounded to whole percents, halves
/// to even. Two texts of which nothing is left are equal: 1.
pub fn char_f1(answer: &str, gold: &str) -> f64 {
    let (answer, gold) = (sorted_words(answer), sorted_words(gold));
    if answer == gold {
        return 1.0;
    }
    let length = answer.len() + gold.len();
    let distance = length - 2 * longest_common_subsequence(&answer, &gold);
    let ratio = 1.0 - distance as f64 / length as f64;
    (100.0 * ratio).round_ties_even() / 100.0
}

fn sorted_words(text: &str) -> Vec<char> {
    // Python's \w: letters, numbers and the underscore, but no combining marks.
    static OTHERS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"[^\p{L}\p{N}_]").expect("it is a constant and compiles"));
    let text: String = text.chars().filter(|c| !matches!(c, '\u{80}'..='\u{FF}')).collect();
    let text = OTHERS.replace_all(&text, " ").to_lowercase();
    let mut words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    words.sort_unstable();
    words.join(" ").chars().collect()
}
