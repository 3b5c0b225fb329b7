//! The workers of a search: started by a launcher, greeted, lent to candidates, and started again when they end.

#[cfg(test)]
mod tests;

use super::{
    message::{FaultOf, Greeting, Order, PROTOCOL, Reply, StudyOrder},
    pipe::{Heard, WorkerProcess},
};
use evaluator::interrupt::Interrupt;
use merge_core::error::{Error, Result};
use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Pause between two looks at the interrupt and at workers.
const LOOK: Duration = Duration::from_millis(20);
/// First pause before a worker that has ended is started again; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// What stands for the worker's command in a launcher.
const WORK: &str = "{work}";
/// Ends before a greeting, without one that came to it, after which a launcher is taken for wrong.
const MOST_STARTS: usize = 3;

/// Processes that score candidates.
pub(crate) struct Workers {
    shared: Arc<SharedWorkers>,
    tending: Vec<JoinHandle<()>>,
}

/// What threads share.
struct SharedWorkers {
    slots: Mutex<Vec<WorkerSlot>>,
    /// Notified when a worker changes its state.
    changed: Condvar,
    ends: AtomicBool,
    interrupt: Interrupt,
    silence: Duration,
    notice: Box<dyn Fn(&str) + Send + Sync>,
}

/// One worker, whatever its process is by now.
#[derive(Default)]
struct WorkerSlot {
    state: WorkerState,
    greeting: Option<Greeting>,
    candidates: usize,
    items: usize,
    deaths: usize,
    /// Ends before a greeting in a row.
    failed_starts: usize,
    since: Option<Instant>,
    busy: Duration,
}

#[derive(Default)]
enum WorkerState {
    /// No process, or one that has not greeted yet.
    #[default]
    Coming,
    /// Greeted, and at nobody's service.
    Idle(Box<IdleWorker>),
    Busy,
    /// It is asked no more: the reason.
    Out(Error),
}

/// A worker that waits.
struct IdleWorker {
    process: WorkerProcess,
    /// Study that it has opened.
    study: Option<StudyOrder>,
}

/// What a worker did.
pub(crate) struct WorkerUse {
    /// Number, from 1 on, and machine.
    pub(crate) name: String,
    /// Candidates that it scored, whole or in part.
    pub(crate) candidates: usize,
    /// Items that it scored.
    pub(crate) items: usize,
    /// Times that it ended too early.
    pub(crate) deaths: usize,
    /// Share of the time since its first greeting in which it had no candidate.
    pub(crate) idle: f64,
}

/// A worker that scores one candidate. It is idle again if [`WorkerLease::finish`] is called; else its process is ended.
pub(super) struct WorkerLease<'a> {
    workers: &'a SharedWorkers,
    number: usize,
    began: Instant,
    worker: Option<Box<IdleWorker>>,
    heard: Instant,
}

impl Workers {
    /// Starts `count` workers by a launcher: `program` is appended to it or replaces its `{work}`, and `{n}` is a worker's
    /// number, from 1 on. A worker that says nothing for `silence` is taken for dead. `notice` is told who comes and goes.
    pub(crate) fn start(
        launcher: &str,
        program: &str,
        count: usize,
        silence: Duration,
        interrupt: Interrupt,
        notice: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(SharedWorkers {
            slots: Mutex::new((0..count).map(|_| WorkerSlot::default()).collect()),
            changed: Condvar::new(),
            ends: AtomicBool::new(false),
            interrupt,
            silence,
            notice: Box::new(notice),
        });
        let tending = (0..count).map(|number| {
            let shared = Arc::clone(&shared);
            let command =
                if launcher.contains(WORK) { launcher.replace(WORK, program) } else { format!("{launcher} {program}") };
            let command = command.replace("{n}", &(number + 1).to_string());
            thread::spawn(move || shared.tend(number, &command))
        });
        let tending = tending.collect();
        Self { shared, tending }
    }

    /// Number of workers that were asked for.
    pub(crate) fn count(&self) -> usize {
        self.tending.len()
    }

    /// Waits until a worker is there, however long a cluster's queue takes. Fails if none can come, or if interrupted.
    pub(crate) fn wait(&self) -> Result<()> {
        self.shared.idle().map(drop)
    }

