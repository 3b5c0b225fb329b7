//! A job: its submission, its state and its history.

use super::event::{Event, EventKind};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use std::{fmt, path::PathBuf};

/// Number of a job. Numbers grow and are never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Kind of work that a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Writes a merged checkpoint.
    Merge,
    /// Scores models.
    Eval,
    /// Evolves a merge.
    Search,
    /// Draws the results of a search.
    Report,
}

impl JobKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Merge, Self::Eval, Self::Search, Self::Report];

    /// Name of the kind, which is its command's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Merge => "merge",
            Self::Eval => "eval",
            Self::Search => "search",
            Self::Report => "report",
        }
    }
}

/// A job as a user submits it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    /// Kind of work.
    pub kind: JobKind,
    /// Name for people.
    pub name: String,
    /// The command and its arguments.
    pub words: Vec<String>,
    /// Directory that paths in `words` start from.
    pub directory: PathBuf,
    /// Files that the job reads, as they were at submission: its recipe, its tasks.
    #[serde(default, alias = "file", deserialize_with = "marks")]
    pub texts: Vec<FileMark>,
    /// Priority; higher ones go first.
    pub priority: i32,
    /// Jobs that must be done before this one.
    pub after: Vec<JobId>,
    /// Words to find the job by.
    pub labels: Vec<String>,
    /// Limits of the job.
    pub limits: Limits,
    /// Maximum number of attempts if the machine fails the job.
    pub attempts: u32,
    /// Number of threads; default: the job's share of the machine.
    pub threads: Option<u16>,
    /// Estimated needs of the job.
    pub needs: Needs,
    /// Key: submitting twice with the same key adds one job.
    pub key: Option<String>,
}

/// Path and digest of a file at some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMark {
    /// Path of the file.
    pub path: PathBuf,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// Reads file marks; earlier versions stored a single mark, or none.
fn marks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<FileMark>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Marks {
        All(Vec<FileMark>),
        One(Option<FileMark>),
    }
    Ok(match Marks::deserialize(deserializer)? {
        Marks::All(all) => all,
        Marks::One(one) => one.into_iter().collect(),
    })
}

/// Limits of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// Maximum running time in seconds, over all attempts.
    pub seconds: Option<u64>,
    /// Maximum size of what the job writes in bytes.
    pub bytes: Option<u64>,
}

/// Estimated needs of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Needs {
    /// Memory in bytes, if known in advance.
    pub memory: Option<u64>,
    /// Bytes written to disk, if known in advance.
    pub disk: Option<u64>,
}

/// State of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for its turn.
    Queued,
    /// Is running.
    Running,
    /// Waits until somebody resumes it.
    Paused,
    /// Is done.
    Done,
    /// Has failed.
    Failed,
    /// Was cancelled.
    Cancelled,
}

impl JobState {
    /// All states, in the order in which a job may meet them.
    pub const ALL: [Self; 6] = [Self::Queued, Self::Running, Self::Paused, Self::Done, Self::Failed, Self::Cancelled];

    /// Name of the state.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// True if nothing more happens unless somebody asks for it.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// Request to a running job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopRequest {
    /// Stop for a while.
    Pause,
    /// Stop for good.
    Cancel,
}

/// Failure of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Reason. Two attempts with the same reason failed the same way.
    pub why: String,
    /// True if another attempt may succeed: the machine failed, not the recipe.
    pub by_machine: bool,
}

/// Number of equal failures in a row after which a job is not tried again unless somebody insists.
pub const QUARANTINE: usize = 3;

/// Reason of an attempt that ended because its server was killed or lost its power.
pub(super) const SERVER_GONE: &str = "its server was gone";
/// Ten minutes: an attempt that ended sooner with its server may have been the reason.
pub(super) const SOON_MS: u64 = 600_000;

