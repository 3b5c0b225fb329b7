//! A decoder's forward pass over a flat list of tokens of many sequences, without padding.

use super::{
    compute::{
        ops::{self, StepRuns, TokenRun},
        pointwise,
    },
    config::Blueprint,
    layer::Layer,
    load::WeightSource,
    outer::OuterLayers,
    prefill::PrefillStep,
    prefix_cache::{PrefixCache, StateKey, state_keys},
    rope::{Rope, RopeStretch},
};
use candle_core::{DType, Device, Tensor};
use merge_core::{error::Result, merge::evomistral};
use std::sync::Arc;

/// A decoder; its fields are in the order of its computation.
#[derive(Debug)]
pub(crate) struct Decoder {
    pub blueprint: Blueprint,
    pub outer: Arc<OuterLayers>,
    pub hops: Vec<DecoderHop>,
    pub device: Device,
    /// Known states of prompts, shared with decoders that begin with the same hops.
    pub prefix_cache: Option<Arc<PrefixCache>>,
}

/// One layer on the hidden state's way. A layer may be there several times, each time with its own keys and values.
#[derive(Clone, Debug)]
pub(crate) struct DecoderHop {
    pub layer: Arc<Layer>,
    /// Factor of the state before the layer; `None` for 1.
    pub scale: Option<f32>,
    /// Factor of everything that the layer adds to the state; `None` for 1.
    pub gain: Option<f32>,
}

/// Keys and values of every token computed, one row each, in order of computation.
///
/// A sequence is the list of the rows that it sees. Sequences with a common beginning list the same
/// rows, so that it is computed once and forked by copying a list of numbers.
#[derive(Debug)]
pub(crate) struct Cache {
    hops: Vec<Tensor>, // each (capacity, 2 · kv heads · size): keys, then values
    capacity: usize,
    len: usize,
    /// For each rotary embedding, angles of short sequences: (positions so far, turned), cosines, then sines.
    angles: Vec<Vec<f32>>,
}

impl Cache {
    /// Number of rows in use; the next token computed takes the row of this number.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Forgets all rows except these, which become rows `0..`, and makes room for `capacity` rows in all.
    pub(crate) fn keep(&mut self, rows: &[u32], capacity: usize) -> Result<()> {
        let in_place = rows.iter().enumerate().all(|(i, row)| i == *row as usize);
        for hop in &mut self.hops {
            let kept = if rows.is_empty() || (in_place && capacity <= self.capacity) {
                None
            } else {
                Some(hop.index_select(&Tensor::new(rows, hop.device())?, 0)?)
            };
            if capacity > self.capacity {
                *hop = Tensor::zeros((capacity, hop.dim(1)?), DType::F32, hop.device())?;
            }
            if let Some(kept) = kept {
                hop.slice_set(&kept, 0, 0)?;
            }
        }
        self.capacity = self.capacity.max(capacity);
        self.len = rows.len();
        Ok(())
    }
}

/// The number as a factor; `None` if it is 1.
pub(crate) fn factor(number: f64) -> Option<f32> {
    Some(number as f32).filter(|factor| factor.to_bits() != 1f32.to_bits())
}

impl Decoder {
    /// Reads every tensor that the blueprint asks for.
    pub(crate) fn load(blueprint: Blueprint, source: WeightSource<'_>) -> Result<Self> {
        let layers = (0..blueprint.blocks.len()).map(|number| Layer::load(source, &blueprint, number).map(Arc::new));
        let layers = layers.collect::<Result<Vec<_>>>()?;
        let hop = |layer: &Arc<Layer>, scale| DecoderHop { layer: Arc::clone(layer), scale, gain: None };
        let hops = match evomistral::path(source.weights)? {
            Some(path) => path.into_iter().map(|(layer, scale)| hop(&layers[layer], factor(scale))).collect(),
            None => layers.iter().map(|layer| hop(layer, None)).collect(),
        };
        Ok(Self {
            outer: Arc::new(OuterLayers::load(source, &blueprint)?),
            hops,
            device: source.device.clone(),
            blueprint,
            prefix_cache: None,
        })
    }

    /// The blueprint, read from `config.json`.
    pub(crate) fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    /// Most tokens of a sequence, if positions are learned; otherwise `None`.
    pub(crate) fn most_tokens(&self) -> Option<usize> {
        self.outer.positions.as_ref().map(|_| self.blueprint.context)
    }

    /// An empty cache.
    pub(crate) fn cache(&self) -> Result<Cache> {
        let width = 2 * self.blueprint.heads.kv_len();
        let hop = |_| Tensor::zeros((0, width), DType::F32, &self.device);
        let hops = self.hops.iter().map(hop).collect::<candle_core::Result<_>>()?;
        Ok(Cache { hops, capacity: 0, len: 0, angles: vec![Vec::new(); self.blueprint.ropes.len()] })
    }

    /// Bytes of the cache for each token.
    pub(crate) fn row_bytes(&self) -> usize {
        self.hops.len() * 2 * self.blueprint.heads.kv_len() * size_of::<f32>()
    }

    /// Choice of rotary frequencies for a sequence that has `len` tokens when it is first read.
    /// Only sequences with the same frequencies can share a beginning.
    pub(crate) fn stretch(&self, len: usize) -> RopeStretch {
        self.blueprint.ropes.iter().map(|rope| rope.stretch(len)).max().unwrap_or_default()
    }

