//! A model with the result's vocabulary.

use super::{
    align::{Alignment, Spec, TokenRow, align},
    moved::MovedRows,
    sidecars::{Sidecars, read, sidecars},
    tokens::Vocabulary,
};
use crate::{
    error::{Error, Result},
    model::{
        Config, Elements, Index, Weights,
        layers::{Layers, is_numbered},
    },
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

/// A model as if it had been trained with the result's tokenizer: its embeddings have the result's rows, and its
/// configuration and tokenizer are the result's. All else stays, and a model whose rows all stay still lends its bytes.
pub struct RemappedModel {
    models: Arc<[Arc<dyn Weights>]>,
    model: usize,
    alignment: Arc<Alignment>,
    sidecars: Arc<Sidecars>,
    index: Index,
    config: Config,
    /// Tensors with a row for each token, each with the mean of its rows once a padded tensor was asked for.
    tensors: BTreeMap<String, OnceLock<Vec<f32>>>,
}

/// Models that share one tokenizer.
pub struct UnifiedModels {
    /// The models as if trained with it, in the given order.
    pub models: Vec<Arc<dyn Weights>>,
    /// Notes for the user.
    pub notes: Vec<String>,
}

/// Gives all models one tokenizer.
///
/// Fails if a model has no `tokenizer.json` or no embedding, if a rule names a token that its model lacks, or if a row
/// would come from a model whose tensor is missing, has rows of another length, or is not of floats.
///
/// # Panics
/// If `spec` names the position of a model that does not exist.
pub fn unify(spec: &Spec<'_>, models: &[(&str, Arc<dyn Weights>)]) -> Result<UnifiedModels> {
    let tokenizers: Vec<Value> = models.iter().map(|(name, weights)| read(name, &**weights)).collect::<Result<_>>()?;
    let vocabularies: Vec<Vocabulary<'_>> = models
        .iter()
        .zip(&tokenizers)
        .map(|((name, weights), tokenizer)| Ok(Vocabulary { name, tokenizer, rows: rows(name, &**weights)? }))
        .collect::<Result<_>>()?;
    let alignment = Arc::new(align(spec, &vocabularies)?);
    let donor = alignment.donor;
    let (files, more) = sidecars(&alignment, &tokenizers[donor], &*models[donor].1)?;
    let notes = alignment.notes.iter().cloned().chain(more).collect();
    let (files, names) = (Arc::new(files), models.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    let all: Arc<[Arc<dyn Weights>]> = models.iter().map(|(_, weights)| Arc::clone(weights)).collect();
    let unified = (0..models.len()).map(|model| {
        let remapped = RemappedModel::new(model, &names, Arc::clone(&all), Arc::clone(&alignment), Arc::clone(&files))?;
        Ok(Arc::new(remapped) as Arc<dyn Weights>)
    });
    Ok(UnifiedModels { models: unified.collect::<Result<_>>()?, notes })
}

/// Tensors with a row for each token: embeddings, output heads and their biases, but not embeddings of positions.
pub fn vocabulary_tensors(index: &Index, rows: usize) -> Vec<&str> {
    let tensors =
        index.iter().filter(|(name, meta)| meta.shape.first() == Some(&rows) && (embeds(name) || is_head(name)));
    tensors.map(|(name, _)| name.as_str()).collect()
}

/// Tensors with a row for each token, and their number of rows: embeddings, and heads of the same size.
pub(crate) fn token_tensors(index: &Index) -> Vec<(&str, usize)> {
    let embeddings = index.iter().filter(|(name, meta)| meta.shape.len() == 2 && embeds(name));
    let rows: BTreeSet<usize> = embeddings.map(|(_, meta)| meta.shape[0]).collect();
    let tensors = index.iter().filter(|(name, _)| embeds(name) || is_head(name));
    tensors
        .filter_map(|(name, meta)| Some((name.as_str(), *meta.shape.first().filter(|n| rows.contains(n))?)))
        .collect()
}

/// True for `model.embed_tokens.weight` and the like: the last but one part names an embedding of tokens.
fn embeds(name: &str) -> bool {
    const EMBEDDINGS: [&str; 9] = [
        "embed_in",
        "embed_tokens",
        "embeddings",
        "shared",
        "tok_embeddings",
        "token_embedding",
        "tokens_embed",
        "word_embeddings",
        "wte",
    ];
    name.rsplit('.').nth(1).is_some_and(|part| EMBEDDINGS.contains(&part))
}

/// True for a tensor of an output head: one outside of layers, or of a layer that predicts tokens further ahead.
fn is_head(name: &str) -> bool {
    heads(name) && (!is_numbered(name) || is_draft_head(name))
}

/// True for `lm_head.weight`, `cls.predictions.decoder.bias` and the like: a part names an output head.
fn heads(name: &str) -> bool {
    const HEADS: [&str; 5] = ["embed_out", "lm_head", "output", "predictions", "shared_head"];
    name.split('.').any(|part| HEADS.contains(&part))
}

/// True for the head of a layer that predicts tokens further ahead: `model.layers.61.shared_head.head.weight`.
fn is_draft_head(name: &str) -> bool {
    name.ends_with(".shared_head.head.weight") || name.ends_with(".lm_head.weight")
}

/// Number of rows of a model's embedding, from its tensor or else from its configuration.
fn rows(name: &str, weights: &dyn Weights) -> Result<usize> {
    let layers = Layers::of(weights);
    let outside =
        weights.index().iter().filter(|(name, meta)| meta.shape.len() == 2 && layers.of_tensor(name).is_none());
    let embeddings: Vec<usize> = outside.filter(|(name, _)| embeds(name)).map(|(_, meta)| meta.shape[0]).collect();
    let config = weights.config();
    let part = config.language().get("vocab_size").and_then(Value::as_u64);
    let said = config.count("vocab_size").map_err(|e| e.at(weights.place()))?;
    let said = said.or(part.map(|size| size as usize));
    // The tensors decide; the configuration may choose one of several.
    said.filter(|rows| embeddings.contains(rows)).or(embeddings.first().copied()).or(said).ok_or_else(|| {
        Error::user(format!("`{name}`: it has no embedding of tokens, so that a tokenizer cannot be chosen for it"))
            .hint("leave `tokenizer` and `tokenizer_source` out of the recipe")
    })
}

impl RemappedModel {
    fn new(
        model: usize,
        names: &[&str],
        models: Arc<[Arc<dyn Weights>]>,
        alignment: Arc<Alignment>,
        sidecars: Arc<Sidecars>,
    ) -> Result<Self> {
        let own = &models[model];
        let config = alignment.config(model, own.config());
        let mut index = own.index().clone();
        let mut tensors = BTreeMap::new();
        if let Some(rows) = &alignment.rows[model] {
            for name in vocabulary_tensors(own.index(), alignment.old_rows[model]) {
                let mut meta = own.index()[name].clone();
                for other in used(rows, models.len()).chain([model]) {
                    let at = |what: String| {
                        Error::user(format!("`{}`: {what}", names[other]))
                            .hint("only models of one architecture and size can be merged")
                    };
                    let found = models[other].index().get(name).filter(|meta| !meta.shape.is_empty());
                    let found = found.ok_or_else(|| at(format!("there is no `{name}` in it to take rows from")))?;
                    let (theirs, ours) = (&found.shape[1..], &meta.shape[1..]);
                    if theirs != ours {
                        return Err(at(format!("the rows of `{name}` are {theirs:?}, not {ours:?}")));
                    }
                    if !found.dtype.is_float() {
                        return Err(at(format!(
                            "`{name}` is stored as {}: its rows cannot be moved",
                            found.dtype.name()
                        )));
                    }
                    meta.dtype = meta.dtype.promote(found.dtype);
                }
                meta.shape[0] = alignment.len;
                index.insert(name.to_owned(), meta);
                tensors.insert(name.to_owned(), OnceLock::new());
            }
        }
        Ok(Self { models, model, alignment, sidecars, index, config, tensors })
    }
}

/// Positions of the models that rows come from, in order.
fn used(rows: &[TokenRow], models: usize) -> impl Iterator<Item = usize> {
    let mut used = vec![false; models];
    for row in rows {
        match row {
            TokenRow::At { model, .. } => used[*model] = true,
            TokenRow::Mean(owners) => owners.iter().for_each(|(model, _)| used[*model] = true),
            TokenRow::Zero | TokenRow::Average => {}
        }
    }
    (0..models).filter(move |model| used[*model])
}

impl Weights for RemappedModel {
    fn index(&self) -> &Index {
        &self.index
    }

    fn tensor(&self, name: &str) -> Result<Box<dyn Elements + '_>> {
        let own = &self.models[self.model];
        let (Some(average), Some(rows)) = (self.tensors.get(name), &self.alignment.rows[self.model]) else {
            return own.tensor(name);
        };
        let meta = &self.index[name];
        let mut sources: Vec<Option<Box<dyn Elements>>> = self.models.iter().map(|_| None).collect();
        for model in used(rows, self.models.len()) {
            sources[model] = Some(self.models[model].tensor(name)?);
        }
        let width = meta.shape[1..].iter().product();
        let mut moved = MovedRows::new(meta.dtype, width, rows, sources);
        if rows.last() == Some(&TokenRow::Average) {
            if average.get().is_none() {
                // If two threads come here at once, both compute the same.
                let _first_wins = average.set(moved.mean()?);
            }
            moved.pad_with(average.get().map_or(&[], Vec::as_slice));
        }
        Ok(Box::new(moved))
    }

    fn config(&self) -> &Config {
        &self.config
    }

    fn sidecar(&self, name: &str) -> Result<Option<Vec<u8>>> {
        if let Some(file) = self.sidecars.get(name) {
            return Ok(file.clone());
        }
        let own = self.models[self.model].sidecar(name)?;
        match (name, own) {
            ("generation_config.json", Some(bytes)) => self.alignment.generation_config(self.model, bytes).map(Some),
            (_, own) => Ok(own),
        }
    }

    fn place(&self) -> String {
        self.models[self.model].place()
    }
}
