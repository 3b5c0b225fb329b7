//! A merge that is not computed yet: every refusal made, every tensor's settings decided, no weight read.

use crate::{
    computed, config,
    error::{Error, Result},
    head,
    method::{Block, Input, Inputs, Kernel, Method, Settings, TensorInputs, block_len},
    model::{Config, Elements, Index, LayerHop, LayerPath, Meta, Stored, Weights, dtype::Dtype, spelling, whole},
    plan::{self, Plan, Planned},
    random::Draws,
    recipe::Recipe,
    sources::{Sources, donor},
    tokenizer::{Sidecars, chat},
    vectors::wide,
    vocabulary,
};
use candle_core::{Device, Tensor};
use serde::Serialize;
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

/// A merge as a model: tensors are computed when they are asked for, and reading one twice gives the same.
pub struct Merge {
    sources: Vec<(String, Arc<dyn Weights>)>,
    /// Whose tokenizer and other files the result has, but for `sidecars`.
    donor: usize,
    config: Config,
    index: Index,
    jobs: BTreeMap<String, Job>,
    /// Files that are not the donor's.
    sidecars: Sidecars,
    path: Option<LayerPath>,
    notes: Vec<String>,
    /// Where tensors are computed by tensor operations; without one, by kernels.
    device: Option<Device>,
}

/// How one tensor is made.
pub(crate) enum Job {
    /// As it is in the first of these; the others have to be the same, bit for bit.
    Same {
        /// Where it is.
        of: Vec<Operand>,
    },
    /// As the recipe says.
    Given {
        /// Little-endian.
        bytes: Vec<u8>,
    },
    /// By a method.
    Merge {
        /// The formula.
        method: &'static dyn Method,
        /// What differences are taken from.
        base: Option<Operand>,
        /// What is merged, in recipe order.
        models: Vec<(Operand, Settings, Draws)>,
        /// The parameters of the merge.
        settings: Settings,
    },
}

/// A source's tensor.
pub(crate) struct Operand {
    /// Which source.
    pub(crate) source: usize,
    /// What the tensor is called there.
    pub(crate) tensor: String,
}

impl Job {
    /// All that it reads: the base last.
    pub(crate) fn operands(&self) -> Vec<&Operand> {
        match self {
            Self::Same { of } => of.iter().collect(),
            Self::Given { .. } => Vec::new(),
            Self::Merge { base, models, .. } => models.iter().map(|(operand, ..)| operand).chain(base).collect(),
        }
    }

    /// The name of the first tensor that it reads.
    pub(crate) fn first(&self) -> &str {
        &self.operands()[0].tensor
    }
}

/// How a tensor is made, for people.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The tensor's name.
    pub tensor: String,
    /// Its type.
    pub dtype: &'static str,
    /// Its extents.
    pub shape: Vec<usize>,
    /// The method, or `copy`, or `path` for what the recipe gives itself.
    pub method: &'static str,
    /// What is read: model and tensor, the base last.
    pub sources: Vec<[String; 2]>,
    /// The parameters of the merge.
    pub settings: Settings,
    /// The parameters of each model.
    pub models: Vec<Settings>,
    /// Bytes that are read, as stored.
    pub reads: u64,
    /// Bytes that are written.
    pub writes: u64,
}

impl Merge {
    /// Decides everything about a merge without reading a weight.
    ///
    /// Fails if the models cannot be merged exactly as the recipe says: if one lacks a tensor or has one more, if shapes
    /// differ, or if the method has no result for the parameters. And if no merge is right: if their configurations divide the
    /// same tensors otherwise (heads) or have another activation between them; if layers that are stacked differ in anything
    /// they compute by; if the result's configuration cannot say of the stacked layers what their own ones said. Other
    /// differences of configurations may be meant, and are [notes](Merge::notes).
    pub fn plan(recipe: &Recipe, sources: &Sources) -> Result<Self> {
        let donor = sources.position(donor(recipe));
        let models = sources.iter().map(|(name, weights)| (name.to_owned(), Arc::clone(weights))).collect::<Vec<_>>();
        let mut notes = sources.notes();
        // Of the models as they are: one tokenizer for all would bring its owner's template to all of them.
        let template = vocabulary::chat_template(recipe, &models, &mut notes)?;
        let models = spelling::alike(models, donor, &mut notes);
        let (models, left_out) = computed::settle(recipe, head::settle(recipe, models)?);
        let (models, more) = vocabulary::unified(recipe, models, donor)?;
        notes.extend(more);
        let sidecars = template.map_or(Ok(Sidecars::default()), |text| chat::sidecars(&text, &*models[donor].1))?;
        let Plan { index, jobs, stacked, path, notes: more } = plan::plan(recipe, sources, &models)?;
        notes.extend(left_out.into_iter().chain(more));
        if recipe.tokenizer().is_none() {
            notes.extend(vocabulary::check(recipe, sources, donor, &index, &jobs)?);
        }
        notes.extend_from_slice(&sources.beside(donor)?.notes);
        let (config, more) = config::of(recipe, &models, donor, &index, &stacked)?;
        notes.extend(more);
        // What is made for this merge alone, such as another vocabulary, is no other's to share.
        let as_opened = sources.iter().zip(&models).all(|((_, opened), (_, used))| Arc::ptr_eq(opened, used));
        let path = path.filter(|_| as_opened).map(|Planned { outside, scale, hops }| {
            let source = |source: usize| Arc::clone(&models[source].1);
            let hop = |(of, layer, gain)| LayerHop { source: source(of), layer, gain };
            LayerPath { outside: source(outside), scale, hops: hops.into_iter().map(hop).collect() }
        });
        Ok(Self { sources: models, donor, config, index, jobs, sidecars, path, notes, device: None })
    }

