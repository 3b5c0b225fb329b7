//! The operations on a queue, for commands on this machine and for HTTP clients.

use super::{
    copies::{self, Copies},
    home::Home,
    look::{self, Look, SubmissionProof},
    machine::{self, Machine},
    reasons::shown,
    roots::Roots,
    shown::{CopiedFile, Detail, EventView, JobView, RecipeEntry},
    wanted::{self, Again, SubmitRequest},
    work,
};
use crate::{
    draw::screen,
    job::{self, JobReport},
};
use merge_core::{
    error::{Error, Result},
    queue::{Job, JobId, JobKind, JobState, JournalFile, Limits, Needs, Queue, Submission},
    yaml::{Reads, Text},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::broadcast;

/// A queue, its machine and its roots.
pub(crate) struct Service {
    pub(super) home: Home,
    pub(super) machine: Machine,
    pub(super) roots: Roots,
    queue: Mutex<Queue<JournalFile>>,
    /// Wakes the runner of jobs.
    changed: Condvar,
    /// State of the running jobs.
    now: Mutex<Now>,
    news: broadcast::Sender<JobNews>,
}

/// State of jobs that is not in their events.
#[derive(Default)]
pub(super) struct Now {
    /// Start of the present attempts.
    pub(super) began: BTreeMap<JobId, Instant>,
    /// Reasons why queued jobs do not start though it is their turn.
    pub(super) waits: BTreeMap<JobId, String>,
    /// Bytes of memory that running jobs used at the last look.
    pub(super) memory: BTreeMap<JobId, u64>,
    pub(super) told: BTreeMap<JobId, Arc<JobReport>>,
}

/// A change of a job, for listeners.
#[derive(Clone, Debug)]
pub(super) enum JobNews {
    Job(Arc<str>),
    Removed(u64),
}

/// Result of checking a request without submitting it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct SubmissionCheck {
    pub(super) kind: JobKind,
    pub(super) needs: Needs,
    /// Notes for the user.
    pub(super) notes: Vec<String>,
}

/// Resources of a server.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Server {
    pub(super) version: String,
    /// Number of jobs that run at the same time.
    pub(super) slots: usize,
    pub(super) threads: usize,
    /// Bytes of memory for all jobs together.
    pub(super) memory: u64,
    /// Free bytes on the disk where jobs write.
    pub(super) disk_free: Option<u64>,
    /// Names of the directories whose recipes may be submitted.
    pub(super) roots: Vec<String>,
}

/// Sender of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// The user who owns the queue, on this machine.
    Here,
    /// Anyone who can reach the server by HTTP.
    Afar,
}

/// A reason why something is not done to a job.
pub(super) enum JobError {
    /// There is none of its number.
    Absent(Error),
    /// It cannot be done to it.
    Other(Error),
}

pub(super) type JobResult<T> = std::result::Result<T, JobError>;

impl From<Error> for JobError {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<JobError> for Error {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Absent(error) | JobError::Other(error) => error,
        }
    }
}

/// A submission that has been checked.
struct PreparedJob {
    submission: Submission,
    /// Texts that the job reads.
    reads: Reads,
    notes: Vec<String>,
    /// New recipe to save.
    new: Option<Text>,
}

impl Service {
    pub(super) fn new(home: Home, queue: Queue<JournalFile>, machine: Machine, roots: Roots) -> Self {
        let (news, _) = broadcast::channel(256);
        copies::clean(&home.jobs());
        Self { home, machine, roots, queue: Mutex::new(queue), changed: Condvar::new(), now: Mutex::default(), news }
    }

