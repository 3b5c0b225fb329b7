//! A path: layers of models in the order in which the hidden state passes through them, repeats included.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize};

use super::{
    reference::{self, WrittenReference as Name},
    setting::{Curve, Setting},
};
use crate::{
    method::{Domain, Value},
    yaml::At,
};

/// Largest number of hops in a path: nested `repeats` must not fill the memory.
const MOST_HOPS: usize = 10_000;

/// Domain of a hop's scale.
pub(crate) const SCALE: Domain = Domain::Number { min: f64::MIN_POSITIVE, max: f64::MAX };

/// Neighbouring layers of a model that the hidden state passes through: hop `k` computes
/// `h[k+1] = layer(h[k] · scale[k])` (Akiba et al. 2024, <https://arxiv.org/abs/2403.13187>).
///
/// A list with one value for each layer gives each layer its own; any other list is a gradient over the layers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hop<S = Setting> {
    /// The model, named as under `models`.
    pub model: At<String>,
    /// `[start, end]`: from layer `start`, counted from 0, up to but not including layer `end`.
    pub layer_range: At<[usize; 2]>,
    /// True if the state passes through a layer, false if it skips it; default: true.
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    pub use_: Option<At<S>>,
    /// Factor of the hidden state before a layer; default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<At<S>>,
}

/// Form in which the result of a path is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PathForm {
    /// A checkpoint of the models' own architecture: one layer for each step, scales folded into the weights.
    #[default]
    Plain,
    /// The form of EvoLLM-JP-v1-10B: each layer once, and beside the layers the path and its scales
    /// as `model.input_layers` and `model.input_scales`.
    Evomistral,
}

impl<S> Hop<S> {
    /// Number of layers in the range.
    pub fn count(&self) -> usize {
        let [start, end] = self.layer_range.value;
        end.saturating_sub(start)
    }

    pub(super) fn map<T>(&self, replace: &mut impl FnMut(&S) -> T) -> Hop<T> {
        let mut each = |setting: &Option<At<S>>| {
            setting.as_ref().map(|setting| At { value: replace(&setting.value), place: setting.place })
        };
        let (use_, scale) = (each(&self.use_), each(&self.scale));
        Hop { model: self.model.clone(), layer_range: self.layer_range, use_, scale }
    }

    /// The settings that are given, each with its key: `use` before `scale`.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (&'static str, &At<S>)> {
        let all = [("use", &self.use_), ("scale", &self.scale)];
        all.into_iter().filter_map(|(key, setting)| Some((key, setting.as_ref()?)))
    }
}

impl Hop {
    /// Sets the scale of every unused layer to 1. Changes nothing unless both `use` and `scale` are given.
    pub(crate) fn reset_unused_scales(&mut self) {
        let count = self.count();
        let (Some(used), Some(scale)) = (&self.use_, &mut self.scale) else { return };
        let mut values = (0..count).map(|layer| {
            let is_used = used.of_layer(Domain::Flag, layer, count) != Some(Value::Flag(false));
            if is_used { scale.of_layer(SCALE, layer, count) } else { Some(Value::Number(1.0)) }
        });
        if let Some(values) = values.by_ref().collect() {
            scale.value = Setting::Always(Curve::of(values));
        }
    }

    /// The layers that the state passes through, each with its factor.
    pub fn steps(&self) -> impl Iterator<Item = (usize, f64)> {
        let ([start, end], count) = (self.layer_range.value, self.count());
        let value = move |setting: &Option<At<Setting>>, domain, layer: usize| {
            setting.as_ref().and_then(|setting| setting.of_layer(domain, layer - start, count))
        };
        let used = move |layer: &usize| value(&self.use_, Domain::Flag, *layer) != Some(Value::Flag(false));
        let scale = move |layer| match value(&self.scale, SCALE, layer) {
            Some(Value::Number(scale)) => scale,
            _ => 1.0,
        };
        (start..end).filter(used).map(move |layer| (layer, scale(layer)))
    }
}

