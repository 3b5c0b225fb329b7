//! A job: what is to be done, for whom it waits, and what has become of it.

use super::event::{Event, What};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use std::{fmt, path::PathBuf};

/// A job's number. Numbers grow and are never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Writes a merged checkpoint.
    Merge,
    /// Scores models.
    Eval,
    /// Evolves a merge.
    Search,
    /// Draws what a search found.
    Report,
}

impl JobKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Merge, Self::Eval, Self::Search, Self::Report];

    /// Its name, which is its command's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Merge => "merge",
            Self::Eval => "eval",
            Self::Search => "search",
            Self::Report => "report",
        }
    }
}

/// What a user hands in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submission {
    /// What is done.
    pub kind: JobKind,
    /// What people call it.
    pub name: String,
    /// What stands behind the command's name.
    pub words: Vec<String>,
    /// Where paths among the words start from.
    pub directory: PathBuf,
    /// The texts that it reads, as they were when it was handed in: its recipe, its tasks.
    #[serde(default, alias = "file", deserialize_with = "marks")]
    pub texts: Vec<FileMark>,
    /// Higher ones go first.
    pub priority: i32,
    /// Jobs that must be done before.
    pub after: Vec<JobId>,
    /// Words to find it by.
    pub labels: Vec<String>,
    /// What it may take.
    pub limits: Limits,
    /// How often it is tried at most when the machine fails it.
    pub attempts: u32,
    /// Threads; by default its share of the machine.
    pub threads: Option<u16>,
    /// What it is likely to need.
    pub needs: Needs,
    /// What makes handing it in twice the same as once.
    pub key: Option<String>,
}

/// A file as it was at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMark {
    /// Where it is.
    pub path: PathBuf,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// Earlier versions kept the mark of one file, or none.
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

/// What a job may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// Seconds that it runs, all attempts together.
    pub seconds: Option<u64>,
    /// Bytes in its directory.
    pub bytes: Option<u64>,
}

/// What a job is likely to need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Needs {
    /// Bytes of memory, if that can be told before.
    pub memory: Option<u64>,
    /// Bytes that it writes, if that can be told before.
    pub disk: Option<u64>,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for its turn.
    Queued,
    /// Is being done.
    Running,
    /// Waits until somebody resumes it.
    Paused,
    /// Is done.
    Done,
    /// Could not be done.
    Failed,
    /// Is not wanted any more.
    Cancelled,
}

impl JobState {
    /// All of them, in the order in which a job may meet them.
    pub const ALL: [Self; 6] = [Self::Queued, Self::Running, Self::Paused, Self::Done, Self::Failed, Self::Cancelled];

    /// Its name.
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

    /// Whether nothing happens any more unless somebody asks for it.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// What a running job was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// To stop for a while.
    Pause,
    /// To stop for good.
    Cancel,
}

/// How an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong; two attempts that say the same failed the same way.
    pub why: String,
    /// Whether another attempt may go better: the machine failed, not the recipe.
    pub by_machine: bool,
}

/// So many failures of the same kind, one after the other, and a job is not tried again unless somebody insists.
pub const QUARANTINE: usize = 3;

/// Why an attempt has ended whose server was killed, or lost its power.
pub(super) const SERVER_GONE: &str = "its server was gone";
/// An attempt that ended with its server after less than ten minutes may have been the reason.
pub(super) const SOON_MS: u64 = 600_000;

/// A job as its events have left it.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// What was handed in; its priority and its limits as they are now.
    pub submission: Submission,
    /// Where it stands.
    pub state: JobState,
    /// What it was asked while it runs.
    pub asked: Option<Wish>,
    /// Attempts begun.
    pub attempts: u32,
    /// Attempts that failed since somebody last asked for another.
    pub tries: u32,
    /// Milliseconds that it ran, without the present attempt.
    pub ran_ms: u64,
    /// The failures since it was last done or somebody insisted, oldest first.
    pub failures: Vec<Failure>,
    /// Why it is where it is, if there is something to say.
    pub why: Option<String>,
    /// All that has happened to it, oldest first.
    pub events: Vec<Event>,
}

impl Job {
    /// How many of its last attempts in a row have ended soon, and with their server.
    pub(super) fn lost_servers(&self) -> usize {
        let ends =
            self.events.iter().rev().filter(|event| !matches!(event.what, What::Started | What::Prioritised { .. }));
        ends.take_while(
            |event| matches!(&event.what, What::Interrupted { why, ran_ms } if why == SERVER_GONE && *ran_ms < SOON_MS),
        )
        .count()
    }

    /// Whether its last failures were all the same.
    pub fn is_quarantined(&self) -> bool {
        let last = self.failures.iter().rev().take(QUARANTINE);
        self.state == JobState::Failed
            && self.failures.len() >= QUARANTINE
            && last.clone().all(|failure| Some(failure) == self.failures.last())
    }

    /// A job that was handed in just now.
    pub(super) fn new(event: Event, submission: Submission) -> Self {
        Self {
            id: event.job,
            submission,
            state: JobState::Queued,
            asked: None,
            attempts: 0,
            tries: 0,
            ran_ms: 0,
            failures: Vec::new(),
            why: None,
            events: vec![event],
        }
    }

    /// What the job is after an event.
    pub(super) fn apply(&mut self, event: Event) {
        // These change nothing of where it stands.
        match event.what {
            What::Asked { wish } => self.asked = Some(wish),
            What::Prioritised { priority } => self.submission.priority = priority,
            _ => self.step(&event),
        }
        self.events.push(event);
    }

    fn step(&mut self, event: &Event) {
        self.asked = None;
        self.why = None;
        if let What::Interrupted { ran_ms, .. }
        | What::Paused { ran_ms }
        | What::Held { ran_ms, .. }
        | What::Done { ran_ms }
        | What::Failed { ran_ms, .. }
        | What::Cancelled { ran_ms } = event.what
        {
            self.ran_ms += ran_ms;
        }
        match &event.what {
            What::Started => {
                self.attempts += 1;
                self.state = JobState::Running;
            }
            What::Interrupted { why, .. } => {
                self.state = JobState::Queued;
                self.why = Some(why.clone());
            }
            What::Paused { .. } => self.state = JobState::Paused,
            What::Held { why, .. } => {
                self.state = JobState::Paused;
                self.why = Some(why.clone());
            }
            // One that was asked to pause and is wanted after all stops, and waits for its turn.
            What::Resumed if self.state == JobState::Running => {}
            What::Resumed => self.state = JobState::Queued,
            What::Done { .. } => {
                self.failures.clear();
                self.state = JobState::Done;
            }
            What::Failed { failure, again, .. } => {
                self.failures.push(failure.clone());
                self.tries += 1;
                self.why = Some(failure.why.clone());
                self.state = if *again { JobState::Queued } else { JobState::Failed };
            }
            What::Cancelled { .. } => self.state = JobState::Cancelled,
            What::Retried { limits, insists } => {
                if *insists {
                    self.failures.clear();
                }
                self.tries = 0;
                self.submission.limits = *limits;
                self.state = JobState::Queued;
            }
            What::Submitted { .. } | What::Asked { .. } | What::Prioritised { .. } | What::Removed => {}
        }
    }
}