    /// The same merge computed by tensor operations on a device.
    #[must_use]
    pub fn on(mut self, device: Device) -> Self {
        self.device = Some(device);
        self
    }

    /// What the user should know, such as rows of an embedding that no model has.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How every tensor is made, in order of name.
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        self.jobs.iter().map(|(name, job)| {
            let meta = &self.index[name];
            let (method, settings, models) = match job {
                Job::Same { .. } => ("copy", Settings::default(), Vec::new()),
                Job::Given { .. } => ("path", Settings::default(), Vec::new()),
                Job::Merge { method, models, settings, .. } => {
                    // What is accepted without effect is no part of how a tensor is made.
                    let used = |settings: &Settings| {
                        let is_used =
                            |name: &str| method.params().iter().any(|param| param.name == name && !param.unused);
                        Settings(settings.0.iter().filter(|(name, _)| is_used(name)).copied().collect())
                    };
                    (method.name(), used(settings), models.iter().map(|(_, own, _)| used(own)).collect())
                }
            };
            let operands = job.operands();
            let len = |operand: &&Operand| self.sources[operand.source].1.index()[&operand.tensor].byte_len() as u64;
            Step {
                tensor: name.clone(),
                dtype: meta.dtype.name(),
                shape: meta.shape.clone(),
                method,
                settings,
                models,
                reads: operands.iter().map(len).sum(),
                writes: meta.byte_len() as u64,
                sources: operands
                    .iter()
                    .map(|operand| [self.sources[operand.source].0.clone(), operand.tensor.clone()])
                    .collect(),
            }
        })
    }

    fn operand(&self, operand: &Operand) -> Result<Box<dyn Elements + '_>> {
        self.sources[operand.source].1.tensor(&operand.tensor)
    }

    /// The first of several tensors that have to be the same.
    fn same<'m>(&'m self, of: &'m [Operand]) -> Result<Box<dyn Elements + 'm>> {
        let first = self.operand(&of[0])?;
        if of.len() > 1 {
            let bytes = whole(&*first)?;
            for other in &of[1..] {
                if whole(&*self.operand(other)?)? != bytes {
                    let [a, b] = [&of[0], other].map(|operand| &self.sources[operand.source].0);
                    let message = format!("`{}` differs in `{a}` and `{b}`, and is not a float", of[0].tensor);
                    return Err(Error::user(message).hint("whole numbers are copied where all models agree"));
                }
            }
        }
        Ok(Box::new(Copied { merge: self, operand: &of[0], values: first }))
    }

    /// A tensor computed whole, by tensor operations.
    fn computed(&self, inputs: &Inputs<'_>, job: &Job, meta: &Meta, device: &Device) -> Result<Stored<'static>> {
        let Job::Merge { method, base, models, .. } = job else { unreachable!("copies are not computed") };
        let tensor = |values: &dyn Elements, operand: &Operand| {
            let mut all = vec![0.0; values.len()];
            values.read(0, &mut all)?;
            if let Some(element) = first_not_finite(&all) {
                return Err(self.not_finite(operand, element));
            }
            Result::Ok(Tensor::from_vec(all, inputs.shape, device)?)
        };
        let base = inputs.base.as_deref().zip(base.as_ref()).map(|(values, operand)| tensor(values, operand));
        let models = inputs.models.iter().zip(models).map(|(input, (operand, settings, draws))| {
            Ok((tensor(&*input.values, operand)?, settings.clone(), draws.clone()))
        });
        let models = models.collect::<Result<_>>()?;
        let inputs = TensorInputs { base: base.transpose()?, models, settings: inputs.settings.clone() };
        let merged = method.tensors(&inputs)?.flatten_all()?.to_device(&Device::Cpu)?.to_vec1()?;
        too_large(&merged, meta.dtype, job.first())?;
        let mut bytes = vec![0; meta.byte_len()];
        meta.dtype.narrow(&merged, &mut bytes);
        Ok(Stored::new(meta.dtype, Cow::Owned(bytes)))
    }

    /// The error for a value that cannot be merged: which model, which tensor, which element.
    fn not_finite(&self, operand: &Operand, element: usize) -> Error {
        let (name, tensor) = (&self.sources[operand.source].0, &operand.tensor);
        Error::user(format!("`{name}`: `{tensor}`: element {element} is NaN or infinite"))
            .hint("the checkpoint is broken: download it again, or leave it out")
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
        let (method, base, models, settings) = match job {
            Job::Same { of } => return self.same(of),
            Job::Given { bytes } => return Ok(Box::new(Stored::new(meta.dtype, Cow::Borrowed(bytes)))),
            Job::Merge { method, base, models, settings } => (method, base, models, settings),
        };
        let read = models.iter().map(|(operand, settings, draws)| {
            Ok(Input { values: self.operand(operand)?, settings: settings.clone(), draws: draws.clone() })
        });
        let inputs = Inputs {
            base: base.as_ref().map(|base| self.operand(base)).transpose()?,
            models: read.collect::<Result<_>>()?,
            settings: settings.clone(),
            shape: &meta.shape,
        };
        let at = |e: Error| e.at(format!("`{name}`"));
        if let Some(device) = &self.device {
            return Ok(Box::new(self.computed(&inputs, job, meta, device)?));
        }
        let kernel = method.kernel(&inputs).map_err(at)?;
        let operands = (base.as_ref(), models.iter().map(|(operand, ..)| operand).collect());
        Ok(Box::new(Merged { merge: self, operands, dtype: meta.dtype, inputs, kernel }))
    }

    fn config(&self) -> &Config {
        &self.config
    }

    fn sidecar(&self, name: &str) -> Result<Option<Vec<u8>>> {
        match self.sidecars.get(name) {
            Some(changed) => Ok(changed.clone()),
            None => self.sources[self.donor].1.sidecar(name),
        }
    }

    fn place(&self) -> String {
        self.sources[self.donor].1.place()
    }

    fn path(&self) -> Option<&LayerPath> {
        self.path.as_ref()
    }
}

