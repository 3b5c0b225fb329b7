//! A layer of the decoder: attention and MLP, each with its norms, added to the hidden state.

use super::{
    architecture::{NormKind, QkNorm, Qkv},
    compute::{
        ops::{self, HeadNorm},
        pointwise::{add, scale},
    },
    config::{Attention, Blueprint, Heads},
    linear::Projection,
    load::{ProjectionPart, WeightSource},
    mlp::Mlp,
    norm::{self, Norm},
    outer::prefix,
};
use candle_core::Tensor;
use merge_core::error::Result;

/// A layer; its fields are in the order of its computation.
#[derive(Debug)]
pub(crate) struct Layer {
    /// Attention between its tokens.
    pub attention: Attention,
    /// Number of its rotary embedding.
    pub rope: Option<usize>,
    attention_norm: Norm,
    qkv: Projection, // hidden → (query + 2 · kv heads) · size
    /// Weights of the norms of query and key heads: `((query + kv heads) · size)`.
    head_norm: Option<(Tensor, HeadNorm)>,
    out: Projection, // query heads · size → hidden
    attention_post: Option<Norm>,
    /// `None` if the MLP uses the attention's norm.
    mlp_norm: Option<Norm>,
    mlp: Mlp,
    mlp_post: Option<Norm>,
    /// True if the MLP reads the state from before the attention.
    parallel: bool,
}

impl Layer {
    /// Reads the layer of this number.
    pub(crate) fn load(source: WeightSource<'_>, blueprint: &Blueprint, number: usize) -> Result<Self> {
        let Blueprint { architecture, hidden, heads, parallel, eps, .. } = *blueprint;
        let block = &blueprint.blocks[number];
        let names = architecture.names;
        // Beginning of its tensors' names.
        let at = &format!("{}{}.{number}.", prefix(source, architecture), names.layers);
        let norm = |name: &str| Norm::load(source, &format!("{at}{name}"), architecture.norm, hidden, eps);
        let [qkv_bias, out_bias, _] = blueprint.biases;
        let part = |name: &str, out: usize, input: usize, bias: bool| {
            let name = format!("{at}{name}");
            ProjectionPart::of(architecture, &name, out, input).bias(bias.then(|| format!("{name}.bias")))
        };
        let qkv = match names.qkv {
            Qkv::Separate([query, key, value]) => vec![
                part(query, heads.query_len(), hidden, qkv_bias),
                part(key, heads.kv_len(), hidden, qkv_bias),
                part(value, heads.kv_len(), hidden, qkv_bias),
            ],
            Qkv::Fused(name) => vec![part(name, heads.fused_len(), hidden, qkv_bias)],
            Qkv::Interleaved(name) => {
                let name = format!("{at}{name}");
                vec![ProjectionPart::interleaved(&name, heads, hidden).bias(qkv_bias.then(|| format!("{name}.bias")))]
            }
        };
        let mut out = part(names.out, hidden, heads.query_len(), out_bias);
        if let Some(last) = architecture.bias.last_out
            && number + 1 == blueprint.blocks.len()
        {
            out = out.bias(Some(format!("{at}{last}")));
        }
        Ok(Self {
            attention: block.attention,
            rope: block.rope,
            attention_norm: norm(names.attention_norm)?,
            qkv: source.linear(&qkv, hidden)?,
            head_norm: if blueprint.qk_norm { head_norm(source, blueprint, at)? } else { None },
            out: source.linear(&[out], heads.query_len())?,
            attention_post: names.attention_post.map(norm).transpose()?,
            mlp_norm: match parallel {
                Some(parallel) if !parallel.own_norm => None,
                _ => Some(norm(names.mlp_norm)?),
            },
            mlp: Mlp::load(source, blueprint, block, at)?,
            mlp_post: names.mlp_post.map(norm).transpose()?,
            parallel: parallel.is_some(),
        })
    }

    /// Rotated queries and keys, and values. `x`: `(tokens, hidden)`; `angles`: `(tokens, turned)`;
    /// result: `(tokens, fused)`.
    pub(crate) fn fused(&self, x: &Tensor, angles: Option<&Tensor>) -> Result<Tensor> {
        let heads = self.attention.heads;
        let mut fused = self.qkv.forward(&self.attention_norm.forward(x)?)?;
        if let Some((weight, norm)) = &self.head_norm {
            fused = ops::norm_heads(&fused, weight, heads, *norm)?;
        }
        if let Some(angles) = angles {
            fused = ops::rotate(&fused, angles, heads)?;
        }
        Ok(fused)
    }

    /// The hidden state after the layer. `x`: the state before it, `(tokens, hidden)`; `gain`: factor of all that is
    /// added to the state, `None` for 1; `attention`: `(tokens, query heads · size)`.
    pub(crate) fn finish(&self, x: &Tensor, attention: &Tensor, gain: Option<f32>) -> Result<Tensor> {
        let gained = |x: Tensor| gain.map_or(Ok(x.clone()), |gain| scale(&x, gain));
        let mut attended = self.out.forward(attention)?;
        if let Some(norm) = &self.attention_post {
            attended = norm.forward(&attended)?;
        }
        let after = add(x, &gained(attended)?)?; // (tokens, hidden)
        let before_mlp = if self.parallel { x } else { &after };
        let mlp_norm = self.mlp_norm.as_ref().unwrap_or(&self.attention_norm);
        let mut inner = self.mlp.forward(&mlp_norm.forward(before_mlp)?)?;
        if let Some(norm) = &self.mlp_post {
            inner = norm.forward(&inner)?;
        }
        Ok(add(&after, &gained(inner)?)?)
    }
}

/// Reads the norms of queries and keys.
fn head_norm(source: WeightSource<'_>, blueprint: &Blueprint, at: &str) -> Result<Option<(Tensor, HeadNorm)>> {
    let Blueprint { architecture, heads: Heads { query, kv, size }, eps, .. } = *blueprint;
    let mut weights = Vec::new();
    let centred = match architecture.qk_norm {
        QkNorm::None => return Ok(None),
        QkNorm::OfHeads { query: of_query, key } => {
            for (name, heads) in [(of_query, query), (key, kv)] {
                let weight = norm::weights(source, &format!("{at}{name}"), architecture.norm, size)?;
                weights.extend(weight.repeat(heads));
            }
            false
        }
        QkNorm::OfEachHead { query: of_query, key } => {
            for (name, heads) in [(of_query, query), (key, kv)] {
                for head in 0..heads {
                    weights.extend(norm::weights(source, &format!("{at}{name}.{head}"), NormKind::Layer, size)?);
                }
            }
            true
        }
    };
    let weights = Tensor::from_vec(weights, (query + kv) * size, source.device)?;
    Ok(Some((weights, HeadNorm { centred, eps })))
}
