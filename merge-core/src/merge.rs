//! A merge that is not computed yet: every refusal made, every tensor's settings decided, no weight read.

use crate::{
    checkpoint::Checkpoint,
    dtype::Dtype,
    error::{Error, Result},
    method::{BLOCK, Base, Block, Input, Inputs, Method, Scope, Settings, Stored, method},
    names::Layers,
    random::Stream,
    recipe::{At, Recipe, resolve},
    weights::{Config, Index, Meta, Weights},
};
use pulp::Arch;
use rayon::prelude::*;
use serde_json::Value as Json;
use std::{borrow::Cow, collections::BTreeMap, path::Path};

/// The checkpoints a recipe names, mapped.
pub struct Sources {
    /// In recipe order, each once, the base last if it is not among the models.
    checkpoints: Vec<(String, Checkpoint)>,
}

impl Sources {
    /// Maps every checkpoint that a recipe or a template names.
    ///
    /// Fails if one cannot be found or is damaged.
    pub fn open<S>(recipe: &Recipe<S>) -> Result<Self> {
        let models = recipe.models.iter().map(|model| &model.model);
        let mut checkpoints: Vec<(String, Checkpoint)> = Vec::new();
        for reference in models.chain(&recipe.base_model) {
            if checkpoints.iter().all(|(name, _)| *name != reference.value) {
                let dir = resolve(&recipe.file, reference)?;
                let checkpoint = Checkpoint::open(&dir).map_err(|e| e.at(reference.place.of(&recipe.file)))?;
                checkpoints.push((reference.value.clone(), checkpoint));
            }
        }
        Ok(Self { checkpoints })
    }

    /// The checkpoint that the recipe calls `name`.
    ///
    /// # Panics
    /// If the recipe these were opened for does not name it.
    pub fn get(&self, name: &str) -> &Checkpoint {
        let found = self.checkpoints.iter().find(|(known, _)| known == name);
        &found.unwrap_or_else(|| panic!("`{name}` was not opened")).1
    }

    fn entry(&self, name: &str) -> Option<(&str, &Checkpoint)> {
        self.iter().find(|(known, _)| *known == name)
    }

    /// Names and checkpoints, in recipe order, the base last if it is not among the models.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Checkpoint)> {
        self.checkpoints.iter().map(|(name, checkpoint)| (name.as_str(), checkpoint))
    }

    /// The layers of the model that gives the result its configuration.
    pub fn layers<S>(&self, recipe: &Recipe<S>) -> Layers {
        Layers::of(self.get(donor(recipe)).index())
    }

    /// The directories, which an output must not be.
    pub fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.checkpoints.iter().map(|(_, checkpoint)| checkpoint.dir())
    }

    /// The SHA-256 of the files of every checkpoint, by file name. Reads every byte.
    pub fn sha256(&self) -> Result<Vec<(String, BTreeMap<String, String>)>> {
        self.iter().map(|(name, checkpoint)| Ok((name.to_owned(), checkpoint.sha256()?))).collect()
    }

    /// What tables call the checkpoints: the last part of a name, or all of it where two would be called the same.
    pub fn labels(&self) -> Vec<String> {
        let short: Vec<String> = self.iter().map(|(name, _)| short(name)).collect();
        let unique = |label: &String| short.iter().filter(|other| *other == label).count() == 1;
        self.iter()
            .zip(&short)
            .map(|((name, _), label)| if unique(label) { label.clone() } else { name.to_owned() })
            .collect()
    }
}

/// A merge as a model: tensors are computed when they are asked for, and asking twice gives the same bytes.
pub struct Merge<'s> {
    method: &'static dyn Method,
    config: Config,
    index: Index,
    /// Whose configuration, tokenizer and tensor names the result has.
    donor: &'s Checkpoint,
    base: Option<&'s Checkpoint>,
    models: Vec<(&'s str, &'s Checkpoint)>,
    /// Every tensor's parameters: of the merge, and of each model.
    settings: BTreeMap<String, (Settings, Vec<Settings>)>,
    seed: u64,
}

