//! Workers: processes that score candidates at the other end of a pipe, and what starts them.
//!
//! A worker reads orders from its standard input and writes replies to its standard output, a line of JSON each. Whoever
//! starts it owns it: it ends with its input. A candidate goes as its recipe, with the items to score; the worker has the
//! models, and refuses work if its files are not those that the search names by hash.

mod message;
mod objective;
mod pipe;
mod worker;
mod workers;

pub(crate) use self::{
    message::{StudyOrder, schema},
    objective::RemoteObjective,
    worker::serve,
    workers::Workers,
};
