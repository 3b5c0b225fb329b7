//! A merge that is not computed yet: every refusal made, every tensor's settings decided, no weight read.

use crate::vectors::wide;
use crate::{
    checkpoint::Checkpoint,
    dtype::Dtype,
    error::{Error, Result},
    method::{Base, Block, Input, Inputs, Kernel, Method, Scope, Settings, block_len, method},
    names::Layers,
    random::{Draws, Stream},
    recipe::{At, Recipe, resolve},
    weights::{Config, Elements, Index, Meta, Weights},
};
use serde_json::Value as Json;
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// The checkpoints a recipe names, mapped.
pub struct Sources {
    /// In recipe order, each once, the base last if it is not among the models.
    checkpoints: Vec<(String, Arc<Checkpoint>)>,
}

impl Sources {
    /// Maps every checkpoint that a recipe or a template names.
    ///
    /// Fails if one cannot be found or is damaged.
    pub fn open<S>(recipe: &Recipe<S>) -> Result<Self> {
        let models = recipe.models.iter().map(|model| &model.model);
        let mut checkpoints: Vec<(String, Arc<Checkpoint>)> = Vec::new();
        for reference in models.chain(&recipe.base_model) {
            if checkpoints.iter().all(|(name, _)| *name != reference.value) {
                let dir = resolve(&recipe.file, reference)?;
                let checkpoint = Checkpoint::open(&dir).map_err(|e| e.at(reference.place.of(&recipe.file)))?;
                checkpoints.push((reference.value.clone(), Arc::new(checkpoint)));
            }
        }
        Ok(Self { checkpoints })
    }

    /// The checkpoint that the recipe calls `name`.
    ///
    /// # Panics
    /// If the recipe these were opened for does not name it.
    pub fn get(&self, name: &str) -> &Arc<Checkpoint> {
        let found = self.checkpoints.iter().find(|(known, _)| known == name);
        &found.unwrap_or_else(|| panic!("`{name}` was not opened")).1
    }

    /// Names and checkpoints, in recipe order, the base last if it is not among the models.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<Checkpoint>)> {
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

/// A merge as a model: tensors are computed when they are asked for, and reading one twice gives the same.
pub struct Merge {
    sources: Vec<(String, Arc<dyn Weights>)>,
    /// Whose tokenizer and other files the result has.
    donor: Arc<dyn Weights>,
    config: Config,
    index: Index,
    jobs: BTreeMap<String, Job>,
}

/// How one tensor is made.
struct Job {
    method: &'static dyn Method,
    base: Option<Operand>,
    models: Vec<(Operand, Settings, Draws)>,
    settings: Settings,
}

/// A source's tensor.
struct Operand {
    source: usize,
    tensor: String,
}

impl Merge {
    /// Decides everything about a merge without reading a weight.
    ///
    /// Fails if the models cannot be merged exactly as the recipe says: if one lacks a tensor or has one more, if shapes
    /// differ, or if the method has no result for the parameters.
    pub fn plan(recipe: &Recipe, sources: &Sources) -> Result<Self> {
        let method = method(&recipe.merge_method)
            .ok_or_else(|| Error::user(format!("there is no method `{}`", recipe.merge_method.value)))?;
        let donor = sources.get(donor(recipe));
        let roles = roles(recipe, method.base())?;
        for role in &roles {
            comparable(donor, sources.get(role.reference)).map_err(|e| e.at(&role.place))?;
        }
        let layers = Layers::of(donor.index());
        let position = |name: &str| sources.iter().position(|(known, _)| known == name).expect("it was opened");
        let base = recipe.base_model.as_ref().filter(|_| method.base() == Base::Required).map(|base| position(base));
        let models: Vec<usize> = roles.iter().map(|role| position(role.reference)).collect();
        let seed = recipe.random.as_ref().map_or(0, |random| random.seed);
        let out = recipe.out_dtype.or(recipe.dtype).map(|dtype| dtype.value);
        let (mut index, mut jobs) = (Index::new(), BTreeMap::new());
        for (name, meta) in donor.index() {
            let operand = |source: usize| Operand { source, tensor: name.clone() };
            let (settings, own) = parameters(recipe, method, &roles, name, layers.depth(name))?;
            let dtypes = models.iter().chain(&base).map(|source| sources.checkpoints[*source].1.index()[name].dtype);
            let dtype = out.or_else(|| dtypes.reduce(Dtype::promote)).unwrap_or(meta.dtype);
            let models = models.iter().zip(own).enumerate().map(|(position, (source, settings))| {
                // The position, not the name: a model that has been moved draws the same mask.
                let draws = Draws::Counter(Stream::new(seed, &[&position.to_string(), name]));
                (operand(*source), settings, draws)
            });
            let job = Job { method, base: base.map(operand), models: models.collect(), settings };
            jobs.insert(name.clone(), job);
            index.insert(name.clone(), Meta { dtype, shape: meta.shape.clone() });
        }
        let config = output_config(donor.config(), &index);
        let sources = sources.iter().map(|(name, source)| (name.to_owned(), Arc::clone(source) as Arc<dyn Weights>));
        Ok(Self { sources: sources.collect(), donor: Arc::clone(donor) as _, config, index, jobs })
    }

