//! Earlier answers of a model, found by everything that an answer depends on.

use super::question::{Outcome, Purpose, SequenceJob};
use crate::model::{Bf16Dot, ENGINE};
use candle_core::Device;
use merge_core::{
    error::Result,
    model::Weights,
    store::{Fingerprint, Payload as _, Store},
};
use sha2::{Digest as _, Sha256};
use std::{fmt, sync::Arc};

/// A store in which one model looks up its earlier answers.
///
/// The key of an answer is the SHA-256 of whoever computes it (the version of the forward pass, the kind of device and
/// of products; or an inference engine with its settings), the weights, `config.json`, `generation_config.json`, `tokenizer.json`, the tokens of the prompt, and the request after
/// them: no other model and no other question can get it. Answers are kept at once, so that interrupted work can go on.
#[derive(Clone)]
pub struct Memory {
    store: Arc<Store>,
    model: Fingerprint,
}

/// Whoever computes answers.
#[derive(Clone, Copy, Debug)]
pub enum AnsweredBy<'a> {
    /// Our own forward pass on a device; with products in bf16, if the model was loaded by
    /// [`super::Transformer::load_bf16`].
    Own(&'a Device, Option<Bf16Dot>),
    /// An inference engine with this identity, which has all of its settings that may change a number.
    Engine(&'a str),
}

impl Memory {
    /// The memory of one model on one device.
    ///
    /// `content` stands for the weights: models that compute anything different need different ones, such as the hash
    /// of their files, or of a merge's recipe and all its inputs. Fails if a file beside the weights cannot be read.
    ///
    /// Answers `by` one engine are found by no other.
    pub fn new(store: Arc<Store>, weights: &dyn Weights, content: Fingerprint, by: AnsweredBy<'_>) -> Result<Self> {
        let mut hash = Sha256::new();
        let mut field = |bytes: &[u8]| hash_field(&mut hash, bytes);
        let (engine, mode) = match by {
            AnsweredBy::Own(_, Some(_)) => (ENGINE, "cpu, bf16 dot products"),
            AnsweredBy::Own(Device::Cpu, None) => (ENGINE, "cpu"),
            AnsweredBy::Own(_, None) => (ENGINE, "cuda"),
            AnsweredBy::Engine(identity) => (identity, "engine"),
        };
        field(engine.as_bytes());
        field(mode.as_bytes());
        field(&content);
        field(&weights.config().0.payload());
        for name in ["generation_config.json", "tokenizer.json"] {
            field(&weights.sidecar(name)?.unwrap_or_default());
        }
        Ok(Self { store, model: hash.finalize().into() })
    }

    /// Remembered outcome of each job.
    pub(crate) fn recall<'a>(&self, jobs: impl Iterator<Item = &'a SequenceJob<'a>>) -> Result<Vec<Option<Outcome>>> {
        self.store.recall(&jobs.map(|job| self.key(job)).collect::<Vec<_>>()).map_err(in_memory)
    }

    /// Keeps outcomes. Once this returns, they survive a power cut.
    pub(crate) fn keep<'a>(&self, outcomes: impl Iterator<Item = (&'a SequenceJob<'a>, &'a Outcome)>) -> Result<()> {
        let entries: Vec<_> = outcomes.map(|(job, outcome)| (self.key(job), outcome)).collect();
        self.store.keep(&entries).map_err(in_memory)
    }

    fn key(&self, job: &SequenceJob<'_>) -> Fingerprint {
        let mut hash = Sha256::new_with_prefix(self.model);
        let mut tokens = |tokens: &[u32]| {
            hash_field(&mut hash, &tokens.iter().flat_map(|token| token.to_le_bytes()).collect::<Vec<u8>>());
        };
        tokens(&job.sequence.tokens);
        match &job.purpose {
            Purpose::Score { targets } => {
                tokens(targets);
                hash_field(&mut hash, b"score");
            }
            Purpose::Generate { stop, limit } => {
                hash_field(&mut hash, &(*limit as u64).to_le_bytes());
                stop.iter().for_each(|stop| hash_field(&mut hash, stop.as_bytes()));
                hash_field(&mut hash, b"generate");
            }
        }
        hash.finalize().into()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("model", &self.model).finish_non_exhaustive()
    }
}

/// Hashes a field with its length, so that different lists of fields never give the same bytes.
fn hash_field(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

/// Replaces the store's own hint, which is for studies.
fn in_memory(error: merge_core::error::Error) -> merge_core::error::Error {
    error.hint("remembered answers can be deleted: they are computed again")
}
