//! A merge that is not computed yet: everything is checked and decided, and no weight is read.

pub(crate) mod computed;
mod compute;
mod config;
pub mod evomistral;
mod fold;
pub(crate) mod head;
mod mixture;
mod plan;
pub mod sources;
mod tensor_plan;
mod vocabulary;

pub use config::unlike::unlike;

use compute::{CopiedTensor, MergedTensor, first_not_finite, too_large};
use plan::{MergePlan, PlannedPath};
use sources::{Sources, donor};
use tensor_plan::{Operand, TensorPlan};

use crate::{
    error::{Error, Result},
    method::{Input, Inputs, Settings, TensorInputs},
    model::{Config, Elements, Index, LayerHop, LayerPath, Meta, Mixture, Stored, Weights, spelling, whole},
    recipe::Recipe,
    tokenizer::{Sidecars, chat},
};
use candle_core::{Device, Tensor};
use serde::Serialize;
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

/// A merge as a model. Tensors are computed when they are asked for; reading one twice gives the same.
pub struct Merge {
    sources: Vec<(String, Arc<dyn Weights>)>,
    /// Source with the tokenizer and other files of the result, except for `sidecars`.
    donor: usize,
    config: Config,
    index: Index,
    plans: BTreeMap<String, TensorPlan>,
    /// Files that differ from the donor's.
    sidecars: Sidecars,
    path: Option<LayerPath>,
    notes: Vec<String>,
    /// Device for tensor operations; `None` to compute by kernels.
    device: Option<Device>,
}

/// Description of how one tensor is made, for people.
#[derive(Clone, Debug, Serialize)]
pub struct PlanStep {
    /// Name of the tensor.
    pub tensor: String,
    /// Element type of the tensor.
    pub dtype: &'static str,
    /// Shape of the tensor.
    pub shape: Vec<usize>,
    /// Name of the method, or `copy`, or `path` for a tensor that the recipe itself gives.
    pub method: &'static str,
    /// Model and tensor of each input, the base last.
    pub sources: Vec<[String; 2]>,
    /// Settings of the merge.
    pub settings: Settings,
    /// Settings of each model.
    pub models: Vec<Settings>,
    /// Number of bytes that are read, as stored.
    pub reads: u64,
    /// Number of bytes that are written.
    pub writes: u64,
}

impl Merge {
    /// Decides everything about a merge without reading a weight.
    ///
    /// Fails if the models cannot be merged exactly as the recipe says: a model lacks a tensor or has one more,
    /// shapes differ, or the method has no result for the parameters. Also fails if no merge is right: the models'
    /// configurations divide the same tensors differently (heads) or have another activation between them; stacked
    /// layers differ in how they compute; or the result's configuration cannot describe the stacked layers as their
    /// own ones did. Other differences of configurations may be intended, and become [notes](Merge::notes).
    pub fn plan(recipe: &Recipe, sources: &Sources) -> Result<Self> {
        let donor = sources.position(donor(recipe));
        let models = sources.iter().map(|(name, weights)| (name.to_owned(), Arc::clone(weights))).collect::<Vec<_>>();
        let mut notes = sources.notes();
        // Chosen from the original models: a tokenizer for all would bring its owner's template to all of them.
        let template = vocabulary::chat_template(recipe, &models, &mut notes)?;
        let models = spelling::respell_like_donor(models, donor, &mut notes);
        let (models, left_out) = computed::leave_out_computed(recipe, head::make_heads_alike(recipe, models)?);
        let (models, more) = vocabulary::unified(recipe, models, donor)?;
        notes.extend(more);
        let sidecars = template.map_or(Ok(Sidecars::default()), |text| chat::sidecars(&text, &*models[donor].1))?;
        let MergePlan { index, plans, stacked, path, notes: more } = plan::plan(recipe, sources, &models)?;
        notes.extend(left_out.into_iter().chain(more));
        if recipe.tokenizer().is_none() {
            notes.extend(vocabulary::check(recipe, sources, donor, &index, &plans)?);
        }
        notes.extend_from_slice(&sources.beside(donor)?.notes);
        let (config, more) = config::of(recipe, &models, donor, &index, &stacked)?;
        notes.extend(more);
        // A model made for this merge alone, such as with another vocabulary, is not shared with other merges.
        let as_opened = sources.iter().zip(&models).all(|((_, opened), (_, used))| Arc::ptr_eq(opened, used));
        let path = path.filter(|_| as_opened).map(|PlannedPath { outside, scale, hops }| {
            let source = |source: usize| Arc::clone(&models[source].1);
            let hop = |(of, layer, gain)| LayerHop { source: source(of), layer, gain };
            LayerPath { outside: source(outside), scale, hops: hops.into_iter().map(hop).collect() }
        });
        Ok(Self { sources: models, donor, config, index, plans, sidecars, path, notes, device: None })
    }

