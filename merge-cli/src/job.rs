//! This process as a job of the queue: whoever started it can read how far it is, and it stops when that one is gone.

use crate::lead::Gain;
use merge_core::{
    error::{Error, Result},
    study::Curves,
    yaml::{Reads, hold},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    env,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock},
    thread,
    time::{Duration, Instant},
};

/// The variable with the job's directory, set by whoever starts it.
pub(crate) const DIRECTORY: &str = "EVOMERGE_JOB";

/// What the file in the job's directory is called that says how far it is.
pub(crate) const PROGRESS: &str = "progress.json";

/// How far a job is: all that is said of it, computed once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct JobProgress {
    /// What it is doing, in words: of a search its stage, its part and its generation.
    pub(crate) label: String,
    /// The part alone, for programs.
    pub(crate) phase: String,
    /// How much of the whole job is done, from 0 to 1.
    pub(crate) share: Option<f64>,
    /// How much is done, of how much, in which unit: items, bytes or answers.
    pub(crate) done: u64,
    pub(crate) total: u64,
    pub(crate) unit: String,
    /// Units in a second.
    pub(crate) rate: Option<f64>,
    /// Seconds until the end of the whole job, if that can be known.
    pub(crate) left_seconds: Option<f64>,
    /// Generations finished in this part, and about how many there will be; of searches.
    pub(crate) generation: Option<u64>,
    pub(crate) generations: Option<u64>,
    /// Fitness in the last generation of this part: the best and the mean.
    pub(crate) best: Option<f64>,
    pub(crate) mean: Option<f64>,
    /// What the evolution has gained.
    pub(crate) gain: Option<Gain>,
}

/// What the file holds: progress, and what is drawn of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct JobReport {
    pub(crate) progress: JobProgress,
    /// The generations of a search.
    pub(crate) curves: Curves,
    /// What its models are called.
    pub(crate) models: Vec<String>,
}

/// The directory, and when something was last written there.
static JOB: OnceLock<(PathBuf, Mutex<Option<Instant>>)> = OnceLock::new();

/// Not more often than this.
const EVERY: Duration = Duration::from_millis(500);

/// If this process is a job, waits until an earlier attempt at it is over, and then stops when standard input is closed, which
/// it is when the server that holds its other end is gone, however it went. Keep what it returns until the end.
///
/// `copies` reads the copies of the texts that the job was handed in with.
pub(crate) fn begin(copies: impl FnOnce(&Path) -> Result<Reads>) -> Result<Option<File>> {
    let Some(directory) = env::var_os(DIRECTORY).map(PathBuf::from) else { return Ok(None) };
    let path = directory.join("running");
    let lock = File::create(&path).map_err(|e| Error::io("create", &path, &e))?;
    thread::spawn(|| {
        // Nothing ever comes.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
    });
    lock.lock().map_err(|e| Error::io("lock", &path, &e))?;
    hold(copies(&directory)?);
    let _ = JOB.set((directory, Mutex::default()));
    Ok(Some(lock))
}

/// How a job goes on that was stopped, if this process is one: not by its command, but by its queue.
pub(crate) fn goes_on() -> Option<String> {
    let (directory, _) = JOB.get()?;
    let id = directory.file_name()?.to_string_lossy();
    Some(format!(
        "if it was paused, `evomerge resume {id}` goes on; if it was cancelled, `evomerge retry {id}`; else it goes on by itself"
    ))
}

/// Says how far the job is, if this is one and it is time.
pub(crate) fn tell(told: impl FnOnce() -> JobReport) {
    let Some((directory, last)) = JOB.get() else { return };
    // Whoever finds it locked is not the one to speak.
    let Ok(mut last) = last.try_lock() else { return };
    if last.is_none_or(|last| last.elapsed() >= EVERY) {
        *last = Some(Instant::now());
        write(directory, &told());
    }
}

/// Says how far the job has come at the end.
pub(crate) fn tell_end(told: impl FnOnce() -> JobReport) {
    if let Some((directory, last)) = JOB.get() {
        let _one_at_a_time = last.lock();
        write(directory, &told());
    }
}

/// It is for looking at: if it cannot be written, the job goes on all the same.
fn write(directory: &Path, told: &JobReport) {
    let beside = directory.join(format!(".{PROGRESS}.partial"));
    let written = fs::write(&beside, serde_json::to_vec(told).expect("plain data"));
    let _ = written.and_then(|()| fs::rename(&beside, directory.join(PROGRESS)));
}
