//! Merge methods: a table of formulas, each as a kernel over blocks and as candle tensor operations.
//!
//! A method sees stretches of `f32`, or candle tensors, and its settings; never names, paths or stored types. It looks at
//! whole tensors first ([`Method::kernel`] may sum over them), then works on any block of them.

pub mod linear;
pub mod task_arithmetic;

use crate::{dtype::Dtype, random::Stream};
use candle_core::Tensor;
use rayon::prelude::*;
use std::borrow::Cow;

/// Every method, in the order help shows them.
pub const METHODS: &[&dyn Method] = &[&linear::Linear, &task_arithmetic::TASK_ARITHMETIC, &task_arithmetic::DARE_TIES];

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
    /// What it does with `base_model`.
    fn base(&self) -> Base;
    /// What a recipe may set.
    fn params(&self) -> &'static [Param];
    /// Why these settings have no result for a tensor, if they have none, such as weights that sum to zero.
    fn refusal(&self, _merge: &Settings, _models: &[Settings]) -> Option<String> {
        None
    }
    /// The CPU form: whole-tensor facts first, then a closure for any block.
    fn kernel<'a>(&self, inputs: &'a Inputs<'a>) -> Kernel<'a>;
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

/// A parameter's value for one tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// For [`Domain::Number`].
    Number(f64),
    /// For [`Domain::Flag`].
    Flag(bool),
}

/// The values of a method's parameters for one tensor, of the merge or of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(pub Vec<(&'static str, Value)>);

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

/// One tensor of every model that is merged.
pub struct Inputs<'a> {
    /// The base's, for methods that need one.
    pub base: Option<Stored<'a>>,
    /// The other models', in recipe order.
    pub models: Vec<Input<'a>>,
    /// The parameters of the merge.
    pub settings: Settings,
}

/// One model's tensor.
pub struct Input<'a> {
    /// Its elements.
    pub values: Stored<'a>,
    /// The parameters of the model.
    pub settings: Settings,
    /// What its random mask is drawn from.
    pub stream: Stream,
}

/// A tensor as it is stored, readable as `f32` in stretches.
pub struct Stored<'a> {
    dtype: Dtype,
    bytes: Cow<'a, [u8]>,
}

impl<'a> Stored<'a> {
    /// A tensor's bytes, little-endian.
    pub fn new(dtype: Dtype, bytes: Cow<'a, [u8]>) -> Self {
        Self { dtype, bytes }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Reads the elements from `start` on, exactly.
    pub fn read(&self, start: usize, out: &mut [f32]) {
        let size = self.dtype.size();
        self.dtype.widen(&self.bytes[start * size..(start + out.len()) * size], out);
    }
}

/// Computes one block: the inputs' elements in, the merged elements out.
pub type Kernel<'a> = Box<dyn Fn(&Block<'_>, &mut [f32]) + Sync + 'a>;

/// A stretch of every input, widened.
pub struct Block<'b> {
    /// The position of its first element in the tensor.
    pub start: usize,
    /// The base's elements; empty if there is no base.
    pub base: &'b [f32],
    /// The other models' elements, in recipe order.
    pub models: &'b [Vec<f32>],
}

/// Elements in a block: with five inputs it fits a core's second-level cache.
pub const BLOCK: usize = 16 * 1024;

/// The sum of `of(start, base, model)` over all blocks of the base and one model, in `f64` and in block order, so that the
/// number of threads changes nothing. `N` sums are taken in one pass.
pub fn sum_over_blocks<const N: usize>(
    base: &Stored<'_>,
    model: &Stored<'_>,
    of: impl Fn(usize, &[f32], &[f32]) -> [f64; N] + Sync,
) -> [f64; N] {
    let starts: Vec<usize> = (0..model.len()).step_by(BLOCK).collect();
    let sums: Vec<[f64; N]> = starts
        .into_par_iter()
        .map(|start| {
            let len = BLOCK.min(model.len() - start);
            let (mut b, mut x) = (vec![0.0; len], vec![0.0; len]);
            base.read(start, &mut b);
            model.read(start, &mut x);
            of(start, &b, &x)
        })
        .collect();
    sums.iter().fold([0.0; N], |total, block| std::array::from_fn(|i| total[i] + block[i]))
}

/// What [`Method::tensors`] works on: `f32` tensors of one shape on one device.
pub struct TensorInputs {
    /// The base's, for methods that need one.
    pub base: Option<Tensor>,
    /// The other models', in recipe order, each with its parameters and the stream of its mask.
    pub models: Vec<(Tensor, Settings, Stream)>,
    /// The parameters of the merge.
    pub settings: Settings,
}

#[cfg(test)]
mod tests;