    pub(super) fn queue(&self) -> MutexGuard<'_, Queue<JournalFile>> {
        // A panic leaves no half change: the journal is written before the memory changes.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something has changed, at most this long.
    pub(super) fn wait(&self, at_most: Duration) {
        let queue = self.queue();
        let _ = self.changed.wait_timeout(queue, at_most);
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<JobNews> {
        self.news.subscribe()
    }

    /// Sends the present state of a job to listeners.
    pub(super) fn tell(&self, id: JobId) {
        if self.news.receiver_count() > 0
            && let Ok(shown) = self.job(id)
        {
            let _ = self.news.send(JobNews::Job(serde_json::to_string(&shown.job).expect("plain data").into()));
        }
    }

    /// Number of jobs that have not ended, in words.
    pub(super) fn waiting(&self) -> String {
        let queue = self.queue();
        let all = queue.jobs().filter(|job| !job.state.has_ended()).count();
        match queue.jobs().filter(|job| job.state == JobState::Paused).count() {
            0 => format!("{all} in the queue"),
            paused => format!("{all} in the queue, {paused} of them paused (`evomerge resume`)"),
        }
    }

    pub(super) fn server(&self) -> Server {
        Server {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            slots: self.machine.slots,
            threads: self.machine.threads,
            memory: self.machine.memory,
            disk_free: machine::free(self.home.path()),
            roots: self.roots.names(),
        }
    }

    /// All jobs, oldest first.
    pub(super) fn jobs(&self) -> Vec<JobView> {
        let (queue, now) = (self.queue(), self.now());
        queue.jobs().map(|job| shown(&queue, &now, job)).collect()
    }

    pub(super) fn job(&self, id: JobId) -> JobResult<Detail> {
        let told = self.told(id);
        let (queue, now) = (self.queue(), self.now());
        let job = queue.job(id).map_err(JobError::Absent)?;
        let shown = JobView { progress: told.map(|told| told.progress.clone()), ..shown(&queue, &now, job) };
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let copies = copies::places(&self.home.job(id)).into_iter();
        let texts = copies.map(|(file, copy)| CopiedFile { file: text(file), copy: text(copy) }).collect();
        Ok(Detail { job: shown, events: EventView::of(job), texts, model: self.model_of(job).map(text) })
    }

    /// Last progress that a job reported.
    pub(super) fn told(&self, id: JobId) -> Option<Arc<JobReport>> {
        let told = self.now().told.get(&id).cloned();
        // It may have been reported to an earlier server.
        let written = || serde_json::from_slice(&fs::read(self.home.job(id).join(job::PROGRESS)).ok()?).ok();
        told.or_else(|| written().map(Arc::new))
    }

    /// Directory of a job's results, if it exists.
    pub(super) fn output_of(&self, id: JobId) -> Option<PathBuf> {
        let queue = self.queue();
        let submission = &queue.job(id).ok()?.submission;
        let place = work::output_of(submission, &self.home.job(id));
        place.is_dir().then_some(place)
    }

    /// Path of the checkpoint that a job has written, if it exists.
    fn model_of(&self, job: &Job) -> Option<PathBuf> {
        let output = work::output_of(&job.submission, &self.home.job(job.id));
        let model = match job.submission.kind {
            JobKind::Merge => output,
            JobKind::Search => output.join("model"),
            JobKind::Eval | JobKind::Report => return None,
        };
        model.is_dir().then_some(model)
    }

    pub(super) fn recipes(&self) -> Vec<RecipeEntry> {
        self.roots.recipes()
    }

    /// Queues a job. Also returns true if it is new, false if its key was known.
    pub(super) fn submit(&self, wanted: &SubmitRequest, asker: Asker) -> Result<(JobView, bool)> {
        let PreparedJob { submission, reads, new, .. } = self.prepare(wanted, asker)?;
        new.as_ref().map_or(Ok(()), wanted::save)?;
        let taken = self.take(submission, &reads);
        if let (Err(_), Some(new)) = (&taken, &new) {
            // The job was refused, so its recipe is not kept.
            let _ = fs::remove_file(&new.path);
        }
        let (id, is_new) = taken?;
        self.news(id);
        Ok((self.job(id)?.job, is_new))
    }

    /// Writes the copies of a job, then queues it.
    fn take(&self, submission: Submission, reads: &Reads) -> Result<(JobId, bool)> {
        let key = submission.key.clone();
        let needs_copies = |queue: &Queue<JournalFile>| {
            *reads != Reads::default() && !key.as_ref().is_some_and(|key| queue.knows(key))
        };
        let write = || Copies::write(&self.home.jobs(), reads);
        // The copies are written without the lock, since they may be many; they are moved with it.
        let is_new = needs_copies(&self.queue());
        let mut copies = if is_new { Some(write()?) } else { None };
        let mut queue = self.queue();
        let (next, is_new) = (queue.next(), needs_copies(&queue));
        if is_new && copies.is_none() {
            copies = Some(write()?);
        }
        if let Some(copies) = copies.filter(|_| is_new) {
            copies.give(&self.home.job(next))?;
        }
        let taken = queue.submit(vec![submission]);
        if taken.is_err() && is_new {
            copies::remove(&self.home.job(next));
        }
        let id = taken?[0];
        Ok((id, id == next))
    }

    /// Checks a request; nothing is queued or saved.
    pub(super) fn check(&self, wanted: &SubmitRequest, asker: Asker) -> Result<SubmissionCheck> {
        let PreparedJob { submission, notes, .. } = self.prepare(wanted, asker)?;
        Ok(SubmissionCheck { kind: submission.kind, needs: submission.needs, notes })
    }

    pub(super) fn pause(&self, id: JobId) -> JobResult<JobView> {
        self.change(id, |queue| queue.pause(id))
    }

    pub(super) fn resume(&self, id: JobId) -> JobResult<JobView> {
        self.change(id, |queue| queue.resume(id))
    }

    pub(super) fn cancel(&self, id: JobId) -> JobResult<JobView> {
        self.change(id, |queue| queue.cancel(id))
    }

    pub(super) fn prioritise(&self, id: JobId, priority: i32) -> JobResult<JobView> {
        self.change(id, |queue| queue.prioritise(id, priority))
    }

    pub(super) fn retry(&self, id: JobId, again: &Again) -> JobResult<JobView> {
        let limits = Limits { seconds: again.seconds, bytes: again.bytes };
        self.change(id, |queue| {
            check_limits(limits, queue.job(id)?.submission.needs)?;
            queue.retry(id, limits, again.force)
        })
    }

    /// Removes a job and deletes its directory.
    pub(super) fn remove(&self, id: JobId) -> JobResult<()> {
        self.change_queue(id, |queue| queue.remove(id))?;
        self.now().told.remove(&id);
        let place = self.home.job(id);
        if place.exists() {
            fs::remove_dir_all(&place).map_err(|e| Error::io("remove", &place, &e))?;
        }
        let _ = self.news.send(JobNews::Removed(id.0));
        self.changed.notify_all();
        Ok(())
    }

    /// Announces that a job has changed, to listeners and the runner.
    pub(super) fn news(&self, id: JobId) {
        self.tell(id);
        self.changed.notify_all();
    }

    fn change(&self, id: JobId, how: impl FnOnce(&mut Queue<JournalFile>) -> Result<()>) -> JobResult<JobView> {
        self.change_queue(id, how)?;
        self.news(id);
        Ok(self.job(id)?.job)
    }

    fn change_queue(&self, id: JobId, how: impl FnOnce(&mut Queue<JournalFile>) -> Result<()>) -> JobResult<()> {
        let mut queue = self.queue();
        queue.job(id).map_err(JobError::Absent)?;
        Ok(how(&mut queue)?)
    }

    /// Checks a request, and that the machine can do it.
    fn prepare(&self, wanted: &SubmitRequest, asker: Asker) -> Result<PreparedJob> {
        let SubmissionProof { words, directory, proof, new } = match asker {
            Asker::Here => proved_here(wanted)?,
            Asker::Afar => self.prove(wanted)?,
        };
        let threads = wanted.threads.map_or(self.machine.share(), usize::from);
        proof.check_memory(threads, self.machine.memory)?;
        let needs = proof.needs(threads);
        self.check_fits(&needs)?;
        let limits = Limits { seconds: wanted.seconds, bytes: wanted.bytes };
        check_limits(limits, needs)?;
        let name = wanted.name.clone().unwrap_or(proof.name);
        let name: String = name.chars().filter(|letter| !letter.is_control()).collect();
        let submission = Submission {
            kind: proof.kind,
            name: if name.trim().is_empty() { proof.kind.name().to_owned() } else { name },
            words,
            directory,
            texts: copies::marks(&proof.reads)?,
            priority: wanted.priority,
            after: wanted.after.iter().copied().map(JobId).collect(),
            labels: wanted.labels.clone(),
            limits,
            attempts: wanted.attempts.unwrap_or(3).max(1),
            threads: wanted.threads,
            needs,
            key: wanted.key.clone(),
        };
        check_length(&submission)?;
        Ok(PreparedJob { submission, reads: proof.reads, notes: proof.notes, new })
    }

    /// Checks a request by HTTP in another process: this one opens none of its files.
    fn prove(&self, wanted: &SubmitRequest) -> Result<SubmissionProof> {
        if wanted.words.is_some() || wanted.directory.is_some() || wanted.proof.is_some() {
            return Err(Error::user("`words` can only be given on the server's own machine"));
        }
        look::at(&Look::Prove { wanted: Box::new(wanted.clone()), roots: self.roots.clone() })
    }

    /// Refuses a job whose results do not fit on the disk.
    fn check_fits(&self, needs: &Needs) -> Result<()> {
        let said = screen::bytes;
        let free = machine::free(self.home.path());
        if let (Some(disk), Some(free)) = (needs.disk, free)
            && disk + self.machine.reserve > free
        {
            return Err(Error::user(format!(
                "it writes about {}, and {} are free, of which {} are kept free",
                said(disk),
                said(free),
                said(self.machine.reserve)
            ))
            .hint("`evomerge rm` deletes what jobs have written; `serve --reserve` keeps less free"));
        }
        Ok(())
    }
}

/// The proof that a command on this machine has made.
fn proved_here(wanted: &SubmitRequest) -> Result<SubmissionProof> {
    match (&wanted.words, &wanted.directory, &wanted.proof) {
        (Some(words), Some(directory), Some(proof)) => {
            Ok(SubmissionProof { words: words.clone(), directory: directory.clone(), proof: proof.clone(), new: None })
        }
        _ => Err(Error::user("nothing is handed in").hint("`evomerge submit` does, or a `file` by HTTP")),
    }
}

/// Maximum bytes of a submission: the queue's store cannot sync a longer record safely.
const LONGEST: usize = 32 << 10;

/// Refuses a submission that is too long for the store.
fn check_length(submission: &Submission) -> Result<()> {
    let len = serde_json::to_vec(submission).map_or(0, |bytes| bytes.len());
    if len <= LONGEST {
        return Ok(());
    }
    let (len, most) = (screen::bytes(len as u64), screen::bytes(LONGEST as u64));
    Err(Error::user(format!(
        "its words, labels and the jobs it waits for are {len}, and the queue keeps {most} of a job"
    ))
    .hint("hand in several jobs with fewer each"))
}

/// Refuses a limit below the known need.
fn check_limits(limits: Limits, needs: Needs) -> Result<()> {
    let (Some(most), Some(writes)) = (limits.bytes, needs.disk) else { return Ok(()) };
    if writes <= most {
        return Ok(());
    }
    let (writes, most) = (screen::bytes(writes), screen::bytes(most));
    Err(Error::user(format!("it writes about {writes}, and its directory may have {most}"))
        .hint("give it more with `--disk`, or no limit"))
}
