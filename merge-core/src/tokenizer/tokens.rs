//! The tokens of a `tokenizer.json`, with the ids that they have when it is loaded.

use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::collections::HashMap;

/// A model's tokenizer, and the number of rows of its embedding.
#[derive(Clone, Copy, Debug)]
pub struct Vocabulary<'a> {
    /// Name of the model in the recipe.
    pub name: &'a str,
    /// Its `tokenizer.json`, of any kind: BPE, `WordPiece`, Unigram or `WordLevel`.
    pub tokenizer: &'a Value,
    /// Number of rows of its embedding: tokens with greater ids have none.
    pub rows: usize,
}

/// Largest gap between an id and the rows and tokens: a table of all ids is made, and a greater id is a mistake.
const GAPS: usize = 1 << 20;

/// Every token of a tokenizer.
pub(super) struct Tokens<'a> {
    /// Ids by text.
    pub(super) ids: HashMap<&'a str, usize>,
    /// Texts by id; `None` for an id without a token.
    pub(super) texts: Vec<Option<&'a str>>,
    /// Definitions of added tokens by text.
    pub(super) added: HashMap<&'a str, &'a Value>,
    /// Id of the next added token.
    pub(super) next: usize,
}

impl<'a> Tokens<'a> {
    /// Reads the tokens as programs load them: a token in the model's own vocabulary has its id from there; the other
    /// added tokens are numbered from its length on, in their order, whatever ids the file gives them.
    pub(super) fn read(vocabulary: &Vocabulary<'a>) -> Result<Self> {
        let wrong = |what: &str| {
            Error::user(format!("`{}`: tokenizer.json: {what}", vocabulary.name))
                .hint("download it again, or make it anew with transformers' `AutoTokenizer.from_pretrained(…).save_pretrained(…)`")
        };
        let tokenizer = vocabulary.tokenizer;
        let mut ids: HashMap<&str, usize> = match &tokenizer["model"]["vocab"] {
            Value::Object(vocab) => {
                let most = (vocabulary.rows + vocab.len()).saturating_add(GAPS);
                let id = |id: &Value| id.as_u64().map(|id| id as usize).filter(|id| *id < most);
                let pairs = vocab.iter().map(|(text, value)| Some((text.as_str(), id(value)?)));
                pairs
                    .collect::<Option<_>>()
                    .ok_or_else(|| wrong("an id in model.vocab is not a whole number, or too great"))?
            }
            // Unigram: pairs of text and score; the position is the id.
            Value::Array(vocab) => {
                let pairs = vocab.iter().enumerate().map(|(id, pair)| Some((pair.get(0)?.as_str()?, id)));
                pairs
                    .collect::<Option<_>>()
                    .ok_or_else(|| wrong("an entry of model.vocab is not a token with its score"))?
            }
            _ => return Err(wrong("there is no model.vocab in it")),
        };
        let mut next = len_of_model(tokenizer);
        let mut added = HashMap::new();
        for definition in definitions(tokenizer) {
            let text =
                definition["content"].as_str().ok_or_else(|| wrong("an entry of added_tokens has no content"))?;
            if text.is_empty() {
                continue;
            }
            added.entry(text).or_insert(definition);
            ids.entry(text).or_insert_with(|| {
                next += 1;
                next - 1
            });
        }
        let mut texts = vec![None; ids.values().max().map_or(0, |id| id + 1)];
        for (text, id) in &ids {
            // If two texts have one id, the same one is taken in every run.
            if texts[*id].is_none_or(|other| *text < other) {
                texts[*id] = Some(*text);
            }
        }
        Ok(Self { ids, texts, added, next })
    }
}

/// The definitions of a tokenizer's added tokens.
pub(super) fn definitions(tokenizer: &Value) -> &[Value] {
    tokenizer["added_tokens"].as_array().map_or(&[], Vec::as_slice)
}

/// Number of tokens of a tokenizer's model, without the added ones.
fn len_of_model(tokenizer: &Value) -> usize {
    match &tokenizer["model"]["vocab"] {
        Value::Object(vocab) => vocab.len(),
        Value::Array(vocab) => vocab.len(),
        _ => 0,
    }
}

/// A definition for a token that has none: it is matched as it is, anywhere in a text.
pub(super) fn plain(text: &str) -> Value {
    json!({
        "id": 0,
        "content": text,
        "single_word": false,
        "lstrip": false,
        "rstrip": false,
        "normalized": true,
        "special": false,
    })
}

/// True if two definitions treat a token alike, whatever its id.
pub(super) fn alike(one: &Value, other: &Value) -> bool {
    ["single_word", "lstrip", "rstrip", "normalized", "special"].iter().all(|key| one[key] == other[key])
}

/// Adds definitions with their ids to a tokenizer. Added tokens are sorted by id, because they are
/// numbered in this order when the file is loaded.
pub(super) fn define(tokenizer: &mut Value, additions: Vec<(usize, Value)>) {
    if additions.is_empty() {
        return;
    }
    let ids: HashMap<String, usize> = {
        let vocabulary = Vocabulary { name: "", tokenizer, rows: 0 };
        let known = Tokens::read(&vocabulary).map(|tokens| tokens.ids).unwrap_or_default();
        definitions(tokenizer)
            .iter()
            .filter_map(|definition| definition["content"].as_str())
            .filter_map(|text| Some((text.to_owned(), *known.get(text)?)))
            .collect()
    };
    let old = definitions(tokenizer).iter().map(|definition| {
        let id = definition["content"].as_str().and_then(|text| ids.get(text)).copied();
        (id.unwrap_or_default(), definition.clone())
    });
    let mut all: Vec<(usize, Value)> = old.chain(additions).collect();
    all.sort_by_key(|(id, _)| *id);
    let numbered = all.into_iter().map(|(id, mut definition)| {
        definition["id"] = Value::from(id);
        definition
    });
    tokenizer["added_tokens"] = numbered.collect();
}

/// Removes the tokens whose ids are not below `rows`.
pub(super) fn keep_below(rows: usize, tokenizer: &mut Value, tokens: &Tokens<'_>) {
    if tokens.texts.len() <= rows {
        return;
    }
    let stays = |text: &str| tokens.ids.get(text).is_some_and(|id| *id < rows);
    let before = len_of_model(tokenizer);
    match &mut tokenizer["model"]["vocab"] {
        Value::Object(vocab) => vocab.retain(|text, _| stays(text)),
        Value::Array(vocab) => vocab.truncate(rows),
        _ => {}
    }
    if len_of_model(tokenizer) < before {
        let prefix = tokenizer["model"]["continuing_subword_prefix"].as_str().unwrap_or_default().to_owned();
        if let Value::Array(merges) = &mut tokenizer["model"]["merges"] {
            // A merge of or into a removed token would not load.
            merges.retain(|merge| {
                let pair = match merge {
                    Value::String(pair) => pair.split_once(' '),
                    pair => pair[0].as_str().zip(pair[1].as_str()),
                };
                pair.is_some_and(|(left, right)| {
                    let joined = format!("{left}{}", right.strip_prefix(&prefix).unwrap_or(right));
                    [left, right, &joined].into_iter().all(stays)
                })
            });
        }
    }
    if let Value::Array(added) = &mut tokenizer["added_tokens"] {
        added.retain(|definition| definition["content"].as_str().is_some_and(stays));
    }
}
