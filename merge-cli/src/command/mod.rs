//! The commands: one file and one entry function for each.

pub(crate) mod completions;
pub(crate) mod data;
pub(crate) mod diff;
pub(crate) mod eval;
pub(crate) mod inspect;
pub(crate) mod jobs;
pub(crate) mod launch;
pub(crate) mod merge;
pub(crate) mod methods;
pub(crate) mod plan;
pub(crate) mod report;
pub(crate) mod schema;
pub(crate) mod search;
pub(crate) mod serve;
pub(crate) mod submit;
pub(crate) mod tasks;
pub(crate) mod verify;
