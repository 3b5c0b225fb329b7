//! A worker's process: starts it by a launcher, and carries lines to it and from it.

use super::message::{Order, Reply};
use evaluator::process_group::RunningGroup;
use merge_core::error::{Error, Result};
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write as _},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

/// Most bytes of a line; a longer one is no reply.
const MOST: u64 = 64 << 20;
/// Lines of what else it wrote that are kept, and most characters of each.
const KEPT: (usize, usize) = (10, 300);
/// Time that a worker has to end by itself after its input has ended.
const ENDING: Duration = Duration::from_secs(5);

/// A running worker, or what a launcher runs until there is one.
pub(super) struct WorkerProcess {
    running: RunningGroup,
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
        shell.args(["-c", command]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running =
            RunningGroup::spawn(&mut shell).map_err(|e| Error::machine(format!("cannot start `{command}`: {e}")))?;
        let words = Arc::new(Mutex::default());
        let (sender, replies) = mpsc::channel();
        if let Some(out) = running.child.stdout.take() {
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
        if let Some(err) = running.child.stderr.take() {
            let words = Arc::clone(&words);
            thread::spawn(move || {
                each_line(err, |line| {
                    keep(&words, line);
                    true
                });
            });
        }
        Ok(Self { running, replies, words })
    }

    /// Sends an order; false if it cannot be sent.
    pub(super) fn tell(&mut self, order: &Order) -> bool {
        let mut line = serde_json::to_string(order).expect("keys are text and numbers are finite");
        line.push('\n');
        let Some(input) = &mut self.running.child.stdin else { return false };
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
        self.running.child.id()
    }
}

impl Drop for WorkerProcess {
    /// Ends its input, and by force what does not end then.
    fn drop(&mut self) {
        self.running.end_within(ENDING);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_of_a_sane_length_are_taken() {
        let taken = |text: &[u8]| {
            let mut all = Vec::new();
            each_line(text, |line| {
                all.push(String::from_utf8_lossy(line).into_owned());
                true
            });
            all
        };
        assert_eq!(taken(b"a\nb\nhalf a li"), ["a\n", "b\n"]);
        let mut long = vec![b'x'; MOST as usize];
        long.extend(b"\nafter\n");
        assert!(taken(&long).is_empty(), "what follows a line without an end is no line either");
    }
}
