//! The special tokens of a model, as its sidecars name them.

use super::Tokenizer;
use merge_core::{
    error::{Error, Result},
    model::{Config, Weights},
    python_json,
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Tokens that are not text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Specials {
    /// Token that begins a sequence.
    pub bos: Option<u32>,
    /// Token that ends a sequence.
    pub eos: Option<u32>,
    /// Tokens that end an answer.
    pub ends: Vec<u32>,
    /// Texts of the tokens by their names in transformers, such as `bos_token`.
    pub texts: BTreeMap<String, String>,
}

impl Specials {
    /// The tokens that `tokenizer_config.json` names, or else `special_tokens_map.json` or `config.json`.
    ///
    /// Fails if one of these files is invalid.
    pub(crate) fn of(weights: &dyn Weights, tokenizer: &Tokenizer) -> Result<Self> {
        let mut named = object(weights, "special_tokens_map.json")?;
        named.extend(object(weights, "tokenizer_config.json")?);
        let mut texts: BTreeMap<String, String> = named
            .iter()
            .filter(|(name, _)| name.ends_with("_token"))
            .filter_map(|(name, value)| Some((name.clone(), text(value)?.to_owned())))
            .collect();
        let mut token = |name: &str, key: &str| -> Result<Option<u32>> {
            if let Some(value) = named.get(name) {
                return Ok(text(value).and_then(|text| tokenizer.token(text)));
            }
            let first = tokens(weights.config(), key).map_err(|e| e.at("config.json"))?.first().copied();
            texts.extend(first.and_then(|token| Some((name.to_owned(), tokenizer.name(token)?))));
            Ok(first)
        };
        let (bos, eos) = (token("bos_token", "bos_token_id")?, token("eos_token", "eos_token_id")?);
        Ok(Self { bos, eos, ends: ends(weights)?, texts })
    }
}

/// A token's text, or an object that holds it.
fn text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// The tokens that end an answer: `eos_token_id` of `generation_config.json`, or else of `config.json`.
fn ends(weights: &dyn Weights) -> Result<Vec<u32>> {
    let name = "generation_config.json";
    let generation = Config(object(weights, name)?);
    let ends = tokens(&generation, "eos_token_id").map_err(|e| e.at(format!("{}/{name}", weights.place())))?;
    if !ends.is_empty() {
        return Ok(ends);
    }
    tokens(weights.config(), "eos_token_id").map_err(|e| e.at("config.json"))
}

/// A JSON sidecar of the model; empty if there is none.
fn object(weights: &dyn Weights, name: &str) -> Result<Map<String, Value>> {
    let Some(bytes) = weights.sidecar(name)? else { return Ok(Map::new()) };
    python_json::parse(&bytes).map_err(|e| Error::user(e.to_string()).at(format!("{}/{name}", weights.place())))
}

/// The tokens under a key: one, a list of them, or none.
fn tokens(config: &Config, key: &str) -> Result<Vec<u32>> {
    let token = |value: &Value| value.as_u64().and_then(|token| u32::try_from(token).ok());
    let tokens = match config.0.get(key) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(values)) => values.iter().map(token).collect(),
        Some(value) => token(value).map(|token| vec![token]),
    };
    tokens.ok_or_else(|| Error::user(format!("{key} is neither a token nor a list of tokens")))
}
