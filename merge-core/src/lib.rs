//! Merges open language-model checkpoints and evolves merges.

pub mod error;
pub mod dtype;
pub mod weights;
pub mod checkpoint;
pub mod names;
pub mod random;
pub mod method;
pub mod recipe;
pub mod template;
pub mod search;
pub mod baseline;
pub mod merge;
pub mod export;
pub mod optimizer;
pub mod item;
pub mod store;
pub mod evolve;
