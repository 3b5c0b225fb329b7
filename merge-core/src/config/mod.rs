//! The configuration of a merge: its donor's, with what merging changes.

pub(crate) mod alike;
mod by_layer;
mod by_number;
pub(crate) mod effect;
pub(crate) mod language;
mod tensors;
#[cfg(test)]
mod tests;

use crate::{
    dtype::Dtype,
    error::{Error, Result},
    evomistral,
    names::Layers,
    plan::Models,
    recipe::Recipe,
    weights::{Config, Index, Meta},
};
use by_layer::{Origin, Untrue, restack};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The donor's configuration with the result's type and layers, and what the user should know of it. (Its vocabulary and head
/// are the donor's already.)
///
/// What it says of single layers is made true of the layers as they are stacked: see [`by_layer`]. Fails where that cannot be,
/// and if the number of layers changes and the configuration does not say where it is kept.
pub(crate) fn of(
    recipe: &Recipe,
    models: &Models,
    donor: usize,
    index: &Index,
    stacked: &[(usize, usize)],
) -> Result<(Config, Vec<String>)> {
    let model = &models[donor].1;
    let mut config = model.config().clone();
    let mut bytes: BTreeMap<Dtype, usize> = BTreeMap::new();
    for meta in index.values().filter(|meta| meta.dtype.is_float()) {
        *bytes.entry(meta.dtype).or_default() += meta.byte_len();
    }
    // The type of most of it: a few tensors are kept in another in many models.
    let dtype = bytes.into_iter().max_by_key(|(_, bytes)| *bytes).map(|(dtype, _)| dtype);
    for depth in 0..config.blocks().len() {
        let block = config.block_mut(depth);
        for key in ["torch_dtype", "dtype"] {
            if let (Some(value), Some(dtype)) = (block.get_mut(key), dtype) {
                *value = Value::from(dtype.name());
            }
        }
        if let (Some(tie), true) = (recipe.tie_word_embeddings, depth == 0 || block.contains_key("tie_word_embeddings"))
        {
            block.insert("tie_word_embeddings".to_owned(), tie.value.into());
        }
    }
    if !stacked.is_empty() && !config.0.is_empty() {
        let count = Layers::of(&**model).count;
        let counts = |block: &Map<String, Value>| {
            let counted = |key: &&str| block.get(*key).and_then(Value::as_u64) == Some(count as u64);
            language::counters(block).iter().any(counted)
        };
        if stacked.len() != count && !config.blocks().iter().any(|(_, block)| counts(block)) {
            let message = format!("{}: config.json has no key for its {count} layers", model.place());
            return Err(Error::user(message).hint("`num_hidden_layers`, or another spelling of it, is expected"));
        }
        let origin = |&(source, layer): &(usize, usize)| Origin { config: models[source].1.config(), layer };
        let origins: Vec<Origin<'_>> = stacked.iter().map(origin).collect();
        restack(&mut config, count, &origins)
            .map_err(|untrue| refusal(&untrue, recipe, models, donor, count, stacked))?;
    }
    if !recipe.path.is_empty() {
        evomistral::configure(&mut config, index.get(evomistral::LAYERS).map(Meta::len));
    }
    let notes = tensors::correct(&mut config, index, &models[donor].0);
    Ok((config, notes))
}

/// The error for a configuration that cannot be made true of the result.
fn refusal(
    Untrue { said, layer }: &Untrue,
    recipe: &Recipe,
    models: &Models,
    donor: usize,
    count: usize,
    stacked: &[(usize, usize)],
) -> Error {
    let why = match layer.map(|layer| (layer, stacked[layer])) {
        Some((layer, (source, number))) => {
            let place = models[source].1.place();
            format!("follows from a layer's number, and layer {layer} of the result is layer {number} of {place}")
        }
        None => format!("follows from how many layers there are, and the result has {}, not {count}", stacked.len()),
    };
    let place = match (recipe.path.is_empty(), recipe.slices.is_empty()) {
        (false, _) => recipe.path.place,
        (_, false) => recipe.slices.place,
        _ => recipe.modules.place,
    };
    Error::user(format!("{}: config.json: `{said}` {why}", models[donor].1.place()))
        .at(place.of(&recipe.file))
        .hint("config.json would no longer describe the weights: keep these layers where they are, or move whole periods of the pattern")
}
