//! Scores language models on Japanese benchmarks.
//!
//! A [`task::Task`] asks and marks and never sees a model; a [`language_model::LanguageModel`] answers and never sees a task.
//! [`answer::Transformer`] answers by our own forward pass on candle: many requests at once, without padding, each answered bit for bit
//! as if it were alone; [`server::ModelServer`] asks a server. [`objective::Benchmarks`] joins tasks and models for a search, [`evaluation`] for a
//! report.
//!
//! # The map, in reading order: each room uses those before it
//!
//! | room | has |
//! |---|---|
//! | [`request`], [`interrupt`], `contained`, [`python`], `jinja` | the ground floor: what is asked and answered, and Python's and Jinja's ways |
//! | [`text`], [`mark`] | Japanese text made comparable; the rules that compare an answer with the right one |
//! | [`dataset`] | the benchmarks' data |
//! | [`prompt`] | a prompt becomes tokens |
//! | [`statistics`] | how sure a score is |
//! | [`guard`] | what is searched on stays apart from what is reported |
//! | [`task`], [`protocol`] | what is asked, how it is marked, and how the published harnesses do both |
//! | [`language_model`] | who answers: the trait |
//! | [`model`] | our own forward pass: tokens in, logits out |
//! | [`answer`], [`server`] | requests are answered by our forward pass, or by a server |
//! | [`evaluation`], [`results`] | tasks are put to a model, and written down |
//! | [`objective`] | what a search maximises |

pub mod request;
pub mod interrupt;
mod contained;
pub mod python;
mod jinja;
pub mod text;
pub mod mark;
pub mod dataset;
pub mod prompt;
pub mod statistics;
pub mod guard;
pub mod task;
pub mod protocol;
pub mod language_model;
pub mod model;
pub mod answer;
pub mod server;
pub mod evaluation;
pub mod results;
pub mod objective;
#[cfg(test)]
mod shared;
