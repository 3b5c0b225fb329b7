//! The parts of a decoder before and behind its layers: embeddings, final norm, output head.

use super::{
    architecture::{Architecture, Positions},
    compute::{ops::TokenRun, pointwise},
    config::Blueprint,
    linear::Projection,
    load::{ProjectionPart, WeightSource},
    norm::Norm,
};
use candle_core::{Device, Tensor};
use merge_core::error::Result;

/// Embeddings, final norm and output head.
#[derive(Debug)]
pub(crate) struct OuterLayers {
    /// Embeddings of the tokens, as the projection's weights. `None` for a tied head, whose weights are the embeddings.
    embedding: Option<Projection>, // hidden → vocab
    /// Embeddings of positions, `(context, hidden)`, if they are learned.
    pub positions: Option<Tensor>,
    pub norm: Norm,
    head: Projection, // hidden → vocab
}

impl OuterLayers {
    pub(crate) fn load(source: WeightSource<'_>, blueprint: &Blueprint) -> Result<Self> {
        let Blueprint { architecture, hidden, vocab, context, tied, eps, .. } = *blueprint;
        let names = architecture.names;
        let prefix = prefix(source, architecture);
        let embedding = format!("{prefix}{}", names.embedding);
        let head = names.heads.iter().find(|head| source.has(&format!("{head}.weight"))).unwrap_or(&names.heads[0]);
        // Like transformers, uses a stored head that is not the embedding, whatever config.json says.
        let tied = tied && !differ(source, &format!("{embedding}.weight"), &format!("{head}.weight"))?;
        let tokens = |name: &str| source.linear(&[ProjectionPart::new(name, vocab, hidden)], hidden);
        Ok(Self {
            embedding: if tied { None } else { Some(tokens(&embedding)?) },
            positions: match architecture.positions {
                Positions::Learned(name) => Some(source.tensor(&format!("{prefix}{name}.weight"), &[context, hidden])?),
                Positions::Rotary(_) => None,
            },
            norm: Norm::load(source, &format!("{prefix}{}", names.norm), architecture.norm, hidden, eps)?,
            head: tokens(if tied { &embedding } else { head })?,
        })
    }

    /// First hidden state of the runs' tokens: `(tokens, hidden)`.
    pub(crate) fn embed(
        &self,
        blueprint: &Blueprint,
        tokens: &[u32],
        runs: &[TokenRun<'_>],
        device: &Device,
    ) -> Result<Tensor> {
        let x = self.embedding.as_ref().unwrap_or(&self.head).rows(tokens)?;
        let Blueprint { architecture, hidden, .. } = *blueprint;
        let x = if architecture.scaled_embedding { pointwise::scale(&x, (hidden as f64).sqrt() as f32)? } else { x };
        let Some(table) = &self.positions else { return Ok(x) };
        let positions: Vec<u32> = runs.iter().flat_map(|run| run.position() as u32..run.rows.len() as u32).collect();
        Ok(pointwise::add(&x, &table.index_select(&Tensor::new(positions, device)?, 0)?)?)
    }

    /// Logits of final hidden states `(rows, hidden)`: `(rows, vocab)`, on the CPU.
    pub(crate) fn logits(&self, blueprint: &Blueprint, hidden: &Tensor) -> Result<Tensor> {
        let logits = self.head.forward(hidden)?.to_device(&Device::Cpu)?;
        match blueprint.logit_cap {
            Some(cap) => Ok(pointwise::soft_cap(&logits, cap)?),
            None => Ok(logits),
        }
    }
}

/// Beginning of the names of a model's tensors.
pub(crate) fn prefix(source: WeightSource<'_>, architecture: &Architecture) -> &'static str {
    let names = architecture.names;
    let has = |prefix: &&&str| source.has(&format!("{prefix}{}.weight", names.embedding));
    names.prefixes.iter().find(has).unwrap_or(&names.prefixes[0])
}

/// True if a model has both tensors and they differ.
fn differ(source: WeightSource<'_>, a: &str, b: &str) -> Result<bool> {
    Ok(source.has(a) && source.has(b) && source.weights.bytes(a)? != source.weights.bytes(b)?)
}
