//! Which token each id of a model is, from whatever files say it, and where two models differ in that.

use super::{
    sidecars::{TOKENIZER, TOKENIZER_CONFIG, json_of, read},
    tokens::{Tokens, Vocabulary},
};
use crate::{
    error::{Error, Result},
    weights::Weights,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::sync::{Arc, OnceLock};

/// The files of old: tokens and their ids as JSON, those that were added later, or a token a line.
const VOCAB: &str = "vocab.json";
const ADDED: &str = "added_tokens.json";
const LINES: &str = "vocab.txt";
const SENTENCEPIECE: &str = "tokenizer.model";

/// A model's files that say which token each id is. They are read once, and no further than is asked.
pub struct TokenFiles {
    name: String,
    weights: Arc<dyn Weights>,
    digest: OnceLock<Result<Option<[u8; 32]>>>,
    table: OnceLock<Result<TokenTable>>,
}

/// The tokens of a model by id.
pub struct TokenTable {
    texts: Vec<Option<String>>,
    /// The parts of `tokenizer.json` that cut a text into tokens, by what they are called; none of another file.
    cutting: Vec<(&'static str, Value)>,
}

/// Where two models' tokens differ, by id.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TokenDifferences {
    /// Another token in each.
    pub other: Vec<usize>,
    /// A token in the first alone.
    pub first: Vec<usize>,
    /// A token in the second alone.
    pub second: Vec<usize>,
}

impl TokenFiles {
    /// Those of a model, by what the recipe calls it.
    pub fn new(name: String, weights: Arc<dyn Weights>) -> Self {
        Self { name, weights, digest: OnceLock::new(), table: OnceLock::new() }
    }

    /// A hash of all that the files say of tokens; `None` if no file says anything of them. Models whose hashes are the same
    /// have the same tokens.
    pub fn digest(&self) -> Result<Option<[u8; 32]>> {
        self.digest.get_or_init(|| digest(&*self.weights)).clone()
    }

    /// The tokens. Fails if a file cannot be understood.
    pub fn table(&self) -> Result<&TokenTable> {
        self.table.get_or_init(|| TokenTable::read(&self.name, &*self.weights)).as_ref().map_err(Clone::clone)
    }
}

fn digest(weights: &dyn Weights) -> Result<Option<[u8; 32]>> {
    let Some((name, bytes)) = first(weights)? else { return Ok(None) };
    let mut hash = Sha256::new_with_prefix(name);
    hash.update(bytes);
    if name == VOCAB || name == SENTENCEPIECE {
        hash.update(weights.sidecar(ADDED)?.unwrap_or_default());
    }
    hash.update(decoder(weights)?.to_string());
    Ok(Some(hash.finalize().into()))
}

/// The file that says most, of those that there are.
fn first(weights: &dyn Weights) -> Result<Option<(&'static str, Vec<u8>)>> {
    for name in [TOKENIZER, VOCAB, SENTENCEPIECE, LINES] {
        if let Some(bytes) = weights.sidecar(name)? {
            return Ok(Some((name, bytes)));
        }
    }
    Ok(None)
}

/// The added tokens of `tokenizer_config.json`, by id; none if it is no JSON, which is for those to say who need it.
fn decoder(weights: &dyn Weights) -> Result<Value> {
    let bytes = weights.sidecar(TOKENIZER_CONFIG)?.unwrap_or_default();
    let mut config: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    Ok(config.get_mut("added_tokens_decoder").map(Value::take).unwrap_or_default())
}

impl TokenTable {
    /// Reads `tokenizer.json`, or else the files of old.
    fn read(name: &str, weights: &dyn Weights) -> Result<Self> {
        let at = |file: &str, what: &str| Error::user(format!("{}: {file}: {what}", weights.place()));
        let mut table = Self { texts: Vec::new(), cutting: Vec::new() };
        match first(weights)? {
            None => return Ok(table),
            Some((TOKENIZER, _)) => {
                let mut tokenizer = read(name, weights)?;
                let tokens = Tokens::read(&Vocabulary { name, tokenizer: &tokenizer, rows: 0 })?;
                table.texts = tokens.texts.iter().map(|text| text.map(str::to_owned)).collect();
                table.cutting = cutting(&mut tokenizer);
                return Ok(table);
            }
            Some((VOCAB, _)) => {
                let vocab = json_of(weights, VOCAB)?.unwrap_or_default();
                let vocab = vocab.as_object().ok_or_else(|| at(VOCAB, "not a JSON object of tokens and ids"))?;
                vocab.iter().for_each(|(text, id)| table.set(id.as_u64(), text));
            }
            Some((SENTENCEPIECE, bytes)) => {
                // Llama 3's file of this name is another format, of which `tokenizer.json` says the same.
                let pieces = pieces(&bytes).unwrap_or_default();
                pieces.iter().enumerate().for_each(|(id, text)| table.set(Some(id as u64), text));
            }
            Some((_, bytes)) => {
                let lines = String::from_utf8_lossy(&bytes).into_owned();
                lines.lines().enumerate().for_each(|(id, text)| table.set(Some(id as u64), text));
            }
        }
        for (text, id) in json_of(weights, ADDED)?.unwrap_or_default().as_object().into_iter().flatten() {
            table.set(id.as_u64(), text);
        }
        for (id, token) in decoder(weights)?.as_object().into_iter().flatten() {
            table.set(id.parse().ok(), token["content"].as_str().unwrap_or_default());
        }
        Ok(table)
    }

    /// An id beyond all sense is none.
    fn set(&mut self, id: Option<u64>, text: &str) {
        const LARGEST_ID: u64 = 1 << 26;
        if let Some(id) = id.filter(|id| *id < LARGEST_ID && !text.is_empty()) {
            let id = id as usize;
            self.texts.resize(self.texts.len().max(id + 1), None);
            self.texts[id] = Some(text.to_owned());
        }
    }

    /// A token as a message shows it.
    pub fn shown(&self, id: usize) -> String {
        let text = self.text(id).unwrap_or_default();
        format!("`{}`", text.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'"))
    }

    /// Whether nothing could be read.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    fn text(&self, id: usize) -> Option<&str> {
        self.texts.get(id)?.as_deref()
    }

    /// Where another model's tokens differ among the first `rows`.
    pub fn differences(&self, other: &Self, rows: usize) -> TokenDifferences {
        let mut found = TokenDifferences::default();
        for id in 0..rows.min(self.texts.len().max(other.texts.len())) {
            match (self.text(id), other.text(id)) {
                (Some(a), Some(b)) if a != b => found.other.push(id),
                (Some(_), None) => found.first.push(id),
                (None, Some(_)) => found.second.push(id),
                _ => {}
            }
        }
        found
    }

    /// The parts in which two `tokenizer.json` cut texts otherwise.
    pub fn cuts_otherwise(&self, other: &Self) -> Vec<&'static str> {
        let both = self.cutting.iter().zip(&other.cutting);
        both.filter(|((_, a), (_, b))| a != b).map(|((name, _), _)| *name).collect()
    }
}

