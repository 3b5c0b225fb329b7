//! EvoLLM-JP-v1-10B's form of a path: every layer once, and the path and its scales as two tensors.
//!
//! Hop `k` computes `h[k+1] = layer[input_layers[k]](h[k] · input_scales[k])`, with keys and values of its own
//! (SakanaAI/EvoLLM-JP-v1-10B, `modeling_evomistral.py`).

use crate::{
    error::{Error, Result},
    model::{Config, Weights},
    words::counted,
};

/// Name of the tensor with the path: the number of a layer for each hop.
pub const LAYERS: &str = "model.input_layers";
/// Name of the tensor with the scale of each hop.
pub const SCALES: &str = "model.input_scales";
/// Classes in `architectures`: of this form, and of a model whose layers follow each other.
const CLASSES: [&str; 2] = ["EvoMistralForCausalLM", "MistralForCausalLM"];
/// Kinds in `model_type`: of this form, and of a model whose layers follow each other.
pub(crate) const TYPES: [&str; 2] = ["evomistral", "mistral"];
/// Key for the number of hops.
const HOPS: &str = "num_hops";

/// The path of a model of this form: for each hop, the number of a layer and the factor of the
/// hidden state before it. `None` for any other model.
///
/// Fails if a tensor of the path is missing, if the two differ in length, or if a layer does not exist.
pub fn path(weights: &dyn Weights) -> Result<Option<Vec<(usize, f64)>>> {
    let index = weights.index();
    if !index.contains_key(LAYERS) && weights.config().text("model_type")?.as_deref() != Some(TYPES[0]) {
        return Ok(None);
    }
    let at = |e: Error| e.at(weights.place());
    let read = |name: &str| -> Result<Vec<f32>> {
        let meta = index.get(name).ok_or_else(|| at(Error::user(format!("tensor {name} is missing"))))?;
        let mut values = vec![0.0; meta.len()];
        weights.tensor(name)?.read(0, &mut values)?;
        Ok(values)
    };
    let (layers, scales) = (read(LAYERS)?, read(SCALES)?);
    if layers.len() != scales.len() {
        let (n, m) = (layers.len(), scales.len());
        return Err(at(Error::user(format!("{LAYERS} has {}, and {SCALES} {m}", counted(n, "hop")))));
    }
    let count = crate::model::layers::Layers::of(weights).count;
    let hop = |(layer, scale): (f32, f32)| {
        // A whole number below 2^24 is exact.
        let number = layer as usize;
        if layer.fract() != 0.0 || layer < 0.0 || number >= count {
            return Err(at(Error::user(format!("{LAYERS}: there is no layer {layer} of {count}"))));
        }
        Ok((number, f64::from(scale)))
    };
    layers.into_iter().zip(scales).map(hop).collect::<Result<_>>().map(Some)
}

/// Turns a configuration into one of this form with `hops` hops, or without them into that of a plain model.
pub(crate) fn configure(config: &mut Config, hops: Option<usize>) {
    let keys = &mut config.0;
    if hops.is_none() && keys.get("model_type").and_then(|name| name.as_str()) != Some(TYPES[0]) {
        return;
    }
    let form = usize::from(hops.is_none());
    keys.insert("model_type".to_owned(), TYPES[form].into());
    keys.insert("architectures".to_owned(), vec![CLASSES[form]].into());
    // It names files that are not beside the result.
    keys.shift_remove("auto_map");
    keys.shift_remove(HOPS);
    if let Some(hops) = hops {
        keys.insert(HOPS.to_owned(), hops.into());
    }
}
