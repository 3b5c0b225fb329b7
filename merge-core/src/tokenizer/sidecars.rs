//! The files beside the weights that depend on tokens, for the result's tokenizer.

use super::{
    align::Alignment,
    tokens::{Tokens, Vocabulary, definitions},
};
use crate::{
    error::{Error, Result},
    model::{
        Config, Weights,
        belongings::{self, Belongings, MADE_FROM},
    },
    python_json,
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashSet};

/// Files that replace a model's own; `None` for a file that the result must not have.
pub type Sidecars = BTreeMap<String, Option<Vec<u8>>>;

pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const SPECIAL_TOKENS_MAP: &str = "special_tokens_map.json";
pub(super) const ADDED_TOKENS: &str = "added_tokens.json";

/// Older files that hold the tokenizer's model.
const OLD_MODEL_FILES: [&str; 3] = ["merges.txt", "vocab.json", "vocab.txt"];
/// Files that go with the tokenizer, whatever they contain.
const COMPANIONS: [&str; 4] = ["chat_template.jinja", "chat_template.json", "emoji.json", "normalizer.json"];

/// A model's tokenizer: `tokenizer.json` with the added tokens that only `tokenizer_config.json`
/// has, because programs that load both add them.
///
/// Fails if there is no `tokenizer.json`, or if it is not JSON.
pub fn read(name: &str, weights: &dyn Weights) -> Result<Value> {
    let Some(mut tokenizer) = json_of(weights, TOKENIZER)? else {
        return Err(Error::user(format!("`{name}`: there is no {TOKENIZER} in {}", weights.place())).hint(
            "vocabularies are matched by it; transformers makes one: `AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)`",
        ));
    };
    let known: HashSet<&str> = definitions(&tokenizer).iter().filter_map(|token| token["content"].as_str()).collect();
    let config = json_of(weights, TOKENIZER_CONFIG)?.unwrap_or_default();
    let mut more: Vec<(u64, Value)> = Vec::new();
    for (id, definition) in config["added_tokens_decoder"].as_object().into_iter().flatten() {
        if definition["content"].as_str().is_some_and(|text| !known.contains(text))
            && let Ok(id) = id.parse()
        {
            let mut definition = definition.clone();
            definition["id"] = json!(id);
            more.push((id, definition));
        }
    }
    more.sort_by_key(|(id, _)| *id);
    if let (false, Some(object)) = (more.is_empty(), tokenizer.as_object_mut()) {
        let added = object.entry("added_tokens").or_insert_with(|| json!([]));
        if let Value::Array(added) = added {
            added.extend(more.into_iter().map(|(_, definition)| definition));
        }
    }
    Ok(tokenizer)
}

/// The tokenizer's files for the result, made from the files of the tokenizer's donor, and notes for the user.
///
/// `before` is the donor's tokenizer, as [`read`] gives it. Fails if a file cannot be read or is not JSON.
pub fn sidecars(alignment: &Alignment, before: &Value, donor: &dyn Weights) -> Result<(Sidecars, Vec<String>)> {
    let names = [TOKENIZER, TOKENIZER_CONFIG, SPECIAL_TOKENS_MAP, ADDED_TOKENS];
    let names = names.into_iter().chain(MADE_FROM).chain(OLD_MODEL_FILES).chain(COMPANIONS);
    let Belongings { files: code, mut notes } = belongings::code(donor, &[TOKENIZER_CONFIG])?;
    let names = names.map(str::to_owned).chain(code);
    let mut files: Sidecars = names.map(|name| Ok((name.clone(), donor.sidecar(&name)?))).collect::<Result<_>>()?;
    if alignment.tokenizer == *before {
        return Ok((files, notes));
    }
    let after = &alignment.tokenizer;
    let tokens = Tokens::read(&Vocabulary { name: TOKENIZER, tokenizer: after, rows: alignment.len })?;
    files.insert(TOKENIZER.to_owned(), Some(pretty(after)));
    if let Some(mut config) = json_of(donor, TOKENIZER_CONFIG)? {
        if config["added_tokens_decoder"].is_object() {
            config["added_tokens_decoder"] = decoder(after, &tokens);
        }
        keep_known(&mut config, &tokens);
        files.insert(TOKENIZER_CONFIG.to_owned(), Some(pretty(&config)));
    }
    if let Some(mut map) = json_of(donor, SPECIAL_TOKENS_MAP)? {
        keep_known(&mut map, &tokens);
        files.insert(SPECIAL_TOKENS_MAP.to_owned(), Some(pretty(&map)));
    }
    if files[ADDED_TOKENS].is_some() {
        let beyond = definitions(after).iter().filter_map(|token| token["content"].as_str());
        let beyond = beyond.filter(|text| !in_model(after, text));
        let ids: Map<String, Value> = beyond.map(|text| (text.to_owned(), json!(tokens.ids.get(text)))).collect();
        files.insert(ADDED_TOKENS.to_owned(), Some(pretty(&Value::Object(ids))));
    }
    let of_model = if after["model"] == before["model"] { &[][..] } else { &OLD_MODEL_FILES };
    for name in MADE_FROM.iter().chain(of_model) {
        if files[*name].is_some() {
            files.insert((*name).to_owned(), None);
            notes.push(format!(
                "{name} is left out: it was not made for the result's tokens, and {TOKENIZER} has them all"
            ));
        }
    }
    Ok((files, notes))
}

