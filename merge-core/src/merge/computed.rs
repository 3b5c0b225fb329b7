//! Tensors in checkpoints that a loader computes itself or does not use, whatever is stored.
//!
//! Older checkpoints have them, newer ones of the same architecture do not. A tensor that all
//! merged models have alike is merged by name, as usual; any other is left out of all. The same
//! holds for tensors that predict tokens further ahead, which training leaves out.

use crate::{
    model::{Index, Meta, Weights, WeightsView, layers::Layers},
    recipe::Recipe,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Endings of their names, with their numbers of axes. transformers ignores these tensors on
/// loading (`persistent=False` today, or `_keys_to_ignore_on_load_unexpected`).
const COMPUTED: [(&str, usize); 16] = [
    // Frequencies and tables of rotary embeddings.
    ("rotary_emb.inv_freq", 1),
    ("rotary_emb.original_inv_freq", 1),
    ("rotary_pos_emb.inv_freq", 1),
    ("rope.freqs", 1),
    ("rotary_emb.cos_cached", 2),
    ("rotary_emb.sin_cached", 2),
    ("rotary_emb.cos_cached", 4),
    ("rotary_emb.sin_cached", 4),
    // Causal masks of GPT-2 and GPT-NeoX, and the value of what is masked.
    ("attn.bias", 4),
    ("attention.bias", 4),
    ("attn.masked_bias", 0),
    ("attention.masked_bias", 0),
    // Causal masks of CodeGen.
    ("attn.causal_mask", 4),
    // Positions in cross-attention, in T5's first checkpoints.
    ("EncDecAttention.relative_attention_bias.weight", 2),
    // 0, 1, 2, …
    ("embeddings.position_ids", 2),
    ("embeddings.token_type_ids", 2),
];

/// The ending in [`COMPUTED`] that a tensor's name has, if the tensor is computed.
fn kind(name: &str, meta: &Meta) -> Option<&'static str> {
    let known = |(end, axes): &&(&'static str, usize)| {
        let before = name.strip_suffix(end);
        meta.shape.len() == *axes && before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    COMPUTED.iter().find(known).map(|(end, _)| *end)
}

/// Models with their names in the recipe.
type Models = Vec<(String, Arc<dyn Weights>)>;

/// Leaves out computed tensors that not all merged models have alike, with a note for each kind of them.
pub(crate) fn leave_out_computed(recipe: &Recipe, models: Models) -> (Models, Vec<String>) {
    let (models, note) = leave_out_ahead(recipe, models);
    let merged = recipe.merged();
    let indices: Vec<&Index> = models
        .iter()
        .filter(|(name, _)| merged.iter().any(|one| one.as_str() == name))
        .map(|(_, model)| model.index())
        .collect();
    // For each kind, the models that have it and the names of its tensors.
    let mut seen: BTreeMap<&'static str, (BTreeSet<usize>, BTreeSet<&str>)> = BTreeMap::new();
    let mut unlike: BTreeSet<&'static str> = BTreeSet::new();
    for (number, index) in indices.iter().enumerate() {
        for (name, meta) in *index {
            let Some(kind) = kind(name, meta) else { continue };
            let (models, names) = seen.entry(kind).or_default();
            models.insert(number);
            names.insert(name);
            // Floats of different types can be merged.
            let fits = |other: &Meta| {
                other.shape == meta.shape
                    && (other.dtype == meta.dtype || other.dtype.is_float() && meta.dtype.is_float())
            };
            if indices.iter().filter_map(|other| other.get(name)).any(|other| !fits(other)) {
                unlike.insert(kind);
            }
        }
    }
    let mut notes: Vec<String> = note.into_iter().collect();
    seen.retain(|kind, (models, _)| models.len() < indices.len() || unlike.contains(kind));
    for names in seen.values().map(|(_, names)| names) {
        let first = names.first().expect("one was seen");
        let (more, them) = match names.len() - 1 {
            0 => (String::new(), "it"),
            more => (format!(" and {more} more"), "them"),
        };
        notes.push(format!(
            "`{first}`{more} left out of the result: some models lack {them} or have {them} in another form, and loaders do not read {them}"
        ));
    }
    let left_out: BTreeSet<String> = seen.into_values().flat_map(|(_, names)| names).map(str::to_owned).collect();
    if left_out.is_empty() {
        return (models, notes);
    }
    let without = |model: Arc<dyn Weights>| -> Arc<dyn Weights> {
        if model.index().keys().all(|name| !left_out.contains(name)) {
            return model;
        }
        Arc::new(WeightsView::without(model, |name| left_out.contains(name)))
    };
    (models.into_iter().map(|(name, model)| (name, without(model))).collect(), notes)
}

/// Leaves out tensors that predict tokens further ahead if only some of the merged models have them.
fn leave_out_ahead(recipe: &Recipe, models: Models) -> (Models, Option<String>) {
    let merged = recipe.merged();
    let found: Vec<Option<Layers>> = models
        .iter()
        .map(|(name, model)| merged.iter().any(|one| one.as_str() == name).then(|| Layers::of(&**model)))
        .collect();
    // On a path, all are from one model. Elsewhere, they are known only if all models have as many layers.
    let counts: BTreeSet<usize> = found.iter().flatten().map(|layers| layers.count).collect();
    let is_known = models.iter().all(|(_, model)| !model.config().0.is_empty());
    if !recipe.path.is_empty() || counts.len() != 1 || !is_known {
        return (models, None);
    }
    let (mut with, mut lacking) = (None, None);
    for ((name, model), layers) in models.iter().zip(&found) {
        let Some(layers) = layers else { continue };
        let tensors: Vec<&String> = model.index().keys().filter(|name| layers.is_ahead(name)).collect();
        match tensors.first() {
            Some(first) => with = with.or(Some((name, (*first).clone(), tensors.len() - 1))),
            None => lacking = lacking.or(Some(name)),
        }
    }
    let (Some((with, first, more)), Some(lacking)) = (with, lacking) else { return (models, None) };
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let note = format!(
        "`{first}`{more} of `{with}` left out of the result: they predict tokens further ahead, and `{lacking}` has none of them"
    );
    let without = |model: Arc<dyn Weights>, layers: Option<Layers>| -> Arc<dyn Weights> {
        let Some(layers) = layers else { return model };
        let mut config = model.config().clone();
        config.leave_out_ahead(layers.count);
        Arc::new(WeightsView::without(model, |name| layers.is_ahead(name)).with_config(config))
    };
    let settled = models.into_iter().zip(found).map(|((name, model), layers)| (name, without(model, layers)));
    (settled.collect(), Some(note))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::dtype::Dtype;

    #[test]
    fn what_loaders_do_not_read_is_known_by_its_name_and_its_axes() {
        let check = |name: &str, shape: &[usize], expected: bool| {
            let meta = Meta { dtype: Dtype::F32, shape: shape.to_vec() };
            assert_eq!(kind(name, &meta).is_some(), expected, "{name}");
        };
        check("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight", &[32, 8], true);
        check("decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", &[32, 8], false);
        check("transformer.h.0.attn.causal_mask", &[1, 1, 2048, 2048], true);
        check("transformer.h.0.attn.bias", &[1, 1, 1024, 1024], true);
        check("transformer.h.0.attn.bias", &[768], false);
    }
}
