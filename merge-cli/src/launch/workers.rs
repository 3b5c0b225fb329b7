//! The workers of a search: started by a launcher, greeted, given what is at the desk, and started again when they end.

#[cfg(test)]
mod tests;

use super::{
    desk::{Desk, LOOK},
    launcher::Launcher,
    message::{Greeting, PROTOCOL, Reply},
    pipe::{Heard, WorkerPipe},
    running::{End, RunningWorker},
};
use crate::job::WorkersNow;
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

/// First pause before a worker that has ended is started again; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Time after which a launcher's last words are told, if there is no worker yet.
const LATE: Duration = Duration::from_secs(10);
/// Starts in a row that came to nothing, of a worker that never opened a study, after which it is asked no more.
const MOST_STARTS: u32 = 3;

/// Processes that score candidates.
pub(crate) struct Workers {
    shared: Arc<SharedWorkers>,
    tending: Vec<JoinHandle<()>>,
}

/// What threads share.
pub(super) struct SharedWorkers {
    slots: Mutex<Vec<WorkerSlot>>,
    /// Notified when a worker comes, or can be asked no more.
    changed: Condvar,
    launcher: Launcher,
    pub(super) desk: Arc<Desk>,
    ends: AtomicBool,
    interrupt: Interrupt,
    pub(super) silence: Duration,
    notice: Box<dyn Fn(&str) + Send + Sync>,
}

/// One worker, whatever its process is by now.
#[derive(Default)]
pub(super) struct WorkerSlot {
    greeting: Option<Greeting>,
    is_there: bool,
    /// Why it is asked no more.
    out: Option<Error>,
    pub(super) candidates: usize,
    pub(super) items: usize,
    deaths: usize,
    since: Option<Instant>,
    pub(super) busy: Duration,
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
    /// Share of the time since its first greeting in which it had nothing to do.
    pub(crate) idle: f64,
}

impl Workers {
    /// Starts `count` workers. One that says nothing for `silence` is taken for dead. `notice` is told who comes and goes.
    pub(crate) fn start(
        launcher: Launcher,
        count: usize,
        silence: Duration,
        interrupt: Interrupt,
        notice: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(SharedWorkers {
            slots: Mutex::new((0..count).map(|_| WorkerSlot::default()).collect()),
            changed: Condvar::new(),
            launcher,
            desk: Arc::default(),
            ends: AtomicBool::new(false),
            interrupt,
            silence,
            notice: Box::new(notice),
        });
        let tending = (0..count).map(|number| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.tend(number))
        });
        let tending = tending.collect();
        Self { shared, tending }
    }

    /// Number of workers that were asked for.
    pub(crate) fn count(&self) -> usize {
        self.tending.len()
    }

    /// Where they get their work.
    pub(super) fn desk(&self) -> Arc<Desk> {
        Arc::clone(&self.shared.desk)
    }

    /// What stops them.
    pub(super) fn interrupt(&self) -> Interrupt {
        self.shared.interrupt.clone()
    }

    /// Waits until a worker is there, however long a cluster's queue takes. Fails if none can come, or if interrupted.
    pub(crate) fn wait(&self) -> Result<()> {
        let mut slots = self.shared.slots();
        loop {
            if self.shared.interrupt.is_set() {
                return Err(Error::interrupted());
            }
            if let Some(why) = hopeless(&slots) {
                return Err(why);
            }
            if slots.iter().any(|slot| slot.is_there) {
                return Ok(());
            }
            slots = self.shared.changed.wait_timeout(slots, LOOK).expect("no panic while held").0;
        }
    }

    /// What the workers do now.
    pub(crate) fn now(&self) -> WorkersNow {
        let slots = self.shared.slots();
        let (busy, all) = slots.iter().fold((Duration::ZERO, Duration::ZERO), |(busy, all), slot| {
            (busy + slot.busy, all + slot.since.map_or(Duration::ZERO, |since| since.elapsed()))
        });
        WorkersNow {
            there: slots.iter().filter(|slot| slot.is_there).count(),
            wanted: slots.len(),
            busy: (busy.as_secs_f64() / all.as_secs_f64().max(f64::MIN_POSITIVE)).min(1.0),
            deaths: slots.iter().map(|slot| slot.deaths).sum(),
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
        for tending in self.tending.drain(..) {
            let _ = tending.join();
        }
    }
}

/// Why no worker can be asked, if that is so. Whatever it is, no candidate is to blame.
fn hopeless(slots: &[WorkerSlot]) -> Option<Error> {
    let all = slots.iter().all(|slot| slot.out.is_some());
    let first = slots.iter().enumerate().find_map(|(number, slot)| Some((name(number, slot), slot.out.clone()?)));
    first.filter(|_| all).map(|(name, why)| why.at(name).at("no worker can be asked").as_machine())
}

