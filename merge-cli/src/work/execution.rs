//! Where a merge is computed: on how many threads, on which device.

use crate::args::Execution;
use merge_core::{
    error::{Error, Result},
    merge::Merge,
};

/// As many threads as were asked for.
pub(crate) fn set_threads(execution: &Execution) -> Result<()> {
    let Some(threads) = execution.threads else { return Ok(()) };
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads.into())
        .build_global()
        .map_err(|e| Error::machine(format!("cannot start {threads} threads: {e}")))
}

/// The merge, on the device that was asked for.
pub(crate) fn on_device(merge: Merge, execution: &Execution) -> Result<Merge> {
    match execution.device.as_str() {
        "cpu" => Ok(merge),
        device => Ok(merge.on(evaluator::model::device(device)?)),
    }
}
