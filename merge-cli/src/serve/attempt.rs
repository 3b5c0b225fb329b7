//! One attempt at a job: a process of its own, watched until it ends.

use super::{
    copies,
    home::{self, Home},
    machine, work,
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

/// A process that does a job.
pub(super) struct Attempt {
    child: Child,
    place: PathBuf,
    /// Where it writes: there, unless its user has named another place, which may be on another disk.
    output: PathBuf,
    log: PathBuf,
    /// Where in the log this attempt begins.
    log_from: u64,
    pub(super) began: Instant,
    /// What it was stopped for, and when.
    stopped: Option<(Why, Instant)>,
    /// When what costs time was last looked at.
    looked: Instant,
    /// Bytes of memory that it used then.
    pub(super) memory: Option<u64>,
    /// How many processes the system had ended for want of memory when it began.
    ended_before: u64,
    told: Option<SystemTime>,
}

/// Why somebody stops an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Its user wants it.
    Asked,
    /// The server stops, or the disk is full: it goes on later.
    Later(String),
    /// It has taken what it may.
    Over(String),
}

/// One that does not stop by itself is stopped again, which ends it at once: what is in flight is computed again.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often disks are looked at.
const LOOKS: Duration = Duration::from_secs(2);

impl Attempt {
    /// Starts a job.
    ///
    /// Fails if the queue's copies are not what was handed in, or if no process can be started.
    pub(super) fn start(home: &Home, job: &Job, threads: usize) -> Result<Self> {
        let submission = &job.submission;
        let place = home.job(job.id);
        fs::create_dir_all(&place).map_err(|e| Error::io("create", &place, &e))?;
        let log = home.log(job.id);
        let log_from = fs::metadata(&log).map_or(0, |data| data.len());
        copies::check(&place, &submission.texts)?;
        let words = work::words_of(job, &place, threads);
        home::note(&log, &format!("== attempt {}: evomerge {}", job.attempts + 1, words.join(" ")));
        let open = |path: PathBuf, appends: bool| -> Result<File> {
            let mut options = OpenOptions::new();
            let options = if appends { options.append(true) } else { options.write(true).truncate(true) };
            options.create(true).open(&path).map_err(|e| Error::io("open", &path, &e))
        };
        let program = env::current_exe().map_err(|e| Error::machine(format!("cannot find this program: {e}")))?;
        let child = Command::new(program)
            .args(words)
            .current_dir(&submission.directory)
            .env(job::DIRECTORY, &place)
            .env(language::VARIABLE, Language::chosen().code())
            // It sees the end of it when this process ends, however that ends.
            .stdin(Stdio::piped())
            .stdout(open(home.output(job.id), false)?)
            .stderr(open(log.clone(), true)?)
            // Ctrl-C at the server's terminal is the server's.
            .process_group(0)
            .spawn()
            .map_err(|e| {
                Error::machine(format!("cannot start a process in {}: {e}", submission.directory.display()))
            })?;
        let now = Instant::now();
        Ok(Self {
            child,
            output: work::output_of(submission, &place),
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

    /// Asks it to stop.
    pub(super) fn stop(&mut self, why: Why) {
        match &mut self.stopped {
            // What its user wants counts for more than what the server wants.
            Some((known, _)) if *known == Why::Asked || why != Why::Asked => {}
            Some((known, _)) => *known = why,
            None => {
                self.signal(Signal::TERM);
                self.stopped = Some((why, Instant::now()));
            }
        }
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// Nobody wants it to stop any more; it does all the same, and goes on later.
    pub(super) fn wanted_again(&mut self) {
        if let Some((why, _)) = &mut self.stopped
            && *why == Why::Asked
        {
            *why = Why::Later("it was asked to pause, and then to go on".to_owned());
        }
    }

    /// Stops it if it takes more than it may; how far it is, if that is new.
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
            // Its log is here, and what it writes may be elsewhere.
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

    /// How it has ended, if it has.
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
                // 1 and 2 are what a user can mend.
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

    /// The last error that this attempt has told of, without the path of this machine's program.
    fn last_error(&self) -> Option<String> {
        let len = fs::metadata(&self.log).ok()?.len();
        // An error is among the last things said.
        let from = self.log_from.max(len.saturating_sub(16 << 10));
        let (text, _) = home::tail(&self.log, Some(from), 16 << 10).ok()?;
        text.lines().rev().find_map(|line| line.strip_prefix("error: ")).map(str::to_owned)
    }

    /// Bytes of all that it has written: in its directory, and where its user wants its result.
    fn size(&self) -> u64 {
        let elsewhere = if self.output.starts_with(&self.place) { 0 } else { machine::size(&self.output) };
        machine::size(&self.place) + elsewhere
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // One that is gone already needs none.
            let _ = kill_process(pid, signal);
        }
    }
}

/// What is known of a process that the queue has not ended; `ended` is whether the system has ended any for want of memory.
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
