//! Reads the token of each id of a model from whatever file has it, and compares two models' tokens.

use super::{
    pieces::{hash, pieces},
    sidecars::{ADDED_TOKENS, TOKENIZER, TOKENIZER_CONFIG, json_of, read},
    tokens::{Tokens, Vocabulary},
};
use crate::{
    error::{Error, Result},
    model::{Weights, belongings::MADE_FROM},
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::{
    mem,
    sync::{Arc, OnceLock},
};

/// Older files: tokens and their ids as JSON, or one token in each line.
const VOCAB: &str = "vocab.json";
const VOCAB_TXT: &str = "vocab.txt";
const SENTENCEPIECE: &str = "tokenizer.model";
const MERGES: &str = "merges.txt";

/// Files with each token at its id. In all other files of [`MADE_FROM`] ids may differ: XLM-R's are greater by one.
const BY_ID: [&str; 4] = [TOKENIZER, VOCAB, SENTENCEPIECE, VOCAB_TXT];
/// Files beside the older ones that split a text into tokens.
const SPLITTING_FILES: [&str; 4] = [MERGES, "bpe.codes", "source.spm", "target.spm"];

/// A model's files that give the token of each id. They are read once, and only when needed.
pub struct TokenFiles {
    name: String,
    weights: Arc<dyn Weights>,
    digest: OnceLock<Result<Option<[u8; 32]>>>,
    table: OnceLock<Result<TokenTable>>,
}

/// The tokens of a model by id.
#[derive(Default)]
pub struct TokenTable {
    /// File that the tokens were read from.
    file: &'static str,
    /// Tokens in the order of their ids, each once.
    texts: Vec<(usize, String)>,
    /// Data that splits a text into tokens: file, part of the file, content.
    splitting: Vec<(&'static str, &'static str, Value)>,
}

/// Ids at which two models' tokens differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TokenDifferences {
    /// Ids with a different token in each model.
    pub other: Vec<usize>,
    /// Ids with a token in the first model only.
    pub first: Vec<usize>,
    /// Ids with a token in the second model only.
    pub second: Vec<usize>,
}

impl TokenFiles {
    /// The files of a model with this name in the recipe.
    pub fn new(name: String, weights: Arc<dyn Weights>) -> Self {
        Self { name, weights, digest: OnceLock::new(), table: OnceLock::new() }
    }

    /// A hash of everything in the files about tokens; `None` if no file has any. Models with the
    /// same hash have the same tokens.
    pub fn digest(&self) -> Result<Option<[u8; 32]>> {
        self.digest.get_or_init(|| digest(&*self.weights)).clone()
    }

    /// The table of tokens. Fails if a file cannot be understood.
    pub fn table(&self) -> Result<&TokenTable> {
        self.table.get_or_init(|| TokenTable::read(&self.name, &*self.weights)).as_ref().map_err(Clone::clone)
    }
}

fn digest(weights: &dyn Weights) -> Result<Option<[u8; 32]>> {
    let Some((name, bytes)) = first(weights)? else { return Ok(None) };
    let mut hash = Sha256::new_with_prefix(name);
    hash.update(bytes);
    if name != TOKENIZER {
        hash.update(weights.sidecar(ADDED_TOKENS)?.unwrap_or_default());
        for (file, _, value) in beside(weights, name)? {
            hash.update(file);
            hash.update(value.to_string());
        }
    }
    hash.update(decoder(weights)?.to_string());
    Ok(Some(hash.finalize().into()))
}

/// The most informative file that exists, and its content.
fn first(weights: &dyn Weights) -> Result<Option<(&'static str, Vec<u8>)>> {
    for name in BY_ID.into_iter().chain(MADE_FROM) {
        if let Some(bytes) = weights.sidecar(name)? {
            return Ok(Some((name, bytes)));
        }
    }
    Ok(None)
}