impl Alignment {
    /// A model's `config.json` for the result's tokenizer: the size of the vocabulary, and the ids
    /// of single tokens (end of text, padding …), `null` for a token that is gone.
    pub fn config(&self, model: usize, config: &Config) -> Config {
        let mut config = config.clone();
        self.edit(model, &mut config.0);
        if !config.0.contains_key("vocab_size") && !config.0.values().any(|part| part.get("vocab_size").is_some()) {
            config.0.insert("vocab_size".to_owned(), json!(self.len));
        }
        config
    }

    /// A model's `generation_config.json` for the result's tokenizer.
    ///
    /// Fails if it is not a JSON object.
    pub fn generation_config(&self, model: usize, bytes: Vec<u8>) -> Result<Vec<u8>> {
        if self.ids[model].is_none() {
            return Ok(bytes);
        }
        let mut config: Map<String, Value> = python_json::parse(&bytes)
            .map_err(|e| Error::user(format!("generation_config.json: not a JSON object: {e}")))?;
        self.edit(model, &mut config);
        Ok(pretty(&Value::Object(config)))
    }

    /// Edits a configuration, and its parts that share the vocabulary (`text_config`).
    fn edit(&self, model: usize, config: &mut Map<String, Value>) {
        for (key, value) in config {
            match value {
                Value::Object(part)
                    if part.get("vocab_size").is_some_and(|size| *size == json!(self.old_rows[model])) =>
                {
                    self.edit(model, part);
                }
                size if key == "vocab_size" => *size = json!(self.len),
                id if key.ends_with("_token_id") || key.ends_with("_token_index") => self.renumber(model, id),
                _ => {}
            }
        }
    }

    fn renumber(&self, model: usize, id: &mut Value) {
        let Some(ids) = &self.ids[model] else { return };
        // -1 means that there is no such token.
        let new = |id: &Value| id.as_u64().map(|old| ids.get(old as usize).copied().flatten());
        match id {
            Value::Array(several) => several.retain_mut(|id| match new(id) {
                Some(Some(new)) => {
                    *id = json!(new);
                    true
                }
                Some(None) => false,
                None => true,
            }),
            one => {
                if let Some(new) = new(one) {
                    *one = json!(new);
                }
            }
        }
    }
}

/// `added_tokens_decoder`: the definitions by id.
fn decoder(tokenizer: &Value, tokens: &Tokens<'_>) -> Value {
    let entries = definitions(tokenizer).iter().filter_map(|definition| {
        let id = tokens.ids.get(definition["content"].as_str()?)?;
        let mut definition = definition.as_object()?.clone();
        definition.shift_remove("id");
        Some((id.to_string(), Value::Object(definition)))
    });
    Value::Object(entries.collect())
}

/// Removes roles (`pad_token` …) of tokens that the result lacks: programs would add the tokens beyond the embedding.
fn keep_known(file: &mut Value, tokens: &Tokens<'_>) {
    let known = |token: &Value| {
        let text = token.as_str().or_else(|| token["content"].as_str());
        text.is_none_or(|text| tokens.ids.contains_key(text))
    };
    let Some(file) = file.as_object_mut() else { return };
    file.retain(|key, value| !key.ends_with("_token") || known(value));
    for key in ["additional_special_tokens", "extra_special_tokens"] {
        match file.get_mut(key) {
            Some(Value::Array(several)) => several.retain(known),
            Some(Value::Object(several)) => several.retain(|_, token| known(token)),
            _ => {}
        }
    }
}

/// True if a token is in the vocabulary of the tokenizer's own model.
fn in_model(tokenizer: &Value, text: &str) -> bool {
    match &tokenizer["model"]["vocab"] {
        Value::Object(vocab) => vocab.contains_key(text),
        Value::Array(vocab) => vocab.iter().any(|pair| pair[0] == text),
        _ => false,
    }
}

/// A sidecar as JSON, or `None` if there is none.
pub(super) fn json_of(weights: &dyn Weights, name: &str) -> Result<Option<Value>> {
    let Some(bytes) = weights.sidecar(name)? else { return Ok(None) };
    let parsed = python_json::parse(&bytes);
    parsed.map(Some).map_err(|e| Error::user(format!("{}: {name}: not JSON: {e}", weights.place())))
}

/// JSON in the style of these files.
pub(super) fn pretty(value: &Value) -> Vec<u8> {
    (python_json::pretty(value) + "\n").into_bytes()
}