    /// The same merge, computed by tensor operations on a device.
    #[must_use]
    pub fn on(mut self, device: Device) -> Self {
        self.device = Some(device);
        self
    }

    /// Notes for the user, such as on rows of an embedding that no model has.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Descriptions of how every tensor is made, in order of name.
    pub fn steps(&self) -> impl Iterator<Item = PlanStep> {
        self.plans.iter().map(|(name, plan)| {
            let meta = &self.index[name];
            let (method, settings, models) = match plan {
                TensorPlan::Same { .. } => ("copy", Settings::default(), Vec::new()),
                TensorPlan::Given { .. } => ("path", Settings::default(), Vec::new()),
                TensorPlan::Merge { method, models, settings, .. } => {
                    // Parameters without effect are not part of how a tensor is made.
                    let used = |settings: &Settings| {
                        let is_used =
                            |name: &str| method.params().iter().any(|param| param.name == name && !param.unused);
                        Settings(settings.0.iter().filter(|(name, _)| is_used(name)).copied().collect())
                    };
                    (method.name(), used(settings), models.iter().map(|(_, own, _)| used(own)).collect())
                }
            };
            let operands = plan.operands();
            let len = |operand: &&Operand| self.sources[operand.source].1.index()[&operand.tensor].byte_len() as u64;
            PlanStep {
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

    /// The first of several tensors, which must all be the same.
    fn same<'m>(&'m self, of: &'m [Operand]) -> Result<Box<dyn Elements + 'm>> {
        let first = self.operand(&of[0])?;
        if of.len() > 1 {
            let bytes = whole(&*first)?;
            for other in &of[1..] {
                if whole(&*self.operand(other)?)? != bytes {
                    let [a, b] = [&of[0], other].map(|operand| &self.sources[operand.source].0);
                    let message = format!("`{}` differs in `{a}` and `{b}`, and is not a float", of[0].tensor);
                    return Err(Error::user(message)
                        .hint("tensors of whole numbers are copied, so they must be the same in all models"));
                }
            }
        }
        Ok(Box::new(CopiedTensor { merge: self, operand: &of[0], values: first }))
    }

    /// Computes a whole tensor by tensor operations.
    fn computed(
        &self,
        inputs: &Inputs<'_>,
        plan: &TensorPlan,
        meta: &Meta,
        device: &Device,
    ) -> Result<Stored<'static>> {
        let TensorPlan::Merge { method, base, models, .. } = plan else { unreachable!("copies are not computed") };
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
        too_large(&merged, meta.dtype, plan.first())?;
        let mut bytes = vec![0; meta.byte_len()];
        meta.dtype.narrow(&merged, &mut bytes);
        Ok(Stored::new(meta.dtype, Cow::Owned(bytes)))
    }

    /// The error for a value that cannot be merged, with the model, the tensor and the element.
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
        let (plan, meta) = self
            .plans
            .get(name)
            .zip(self.index.get(name))
            .ok_or_else(|| Error::user(format!("there is no tensor `{name}`")))?;
        let (method, base, models, settings) = match plan {
            TensorPlan::Same { of } => return self.same(of),
            TensorPlan::Given { bytes } => return Ok(Box::new(Stored::new(meta.dtype, Cow::Borrowed(bytes)))),
            TensorPlan::Merge { method, base, models, settings } => (method, base, models, settings),
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
            return Ok(Box::new(self.computed(&inputs, plan, meta, device)?));
        }
        let kernel = method.kernel(&inputs).map_err(at)?;
        let operands = (base.as_ref(), models.iter().map(|(operand, ..)| operand).collect());
        Ok(Box::new(MergedTensor { merge: self, operands, dtype: meta.dtype, inputs, kernel }))
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

    fn mixture(&self) -> Result<Mixture> {
        self.as_mixture()
    }
}
