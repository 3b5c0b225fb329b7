//! Views of jobs for tables, JSON and the page.

use crate::job;
use merge_core::queue::{EventKind, Job, JobKind, JobState, Limits, Needs, StopRequest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A job and its progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Job")]
pub(crate) struct JobView {
    /// Number of the job.
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) kind: JobKind,
    pub(crate) state: JobState,
    /// Request to the running job, which will soon stop.
    pub(crate) asked: Option<StopRequest>,
    /// Jobs with a higher priority start first.
    pub(crate) priority: i32,
    /// Jobs that must be done before this one starts.
    pub(crate) after: Vec<u64>,
    pub(crate) labels: Vec<String>,
    pub(crate) limits: Limits,
    pub(crate) needs: Needs,
    /// Number of attempts that were started.
    pub(crate) attempts: u32,
    /// Running time in seconds, over all attempts.
    pub(crate) seconds: f64,
    /// True if it failed the same way several times; it then runs again only if forced.
    pub(crate) quarantined: bool,
    /// Reason for its state, if known.
    pub(crate) why: Option<String>,
    /// Job or resource that a queued job waits for; null if it only waits for its turn.
    pub(crate) waits: Option<String>,
    /// Advice if the job continues only after the user has acted.
    pub(crate) advice: Option<String>,
    /// Bytes of memory that the running job used when last measured.
    pub(crate) memory: Option<u64>,
    /// Time of submission in milliseconds since 1970, by the server's clock.
    pub(crate) submitted_at: u64,
    /// Time of the last event in milliseconds since 1970, by the server's clock.
    pub(crate) changed_at: u64,
    /// Arguments of the command, after `evomerge`.
    pub(crate) words: Vec<String>,
    pub(crate) progress: Option<job::JobProgress>,
}

/// A job with its history and files.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Detail {
    #[serde(flatten)]
    pub(crate) job: JobView,
    /// Events, oldest first.
    pub(crate) events: Vec<EventView>,
    /// Recipes and tasks that it reads.
    pub(crate) texts: Vec<CopiedFile>,
    /// Path of the checkpoint that it has written.
    pub(crate) model: Option<String>,
}

/// A file that a job reads, and its copy from the time of submission.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct CopiedFile {
    /// Path of the file.
    pub(crate) file: String,
    /// Path of the queue's copy.
    pub(crate) copy: String,
}

/// An event of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct EventView {
    /// Number of the event in the order of all events; unlike the time, it always rises.
    pub(crate) seq: u64,
    /// Time of the event in milliseconds since 1970, by the server's clock.
    pub(crate) at: u64,
    /// Kind of the event, such as `started`.
    pub(crate) what: String,
    /// Reason, if known.
    pub(crate) why: Option<String>,
}

/// A recipe that may be submitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RecipeEntry {
    /// Name of the file, which begins with the name of its root.
    pub(crate) file: String,
    pub(crate) kind: JobKind,
}

impl JobView {
    /// View of a job from its events; `running_ms` is the time of its present attempt so far.
    pub(super) fn of(job: &Job, running_ms: u64) -> Self {
        let (submission, at) = (&job.submission, |event: Option<&merge_core::queue::Event>| event.map_or(0, |e| e.at));
        Self {
            id: job.id.0,
            name: submission.name.clone(),
            kind: submission.kind,
            state: job.state,
            asked: job.stop_request,
            priority: submission.priority,
            after: submission.after.iter().map(|id| id.0).collect(),
            labels: submission.labels.clone(),
            limits: submission.limits,
            needs: submission.needs,
            attempts: job.attempts,
            seconds: (job.ran_ms + running_ms) as f64 / 1000.0,
            quarantined: job.is_quarantined(),
            why: job.why.clone(),
            waits: None,
            advice: None,
            memory: None,
            submitted_at: at(job.events.first()),
            changed_at: at(job.events.last()),
            words: submission.words.clone(),
            progress: None,
        }
    }

    /// State of the job in one word.
    pub(crate) fn standing(&self) -> &'static str {
        match (self.state, self.asked) {
            (JobState::Running, Some(StopRequest::Pause)) => "pausing",
            (JobState::Running, Some(StopRequest::Cancel)) => "cancelling",
            (JobState::Failed, _) if self.quarantined => "quarantined",
            (state, _) => state.name(),
        }
    }
}

impl EventView {
    pub(super) fn of(job: &Job) -> Vec<Self> {
        let one = |event: &merge_core::queue::Event| {
            let (what, why) = match &event.what {
                EventKind::Submitted { .. } => ("submitted", None),
                EventKind::Started => ("started", None),
                EventKind::Asked { wish: StopRequest::Pause } => ("asked to pause", None),
                EventKind::Asked { wish: StopRequest::Cancel } => ("asked to stop", None),
                EventKind::Interrupted { why, .. } => ("interrupted", Some(why.clone())),
                EventKind::Paused { .. } => ("paused", None),
                EventKind::Held { why, .. } => ("paused", Some(why.clone())),
                EventKind::Prioritised { priority } => ("given another priority", Some(priority.to_string())),
                EventKind::Resumed => ("resumed", None),
                EventKind::Done { .. } => ("done", None),
                EventKind::Failed { failure, again: true, .. } => {
                    ("failed, and queued again", Some(failure.why.clone()))
                }
                EventKind::Failed { failure, .. } => ("failed", Some(failure.why.clone())),
                EventKind::Cancelled { .. } => ("cancelled", None),
                EventKind::Retried { .. } => ("queued again", None),
                EventKind::Removed => ("removed", None),
            };
            Self { seq: event.seq, at: event.at, what: what.to_owned(), why }
        };
        job.events.iter().map(one).collect()
    }
}