impl<'s> Merge<'s> {
    /// Decides everything about a merge without reading a weight.
    ///
    /// Fails if the models cannot be merged exactly as the recipe says: if one lacks a tensor or has one more, if shapes
    /// differ, or if the method has no result for the parameters.
    pub fn plan(recipe: &Recipe, sources: &'s Sources) -> Result<Self> {
        let method = method(&recipe.merge_method)
            .ok_or_else(|| Error::user(format!("there is no method `{}`", recipe.merge_method.value)))?;
        let donor = sources.get(donor(recipe));
        let roles = roles(recipe, method.base())?;
        for role in &roles {
            comparable(donor, sources.get(role.reference)).map_err(|e| e.at(&role.place))?;
        }
        let layers = Layers::of(donor.index());
        let mut settings = BTreeMap::new();
        for name in donor.index().keys() {
            settings.insert(name.clone(), parameters(recipe, method, &roles, name, layers.depth(name))?);
        }
        let base = recipe.base_model.as_ref().filter(|_| method.base() == Base::Required);
        let base = base.map(|base| sources.get(base));
        let models: Vec<_> = roles.iter().filter_map(|role| sources.entry(role.reference)).collect();
        let out = recipe.out_dtype.or(recipe.dtype).map(|dtype| dtype.value);
        let index: Index = donor
            .index()
            .iter()
            .map(|(name, meta)| {
                let stored = models.iter().map(|(_, model)| *model).chain(base).map(|model| model.index()[name].dtype);
                let dtype = out.or_else(|| stored.reduce(Dtype::promote)).unwrap_or(meta.dtype);
                (name.clone(), Meta { dtype, shape: meta.shape.clone() })
            })
            .collect();
        let config = output_config(donor.config(), &index);
        let seed = recipe.random.as_ref().map_or(0, |random| random.seed);
        Ok(Self { method, config, index, donor, base, models, settings, seed })
    }

    /// One tensor of every model, with its parameters.
    fn inputs(&self, name: &str) -> Result<Inputs<'s>> {
        let (merge, settings) =
            self.settings.get(name).ok_or_else(|| Error::user(format!("there is no tensor `{name}`")))?;
        let stored = |model: &'s Checkpoint| Result::Ok(Stored::new(model.index()[name].dtype, model.bytes(name)?));
        let models = self.models.iter().zip(settings).enumerate().map(|(position, ((_, model), settings))| {
            // The position, not the name: a model that has been moved draws the same mask.
            let stream = Stream::new(self.seed, &[&position.to_string(), name]);
            Ok(Input { values: stored(model)?, settings: settings.clone(), stream })
        });
        Ok(Inputs {
            base: self.base.map(stored).transpose()?,
            models: models.collect::<Result<_>>()?,
            settings: merge.clone(),
        })
    }

    /// The error for a value that cannot be merged: which model, which tensor, which element.
    fn not_finite(&self, name: &str, model: Option<usize>, element: usize) -> Error {
        let whose = model.map_or_else(|| "the base".to_owned(), |model| format!("`{}`", self.models[model].0));
        Error::user(format!("{whose}: `{name}`: element {element} is NaN or infinite"))
            .hint("the checkpoint is broken: download it again, or leave it out")
    }
}

impl Weights for Merge<'_> {
    fn index(&self) -> &Index {
        &self.index
    }

    fn bytes(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        let inputs = self.inputs(name)?;
        let kernel = self.method.kernel(&inputs);
        let dtype = self.index[name].dtype;
        let mut bytes = vec![0; self.index[name].byte_len()];
        let room = || Room { models: vec![Vec::new(); inputs.models.len()], ..Room::default() };
        let blocks = bytes.par_chunks_mut(BLOCK * dtype.size()).enumerate();
        blocks.try_for_each_init(room, |Room { base, models, merged }, (number, out)| {
            let (start, len) = (number * BLOCK, out.len() / dtype.size());
            let read = |values: &Stored<'_>, widened: &mut Vec<f32>, model: Option<usize>| {
                widened.resize(len, 0.0);
                values.read(start, widened);
                match first_not_finite(widened) {
                    None => Ok(()),
                    Some(element) => Err(self.not_finite(name, model, start + element)),
                }
            };
            inputs.base.as_ref().map_or(Ok(()), |values| read(values, base, None))?;
            for (i, (model, widened)) in inputs.models.iter().zip(models.iter_mut()).enumerate() {
                read(&model.values, widened, Some(i))?;
            }
            merged.resize(len, 0.0);
            kernel(&Block { start, base, models }, merged);
            dtype.narrow(merged, out);
            Result::Ok(())
        })?;
        drop(kernel);
        Ok(Cow::Owned(bytes))
    }

    fn config(&self) -> &Config {
        &self.config
    }

    fn sidecars(&self) -> &Path {
        self.donor.dir()
    }
}

/// A thread's room to work in: one block of each input, and of the result.
#[derive(Default)]
struct Room {
    base: Vec<f32>,
    models: Vec<Vec<f32>>,
    merged: Vec<f32>,
}

