//! JSON as Python writes it: with `NaN`, `Infinity` and `-Infinity`, which some configurations have.
//!
//! These words are read as strings with a leading NUL, which no configuration has, and written back as they were.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Python's words, and the JSON strings that stand for them.
const WORDS: [(&str, &str); 3] =
    [("-Infinity", r#""\u0000-Infinity""#), ("Infinity", r#""\u0000Infinity""#), ("NaN", r#""\u0000NaN""#)];

/// Parses JSON, with or without Python's words.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(bytes).or_else(|error| match std::str::from_utf8(bytes).ok().and_then(as_json) {
        Some(text) => serde_json::from_str(&text),
        None => Err(error),
    })
}

/// Formats JSON with indentation, and puts Python's words back.
///
/// # Panics
/// Never: every JSON value can be written.
pub fn pretty(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).expect("a JSON value is a JSON text");
    WORDS.iter().fold(text, |text, (word, stand_in)| text.replace(stand_in, word))
}

/// The text with stand-ins for Python's words; `None` if it has none outside its strings.
fn as_json(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len() + 64);
    let (mut rest, mut inside) = (text, false);
    while let Some(letter) = rest.chars().next() {
        let word = WORDS.iter().find(|(word, _)| !inside && rest.starts_with(word));
        let len = match (word, letter) {
            (Some((word, stand_in)), _) => {
                out += stand_in;
                rest = &rest[word.len()..];
                continue;
            }
            // An escaped character does not end a string.
            (None, '\\') if inside => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            (None, letter) => letter.len_utf8(),
        };
        inside ^= letter == '"';
        out += &rest[..len];
        rest = &rest[len..];
    }
    (out.len() != text.len()).then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pythons_words_are_read_and_written_again() {
        let check = |text: &str| assert_eq!(pretty(&parse::<Value>(text.as_bytes()).unwrap()), text);
        check("{\n  \"limit\": [\n    0.0,\n    Infinity,\n    -Infinity,\n    NaN\n  ]\n}");
        check("{\n  \"a \\\" Infinity\": \"NaN \\\\\"\n}");
        for wrong in ["{\"a\": Inf}", "{\"a\": NaN", "{\"a\": \"\\", "{NaN: 1, \u{ff}"] {
            assert!(parse::<Value>(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