/// A part of a path as written: one hop, or repeated hops.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "PathBlock<S>", bound(deserialize = "S: Deserialize<'de> + Clone"))]
pub(super) struct PathPart<S>(Vec<Hop<S>>);

/// Layers that the hidden state passes through, or a list of hops that is repeated.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, bound(deserialize = "S: Deserialize<'de> + Clone"))]
#[schemars(
    bound = "S: JsonSchema",
    extend("oneOf" = [{"required": ["model", "layer_range"]}, {"required": ["repeats", "hops"]}])
)]
struct PathBlock<S> {
    /// The model, named as under `models`.
    #[serde(default, deserialize_with = "reference::text_if_any")]
    #[schemars(with = "Option<Name>")]
    model: Option<At<String>>,
    /// `[start, end]`: from layer `start`, counted from 0, up to but not including layer `end`.
    layer_range: Option<At<[usize; 2]>>,
    /// True if the state passes through a layer, false if it skips it; default: true. A list has one for each layer.
    #[serde(rename = "use")]
    use_: Option<At<S>>,
    /// Factor of the hidden state before a layer, above 0; default: 1. A list has a value for each layer.
    scale: Option<At<S>>,
    /// Number of times that the state passes through all of `hops`.
    #[schemars(range(min = 1))]
    repeats: Option<At<usize>>,
    /// The hops to repeat.
    #[schemars(length(min = 1))]
    hops: Option<Vec<At<PathPart<S>>>>,
}

/// Reads a path with its `repeats` as a flat list, for `deserialize_with`.
pub(super) fn deserialize_flat<'de, D: Deserializer<'de>, S: Deserialize<'de> + Clone>(
    deserializer: D,
) -> Result<At<Vec<Hop<S>>>, D::Error> {
    let written = Option::<At<Vec<At<PathPart<S>>>>>::deserialize(deserializer)?.unwrap_or_default();
    Ok(At { value: join(written.value), place: written.place })
}

fn join<S>(stretches: Vec<At<PathPart<S>>>) -> Vec<Hop<S>> {
    stretches.into_iter().flat_map(|stretch| stretch.value.0).collect()
}

impl<S: Clone> TryFrom<PathBlock<S>> for PathPart<S> {
    type Error = String;

    fn try_from(block: PathBlock<S>) -> Result<Self, String> {
        let missing = |key: &str| format!("`{key}` is missing");
        match block {
            PathBlock {
                repeats: Some(repeats),
                hops: Some(hops),
                model: None,
                layer_range: None,
                use_: None,
                scale: None,
            } => {
                let hops = join(hops);
                match repeats.value.checked_mul(hops.len()) {
                    Some(0) => Err("`repeats` must be at least 1, and `hops` must not be empty\nto leave layers out, write `use: false`".to_owned()),
                    Some(..=MOST_HOPS) => Ok(Self(std::iter::repeat_n(hops, repeats.value).flatten().collect())),
                    _ => Err(format!("these are more than {MOST_HOPS} hops\nrepeat them fewer times")),
                }
            }
            PathBlock { repeats: None, hops: None, model, layer_range, use_, scale } => {
                let model = model.ok_or_else(|| missing("model"))?;
                let layer_range = layer_range.ok_or_else(|| missing("layer_range"))?;
                Ok(Self(vec![Hop { model, layer_range, use_, scale }]))
            }
            PathBlock { repeats: None, .. } => Err(missing("repeats")),
            PathBlock { hops: None, .. } => Err(missing("hops")),
            _ => Err("this is half a hop and half a repetition\nwrite `{model, layer_range}` or `{repeats, hops}`"
                .to_owned()),
        }
    }
}

impl<S: JsonSchema> JsonSchema for PathPart<S> {
    fn schema_name() -> Cow<'static, str> {
        "Hop".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        PathBlock::<S>::json_schema(generator)
    }
}
