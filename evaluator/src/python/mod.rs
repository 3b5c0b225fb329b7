//! Behaviour of Python that harnesses rely on, to the bit: random draws, texts of values, literals.

mod literal;
mod random;
#[cfg(test)]
mod tests;
mod text;

pub use literal::literal;
pub use random::PythonRandom;
pub use text::{dumps, float, is_space, repr, split, str, strip};
