//! A model as its tensors: names, types and shapes, layers, digests, and comparisons.

pub mod belongings;
pub mod blocks;
pub mod compare;
pub mod digest;
pub mod dtype;
pub(crate) mod elements;
pub mod hash;
pub(crate) mod head;
pub mod layers;
mod mixture;
pub(crate) mod spelling;
mod view;
pub(crate) mod weights;

pub use elements::{Elements, Stored, whole};
pub use mixture::{MixedAdapter, Mixture};
pub(crate) use view::WeightsView;
pub use weights::{Config, Index, LayerHop, LayerPath, Meta, Weights, check_finite};
