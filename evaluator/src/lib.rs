//! Scores language models on Japanese benchmarks.

pub mod model;
pub mod request;
