//! Runs jobs: starts them in turn, watches them, and records how they end.

use super::{
    attempt::{Attempt, Why},
    machine,
    service::Service,
    work,
};
use crate::{
    draw::screen::{self, bytes, duration},
    job,
};
use merge_core::{
    error::{Fault, Result},
    queue::{End, EventKind, Failure, Job, JobId, JobState, Needs},
};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

/// Runs the jobs of a queue.
pub(super) struct JobRunner {
    service: Arc<Service>,
    running: BTreeMap<JobId, Attempt>,
    /// Earliest time of the next attempt, for jobs that failed through the machine.
    not_before: BTreeMap<JobId, Instant>,
}

/// Time between two looks at the running jobs.
const LOOKS: Duration = Duration::from_millis(100);
/// Time that jobs have to stop with the server before they are killed; the server promises to end
/// within five seconds.
const GRACE: Duration = Duration::from_secs(4);

impl JobRunner {
    pub(super) fn new(service: Arc<Service>) -> Self {
        Self { service, running: BTreeMap::new(), not_before: BTreeMap::new() }
    }

    /// Queues the jobs again that ran when the last server ended, except those that were asked to
    /// stop or may be the reason for its end. Prints a line for each.
    pub(super) fn recover(&self) -> Result<()> {
        let home = self.service.home.clone();
        let mut queue = self.service.queue();
        for id in queue.recover(|job| ran_ms(&home.job(job.id), job))? {
            screen::say(&recovered(queue.job(id)?));
        }
        Ok(())
    }

    /// Runs jobs until interrupted; then stops the running ones and queues them again.
    pub(super) fn run(mut self, interrupted: &AtomicBool) -> Result<()> {
        while !interrupted.load(Ordering::Relaxed) {
            if let Err(error) = self.step() {
                // Without the server, nobody would watch the running jobs.
                let _ = self.stop();
                return Err(error);
            }
            self.service.wait(LOOKS);
        }
        self.stop()
    }

    /// Looks at all running jobs once, then starts more.
    fn step(&mut self) -> Result<()> {
        let jobs: Vec<Job> = {
            let queue = self.service.queue();
            self.running.keys().filter_map(|id| queue.job(*id).ok().cloned()).collect()
        };
        for job in jobs {
            let attempt = self.running.get_mut(&job.id).expect("it runs");
            if job.stop_request.is_some() {
                attempt.stop(Why::Asked);
            } else {
                attempt.wanted_again();
            }
            let told = attempt.look(&job, self.service.machine.reserve);
            let is_new = told.is_some();
            {
                let mut now = self.service.now();
                now.memory.extend(attempt.memory.map(|memory| (job.id, memory)));
                now.told.extend(told.map(|told| (job.id, Arc::new(told))));
            }
            if is_new {
                self.service.tell(job.id);
            }
            if let Some(end) = attempt.ended() {
                self.finish(job.id, end)?;
            }
        }
        self.start()
    }

    /// Starts the jobs that fit, in order. No job overtakes one that waits for memory or a slot,
    /// which might else wait for ever.
    fn start(&mut self) -> Result<()> {
        let machine = self.service.machine;
        self.not_before.retain(|_, when| *when > Instant::now());
        let left = |when: &Instant| duration(when.saturating_duration_since(Instant::now()).as_secs_f64().ceil());
        let again = self.not_before.iter().map(|(id, when)| (*id, format!("another attempt in {}", left(when))));
        let mut waits: BTreeMap<JobId, String> = again.collect();
        // If no slot is free, jobs wait for their turn and for nothing else.
        let is_full = self.running.len() >= machine.slots;
        let ready: Vec<Job> =
            if is_full { Vec::new() } else { self.service.queue().ready().into_iter().cloned().collect() };
        for job in ready {
            if self.running.len() >= machine.slots {
                break;
            }
            if self.not_before.contains_key(&job.id) {
                continue;
            }
            let needs = job.submission.needs;
            let used = self.sum(|needs| needs.memory);
            if let Some(memory) = needs.memory
                && !self.running.is_empty()
                && used + memory > machine.memory
            {
                let (memory, left) = (bytes(memory), bytes(machine.memory.saturating_sub(used)));
                waits.insert(job.id, format!("{memory} of memory, of which {left} are left"));
                break;
            }
            let output = work::output_of(&job.submission, &self.service.home.job(job.id));
            let free = machine::free(&output).unwrap_or(u64::MAX);
            if needs.disk.unwrap_or(0) + self.sum(|needs| needs.disk) + machine.reserve > free {
                let (disk, reserve) = (bytes(needs.disk.unwrap_or(0)), bytes(machine.reserve));
                waits.insert(
                    job.id,
                    format!("{disk} of disk and {reserve} kept free, of which {} are free", bytes(free)),
                );
                continue;
            }
            self.begin(&job)?;
        }
        let mut now = self.service.now();
        if now.waits != waits {
            let told: Vec<JobId> = now.waits.keys().chain(waits.keys()).copied().collect();
            now.waits = waits;
            drop(now);
            for id in told {
                self.service.tell(id);
            }
        }
        Ok(())
    }

