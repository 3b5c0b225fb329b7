//! YAML that people write, read so that each mistake has its place: recipes and searches here, tasks in the evaluator.

pub(crate) mod map;
pub(crate) mod place;
mod reader;
mod text;
pub(crate) mod tree;
mod unseen;

pub use map::Map;
pub use place::{At, Mistake, Place, known_names};
pub use text::{Reads, Text, confine, first_there, held_in, hold, is_there, read_text, reading};
pub use tree::{Node, NodeKind};
