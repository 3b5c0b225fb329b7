//! An attempt at a job: a separate process that is watched until it ends.

use super::{
    copies,
    home::{self, Home},
    machine,
    work::JobWords,
};
use crate::{
    draw::screen::{bytes, duration},
    job::{self, JobReport},
    language::{self, Language},
    work::interrupt,
};
use merge_core::{
    error::{Error, Result},
    queue::{End, Failure, Job},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    env,
    fs::{self, File, OpenOptions},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant, SystemTime},
};

/// A process that runs a job.
pub(super) struct Attempt {
    child: Child,
    place: PathBuf,
    /// Directory of its results: in `place`, unless the user named another one, maybe on another
    /// disk.
    output: PathBuf,
    log: PathBuf,
    /// Byte of the log at which this attempt begins.
    log_from: u64,
    pub(super) began: Instant,
    /// Reason and time of the request to stop.
    stopped: Option<(Why, Instant)>,
    /// Time of the last look at memory and disks.
    looked: Instant,
    /// Bytes of memory that it used at that time.
    pub(super) memory: Option<u64>,
    /// Number of processes that the system had killed for lack of memory when the attempt began.
    ended_before: u64,
    told: Option<SystemTime>,
}

/// Reason to stop an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The user asked for it.
    Asked,
    /// The server stops, or the disk is full: the job continues later.
    Later(String),
    /// The job has reached a limit.
    Over(String),
}

/// An attempt that has not stopped after this time gets a second signal, which ends it at once;
/// work in flight is lost.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time between two looks at memory and disks.
const LOOKS: Duration = Duration::from_secs(2);

impl Attempt {
    /// Starts the process of a job.
    ///
    /// Fails if the job's words cannot be read, if the queue's copies differ from the submitted files,
    /// or if no process can be started.
    pub(super) fn start(home: &Home, job: &Job, threads: usize) -> Result<Self> {
        let submission = &job.submission;
        let place = home.job(job.id);
        fs::create_dir_all(&place).map_err(|e| Error::io("create", &place, &e))?;
        let log = home.log(job.id);
        let log_from = fs::metadata(&log).map_or(0, |data| data.len());
        copies::check(&place, &submission.texts)?;
        let words = JobWords::parse(&submission.words)?;
        let told = words.completed(&place, threads, job.attempts > 0);
        home::note(&log, &format!("== attempt {}: evomerge {}", job.attempts + 1, told.join(" ")));
        let open = |path: PathBuf, appends: bool| -> Result<File> {
            let mut options = OpenOptions::new();
            let options = if appends { options.append(true) } else { options.write(true).truncate(true) };
            options.create(true).open(&path).map_err(|e| Error::io("open", &path, &e))
        };
        let program = env::current_exe().map_err(|e| Error::machine(format!("cannot find this program: {e}")))?;
        let child = Command::new(program)
            .args(told)
            .current_dir(&submission.directory)
            .env(job::DIRECTORY, &place)
            .env(language::VARIABLE, Language::chosen().code())
            // However this process ends, its end closes the standard input of the job, which then
            // stops.
            .stdin(Stdio::piped())
            .stdout(open(home.output(job.id), false)?)
            .stderr(open(log.clone(), true)?)
            // Ctrl-C at the server's terminal is for the server only.
            .process_group(0)
            .spawn()
            .map_err(|e| {
                Error::machine(format!("cannot start a process in {}: {e}", submission.directory.display()))
            })?;
        let now = Instant::now();
        Ok(Self {
            child,
            output: words.output(&submission.directory, &place),
            place,
            log,
            log_from,
            began: now,
            stopped: None,
            looked: now,
            memory: None,
            ended_before: machine::ended_for_memory(),
            told: None,
        })
    }

    /// Asks the process to stop.
    pub(super) fn stop(&mut self, why: Why) {
        match &mut self.stopped {
            // The user's request overrides the server's.
            Some((known, _)) if *known == Why::Asked || why != Why::Asked => {}
            Some((known, _)) => *known = why,
            None => {
                self.signal(Signal::TERM);
                self.stopped = Some((why, Instant::now()));
            }
        }
    }

    /// Kills the process.
    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// Withdraws the user's request to stop: the process still stops, but the job continues later.
    pub(super) fn wanted_again(&mut self) {
        if let Some((why, _)) = &mut self.stopped
            && *why == Why::Asked
        {
            *why = Why::Later("it was asked to pause, and then to go on".to_owned());
        }
    }

