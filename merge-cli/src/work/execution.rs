//! The number of threads and the device of a merge.

use crate::args::Execution;
use merge_core::{
    error::{Error, Result},
    merge::Merge,
};

/// Sets the requested number of threads.
pub(crate) fn set_threads(execution: &Execution) -> Result<()> {
    let Some(threads) = execution.threads else { return Ok(()) };
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.into())
        .build_global()
        .map_err(|e| Error::machine(format!("cannot start {threads} threads: {e}")))
}

/// Moves the merge to the requested device.
pub(crate) fn on_device(merge: Merge, execution: &Execution) -> Result<Merge> {
    match execution.device.as_str() {
        "cpu" => Ok(merge),
        device => Ok(merge.on(evaluator::model::device(device)?)),
    }
}
