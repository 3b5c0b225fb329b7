//! The configuration of a merge: its donor's, with what merging changes.

use crate::{
    dtype::Dtype,
    error::{Error, Result},
    evomistral,
    names::Layers,
    plan::Models,
    recipe::Recipe,
    weights::{Config, Index, Meta},
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The keys that count a model's layers.
const LAYERS: [&str; 4] = ["num_hidden_layers", "n_layer", "num_layers", "n_layers"];

/// The donor's configuration with the result's type and layers. (Its vocabulary and head are the donor's already.)
///
/// Lists with an entry for each layer, such as `layer_types`, are stacked as the layers are. Fails if the number of layers
/// changes and the configuration does not say where it is kept.
pub(crate) fn of(
    recipe: &Recipe,
    models: &Models,
    donor: usize,
    index: &Index,
    stacked: &[(usize, usize)],
) -> Result<Config> {
    let mut config = models[donor].1.config().clone();
    let mut bytes: BTreeMap<Dtype, usize> = BTreeMap::new();
    for meta in index.values().filter(|meta| meta.dtype.is_float()) {
        *bytes.entry(meta.dtype).or_default() += meta.byte_len();
    }
    // The type of most of it: a few tensors are kept in another in many models.
    let dtype = bytes.into_iter().max_by_key(|(_, bytes)| *bytes).map(|(dtype, _)| dtype);
    let is_stacked = !stacked.is_empty();
    let count = Layers::of(models[donor].1.index()).count;
    let mut counted = false;
    for part in ["", "text_config"] {
        let Some(own) = part_mut(&mut config.0, part) else { continue };
        for key in ["torch_dtype", "dtype"] {
            if let (Some(value), Some(dtype)) = (own.get_mut(key), dtype) {
                *value = Value::from(dtype.name());
            }
        }
        if let (Some(tie), true) =
            (recipe.tie_word_embeddings, part.is_empty() || own.contains_key("tie_word_embeddings"))
        {
            own.insert("tie_word_embeddings".to_owned(), tie.value.into());
        }
        if !is_stacked {
            continue;
        }
        for (key, value) in own.iter_mut() {
            if LAYERS.contains(&key.as_str()) && value.as_u64() == Some(count as u64) {
                (*value, counted) = (Value::from(stacked.len()), true);
            } else if value.as_array().is_some_and(|list| list.len() == count && count > 1) {
                *value =
                    stacked.iter().map(|(source, layer)| of_layer(models, *source, part, key, *layer, value)).collect();
            }
        }
    }
    if is_stacked && stacked.len() != count && !counted && !config.0.is_empty() {
        let message = format!("{}: config.json has no key for its {count} layers", models[donor].1.place());
        return Err(Error::user(message).hint(format!("one of {} is expected", LAYERS.join(", "))));
    }
    if !recipe.path.is_empty() {
        evomistral::configure(&mut config, index.get(evomistral::LAYERS).map(Meta::len));
    }
    Ok(config)
}

/// What a configuration says of layers by their number alone, if it does: in another order they would compute something else.
pub(crate) fn by_number(config: &Config) -> Option<&'static str> {
    let part = config.0.get("text_config").and_then(Value::as_object).unwrap_or(&config.0);
    let is_on = |key: &str| part.get(key).and_then(Value::as_bool) == Some(true);
    let name = part.get("model_type").and_then(Value::as_str).unwrap_or_default();
    let has_windows = is_on("use_sliding_window") || ["gemma2", "gemma3_text", "cohere2"].contains(&name);
    let is_sparse = part.get("decoder_sparse_step").and_then(Value::as_u64).is_some_and(|step| step > 1);
    let has_dense = part.get("mlp_only_layers").and_then(Value::as_array).is_some_and(|layers| !layers.is_empty());
    if is_on("scale_attn_by_inverse_layer_idx") {
        Some("scale_attn_by_inverse_layer_idx")
    } else if has_windows && !part.contains_key("layer_types") {
        Some("the sliding window, without `layer_types`,")
    } else if is_sparse || has_dense {
        Some("which of them has experts")
    } else {
        None
    }
}

fn part_mut<'c>(config: &'c mut Map<String, Value>, part: &str) -> Option<&'c mut Map<String, Value>> {
    if part.is_empty() { Some(config) } else { config.get_mut(part)?.as_object_mut() }
}

/// A layer's entry in a list of its own model's configuration, or of the donor's if that has no such list.
fn of_layer(models: &Models, source: usize, part: &str, key: &str, layer: usize, donors: &Value) -> Value {
    let config = &models[source].1.config().0;
    let own = if part.is_empty() { config.get(key) } else { config.get(part).and_then(|part| part.get(key)) };
    own.and_then(|list| list.get(layer)).or_else(|| donors.get(layer)).cloned().unwrap_or(Value::Null)
}
