//! Turns text into tokens and back, as transformers does it.

use crate::contained::catch_panic;
use fancy_regex::Regex;
use merge_core::{
    error::{Error, Result},
    model::Weights,
};
use serde_json::Value;
use std::sync::Arc;

/// A model's tokenizer. Clones share it, so candidates with the same tokenizer need only one.
#[derive(Clone, Debug)]
pub struct Tokenizer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tokenizer: tokenizers::Tokenizer,
    file: String,
    largest: u32,
    /// The patterns of the file whose search may exceed its limit.
    patterns: Vec<Regex>,
}

impl Tokenizer {
    /// Reads a model's `tokenizer.json`.
    ///
    /// Fails, naming the file, if it is missing or is not a tokenizer.
    pub fn of(weights: &dyn Weights) -> Result<Self> {
        let file = format!("{}/tokenizer.json", weights.place());
        match weights.sidecar("tokenizer.json")? {
            Some(bytes) => Self::read(&bytes, file),
            None => Err(Error::user(format!("{file}: there is no such file"))
                .hint("with transformers, AutoTokenizer.from_pretrained(…).save_pretrained(…) makes it")),
        }
    }

    /// Reads the bytes of a `tokenizer.json`; `file` is its name in messages.
    pub(crate) fn read(bytes: &[u8], file: String) -> Result<Self> {
        let read = || {
            let mut tokenizer = tokenizers::Tokenizer::from_bytes(bytes)?;
            // The file may still hold its last training's settings, which transformers does not apply either.
            tokenizer.with_padding(None).with_truncation(None)?;
            let largest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
            Ok((tokenizer, largest))
        };
        let (tokenizer, largest) = library(read).map_err(|e| refused(&file, "not a tokenizer", &e))?;
        Ok(Self(Arc::new(Inner { tokenizer, file, largest, patterns: patterns(bytes) })))
    }

    /// The tokens of a prompt, with the special tokens that the tokenizer puts around it.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        self.encode(text, true)
    }

    /// The tokens of a continuation, without special tokens.
    pub fn encode_continuation(&self, text: &str) -> Result<Vec<u32>> {
        self.encode(text, false)
    }

    /// The token with this name, special or not.
    pub(crate) fn token(&self, name: &str) -> Option<u32> {
        self.0.tokenizer.token_to_id(name)
    }

    /// The tokenizer's name for a token; for a special token, its text.
    pub(crate) fn name(&self, token: u32) -> Option<String> {
        self.0.tokenizer.id_to_token(token)
    }

    /// The text of tokens, without special tokens.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        let Inner { tokenizer, file, .. } = &*self.0;
        library(|| tokenizer.decode(tokens, true)).map_err(|e| refused(file, "cannot decode", &e))
    }

    /// Fails if the tokenizer can produce a token that has no embedding in the model.
    pub(crate) fn check(&self, vocab: usize) -> Result<()> {
        let Inner { file, largest, .. } = &*self.0;
        if (*largest as usize) < vocab {
            return Ok(());
        }
        Err(Error::user(format!(
            "{file}: a tokenizer that doesn't match: it has token {largest}, but config.json has vocab_size {vocab}"
        ))
        .hint("take the tokenizer of the model the embeddings come from"))
    }

    fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        let Inner { tokenizer, file, patterns, .. } = &*self.0;
        // The library takes a search that exceeds its limit for the end of the text, which gives other tokens.
        if let Some(pattern) = patterns.iter().find(|pattern| pattern.find_iter(text).any(|found| found.is_err())) {
            let why = format!("the search for its pattern `{pattern}` takes too many steps");
            return Err(refused(file, "cannot encode", &why));
        }
        let encoding = library(|| tokenizer.encode_fast(text, special));
        Ok(encoding.map_err(|e| refused(file, "cannot encode", &e))?.get_ids().to_vec())
    }
}

/// Calls the library, which panics on files whose parts do not fit together.
fn library<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> std::result::Result<T, String> {
    catch_panic(work)?.map_err(|e| e.to_string())
}

/// The patterns of a `tokenizer.json` that cannot be searched in linear time.
fn patterns(bytes: &[u8]) -> Vec<Regex> {
    fn collect(value: &Value, found: &mut Vec<Regex>) {
        match value {
            Value::Object(fields) => {
                let pattern = fields.get("Regex").and_then(Value::as_str);
                found.extend(
                    pattern.filter(|pattern| regex::Regex::new(pattern).is_err()).and_then(|p| Regex::new(p).ok()),
                );
                fields.values().for_each(|value| collect(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
            _ => {}
        }
    }
    let file: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let mut found = Vec::new();
    for key in ["normalizer", "pre_tokenizer"] {
        collect(&file[key], &mut found);
    }
    found
}

fn refused(file: &str, what: &str, why: &str) -> Error {
    Error::user(format!("{file}: {what}: {why}"))
        .hint("take the file from where the model is published, or save it again")
}

/// Number of tokens that two sequences share at their beginnings.
pub(crate) fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use crate::prompt::Tokenizer;
    use serde_json::{Value, json};

    /// Encodes a text by a tokenizer of two letters with one part replaced, and checks the tokens or the error.
    fn check(part: &str, value: Value, text: &str, error: &str) {
        let mut file = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": null, "post_processor": null, "decoder": null,
            "model": { "type": "BPE", "vocab": { "a": 0, "b": 1 }, "merges": [] },
        });
        file[part] = value;
        let read = Tokenizer::read(file.to_string().as_bytes(), "t/tokenizer.json".to_owned());
        let found = read.and_then(|tokenizer| tokenizer.encode_prompt(text));
        match found {
            Ok(tokens) => assert_eq!(format!("{tokens:?}"), error),
            Err(found) => assert_eq!(found.to_string(), format!("t/tokenizer.json: {error}")),
        }
    }

    #[test]
    fn what_panics_in_the_library_is_an_error() {
        check("normalizer", Value::Null, "ab", "[0, 1]");
        let template = json!({
            "type": "TemplateProcessing", "single": [{ "SpecialToken": { "id": "nope", "type_id": 0 } }], "pair": [],
            "special_tokens": {},
        });
        check("post_processor", template, "ab", "cannot encode: no entry found for key");
    }

    #[test]
    fn a_pattern_that_is_given_up_gives_no_other_tokens() {
        let split = |pattern: &str| json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false });
        let pattern = "(?:a|aa)+(?=c)|b";
        check("pre_tokenizer", split(pattern), "ab", "[0, 1]");
        let why = format!("cannot encode: the search for its pattern `{pattern}` takes too many steps");
        check("pre_tokenizer", split(pattern), &"a".repeat(60), &why);
        check("pre_tokenizer", split("(?:a|aa)+c|b"), &"a".repeat(3), "[0, 0, 0]");
    }
}
