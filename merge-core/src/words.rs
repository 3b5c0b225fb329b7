//! Words for people: counted nouns, and the known word that a misspelt one probably means.

/// A number with its noun: `1 generation`, `1500 items`.
#[must_use]
pub fn counted(n: usize, what: &str) -> String {
    format!("{n} {}", noun(n, what))
}

/// The noun in the singular if `n` is 1, else in the plural.
#[must_use]
pub fn noun(n: usize, what: &str) -> String {
    if n == 1 { what.to_owned() } else { format!("{what}s") }
}

/// The known word nearest to `word` by Damerau-Levenshtein distance, for a "did you mean" hint. `None` if the
/// distance is above `n / 3 + 1` or `n / 2`, where `n` is the length of the longer word.
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let letters = word.chars().count();
    // No name is this long, and comparing takes memory for the product of both lengths.
    if letters > 200 {
        return None;
    }
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| {
            let longest = candidate.chars().count().max(letters);
            *distance <= longest / 3 + 1 && 2 * distance <= longest
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::{counted, did_you_mean};

    #[test]
    fn one_is_said_as_one() {
        assert_eq!([0, 1, 1500].map(|n| counted(n, "item")), ["0 items", "1 item", "1500 items"]);
    }

    #[test]
    fn suggests_what_is_like_it_and_nothing_else() {
        let known = ["jnli", "jsquad", "sums-ja", "ties", "dare_ties", "f1", "日本語の推論"];
        for (word, near) in [
            ("jnil", Some("jnli")),
            ("JNLI", Some("jnli")),
            ("tises", Some("ties")),
            ("dare_tise", Some("dare_ties")),
            ("sums", Some("sums-ja")),
            ("f2", Some("f1")),
            ("日本の推論", Some("日本語の推論")),
            ("文章題", None),
            ("日", None),
            ("f", Some("f1")),
            ("xy", None),
            ("x", None),
            ("acc", None),
            ("", None),
        ] {
            assert_eq!(did_you_mean(word, known), near, "{word}");
        }
        assert_eq!(did_you_mean(&"j".repeat(1_000_000), known), None);
    }
}