    /// A worker that has opened a study. Waits for one; fails if none can come, or if interrupted.
    pub(super) fn lease(&self, study: &StudyOrder) -> Result<WorkerLease<'_>> {
        loop {
            let mut lease = self.shared.lease()?;
            if lease.open(study)? {
                return Ok(lease);
            }
        }
    }

    /// What the workers did so far.
    pub(crate) fn uses(&self) -> Vec<WorkerUse> {
        let of = |(number, slot): (usize, &WorkerSlot)| WorkerUse {
            name: name(number, slot),
            candidates: slot.candidates,
            items: slot.items,
            deaths: slot.deaths,
            idle: slot.since.map_or(0.0, |since| {
                (1.0 - slot.busy.as_secs_f64() / since.elapsed().as_secs_f64().max(f64::MIN_POSITIVE)).clamp(0.0, 1.0)
            }),
        };
        self.shared.slots().iter().enumerate().map(of).collect()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        self.shared.changed.notify_all();
        for tending in self.tending.drain(..) {
            let _ = tending.join();
        }
        // All inputs end at once, so that nobody waits for each in turn.
        let states: Vec<WorkerState> =
            self.shared.slots().iter_mut().map(|slot| std::mem::take(&mut slot.state)).collect();
        thread::scope(|scope| {
            for state in states {
                scope.spawn(move || drop(state));
            }
        });
    }
}

