//! Resources of the machine: slots, threads, memory and disks.

use crate::work::memory::MachineMemory;
use merge_core::{
    error::{Error, Result},
    file,
};
use std::{fs, path::Path, thread};
use sysinfo::{Pid, Process, ProcessRefreshKind, ProcessesToUpdate, System};

/// Resources that jobs share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    /// Number of jobs that run at the same time.
    pub(super) slots: usize,
    /// Threads of all jobs together.
    pub(super) threads: usize,
    /// Bytes of memory of all jobs together.
    pub(super) memory: u64,
    /// Bytes of a disk that stay free.
    pub(super) reserve: u64,
}

impl Machine {
    /// A machine with `slots` slots; default for `memory`: all of the memory.
    pub(super) fn new(slots: usize, memory: Option<usize>, reserve: usize) -> Result<Self> {
        let there = MachineMemory::here().total;
        let memory = memory.map_or(there, |memory| memory as u64);
        if memory > there {
            let (memory, there) = (crate::draw::screen::bytes(memory), crate::draw::screen::bytes(there));
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

/// Bytes of memory that a process uses, if the system says so.
pub(super) fn memory_of(pid: u32) -> Option<u64> {
    let pid = Pid::from_u32(pid);
    let mut system = System::new();
    let kind = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, kind);
    system.process(pid).map(Process::memory)
}

/// Number of processes that the system has killed because memory ran out, in this container or on
/// the machine; 0 if unknown.
pub(super) fn ended_for_memory() -> u64 {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default().to_owned();
    let files = [format!("/sys/fs/cgroup/{own}/memory.events"), "/proc/vmstat".to_owned()];
    let count = |file: &String| {
        let text = fs::read_to_string(file).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
    };
    files.iter().filter_map(count).max().unwrap_or(0)
}

/// Free bytes on the disk of a path, which need not exist.
pub(super) fn free(path: &Path) -> Option<u64> {
    let there = path.ancestors().find(|path| path.exists())?;
    file::room(there).ok()
}

/// Bytes of all files in a directory.
pub(super) fn size(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => size(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}
