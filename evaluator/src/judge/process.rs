//! Runs a program in a process group of its own, with limits of time and output, and leaves no process behind.

use crate::{
    interrupt::Interrupt,
    process_group::{RunningGroup, last_lines},
};
use merge_core::error::{Error, Result};
use std::{
    collections::VecDeque,
    io::{self, Read},
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Longest pause between two looks at a program, and first one: short programs are not waited for.
const PAUSE: Duration = Duration::from_millis(20);
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// Time for the rest of the output after the end of a program and all of its group.
const REST: Duration = Duration::from_secs(2);
/// Bytes of the error output that are kept while it is read.
const KEPT: usize = 64 << 10;

/// End of a program.
pub(super) struct ProcessEnd {
    pub(super) how: ProcessFate,
    /// Standard output, up to the limit.
    pub(super) out: Vec<u8>,
    /// Last lines of the error output.
    pub(super) last_lines: Vec<String>,
}

/// How a program ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ProcessFate {
    Done,
    Code(i32),
    Signal(i32),
    TimedOut,
    /// It wrote more to its standard output than is read.
    TooMuch,
}

/// Runs a program to its end, with at most `most` bytes of standard output.
///
/// Fails if it cannot be started, which is the machine's fault, and if interrupted: then it was killed.
pub(super) fn run(command: &mut Command, timeout: Duration, most: usize, interrupt: &Interrupt) -> Result<ProcessEnd> {
    let began = Instant::now();
    let started = RunningGroup::spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut running = started.map_err(|e| {
        let program = command.get_program().display();
        Error::machine(format!("cannot start {program}: {e}"))
            .hint("is it there, and may it be run? a script begins with a line such as `#!/usr/bin/env python3`")
    })?;
    let out = Heard::of(running.child.stdout.take(), Kept::First(most));
    let err = Heard::of(running.child.stderr.take(), Kept::Last(KEPT));
    let mut pause = FIRST_PAUSE;
    let stopped = loop {
        if running.has_ended() {
            break None;
        }
        if interrupt.is_set() {
            return Err(Error::interrupted());
        }
        if began.elapsed() > timeout {
            break Some(ProcessFate::TimedOut);
        }
        if out.is_full() {
            break Some(ProcessFate::TooMuch);
        }
        thread::sleep(pause);
        pause = (2 * pause).min(PAUSE);
    };
    let status = running.end().map_err(|e| Error::machine(format!("cannot wait for a process: {e}")))?;
    let (is_full, out, err) = (out.is_full(), out.take(), err.take());
    let how = stopped.unwrap_or_else(|| match (status.code(), status.signal()) {
        _ if is_full => ProcessFate::TooMuch,
        (Some(0), _) => ProcessFate::Done,
        (Some(code), _) => ProcessFate::Code(code),
        (None, signal) => ProcessFate::Signal(signal.unwrap_or(0)),
    });
    Ok(ProcessEnd { how, out, last_lines: last_lines(&err) })
}

/// Which bytes of a pipe are kept, and how many.
#[derive(Clone, Copy)]
enum Kept {
    First(usize),
    Last(usize),
}

/// What a thread has read from a pipe.
///
/// The thread is not waited for: a process that left the group may hold the pipe for ever.
#[derive(Clone)]
struct Heard(Arc<(Mutex<HeardBytes>, Condvar)>);

#[derive(Default)]
struct HeardBytes {
    bytes: VecDeque<u8>,
    is_full: bool,
    is_over: bool,
}

impl Heard {
    fn of(pipe: Option<impl Read + Send + 'static>, kept: Kept) -> Self {
        let heard = Self(Arc::default());
        let (Some(mut pipe), writer) = (pipe, heard.clone()) else { return heard };
        thread::spawn(move || {
            let mut buffer = vec![0; 16 << 10];
            loop {
                match pipe.read(&mut buffer) {
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Ok(0) | Err(_) => break,
                    Ok(n) => writer.keep(&buffer[..n], kept),
                }
            }
            writer.locked(|heard| heard.is_over = true);
            writer.0.1.notify_all();
        });
        heard
    }

    fn locked<T>(&self, change: impl FnOnce(&mut HeardBytes) -> T) -> T {
        change(&mut self.0.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps bytes within the limit, and lets the others go: the writer must not wait for a reader.
    fn keep(&self, read: &[u8], kept: Kept) {
        self.locked(|heard| match kept {
            Kept::First(most) => {
                let room = most.saturating_sub(heard.bytes.len());
                heard.is_full |= read.len() > room;
                heard.bytes.extend(&read[..read.len().min(room)]);
            }
            Kept::Last(most) => {
                heard.bytes.extend(read);
                let surplus = heard.bytes.len().saturating_sub(most);
                heard.bytes.drain(..surplus);
            }
        });
    }

    fn is_full(&self) -> bool {
        self.locked(|heard| heard.is_full)
    }

    /// All bytes that were kept, after a short wait for the pipe's end.
    fn take(self) -> Vec<u8> {
        let (lock, over) = &*self.0;
        let heard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = over.wait_timeout_while(heard, REST, |heard| !heard.is_over);
        let (mut heard, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut heard.bytes).into()
    }
}
