//! Benchmark data and fixtures that may not be copied into the repository: tests read them where they are.

use std::{
    env,
    path::{Path, PathBuf},
};

/// A file of the folder `shared` beside the repository (or `EVOMERGE_SHARED`); without it a test is left out, but not in CI.
#[expect(clippy::print_stderr, reason = "whoever runs the tests should know what was left out")]
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let file = env::var_os("EVOMERGE_SHARED").map_or(beside, PathBuf::from).join(path);
    if file.exists() {
        return Some(file);
    }
    assert!(env::var("CI").as_deref() != Ok("true"), "{} is missing", file.display());
    eprintln!("left out: {} is not there", file.display());
    None
}
