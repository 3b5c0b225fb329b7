//! A queue of jobs for one machine: the jobs, their order and their states.
//!
//! Only [events](event) are stored; a job is what its events have made of it. An event is on disk
//! before it counts, so a crash at any instant leaves a queue that was true a moment ago. This
//! module does not know who runs jobs, or who may ask for what.

pub mod event;
pub mod job;
mod journal_file;
#[cfg(test)]
mod tests;

pub use self::{
    event::{Event, EventKind, Journal, Tip},
    job::{Failure, FileMark, Job, JobId, JobKind, JobState, Limits, Needs, QUARANTINE, StopRequest, Submission},
    journal_file::JournalFile,
};

use self::job::{SERVER_GONE, SOON_MS};
use crate::error::{Error, Result};
use std::{
    collections::{BTreeMap, HashMap},
    time::SystemTime,
};

/// A queue of jobs for one machine.
pub struct Queue<J> {
    journal: J,
    jobs: BTreeMap<JobId, Job>,
    keys: HashMap<String, JobId>,
    tip: Tip,
    /// Error that left the last events' fate unknown: nothing is stored until they are read again.
    broken: Option<Error>,
    /// Milliseconds since 1970.
    clock: fn() -> u64,
}

/// End of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The job is done.
    Done,
    /// The attempt failed.
    Failed(Failure),
    /// It stopped early and can go on from there: the reason, if nobody asked for it.
    Stopped(String),
}

impl<J: Journal> Queue<J> {
    /// Opens the queue of a journal.
    pub fn open(journal: J) -> Result<Self> {
        let (events, tip) = journal.read()?;
        let mut queue = Self { journal, jobs: BTreeMap::new(), keys: HashMap::new(), tip, broken: None, clock: now };
        for event in events {
            queue.apply(event);
        }
        Ok(queue)
    }

    /// All jobs, oldest first.
    pub fn jobs(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.jobs.values()
    }

    /// Place of the last event, which changes whenever anything does.
    pub fn seq(&self) -> u64 {
        self.tip.seq
    }

    /// The job of this number.
    ///
    /// Fails if there is no such job.
    pub fn job(&self, id: JobId) -> Result<&Job> {
        self.jobs.get(&id).ok_or_else(|| {
            let error = Error::user(format!("there is no job {id}"));
            match self.jobs.len() {
                0 => error.hint("the queue is empty"),
                _ => error.hint("`evomerge jobs` lists them"),
            }
        })
    }

    /// The number that the next new job gets.
    pub fn next(&self) -> JobId {
        JobId(self.tip.job + 1)
    }

