//! Measures a command: its time, its processor time and its memory.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// Interval between two readings of the memory.
const EVERY: Duration = Duration::from_millis(20);

/// Cost of one run.
#[derive(Clone, Copy, Default)]
pub(crate) struct Measured {
    /// Seconds from start to end.
    pub(crate) wall: f64,
    /// Processor seconds of all cores, in programs and in the kernel.
    pub(crate) cpu: f64,
    /// Largest anonymous memory in bytes; mapped files belong to the page cache.
    pub(crate) anon: u64,
}

/// Runs a command to its end.
///
/// Fails with the command's error output if the command fails.
pub(crate) fn measured(command: &mut Command) -> io::Result<Measured> {
    let before = children_cpu()?;
    let began = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (id, ended) = (child.id(), AtomicBool::new(false));
    let (output, wall, anon) = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !ended.load(Ordering::Relaxed) {
                most = most.max(anon(id));
                thread::sleep(EVERY);
            }
            most
        });
        let output = child.wait_with_output();
        let wall = began.elapsed().as_secs_f64();
        ended.store(true, Ordering::Relaxed);
        (output, wall, watch.join().expect("it does not panic"))
    });
    let output = output?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(Measured { wall, cpu: children_cpu()? - before, anon })
}

/// Runs a command until it has written `bytes` bytes below a directory, then kills it.
///
/// Fails with the command's error output if the command fails before that.
pub(crate) fn begun(command: &mut Command, dir: &Path, bytes: u64) -> io::Result<(Measured, u64)> {
    let before = children_cpu()?;
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut measured = Measured::default();
    let mut written = 0;
    while written < bytes && child.try_wait()?.is_none() {
        thread::sleep(EVERY);
        measured.anon = measured.anon.max(anon(child.id()));
        written = room(dir)?;
        measured.wall = began.elapsed().as_secs_f64();
    }
    if written >= bytes {
        child.kill()?;
    }
    let output = child.wait_with_output()?;
    if written < bytes && !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    measured.cpu = children_cpu()? - before;
    Ok((measured, written))
}

/// Anonymous memory of a process in bytes, 0 if it has ended.
fn anon(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib: Option<u64> = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
    kib.unwrap_or(0) << 10
}

/// Processor seconds of this process's ended children.
fn children_cpu() -> io::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The program's name may hold anything. Fields 3, 4, … follow it; 16 and 17 are in 0.01 s.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let hundredths = fields.get(13..15).unwrap_or_default().iter().filter_map(|field| field.parse::<f64>().ok());
    Ok(hundredths.sum::<f64>() / 100.0)
}

/// Disk space of the files below a directory, without holes.
fn room(dir: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        // A file that is renamed or removed meanwhile is counted next time.
        let Ok(entry) = entry else { continue };
        let Ok(meta) = entry.metadata() else { continue };
        sum += if meta.is_dir() { room(&entry.path()).unwrap_or(0) } else { 512 * meta.blocks() };
    }
    Ok(sum)
}