    /// Computes the runs' tokens, which take the cache's next rows in this order, and returns the final hidden state of
    /// the wanted tokens (numbers within the step, ascending): `(wanted, hidden)`.
    ///
    /// A run may see rows of earlier runs of the same step.
    ///
    /// # Panics
    /// If there is nothing to compute, or the cache has no room.
    pub(crate) fn step(&self, cache: &mut Cache, runs: &[TokenRun<'_>], wanted: &[u32]) -> Result<Tensor> {
        self.forward(cache, runs, wanted, &[])
    }

    /// Like [`Decoder::step`], for a step of prompts, some of whose states may be known.
    pub(crate) fn read(&self, cache: &mut Cache, step: &PrefillStep<'_>, wanted: &[u32]) -> Result<Tensor> {
        let keys = if self.prefix_cache.is_some() { state_keys(step, &self.outer, &self.hops) } else { Vec::new() };
        self.forward(cache, &step.runs, wanted, &keys)
    }

    /// `keys`: keys of the states after the first hops, for as many hops as can be known.
    fn forward(&self, cache: &mut Cache, runs: &[TokenRun<'_>], wanted: &[u32], keys: &[StateKey]) -> Result<Tensor> {
        let heads = self.blueprint.heads;
        let tokens: Vec<u32> = runs.iter().flat_map(|run| run.tokens).copied().collect();
        assert!(!tokens.is_empty() && cache.len + tokens.len() <= cache.capacity, "the cache has room for a step");
        let angles = self.angles(&mut cache.angles, runs)?; // each (tokens, turned)
        let (known, state) = self.prefix_cache.as_ref().map(|known| known.recall(keys)).unwrap_or_default();
        let mut x = match state {
            Some(state) => state,
            None => self.outer.embed(&self.blueprint, &tokens, runs, &self.device)?,
        }; // (tokens, hidden)
        for (kv, rows) in known.iter().zip(&cache.hops) {
            rows.slice_set(kv, 0, cache.len)?;
        }
        if let Some(prefix_cache) = &self.prefix_cache {
            prefix_cache.count(known.len() * tokens.len(), (self.hops.len() - known.len()) * tokens.len());
        }
        for (i, (hop, rows)) in self.hops.iter().zip(&cache.hops).enumerate().skip(known.len()) {
            let layer = &hop.layer;
            let last = i + 1 == self.hops.len();
            if let Some(scale) = hop.scale {
                x = pointwise::scale(&x, scale)?;
            }
            // After the last layer's keys and values, only the wanted tokens matter.
            let seen = StepRuns { runs, wanted: last.then_some(wanted), attention: layer.attention };
            let fused = layer.fused(&x, layer.rope.map(|rope| &angles[rope]))?; // (tokens, fused)
            let kv = fused.narrow(1, heads.query_len(), 2 * heads.kv_len())?.contiguous()?; // (tokens, 2 · kv)
            rows.slice_set(&kv, 0, cache.len)?;
            if last {
                if wanted.is_empty() {
                    x = x.narrow(0, 0, 0)?; // (0, hidden)
                    break;
                }
                x = x.index_select(&Tensor::new(wanted, &self.device)?, 0)?; // (wanted, hidden)
            }
            let attention = ops::attention(&fused, rows, seen)?; // (tokens or wanted, query heads · size)
            x = layer.finish(&x, &attention, hop.gain)?; // (tokens or wanted, hidden)
            if let Some((prefix_cache, key)) = self.prefix_cache.as_ref().zip(keys.get(i)) {
                prefix_cache.keep(*key, kv, x.clone());
            }
        }
        cache.len += tokens.len();
        Ok(self.outer.norm.forward(&x)?)
    }

    /// Logits of final hidden states `(rows, hidden)`: `(rows, vocab)`, on the CPU.
    pub(crate) fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.outer.logits(&self.blueprint, hidden)
    }

    /// Angles of the runs for each rotary embedding: `(tokens, turned)`. `tables` keep those of the positions so far.
    fn angles(&self, tables: &mut [Vec<f32>], runs: &[TokenRun<'_>]) -> Result<Vec<Tensor>> {
        let ropes = self.blueprint.ropes.iter().zip(tables);
        ropes
            .map(|(rope, table)| Ok(Tensor::from_vec(angles(rope, table, runs), ((), rope.turned), &self.device)?))
            .collect()
    }
}

fn angles(rope: &Rope, table: &mut Vec<f32>, runs: &[TokenRun<'_>]) -> Vec<f32> {
    let usual = rope.frequencies(RopeStretch::default());
    let end = runs.iter().map(|run| run.rows.len()).max().unwrap_or(0);
    for position in table.len() / rope.turned..end {
        rope.angles(&usual, position, table);
    }
    let mut angles = Vec::new();
    for run in runs {
        for position in run.position()..run.rows.len() {
            let stretch = rope.stretch(run.whole.max(position + 1));
            if stretch.is_none() {
                angles.extend_from_slice(&table[position * rope.turned..(position + 1) * rope.turned]);
            } else {
                rope.angles(&rope.frequencies(stretch), position, &mut angles);
            }
        }
    }
    angles
}
