//! What happens to jobs: the only thing that is kept of a queue.

use super::job::{Failure, JobId, Limits, Submission, Wish};
use crate::error::Result;
use serde::{Deserialize, Serialize};

/// Something that has happened to a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its place among all events. Events are ordered by it, never by the clock, which people and networks set.
    pub seq: u64,
    /// When, by the clock: milliseconds since 1970. For people.
    pub at: u64,
    /// To which.
    pub job: JobId,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What can happen to a job. `ran_ms` is how long the attempt that ends with it has taken, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// It was handed in.
    Submitted {
        /// By whom and for what.
        submission: Box<Submission>,
    },
    /// An attempt begins.
    Started,
    /// While it runs it was asked to stop.
    Asked {
        /// How.
        wish: Wish,
    },
    /// It stopped, though nobody has asked: it is queued again, and goes on from where it was.
    Interrupted {
        /// Why.
        why: String,
        /// How long it ran.
        ran_ms: u64,
    },
    /// It stopped, as it was asked.
    Paused {
        /// How long it ran.
        ran_ms: u64,
    },
    /// It is paused, though nobody has asked: it may be the reason why its servers went away.
    Held {
        /// Why.
        why: String,
        /// How long it ran.
        ran_ms: u64,
    },
    /// It has another place in the order.
    Prioritised {
        /// Higher ones go first.
        priority: i32,
    },
    /// It may go on.
    Resumed,
    /// It is done.
    Done {
        /// How long it ran.
        ran_ms: u64,
    },
    /// An attempt failed.
    Failed {
        /// How.
        failure: Failure,
        /// Whether it is queued again by itself.
        again: bool,
        /// How long it ran.
        ran_ms: u64,
    },
    /// It is not wanted any more.
    Cancelled {
        /// How long it ran.
        ran_ms: u64,
    },
    /// Somebody asks for another attempt.
    Retried {
        /// What it may take from now on.
        limits: Limits,
        /// Whether it is to be tried though it has failed the same way again and again.
        insists: bool,
    },
    /// It is to be forgotten, and all that has happened to it.
    Removed,
}

/// Where events are kept.
///
/// This is the seam behind which another store can stand.
pub trait Journal: Send {
    /// All events of jobs that are not removed, in order, and the place of the last of all, whether removed or not.
    ///
    /// Fails if something that was kept is not there any more.
    fn read(&self) -> Result<(Vec<Event>, Tip)>;

    /// Keeps events, all or none. When this returns, a power cut cannot take them.
    fn append(&mut self, events: &[Event], tip: Tip) -> Result<()>;
}

/// What the numbers given so far have come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tip {
    /// Of the last event; 0 before the first.
    pub seq: u64,
    /// Of the last job; 0 before the first.
    pub job: u64,
    /// Events that are kept.
    pub events: u64,
}
