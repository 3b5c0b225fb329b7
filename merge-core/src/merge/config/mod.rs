//! The configuration of a merge: its donor's, with the changes of the merge.

pub(crate) mod alike;
mod by_layer;
mod by_number;
mod defaults;
pub(crate) mod effect;
pub(crate) mod language;
mod tensors;
pub(crate) mod unlike;
#[cfg(test)]
mod tests;

use crate::{
    error::{Error, Result},
    merge::{evomistral, plan::PlannedModels},
    model::{Config, Index, Meta, dtype::Dtype, layers::Layers},
    recipe::Recipe,
    words::counted,
};
use by_layer::{Contradiction, LayerOrigin, restack};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The donor's configuration with the result's type and layers, and notes for the user. (The donor
/// has the result's vocabulary and head already.)
///
/// Keys about single layers are made true of the stacked layers: see [`by_layer`]. Fails if that is
/// not possible, or if the number of layers changes and the configuration has no key for it.
pub(crate) fn of(
    recipe: &Recipe,
    models: &PlannedModels,
    donor: usize,
    index: &Index,
    stacked: &[Vec<(usize, usize)>],
) -> Result<(Config, Vec<String>)> {
    let model = &models[donor].1;
    let mut config = model.config().clone();
    let mut bytes: BTreeMap<Dtype, usize> = BTreeMap::new();
    for meta in index.values().filter(|meta| meta.dtype.is_float()) {
        *bytes.entry(meta.dtype).or_default() += meta.byte_len();
    }
    // The type of most bytes: many models keep a few tensors in another type.
    let dtype = bytes.into_iter().max_by_key(|(_, bytes)| *bytes).map(|(dtype, _)| dtype);
    for depth in 0..config.blocks().len() {
        let block = config.block_mut(depth);
        for key in ["torch_dtype", "dtype"] {
            if let (Some(value), Some(dtype)) = (block.get_mut(key), dtype) {
                *value = Value::from(dtype.name());
            }
        }
    }
    if let Some(tie) = recipe.tie_word_embeddings {
        config.tie(tie.value);
    }
    let mut notes = Vec::new();
    if !stacked.is_empty() && !config.0.is_empty() {
        let stacking = Stacking { recipe, models, donor, count: Layers::of(&**model).count, layers: stacked };
        notes.extend(stacking.describe(&mut config)?);
    }
    if !recipe.path.is_empty() {
        evomistral::configure(&mut config, index.get(evomistral::LAYERS).map(Meta::len));
    }
    notes.extend(tensors::correct(&mut config, index, &models[donor].0));
    Ok((config, notes))
}

/// Stacked layers, of which a configuration must be made true.
struct Stacking<'m> {
    recipe: &'m Recipe,
    models: &'m PlannedModels,
    /// Model that the configuration is of, and its number of layers.
    donor: usize,
    count: usize,
    /// Sources and layers that each layer of the result is made of.
    layers: &'m [Vec<(usize, usize)>],
}

impl<'m> Stacking<'m> {
    /// Makes the donor's configuration true of the stack, and notes layers of different kinds that are averaged.
    fn describe(&self, config: &mut Config) -> Result<Vec<String>> {
        let (count, total) = (self.count, self.layers.len());
        let counts = |block: &Map<String, Value>| {
            let counted = |key: &&str| block.get(*key).and_then(Value::as_u64) == Some(count as u64);
            language::counters(block).iter().any(counted)
        };
        let is_counted = config.blocks().iter().any(|(_, block)| counts(block));
        if total != count && !is_counted && !language::say_count(config, count) {
            let message = format!(
                "{}: config.json has no key for its {}",
                self.models[self.donor].1.place(),
                counted(count, "layer")
            );
            return Err(Error::user(message).hint("`num_hidden_layers`, or another spelling of it, is expected"));
        }
        let most = self.layers.iter().map(Vec::len).max().unwrap_or(0);
        let was = if most > 1 { config.clone() } else { Config::default() };
        let origins = self.origins(|layers| layers[0]);
        restack(config, count, &origins).map_err(|contradiction| self.refusal(&contradiction))?;
        let mut notes = Vec::new();
        for position in 1..most {
            // Layers of different numbers are different layers.
            if let Some(contradiction) =
                self.first_difference(config, &was, position, |first, other| first.1 != other.1)
            {
                return Err(self.mixed(&contradiction, position));
            }
            // Layers of one number are alike unless configurations differ; from the donor's, that is noted elsewhere.
            let is_third = |first: (usize, usize), other: (usize, usize)| {
                first.1 == other.1 && first.0 != other.0 && first.0 != self.donor && other.0 != self.donor
            };
            if let Some(contradiction) = self.first_difference(config, &was, position, is_third) {
                let what = self.what(&contradiction, position);
                notes.push(format!("{what}, and they are merged all the same"));
            }
        }
        Ok(notes)
    }

