//! Tests of the program as users run it, and of the rules of the repository.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod kit;
mod belongings;
mod browser;
mod claims;
mod cli;
mod conformance;
mod crashes;
mod data;
mod engine_double;
mod engines;
mod eval;
mod evollm;
mod hostile;
mod http;
mod inputs;
mod judges;
mod keeping;
mod launch;
mod llama_cpp;
mod export;
mod looks;
mod memory;
mod merges;
mod mutations;
mod page;
mod path;
mod progress;
mod promises;
mod queue;
mod ray;
mod refusals;
mod report;
mod search;
mod sharing;
mod spellings;
mod stacks;
mod studies;
mod submitting;
mod tidy;
mod tokens;
mod verifying;
mod workers;
