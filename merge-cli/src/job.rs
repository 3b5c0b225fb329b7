//! This process as a job of the queue: it reports its progress, and stops when the server is gone.

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

/// Environment variable with the job's directory, set by the server that starts the job.
pub(crate) const DIRECTORY: &str = "EVOMERGE_JOB";

/// Name of the progress file in the job's directory.
pub(crate) const PROGRESS: &str = "progress.json";

/// Progress of a job, as it is shown everywhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct JobProgress {
    /// Current activity, in words; for a search, its stage, phase and generation.
    pub(crate) label: String,
    /// Name of the current phase, for programs.
    pub(crate) phase: String,
    /// Finished share of the whole job, from 0 to 1.
    pub(crate) share: Option<f64>,
    /// Finished amount, the total, and their unit: items, bytes or answers.
    pub(crate) done: u64,
    pub(crate) total: u64,
    pub(crate) unit: String,
    /// Units per second.
    pub(crate) rate: Option<f64>,
    /// Estimated seconds until the whole job ends, if known.
    pub(crate) left_seconds: Option<f64>,
    /// Finished generations of this phase, and about how many there will be; only for searches.
    pub(crate) generation: Option<u64>,
    pub(crate) generations: Option<u64>,
    /// Best and mean fitness in the last generation of this phase.
    pub(crate) best: Option<f64>,
    pub(crate) mean: Option<f64>,
    /// Lead of the evolution over the best parent.
    pub(crate) gain: Option<Gain>,
    /// Workers that score, if there are any.
    #[serde(default)]
    pub(crate) workers: Option<WorkersNow>,
}

/// Workers that score for a search.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct WorkersNow {
    /// Number of those that are there, and of those that were asked for.
    pub(crate) there: usize,
    pub(crate) wanted: usize,
    /// Share of the time in which those that came had something to do, from 0 to 1.
    pub(crate) busy: f64,
    /// Times that one ended too early.
    pub(crate) deaths: usize,
}

/// Contents of the progress file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct JobReport {
    pub(crate) progress: JobProgress,
    /// Curves of a search's generations.
    pub(crate) curves: Curves,
    /// Names of the search's models.
    pub(crate) models: Vec<String>,
}

/// The job's directory, and the time of the last report.
static JOB: OnceLock<(PathBuf, Mutex<Option<Instant>>)> = OnceLock::new();

/// Shortest time between two reports.
const EVERY: Duration = Duration::from_millis(500);

/// If this process is a job, waits until an earlier attempt has ended, and stops the process when
/// standard input closes, as it does however the server ends. Keep the returned lock until the end.
///
/// `copies` reads the copies of the files that the job was submitted with.
pub(crate) fn begin(copies: impl FnOnce(&Path) -> Result<Reads>) -> Result<Option<File>> {
    let Some(directory) = env::var_os(DIRECTORY).map(PathBuf::from) else { return Ok(None) };
    let path = directory.join("running");
    let lock = File::create(&path).map_err(|e| Error::io("create", &path, &e))?;
    thread::spawn(|| {
        // The server never writes: this returns when it is gone.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
    });
    lock.lock().map_err(|e| Error::io("lock", &path, &e))?;
    hold(copies(&directory)?);
    let _ = JOB.set((directory, Mutex::default()));
    Ok(Some(lock))
}

/// Advice on how to continue a stopped job, if this process is one: its queue does it.
pub(crate) fn how_to_continue() -> Option<String> {
    let (directory, _) = JOB.get()?;
    let id = directory.file_name()?.to_string_lossy();
    Some(format!(
        "if it was paused, `evomerge resume {id}` goes on; if it was cancelled, `evomerge retry {id}`; else it goes on by itself"
    ))
}

/// Reports the progress if this process is a job and the last report is old enough.
pub(crate) fn report(report: impl FnOnce() -> JobReport) {
    let Some((directory, last)) = JOB.get() else { return };
    // Another thread is reporting already.
    let Ok(mut last) = last.try_lock() else { return };
    if last.is_none_or(|last| last.elapsed() >= EVERY) {
        *last = Some(Instant::now());
        write(directory, &report());
    }
}

/// Reports the final progress.
pub(crate) fn report_end(report: impl FnOnce() -> JobReport) {
    if let Some((directory, last)) = JOB.get() {
        let _one_at_a_time = last.lock();
        write(directory, &report());
    }
}

/// Writes the progress file. A failure is ignored: the job does not depend on the file.
fn write(directory: &Path, report: &JobReport) {
    let beside = directory.join(format!(".{PROGRESS}.partial"));
    let written = fs::write(&beside, serde_json::to_vec(report).expect("plain data"));
    let _ = written.and_then(|()| fs::rename(&beside, directory.join(PROGRESS)));
}