/// The added tokens of `tokenizer_config.json`, by id.
fn decoder(weights: &dyn Weights) -> Result<Value> {
    let mut config = json_of(weights, TOKENIZER_CONFIG)?.unwrap_or_default();
    Ok(config.get_mut("added_tokens_decoder").map(Value::take).unwrap_or_default())
}

/// The files that split texts beside an older file, and a hash of each.
fn beside(weights: &dyn Weights, file: &str) -> Result<Vec<(&'static str, &'static str, Value)>> {
    let mut found = Vec::new();
    for name in SPLITTING_FILES.into_iter().chain(MADE_FROM).filter(|name| *name != file) {
        let Some(mut bytes) = weights.sidecar(name)? else { continue };
        if name == MERGES {
            let text = String::from_utf8_lossy(&bytes);
            // The first line may be a version.
            let lines =
                text.lines().map(str::trim_end).filter(|line| !line.is_empty() && !line.starts_with("#version"));
            bytes = lines.collect::<Vec<_>>().join("\n").into_bytes();
        }
        found.push((name, "", hash(&bytes)));
    }
    Ok(found)
}

impl TokenTable {
    /// Reads `tokenizer.json`, or else the older files.
    fn read(name: &str, weights: &dyn Weights) -> Result<Self> {
        let at = |file: &str, what: &str| Error::user(format!("{}: {file}: {what}", weights.place()));
        let Some((file, bytes)) = first(weights)? else { return Ok(Self::default()) };
        if file == TOKENIZER {
            let mut tokenizer = read(name, weights)?;
            let tokens = Tokens::read(&Vocabulary { name, tokenizer: &tokenizer, rows: 0 })?;
            let texts = tokens.texts.iter().enumerate().filter_map(|(id, text)| Some((id, (*text)?.to_owned())));
            return Ok(Self { file, texts: texts.collect(), splitting: splitting(&mut tokenizer) });
        }
        let mut splitting = beside(weights, file)?;
        // Later entries replace earlier ones with the same id.
        let mut texts: Vec<(usize, String)> = Vec::new();
        let mut set = |id: Option<u64>, text: &str| {
            if let Some(id) = id.and_then(|id| usize::try_from(id).ok()).filter(|_| !text.is_empty()) {
                texts.push((id, text.to_owned()));
            }
        };
        let mut pieces_end = 0;
        match file {
            VOCAB => {
                let vocab = json_of(weights, VOCAB)?.unwrap_or_default();
                let vocab = vocab.as_object().ok_or_else(|| at(VOCAB, "not a JSON object of tokens and ids"))?;
                vocab.iter().for_each(|(text, id)| set(id.as_u64(), text));
            }
            VOCAB_TXT => {
                let lines = String::from_utf8_lossy(&bytes).into_owned();
                lines.lines().enumerate().for_each(|(id, text)| set(Some(id as u64), text));
            }
            _ => {
                // Some are in other formats (Llama 3's, Mistral's); their `tokenizer.json` says the same.
                let Some(model) = pieces(&bytes) else { return Ok(Self { file, ..Self::default() }) };
                model.texts.iter().enumerate().for_each(|(id, text)| set(Some(id as u64), text));
                splitting.extend(model.splitting.map(|(part, value)| (file, part, value)));
                pieces_end = if BY_ID.contains(&file) { 0 } else { model.texts.len() as u64 };
            }
        }
        // If pieces are not at their ids, an added token with an id among them would replace another.
        let mut add = |id: Option<u64>, text: &str| set(id.filter(|id| *id >= pieces_end), text);
        for (text, id) in json_of(weights, ADDED_TOKENS)?.unwrap_or_default().as_object().into_iter().flatten() {
            add(id.as_u64(), text);
        }
        for (id, token) in decoder(weights)?.as_object().into_iter().flatten() {
            add(id.parse().ok(), token["content"].as_str().unwrap_or_default());
        }
        texts.sort_by_key(|(id, _)| *id);
        texts.dedup_by(|later, earlier| {
            let is_same = later.0 == earlier.0;
            if is_same {
                mem::swap(later, earlier);
            }
            is_same
        });
        Ok(Self { file, texts, splitting })
    }

