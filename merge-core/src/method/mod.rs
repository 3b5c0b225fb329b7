//! Merge methods: a table of formulas, each as a kernel over blocks and as candle tensor operations.

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

/// A parameter's value for one tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// For [`Domain::Number`].
    Number(f64),
    /// For [`Domain::Flag`].
    Flag(bool),
}
