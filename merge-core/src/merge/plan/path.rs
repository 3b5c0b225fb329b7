//! Plans a path: layers in the path's order, and its scales folded into weights or written beside them.

use super::{PlannedPath, Planner, alike::LayerRelation};
use crate::{
    error::{Error, Result},
    merge::{
        evomistral, fold,
        sources::{Sources, donor},
        tensor_plan::{Operand, TensorPlan},
    },
    method::{Settings, Value, passthrough::Passthrough},
    model::{
        Meta,
        dtype::Dtype,
        head::is_tied,
        layers::{Layers, is_numbered},
    },
    random::{Draws, Stream},
    recipe::PathForm,
    words::counted,
    yaml::At,
};
use std::collections::BTreeMap;

/// A hop: a layer of a source, as it is stored, and the factor of the hidden state before it.
#[derive(Clone, Copy)]
struct UsedHop<'r> {
    source: usize,
    layer: usize,
    scale: f64,
    /// Name of the model in the recipe.
    model: &'r At<String>,
}

impl<'r> Planner<'r> {
    /// Plans the recipe's path.
    pub(super) fn path(&mut self, sources: &Sources) -> Result<()> {
        let used_hops = self.used_hops(sources)?;
        let base = sources.position(donor(self.recipe));
        self.check_alike(base, &used_hops)?;
        match self.recipe.path_form.unwrap_or_default().value {
            PathForm::Plain => self.plain(base, &used_hops),
            PathForm::Evomistral => self.evomistral(base, &used_hops),
        }
    }

