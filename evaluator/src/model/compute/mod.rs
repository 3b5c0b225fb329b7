//! The arithmetic of a forward pass: our own kernels on a CPU, candle's tensor operations on any other device.

mod attend;
mod dot;
pub(crate) mod kernel;
pub(crate) mod matrix;
pub(crate) mod ops;
pub(crate) mod pointwise;
pub(crate) mod product;
mod tile;

pub use self::dot::Bf16Dot;
