//! Benchmark data and fixtures that may not be copied into the repository: tests read them where they are.

use std::{
    env,
    path::{Path, PathBuf},
};

/// A file of the folder `shared` beside the repository (or `EVOMERGE_SHARED`). Tests that need it are ignored where that has no
/// data (see `tests/needs.rs`).
pub(crate) fn shared(path: &str) -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let file = env::var_os("EVOMERGE_SHARED").map_or(beside, PathBuf::from).join(path);
    assert!(file.exists(), "{} is missing", file.display());
    file
}
