//! Scores language models on Japanese benchmarks.

pub mod request;
