//! Layers that layer paths share, each loaded once.

use super::{
    config::Blueprint,
    decoder::{Decoder, DecoderHop, factor},
    layer::Layer,
    load::WeightSource,
    outer::OuterLayers,
    prefix_cache::PrefixCache,
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

/// Layers of models, and prompt states along the first hops, shared by models with layer paths.
///
/// A model computes here the same as its merge, except for rounding: a hop's gain multiplies what
/// the layer adds to the hidden state, while the merge multiplies it into weights that are rounded
/// once. Without scales both are the same, bit for bit, unless the recipe asks for a narrower type.
pub struct Pool {
    device: Device,
    held: Mutex<HeldLayers>,
    prefix_cache: Arc<PrefixCache>,
}

/// Layers in use and their models. A model's address identifies it, and is unique while the model is held.
struct HeldLayers {
    models: Vec<(Arc<dyn Weights>, Blueprint)>,
    outer_layers: BTreeMap<usize, Arc<OuterLayers>>,
    /// Layers by number of the model and number of the layer.
    layers: BTreeMap<(usize, usize), Arc<Layer>>,
}

impl Pool {
    /// Bytes that suffice for a generation of small models, and are few beside large ones. More would never be looked
    /// up: the next generation has other items. (A generation of `recipes/sansu/layers.yaml` takes 70 MB.)
    pub const MAX_BYTES: usize = 256 << 20;

    /// An empty pool; `max_bytes` is the number of bytes of states, keys and values to keep for paths that begin alike.
    pub fn new(device: &Device, max_bytes: usize) -> Self {
        let held = HeldLayers { models: Vec::new(), outer_layers: BTreeMap::new(), layers: BTreeMap::new() };
        Self { device: device.clone(), held: Mutex::new(held), prefix_cache: Arc::new(PrefixCache::new(max_bytes)) }
    }

    /// Device of the layers.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Numbers of tokens (of prompts and answers) times hops that were looked up, and that were computed.
    pub fn counts(&self) -> [usize; 2] {
        self.prefix_cache.counts()
    }

    /// Assembles the decoder of a layer path. Reads the layers that no path has used before.
    pub(crate) fn decoder(&self, weights: &dyn Weights, path: &LayerPath) -> Result<Decoder> {
        let blueprint = Blueprint::read(weights.config()).map_err(|e| e.at(weights.place()))?;
        let mut held = self.held.lock().expect("no panic while held");
        let hops = path.hops.iter().map(|hop| {
            let layer = held.layer(&hop.source, hop.layer, &self.device)?;
            Ok(DecoderHop { layer, scale: None, gain: factor(hop.gain) })
        });
        let mut hops = hops.collect::<Result<Vec<_>>>()?;
        if let Some(first) = hops.first_mut() {
            // The merge multiplies it into the embedding.
            first.scale = factor(path.scale);
        }
        let outer = held.outer(&path.outside, &self.device)?;
        // No other device promises the same bits in every batch.
        let prefix_cache = self.device.is_cpu().then(|| Arc::clone(&self.prefix_cache));
        Ok(Decoder { blueprint, outer, hops, device: self.device.clone(), prefix_cache })
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

    fn outer(&mut self, model: &Arc<dyn Weights>, device: &Device) -> Result<Arc<OuterLayers>> {
        let number = self.model(model)?;
        if let Some(known) = self.outer_layers.get(&number) {
            return Ok(Arc::clone(known));
        }
        let (weights, blueprint) = &self.models[number];
        let loaded = Arc::new(OuterLayers::load(WeightSource { weights: &**weights, device, dot: None }, blueprint)?);
        self.outer_layers.insert(number, Arc::clone(&loaded));
        Ok(loaded)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("device", &self.device).finish_non_exhaustive()
    }
}