/// A job, as its events have made it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Number of the job.
    pub id: JobId,
    /// The submission, with the present priority and limits.
    pub submission: Submission,
    /// Present state.
    pub state: JobState,
    /// Request made while the job runs.
    pub stop_request: Option<StopRequest>,
    /// Number of attempts begun.
    pub attempts: u32,
    /// Number of attempts that failed since somebody last asked for another.
    pub tries: u32,
    /// Running time in milliseconds, without the present attempt.
    pub ran_ms: u64,
    /// Failures since the job was last done or somebody insisted, oldest first.
    pub failures: Vec<Failure>,
    /// Reason for the present state, if there is one.
    pub why: Option<String>,
    /// All events of the job, oldest first.
    pub events: Vec<Event>,
}

impl Job {
    /// Number of last attempts in a row that ended soon, and with their server.
    pub(super) fn lost_servers(&self) -> usize {
        let ends = self
            .events
            .iter()
            .rev()
            .filter(|event| !matches!(event.what, EventKind::Started | EventKind::Prioritised { .. }));
        ends.take_while(
            |event| matches!(&event.what, EventKind::Interrupted { why, ran_ms } if why == SERVER_GONE && *ran_ms < SOON_MS),
        )
        .count()
    }

    /// True if the job has failed and its last [`QUARANTINE`] failures are equal.
    pub fn is_quarantined(&self) -> bool {
        let last = self.failures.iter().rev().take(QUARANTINE);
        self.state == JobState::Failed
            && self.failures.len() >= QUARANTINE
            && last.clone().all(|failure| Some(failure) == self.failures.last())
    }

    /// A newly submitted job.
    pub(super) fn new(event: Event, submission: Submission) -> Self {
        Self {
            id: event.job,
            submission,
            state: JobState::Queued,
            stop_request: None,
            attempts: 0,
            tries: 0,
            ran_ms: 0,
            failures: Vec::new(),
            why: None,
            events: vec![event],
        }
    }

    /// Applies an event to the job.
    pub(super) fn apply(&mut self, event: Event) {
        // These events do not change the state.
        match event.what {
            EventKind::Asked { wish } => self.stop_request = Some(wish),
            EventKind::Prioritised { priority } => self.submission.priority = priority,
            _ => self.step(&event),
        }
        self.events.push(event);
    }

    fn step(&mut self, event: &Event) {
        self.stop_request = None;
        self.why = None;
        if let EventKind::Interrupted { ran_ms, .. }
        | EventKind::Paused { ran_ms }
        | EventKind::Held { ran_ms, .. }
        | EventKind::Done { ran_ms }
        | EventKind::Failed { ran_ms, .. }
        | EventKind::Cancelled { ran_ms } = event.what
        {
            self.ran_ms += ran_ms;
        }
        match &event.what {
            EventKind::Started => {
                self.attempts += 1;
                self.state = JobState::Running;
            }
            EventKind::Interrupted { why, .. } => {
                self.state = JobState::Queued;
                self.why = Some(why.clone());
            }
            EventKind::Paused { .. } => self.state = JobState::Paused,
            EventKind::Held { why, .. } => {
                self.state = JobState::Paused;
                self.why = Some(why.clone());
            }
            // Resumed before it has stopped for a pause: it still stops, and is then queued.
            EventKind::Resumed if self.state == JobState::Running => {}
            EventKind::Resumed => self.state = JobState::Queued,
            EventKind::Done { .. } => {
                self.failures.clear();
                self.state = JobState::Done;
            }
            EventKind::Failed { failure, again, .. } => {
                self.failures.push(failure.clone());
                self.tries += 1;
                self.why = Some(failure.why.clone());
                self.state = if *again { JobState::Queued } else { JobState::Failed };
            }
            EventKind::Cancelled { .. } => self.state = JobState::Cancelled,
            EventKind::Retried { limits, insists } => {
                if *insists {
                    self.failures.clear();
                }
                self.tries = 0;
                self.submission.limits = *limits;
                self.state = JobState::Queued;
            }
            EventKind::Submitted { .. }
            | EventKind::Asked { .. }
            | EventKind::Prioritised { .. }
            | EventKind::Removed => {}
        }
    }
}
