//! Merge methods: a table of formulas, each as a kernel over blocks and as candle tensor operations.
//!
//! A method sees stretches of `f32` or candle tensors, and its settings; never names, paths or stored types. It looks
//! at whole tensors first ([`Method::kernel`] may sum over them), then works on any block of them.

mod angles;
pub mod arcee_fusion;
pub mod karcher;
pub mod linear;
pub mod model_stock;
pub mod multislerp;
pub mod nearswap;
pub mod nuslerp;
pub mod passthrough;
pub mod ram;
pub mod sce;
mod select;
pub mod slerp;
pub mod task_arithmetic;

use crate::{error::Result, model::Elements, random::Draws};
use candle_core::Tensor;
use serde::{Serialize, Serializer};
use std::{fmt, ops::RangeInclusive};

/// Every method, in the order in which help lists them.
pub const METHODS: &[&dyn Method] = &[
    &linear::Linear,
    &slerp::Slerp,
    &nuslerp::Nuslerp,
    &multislerp::Multislerp,
    &karcher::Karcher,
    &passthrough::Passthrough,
    &task_arithmetic::TASK_ARITHMETIC,
    &task_arithmetic::TIES,
    &task_arithmetic::DARE_LINEAR,
    &task_arithmetic::DARE_TIES,
    &task_arithmetic::DELLA,
    &task_arithmetic::DELLA_LINEAR,
    &task_arithmetic::BREADCRUMBS,
    &task_arithmetic::BREADCRUMBS_TIES,
    &sce::Sce,
    &ram::RAM,
    &ram::RAMPLUS_TL,
    &model_stock::ModelStock,
    &nearswap::Nearswap,
    &arcee_fusion::ArceeFusion,
];

/// Parameters that published recipes set for any method and that have no effect in any, each with the reason.
pub const WITHOUT_EFFECT: [(&str, &str); 2] = [
    ("embed_slerp", "mergekit has not read it since 2023"),
    ("int8_mask", "in mergekit it sets the type of masks, and no masks are stored here"),
];

/// The method of this name; `None` if there is none.
pub fn method(name: &str) -> Option<&'static dyn Method> {
    METHODS.iter().copied().find(|method| method.name() == name)
}

/// A merge method. Its two forms compute the same; the tensor form runs on any device and is the kernel's oracle.
pub trait Method: Sync {
    /// Its name, help, models and parameters.
    fn facts(&self) -> MethodFacts;
    /// The reason why these settings give no result for a tensor, such as weights that sum to zero; `None` if they do.
    fn refusal(&self, _merge: &Settings, _models: &[Settings]) -> Option<String> {
        None
    }
    /// Each model's share in the result, if that is the models' weighted sum; what the shares lack to one is the base's, if
    /// differences from it are merged.
    fn shares(&self, _merge: &Settings, _models: &[Settings]) -> Option<Vec<f64>> {
        None
    }
    /// True if it draws a random number for each element of a model with these settings.
    fn draws(&self, _model: &Settings) -> bool {
        false
    }
    /// The CPU form: looks at whole tensors, then returns a closure for any block. Fails if an input cannot be read.
    fn kernel(&self, inputs: &Inputs<'_>) -> Result<Kernel>;
    /// The same formula in tensor operations, in `f32` on any device.
    fn tensors(&self, inputs: &TensorInputs) -> candle_core::Result<Tensor>;
}

/// Facts that are asked for one by one.
impl dyn Method + '_ {
    /// [`MethodFacts::name`].
    pub fn name(&self) -> &'static str {
        self.facts().name
    }

    /// [`MethodFacts::base`].
    pub fn base(&self) -> Base {
        self.facts().base
    }

    /// [`MethodFacts::models`].
    pub fn models(&self) -> RangeInclusive<usize> {
        self.facts().models
    }

    /// [`MethodFacts::params`].
    pub fn params(&self) -> &'static [Param] {
        self.facts().params
    }
}

