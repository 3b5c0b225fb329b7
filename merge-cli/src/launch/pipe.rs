//! A worker's process: starts it by a launcher, and carries lines to it and from it.

use super::message::{Order, Reply};
use merge_core::error::{Error, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

/// Most bytes of a line; a longer one is no reply.
const MOST: u64 = 64 << 20;
/// Lines of what else it wrote that are kept, and most characters of each.
const KEPT: (usize, usize) = (10, 300);
/// Time that a worker has to end by itself after its input has ended.
const ENDING: Duration = Duration::from_secs(5);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// A running worker, or what a launcher runs until there is one.
pub(super) struct WorkerProcess {
    child: Child,
    input: Option<ChildStdin>,
    replies: Receiver<Reply>,
    /// What it wrote last that is no reply: a login banner, an error.
    words: Arc<Mutex<VecDeque<String>>>,
}

/// What came from a worker.
pub(super) enum Heard {
    Reply(Reply),
    /// Nothing yet.
    Silence,
    /// It has ended.
    End,
}

impl WorkerProcess {
    /// Starts a command of a shell, in a process group of its own.
    pub(super) fn start(command: &str) -> Result<Self> {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = shell.spawn().map_err(|e| Error::machine(format!("cannot start `{command}`: {e}")))?;
        let words = Arc::new(Mutex::default());
        let (sender, replies) = mpsc::channel();
        let input = child.stdin.take();
        if let Some(out) = child.stdout.take() {
            let words = Arc::clone(&words);
            thread::spawn(move || {
                each_line(out, |line| {
                    if let Ok(reply) = serde_json::from_slice(line) {
                        return sender.send(reply).is_ok();
                    }
                    keep(&words, line);
                    true
                });
            });
        }
        if let Some(err) = child.stderr.take() {
            let words = Arc::clone(&words);
            thread::spawn(move || {
                each_line(err, |line| {
                    keep(&words, line);
                    true
                });
            });
        }
        Ok(Self { child, input, replies, words })
    }

    /// Sends an order; false if it cannot be sent.
    pub(super) fn tell(&mut self, order: &Order) -> bool {
        let mut line = serde_json::to_string(order).expect("keys are text and numbers are finite");
        line.push('\n');
        let Some(input) = &mut self.input else { return false };
        input.write_all(line.as_bytes()).and_then(|()| input.flush()).is_ok()
    }

    /// The next reply, waited for a little.
    pub(super) fn hear(&self, wait: Duration) -> Heard {
        match self.replies.recv_timeout(wait) {
            Ok(reply) => Heard::Reply(reply),
            Err(RecvTimeoutError::Timeout) => Heard::Silence,
            Err(RecvTimeoutError::Disconnected) => Heard::End,
        }
    }

    /// What it wrote last besides replies.
    pub(super) fn last_words(&self) -> String {
        let words = self.words.lock().expect("no panic while held");
        words.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// Its number on this machine.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for WorkerProcess {
    /// Ends its input, and by force what does not end then.
    fn drop(&mut self) {
        drop(self.input.take());
        let began = Instant::now();
        while began.elapsed() < ENDING && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(LOOK);
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Calls `take` with each whole line, until it returns false. A line that is too long ends the pipe, as does half a line.
fn each_line(pipe: impl Read, mut take: impl FnMut(&[u8]) -> bool) {
    let mut pipe = BufReader::new(pipe);
    loop {
        let mut line = Vec::new();
        match (&mut pipe).take(MOST).read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\n") && take(&line) => {}
            _ => return,
        }
    }
}

fn keep(words: &Mutex<VecDeque<String>>, line: &[u8]) {
    let text: String = String::from_utf8_lossy(line).trim_end().chars().take(KEPT.1).collect();
    let mut words = words.lock().expect("no panic while held");
    if !text.is_empty() {
        words.push_back(text);
    }
    if words.len() > KEPT.0 {
        words.pop_front();
    }
}
