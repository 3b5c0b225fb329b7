//! A worker's pipe: carries orders to it and replies from it, whatever runs it.

use super::{
    message::{Order, Reply},
    ray::RayActor,
};
use evaluator::process_group::RunningGroup;
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    sync::{
        Arc, Mutex,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::Duration,
};

/// Most bytes of a line; a longer one is no reply.
const MOST: u64 = 64 << 20;
/// Lines of what else it wrote that are kept, and most characters of each.
const KEPT: (usize, usize) = (10, 300);
/// Time that a worker's last words have to come.
const LATER: Duration = Duration::from_millis(100);
/// Time that a worker has to end by itself after its input has ended.
pub(super) const ENDING: Duration = Duration::from_secs(5);

/// A running worker, or what a launcher runs until there is one. Its input ends when it is dropped, and it by force then.
pub(super) struct WorkerPipe {
    carrier: Carrier,
    replies: Receiver<Reply>,
    words: LastWords,
}

/// What runs a worker.
pub(super) enum Carrier {
    /// A launcher's process, and its input until that ends.
    Process(RunningGroup, Option<LineWriter>),
    /// An actor of a Ray cluster.
    Actor(RayActor),
}

/// What came from a worker.
pub(super) enum Heard {
    Reply(Reply),
    /// Nothing yet.
    Silence,
    /// It has ended.
    End,
}

/// The last lines of a worker that are no replies: a login banner, an error.
#[derive(Clone, Default)]
pub(super) struct LastWords(Arc<Mutex<VecDeque<String>>>);

/// Writes lines in a thread of its own: whoever does not read keeps nobody waiting. The pipe ends when this is dropped.
pub(super) struct LineWriter(Sender<String>);

/// Takes what a worker writes to its standard output. The worker has ended when this is dropped.
pub(super) struct Ear {
    replies: Sender<Reply>,
    pub(super) words: LastWords,
}

impl WorkerPipe {
    /// A pipe, whose ear begins to hear with `carrier`.
    pub(super) fn new<E>(carrier: impl FnOnce(Ear) -> Result<Carrier, E>) -> Result<Self, E> {
        let (sender, replies) = mpsc::channel();
        let words = LastWords::default();
        Ok(Self { carrier: carrier(Ear { replies: sender, words: words.clone() })?, replies, words })
    }

    /// Sends an order; false if it cannot be sent.
    pub(super) fn tell(&self, order: &Order) -> bool {
        let line = serde_json::to_string(order).expect("keys are text and numbers are finite");
        match &self.carrier {
            Carrier::Actor(actor) => actor.tell(&line),
            Carrier::Process(_, input) => input.as_ref().is_some_and(|input| input.write(line)),
        }
    }

    /// The next reply, waited for a little.
    pub(super) fn hear(&self, wait: Duration) -> Heard {
        match self.replies.recv_timeout(wait) {
            Ok(reply) => Heard::Reply(reply),
            Err(RecvTimeoutError::Timeout) => Heard::Silence,
            Err(RecvTimeoutError::Disconnected) => {
                // What it said to standard error may come later.
                thread::sleep(LATER);
                Heard::End
            }
        }
    }

    /// What it wrote last besides replies.
    pub(super) fn last_words(&self) -> String {
        self.words.text()
    }

    /// What runs it, for messages.
    pub(super) fn runner(&self) -> String {
        match &self.carrier {
            Carrier::Process(running, _) => format!("process {}", running.child.id()),
            Carrier::Actor(_) => "a Ray actor".to_owned(),
        }
    }
}

impl Drop for WorkerPipe {
    fn drop(&mut self) {
        if let Carrier::Process(running, input) = &mut self.carrier {
            drop(input.take());
            running.end_within(ENDING);
        }
    }
}

impl LineWriter {
    pub(super) fn new(mut pipe: impl Write + Send + 'static) -> Self {
        let (sender, lines) = mpsc::channel::<String>();
        thread::spawn(move || {
            for line in lines {
                if pipe.write_all(line.as_bytes()).and_then(|()| pipe.flush()).is_err() {
                    return;
                }
            }
        });
        Self(sender)
    }

    /// Writes a line, soon; false if the pipe is broken.
    pub(super) fn write(&self, line: String) -> bool {
        self.0.send(line + "\n").is_ok()
    }
}

impl Ear {
    /// Takes a line; false if nobody listens any more.
    pub(super) fn take(&self, line: &[u8]) -> bool {
        if let Ok(reply) = serde_json::from_slice(line) {
            return self.replies.send(reply).is_ok();
        }
        self.words.keep(line);
        true
    }
}

impl LastWords {
    /// Keeps a line, and forgets the first of many.
    pub(super) fn keep(&self, line: &[u8]) {
        let text: String = String::from_utf8_lossy(line).trim_end().chars().take(KEPT.1).collect();
        let mut words = self.0.lock().expect("no panic while held");
        if !text.is_empty() {
            words.push_back(text);
        }
        if words.len() > KEPT.0 {
            words.pop_front();
        }
    }

    pub(super) fn text(&self) -> String {
        let words = self.0.lock().expect("no panic while held");
        words.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// Calls `take` with each whole line, until it returns false. A line that is too long ends the pipe, as does half a line.
pub(super) fn each_line(pipe: impl Read, mut take: impl FnMut(&[u8]) -> bool) {
    let mut pipe = BufReader::new(pipe);
    loop {
        let mut line = Vec::new();
        match (&mut pipe).take(MOST).read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\n") && take(&line) => {}
            _ => return,
        }
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