impl SharedWorkers {
    fn slots(&self) -> MutexGuard<'_, Vec<WorkerSlot>> {
        self.slots.lock().expect("no panic while held")
    }

    pub(super) fn change<T>(&self, number: usize, change: impl FnOnce(&mut WorkerSlot) -> T) -> T {
        let changed = change(&mut self.slots()[number]);
        self.changed.notify_all();
        changed
    }

    /// True if no worker is needed any more.
    pub(super) fn is_over(&self) -> bool {
        self.ends.load(Ordering::Relaxed) || self.interrupt.is_set()
    }

    /// Runs a worker whenever it has no process, until all end or it can be asked no more.
    fn tend(&self, number: usize) {
        // Starts in a row that came to nothing.
        let (mut failures, mut was_of_use) = (0, false);
        while !self.is_over() {
            let (end, is_of_use) = self.run(number);
            let (error, mut is_out) = match end {
                End::Over => return,
                End::Ended(error) => (error, false),
                End::Out(error) => (error, true),
            };
            was_of_use |= is_of_use;
            failures = if is_of_use { 0 } else { failures + 1 };
            is_out |= !was_of_use && failures >= MOST_STARTS;
            self.say(number, &error.to_string());
            if is_out {
                let mut slots = self.slots();
                slots[number].out = Some(error);
                let hopeless = hopeless(&slots);
                drop(slots);
                self.changed.notify_all();
                if let Some(why) = hopeless {
                    self.desk.give_up(&why);
                }
                return;
            }
            self.rest((PAUSE * 2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST_PAUSE));
        }
    }

    /// Runs one process from its start to its end, and tells whether it opened a study.
    fn run(&self, number: usize) -> (End, bool) {
        let (pipe, greeting) = match self.greeted(number) {
            Ok(greeted) => greeted,
            Err(end) => return (end, false),
        };
        (self.notice)(&format!("worker {} is there: {}, {}", number + 1, greeting.machine, greeting.processor));
        self.change(number, |slot| {
            slot.greeting = Some(greeting);
            slot.is_there = true;
            slot.since.get_or_insert_with(Instant::now);
        });
        self.desk.count(true);
        let (end, is_of_use) = RunningWorker::new(self, number, pipe).run();
        self.desk.count(false);
        self.change(number, |slot| {
            slot.is_there = false;
            slot.deaths += usize::from(matches!(end, End::Ended(_)) && !self.is_over());
        });
        (end, is_of_use)
    }

    /// Starts a process and waits for its greeting, however long a cluster's queue takes. Fails if it ends before, for good if
    /// it is of another version.
    fn greeted(&self, number: usize) -> std::result::Result<(WorkerPipe, Greeting), End> {
        let pipe = self.launcher.start(number + 1, &|| self.is_over()).map_err(End::Ended)?;
        let (began, mut is_told) = (Instant::now(), false);
        loop {
            if self.is_over() {
                return Err(End::Over);
            }
            match pipe.hear(LOOK) {
                Heard::Reply(Reply::Hello(greeting)) => {
                    let own = env!("CARGO_PKG_VERSION");
                    if greeting.protocol == PROTOCOL && greeting.version == own {
                        return Ok((pipe, greeting));
                    }
                    let why = format!(
                        "is evomerge {} (lines of version {}), and the search is {own} (version {PROTOCOL})",
                        greeting.version, greeting.protocol
                    );
                    return Err(End::Out(Error::user(why).hint("install the same version on all machines")));
                }
                Heard::Reply(_) | Heard::Silence => {
                    let words = pipe.last_words();
                    if let Some(last) = words.lines().last().filter(|_| !is_told && began.elapsed() > LATE) {
                        is_told = true;
                        self.say(number, &format!("is waited for: {last}"));
                    }
                }
                Heard::End => {
                    let words = pipe.last_words();
                    let words = if words.is_empty() { String::new() } else { format!("; it wrote last:\n{words}") };
                    let why = format!("did not greet: {} ended before{words}", self.launcher.called(number + 1));
                    let hint = "run the command by hand: it must print a line that begins with {\"hello\"";
                    return Err(End::Ended(Error::user(why).hint(hint)));
                }
            }
        }
    }

    /// Tells the user something about a worker.
    pub(super) fn say(&self, number: usize, what: &str) {
        (self.notice)(&format!("{} {what}", self.name(number)));
    }

    /// Number and machine of a worker.
    pub(super) fn name(&self, number: usize) -> String {
        name(number, &self.slots()[number])
    }

    /// Waits, or less long if all end.
    fn rest(&self, pause: Duration) {
        let began = Instant::now();
        while began.elapsed() < pause && !self.is_over() {
            thread::sleep(LOOK);
        }
    }
}

fn name(number: usize, slot: &WorkerSlot) -> String {
    let machine = slot.greeting.as_ref().map_or_else(String::new, |greeting| format!(" on {}", greeting.machine));
    format!("worker {}{machine}", number + 1)
}
