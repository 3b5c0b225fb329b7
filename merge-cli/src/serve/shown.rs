//! Jobs as they are shown: in tables, as JSON, on the page.

use crate::job;
use merge_core::queue::{Job, JobKind, JobState, Limits, Needs, What, Wish};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A job, and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Job")]
pub(crate) struct JobView {
    /// Its number.
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) kind: JobKind,
    pub(crate) state: JobState,
    /// What it was asked while it runs: it is about to stop.
    pub(crate) asked: Option<Wish>,
    /// Higher ones go first.
    pub(crate) priority: i32,
    /// Jobs that must be done before.
    pub(crate) after: Vec<u64>,
    pub(crate) labels: Vec<String>,
    pub(crate) limits: Limits,
    pub(crate) needs: Needs,
    /// Attempts begun.
    pub(crate) attempts: u32,
    /// Seconds that it ran, all attempts together.
    pub(crate) seconds: f64,
    /// Whether it failed the same way again and again, and is only tried if somebody insists.
    pub(crate) quarantined: bool,
    /// Why it is where it is, if there is something to say.
    pub(crate) why: Option<String>,
    /// What a queued job waits for, if it is not simply its turn.
    pub(crate) waits: Option<String>,
    /// What to do about a job that goes on only if somebody does something.
    pub(crate) advice: Option<String>,
    /// Bytes of memory that it used when it was last looked at, while it runs.
    pub(crate) memory: Option<u64>,
    /// Milliseconds since 1970, by the clock of the server.
    pub(crate) submitted_at: u64,
    pub(crate) changed_at: u64,
    /// What stands behind `evomerge`.
    pub(crate) words: Vec<String>,
    pub(crate) progress: Option<job::JobProgress>,
}

/// A job with all that has happened to it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Detail {
    #[serde(flatten)]
    pub(crate) job: JobView,
    /// Oldest first.
    pub(crate) events: Vec<EventView>,
    /// The recipes and tasks that it reads.
    pub(crate) texts: Vec<CopiedFile>,
    /// Where the checkpoint is that it has written.
    pub(crate) model: Option<String>,
}

/// A file that a job reads as it was when it was handed in.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct CopiedFile {
    /// Where it was.
    pub(crate) file: String,
    /// Where the queue's copy is.
    pub(crate) copy: String,
}

/// Something that has happened to a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct EventView {
    /// Its place among all events: time may jump, this does not.
    pub(crate) seq: u64,
    /// Milliseconds since 1970, by the clock of the server.
    pub(crate) at: u64,
    /// Such as `started`.
    pub(crate) what: String,
    /// Why, if there is something to say.
    pub(crate) why: Option<String>,
}

/// A recipe that may be handed in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RecipeEntry {
    /// Its name, which begins with that of its root.
    pub(crate) file: String,
    pub(crate) kind: JobKind,
}

impl JobView {
    /// A job that has run for so many milliseconds in its present attempt, as far as its events tell of it.
    pub(super) fn of(job: &Job, running_ms: u64) -> Self {
        let (submission, at) = (&job.submission, |event: Option<&merge_core::queue::Event>| event.map_or(0, |e| e.at));
        Self {
            id: job.id.0,
            name: submission.name.clone(),
            kind: submission.kind,
            state: job.state,
            asked: job.asked,
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

    /// Its state in a word or two.
    pub(crate) fn standing(&self) -> &'static str {
        match (self.state, self.asked) {
            (JobState::Running, Some(Wish::Pause)) => "pausing",
            (JobState::Running, Some(Wish::Cancel)) => "cancelling",
            (JobState::Failed, _) if self.quarantined => "quarantined",
            (state, _) => state.name(),
        }
    }
}

impl EventView {
    pub(super) fn of(job: &Job) -> Vec<Self> {
        let one = |event: &merge_core::queue::Event| {
            let (what, why) = match &event.what {
                What::Submitted { .. } => ("submitted", None),
                What::Started => ("started", None),
                What::Asked { wish: Wish::Pause } => ("asked to pause", None),
                What::Asked { wish: Wish::Cancel } => ("asked to stop", None),
                What::Interrupted { why, .. } => ("interrupted", Some(why.clone())),
                What::Paused { .. } => ("paused", None),
                What::Held { why, .. } => ("paused", Some(why.clone())),
                What::Prioritised { priority } => ("given another priority", Some(priority.to_string())),
                What::Resumed => ("resumed", None),
                What::Done { .. } => ("done", None),
                What::Failed { failure, again: true, .. } => ("failed, and queued again", Some(failure.why.clone())),
                What::Failed { failure, .. } => ("failed", Some(failure.why.clone())),
                What::Cancelled { .. } => ("cancelled", None),
                What::Retried { .. } => ("queued again", None),
                What::Removed => ("removed", None),
            };
            Self { seq: event.seq, at: event.at, what: what.to_owned(), why }
        };
        job.events.iter().map(one).collect()
    }
}
