//! What a file system says of a file without reading it: enough to notice that it was changed.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

/// A file at a moment. Writing to it, cutting it and putting another in its place change this; so may what leaves its bytes
/// as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Which file of which device.
    file: (u64, u64),
    len: u64,
    /// When its bytes were last written, and when anything of it was: seconds and nanoseconds. The second cannot be set back.
    times: [(i64, i64); 2],
}

impl Stamp {
    /// Of the file at a path; `None` if there is none.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            file: (found.dev(), found.ino()),
            len: found.len(),
            times: [(found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec())],
        })
    }
}
