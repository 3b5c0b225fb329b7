//! Steps that commands and the server share: open, check, estimate, stop.

pub(crate) mod engines;
pub(crate) mod eval_tasks;
pub(crate) mod execution;
pub(crate) mod footprints;
pub(crate) mod interrupt;
pub(crate) mod memory;
pub(crate) mod model;
pub(crate) mod search;
pub(crate) mod search_tasks;
pub(crate) mod shelf;
