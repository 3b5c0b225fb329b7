//! The directory of the benchmarks' data.

use evaluator::dataset::Shelf;
use merge_core::{environment, error::Result};

/// Returns the shelf in the directory that the environment names.
pub(crate) fn shelf() -> Result<Shelf> {
    Shelf::from_env(&|name| environment::path(name).map(|path| path.to_string_lossy().into_owned()))
}
