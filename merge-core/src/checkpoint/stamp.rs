//! The state of a file without reading it: enough to notice that the file was changed.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

/// State of a file at one moment. It changes if the file is written to, cut or replaced, and
/// possibly if the bytes stay the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Device and inode.
    file: (u64, u64),
    len: u64,
    /// Last write, and last change of anything, which cannot be set back: seconds and nanoseconds.
    times: [(i64, i64); 2],
}

impl Stamp {
    /// The stamp of the file at a path; `None` if there is none.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            file: (found.dev(), found.ino()),
            len: found.len(),
            times: [(found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec())],
        })
    }
}
