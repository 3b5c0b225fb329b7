//! Merges open language-model checkpoints and evolves merges.

pub mod error;
pub mod dtype;
pub mod weights;
pub mod checkpoint;
pub mod random;
pub mod method;
pub mod optimizer;
