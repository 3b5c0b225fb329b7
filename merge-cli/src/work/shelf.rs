//! Where the data of benchmarks is kept.

use evaluator::dataset::Shelf;
use merge_core::{environment, error::Result};

/// Where data is kept, as the environment says.
pub(crate) fn shelf() -> Result<Shelf> {
    Shelf::from_env(&|name| environment::path(name).map(|path| path.to_string_lossy().into_owned()))
}
