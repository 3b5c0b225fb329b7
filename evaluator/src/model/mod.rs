//! Our own forward pass: a language model that answers many requests at once, each as if it were alone.
//!
//! There is one decoder for all architectures, which `architecture` describes as data and `architectures` lists; `config`
//! makes of that and a `config.json` the blueprint of a model.

mod activation;
mod answer;
mod article;
mod architecture;
mod architectures;
mod attend;
mod batch;
mod beginnings;
mod chat;
mod config;
mod decoder;
mod dot;
mod encode;
mod footprint;
pub mod health;
mod kernel;
mod layer;
mod linear;
mod load;
mod matrix;
mod memory;
mod mlp;
mod norm;
mod ops;
mod outside;
mod pointwise;
mod pool;
mod product;
mod prefill;
mod question;
mod rope;
mod server;
mod special;
#[cfg(test)]
mod tests;
mod tile;
mod tokenizer;

pub use self::{
    chat::Conversation,
    dot::Bf16Dot,
    footprint::Footprint,
    memory::Memory,
    pool::Pool,
    server::{Server, Wire},
    tokenizer::Tokenizer,
};

use self::{
    config::Blueprint,
    decoder::{Cache, Decoder},
    load::Source,
    ops::Run,
    special::Specials,
};
use crate::interrupt::Interrupt;
use candle_core::{Device, Tensor};
use merge_core::{
    counted::counted,
    error::{Error, Result},
    model::{Weights, dtype::Dtype},
};

/// The forward pass and its version. It changes with everything that can change a score or an answer, so that what an older version
/// remembers is not trusted.
pub const ENGINE: &str = "evomerge forward pass 2";

/// How much is computed at once. No answer depends on it.
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
    /// 256 sequences, 256 tokens, 2 GiB: on the models of `recipes/sansu` more gains nothing.
    fn default() -> Self {
        Self { sequences: 256, tokens: 256, cache_bytes: 2 << 30 }
    }
}

/// A decoder, of any architecture there is a forward pass for, that answers requests.
///
/// Linear layers act on the tokens of all sequences at once, attention on each sequence alone. On a CPU every answer is
/// bit for bit the same for any [`Batch`], company, order and number of threads.
#[derive(Debug)]
pub struct Transformer {
    decoder: Decoder,
    tokenizer: Tokenizer,
    specials: Specials,
    batch: Batch,
    /// Turns prompts to conversations.
    chat: Option<Conversation>,
    memory: Option<Memory>,
    interrupt: Interrupt,
    computed: usize,
    recalled: usize,
}

/// The device of a name: `cpu`, or `cuda:0` in a program built with the feature `cuda`.
pub fn device(name: &str) -> Result<Device> {
    if name == "cpu" {
        return Ok(Device::Cpu);
    }
    let Some(number) = name.strip_prefix("cuda:").and_then(|number| number.parse().ok()) else {
        return Err(Error::user(format!("there is no device `{name}`")).hint("devices are `cpu` and `cuda:0`"));
    };
    if !candle_core::utils::cuda_is_available() {
        return Err(Error::user(format!("device {name} needs a program built for CUDA"))
            .hint("build with `cargo build --release --features cuda`, or use `device: cpu`"));
    }
    Device::new_cuda(number).map_err(|e| Error::machine(format!("cannot use device {name}: {e}")))
}

impl Transformer {
    /// Reads the weights, and the tokenizer and generation config beside them.
    ///
    /// Fails, naming the key, tensor or file, for an architecture there is no forward pass for, a tensor that is
    /// missing or has another shape, and a tokenizer with more tokens than the embedding.
    pub fn load(weights: &dyn Weights, device: &Device) -> Result<Self> {
        Self::with_tokenizer(weights, Tokenizer::of(weights)?, device)
    }

    /// Like [`Transformer::load`] on a CPU, but what is stored in bf16 is multiplied by hidden states rounded to bf16.
    ///
    /// Faster, and less exact: answers are other ones than without, though the same for any [`Batch`], company, order and number
    /// of threads too. Fails if no weight is stored in bf16.
    pub fn load_bf16(weights: &dyn Weights, dot: Bf16Dot) -> Result<Self> {
        if !weights.index().values().any(|meta| meta.dtype == Dtype::BF16) {
            return Err(Error::user(format!("{}: no weight is stored in bf16", weights.place()))
                .hint("bf16 dot products are of weights that are stored so"));
        }
        let tokenizer = Tokenizer::of(weights)?;
        Self::check(weights, &tokenizer)?;
        let source = Source { weights, device: &Device::Cpu, dot: Some(dot) };
        Self::of(Decoder::load(Blueprint::read(weights.config())?, source)?, weights, tokenizer)
    }

    /// Makes every refusal of [`Transformer::load`] that needs no weight, but those of single tensors.
    pub fn check(weights: &dyn Weights, tokenizer: &Tokenizer) -> Result<()> {
        let blueprint = Blueprint::read(weights.config()).map_err(|e| e.at(weights.place()))?;
        tokenizer.check(blueprint.vocab)
    }