/// Facts of a method: recipes are checked against them, and help prints them.
#[derive(Clone, Debug)]
pub struct MethodFacts {
    /// Name in a recipe.
    pub name: &'static str,
    /// One line of help: the formula in words, and when to use it.
    pub summary: &'static str,
    /// Origin: a paper, or the program that had it first.
    pub reference: &'static str,
    /// Use of `base_model`.
    pub base: Base,
    /// Number of models that it merges: without the base, unless the base is merged like any model.
    pub models: RangeInclusive<usize>,
    /// Parameters that a recipe may set.
    pub params: &'static [Param],
}

/// Use of `base_model` by a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// A base is required: task vectors are differences from it, or the merge starts from it.
    Required,
    /// The base is one more model to merge.
    Merged,
    /// With a base, differences from it are merged; without one, whole models.
    Optional,
}

/// A parameter of a method, declared once; recipes, help, schema and search ranges derive from it.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Name in a recipe.
    pub name: &'static str,
    /// Level at which it may be set.
    pub scope: Scope,
    /// Values that it may hold.
    pub domain: Domain,
    /// Value if a recipe does not set it; `None` means that a recipe must set it.
    pub default: Option<Value>,
    /// One line of help.
    pub help: &'static str,
    /// True if it has no effect, and is accepted because mergekit's recipes carry it.
    pub unused: bool,
}

/// A parameter is any number that a recipe must set, unless it is declared otherwise.
impl Param {
    /// A parameter of each model.
    const fn model(name: &'static str, help: &'static str) -> Self {
        Self { name, scope: Scope::Model, domain: Domain::REAL, default: None, help, unused: false }
    }

    /// A parameter of the merge.
    const fn merge(name: &'static str, help: &'static str) -> Self {
        Self { scope: Scope::Merge, ..Self::model(name, help) }
    }

    /// The same as a number from `min` to `max`, both included.
    const fn between(self, min: f64, max: f64) -> Self {
        Self { domain: Domain::Number { min, max }, ..self }
    }

    /// The same as a number with a default.
    const fn default(self, number: f64) -> Self {
        Self { default: Some(Value::Number(number)), ..self }
    }

    /// The same as a flag with a default.
    const fn flag(self, default: bool) -> Self {
        Self { domain: Domain::Flag, default: Some(Value::Flag(default)), ..self }
    }

    /// The same without effect.
    const fn unused(self) -> Self {
        Self { help: "accepted because mergekit recipes carry it; has no effect", unused: true, ..self }
    }
}

/// Level at which a parameter may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Once for the merge, under the recipe's own `parameters`.
    Merge,
    /// For each model that is not the base; the recipe's own `parameters` apply if a model does not set it.
    Model,
}

/// Values that a parameter may hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Domain {
    /// A number from `min` to `max`, both included.
    Number {
        /// Smallest value.
        min: f64,
        /// Greatest value.
        max: f64,
    },
    /// True or false.
    Flag,
}

impl Domain {
    /// Any finite number.
    pub const REAL: Self = Self::Number { min: f64::MIN, max: f64::MAX };
}

impl fmt::Display for Domain {
    /// For example `0 to 1`, `at least 0`, `any number`, `true or false`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Flag => f.write_str("true or false"),
            Self::REAL => f.write_str("any number"),
            Self::Number { min, max: f64::MAX } => write!(f, "at least {min}"),
            Self::Number { min: f64::MIN, max } => write!(f, "at most {max}"),
            Self::Number { min, max } => write!(f, "{min} to {max}"),
        }
    }
}

/// A parameter's value for one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// A value of [`Domain::Number`].
    Number(f64),
    /// A value of [`Domain::Flag`].
    Flag(bool),
}

/// The values of a method's parameters for one tensor, of the merge or of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(pub Vec<(&'static str, Value)>);