    fn begin(&mut self, job: &Job) -> Result<()> {
        let id = job.id;
        {
            let mut queue = self.service.queue();
            // A user may have paused or cancelled it in the meantime.
            if !queue.job(id).is_ok_and(|job| job.state == JobState::Queued) {
                return Ok(());
            }
            // Recorded as running before its process starts: after a crash here, it is queued
            // again.
            queue.start(id)?;
        }
        let threads = job.submission.threads.map_or(self.service.machine.share(), usize::from);
        match Attempt::start(&self.service.home, job, threads) {
            Ok(attempt) => {
                screen::say(&format!("job {id} ({}) began", job.submission.name));
                let mut now = self.service.now();
                now.began.insert(id, attempt.began);
                now.told.remove(&id);
                drop(now);
                self.running.insert(id, attempt);
                self.service.tell(id);
                Ok(())
            }
            Err(error) => {
                super::home::note(&self.service.home.log(id), &format!("error: {error}"));
                let by_machine = error.fault() == Fault::Machine;
                self.finish(id, End::Failed(Failure { why: error.to_string(), by_machine }))
            }
        }
    }

    fn finish(&mut self, id: JobId, end: End) -> Result<()> {
        let ran_ms = self.running.get(&id).map_or(0, |attempt| attempt.began.elapsed().as_millis() as u64);
        let job = {
            let mut queue = self.service.queue();
            queue.ended(id, end, ran_ms)?;
            queue.job(id)?.clone()
        };
        self.running.remove(&id);
        {
            let mut now = self.service.now();
            now.began.remove(&id);
            now.memory.remove(&id);
        }
        match job.state {
            JobState::Queued if !job.failures.is_empty() => {
                let pause = Duration::from_secs(4u64.pow(job.tries.min(6)) / 4);
                self.not_before.insert(id, Instant::now() + pause);
            }
            _ => {
                self.not_before.remove(&id);
            }
        }
        let why = job.why.as_deref().map_or_else(String::new, |why| format!(": {why}"));
        let state = if job.state == JobState::Queued { "is queued again" } else { job.state.name() };
        let (name, ran) = (&job.submission.name, duration(ran_ms as f64 / 1000.0));
        screen::say(&format!("job {id} ({name}) {state} after {ran}{why}"));
        self.service.news(id);
        Ok(())
    }

    /// Stops all running jobs, and waits until they have ended.
    fn stop(&mut self) -> Result<()> {
        for attempt in self.running.values_mut() {
            attempt.stop(Why::Later("the server stopped".to_owned()));
        }
        let began = Instant::now();
        while !self.running.is_empty() {
            let ids: Vec<JobId> = self.running.keys().copied().collect();
            for id in ids {
                let attempt = self.running.get_mut(&id).expect("it runs");
                if began.elapsed() > GRACE {
                    attempt.kill();
                }
                if let Some(end) = attempt.ended() {
                    self.finish(id, end)?;
                }
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Sum of a need over the running jobs.
    fn sum(&self, of: fn(&Needs) -> Option<u64>) -> u64 {
        let queue = self.service.queue();
        self.running.keys().filter_map(|id| of(&queue.job(*id).ok()?.submission.needs)).sum()
    }
}

/// Message about a job that ran when its server ended.
fn recovered(job: &Job) -> String {
    let id = job.id;
    let how = match (job.state, &job.why) {
        (JobState::Queued, _) => "it is queued again, and goes on from where it was".to_owned(),
        (JobState::Paused, Some(why)) => format!("it is paused, as {why}; `evomerge resume {id}` lets it go on"),
        (state, _) => format!("it is {}, as it was asked", state.name()),
    };
    format!("job {id} ({}) was interrupted: {how}", job.submission.name)
}

/// Running time of a job's last attempt in milliseconds, estimated from its last write: nobody saw
/// its end.
fn ran_ms(place: &Path, job: &Job) -> u64 {
    let began = job.events.iter().rev().find(|event| event.what == EventKind::Started).map_or(0, |event| event.at);
    let written = ["log", job::PROGRESS].iter().filter_map(|name| {
        let changed = fs::metadata(place.join(name)).and_then(|data| data.modified()).ok()?;
        Some(changed.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis() as u64)
    });
    written.max().unwrap_or(0).saturating_sub(began)
}
