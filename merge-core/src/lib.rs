//! Merges open language-model checkpoints and evolves merges.

pub mod checkpoint;
pub mod dtype;
pub mod error;
pub mod method;
pub mod random;
pub mod weights;
