//! Scores language models on Japanese benchmarks.
//!
//! A [`task::Task`] asks and marks and never sees a model; a [`request::LanguageModel`] answers and never sees a task.
//! [`model::Transformer`] is our own forward pass on candle: many requests at once, without padding, each answered bit for bit as
//! if it were alone. [`objective::Benchmarks`] joins the two for a search, [`evaluation`] for a report.
//!
//! In reading order: [`request`] is what is said between them, and [`interrupt`] what ends it early; [`dataset`] is what the benchmarks' data is and how it is read;
//! [`normalize`] · [`mark`] · [`task`] ask and mark, [`protocol`] as published harnesses do; [`statistics`] says how sure a score
//! is; [`model`] answers; [`evaluation`] puts tasks to a model, [`results`] writes down what came of it; [`guard`] keeps what is
//! searched on from what is reported; [`objective`] is what a search maximises.

pub mod request;
pub mod interrupt;
pub mod python;
pub mod normalize;
pub mod mark;
pub mod dataset;
pub mod task;
pub mod protocol;
pub mod statistics;
pub mod model;
pub mod evaluation;
pub mod results;
pub mod guard;
pub mod objective;
mod contained;
mod jinja;
#[cfg(test)]
mod shared;
