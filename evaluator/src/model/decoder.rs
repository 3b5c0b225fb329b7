//! A Llama's forward pass over a flat list of tokens of many sequences, without padding.

use super::{
    config::{Blueprint, Heads},
    linear::Linear,
    load::Source,
    ops::{self, Run, Seen},
};
use candle_core::{DType, Device, Tensor};
use merge_core::error::Result;

/// A Llama, in the order of its computation.
#[derive(Debug)]
pub(super) struct Decoder {
    blueprint: Blueprint,
    embedding: Tensor, // (vocab, hidden)
    layers: Vec<Layer>,
    norm: Tensor, // (hidden)
    head: Linear, // hidden → vocab
}

#[derive(Debug)]
struct Layer {
    attention_norm: Tensor, // (hidden)
    qkv: Linear,            // hidden → (query + 2 · kv heads) · size
    o: Linear,              // query heads · size → hidden
    mlp_norm: Tensor,       // (hidden)
    gate_up: Linear,        // hidden → 2 · intermediate
    down: Linear,           // intermediate → hidden
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
    angles: Vec<f32>, // (positions so far, size): cosines, then sines
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
        let Blueprint { hidden, vocab, .. } = blueprint;
        let head = if blueprint.tied { "model.embed_tokens" } else { "lm_head" };
        Ok(Self {
            embedding: source.tensor("model.embed_tokens.weight", &[vocab, hidden])?,
            layers: (0..blueprint.layers).map(|i| Layer::load(&blueprint, source, i)).collect::<Result<_>>()?,
            norm: source.tensor("model.norm.weight", &[hidden])?,
            head: source.linear(&[(head.to_owned(), vocab)], hidden, false)?,
            blueprint,
        })
    }

    /// What was read from `config.json`.
    pub(super) fn blueprint(&self) -> &Blueprint {
        &self.blueprint
    }

    /// An empty cache.
    pub(super) fn cache(&self) -> Result<Cache> {
        let width = 2 * self.blueprint.heads.kv_len();
        let layer = || Tensor::zeros((0, width), DType::F32, self.device());
        let layers = (0..self.blueprint.layers).map(|_| layer()).collect::<candle_core::Result<_>>()?;
        Ok(Cache { layers, capacity: 0, len: 0, angles: Vec::new() })
    }

    /// Bytes a token takes in the cache.
    pub(super) fn row_bytes(&self) -> usize {
        self.blueprint.layers * 2 * self.blueprint.heads.kv_len() * size_of::<f32>()
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
        let angles = self.angles(&mut cache.angles, runs)?; // (tokens, size)
        let mut x = self.embedding.index_select(&Tensor::new(&*tokens, self.device())?, 0)?; // (tokens, hidden)
        for (i, (layer, rows)) in self.layers.iter().zip(&cache.layers).enumerate() {
            let last = i + 1 == self.layers.len();
            // After the last layer's keys and values only the wanted tokens matter.
            let seen = Seen { runs, wanted: last.then_some(wanted), heads };
            let fused = layer.fused(&x, &angles, &self.blueprint)?; // (tokens, fused)
            let kv = fused.narrow(1, heads.query_len(), 2 * heads.kv_len())?.contiguous()?; // (tokens, 2 · kv)
            rows.slice_set(&kv, 0, cache.len)?;
            if last {
                if wanted.is_empty() {
                    x = x.narrow(0, 0, 0)?; // (0, hidden)
                    break;
                }
                x = x.index_select(&Tensor::new(wanted, self.device())?, 0)?; // (wanted, hidden)
            }
            let attention = ops::attention(&fused, rows, seen)?; // (tokens or wanted, query heads · size)
            x = ops::add(&x, &layer.o.forward(&attention)?)?;
            let inner = layer.gate_up.forward(&ops::rms_norm(&x, &layer.mlp_norm, self.blueprint.eps)?)?;
            x = ops::add(&x, &layer.down.forward(&ops::swiglu(&inner)?)?)?; // (tokens or wanted, hidden)
        }
        cache.len += tokens.len();
        Ok(ops::rms_norm(&x, &self.norm, self.blueprint.eps)?)
    }

    /// Logits of final hidden states `(rows, hidden)`: `(rows, vocab)`, on the CPU.
    pub(super) fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        Ok(self.head.forward(hidden)?.to_device(&Device::Cpu)?)
    }

    fn device(&self) -> &Device {
        self.embedding.device()
    }

    /// The runs' rotary angles: `(tokens, size)`. `table` keeps those of the positions seen so far.
    fn angles(&self, table: &mut Vec<f32>, runs: &[Run<'_>]) -> Result<Tensor> {
        let Heads { size, .. } = self.blueprint.heads;
        let end = runs.iter().map(|run| run.rows.len()).max().unwrap_or(0);
        for position in table.len() / size..end {
            // Frequencies and angles are rounded to f32 where transformers rounds them.
            let angles = (0..size / 2).map(|i| {
                let frequency = 1.0 / self.blueprint.rope_theta.powf((2 * i) as f64 / size as f64) as f32;
                f64::from(position as f32 * frequency)
            });
            table.extend(angles.clone().map(|angle| angle.cos() as f32));
            table.extend(angles.map(|angle| angle.sin() as f32));
        }
        let positions = runs.iter().flat_map(|run| run.position()..run.rows.len());
        let angles: Vec<f32> = positions.flat_map(|p| &table[p * size..(p + 1) * size]).copied().collect();
        Ok(Tensor::from_vec(angles, ((), size), self.device())?)
    }
}

impl Layer {
    fn load(blueprint: &Blueprint, source: Source<'_>, number: usize) -> Result<Self> {
        let Blueprint { hidden, intermediate, heads, attention_bias, mlp_bias, .. } = *blueprint;
        let name = |part: &str| format!("model.layers.{number}.{part}");
        let qkv = [
            (name("self_attn.q_proj"), heads.query_len()),
            (name("self_attn.k_proj"), heads.kv_len()),
            (name("self_attn.v_proj"), heads.kv_len()),
        ];
        let gate_up = [(name("mlp.gate_proj"), intermediate), (name("mlp.up_proj"), intermediate)];
        Ok(Self {
            attention_norm: source.tensor(&name("input_layernorm.weight"), &[hidden])?,
            qkv: source.linear(&qkv, hidden, attention_bias)?,
            o: source.linear(&[(name("self_attn.o_proj"), hidden)], heads.query_len(), attention_bias)?,
            mlp_norm: source.tensor(&name("post_attention_layernorm.weight"), &[hidden])?,
            gate_up: source.linear(&gate_up, hidden, mlp_bias)?,
            down: source.linear(&[(name("mlp.down_proj"), hidden)], intermediate, mlp_bias)?,
        })
    }

    /// Rotated queries, rotated keys, values. `x`: `(tokens, hidden)`; result: `(tokens, fused)`.
    fn fused(&self, x: &Tensor, angles: &Tensor, blueprint: &Blueprint) -> Result<Tensor> {
        let x = ops::rms_norm(x, &self.attention_norm, blueprint.eps)?;
        Ok(ops::rotate(&self.qkv.forward(&x)?, angles, blueprint.heads)?)
    }
}
