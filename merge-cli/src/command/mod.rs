//! One command, one file, one function.

pub(crate) mod completions;
pub(crate) mod eval;
pub(crate) mod merge;
pub(crate) mod methods;
pub(crate) mod plan;
pub(crate) mod schema;
pub(crate) mod search;
pub(crate) mod verify;