    /// A token as messages show it.
    pub fn shown(&self, id: usize) -> String {
        let text = self.text(id).unwrap_or_default();
        format!("`{}`", text.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'"))
    }

    /// Word before the numbers of tokens in messages: "", or "piece " if they need not be ids.
    pub fn numbers(&self) -> &'static str {
        if BY_ID.contains(&self.file) { "" } else { "piece " }
    }

    /// True if no tokens could be read.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// True if a number stands for the same row in both tables; files of other formats may have another order.
    pub fn is_comparable(&self, other: &Self) -> bool {
        self.file == other.file || [self, other].iter().all(|one| BY_ID.contains(&one.file))
    }

    fn text(&self, id: usize) -> Option<&str> {
        let at = self.texts.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(&self.texts[at].1)
    }

    fn below(&self, rows: usize) -> &[(usize, String)] {
        &self.texts[..self.texts.partition_point(|(id, _)| *id < rows)]
    }

    /// The ids at which another model's tokens differ, among the first `rows`.
    pub fn differences(&self, other: &Self, rows: usize) -> TokenDifferences {
        let mut found = TokenDifferences::default();
        let (mut a, mut b) = (self.below(rows), other.below(rows));
        while let Some(id) = a.first().into_iter().chain(b.first()).map(|(id, _)| *id).min() {
            match (taken(&mut a, id), taken(&mut b, id)) {
                (Some(one), Some(other)) if one != other => found.other.push(id),
                (Some(_), None) => found.first.push(id),
                (None, Some(_)) => found.second.push(id),
                _ => {}
            }
        }
        found
    }

    /// The files and parts in which two models split texts differently; empty if none does, as far as both have them.
    pub fn splitting_differences(&self, other: &Self) -> String {
        let mut found = String::new();
        let mut last = "";
        for (file, part, value) in &self.splitting {
            let is_it = |(a, b, _): &&(&str, &str, Value)| (a, b) == (file, part);
            if other.splitting.iter().find(is_it).is_none_or(|(_, _, same)| same == value) {
                continue;
            }
            found += if found.is_empty() { "" } else { ", " };
            found += if *file == last { "" } else { file };
            found += if *file == last || part.is_empty() { "" } else { ": " };
            found += part;
            last = file;
        }
        found
    }
}

/// Takes off the first token and returns it, if it has this id.
fn taken<'t>(texts: &mut &'t [(usize, String)], id: usize) -> Option<&'t str> {
    let ((first, text), rest) = texts.split_first()?;
    (*first == id).then(|| {
        *texts = rest;
        text.as_str()
    })
}

