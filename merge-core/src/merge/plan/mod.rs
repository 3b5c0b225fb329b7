//! Decides how every tensor of a merge is made, without reading a weight, and refuses what cannot be done as written.
//!
//! A recipe with `models` is one slice of all layers; one with `slices` stacks layers; one with
//! `modules` is either of these for each part of a model; one with a `path` is planned in `path`.
//! Tensors before the layers are merged as in the first slice, tensors after them as in the last.

mod alike;
mod counted;
mod mergekit_draws;
mod ignored;
mod modules;
mod path;

use ignored::ignored;
use modules::module_of;

use crate::{
    error::{Error, Result},
    merge::{
        evomistral,
        sources::{Sources, donor},
        tensor_plan::{Operand, TensorPlan},
    },
    method::{Base, Method, Scope, Settings, method},
    model::{Index, Meta, Weights, dtype::Dtype, layers::Layers},
    random::{Draws, Stream},
    recipe::{Fix, Parameters, Recipe, Slice, lookup},
    words::counted,
    yaml::At,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

/// Plans of all tensors of a merge, and the layers that were stacked.
pub(crate) struct MergePlan {
    pub(crate) index: Index,
    pub(crate) plans: BTreeMap<String, TensorPlan>,
    /// Sources and layers that each layer of the result's main stack is made of. `config.json`
    /// describes a layer as it describes the first of them.
    pub(crate) stacked: Vec<Vec<(usize, usize)>>,
    /// A path that computes the same without any tensor being made, if there is one.
    pub(crate) path: Option<PlannedPath>,
    /// Notes for the user.
    pub(crate) notes: Vec<String>,
}

/// A path through layers of the sources, with its scales folded: see [`LayerPath`](crate::model::LayerPath).
pub(crate) struct PlannedPath {
    pub(crate) outside: usize,
    pub(crate) scale: f64,
    /// Source, layer, gain.
    pub(crate) hops: Vec<(usize, usize, f64)>,
}

/// A range of layers of the result, and what it is made of.
struct LayerView<'r> {
    method: &'static dyn Method,
    /// Position of the base among the members.
    base: Option<usize>,
    members: Vec<Member<'r>>,
    /// Parameters, innermost first: the slice's, the module's, the recipe's.
    levels: Vec<&'r Parameters<crate::recipe::Setting>>,
    /// Place in the recipe, for errors.
    place: String,
}

/// The part of a model in a view.
struct Member<'r> {
    source: usize,
    layers: Range<usize>,
    /// The model's own parameters; `None` for a base that is not listed among the models.
    own: Option<&'r Parameters<crate::recipe::Setting>>,
    place: String,
}

/// Key of a tensor in a view: number of the layer in it and rest of the name, or `None` and the whole name.
type TensorKey = (Option<usize>, String);

/// Models that a plan is made for: the sources, or the same with another vocabulary or head.
pub(crate) type PlannedModels = [(String, Arc<dyn Weights>)];

/// Plans every tensor.
pub(crate) fn plan(recipe: &Recipe, sources: &Sources, models: &PlannedModels) -> Result<MergePlan> {
    let mut planner = Planner {
        recipe,
        models,
        donor: sources.position(donor(recipe)),
        plan: MergePlan {
            index: Index::new(),
            plans: BTreeMap::new(),
            stacked: Vec::new(),
            path: None,
            notes: ignored(recipe),
        },
    };
    planner.check_layers(sources)?;
    if !recipe.path.is_empty() {
        planner.path(sources)?;
        return Ok(planner.plan);
    }
    if recipe.modules.is_empty() {
        let names = |_: &str| true;
        let views = planner.views(sources, &recipe.models, &recipe.slices, &[&recipe.parameters], &names)?;
        planner.stack(&views, &names)?;
        planner.check_configs(&[(views, true)])?;
    } else {
        let modules: Vec<&str> = recipe.modules.iter().map(|(name, _)| name.as_str()).collect();
        planner.check_modules(sources, &modules)?;
        let mut all = Vec::new();
        for (name, module) in recipe.modules.iter() {
            let names = |tensor: &str| module_of(tensor, &modules) == Some(name.as_str());
            let levels = [&module.parameters, &recipe.parameters];
            let views = planner.views(sources, &module.models, &module.slices, &levels, &names)?;
            planner.stack(&views, &names)?;
            let member = views[0].members[0].source;
            let holds_layers = planner.layers(member, &names).prefix == planner.layers(member, &|_| true).prefix;
            all.push((views, holds_layers));
        }
        planner.check_configs(&all)?;
    }
    planner.draw()?;
    Ok(planner.plan)
}

