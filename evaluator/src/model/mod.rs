//! Our own forward pass: tokens in, logits out.
//!
//! One decoder computes all architectures. `architecture` describes them as data and `architectures` lists them;
//! `config` makes the blueprint of a model from such a description and a `config.json`.

mod activation;
mod architecture;
mod architectures;
pub(crate) mod compute;
pub(crate) mod config;
pub(crate) mod decoder;
mod layer;
mod linear;
pub(crate) mod load;
mod mlp;
mod norm;
mod outer;
mod pool;
pub(crate) mod prefill;
pub(crate) mod prefix_cache;
pub(crate) mod rope;

pub use self::{compute::Bf16Dot, pool::Pool};

use self::{
    compute::ops::TokenRun,
    config::Blueprint,
    decoder::{Cache, Decoder},
    load::WeightSource,
};
use candle_core::{Device, Tensor};
use merge_core::{
    error::{Error, Result},
    model::{LayerPath, Weights, dtype::Dtype},
    words::counted,
};

/// Name and version of the forward pass. It changes with everything that can change a score or an
/// answer, so that what an older version remembers is not trusted.
pub const ENGINE: &str = "evomerge forward pass 2";

/// A decoder with its weights.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) decoder: Decoder,
    /// Number of tokens that went through it so far.
    pub(crate) computed: usize,
}

/// Returns the device of a name: `cpu`, or `cuda:0` in a program built with the feature `cuda`.
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

impl Network {
    /// Refuses an architecture without a forward pass, reading no weight. Returns the size of the vocabulary.
    pub(crate) fn check(weights: &dyn Weights) -> Result<usize> {
        let blueprint = Blueprint::read(weights.config()).map_err(|e| e.at(weights.place()))?;
        Ok(blueprint.vocab)
    }

    /// Reads the weights.
    pub(crate) fn load(weights: &dyn Weights, device: &Device) -> Result<Self> {
        Self::of(WeightSource { weights, device, dot: None })
    }

    /// Reads the weights. Those stored in bf16 are multiplied by hidden states rounded to bf16.
    pub(crate) fn load_bf16(weights: &dyn Weights, dot: Bf16Dot) -> Result<Self> {
        if !weights.index().values().any(|meta| meta.dtype == Dtype::BF16) {
            return Err(Error::user(format!("{}: no weight is stored in bf16", weights.place()))
                .hint("bf16 dot products need weights stored in bf16"));
        }
        Self::of(WeightSource { weights, device: &Device::Cpu, dot: Some(dot) })
    }

    /// Decoder of a layer path, whose layers are shared with other paths of the pool.
    pub(crate) fn in_pool(pool: &Pool, weights: &dyn Weights, path: &LayerPath) -> Result<Self> {
        Ok(Self { decoder: pool.decoder(weights, path)?, computed: 0 })
    }

    fn of(source: WeightSource<'_>) -> Result<Self> {
        Ok(Self { decoder: Decoder::load(Blueprint::read(source.weights.config())?, source)?, computed: 0 })
    }

    /// Logits after each of these tokens from position `from` on: `(tokens, vocab)`. `at_once` tokens make a step.
    ///
    /// Fails if there is no token, or one that is not in the vocabulary.
    pub(crate) fn logits_from(&mut self, tokens: &[u32], from: usize, at_once: usize) -> Result<Vec<Vec<f32>>> {
        let vocab = self.decoder.blueprint().vocab;
        if tokens.is_empty() {
            return Err(Error::user("logits need at least one token"));
        }
        if let Some(token) = tokens.iter().find(|token| **token as usize >= vocab) {
            return Err(Error::user(format!("token {token} is not below vocab_size {vocab}")));
        }
        if let Some(most) = self.decoder.most_tokens().filter(|most| tokens.len() > *most) {
            return Err(Error::user(format!(
                "the model has positions for {}, but there are {}",
                counted(most, "token"),
                tokens.len()
            )));
        }
        let mut cache = self.decoder.cache()?;
        cache.keep(&[], tokens.len())?;
        let rows: Vec<u32> = (0..tokens.len() as u32).collect();
        let mut logits = Vec::new();
        for start in (0..tokens.len()).step_by(at_once) {
            let end = tokens.len().min(start + at_once);
            let wanted: Vec<u32> = (start.max(from)..end).map(|i| (i - start) as u32).collect();
            let run = TokenRun { tokens: &tokens[start..end], rows: &rows[..end], whole: tokens.len() };
            self.step(&mut cache, &[run], &wanted, |_, row| logits.push(row.to_vec()))?;
        }
        Ok(logits)
    }

    /// Runs one step of the decoder; `take` gets the number of each wanted token and its logits.
    pub(crate) fn step(
        &mut self,
        cache: &mut Cache,
        runs: &[TokenRun<'_>],
        wanted: &[u32],
        take: impl FnMut(usize, &[f32]),
    ) -> Result<()> {
        self.computed += runs.iter().map(|run| run.tokens.len()).sum::<usize>();
        let hidden = self.decoder.step(cache, runs, wanted)?; // (wanted, hidden)
        self.each_logits(&hidden, take)
    }

    /// Passes on the number and the logits of each final hidden state `(wanted, hidden)`.
    pub(crate) fn each_logits(&self, hidden: &Tensor, mut take: impl FnMut(usize, &[f32])) -> Result<()> {
        // 32 MiB of logits at a time: a vocabulary may be large.
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
