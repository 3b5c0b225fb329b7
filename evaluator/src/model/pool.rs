//! Layers that paths go through, each loaded once for all of them.

use super::{
    beginnings::Beginnings,
    config::Blueprint,
    decoder::{Decoder, DecoderHop, factor},
    layer::Layer,
    load::WeightSource,
    outside::OuterLayers,
};
use candle_core::Device;
use merge_core::{
    error::Result,
    model::{LayerPath, Weights},
};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex},
};

/// Layers of models, and what was computed of prompts along the beginnings of paths: models that are paths share both.
///
/// What a path computes here is what its merge computes, but for rounding: a hop's gain multiplies what a layer adds to the
/// hidden state, where the merge has it multiplied into weights that are rounded once. Without scales both are the same, bit
/// for bit, if the recipe asks for no narrower type.
pub struct Pool {
    device: Device,
    held: Mutex<HeldLayers>,
    beginnings: Arc<Beginnings>,
}

/// A model whose layers are in use. Its address is its name, which no other has while it is held.
struct HeldLayers {
    models: Vec<(Arc<dyn Weights>, Blueprint)>,
    outsides: BTreeMap<usize, Arc<OuterLayers>>,
    /// By model and number.
    layers: BTreeMap<(usize, usize), Arc<Layer>>,
}

impl Pool {
    /// Bytes that are enough for what a generation of small models shares, and no burden beside large ones. More than that is
    /// never looked up again: the next generation has other items. (One of `recipes/sansu/layers.yaml` takes 70 MB.)
    pub const ROOM: usize = 256 << 20;

    /// No layer yet; `room` is how many bytes of states, keys and values are kept for paths that begin alike.
    pub fn new(device: &Device, room: usize) -> Self {
        let held = HeldLayers { models: Vec::new(), outsides: BTreeMap::new(), layers: BTreeMap::new() };
        Self { device: device.clone(), held: Mutex::new(held), beginnings: Arc::new(Beginnings::new(room)) }
    }

    /// Where the layers are.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Tokens of prompts and answers, times the hops of their paths: how many were looked up, and how many computed.
    pub fn counts(&self) -> [usize; 2] {
        self.beginnings.counts()
    }

    /// Puts a path's layers together. Reads those that no path has gone through before.
    pub(crate) fn decoder(&self, weights: &dyn Weights, path: &LayerPath) -> Result<Decoder> {
        let blueprint = Blueprint::read(weights.config()).map_err(|e| e.at(weights.place()))?;
        let mut held = self.held.lock().expect("no panic while held");
        let hops = path.hops.iter().map(|hop| {
            let layer = held.layer(&hop.source, hop.layer, &self.device)?;
            Ok(DecoderHop { layer, scale: None, gain: factor(hop.gain) })
        });
        let mut hops = hops.collect::<Result<Vec<_>>>()?;
        if let Some(first) = hops.first_mut() {
            // Where the merge has it multiplied into the embedding.
            first.scale = factor(path.scale);
        }
        let outside = held.outside(&path.outside, &self.device)?;
        // No other device promises the same bits in other company.
        let beginnings = self.device.is_cpu().then(|| Arc::clone(&self.beginnings));
        Ok(Decoder { blueprint, outside, hops, device: self.device.clone(), beginnings })
    }
}

impl HeldLayers {
    fn model(&mut self, model: &Arc<dyn Weights>) -> Result<usize> {
        let same =
            |(known, _): &(Arc<dyn Weights>, Blueprint)| std::ptr::addr_eq(Arc::as_ptr(known), Arc::as_ptr(model));
        if let Some(number) = self.models.iter().position(same) {
            return Ok(number);
        }
        let blueprint = Blueprint::read(model.config()).map_err(|e| e.at(model.place()))?;
        self.models.push((Arc::clone(model), blueprint));
        Ok(self.models.len() - 1)
    }

    fn layer(&mut self, model: &Arc<dyn Weights>, layer: usize, device: &Device) -> Result<Arc<Layer>> {
        let number = self.model(model)?;
        if let Some(known) = self.layers.get(&(number, layer)) {
            return Ok(Arc::clone(known));
        }
        let (weights, blueprint) = &self.models[number];
        let loaded = Arc::new(Layer::load(WeightSource { weights: &**weights, device, dot: None }, blueprint, layer)?);
        self.layers.insert((number, layer), Arc::clone(&loaded));
        Ok(loaded)
    }

    fn outside(&mut self, model: &Arc<dyn Weights>, device: &Device) -> Result<Arc<OuterLayers>> {
        let number = self.model(model)?;
        if let Some(known) = self.outsides.get(&number) {
            return Ok(Arc::clone(known));
        }
        let (weights, blueprint) = &self.models[number];
        let loaded = Arc::new(OuterLayers::load(WeightSource { weights: &**weights, device, dot: None }, blueprint)?);
        self.outsides.insert(number, Arc::clone(&loaded));
        Ok(loaded)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("device", &self.device).finish_non_exhaustive()
    }
}