    /// Like [`Transformer::load`], with a tokenizer already read: many candidates share one.
    pub fn with_tokenizer(weights: &dyn Weights, tokenizer: Tokenizer, device: &Device) -> Result<Self> {
        Self::check(weights, &tokenizer)?;
        let blueprint = Blueprint::read(weights.config())?;
        Self::of(Decoder::load(blueprint, Source { weights, device, dot: None })?, weights, tokenizer)
    }

    fn of(decoder: Decoder, weights: &dyn Weights, tokenizer: Tokenizer) -> Result<Self> {
        Ok(Self {
            specials: Specials::of(weights, &tokenizer)?,
            decoder,
            tokenizer,
            batch: Batch::default(),
            chat: None,
            memory: None,
            interrupt: Interrupt::default(),
            computed: 0,
            recalled: 0,
        })
    }

    /// The same model with another batch size. Zeros count as one.
    #[must_use]
    pub fn batch(mut self, batch: Batch) -> Self {
        self.batch = Batch { sequences: batch.sequences.max(1), tokens: batch.tokens.max(1), ..batch };
        self
    }

    /// The same model, which looks up what it has answered before, and remembers what it answers.
    #[must_use]
    pub fn remembering(mut self, memory: Memory) -> Self {
        self.memory = Some(memory);
        self
    }

    /// The same model, which answers no further, between two steps of the decoder, once `interrupt` is set.
    #[must_use]
    pub fn interruptible(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = interrupt;
        self
    }

    /// The same model, asked in the form of a conversation, as its chat template writes it: what comes before all examples is
    /// what the system says (after `system`), an example what user and assistant said, and the question what the user says now.
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

    /// Tokens that went through the decoder so far.
    pub fn computed(&self) -> usize {
        self.computed
    }

    /// Requests answered from memory so far, with nothing left to compute.
    pub fn recalled(&self) -> usize {
        self.recalled
    }

    /// The logits after the last of these tokens: `(vocab)`.
    ///
    /// Fails if there is no token, or one that is not in the vocabulary.
    pub fn logits(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let last = tokens.len().saturating_sub(1);
        Ok(self.logits_from(tokens, last)?.pop().unwrap_or_default())
    }

    /// The logits after each of these tokens: `(tokens, vocab)`.
    ///
    /// Fails if there is no token, or one that is not in the vocabulary.
    pub fn all_logits(&mut self, tokens: &[u32]) -> Result<Vec<Vec<f32>>> {
        self.logits_from(tokens, 0)
    }

    fn logits_from(&mut self, tokens: &[u32], from: usize) -> Result<Vec<Vec<f32>>> {
        let vocab = self.decoder.blueprint().vocab;
        if tokens.is_empty() {
            return Err(Error::user("there are no logits after no tokens"));
        }
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocab) {
            return Err(Error::user(format!("token {token} is not below vocab_size {vocab}")));
        }
        if let Some(most) = self.decoder.most_tokens().filter(|most| tokens.len() > *most) {
            return Err(Error::user(format!(
                "there are positions for {}, not for {}",
                counted(most, "token"),
                tokens.len()
            )));
        }
        let mut cache = self.decoder.cache()?;
        cache.keep(&[], tokens.len())?;
        let rows: Vec<u32> = (0..tokens.len() as u32).collect();
        let mut logits = Vec::new();
        for start in (0..tokens.len()).step_by(self.batch.tokens) {
            let end = tokens.len().min(start + self.batch.tokens);
            let wanted: Vec<u32> = (start.max(from)..end).map(|i| (i - start) as u32).collect();
            let run = Run { tokens: &tokens[start..end], rows: &rows[..end], whole: tokens.len() };
            self.step(&mut cache, &[run], &wanted, |_, row| logits.push(row.to_vec()))?;
        }
        Ok(logits)
    }

    /// One step of the decoder; `take` gets the number of each wanted token and its logits.
    fn step(
        &mut self,
        cache: &mut Cache,
        runs: &[Run<'_>],
        wanted: &[u32],
        take: impl FnMut(usize, &[f32]),
    ) -> Result<()> {
        self.computed += runs.iter().map(|run| run.tokens.len()).sum::<usize>();
        let hidden = self.decoder.step(cache, runs, wanted)?; // (wanted, hidden)
        self.each_logits(&hidden, take)
    }

    /// Hands on the number and the logits of each final hidden state `(wanted, hidden)`.
    fn each_logits(&self, hidden: &Tensor, mut take: impl FnMut(usize, &[f32])) -> Result<()> {
        // Logits of a large vocabulary come 32 MiB at a time.
        let (vocab, wanted) = (self.decoder.blueprint().vocab, hidden.dim(0)?);
        let most = ((8 << 20) / vocab).max(1);
        for start in (0..wanted).step_by(most) {
            let count = most.min(wanted - start);
            let logits = self.decoder.logits(&hidden.narrow(0, start, count)?)?; // (count, vocab)
            let (storage, layout) = logits.storage_and_layout();
            let values = match &*storage {
                candle_core::Storage::Cpu(values) => &values.as_slice::<f32>()?[layout.start_offset()..],
                _ => return Err(Error::machine("logits are not on the CPU")),
            };
            values.chunks_exact(vocab).take(count).enumerate().for_each(|(i, row)| take(start + i, row));
        }
        Ok(())
    }
}