    /// One of the layers that each layer of the result is made of, chosen by `of`.
    fn origins(&self, of: impl Fn(&[(usize, usize)]) -> (usize, usize)) -> Vec<LayerOrigin<'m>> {
        let origin = |layers: &Vec<(usize, usize)>| {
            let (source, layer) = of(layers);
            LayerOrigin { config: self.models[source].1.config(), layer }
        };
        self.layers.iter().map(origin).collect()
    }

    /// First difference if the result were described by the layers at `position`, where `is_other` holds.
    fn first_difference(
        &self,
        config: &Config,
        was: &Config,
        position: usize,
        is_other: impl Fn((usize, usize), (usize, usize)) -> bool,
    ) -> Option<Contradiction> {
        let other = |layers: &[(usize, usize)]| {
            layers.get(position).copied().filter(|layer| is_other(layers[0], *layer)).unwrap_or(layers[0])
        };
        if self.layers.iter().all(|layers| other(layers) == layers[0]) {
            return None;
        }
        let mut described = was.clone();
        match restack(&mut described, self.count, &self.origins(other)) {
            Err(contradiction) => Some(contradiction),
            Ok(()) => by_layer::first_difference("", &config.0, &described.0),
        }
    }

    /// The error for a configuration that cannot be made true of the result.
    fn refusal(&self, Contradiction { said, layer }: &Contradiction) -> Error {
        let why = if let Some(layer) = layer {
            let (source, number) = self.layers[*layer][0];
            let place = self.models[source].1.place();
            format!("follows from a layer's number, and layer {layer} of the result is layer {number} of {place}")
        } else {
            let (total, count) = (self.layers.len(), self.count);
            format!("follows from how many layers there are, and the result has {total}, not {count}")
        };
        Error::user(format!("{}: config.json: `{said}` {why}", self.models[self.donor].1.place()))
            .at(self.place())
            .hint("config.json would no longer describe the weights: keep these layers where they are, or move whole periods of the pattern")
    }

    /// The error for layers of different kinds that a slice would merge.
    fn mixed(&self, contradiction: &Contradiction, position: usize) -> Error {
        Error::user(self.what(contradiction, position)).at(self.place()).hint(
            "only layers of one kind can be merged with each other: shift a `layer_range` by whole periods of the pattern, or not at all",
        )
    }

    /// Names the layers of different kinds.
    fn what(&self, Contradiction { said, layer }: &Contradiction, position: usize) -> String {
        let donor = self.models[self.donor].1.place();
        let pair = layer.and_then(|layer| Some((self.layers[layer][0], *self.layers[layer].get(position)?)));
        let Some(pair) = pair else {
            return format!("{donor}: config.json: `{said}` is not the same for all layers that become one");
        };
        let [a, b] =
            <[_; 2]>::from(pair).map(|(source, layer)| format!("layer {layer} of {}", self.models[source].1.place()));
        format!("{donor}: config.json: `{said}` makes {a} and {b} of different kinds, which become one layer")
    }

    /// Place in the recipe where layers are stacked.
    fn place(&self) -> String {
        let recipe = self.recipe;
        let place = match (recipe.path.is_empty(), recipe.slices.is_empty()) {
            (false, _) => recipe.path.place,
            (_, false) => recipe.slices.place,
            _ => recipe.modules.place,
        };
        place.of(&recipe.file)
    }
}
