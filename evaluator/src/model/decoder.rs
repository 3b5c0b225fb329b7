//! A decoder's forward pass over a flat list of tokens of many sequences, without padding.

use super::{
    architecture::Positions,
    config::Blueprint,
    layer::Layer,
    linear::Linear,
    load::{Part, Source},
    norm::Norm,
    ops::{self, Run, Seen},
    pointwise,
    rope::{Rope, Stretch},
};
use candle_core::{DType, Device, Tensor};
use merge_core::error::Result;

/// A decoder, in the order of its computation.
#[derive(Debug)]
pub(super) struct Decoder {
    blueprint: Blueprint,
    /// Its weights are the embeddings of the tokens; a tied head is the embedding.
    embedding: Option<Linear>, // hidden → vocab
    /// `(context, hidden)`, where positions are learned.
    positions: Option<Tensor>,
    layers: Vec<Layer>,
    norm: Norm,
    head: Linear, // hidden → vocab
    device: Device,
}

/// Keys and values of every token computed, one row each, in order of computation.
///
/// A sequence is the list of the rows it sees: sequences with a common beginning list the same rows, so that a beginning is
/// computed once and forked by copying a list of numbers.
#[derive(Debug)]
pub(super) struct Cache {
    layers: Vec<Tensor>, // each (capacity, 2 · kv heads · size): keys, then values
    capacity: usize,
    len: usize,
    /// For each rotary embedding the angles of short sequences: (positions so far, turned), cosines, then sines.
    angles: Vec<Vec<f32>>,
}

impl Cache {
    /// Rows in use; the next token computed takes the row of this number.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Forgets all rows but these, which become rows `0..`, and makes room for `capacity` in all.
    pub(super) fn keep(&mut self, rows: &[u32], capacity: usize) -> Result<()> {
        let in_place = rows.iter().enumerate().all(|(i, row)| i == *row as usize);
        for layer in &mut self.layers {
            let kept = if rows.is_empty() || (in_place && capacity <= self.capacity) {
                None
            } else {
                Some(layer.index_select(&Tensor::new(rows, layer.device())?, 0)?)
            };
            if capacity > self.capacity {
                *layer = Tensor::zeros((capacity, layer.dim(1)?), DType::F32, layer.device())?;
            }
            if let Some(kept) = kept {
                layer.slice_set(&kept, 0, 0)?;
            }
        }
        self.capacity = self.capacity.max(capacity);
        self.len = rows.len();
        Ok(())
    }
}

impl Decoder {
    /// Reads every tensor the blueprint asks for.
    pub(super) fn load(blueprint: Blueprint, source: Source<'_>) -> Result<Self> {
        let Blueprint { architecture, hidden, vocab, context, tied, eps, .. } = blueprint;
        let names = architecture.names;
        let has = |prefix: &&&str| source.has(&format!("{prefix}{}.weight", names.embedding));
        let prefix = names.prefixes.iter().find(has).unwrap_or(&names.prefixes[0]);
        let embedding = format!("{prefix}{}", names.embedding);
        let head = names.heads.iter().find(|head| source.has(&format!("{head}.weight"))).unwrap_or(&names.heads[0]);
        // A head that is there and is not the embedding is the model's, whatever its configuration says: so transformers has it.
        let tied = tied && !differ(source, &format!("{embedding}.weight"), &format!("{head}.weight"))?;
        let tokens = |name: &str| source.linear(&[Part::new(name, vocab, hidden)], hidden);
        let layer = |i| Layer::load(source, &blueprint, i, &format!("{prefix}{}.{i}.", names.layers));
        Ok(Self {
            embedding: if tied { None } else { Some(tokens(&embedding)?) },
            positions: match architecture.positions {
                Positions::Learned(name) => Some(source.tensor(&format!("{prefix}{name}.weight"), &[context, hidden])?),
                Positions::Rotary(_) => None,
            },
            layers: (0..blueprint.blocks.len()).map(layer).collect::<Result<_>>()?,
            norm: Norm::load(source, &format!("{prefix}{}", names.norm), architecture.norm, hidden, eps)?,
            head: tokens(if tied { &embedding } else { head })?,
            device: source.device.clone(),
            blueprint,
        })
    }

    /// What was read from `config.json`.
    pub(super) fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    /// Most tokens of a sequence, if there is no computing more.
    pub(super) fn most_tokens(&self) -> Option<usize> {
        self.positions.as_ref().map(|_| self.blueprint.context)
    }