impl SharedWorkers {
    fn slots(&self) -> MutexGuard<'_, Vec<WorkerSlot>> {
        self.slots.lock().expect("no panic while held")
    }

    fn change<T>(&self, number: usize, change: impl FnOnce(&mut WorkerSlot) -> T) -> T {
        let changed = change(&mut self.slots()[number]);
        self.changed.notify_all();
        changed
    }

    /// True if no worker is needed any more.
    fn is_over(&self) -> bool {
        self.ends.load(Ordering::Relaxed) || self.interrupt.is_set()
    }

    /// Starts a worker whenever it has no process, until all end.
    fn tend(&self, number: usize, command: &str) {
        let mut pause = PAUSE;
        while !self.is_over() {
            let (is_coming, has_ended) = {
                let slot = &self.slots()[number];
                (matches!(slot.state, WorkerState::Coming), slot.since.is_some())
            };
            if !is_coming {
                let slots = self.slots();
                drop(self.changed.wait_timeout(slots, LOOK).expect("no panic while held"));
                continue;
            }
            if has_ended {
                self.rest(PAUSE);
            }
            match self.greeted(command) {
                Ok(Some((process, greeting))) => {
                    pause = PAUSE;
                    let said = format!("worker {} is there: {}, {}", number + 1, greeting.machine, greeting.processor);
                    (self.notice)(&said);
                    self.change(number, |slot| {
                        slot.greeting = Some(greeting);
                        slot.failed_starts = 0;
                        slot.since.get_or_insert_with(Instant::now);
                        slot.state = WorkerState::Idle(Box::new(IdleWorker { process, study: None }));
                    });
                }
                Ok(None) => return,
                Err((error, is_final)) => {
                    let is_out = self.change(number, |slot| {
                        slot.failed_starts += 1;
                        let never = slot.since.is_none() && slot.failed_starts >= MOST_STARTS;
                        if is_final || never {
                            slot.state = WorkerState::Out(error.clone());
                        }
                        is_final || never
                    });
                    (self.notice)(&format!("worker {}: {error}", number + 1));
                    if is_out {
                        return;
                    }
                    self.rest(pause);
                    pause = (2 * pause).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Starts a process and waits for its greeting, however long a cluster's queue takes; `None` if all end. Fails if it ends
    /// before, for good if it is of another version.
    fn greeted(&self, command: &str) -> std::result::Result<Option<(WorkerProcess, Greeting)>, (Error, bool)> {
        let process = WorkerProcess::start(command).map_err(|e| (e, false))?;
        loop {
            if self.is_over() {
                return Ok(None);
            }
            match process.hear(LOOK) {
                Heard::Reply(Reply::Hello(greeting)) => {
                    let own = env!("CARGO_PKG_VERSION");
                    if greeting.protocol == PROTOCOL && greeting.version == own {
                        return Ok(Some((process, greeting)));
                    }
                    let why = format!(
                        "it is evomerge {} (lines of version {}), and the search is {own} (version {PROTOCOL})",
                        greeting.version, greeting.protocol
                    );
                    return Err((Error::user(why).hint("install the same version on all machines"), true));
                }
                Heard::Reply(_) | Heard::Silence => {}
                Heard::End => {
                    let words = process.last_words();
                    let words = if words.is_empty() { String::new() } else { format!("; it wrote last:\n{words}") };
                    let why = format!("`{command}` ended before a worker greeted{words}");
                    let hint = "run the command by hand: it must print a line that begins with {\"hello\"";
                    return Err((Error::user(why).hint(hint), false));
                }
            }
        }
    }

    /// All workers, and the number of one that is idle, which is waited for.
    fn idle(&self) -> Result<(MutexGuard<'_, Vec<WorkerSlot>>, usize)> {
        let mut slots = self.slots();
        loop {
            if self.interrupt.is_set() {
                return Err(Error::interrupted());
            }
            let outs =
                slots.iter().filter_map(|slot| if let WorkerState::Out(e) = &slot.state { Some(e) } else { None });
            let outs: Vec<&Error> = outs.collect();
            if outs.len() == slots.len() {
                // Whatever it is, no candidate is to blame.
                return Err(outs[0].clone().at("no worker can be asked").as_machine());
            }
            // The one that worked least, so that all are tried.
            let idle = slots.iter().enumerate().filter(|(_, slot)| matches!(slot.state, WorkerState::Idle(_)));
            if let Some((number, _)) = idle.min_by_key(|(_, slot)| slot.candidates) {
                return Ok((slots, number));
            }
            slots = self.changed.wait_timeout(slots, LOOK).expect("no panic while held").0;
        }
    }

    /// Waits for an idle worker, and takes it.
    fn lease(&self) -> Result<WorkerLease<'_>> {
        let (mut slots, number) = self.idle()?;
        let WorkerState::Idle(worker) = std::mem::replace(&mut slots[number].state, WorkerState::Busy) else {
            unreachable!("it is idle")
        };
        let now = Instant::now();
        Ok(WorkerLease { workers: self, number, began: now, worker: Some(worker), heard: now })
    }

    /// Waits, or less long if all end.
    fn rest(&self, pause: Duration) {
        let began = Instant::now();
        while began.elapsed() < pause && !self.is_over() {
            thread::sleep(LOOK);
        }
    }
}

impl WorkerLease<'_> {
    /// Lets the worker open a study, unless it has done so; false if it ended, or refuses it.
    fn open(&mut self, study: &StudyOrder) -> Result<bool> {
        let worker = self.worker.as_mut().expect("it is lent");
        if worker.study.as_ref() == Some(study) {
            return Ok(true);
        }
        if !worker.process.tell(&Order::Study(Box::new(study.clone()))) {
            return Ok(false);
        }
        loop {
            match self.hear()? {
                Some(Reply::Ready) => break,
                Some(Reply::Refused(failure)) => {
                    let is_final = matches!(failure.fault, FaultOf::User);
                    let error = Error::from(failure);
                    self.say(&format!("refuses the study: {error}"));
                    if is_final {
                        self.worker = None;
                        self.workers.change(self.number, |slot| slot.state = WorkerState::Out(error));
                    }
                    return Ok(false);
                }
                Some(_) => {}
                None => return Ok(false),
            }
        }
        self.worker.as_mut().expect("it is lent").study = Some(study.clone());
        Ok(true)
    }

    /// Sends an order; false if the worker has ended.
    pub(super) fn tell(&mut self, order: &Order) -> bool {
        self.worker.as_mut().is_some_and(|worker| worker.process.tell(order))
    }

    /// The next reply; `None` if the worker has ended, or says nothing any more. Fails if interrupted.
    pub(super) fn hear(&mut self) -> Result<Option<Reply>> {
        loop {
            if self.workers.interrupt.is_set() {
                return Err(Error::interrupted());
            }
            let worker = self.worker.as_ref().expect("it is lent");
            match worker.process.hear(LOOK) {
                Heard::Reply(reply) => {
                    self.heard = Instant::now();
                    if !matches!(reply, Reply::Alive) {
                        return Ok(Some(reply));
                    }
                }
                Heard::Silence if self.heard.elapsed() < self.workers.silence => {}
                Heard::Silence | Heard::End => return Ok(None),
            }
        }
    }

    /// Tells the user something about the worker.
    pub(super) fn say(&self, what: &str) {
        (self.workers.notice)(&format!("{} {what}", self.name()));
    }

    /// Counts scored items.
    pub(super) fn count(&self, items: usize) {
        self.workers.change(self.number, |slot| slot.items += items);
    }

    /// Number and machine of the worker.
    pub(super) fn name(&self) -> String {
        name(self.number, &self.workers.slots()[self.number])
    }

    /// Gives the worker back.
    pub(super) fn finish(mut self) {
        if let Some(worker) = self.worker.take() {
            self.workers.change(self.number, |slot| slot.state = WorkerState::Idle(worker));
        }
    }
}

impl Drop for WorkerLease<'_> {
    fn drop(&mut self) {
        let (ended, busy) = (self.worker.take(), self.began.elapsed());
        let (name, is_over) = (self.name(), self.workers.is_over());
        self.workers.change(self.number, |slot| {
            slot.candidates += 1;
            slot.busy += busy;
            if ended.is_some() {
                slot.state = WorkerState::Coming;
                slot.deaths += usize::from(!is_over);
            }
        });
        if let Some(worker) = ended.filter(|_| !is_over) {
            let words = worker.process.last_words();
            let last = words.lines().last().map_or_else(String::new, |last| format!(": {last}"));
            (self.workers.notice)(&format!("{name} (process {}) has ended{last}", worker.process.id()));
        }
    }
}

fn name(number: usize, slot: &WorkerSlot) -> String {
    let machine = slot.greeting.as_ref().map_or_else(String::new, |greeting| format!(" on {}", greeting.machine));
    format!("worker {}{machine}", number + 1)
}
