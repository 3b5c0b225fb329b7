//! Scores language models on Japanese benchmarks.

pub mod request;
pub mod normalize;
pub mod metric;
pub mod task;
pub mod model;
pub mod objective;
