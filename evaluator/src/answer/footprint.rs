//! Memory that a model takes while it answers, computed before a weight is read.

use super::{
    Batch,
    question::{AnswerPart, QuestionReader},
};
use crate::{
    model::{config::Blueprint, prefill::Sequence},
    prompt::{Specials, Tokenizer, common},
    request::Request,
};
use merge_core::{
    error::{Error, Result},
    model::{Meta, Weights, dtype::Dtype},
};
use rayon::prelude::*;

/// Bytes that a model takes, beside the rest of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Its weights, as they are kept in memory.
    pub weights: u64,
    /// Its largest tensor, as stored: held while weights are read.
    pub reading: u64,
    /// Keys and values of the sequences computed side by side, and one step of the decoder.
    pub working: u64,
    /// States of one prompt that a pool keeps for a layer path: see [`super::Pool`].
    pub prompt: u64,
}

/// Most bytes of logits computed at once: see `Network::each_logits`.
const LOGITS: usize = 32 << 20;

impl Footprint {
    /// Total bytes. Memory for reading weights is free before working memory is needed: the larger one counts.
    pub fn total(&self) -> u64 {
        self.weights + self.reading.max(self.working)
    }

    /// Footprint of a model that is asked each of these lists of requests by itself.
    ///
    /// Fails if the model could not be loaded.
    pub fn of(weights: &dyn Weights, tokenizer: &Tokenizer, asked: &[Vec<Request>], batch: Batch) -> Result<Self> {
        let blueprint = Blueprint::read(weights.config()).map_err(|e: Error| e.at(weights.place()))?;
        let specials = Specials::of(weights, tokenizer)?;
        let reader = QuestionReader { tokenizer, specials: &specials, chat: None, context: blueprint.context };
        let n_layers = weights.path().map_or(blueprint.blocks.len(), |path| path.hops.len());
        let row = n_layers * 2 * blueprint.heads.kv_len() * size_of::<f32>();
        let most = batch.cache_bytes / row.max(1);
        let taken = asked.iter().map(|requests| rows(reader, requests, batch.sequences, most)).max().unwrap_or(0);
        let wanted = asked.iter().map(Vec::len).max().unwrap_or(0);
        let first = asked.iter().find_map(|requests| requests.first());
        let tokens = first.map_or(0, |request| rows(reader, std::slice::from_ref(request), 1, usize::MAX));
        let state = n_layers * (2 * blueprint.heads.kv_len() + blueprint.hidden) * size_of::<f32>();
        let all = weights.index().values();
        Ok(Self {
            weights: all.clone().map(kept_bytes).sum(),
            reading: all.map(|meta| meta.byte_len() as u64).max().unwrap_or(0),
            working: (taken * row + step_bytes(&blueprint, wanted, batch)) as u64,
            prompt: (tokens * state) as u64,
        })
    }
}

/// Bytes of a tensor as it is kept in memory: see `Matrix::pack`.
fn kept_bytes(meta: &Meta) -> u64 {
    let size = match meta.dtype {
        Dtype::BF16 | Dtype::F16 | Dtype::F8E4M3 | Dtype::F8E5M2 => 2,
        _ => 4,
    };
    size * meta.len() as u64
}

/// Rows of the cache that the largest batch writes: all tokens except those that neighbours share, and half of the
/// longest answers, since most end earlier. (Rows that are never written take no memory.)
fn rows(reader: QuestionReader<'_>, requests: &[Request], sequences: usize, most: usize) -> usize {
    // Requests that cannot be answered are refused later.
    let questions = requests.par_iter().filter_map(|request| reader.question(request).ok());
    let parts = questions.flat_map_iter(|question| question.parts).filter_map(|part| match part {
        AnswerPart::Job(job) => Some((job.growth() / 2, job.sequence)),
        AnswerPart::Known(_) => None,
    });
    let mut jobs: Vec<(usize, Sequence)> = parts.collect();
    jobs.sort_by(|a, b| a.1.cmp(&b.1));
    let of_batch = |batch: &[(usize, Sequence)]| -> usize {
        let mut before: &[u32] = &[];
        let row = |(growth, sequence): &(usize, Sequence)| sequence.tokens.len() + growth;
        let mut rows = 0;
        for job in batch {
            rows += row(job) - common(before, &job.1.tokens);
            before = &job.1.tokens;
        }
        // A batch ends before it needs more than `most` rows; only a single sequence may exceed that.
        rows.min(most.max(batch.iter().map(row).max().unwrap_or(0)))
    };
    jobs.chunks(sequences.max(1)).map(of_batch).max().unwrap_or(0)
}

/// Bytes that a step holds at a time: the hidden state, results of attention and MLP, and `wanted` rows of logits.
fn step_bytes(blueprint: &Blueprint, wanted: usize, batch: Batch) -> usize {
    let Blueprint { hidden, intermediate, heads, vocab, .. } = *blueprint;
    let tokens = batch.tokens.max(batch.sequences);
    let token = 4 * hidden + 2 * (heads.query_len() + 2 * heads.kv_len()) + 3 * intermediate;
    tokens * token * size_of::<f32>() + LOGITS.min(tokens.min(wanted) * vocab * size_of::<f32>())
}
