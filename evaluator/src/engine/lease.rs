//! An engine for one model: loads it, asks it, and waits for an engine that failed, or takes it out.

use super::{
    Engine, GivenModel, ServedModel, Trouble,
    asking::OwnedList,
    pool::{EngineState, Engines, LOOK},
};
use crate::prompt::Tokenizer;
use merge_core::{
    error::{Error, Result},
    model::Weights,
    words::counted,
};
use std::{
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

/// Failures in a row after which an engine is taken out.
const STRIKES: usize = 3;
/// First pause before a failed engine is asked again; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// An engine for one model. It is free again when this is dropped.
pub(super) struct Lease<'a> {
    pub(super) engines: &'a Engines,
    pub(super) number: usize,
}

impl Lease<'_> {
    fn engine(&self) -> &Arc<Engine> {
        &self.engines.all[self.number]
    }

    fn state<T>(&self, change: impl FnOnce(&mut EngineState) -> T) -> T {
        change(&mut self.engines.states()[self.number])
    }

    /// Loads a model, in a thread that an interrupt does not wait for.
    fn load(&self, given: &Arc<GivenModel>) -> std::result::Result<String, Trouble> {
        let (tell, told) = mpsc::channel();
        let (engine, given) = (Arc::clone(self.engine()), Arc::clone(given));
        thread::spawn(move || tell.send(engine.load(&given)));
        loop {
            match told.recv_timeout(LOOK) {
                Ok(version) => return version,
                Err(RecvTimeoutError::Timeout) if self.engines.interrupt.is_set() => {
                    return Err(Trouble::Fatal(Error::interrupted()));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Trouble::engine(Error::machine("a load ended without an answer")));
                }
            }
        }
    }

    /// Loads a model and asks it.
    pub(super) fn ask<T>(
        &self,
        weights: &dyn Weights,
        given: &Arc<GivenModel>,
        tokenizer: &Tokenizer,
        ask: &mut impl FnMut(&mut ServedModel) -> Result<T>,
    ) -> std::result::Result<T, (Trouble, Option<Box<OwnedList>>)> {
        let began = Instant::now();
        self.state(|state| state.candidates += 1);
        let version = self.load(given);
        self.state(|state| state.loading += began.elapsed());
        let version = version.map_err(|trouble| (trouble, None))?;
        let interrupt = self.engines.interrupt.clone();
        let served = ServedModel::new(Arc::clone(self.engine()), version, weights, tokenizer.clone(), interrupt);
        let mut served = served.map_err(|error| (Trouble::Fatal(error), None))?;
        let began = Instant::now();
        let done = ask(&mut served);
        self.state(|state| state.scoring += began.elapsed());
        match (done, served.take_trouble()) {
            (Err(_), Some((trouble, list))) => Err((trouble, Some(Box::new(list)))),
            (Err(error), None) => Err((Trouble::Fatal(error), None)),
            (Ok(done), _) => {
                self.forgive();
                Ok(done)
            }
        }
    }

    /// True if the engine takes its own model back, and computes a list from it.
    fn is_sound(&self, list: Option<&OwnedList>) -> bool {
        let engine = self.engine();
        engine.restore().is_ok() && list.is_none_or(|list| list.compute(engine, &engine.own_version()).is_ok())
    }

    /// Forgets the engine's failures.
    pub(super) fn forgive(&self) {
        self.state(|state| state.strikes = 0);
    }

    /// Counts a failure, and waits until the engine computes the list that it failed on for its own model. Returns false
    /// if it does not: then, or after too many failures in a row, it is taken out.
    pub(super) fn recover(&self, error: &Error, list: Option<&OwnedList>) -> Result<bool> {
        let engine = self.engine();
        let strikes = self.state(|state| {
            state.strikes += 1;
            state.strikes
        });
        let say = |what: &str| (self.engines.notice)(&format!("{}: {what}", engine.name()));
        if strikes >= STRIKES {
            say(&format!("failed {} in a row, and is asked no more: {error}", counted(strikes, "time")));
            self.state(|state| state.out = true);
            return Ok(false);
        }
        say(&format!("failed, the candidate is scored again: {error}"));
        let (began, mut pause) = (Instant::now(), PAUSE);
        loop {
            if self.engines.interrupt.is_set() {
                return Err(Error::interrupted());
            }
            match engine.is_back() {
                Err(trouble) => {
                    self.state(|state| state.out = true);
                    let error = trouble.into_error();
                    say(&format!("is asked no more: {error}"));
                    return Ok(false);
                }
                Ok(true) if self.is_sound(list) => return Ok(true),
                Ok(_) if began.elapsed() > self.engines.patience => {
                    self.state(|state| state.out = true);
                    say("does not come back, and is asked no more");
                    return Ok(false);
                }
                Ok(_) => self.engines.rest(pause),
            }
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.state(|state| {
            state.leased = false;
            state.span = state.span.map(|(first, _)| (first, Instant::now()));
        });
        self.engines.freed.notify_all();
    }
}