/// A tensor that is taken as it is.
struct Copied<'m> {
    merge: &'m Merge,
    operand: &'m Operand,
    values: Box<dyn Elements + 'm>,
}

impl Elements for Copied<'_> {
    fn dtype(&self) -> Dtype {
        self.values.dtype()
    }

    fn len(&self) -> usize {
        self.values.len()
    }

    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        self.values.read(start, out)?;
        match first_not_finite(out) {
            None => Ok(()),
            Some(element) => Err(self.merge.not_finite(self.operand, start + element)),
        }
    }

    fn copy(&self, start: usize, out: &mut [u8]) -> Result<()> {
        self.values.copy(start, out)?;
        match self.dtype().first_not_finite(out) {
            None => Ok(()),
            Some(element) => Err(self.merge.not_finite(self.operand, start + element)),
        }
    }

    fn granule(&self) -> usize {
        self.values.granule()
    }

    fn lent(&self) -> Option<&[u8]> {
        self.values.lent()
    }
}

/// A tensor whose method has looked at its inputs.
struct Merged<'m> {
    merge: &'m Merge,
    /// The base's, and the models'.
    operands: (Option<&'m Operand>, Vec<&'m Operand>),
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
                Some(element) => Err(self.merge.not_finite(operand, start + element)),
            }
        };
        let (from, models_from) = &self.operands;
        if let (Some(values), Some(operand)) = (&self.inputs.base, from) {
            read(&**values, operand, base)?;
        }
        for ((input, operand), widened) in self.inputs.models.iter().zip(models_from).zip(models.iter_mut()) {
            read(&*input.values, operand, widened)?;
        }
        merged.resize(len, 0.0);
        self.kernel.compute(&Block { start, base, models }, merged);
        too_large(merged, self.dtype, &models_from[0].tensor)
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

/// Refuses values that would become infinite in a type.
fn too_large(values: &[f32], dtype: Dtype, tensor: &str) -> Result<()> {
    if dtype.holds(values) {
        return Ok(());
    }
    Err(Error::user(format!("`{tensor}`: a merged value is too large for {}", dtype.name()))
        .hint("set `out_dtype: bfloat16` or `float32`, or smaller weights"))
}

fn first_not_finite(values: &[f32]) -> Option<usize> {
    // Without a branch this vectorises, as a search would not.
    let broken = wide(
        #[inline(always)]
        || values.iter().fold(false, |broken, x| broken | !x.is_finite()),
    );
    if broken { values.iter().position(|x| !x.is_finite()) } else { None }
}
