//! Answers many requests at once; each answer is the same as if it were the only one.

mod answering;
mod batch;
mod footprint;
pub(crate) mod lengths;
pub mod health;
mod memory;
pub(crate) mod open;
pub(crate) mod question;
#[cfg(test)]
pub(crate) mod tests;

pub use self::{
    footprint::Footprint,
    lengths::RequestLengths,
    memory::{AnsweredBy, Memory},
};

use crate::{
    interrupt::Interrupt,
    model::{Bf16Dot, Network, Pool},
    prompt::{Conversation, Specials, Tokenizer},
};
use candle_core::Device;
use merge_core::{error::Result, model::Weights};

/// Limits on how much is computed at once. On a CPU, no answer depends on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Most sequences that generate side by side.
    pub sequences: usize,
    /// Most tokens of prompts that go through the decoder in one step.
    pub tokens: usize,
    /// Most bytes of keys and values; a single sequence may exceed it.
    pub cache_bytes: usize,
}

impl Default for Batch {
    /// 256 sequences, 256 tokens, 2 GiB: larger batches gain nothing on the models of `recipes/sansu`.
    fn default() -> Self {
        Self { sequences: 256, tokens: 256, cache_bytes: 2 << 30 }
    }
}

/// A decoder that answers requests, of any architecture that has a forward pass.
///
/// Linear layers act on the tokens of all sequences at once, attention on each sequence alone. On a CPU every answer is
/// bit for bit the same, whatever the [`Batch`], the other requests, their order and the number of threads.
#[derive(Debug)]
pub struct Transformer {
    network: Network,
    tokenizer: Tokenizer,
    specials: Specials,
    batch: Batch,
    /// Form in which prompts become conversations.
    chat: Option<Conversation>,
    memory: Option<Memory>,
    interrupt: Interrupt,
    recalled: usize,
}

impl Transformer {
    /// Loads a model: its weights, and the tokenizer and generation config beside them.
    ///
    /// Fails, naming the key, tensor or file, for an architecture without a forward pass, a tensor
    /// that is missing or has another shape, and a tokenizer with more tokens than the embedding.
    pub fn load(weights: &dyn Weights, device: &Device) -> Result<Self> {
        Self::with_tokenizer(weights, Tokenizer::of(weights)?, device)
    }

    /// Like [`Transformer::load`] on a CPU, but weights stored in bf16 are multiplied by hidden states rounded to bf16.
    ///
    /// This is faster and less exact: answers differ from those of [`Transformer::load`], but are as independent of the
    /// [`Batch`], the other requests, their order and the number of threads. Fails if no weight is stored in bf16.
    pub fn load_bf16(weights: &dyn Weights, dot: Bf16Dot) -> Result<Self> {
        let tokenizer = Tokenizer::of(weights)?;
        Self::check(weights, &tokenizer)?;
        Self::of(Network::load_bf16(weights, dot)?, weights, tokenizer)
    }

    /// Makes every refusal of [`Transformer::load`] that needs no weight, except those of single tensors.
    pub fn check(weights: &dyn Weights, tokenizer: &Tokenizer) -> Result<()> {
        tokenizer.check(Network::check(weights)?)
    }

    /// Like [`Transformer::load`], with a tokenizer that was read before: many candidates share one.
    pub fn with_tokenizer(weights: &dyn Weights, tokenizer: Tokenizer, device: &Device) -> Result<Self> {
        Self::check(weights, &tokenizer)?;
        Self::of(Network::load(weights, device)?, weights, tokenizer)
    }

    /// Loads a model with a layer path ([`Weights::path`]), whose layers are shared with other models of the pool; any
    /// other model is loaded by itself. See [`Pool`] for differences from [`Transformer::with_tokenizer`].
    pub fn in_pool(pool: &Pool, weights: &dyn Weights, tokenizer: Tokenizer) -> Result<Self> {
        let Some(path) = weights.path() else { return Self::with_tokenizer(weights, tokenizer, pool.device()) };
        Self::check(weights, &tokenizer)?;
        Self::of(Network::in_pool(pool, weights, path)?, weights, tokenizer)
    }

    fn of(network: Network, weights: &dyn Weights, tokenizer: Tokenizer) -> Result<Self> {
        Ok(Self {
            specials: Specials::of(weights, &tokenizer)?,
            network,
            tokenizer,
            batch: Batch::default(),
            chat: None,
            memory: None,
            interrupt: Interrupt::default(),
            recalled: 0,
        })
    }

    /// The same model with another batch size. Zeros count as one.
    #[must_use]
    pub fn batch(mut self, batch: Batch) -> Self {
        self.batch = Batch { sequences: batch.sequences.max(1), tokens: batch.tokens.max(1), ..batch };
        self
    }

    /// The same model with a memory: it looks up earlier answers, and remembers new ones.
    #[must_use]
    pub fn remembering(mut self, memory: Memory) -> Self {
        self.memory = Some(memory);
        self
    }

    /// The same model, which stops answering between two steps of the decoder once `interrupt` is set.
    #[must_use]
    pub fn interruptible(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = interrupt;
        self
    }

    /// The same model, asked as a conversation that its chat template writes. The head is the system's message (after
    /// `system`), each example a message of the user and one of the assistant, and the question the last message.
    ///
    /// Fails if the model has no chat template, or one that is not Jinja.
    pub fn chat(mut self, weights: &dyn Weights, system: Option<String>) -> Result<Self> {
        self.chat = Some(Conversation::of(weights, &self.specials, system)?);
        Ok(self)
    }

    /// The model's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Number of tokens that went through the decoder so far.
    pub fn computed(&self) -> usize {
        self.network.computed
    }

    /// Number of requests answered from memory so far, with nothing left to compute.
    pub fn recalled(&self) -> usize {
        self.recalled
    }

    /// The logits after the last of these tokens: `(vocab)`.
    ///
    /// Fails if there is no token, or one that is not in the vocabulary.
    pub fn logits(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let last = tokens.len().saturating_sub(1);
        Ok(self.network.logits_from(tokens, last, self.batch.tokens)?.pop().unwrap_or_default())
    }

    /// The logits after each of these tokens: `(tokens, vocab)`.
    ///
    /// Fails if there is no token, or one that is not in the vocabulary.
    pub fn all_logits(&mut self, tokens: &[u32]) -> Result<Vec<Vec<f32>>> {
        self.network.logits_from(tokens, 0, self.batch.tokens)
    }
}
