//! Merges open language-model checkpoints and evolves merges.

pub mod dtype;
pub mod error;
pub mod method;
pub mod recipe;
pub mod search;
pub mod template;
pub mod weights;