    fn operand(&self, operand: &Operand) -> Result<Box<dyn Elements + '_>> {
        self.sources[operand.source].1.tensor(&operand.tensor)
    }
}

impl Weights for Merge {
    fn index(&self) -> &Index {
        &self.index
    }

    fn tensor(&self, name: &str) -> Result<Box<dyn Elements + '_>> {
        let (job, meta) = self
            .jobs
            .get(name)
            .zip(self.index.get(name))
            .ok_or_else(|| Error::user(format!("there is no tensor `{name}`")))?;
        let models = job.models.iter().map(|(operand, settings, draws)| {
            Ok(Input { values: self.operand(operand)?, settings: settings.clone(), draws: draws.clone() })
        });
        let inputs = Inputs {
            base: job.base.as_ref().map(|base| self.operand(base)).transpose()?,
            models: models.collect::<Result<_>>()?,
            settings: job.settings.clone(),
            shape: &meta.shape,
        };
        let kernel = job.method.kernel(&inputs)?;
        Ok(Box::new(Merged { merge: self, job, dtype: meta.dtype, inputs, kernel }))
    }

    fn config(&self) -> &Config {
        &self.config
    }

    fn sidecar(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.donor.sidecar(name)
    }

    fn place(&self) -> String {
        self.donor.place()
    }
}

/// A tensor whose method has looked at its inputs.
struct Merged<'m> {
    merge: &'m Merge,
    job: &'m Job,
    dtype: Dtype,
    inputs: Inputs<'m>,
    kernel: Kernel,
}

/// A thread's room to work in: one block of each input, and of the result.
#[derive(Default)]
struct Room {
    base: Vec<f32>,
    models: Vec<Vec<f32>>,
    merged: Vec<f32>,
}

impl Merged<'_> {
    /// Computes the elements `from..to`, and hands them to `take` block by block, each with its place behind `from`.
    fn compute(&self, from: usize, to: usize, mut take: impl FnMut(usize, &[f32])) -> Result<()> {
        let (granule, len) = (self.kernel.granule(), self.len());
        let step = block_len(granule);
        let mut room = Room { models: vec![Vec::new(); self.inputs.models.len()], ..Room::default() };
        let mut start = from / granule * granule;
        while start < to {
            let end = (start + step).min(to.next_multiple_of(granule)).min(len);
            self.block(start, end - start, &mut room)?;
            let skip = from.saturating_sub(start);
            take((start + skip) - from, &room.merged[skip..(to - start).min(end - start)]);
            start = end;
        }
        Ok(())
    }

    /// Computes a block of whole granules.
    fn block(&self, start: usize, len: usize, Room { base, models, merged }: &mut Room) -> Result<()> {
        let read = |values: &dyn Elements, operand: &Operand, widened: &mut Vec<f32>| {
            widened.resize(len, 0.0);
            values.read(start, widened)?;
            match first_not_finite(widened) {
                None => Ok(()),
                Some(element) => Err(self.not_finite(operand, start + element)),
            }
        };
        if let (Some(values), Some(operand)) = (&self.inputs.base, &self.job.base) {
            read(&**values, operand, base)?;
        }
        for ((input, (operand, ..)), widened) in self.inputs.models.iter().zip(&self.job.models).zip(models.iter_mut())
        {
            read(&*input.values, operand, widened)?;
        }
        merged.resize(len, 0.0);
        self.kernel.compute(&Block { start, base, models }, merged);
        if self.dtype.holds(merged) {
            return Ok(());
        }
        let tensor = &self.job.models[0].0.tensor;
        Err(Error::user(format!("`{tensor}`: a merged value is too large for {}", self.dtype.name()))
            .hint("set `out_dtype: bfloat16` or `float32`, or smaller weights"))
    }

    /// The error for a value that cannot be merged: which model, which tensor, which element.
    fn not_finite(&self, operand: &Operand, element: usize) -> Error {
        let (name, tensor) = (&self.merge.sources[operand.source].0, &operand.tensor);
        Error::user(format!("`{name}`: `{tensor}`: element {element} is NaN or infinite"))
            .hint("the checkpoint is broken: download it again, or leave it out")
    }
}

impl Elements for Merged<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn len(&self) -> usize {
        self.inputs.len()
    }

    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let mut bytes = vec![0; out.len() * self.dtype.size()];
        self.copy(start, &mut bytes)?;
        self.dtype.widen(&bytes, out);
        Ok(())
    }

    fn copy(&self, start: usize, out: &mut [u8]) -> Result<()> {
        let size = self.dtype.size();
        self.compute(start, start + out.len() / size, |at, values| {
            self.dtype.narrow(values, &mut out[at * size..(at + values.len()) * size]);
        })
    }

    fn granule(&self) -> usize {
        self.kernel.granule()
    }
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
    let broken = wide(
        #[inline(always)]
        || values.iter().fold(false, |broken, x| broken | !x.is_finite()),
    );
    if broken { values.iter().position(|x| !x.is_finite()) } else { None }
}