impl fmt::Display for Settings {
    /// For example `weight=0.3 normalize=true`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.0.iter().enumerate() {
            let space = if i == 0 { "" } else { " " };
            match value {
                Value::Number(number) => write!(f, "{space}{name}={number}")?,
                Value::Flag(flag) => write!(f, "{space}{name}={flag}")?,
            }
        }
        Ok(())
    }
}

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Settings {
    /// The value of a numeric parameter.
    ///
    /// # Panics
    /// If the method does not declare it as a number in [`MethodFacts::params`].
    pub fn number(&self, name: &str) -> f64 {
        match self.get(name) {
            Value::Number(number) => number,
            Value::Flag(_) => panic!("`{name}` is declared as a flag"),
        }
    }

    /// The value of a flag.
    ///
    /// # Panics
    /// If the method does not declare it as a flag in [`MethodFacts::params`].
    pub fn flag(&self, name: &str) -> bool {
        match self.get(name) {
            Value::Flag(flag) => flag,
            Value::Number(_) => panic!("`{name}` is declared as a number"),
        }
    }

    fn get(&self, name: &str) -> Value {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("`{name}` is not declared")).1
    }
}

/// One tensor of every model to merge; all have the same shape.
pub struct Inputs<'a> {
    /// The base's tensor, for methods that take differences from it.
    pub base: Option<Values<'a>>,
    /// The other models' tensors, in recipe order.
    pub models: Vec<Input<'a>>,
    /// The parameters of the merge.
    pub settings: Settings,
    /// Row-major extents, outermost first.
    pub shape: &'a [usize],
}

impl Inputs<'_> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True if there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Length of a row: the last extent, or 1 for a scalar.
    pub fn row(&self) -> usize {
        self.shape.last().copied().unwrap_or(1).max(1)
    }

    /// The base's tensor, for methods that require a base.
    ///
    /// # Panics
    /// If there is no base.
    pub fn base(&self) -> &dyn Elements {
        self.base.as_deref().expect("planned with a base")
    }
}

/// A tensor's elements.
pub type Values<'a> = Box<dyn Elements + 'a>;

/// One model's tensor.
pub struct Input<'a> {
    /// The tensor's elements.
    pub values: Values<'a>,
    /// The parameters of the model.
    pub settings: Settings,
    /// Source of its random mask.
    pub draws: Draws,
}

/// Computes any block: inputs' elements in, merged elements out. It holds the whole-tensor facts that it needs.
pub struct Kernel {
    granule: usize,
    compute: Box<Compute>,
}

type Compute = dyn Fn(&Block<'_>, &mut [f32]) + Send + Sync;

impl Kernel {
    /// A kernel that works on any stretch.
    pub fn new(compute: impl Fn(&Block<'_>, &mut [f32]) + Send + Sync + 'static) -> Self {
        Self::by(1, compute)
    }

    /// A kernel that works on stretches of whole granules, such as rows: their start and their
    /// length are multiples of a granule.
    pub fn by(granule: usize, compute: impl Fn(&Block<'_>, &mut [f32]) + Send + Sync + 'static) -> Self {
        Self { granule: granule.max(1), compute: Box::new(compute) }
    }

    /// Number of elements in a granule.
    pub fn granule(&self) -> usize {
        self.granule
    }

    /// Merges a block.
    pub fn compute(&self, block: &Block<'_>, out: &mut [f32]) {
        (self.compute)(block, out);
    }
}

/// A stretch of every input, widened to `f32`.
pub struct Block<'b> {
    /// Position of its first element in the tensor.
    pub start: usize,
    /// The base's elements; empty if there is no base.
    pub base: &'b [f32],
    /// The other models' elements, in recipe order.
    pub models: &'b [Vec<f32>],
}

/// Inputs of [`Method::tensors`]: `f32` tensors of one shape, the stored one, on one device.
pub struct TensorInputs {
    /// The base's tensor, for methods that take differences from it.
    pub base: Option<Tensor>,
    /// The other models' tensors, in recipe order, each with its settings and the source of its mask.
    pub models: Vec<(Tensor, Settings, Draws)>,
    /// The parameters of the merge.
    pub settings: Settings,
}

#[cfg(test)]
mod tests;
