//! Paths of benchmark data and fixtures that may not be copied into the repository; tests read them in place.

use std::{
    env,
    path::{Path, PathBuf},
};

/// Path of a file in the folder `shared` beside the repository (or in `EVOMERGE_SHARED`). Tests
/// that need it are ignored if that folder has no data (see `tests/needs.rs`).
pub(crate) fn shared(path: &str) -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let file = env::var_os("EVOMERGE_SHARED").map_or(beside, PathBuf::from).join(path);
    assert!(file.exists(), "{} is missing", file.display());
    file
}