    /// An empty cache.
    pub(super) fn cache(&self) -> Result<Cache> {
        let width = 2 * self.blueprint.heads.kv_len();
        let layer = |_| Tensor::zeros((0, width), DType::F32, &self.device);
        let layers = self.layers.iter().map(layer).collect::<candle_core::Result<_>>()?;
        Ok(Cache { layers, capacity: 0, len: 0, angles: vec![Vec::new(); self.blueprint.ropes.len()] })
    }

    /// Bytes a token takes in the cache.
    pub(super) fn row_bytes(&self) -> usize {
        self.layers.len() * 2 * self.blueprint.heads.kv_len() * size_of::<f32>()
    }

    /// Which of the frequencies a sequence turns by that has so many tokens when it is first read: only sequences with the
    /// same can share a beginning.
    pub(super) fn stretch(&self, len: usize) -> Stretch {
        self.blueprint.ropes.iter().map(|rope| rope.stretch(len)).max().unwrap_or_default()
    }

    /// Computes the runs' tokens, which take the cache's next rows in this order, and returns the final hidden
    /// state of the wanted ones (numbers within the step, ascending): `(wanted, hidden)`.
    ///
    /// A run may see rows of runs before it in the same step.
    ///
    /// # Panics
    /// If nothing is to compute, or the cache has no room.
    pub(super) fn step(&self, cache: &mut Cache, runs: &[Run<'_>], wanted: &[u32]) -> Result<Tensor> {
        let heads = self.blueprint.heads;
        let tokens: Vec<u32> = runs.iter().flat_map(|run| run.tokens).copied().collect();
        assert!(!tokens.is_empty() && cache.len + tokens.len() <= cache.capacity, "the cache has room for a step");
        let angles = self.angles(&mut cache.angles, runs)?; // each (tokens, turned)
        let mut x = self.embed(&tokens, runs)?; // (tokens, hidden)
        for (i, (layer, rows)) in self.layers.iter().zip(&cache.layers).enumerate() {
            let last = i + 1 == self.layers.len();
            // After the last layer's keys and values only the wanted tokens matter.
            let seen = Seen { runs, wanted: last.then_some(wanted), attention: layer.attention };
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
            x = layer.finish(&x, &attention)?; // (tokens or wanted, hidden)
        }
        cache.len += tokens.len();
        Ok(self.norm.forward(&x)?)
    }

    /// Logits of final hidden states `(rows, hidden)`: `(rows, vocab)`, on the CPU.
    pub(super) fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        let logits = self.head.forward(hidden)?.to_device(&Device::Cpu)?;
        match self.blueprint.logit_cap {
            Some(cap) => Ok(pointwise::soft_cap(&logits, cap)?),
            None => Ok(logits),
        }
    }

    /// The first hidden state of the runs' tokens: `(tokens, hidden)`.
    fn embed(&self, tokens: &[u32], runs: &[Run<'_>]) -> Result<Tensor> {
        let x = self.embedding.as_ref().unwrap_or(&self.head).rows(tokens)?;
        let Blueprint { architecture, hidden, .. } = self.blueprint;
        let x = if architecture.scaled_embedding { pointwise::scale(&x, (hidden as f64).sqrt() as f32)? } else { x };
        let Some(table) = &self.positions else { return Ok(x) };
        let positions: Vec<u32> = runs.iter().flat_map(|run| run.position() as u32..run.rows.len() as u32).collect();
        Ok(pointwise::add(&x, &table.index_select(&Tensor::new(positions, &self.device)?, 0)?)?)
    }

    /// The runs' angles for each rotary embedding: `(tokens, turned)`. `tables` keep those of the positions seen so far.
    fn angles(&self, tables: &mut [Vec<f32>], runs: &[Run<'_>]) -> Result<Vec<Tensor>> {
        let ropes = self.blueprint.ropes.iter().zip(tables);
        ropes
            .map(|(rope, table)| Ok(Tensor::from_vec(angles(rope, table, runs), ((), rope.turned), &self.device)?))
            .collect()
    }
}

/// Whether a model has both tensors, and they are not the same.
fn differ(source: Source<'_>, a: &str, b: &str) -> Result<bool> {
    Ok(source.has(a) && source.has(b) && source.weights.bytes(a)? != source.weights.bytes(b)?)
}

fn angles(rope: &Rope, table: &mut Vec<f32>, runs: &[Run<'_>]) -> Vec<f32> {
    let usual = rope.frequencies(Stretch::default());
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