/// What of a tokenizer cuts a text into tokens: merges in one of their two spellings, scores without their texts.
fn cutting(tokenizer: &mut Value) -> Vec<(&'static str, Value)> {
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
        ("normalizer", normalizer),
        ("pre_tokenizer", pre_tokenizer),
        ("model.merges", merges),
        ("model.vocab", scores),
    ]
}

/// The pieces of a `SentencePiece` model in order, which is that of their ids: field 1 of the message, and in it field 1.
fn pieces(bytes: &[u8]) -> Option<Vec<String>> {
    let pieces = fields(bytes)?.into_iter().filter(|(number, _)| *number == 1);
    let text = |piece: &[u8]| {
        let (_, text) = fields(piece)?.into_iter().find(|(number, _)| *number == 1)?;
        String::from_utf8(text.to_vec()).ok()
    };
    pieces.map(|(_, piece)| text(piece)).collect()
}

/// The fields of a protocol buffer that have a length, with their numbers.
fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, &[u8])>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes)?;
        match key & 7 {
            0 => drop(varint(&mut bytes)?),
            1 => bytes = bytes.get(8..)?,
            2 => {
                let len = usize::try_from(varint(&mut bytes)?).ok()?;
                let (field, rest) = bytes.split_at_checked(len)?;
                found.push((key >> 3, field));
                bytes = rest;
            }
            5 => bytes = bytes.get(4..)?,
            _ => return None,
        }
    }
    Some(found)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::tests::Memory;

    /// The tokens that a model with these files has.
    fn check(files: &[(&str, &[u8])], expected: &[Option<&str>]) {
        let mut model = Memory::new(|_| 0.0);
        model.sidecars = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect();
        let table = TokenTable::read("a", &model).unwrap();
        assert_eq!(table.texts.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
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

    #[test]
    fn pieces_are_read_from_a_model_of_sentencepiece_and_from_nothing_else() {
        // Two pieces with a score and a kind, then the trainer's settings.
        let unk = b"\x0a\x05<unk>\x15\0\0\0\0\x18\x02";
        let word = "\n\u{4}\u{2581}a\u{15}\0\0\0\0".as_bytes();
        let mut model = Vec::new();
        for piece in [&unk[..], word] {
            model.extend([0x0a, piece.len() as u8]);
            model.extend(piece);
        }
        model.extend(b"\x12\x02\x18\x01");
        check(&[("tokenizer.model", &model)], &[Some("<unk>"), Some("\u{2581}a")]);
        check(&[("tokenizer.model", b"IQ== 0\nIg== 1\n")], &[]);
        check(&[("tokenizer.model", &model[..model.len() - 3])], &[]);
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
        assert_eq!(old.cuts_otherwise(&new), [""; 0]);
        assert_eq!(old.cuts_otherwise(&other), ["normalizer", "model.merges"]);
    }
}