/// The parts of a tokenizer that split texts: merges in one of their two spellings, scores without their texts.
fn splitting(tokenizer: &mut Value) -> Vec<(&'static str, &'static str, Value)> {
    let mut taken = |part: &str| tokenizer.get_mut(part).map(Value::take).unwrap_or_default();
    let (normalizer, pre_tokenizer, mut model) = (taken("normalizer"), taken("pre_tokenizer"), taken("model"));
    let mut merges = model.get_mut("merges").map(Value::take).unwrap_or_default();
    for merge in merges.as_array_mut().into_iter().flatten() {
        if let Some((left, right)) = merge.as_str().and_then(|pair| pair.split_once(' ')) {
            *merge = Value::from(vec![left, right]);
        }
    }
    let scores = model["vocab"].as_array().map(|vocab| vocab.iter().map(|entry| entry[1].clone()).collect());
    let scores = scores.unwrap_or_default();
    vec![
        (TOKENIZER, "normalizer", normalizer),
        (TOKENIZER, "pre_tokenizer", pre_tokenizer),
        (TOKENIZER, "model.merges", merges),
        (TOKENIZER, "model.vocab", scores),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::weights::tests::Memory;

    /// Checks the tokens of a model with these files.
    fn check(files: &[(&str, &[u8])], expected: &[Option<&str>]) {
        let mut model = Memory::new(|_| 0.0);
        model.sidecars = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        let table = TokenTable::read("a", &model).unwrap();
        let end = table.texts.last().map_or(0, |(id, _)| id + 1);
        assert_eq!((0..end).map(|id| table.text(id)).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn tokens_are_read_from_whatever_file_says_them() {
        let vocab = br#"{"a": 0, "b": 2}"#;
        check(
            &[("vocab.json", vocab), ("added_tokens.json", br#"{"<x>": 3}"#)],
            &[Some("a"), None, Some("b"), Some("<x>")],
        );
        check(&[("vocab.txt", "[PAD]\nあ\n".as_bytes())], &[Some("[PAD]"), Some("あ")]);
        let config = br#"{"added_tokens_decoder": {"1": {"content": "<s>"}, "x": {"content": "?"}}}"#;
        check(&[("vocab.txt", b"a"), ("tokenizer_config.json", config)], &[Some("a"), Some("<s>")]);
        let json = br#"{"model": {"vocab": {"a": 0}}, "added_tokens": [{"content": "<s>"}]}"#;
        check(&[("tokenizer.json", json), ("vocab.json", b"{}")], &[Some("a"), Some("<s>")]);
        check(&[], &[]);
    }

    /// A `SentencePiece` model of these pieces, with scores and types, and then the trainer's settings.
    fn model(texts: &[&str], score: u8) -> Vec<u8> {
        let mut model = Vec::new();
        for text in texts {
            let piece = [&[0x0a, text.len() as u8], text.as_bytes(), &[0x15, score, 0, 0, 0, 0x18, 2]].concat();
            model.extend([0x0a, piece.len() as u8]);
            model.extend(piece);
        }
        model.extend(b"\x12\x02\x18\x01");
        model
    }

    #[test]
    fn pieces_are_read_from_a_model_of_sentencepiece_and_from_nothing_else() {
        let model = model(&["<unk>", "\u{2581}a"], 0);
        for name in ["tokenizer.model", "spiece.model", "spm.model", "sentencepiece.bpe.model", "sentencepiece.model"] {
            check(&[(name, &model)], &[Some("<unk>"), Some("\u{2581}a")]);
        }
        check(&[("tokenizer.model", b"IQ== 0\nIg== 1\n")], &[]);
        check(&[("tokenizer.model", &model[..model.len() - 3])], &[]);
        // Pieces are not at their ids here, so an added token replaces no piece.
        let added = br#"{"<s>": 0, "<x>": 2}"#;
        let files = |name| [(name, &model[..]), ("added_tokens.json", &added[..])];
        check(&files("sentencepiece.bpe.model"), &[Some("<unk>"), Some("\u{2581}a"), Some("<x>")]);
        check(&files("tokenizer.model"), &[Some("<s>"), Some("\u{2581}a"), Some("<x>")]);
    }

    type Files<'a> = &'a [(&'a str, &'a [u8])];

    fn of(files: Files<'_>) -> TokenFiles {
        let mut model = Memory::new(|_| 0.0);
        model.sidecars = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        TokenFiles::new("a".to_owned(), Arc::new(model))
    }

    #[test]
    fn whatever_file_says_the_tokens_is_compared() {
        /// Checks for two models: equal digests, the parts that split texts differently, the number of other tokens.
        fn check(first: Files<'_>, second: Files<'_>, expected: (bool, &str, Option<usize>)) {
            let (first, second) = (of(first), of(second));
            let same = first.digest().unwrap() == second.digest().unwrap();
            let (first, second) = (first.table().unwrap(), second.table().unwrap());
            let is_compared = !first.is_empty() && !second.is_empty() && first.is_comparable(second);
            let other = is_compared.then(|| first.differences(second, 32).other.len());
            assert_eq!((same, &*first.splitting_differences(second), other), expected);
        }
        let (one, other, scored) = (model(&["a", "b"], 0), model(&["a", "c"], 0), model(&["a", "b"], 1));
        for name in
            ["spiece.model", "spm.model", "sentencepiece.bpe.model", "sentencepiece.model", "tokenizer.model.v3"]
        {
            check(&[(name, &one)], &[(name, &one)], (true, "", Some(0)));
            check(&[(name, &one)], &[(name, &other)], (false, &format!("{name}: pieces"), Some(1)));
            check(&[(name, &one)], &[(name, &scored)], (false, &format!("{name}: pieces"), Some(0)));
            // Pieces whose ids may be greater by one are not compared with tokens by id.
            check(&[(name, &one)], &[("vocab.txt", b"x\ny")], (false, "", None));
        }
        check(&[("tokenizer.model", &one)], &[("vocab.txt", b"x\ny")], (false, "", Some(2)));
        for name in ["tekken.json", "qwen.tiktoken", "tiktoken.model"] {
            check(&[(name, b"{\"a\": 1}")], &[(name, b"{\"a\": 2}")], (false, "", None));
        }
        let vocab = ("vocab.json", &br#"{"a": 0, "b": 1}"#[..]);
        check(&[vocab, ("merges.txt", b"#version: 0.2\na b\n")], &[vocab, ("merges.txt", b"a b")], (true, "", Some(0)));
        check(&[vocab, ("merges.txt", b"a b")], &[vocab, ("merges.txt", b"b a")], (false, "merges.txt", Some(0)));
        check(&[vocab, ("source.spm", b"a")], &[vocab, ("source.spm", b"b")], (false, "source.spm", Some(0)));
        let lines = ("vocab.txt", &b"a\nb"[..]);
        let added = |text: &'static [u8]| ("added_tokens.json", text);
        check(&[lines, added(b"{\"x\": 2}")], &[lines, added(b"{\"y\": 2}")], (false, "", Some(1)));
        // Python accepts this as JSON.
        let config = |text: &'static [u8]| ("tokenizer_config.json", text);
        check(
            &[vocab, config(br#"{"max": Infinity, "added_tokens_decoder": {"1": {"content": "<x>"}}}"#)],
            &[vocab, config(br#"{"max": Infinity, "added_tokens_decoder": {"1": {"content": "<y>"}}}"#)],
            (false, "", Some(1)),
        );
    }

    /// A few bytes may name any id, but only tokens take memory.
    #[test]
    fn the_largest_id_costs_nothing() {
        let far = of(&[("vocab.json", br#"{"a": 0, "z": 18446744073709551615}"#)]);
        assert_eq!(far.table().unwrap().texts.len(), 2);
        let json = br#"{"model": {"vocab": {"a": 0, "z": 67108862}}}"#;
        let error = of(&[("tokenizer.json", json)]).table().map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("an id in model.vocab is not a whole number, or too great"), "{error}");
    }

    #[test]
    fn merges_are_the_same_in_both_spellings() {
        let of = |json: &str| {
            let mut model = Memory::new(|_| 0.0);
            model.sidecars.insert("tokenizer.json".to_owned(), json.as_bytes().to_vec());
            TokenTable::read("a", &model).unwrap()
        };
        let old = of(r#"{"normalizer": null, "model": {"vocab": {"a": 0}, "merges": ["a b"]}}"#);
        let new = of(r#"{"model": {"vocab": {"a": 0}, "merges": [["a", "b"]]}}"#);
        let other = of(r#"{"normalizer": {"type": "NFKC"}, "model": {"vocab": {"a": 0}, "merges": [["b", "a"]]}}"#);
        assert_eq!(old.splitting_differences(&new), "");
        assert_eq!(old.splitting_differences(&other), "tokenizer.json: normalizer, model.merges");
    }
}
