//! A Ray cluster, whose actors run workers. One driver in Python starts them and carries their lines.

use super::{
    desk::LOOK,
    pipe::{Carrier, ENDING, Ear, LastWords, LineWriter, WorkerPipe, each_line},
};
use evaluator::{interrupt::Interrupt, process_group::RunningGroup};
use merge_core::error::{Error, Result};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

/// The driver.
const DRIVER: &str = include_str!("ray.py");
/// Longest wait for a cluster.
const CONNECTING: Duration = Duration::from_secs(120);

/// A Ray cluster.
pub(crate) struct RayCluster {
    settings: RaySettings,
    /// Python with the module `ray`.
    python: String,
    /// The driver, which is started again if it has ended.
    driver: Mutex<Arc<RayDriver>>,
    /// Number of actors started so far. None has a number that another had.
    started: AtomicU64,
}

/// What the driver is told.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RaySettings {
    /// Address of the cluster, or `auto`.
    pub(crate) address: String,
    /// Resources that an actor takes, by Ray's names for them.
    pub(crate) resources: BTreeMap<String, f64>,
    /// A worker's command, on all nodes.
    pub(crate) command: Vec<String>,
}

/// A running driver.
struct RayDriver {
    running: RunningGroup,
    /// Its input, until it ends.
    input: Option<LineWriter>,
    ears: Arc<Ears>,
}

/// Ears of the actors, by their numbers; `None` if the driver has ended.
struct Ears(Mutex<Option<BTreeMap<u64, Ear>>>);

/// A worker that is an actor. It ends when this is dropped.
pub(super) struct RayActor {
    driver: Arc<RayDriver>,
    number: u64,
}

impl RayCluster {
    /// Connects to a cluster, and says what it is. Fails if there is none, or no Python with Ray, or if interrupted.
    pub(crate) fn connect(python: &str, settings: RaySettings, interrupt: &Interrupt) -> Result<(Self, String)> {
        let (driver, said) = RayDriver::start(python, &settings, &|| interrupt.is_set())?;
        let driver = Mutex::new(Arc::new(driver));
        Ok((Self { settings, python: python.to_owned(), driver, started: AtomicU64::new(0) }, said))
    }

    /// Starts an actor, which may have to wait for its resources. Fails if there is no cluster any more, or if all `is_over`.
    pub(super) fn start(&self, is_over: &dyn Fn() -> bool) -> Result<WorkerPipe> {
        let mut driver = self.driver.lock().expect("no panic while held");
        let number = self.started.fetch_add(1, Ordering::Relaxed) + 1;
        WorkerPipe::new(|ear| {
            if driver.ears.is_over() {
                *driver = Arc::new(RayDriver::start(&self.python, &self.settings, is_over)?.0);
            }
            driver.ears.add(number, ear);
            driver.write(format!("start {number}"));
            Ok(Carrier::Actor(RayActor { driver: Arc::clone(&driver), number }))
        })
    }
}