/// The last part of a path or a hub name.
pub fn short(reference: &str) -> String {
    Path::new(reference).file_name().map_or_else(|| reference.to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The model whose configuration and tokenizer the result has: the base, else the first.
fn donor<S>(recipe: &Recipe<S>) -> &str {
    recipe.base_model.as_ref().unwrap_or(&recipe.models[0].model)
}

/// A model that is not the base of its method.
struct Role<'r> {
    reference: &'r str,
    /// Where its own parameters are; `None` for a base that is merged without being listed, as mergekit does.
    position: Option<usize>,
    /// Where the recipe names it.
    place: String,
}

fn roles(recipe: &Recipe, base: Base) -> Result<Vec<Role<'_>>> {
    let mut roles: Vec<Role<'_>> = Vec::new();
    let place = |reference: &At<String>| reference.place.of(&recipe.file);
    for (position, model) in recipe.models.iter().enumerate() {
        let (reference, place) = (model.model.as_str(), place(&model.model));
        if recipe.models[..position].iter().any(|earlier| earlier.model == model.model) {
            return Err(Error::user(format!("{place}: models[{position}].model: `{reference}` is listed twice"))
                .hint("give it once, with the sum of both weights"));
        }
        if base != Base::Required || recipe.base_model.as_ref() != Some(&model.model) {
            roles.push(Role { reference, position: Some(position), place });
        }
    }
    if let Some(reference) = recipe.base_model.as_ref().filter(|_| base == Base::Merged)
        && roles.iter().all(|role| role.reference != reference.value)
    {
        roles.push(Role { reference, position: None, place: place(reference) });
    }
    if roles.is_empty() {
        let message = format!("{}: models: there is no model beside the base", recipe.models.place.of(&recipe.file));
        return Err(Error::user(message).hint("list at least one other model"));
    }
    Ok(roles)
}

/// Every parameter of a tensor, of the merge and of each model.
fn parameters(
    recipe: &Recipe,
    method: &dyn Method,
    roles: &[Role<'_>],
    tensor: &str,
    depth: f64,
) -> Result<(Settings, Vec<Settings>)> {
    let of = |scope: Scope, position: Option<usize>, place: &str| {
        let params = method.params().iter().filter(|param| param.scope == scope);
        let values = params.map(|param| match recipe.value(param, position, tensor, depth) {
            Some(value) => Ok((param.name, value)),
            None => Err(Error::user(format!("{place}: `{}` is not set for `{tensor}`", param.name))
                .hint(format!("add it to the model's `parameters`, or to the recipe's ({})", param.help))),
        });
        values.collect::<Result<_>>().map(Settings)
    };
    let merge = of(Scope::Merge, None, &recipe.merge_method.place.of(&recipe.file))?;
    let models: Vec<Settings> =
        roles.iter().map(|role| of(Scope::Model, role.position, &role.place)).collect::<Result<_>>()?;
    match method.refusal(&merge, &models) {
        None => Ok((merge, models)),
        Some(why) => {
            let message = format!("{}: `{tensor}`: {why}", recipe.merge_method.place.of(&recipe.file));
            Err(Error::user(message).hint("change the weights, or set `normalize: false`"))
        }
    }
}

/// Refuses a model whose tensors are not the donor's, in name and shape.
fn comparable(donor: &Checkpoint, model: &Checkpoint) -> Result<()> {
    let dirs = format!("{} and {}", donor.dir().display(), model.dir().display());
    if donor.config().tied()? != model.config().tied()? {
        return Err(Error::user(format!("{dirs}: one ties its output head to the embedding, the other does not"))
            .hint("the tied model has no head of its own to merge; untie it first"));
    }
    let lacks = |one: &Checkpoint, other: &Checkpoint| {
        let missing: Vec<&str> =
            other.index().keys().filter(|name| !one.index().contains_key(*name)).map(String::as_str).collect();
        let (first, more) = (missing.first()?, missing.len() - 1);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let message = format!("{} lacks `{first}`{more}, which {} has", one.dir().display(), other.dir().display());
        Some(Error::user(message).hint("only models of one architecture and size can be merged"))
    };
    if let Some(error) = lacks(model, donor).or_else(|| lacks(donor, model)) {
        return Err(error);
    }
    for (name, meta) in donor.index() {
        let shape = &model.index()[name].shape;
        if *shape != meta.shape {
            let message = format!("{dirs}: the shapes of `{name}` differ: {:?} and {shape:?}", meta.shape);
            return Err(Error::user(message).hint(if name.contains("embed") || name.contains("lm_head") {
                "their vocabularies differ: merge models that share a tokenizer"
            } else {
                "only models of one architecture and size can be merged"
            }));
        }
    }
    Ok(())
}

/// The donor's configuration, with the type that the result has.
fn output_config(donor: &Config, index: &Index) -> Config {
    let mut config = donor.clone();
    let dtype = index.values().map(|meta| meta.dtype).reduce(Dtype::promote);
    for key in ["torch_dtype", "dtype"] {
        if let (Some(value), Some(dtype)) = (config.0.get_mut(key), dtype) {
            *value = Json::from(dtype.name());
        }
    }
    config
}

fn first_not_finite(values: &[f32]) -> Option<usize> {
    // Without a branch this vectorises, as a search would not.
    let broken = Arch::new().dispatch(
        #[inline(always)]
        || values.iter().fold(false, |broken, x| broken | !x.is_finite()),
    );
    if broken { values.iter().position(|x| !x.is_finite()) } else { None }
}
