//! The program as its users meet it, and the promises that hold the repository together.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod kit;
mod browser;
mod cli;
mod conformance;
mod crashes;
mod data;
mod eval;
mod http;
mod export;
mod looks;
mod merges;
mod page;
mod path;
mod promises;
mod queue;
mod refusals;
mod report;
mod search;
mod sharing;
mod studies;
mod tidy;
