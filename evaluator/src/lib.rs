//! Scores language models on Japanese benchmarks.

pub mod metric;
pub mod normalize;
pub mod request;
pub mod task;