    /// True if a key stands for a job already.
    pub fn knows(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// Adds jobs in order, all or none; a known key gives the job that has it. Returns the numbers.
    ///
    /// Fails if one waits for a job that does not exist, or if a key stands for other work.
    pub fn submit(&mut self, submissions: Vec<Submission>) -> Result<Vec<JobId>> {
        let (mut ids, mut events, mut tip) = (Vec::new(), Vec::new(), self.tip);
        let mut keys: HashMap<String, JobId> = HashMap::new();
        for submission in submissions {
            for id in &submission.after {
                self.job(*id).map_err(|e| e.at(format!("{}: `after`", submission.name)))?;
            }
            if let Some(key) = &submission.key {
                if let Some(id) = self.keys.get(key) {
                    self.check_same(*id, &submission)?;
                    ids.push(*id);
                    continue;
                }
                if let Some(id) = keys.get(key) {
                    ids.push(*id);
                    continue;
                }
            }
            tip.job += 1;
            let id = JobId(tip.job);
            keys.extend(submission.key.clone().map(|key| (key, id)));
            ids.push(id);
            events.push((id, EventKind::Submitted { submission: Box::new(submission) }));
        }
        self.record_events(tip.job, events)?;
        Ok(ids)
    }

    /// Starts an attempt at a queued job.
    ///
    /// # Panics
    /// If the job is not queued.
    pub fn start(&mut self, id: JobId) -> Result<()> {
        assert_eq!(self.jobs[&id].state, JobState::Queued, "only a queued job starts");
        self.record_event(id, EventKind::Started)
    }

    /// Ends the attempt at a running job, which ran for `ran_ms` milliseconds.
    ///
    /// # Panics
    /// If the job is not running.
    pub fn ended(&mut self, id: JobId, end: End, ran_ms: u64) -> Result<()> {
        let job = &self.jobs[&id];
        assert_eq!(job.state, JobState::Running, "only a running job ends");
        let what = match (end, job.stop_request) {
            // The job was done before it could stop.
            (End::Done, _) => EventKind::Done { ran_ms },
            (End::Failed(_) | End::Stopped(_), Some(StopRequest::Cancel)) => EventKind::Cancelled { ran_ms },
            (End::Stopped(_), Some(StopRequest::Pause)) => EventKind::Paused { ran_ms },
            (End::Stopped(why), None) => EventKind::Interrupted { why, ran_ms },
            (End::Failed(failure), _) => {
                let same = job.failures.iter().rev().take_while(|earlier| **earlier == failure).count() + 1;
                let again = failure.by_machine && job.tries + 1 < job.submission.attempts && same < QUARANTINE;
                // Somebody asked it to stop, so it is not tried again by itself.
                EventKind::Failed { failure, again: again && job.stop_request.is_none(), ran_ms }
            }
        };
        self.record_event(id, what)
    }

    /// Queues again the jobs that ran when the server went away; `ran` gives their milliseconds, if
    /// known. Pauses a job that each time ran only briefly: it may be the reason.
    pub fn recover(&mut self, ran: impl Fn(&Job) -> u64) -> Result<Vec<JobId>> {
        let running = self.jobs().filter(|job| job.state == JobState::Running);
        let running: Vec<(JobId, u64, bool)> = running
            .map(|job| {
                let ran_ms = ran(job);
                let lost = ran_ms < SOON_MS && job.lost_servers() + 1 >= QUARANTINE;
                (job.id, ran_ms, lost && job.stop_request.is_none())
            })
            .collect();
        for (id, ran_ms, is_suspect) in &running {
            if *is_suspect {
                let why = format!("its server went away {QUARANTINE} times in a row, soon after it had begun");
                self.record_event(*id, EventKind::Held { why, ran_ms: *ran_ms })?;
            } else {
                self.ended(*id, End::Stopped(SERVER_GONE.to_owned()), *ran_ms)?;
            }
        }
        Ok(running.into_iter().map(|(id, ..)| id).collect())
    }

    /// Changes the priority of a job.
    ///
    /// Fails if the job has ended.
    pub fn prioritise(&mut self, id: JobId, priority: i32) -> Result<()> {
        let job = self.job(id)?;
        match job.state {
            state if state.has_ended() => {
                Err(Error::user(format!("job {id} is {}: its priority can no longer be changed", state.name())))
            }
            _ if job.submission.priority == priority => Ok(()),
            _ => self.record_event(id, EventKind::Prioritised { priority }),
        }
    }

    /// Pauses a job until it is resumed. A running job is asked to stop.
    ///
    /// Fails if the job has ended.
    pub fn pause(&mut self, id: JobId) -> Result<()> {
        let job = self.job(id)?;
        match (job.state, job.stop_request) {
            (JobState::Queued, _) => self.record_event(id, EventKind::Paused { ran_ms: 0 }),
            (JobState::Running, None) => self.record_event(id, EventKind::Asked { wish: StopRequest::Pause }),
            (JobState::Paused, _) | (JobState::Running, Some(StopRequest::Pause)) => Ok(()),
            (JobState::Running, Some(StopRequest::Cancel)) => Err(Error::user(format!("job {id} is being cancelled"))),
            (state, _) => Err(Error::user(format!("job {id} is {}: there is nothing to pause", state.name()))),
        }
    }

    /// Resumes a paused job: it is queued again.
    ///
    /// Fails if the job has ended.
    pub fn resume(&mut self, id: JobId) -> Result<()> {
        let job = self.job(id)?;
        match (job.state, job.stop_request) {
            (JobState::Paused, _) | (JobState::Running, Some(StopRequest::Pause)) => {
                self.record_event(id, EventKind::Resumed)
            }
            (JobState::Queued, _) | (JobState::Running, None) => Ok(()),
            (JobState::Running, Some(StopRequest::Cancel)) => Err(Error::user(format!("job {id} is being cancelled"))
                .hint(format!("once it is cancelled, run `evomerge retry {id}`"))),
            (state, _) => Err(Error::user(format!("job {id} is {}: there is nothing to resume", state.name()))
                .hint(format!("`evomerge retry {id}` runs it again"))),
        }
    }

    /// Cancels a job. A running job is asked to stop. Its results so far stay in its directory.
    ///
    /// Fails if the job is done or has failed.
    pub fn cancel(&mut self, id: JobId) -> Result<()> {
        let job = self.job(id)?;
        match (job.state, job.stop_request) {
            (JobState::Queued | JobState::Paused, _) => self.record_event(id, EventKind::Cancelled { ran_ms: 0 }),
            (JobState::Running, None | Some(StopRequest::Pause)) => {
                self.record_event(id, EventKind::Asked { wish: StopRequest::Cancel })
            }
            (JobState::Cancelled, _) | (JobState::Running, Some(StopRequest::Cancel)) => Ok(()),
            (state, _) => Err(Error::user(format!("job {id} is {}: there is nothing to cancel", state.name()))
                .hint(format!("`evomerge rm {id}` removes it"))),
        }
    }

    /// Queues a failed or cancelled job again; it goes on from where it was. Limits that are given
    /// replace the job's.
    ///
    /// Fails if it has not ended that way, or if it is in quarantine and `insists` is false.
    pub fn retry(&mut self, id: JobId, limits: Limits, insists: bool) -> Result<()> {
        let job = self.job(id)?;
        if !matches!(job.state, JobState::Failed | JobState::Cancelled) {
            return Err(Error::user(format!("job {id} is {}: there is nothing to try again", job.state.name())));
        }
        if job.is_quarantined() && !insists {
            let why = job.why.as_deref().unwrap_or_default();
            return Err(Error::user(format!("job {id} has failed the same way {QUARANTINE} times: {why}")).hint(
                format!("see `evomerge logs {id}`; once the cause is fixed, run `evomerge retry {id} --force`"),
            ));
        }
        let before = job.submission.limits;
        let limits = Limits { seconds: limits.seconds.or(before.seconds), bytes: limits.bytes.or(before.bytes) };
        self.record_event(id, EventKind::Retried { limits, insists })
    }

    /// Removes a job that has ended.
    ///
    /// Fails if it has not ended, or if another job waits for it.
    pub fn remove(&mut self, id: JobId) -> Result<()> {
        let job = self.job(id)?;
        if !job.state.has_ended() {
            return Err(
                Error::user(format!("job {id} is {}", job.state.name())).hint(format!("`evomerge cancel {id}` first"))
            );
        }
        // Jobs that failed or were cancelled may be tried again.
        let waits = |other: &&Job| {
            job.state != JobState::Done && other.submission.after.contains(&id) && other.state != JobState::Done
        };
        if let Some(other) = self.jobs().find(waits) {
            return Err(Error::user(format!("job {} waits for job {id}", other.id)));
        }
        self.record_event(id, EventKind::Removed)
    }

    /// Queued jobs that wait for no other, in the order to start them: by priority, then by number.
    pub fn ready(&self) -> Vec<&Job> {
        let mut ready: Vec<&Job> =
            self.jobs().filter(|job| job.state == JobState::Queued && self.waits_for(job).is_none()).collect();
        ready.sort_by_key(|job| (-i64::from(job.submission.priority), job.id));
        ready
    }

    /// The first unfinished job that a queued job waits for.
    pub fn waits_for(&self, job: &Job) -> Option<&Job> {
        job.submission.after.iter().find_map(|id| self.unfinished(*id))
    }

    /// Unfinished jobs that a queued job waits for directly. (Only a done one could be removed.)
    pub fn waited_for<'a>(&'a self, job: &'a Job) -> impl Iterator<Item = &'a Job> {
        job.submission.after.iter().filter_map(|id| self.unfinished(*id))
    }

    fn unfinished(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(&id).filter(|job| job.state != JobState::Done)
    }

    fn check_same(&self, id: JobId, submission: &Submission) -> Result<()> {
        let known = &self.jobs[&id].submission;
        let work = |one: &Submission| (one.kind, one.words.clone(), one.directory.clone(), one.texts.clone());
        if work(known) == work(submission) {
            return Ok(());
        }
        let key = submission.key.as_deref().unwrap_or_default();
        Err(Error::user(format!("the key `{key}` already belongs to job {id}, which does other work"))
            .hint("choose another key: the same words and the same files under a key are one job"))
    }

    fn record_event(&mut self, id: JobId, what: EventKind) -> Result<()> {
        self.record_events(self.tip.job, vec![(id, what)])
    }

    /// Stores events. If that fails, none has happened for this queue, and it stores nothing more.
    fn record_events(&mut self, last_job: u64, what: Vec<(JobId, EventKind)>) -> Result<()> {
        if what.is_empty() {
            return Ok(());
        }
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let at = (self.clock)();
        let mut tip = Tip { job: last_job, ..self.tip };
        let event = |(job, what): (JobId, EventKind)| {
            tip.seq += 1;
            match (&what, self.jobs.get(&job)) {
                (EventKind::Removed, Some(job)) => tip.events -= job.events.len() as u64,
                _ => tip.events += 1,
            }
            Event { seq: tip.seq, at, job, what }
        };
        let events: Vec<Event> = what.into_iter().map(event).collect();
        self.journal.append(&events, tip).inspect_err(|error| self.broken = Some(error.clone()))?;
        self.tip = tip;
        for event in events {
            self.apply(event);
        }
        Ok(())
    }

    fn apply(&mut self, event: Event) {
        match &event.what {
            EventKind::Submitted { submission } => {
                let submission = (**submission).clone();
                if let Some(key) = &submission.key {
                    self.keys.insert(key.clone(), event.job);
                }
                self.jobs.insert(event.job, Job::new(event, submission));
            }
            EventKind::Removed => {
                if let Some(job) = self.jobs.remove(&event.job)
                    && let Some(key) = &job.submission.key
                {
                    self.keys.remove(key);
                }
            }
            _ => {
                if let Some(job) = self.jobs.get_mut(&event.job) {
                    job.apply(event);
                }
            }
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
