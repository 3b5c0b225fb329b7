//! Merge methods: a table of formulas, each as a kernel over blocks and as candle tensor operations.
//!
//! A method sees stretches of `f32`, or candle tensors, and its settings; never names, paths or stored types. It looks at
//! whole tensors first ([`Method::kernel`] may sum over them), then works on any block of them.

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

/// Every method, in the order help shows them.
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

/// Parameters that published recipes carry with any method and that change nothing in any, with the reason.
pub const WITHOUT_EFFECT: [(&str, &str); 2] = [
    ("embed_slerp", "mergekit has not read it since 2023"),
    ("int8_mask", "it was the type of masks that are never held here"),
];

/// The method of that name.
pub fn method(name: &str) -> Option<&'static dyn Method> {
    METHODS.iter().copied().find(|method| method.name() == name)
}

/// A merge method. Its two forms compute the same; the tensor form runs on any device and is the kernel's oracle.
pub trait Method: Sync {
    /// Its name in a recipe.
    fn name(&self) -> &'static str;
    /// One line of help: the formula in words, and when to use it.
    fn summary(&self) -> &'static str;
    /// Where it is from: a paper, or the program that had it first.
    fn reference(&self) -> &'static str;
    /// What it does with `base_model`.
    fn base(&self) -> Base;
    /// How many models it merges: beside the base if that is required, else all of them.
    fn models(&self) -> RangeInclusive<usize> {
        1..=usize::MAX
    }
    /// What a recipe may set.
    fn params(&self) -> &'static [Param];
    /// Why these settings have no result for a tensor, if they have none, such as weights that sum to zero.
    fn refusal(&self, _merge: &Settings, _models: &[Settings]) -> Option<String> {
        None
    }
    /// Whether it draws a random number for each element of a model with these settings.
    fn draws(&self, _model: &Settings) -> bool {
        false
    }
    /// The CPU form: whole-tensor facts first, then a closure for any block. Fails where an input cannot be read.
    fn kernel(&self, inputs: &Inputs<'_>) -> Result<Kernel>;
    /// The same in tensor operations, in `f32` on any device.
    fn tensors(&self, inputs: &TensorInputs) -> candle_core::Result<Tensor>;
}

/// What a method does with `base_model`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// Task vectors are differences from it.
    Required,
    /// It is one more model to merge.
    Merged,
    /// Differences from it are merged if there is one, and whole models otherwise.
    Optional,
}

/// A parameter of a method, declared once; recipes, help, schema and search ranges derive from it.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Its name in a recipe.
    pub name: &'static str,
    /// Where it may be set.
    pub scope: Scope,
    /// What it may hold.
    pub domain: Domain,
    /// Its value when a recipe does not set it; `None` means that a recipe must.
    pub default: Option<Value>,
    /// One line of help.
    pub help: &'static str,
    /// Whether it changes nothing, and is accepted because mergekit's recipes carry it.
    pub unused: bool,
}

/// Where a parameter may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Once for the merge, under the recipe's own `parameters`.
    Merge,
    /// For each model that is not the base; the recipe's own `parameters` give what a model leaves open.
    Model,
}

/// What a parameter may hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Domain {
    /// A number from `min` to `max`, both included.
    Number {
        /// Least value.
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
    /// A share of a whole.
    pub const SHARE: Self = Self::Number { min: 0.0, max: 1.0 };
}

impl fmt::Display for Domain {
    /// `0 to 1`, `at least 0`, `any number`, `true or false`
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
    /// For [`Domain::Number`].
    Number(f64),
    /// For [`Domain::Flag`].
    Flag(bool),
}

/// The values of a method's parameters for one tensor, of the merge or of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(pub Vec<(&'static str, Value)>);

impl fmt::Display for Settings {
    /// `weight=0.3 normalize=true`
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
    /// The value of a number.
    ///
    /// # Panics
    /// If the method did not declare it in [`Method::params`].
    pub fn number(&self, name: &str) -> f64 {
        match self.get(name) {
            Value::Number(number) => number,
            Value::Flag(_) => panic!("`{name}` is declared as a flag"),
        }
    }

    /// The value of a flag.
    ///
    /// # Panics
    /// If the method did not declare it in [`Method::params`].
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

/// One tensor of every model that is merged; all have the same shape.
pub struct Inputs<'a> {
    /// The base's, for methods that take differences from it.
    pub base: Option<Values<'a>>,
    /// The other models', in recipe order.
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

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The length of a row: the last extent, or one for a number.
    pub fn row(&self) -> usize {
        self.shape.last().copied().unwrap_or(1).max(1)
    }

    /// The base, for methods that are not planned without one.
    ///
    /// # Panics
    /// If there is none.
    pub fn base(&self) -> &dyn Elements {
        self.base.as_deref().expect("planned with a base")
    }
}

/// A tensor's elements.
pub type Values<'a> = Box<dyn Elements + 'a>;

/// One model's tensor.
pub struct Input<'a> {
    /// Its elements.
    pub values: Values<'a>,
    /// The parameters of the model.
    pub settings: Settings,
    /// Where its random mask is drawn from.
    pub draws: Draws,
}

/// Computes any block: the inputs' elements in, the merged elements out. It holds what had to be known of the whole tensor.
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

    /// A kernel that works on stretches of whole granules, such as rows: they begin at a multiple of it, and are as long as
    /// a multiple of it.
    pub fn by(granule: usize, compute: impl Fn(&Block<'_>, &mut [f32]) + Send + Sync + 'static) -> Self {
        Self { granule: granule.max(1), compute: Box::new(compute) }
    }

    /// Elements that make a granule.
    pub fn granule(&self) -> usize {
        self.granule
    }

    /// Merges a block.
    pub fn compute(&self, block: &Block<'_>, out: &mut [f32]) {
        (self.compute)(block, out);
    }
}

/// A stretch of every input, widened.
pub struct Block<'b> {
    /// The position of its first element in the tensor.
    pub start: usize,
    /// The base's elements; empty if there is no base.
    pub base: &'b [f32],
    /// The other models' elements, in recipe order.
    pub models: &'b [Vec<f32>],
}

/// What [`Method::tensors`] works on: `f32` tensors of one shape, the stored one, on one device.
pub struct TensorInputs {
    /// The base's, for methods that take differences from it.
    pub base: Option<Tensor>,
    /// The other models', in recipe order, each with its parameters and where its mask is drawn from.
    pub models: Vec<(Tensor, Settings, Draws)>,
    /// The parameters of the merge.
    pub settings: Settings,
}

#[cfg(test)]
mod tests;