    /// The hops that are used. In a model that has a path of its own, a layer's number is that of a hop.
    fn used_hops(&self, sources: &Sources) -> Result<Vec<UsedHop<'r>>> {
        let recipe = self.recipe;
        let mut used_hops = Vec::new();
        for hop in recipe.path.iter() {
            let source = sources.position(&hop.model);
            let own = evomistral::path(&*self.models[source].1)?;
            let count = own.as_ref().map_or_else(|| self.layers(source, &|_| true).count, Vec::len);
            if hop.layer_range[1] > count {
                let (place, name) = (hop.layer_range.place.of(&recipe.file), &hop.model.value);
                let message = format!("{place}: layer_range: `{name}` has {}", counted(count, "layer"));
                return Err(Error::user(message).hint("a range is [first, last + 1]"));
            }
            for (layer, scale) in hop.steps() {
                let (layer, own) = own.as_ref().map_or((layer, 1.0), |path| path[layer]);
                used_hops.push(UsedHop { source, layer, scale: scale * own, model: &hop.model });
            }
        }
        if used_hops.is_empty() {
            let place = recipe.path.place.of(&recipe.file);
            let message = format!("{place}: path: no layer is used");
            return Err(Error::user(message).hint("write `use: true` for at least one layer"));
        }
        Ok(used_hops)
    }

    /// Refuses layers that cannot stand among those of the model whose configuration the result has.
    fn check_alike(&mut self, base: usize, used_hops: &[UsedHop<'r>]) -> Result<()> {
        let ours = self.shapes(base, None, &|_| true);
        let mut checked = vec![base];
        for hop in used_hops {
            if checked.contains(&hop.source) {
                continue;
            }
            checked.push(hop.source);
            let [a, b] = [base, hop.source].map(|source| &self.models[source].1);
            let place = self.place(hop.model);
            let theirs = self.shapes(hop.source, None, &|_| true);
            if let Some((name, shape)) = ours.symmetric_difference(&theirs).next() {
                let name = name.trim_start_matches('.');
                let what = format!("{} and {}: `{name}` of shape {shape:?} is not in both", a.place(), b.place());
                return Err(Error::user(what)
                    .at(place)
                    .hint("a path goes through layers of one architecture and size"));
            }
            self.check_config(base, hop.source, [LayerRelation::Stacked; 2], &place)?;
        }
        Ok(())
    }

    /// Plans the path as a model whose layers follow each other.
    fn plain(&mut self, base: usize, used_hops: &[UsedHop<'r>]) -> Result<()> {
        let (name, model) = &self.models[base];
        let layers = Layers::of(&**model);
        let is_scaled = used_hops.iter().any(|hop| hop.scale.to_bits() != 1f64.to_bits());
        if let Some(why) = fold::refusal(model.config()).filter(|_| is_scaled) {
            let message = format!("the scales of the path cannot be folded into `{name}`: {why}");
            return Err(Error::user(message)
                .at(self.recipe.path.place.of(&self.recipe.file))
                .hint("without scales, a path goes through layers of any architecture"));
        }
        let tied = is_tied(&**model)?;
        // The last norm undoes a tied embedding's factor. A norm that counts from 1 cannot, so the factor is 1.
        let first = if tied && fold::norms_count_from_one(model.config()) { 1.0 } else { used_hops[0].scale };
        for tensor in model.index().keys().filter(|tensor| is_outside(&layers, tensor)) {
            let factor = if layers.embeddings.contains(tensor) {
                first
            } else if tied && tensor.ends_with("norm.weight") && !is_numbered(tensor) {
                1.0 / first
            } else {
                1.0
            };
            self.plan_scaled(layers.outside(tensor, used_hops.len()), base, tensor, factor);
        }
        let tensors = self.by_layer(used_hops);
        let (mut product, mut hops) = (1.0, Vec::with_capacity(used_hops.len()));
        for (number, hop) in used_hops.iter().enumerate() {
            product *= hop.scale;
            let gain = if is_scaled { first / product } else { 1.0 };
            if !(product > 0.0 && (gain as f32).is_normal()) {
                let message = format!("path: the scales up to hop {number} make {product:.2e}, which does not fold");
                return Err(Error::user(message)
                    .at(self.place(hop.model))
                    .hint("scales have to be above 0, and their product near 1"));
            }
            for (rest, tensor) in &tensors[&(hop.source, hop.layer)] {
                let output = format!("{}{number}{rest}", layers.prefix);
                self.plan_scaled(output, hop.source, tensor, if fold::adds(rest) { gain } else { 1.0 });
            }
            hops.push((hop.source, hop.layer, gain));
            self.plan.stacked.push(vec![(hop.source, hop.layer)]);
        }
        self.plan.path = Some(PlannedPath { outside: base, scale: first, hops });
        Ok(())
    }

    /// Plans the path with every layer once, and the path and its scales beside them.
    fn evomistral(&mut self, base: usize, used_hops: &[UsedHop<'r>]) -> Result<()> {
        let (name, model) = &self.models[base];
        let layers = Layers::of(&**model);
        let model_type = model.config().text("model_type")?.unwrap_or_default();
        if !evomistral::TYPES.contains(&&*model_type) || layers.prefix != "model.layers." {
            let place = self.recipe.path_form.as_ref().map(|form| form.place).unwrap_or_default();
            let message =
                format!("path_form: `evomistral` is a form of Mistral models, and `{name}` is `{model_type}`");
            return Err(Error::user(message).at(place.of(&self.recipe.file)).hint("`plain` is a form of any model"));
        }
        let (mut numbers, mut scales) = (Vec::new(), Vec::new());
        for hop in used_hops {
            let layer = (hop.source, hop.layer);
            let known = self.plan.stacked.iter().position(|known| known[..] == [layer]);
            let number = known.unwrap_or(self.plan.stacked.len());
            if known.is_none() {
                self.plan.stacked.push(vec![layer]);
            }
            numbers.extend((number as i64).to_le_bytes());
            scales.extend((hop.scale as f32).to_le_bytes());
        }
        for tensor in model.index().keys().filter(|tensor| is_outside(&layers, tensor)) {
            self.plan_scaled(layers.outside(tensor, self.plan.stacked.len()), base, tensor, 1.0);
        }
        let tensors = self.by_layer(used_hops);
        for (number, of) in self.plan.stacked.clone().into_iter().enumerate() {
            let (source, layer) = of[0];
            for (rest, tensor) in &tensors[&(source, layer)] {
                self.plan_scaled(format!("{}{number}{rest}", layers.prefix), source, tensor, 1.0);
            }
        }
        for (name, dtype, bytes) in
            [(evomistral::LAYERS, Dtype::I64, numbers), (evomistral::SCALES, Dtype::F32, scales)]
        {
            self.plan.index.insert(name.to_owned(), Meta { dtype, shape: vec![used_hops.len()] });
            self.plan.plans.insert(name.to_owned(), TensorPlan::Given { bytes });
        }
        Ok(())
    }

    /// The tensors of each layer in the hops' sources: the name after the layer's number, and the whole name.
    fn by_layer(&self, used_hops: &[UsedHop<'r>]) -> BTreeMap<(usize, usize), Vec<(&'r str, &'r str)>> {
        let mut tensors: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut sources: Vec<usize> = used_hops.iter().map(|hop| hop.source).collect();
        sources.sort_unstable();
        sources.dedup();
        for source in sources {
            let model = &self.models[source].1;
            let layers = Layers::of(&**model);
            for name in model.index().keys() {
                if let Some(layer) = layers.of_tensor(name) {
                    tensors.entry((source, layer)).or_default().push((layers.rest(name), name.as_str()));
                }
            }
        }
        tensors
    }

    /// Plans a source's tensor times a factor.
    fn plan_scaled(&mut self, output: String, source: usize, tensor: &str, factor: f64) {
        let Meta { dtype: stored, shape } = self.models[source].1.index()[tensor].clone();
        let operand = Operand { source, tensor: tensor.to_owned() };
        let is_copy = factor.to_bits() == 1f64.to_bits() || !stored.is_float();
        let asked = self.recipe.out_dtype.or(self.recipe.dtype).filter(|_| stored.is_float());
        let dtype = asked.map_or(if is_copy { stored } else { stored.computed() }, |dtype| dtype.value);
        let plan = if is_copy && dtype == stored {
            TensorPlan::Same { of: vec![operand] }
        } else {
            let settings = Settings(vec![("scale", Value::Number(factor))]);
            let draws = Draws::Counter(Stream::new(0, &[&output]));
            let models = vec![(operand, settings, draws)];
            TensorPlan::Merge { method: &Passthrough, base: None, models, settings: Settings::default() }
        };
        self.plan.index.insert(output.clone(), Meta { dtype, shape });
        self.plan.plans.insert(output, plan);
    }
}

/// True if a tensor is outside the layers and not the path or its scales.
fn is_outside(layers: &Layers, tensor: &str) -> bool {
    layers.of_tensor(tensor).is_none() && ![evomistral::LAYERS, evomistral::SCALES].contains(&tensor)
}
