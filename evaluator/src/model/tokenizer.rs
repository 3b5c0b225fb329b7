//! Text to tokens and back, as transformers does it.

use merge_core::{
    error::{Error, Result},
    weights::Weights,
};
use std::sync::Arc;

/// A model's tokenizer. Cloning it copies nothing: candidates with the same tokenizer share one.
#[derive(Clone, Debug)]
pub struct Tokenizer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tokenizer: tokenizers::Tokenizer,
    file: String,
    largest: u32,
}

impl Tokenizer {
    /// A model's `tokenizer.json`.
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

    /// The text of a `tokenizer.json`; `file` is what messages call it.
    pub(crate) fn read(bytes: &[u8], file: String) -> Result<Self> {
        let mut tokenizer = tokenizers::Tokenizer::from_bytes(bytes)
            .map_err(|e| Error::user(format!("{file}: not a tokenizer: {e}")))?;
        // The file may still hold its last training's settings, which transformers does not apply either.
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| Error::user(format!("{file}: {e}")))?;
        let largest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
        Ok(Self(Arc::new(Inner { tokenizer, file, largest })))
    }

    /// The tokens of a prompt, with the special tokens the tokenizer puts around it.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        self.encode(text, true)
    }

    /// The tokens of a continuation, without special tokens.
    pub fn encode_continuation(&self, text: &str) -> Result<Vec<u32>> {
        self.encode(text, false)
    }

    /// The token of this name, special or not.
    pub(super) fn token(&self, name: &str) -> Option<u32> {
        self.0.tokenizer.token_to_id(name)
    }

    /// What the tokenizer calls a token; the text of one that is special.
    pub(super) fn name(&self, token: u32) -> Option<String> {
        self.0.tokenizer.id_to_token(token)
    }

    /// The text of tokens, special tokens left out.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        self.0.tokenizer.decode(tokens, true).map_err(|e| Error::user(format!("{}: cannot decode: {e}", self.0.file)))
    }

    /// Fails if the tokenizer can produce a token the model has no embedding for.
    pub(super) fn check(&self, vocab: usize) -> Result<()> {
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
        let encoding = self
            .0
            .tokenizer
            .encode_fast(text, special)
            .map_err(|e| Error::user(format!("{}: cannot encode: {e}", self.0.file)))?;
        Ok(encoding.get_ids().to_vec())
    }
}