struct Planner<'r> {
    recipe: &'r Recipe,
    models: &'r PlannedModels,
    /// Source whose configuration the result has.
    donor: usize,
    plan: MergePlan,
}

impl<'r> Planner<'r> {
    /// The views of a module: its slices, or one of all layers of its models.
    fn views(
        &self,
        sources: &Sources,
        whole: &'r [crate::recipe::Model],
        slices: &'r [Slice],
        levels: &[&'r Parameters<crate::recipe::Setting>],
        names: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<LayerView<'r>>> {
        let recipe = self.recipe;
        if slices.is_empty() {
            let members = whole.iter().map(|model| {
                let source = sources.position(&model.model);
                let layers = 0..self.layers(source, names).count;
                Member { source, layers, own: Some(&model.parameters), place: self.place(&model.model) }
            });
            let (method, base) = (&recipe.merge_method, recipe.base_model.as_ref());
            let mut view = self.view(sources, method, base, members.collect(), levels.to_vec())?;
            for member in view.members.iter_mut().filter(|member| member.own.is_none()) {
                member.layers = 0..self.layers(member.source, names).count;
            }
            return Ok(vec![view]);
        }
        let view = |slice: &'r Slice| {
            let members = slice.sources.iter().map(|one| {
                let [start, end] = one.layer_range.value;
                let source = sources.position(&one.model);
                let count = self.layers(source, names).count;
                if self.models[source].1.index().contains_key(evomistral::LAYERS) {
                    let message =
                        format!("the layers of `{}` do not follow each other: it has a path", one.model.value);
                    let error = Error::user(message).at(self.place(&one.model));
                    return Err(error.hint("a recipe with a `path` through its hops makes a plain model of it"));
                }
                if end > count {
                    let place = one.layer_range.place.of(&recipe.file);
                    let message =
                        format!("{place}: layer_range: `{}` has {}", one.model.value, counted(count, "layer"));
                    return Err(Error::user(message).hint("a range is [first, last + 1]"));
                }
                Ok(Member { source, layers: start..end, own: Some(&one.parameters), place: self.place(&one.model) })
            });
            let own = slice.merge_method.as_ref().filter(|_| self.fixed(Fix::SliceMethod));
            let method = own.unwrap_or(&recipe.merge_method);
            let base = slice.base_model.as_ref().or(recipe.base_model.as_ref());
            let levels = std::iter::once(&slice.parameters).chain(levels.iter().copied()).collect();
            self.view(sources, method, base, members.collect::<Result<_>>()?, levels)
        };
        slices.iter().map(view).collect()
    }