    /// Stops the process if it has reached a limit. Returns its progress, if that is new.
    pub(super) fn look(&mut self, job: &Job, reserve: u64) -> Option<JobReport> {
        let limits = job.submission.limits;
        let ran = job.ran_ms / 1000 + self.began.elapsed().as_secs();
        if let Some(most) = limits.seconds.filter(|most| ran >= *most) {
            self.stop(Why::Over(format!("it has run for {}, its limit", duration(most as f64))));
        }
        match self.stopped.as_ref().map(|(_, when)| when.elapsed()) {
            Some(waited) if waited > 2 * PATIENCE => self.kill(),
            Some(waited) if waited > PATIENCE => self.signal(Signal::TERM),
            _ => {}
        }
        if self.looked.elapsed() >= LOOKS {
            self.looked = Instant::now();
            self.memory = machine::memory_of(self.child.id());
            if let Some(most) = limits.bytes.filter(|most| self.size() > *most) {
                self.stop(Why::Over(format!("it has written more than {}, its limit", bytes(most))));
            }
            // Log and results may be on different disks.
            let free = [&self.place, &self.output].into_iter().filter_map(|place| machine::free(place)).min();
            if let Some(free) = free.filter(|free| *free < reserve) {
                self.stop(Why::Later(format!(
                    "{} are free on the disk, and {} are kept free",
                    bytes(free),
                    bytes(reserve)
                )));
            }
        }
        let path = self.place.join(job::PROGRESS);
        let changed = fs::metadata(&path).and_then(|data| data.modified()).ok()?;
        if self.told == Some(changed)
            || SystemTime::now().duration_since(changed).is_ok_and(|age| age > self.began.elapsed())
        {
            return None;
        }
        self.told = Some(changed);
        serde_json::from_slice(&fs::read(&path).ok()?).ok()
    }

    /// Result of the process, if it has ended.
    pub(super) fn ended(&mut self) -> Option<End> {
        match self.child.try_wait() {
            Ok(status) => status.map(|status| self.judge(status)),
            Err(e) => Some(End::Failed(Failure { why: format!("its process was lost: {e}"), by_machine: true })),
        }
    }

    fn judge(&self, status: ExitStatus) -> End {
        if status.success() {
            return End::Done;
        }
        let failed = |why: String, by_machine| End::Failed(Failure { why, by_machine });
        match (&self.stopped, status.code(), status.signal()) {
            (Some((Why::Asked, _)), ..) => End::Stopped("it was asked to stop".to_owned()),
            (Some((Why::Later(why), _)), ..) => End::Stopped(why.clone()),
            (Some((Why::Over(why), _)), ..) => failed(why.clone(), false),
            (None, Some(code), _) if code == i32::from(interrupt::CODE) => {
                End::Stopped("somebody interrupted its process".to_owned())
            }
            (None, Some(code), _) => {
                let why = self.last_error().unwrap_or_else(|| format!("it ended with code {code}"));
                // 1 and 2 are errors that a user can fix.
                failed(why, code > 2)
            }
            (None, None, signal) => {
                let ended = machine::ended_for_memory() > self.ended_before;
                if let Some(memory) = self.memory {
                    home::note(
                        &self.log,
                        &format!("== it used {} of memory when it was last looked at", bytes(memory)),
                    );
                }
                failed(killed(signal.unwrap_or_default(), ended), true)
            }
        }
    }

    /// Last error message in the log of this attempt.
    fn last_error(&self) -> Option<String> {
        let len = fs::metadata(&self.log).ok()?.len();
        // The error is near the end of the log.
        let from = self.log_from.max(len.saturating_sub(16 << 10));
        let (text, _) = home::tail(&self.log, Some(from), 16 << 10).ok()?;
        text.lines().rev().find_map(|line| line.strip_prefix("error: ")).map(str::to_owned)
    }

    /// Size in bytes of the job's directory and of its results.
    fn size(&self) -> u64 {
        let elsewhere = if self.output.starts_with(&self.place) { 0 } else { machine::size(&self.output) };
        machine::size(&self.place) + elsewhere
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // The process may have ended already.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Describes the end of a process that the queue did not kill; `ended` is true if the system killed
/// any process for lack of memory meanwhile.
fn killed(signal: i32, ended: bool) -> String {
    let what = match signal {
        4 => "SIGILL: this processor lacks an instruction",
        6 => "SIGABRT: it gave up",
        7 => "SIGBUS: a file that it read became shorter, or its disk failed",
        9 if ended => "SIGKILL: the system ended a process for want of memory meanwhile",
        9 => "SIGKILL: somebody or something else than this queue ended it",
        11 => "SIGSEGV: a mistake in the program",
        15 => "SIGTERM: somebody or something else than this queue asked it to stop",
        _ => return format!("its process was killed by signal {signal}"),
    };
    format!("its process was killed by signal {signal}, {what}")
}

#[cfg(test)]
mod tests {
    use super::killed;

    #[test]
    fn why_a_process_was_ended_is_told_as_far_as_it_is_known() {
        let somebody =
            "its process was killed by signal 9, SIGKILL: somebody or something else than this queue ended it";
        assert_eq!(killed(9, false), somebody);
        assert!(killed(9, true).contains("the system ended a process for want of memory meanwhile"));
        assert!(!killed(11, true).contains("memory"));
        assert_eq!(killed(40, false), "its process was killed by signal 40");
    }
}
