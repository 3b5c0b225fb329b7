//! Events of jobs: the only thing that a queue stores.

use super::job::{Failure, JobId, Limits, StopRequest, Submission};
use crate::error::Result;
use serde::{Deserialize, Serialize};

/// An event of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Place among all events. Events are ordered by it, never by the clock, which can be changed.
    pub seq: u64,
    /// Time by the clock, in milliseconds since 1970; for people.
    pub at: u64,
    /// Number of the job.
    pub job: JobId,
    /// Kind of the event.
    #[serde(flatten)]
    pub what: EventKind,
}

/// Kind of an event. `ran_ms` is the duration of the attempt that ends with it, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum EventKind {
    /// The job was submitted.
    Submitted {
        /// The submission.
        submission: Box<Submission>,
    },
    /// An attempt began.
    Started,
    /// The job was asked to stop while it ran.
    Asked {
        /// The request.
        wish: StopRequest,
    },
    /// The attempt stopped without a request: the job is queued again, and goes on.
    Interrupted {
        /// Reason.
        why: String,
        /// Duration of the attempt.
        ran_ms: u64,
    },
    /// The job was paused on request.
    Paused {
        /// Duration of the attempt.
        ran_ms: u64,
    },
    /// The job was paused without a request: it may be the reason why its servers went away.
    Held {
        /// Reason.
        why: String,
        /// Duration of the attempt.
        ran_ms: u64,
    },
    /// The priority of the job was changed.
    Prioritised {
        /// New priority; higher ones go first.
        priority: i32,
    },
    /// The job was resumed.
    Resumed,
    /// The job is done.
    Done {
        /// Duration of the attempt.
        ran_ms: u64,
    },
    /// An attempt failed.
    Failed {
        /// The failure.
        failure: Failure,
        /// True if the job is queued again by itself.
        again: bool,
        /// Duration of the attempt.
        ran_ms: u64,
    },
    /// The job was cancelled.
    Cancelled {
        /// Duration of the attempt.
        ran_ms: u64,
    },
    /// Another attempt was asked for.
    Retried {
        /// Limits from now on.
        limits: Limits,
        /// True if the job is tried even in quarantine.
        insists: bool,
    },
    /// The job was removed, with all its events.
    Removed,
}

/// Store of a queue's events.
///
/// Another kind of store can implement this trait.
pub trait Journal: Send {
    /// Reads the events of all jobs that are not removed, in order, and the last numbers given.
    ///
    /// Fails if a stored event is missing.
    fn read(&self) -> Result<(Vec<Event>, Tip)>;

    /// Stores events, all or none. When this returns, they survive a power cut.
    fn append(&mut self, events: &[Event], tip: Tip) -> Result<()>;
}

/// Last numbers given, and the number of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip {
    /// Place of the last event; 0 before the first.
    pub seq: u64,
    /// Number of the last job; 0 before the first.
    pub job: u64,
    /// Number of stored events.
    pub events: u64,
}
