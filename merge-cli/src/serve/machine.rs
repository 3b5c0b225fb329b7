//! What the machine has to give.

use merge_core::error::{Error, Result};
use std::{path::Path, thread};

/// What jobs share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    /// Jobs that run side by side.
    pub(super) slots: usize,
    /// Threads for all of them.
    pub(super) threads: usize,
    /// Bytes of memory for all of them.
    pub(super) memory: u64,
    /// Bytes of a disk that are left free.
    pub(super) reserve: u64,
}

impl Machine {
    /// With so many slots; all of the memory that there is, unless less is said.
    pub(super) fn new(slots: usize, memory: Option<usize>, reserve: usize) -> Result<Self> {
        let there = memory_of_machine();
        let memory = memory.map_or(there, |memory| memory as u64);
        if memory > there {
            let (memory, there) = (crate::screen::bytes(memory), crate::screen::bytes(there));
            return Err(Error::user(format!("--memory: this machine has {there}, which is less than {memory}")));
        }
        let threads = thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { slots, threads, memory, reserve: reserve as u64 })
    }

    /// A job's share of the threads.
    pub(super) fn share(&self) -> usize {
        (self.threads / self.slots).max(1)
    }
}

/// Bytes, as far as a container's limit lets them be used.
fn memory_of_machine() -> u64 {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let limit = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory);
    system.total_memory().min(limit)
}

/// Bytes that are free where a path is, or will be.
pub(super) fn free(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|path| path.exists())?;
    let disk = rustix::fs::statvfs(there).ok()?;
    Some(disk.f_bavail * disk.f_frsize)
}

/// Bytes of all files in a directory.
pub(super) fn size(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => size(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}