    /// Makes a view, and finds the base among the members or adds it to them.
    fn view(
        &self,
        sources: &Sources,
        name: &At<String>,
        base: Option<&At<String>>,
        mut members: Vec<Member<'r>>,
        levels: Vec<&'r Parameters<crate::recipe::Setting>>,
    ) -> Result<LayerView<'r>> {
        let place = self.place(name);
        let method =
            method(name).ok_or_else(|| Error::user(format!("{place}: there is no method `{}`", name.value)))?;
        let base = base.map(|base| (sources.position(base), base));
        let position = base.and_then(|(source, _)| members.iter().position(|member| member.source == source));
        let position = match (base, position) {
            (Some((source, base)), None) if !(method.base() == Base::Merged && self.fixed(Fix::ListedOnly)) => {
                let layers = members[0].layers.clone();
                members.push(Member { source, layers, own: None, place: self.place(base) });
                Some(members.len() - 1)
            }
            _ => position,
        };
        let base = position.filter(|_| method.base() != Base::Merged);
        let n = members.len() - usize::from(base.is_some());
        if !method.models().contains(&n) {
            let (least, most) = (method.models().start().to_owned(), method.models().end().to_owned());
            let wanted = match (least, most) {
                (1, 1) => "one model".to_owned(),
                (least, usize::MAX) => format!("at least {least} models"),
                (least, most) if least == most => format!("exactly {least} models"),
                (least, most) => format!("{least} to {most} models"),
            };
            let beside = if base.is_some() { " beside its base" } else { "" };
            let unlisted = position.is_some_and(|position| members[position].own.is_none() && base.is_none());
            let error = Error::user(format!("{place}: `{}` merges {wanted}{beside}, not {n}", name.value));
            return Err(if unlisted {
                error.hint("a base that is not listed counts as one more model, as in mergekit: remove `base_model`, or say `fixes: [listed_only]`")
            } else {
                error.hint("list as many models as it merges; `evomerge methods` explains each method")
            });
        }
        Ok(LayerView { method, base, members, levels, place })
    }

    /// Plans the tensors of a module's views, stacked in this order.
    fn stack(&mut self, views: &[LayerView<'r>], names: &dyn Fn(&str) -> bool) -> Result<()> {
        self.check_stack(views, names)?;
        let main = self.layers(views[0].members[0].source, names);
        let tail = if self.fixed(Fix::TailGradient) { 1.0 } else { 0.0 };
        // Layers that are stacked and that `config.json` counts.
        let is_main =
            self.is_stacked(views) && self.layers(views[0].members[0].source, &|_| true).prefix == main.prefix;
        let total = views.iter().map(|view| view.members[0].layers.len()).sum();
        let mut below = 0;
        for (number, view) in views.iter().enumerate() {
            let (first, last) = (number == 0, number + 1 == views.len());
            let count = view.members[0].layers.len();
            let donor_layers = self.layers(view.members[0].source, names);
            let wanted = |layers: &Layers, name: &str| {
                let before = layers.is_before(name);
                (first && before) || (last && !before)
            };
            let tensors: Vec<BTreeMap<TensorKey, &str>> = view
                .members
                .iter()
                .map(|member| {
                    let index = self.models[member.source].1.index();
                    let layers = self.layers(member.source, names);
                    let key = |name: &'r str| match layers.of_tensor(name) {
                        Some(layer) => {
                            let rest = layers.rest(name).to_owned();
                            member.layers.contains(&layer).then(|| (Some(layer - member.layers.start), rest))
                        }
                        None => wanted(&layers, name).then(|| (None, layers.outside(name, total))),
                    };
                    index
                        .keys()
                        .filter(|name| names(name))
                        .filter_map(|name| Some((key(name)?, name.as_str())))
                        .collect()
                })
                .collect();
            for (member, theirs) in view.members.iter().zip(&tensors).skip(1) {
                self.comparable(&view.members[0], &tensors[0], member, theirs).map_err(|e| e.at(&member.place))?;
            }
            for key in tensors[0].keys() {
                let inputs: Vec<&str> = tensors.iter().map(|theirs| theirs[key]).collect();
                let (output, t) = match key {
                    (Some(layer), rest) => {
                        let t = if count > 1 { *layer as f64 / (count - 1) as f64 } else { 1.0 };
                        (format!("{}{}{rest}", main.prefix, below + layer), t)
                    }
                    (None, name) if donor_layers.is_before(inputs[0]) || donor_layers.is_in_other(inputs[0]) => {
                        (name.clone(), donor_layers.depth(inputs[0]))
                    }
                    (None, name) => (name.clone(), tail),
                };
                self.tensor(view, output, &inputs, t)?;
            }
            if is_main {
                let of = |layer: usize| {
                    view.members.iter().map(|member| (member.source, member.layers.start + layer)).collect()
                };
                self.plan.stacked.extend((0..count).map(of));
            }
            below += count;
        }
        Ok(())
    }

    /// True if views are slices, rather than all layers of models.
    fn is_stacked(&self, views: &[LayerView<'r>]) -> bool {
        let all = |member: &Member<'_>| member.layers == (0..self.layers(member.source, &|_| true).count);
        views.len() > 1 || !views[0].members.iter().all(all)
    }

    /// Plans one tensor of a view, at depth `t`.
    fn tensor(&mut self, view: &LayerView<'r>, output: String, inputs: &[&str], t: f64) -> Result<()> {
        let meta = |member: usize| &self.models[view.members[member].source].1.index()[inputs[member]];
        let dtypes: Vec<Dtype> = (0..inputs.len()).map(|member| meta(member).dtype).collect();
        let operand =
            |member: usize| Operand { source: view.members[member].source, tensor: inputs[member].to_owned() };
        let shape = meta(0).shape.clone();
        let out = self.recipe.out_dtype.or(self.recipe.dtype).map(|dtype| dtype.value);
        let others = || (0..inputs.len()).filter(|member| Some(*member) != view.base);
        if dtypes.iter().any(|dtype| !dtype.is_float()) {
            if let Some(other) = dtypes.iter().find(|dtype| **dtype != dtypes[0]) {
                let message =
                    format!("`{output}` is {} in one model and {} in another", dtypes[0].name(), other.name());
                return Err(Error::user(message)
                    .at(&view.place)
                    .hint("tensors of whole numbers are copied, so they must be the same in all models"));
            }
            self.plan.index.insert(output.clone(), Meta { dtype: dtypes[0], shape });
            self.plan.plans.insert(output, TensorPlan::Same { of: (0..inputs.len()).map(operand).collect() });
            return Ok(());
        }
        let merge = Self::settings(view, Scope::Merge, None, &output, &output, t)?;
        let own = |member: usize| Self::settings(view, Scope::Model, Some(member), inputs[member], &output, t);
        let models: Vec<(Operand, Settings)> =
            others().map(|member| Ok((operand(member), own(member)?))).collect::<Result<_>>()?;
        let settings: Vec<Settings> = models.iter().map(|(_, settings)| settings.clone()).collect();
        if let Some(why) = view.method.refusal(&merge, &settings) {
            let error = Error::user(format!("{}: `{output}`: {why}", view.place));
            return Err(error.hint("change the parameters; `evomerge methods` explains them"));
        }
        let is_copy = view.method.name() == "passthrough" && settings[0].number("scale").to_bits() == 1f64.to_bits();
        let stored = dtypes.iter().copied().reduce(Dtype::promote).unwrap_or(Dtype::F32);
        let dtype = out.unwrap_or(if is_copy { dtypes[0] } else { stored.computed() });
        let plan = if is_copy && dtype == dtypes[0] {
            TensorPlan::Same { of: vec![operand(0)] }
        } else {
            let seed = self.recipe.random.as_ref().map_or(0, |random| random.seed);
            let models = models.into_iter().enumerate().map(|(position, (operand, settings))| {
                // By position, not by name: a model that has been moved draws the same mask.
                let draws = Draws::Counter(Stream::new(seed, &[&position.to_string(), &output]));
                (operand, settings, draws)
            });
            let (models, base) = (models.collect(), view.base.map(operand));
            TensorPlan::Merge { method: view.method, base, models, settings: merge }
        };
        self.plan.index.insert(output.clone(), Meta { dtype, shape });
        self.plan.plans.insert(output, plan);
        Ok(())
    }

    /// Settings of the merge, or of a member, for a tensor at depth `t`.
    fn settings(
        view: &LayerView<'r>,
        scope: Scope,
        member: Option<usize>,
        name: &str,
        output: &str,
        t: f64,
    ) -> Result<Settings> {
        let params = view.method.params().iter().filter(|param| param.scope == scope);
        let member = member.map(|member| &view.members[member]);
        let values = params.map(|param| {
            let own = member.and_then(|member| member.own).into_iter();
            let value = lookup(own.chain(view.levels.iter().copied()), param, name, t).ok_or_else(|| {
                let place = member.map_or(&view.place, |member| &member.place);
                Error::user(format!("{place}: `{}` is not set for `{output}`", param.name))
                    .hint(format!("add it to the model's `parameters`, or to the recipe's ({})", param.help))
            })?;
            Ok((param.name, value))
        });
        values.collect::<Result<_>>().map(Settings)
    }

    /// Refuses modules that leave out a tensor.
    fn check_modules(&self, sources: &Sources, modules: &[&str]) -> Result<()> {
        let named: BTreeSet<usize> = self.recipe.references().iter().map(|one| sources.position(one)).collect();
        for source in named {
            let index = self.models[source].1.index();
            if let Some(left) = index.keys().find(|name| module_of(name, modules).is_none()) {
                let place = self.recipe.modules.place.of(&self.recipe.file);
                let message =
                    format!("{place}: modules: `{left}` of `{}` belongs to none of them", self.models[source].0);
                return Err(Error::user(message).hint("add its module, or `default` for all that is left"));
            }
        }
        Ok(())
    }

    fn fixed(&self, fix: Fix) -> bool {
        self.recipe.fixes.iter().any(|asked| asked.value == fix)
    }

    fn layers(&self, source: usize, names: &dyn Fn(&str) -> bool) -> Layers {
        let model = &self.models[source].1;
        // Tensors without a configuration use the donor's.
        let own = Some(model.config()).filter(|config| !config.0.is_empty());
        Layers::within(model.index(), own.unwrap_or(self.models[self.donor].1.config()), names)
    }

    fn place(&self, reference: &At<String>) -> String {
        reference.place.of(&self.recipe.file)
    }
}
