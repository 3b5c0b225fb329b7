//! Scores language models on Japanese benchmarks.
//!
//! A [`task::Task`] asks and marks but never sees a model; a [`language_model::LanguageModel`] answers but never sees a
//! task. [`answer::Transformer`] answers by our own forward pass on candle: many requests at once, without padding, and
//! each answer is bit for bit the same as if it were the only one. [`server::ModelServer`] asks a server.
//! [`objective::Benchmarks`] joins tasks and models for a search, [`evaluation`] for a report.
//!
//! # Modules, in reading order: each uses those before it
//!
//! | module | has |
//! |---|---|
//! | [`request`], [`interrupt`], `contained`, [`process_group`], [`python`], `jinja` | requests and answers, stopping, other programs, and the behaviour of Python and Jinja |
//! | [`text`], [`mark`] | normalisation of Japanese text; rules that compare an answer with the right one |
//! | [`dataset`] | the benchmarks' data |
//! | [`prompt`] | turns prompts into tokens |
//! | [`statistics`] | intervals and tests of scores |
//! | [`guard`] | keeps the items of a search apart from those of the report |
//! | [`task`], [`protocol`] | tasks: items, prompts and marking; the definitions of published harnesses |
//! | [`language_model`] | the trait of everything that answers |
//! | [`model`] | our own forward pass: tokens in, logits out |
//! | [`answer`], [`server`], [`engine`] | answers from our forward pass, from a server, or from an engine that is given weights |
//! | [`judge`] | scores from a program or a service of the user's own |
//! | [`evaluation`], [`results`] | scores a model on tasks; writes the results |
//! | [`objective`] | the scores that a search maximises |
#![doc = include_str!("../README.md")]

pub mod request;
pub mod interrupt;
mod contained;
pub mod process_group;
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
pub mod engine;
pub mod judge;
pub mod evaluation;
pub mod results;
pub mod objective;
#[cfg(test)]
mod shared;
