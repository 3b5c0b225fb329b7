//! The tokens of a `tokenizer.json`, with the ids they have when it is loaded.

use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::collections::HashMap;

/// A model's tokenizer and how many rows its embedding has.
#[derive(Clone, Copy, Debug)]
pub struct Vocabulary<'a> {
    /// What the recipe calls the model.
    pub name: &'a str,
    /// Its `tokenizer.json`, of any kind: BPE, `WordPiece`, Unigram or `WordLevel`.
    pub tokenizer: &'a Value,
    /// Rows of its embedding: tokens with greater ids have none.
    pub rows: usize,
}

/// How far an id may lie beyond the rows and the number of tokens: farther it is a mistake, and a table of all ids is made.
const GAPS: usize = 1 << 20;

/// Every token of a tokenizer.
pub(super) struct Tokens<'a> {
    /// By text.
    pub(super) ids: HashMap<&'a str, usize>,
    /// By id; `None` where no token has it.
    pub(super) texts: Vec<Option<&'a str>>,
    /// The definitions of added tokens, by text.
    pub(super) added: HashMap<&'a str, &'a Value>,
    /// The id that the next added token will be given.
    pub(super) next: usize,
}

impl<'a> Tokens<'a> {
    /// Reads them as they are loaded: a token in the model's own vocabulary has its id from there; the other added tokens are
    /// numbered from its length on, in their order, whatever ids the file gives them.
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
            // Unigram: texts and scores; the position is the id.
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
            // Two texts of one id: the same one on every run.
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

/// How many tokens the model of a tokenizer has, without the added ones.
fn len_of_model(tokenizer: &Value) -> usize {
    match &tokenizer["model"]["vocab"] {
        Value::Object(vocab) => vocab.len(),
        Value::Array(vocab) => vocab.len(),
        _ => 0,
    }
}

/// The definition of a token that had none: looked for as it is, wherever it stands.
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

/// Whether two definitions say the same of a token, whatever its id.
pub(super) fn alike(one: &Value, other: &Value) -> bool {
    ["single_word", "lstrip", "rstrip", "normalized", "special"].iter().all(|key| one[key] == other[key])
}

/// Adds definitions to a tokenizer, with their ids. The added tokens are brought in order of id, in which they are numbered
/// when the file is loaded.
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

/// Takes the tokens away whose ids are not below `rows`.
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
            // A merge of a token that is gone, or that gives one, would not load.
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