impl RayDriver {
    /// Starts a driver, and says what it is connected to.
    fn start(python: &str, settings: &RaySettings, is_over: &dyn Fn() -> bool) -> Result<(Self, String)> {
        let settings = serde_json::to_string(settings).expect("names are text and numbers are finite");
        let mut command = Command::new(python);
        command.args(["-u", "-c", DRIVER, &settings]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ray imports what lies where its driver runs.
        command.current_dir("/");
        let mut running = RunningGroup::spawn(&mut command).map_err(|e| {
            Error::user(format!("cannot start `{python}`: {e}")).hint("name a Python that has Ray with `--python`")
        })?;
        let child = &mut running.child;
        let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else { unreachable!("they are piped") };
        let (ears, words) = (Arc::new(Ears(Mutex::new(Some(BTreeMap::new())))), LastWords::default());
        let (sender, first) = mpsc::channel();
        let (heard, said) = (Arc::clone(&ears), words.clone());
        thread::spawn(move || {
            each_line(out, |line| {
                if let Some(greeting) = heard.take(line) {
                    let _ = sender.send(greeting);
                }
                true
            });
            heard.0.lock().expect("no panic while held").take();
        });
        thread::spawn(move || {
            each_line(err, |line| {
                said.keep(line);
                true
            });
        });
        let greeting = greeting(&first, &words, is_over)?;
        let input = running.child.stdin.take().map(LineWriter::new);
        Ok((Self { running, input, ears }, greeting))
    }

    /// Writes a line, soon; false if the driver has ended.
    fn write(&self, line: String) -> bool {
        self.input.as_ref().is_some_and(|input| input.write(line))
    }
}

impl Drop for RayDriver {
    fn drop(&mut self) {
        // It ends all workers when its input ends.
        drop(self.input.take());
        self.running.end_within(3 * ENDING);
    }
}

/// What a driver says first.
fn greeting(
    first: &Receiver<std::result::Result<String, String>>,
    words: &LastWords,
    is_over: &dyn Fn() -> bool,
) -> Result<String> {
    let began = Instant::now();
    loop {
        match first.recv_timeout(LOOK) {
            Ok(Ok(cluster)) => return Ok(cluster),
            Ok(Err(why)) => {
                let hint = "name a Python that has Ray 2 with `--python`, and a running cluster's address with `--ray`";
                return Err(Error::user(format!("no worker can be run by Ray: {why}")).hint(hint));
            }
            Err(RecvTimeoutError::Timeout) if is_over() => return Err(Error::interrupted()),
            Err(RecvTimeoutError::Timeout) if began.elapsed() < CONNECTING => {}
            Err(_) => {
                let words = words.text();
                return Err(Error::machine(format!("Ray's driver says nothing; it wrote last:\n{words}")));
            }
        }
    }
}

impl Ears {
    fn is_over(&self) -> bool {
        self.0.lock().expect("no panic while held").is_none()
    }

    /// Adds an ear, which hears the end if the driver has ended.
    fn add(&self, number: u64, ear: Ear) {
        if let Some(ears) = &mut *self.0.lock().expect("no panic while held") {
            ears.insert(number, ear);
        }
    }

    /// Takes a line of the driver. Returns what it says first: what it is connected to, or why it is not.
    fn take(&self, line: &[u8]) -> Option<std::result::Result<String, String>> {
        let mut words = line.trim_ascii_end().splitn(3, |byte| *byte == b' ');
        let text =
            |word: Option<&[u8]>| word.map_or_else(String::new, |word| String::from_utf8_lossy(word).into_owned());
        let (kind, number) = (text(words.next()), text(words.next()));
        let rest = words.next().unwrap_or_default();
        let mut ears = self.0.lock().expect("no panic while held");
        let ears = ears.as_mut()?;
        let ear = number.parse::<u64>().ok();
        match kind.as_str() {
            "ray" => return Some(Ok(format!("Ray {number}, {} nodes", text(Some(rest))))),
            "no" => {
                let why = format!("{number} {}", text(Some(rest)));
                for ear in ears.values() {
                    ear.words.keep(why.as_bytes());
                }
                return Some(Err(why));
            }
            "line" => _ = ear.and_then(|number| ears.get(&number)).is_none_or(|ear| ear.take(rest)),
            "err" => _ = ear.and_then(|number| ears.get(&number)).map(|ear| ear.words.keep(rest)),
            "end" => _ = ear.and_then(|number| ears.remove(&number)).map(|ear| ear.words.keep(rest)),
            _ => {}
        }
        None
    }
}

impl RayActor {
    /// Sends a line to the worker; false if it cannot be sent.
    pub(super) fn tell(&self, line: &str) -> bool {
        self.driver.write(format!("line {} {line}", self.number))
    }
}

impl Drop for RayActor {
    fn drop(&mut self) {
        self.driver.write(format!("end {}", self.number));
    }
}
