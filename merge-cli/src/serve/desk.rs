//! Access to the queue for commands: through the server if one runs, else directly.

use super::{
    client::Client,
    home::Home,
    machine::Machine,
    roots::Roots,
    service::{Asker, JobResult, Service},
    shown::{Detail, JobView},
    wanted::{Again, PriorityRequest, SubmitRequest},
};
use merge_core::{error::Result, queue::JobId};
use serde::Deserialize;
use std::{
    fs::File,
    thread,
    time::{Duration, Instant},
};

/// A way to the queue.
pub(crate) enum Desk {
    /// A running server.
    Server(Client),
    /// The queue itself, which this process owns while it holds the lock.
    Queue { service: Box<Service>, _lock: File },
}

/// Longest wait for another command that has the queue, or for a server that is starting.
const PATIENCE: Duration = Duration::from_secs(10);

impl Desk {
    /// Finds a server, or opens the queue.
    ///
    /// Fails if another process holds the queue and does not answer.
    pub(crate) fn open(home: &Home) -> Result<Self> {
        let began = Instant::now();
        loop {
            if let Some(client) = Client::connect(&home.socket()?) {
                return Ok(Self::Server(client));
            }
            if let Some(lock) = home.own()? {
                let service = Service::new(
                    home.clone(),
                    super::open(home)?,
                    Machine::new(1, None, DEFAULT_RESERVE)?,
                    Roots::open(&[], home.path())?,
                );
                return Ok(Self::Queue { service: Box::new(service), _lock: lock });
            }
            if began.elapsed() > PATIENCE {
                return Err(home.held());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// True if a server runs the queued jobs.
    pub(crate) fn runs(&self) -> bool {
        matches!(self, Self::Server(_))
    }

    pub(crate) fn submit(&self, wanted: &SubmitRequest) -> Result<JobView> {
        match self {
            Self::Server(client) => client.post("/api/jobs", wanted),
            Self::Queue { service, .. } => Ok(service.submit(wanted, Asker::Here)?.0),
        }
    }

    pub(crate) fn jobs(&self) -> Result<Vec<JobView>> {
        match self {
            Self::Server(client) => Ok(client.get::<DeskQuery>("/api/jobs")?.jobs),
            Self::Queue { service, .. } => Ok(service.jobs()),
        }
    }

    pub(crate) fn job(&self, id: u64) -> Result<Detail> {
        match self {
            Self::Server(client) => client.get(&format!("/api/jobs/{id}")),
            Self::Queue { service, .. } => Ok(service.job(JobId(id))?),
        }
    }

    pub(crate) fn pause(&self, id: u64) -> Result<JobView> {
        self.change(id, "pause", Service::pause)
    }

    pub(crate) fn resume(&self, id: u64) -> Result<JobView> {
        self.change(id, "resume", Service::resume)
    }

    pub(crate) fn cancel(&self, id: u64) -> Result<JobView> {
        self.change(id, "cancel", Service::cancel)
    }

    pub(crate) fn retry(&self, id: u64, again: &Again) -> Result<JobView> {
        match self {
            Self::Server(client) => client.post(&format!("/api/jobs/{id}/retry"), again),
            Self::Queue { service, .. } => Ok(service.retry(JobId(id), again)?),
        }
    }

    pub(crate) fn prioritise(&self, id: u64, priority: i32) -> Result<JobView> {
        match self {
            Self::Server(client) => client.post(&format!("/api/jobs/{id}/priority"), &PriorityRequest { priority }),
            Self::Queue { service, .. } => Ok(service.prioritise(JobId(id), priority)?),
        }
    }

    pub(crate) fn remove(&self, id: u64) -> Result<()> {
        match self {
            Self::Server(client) => client.delete(&format!("/api/jobs/{id}")),
            Self::Queue { service, .. } => Ok(service.remove(JobId(id))?),
        }
    }

    fn change(&self, id: u64, name: &str, how: fn(&Service, JobId) -> JobResult<JobView>) -> Result<JobView> {
        match self {
            Self::Server(client) => client.post(&format!("/api/jobs/{id}/{name}"), &serde_json::json!({})),
            Self::Queue { service, .. } => Ok(how(service, JobId(id))?),
        }
    }
}

/// Default number of bytes that stay free on a disk.
const DEFAULT_RESERVE: usize = 1_000_000_000;

#[derive(Deserialize)]
struct DeskQuery {
    jobs: Vec<JobView>,
}
