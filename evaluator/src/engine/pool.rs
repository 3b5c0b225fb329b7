//! Engines that are shared among candidates: each takes the next one, and those that keep failing are taken out.

use super::{
    Engine, EngineAddress, EngineKind, EnginePlace, GivenModel, Scratch, ServedModel, Trouble,
    asking::check_context,
    lease::Lease,
    process::{EngineProcess, filled, free_port},
};
use crate::{interrupt::Interrupt, prompt::Tokenizer, request::Request, server::ServerWire};
use merge_core::{
    error::{Error, Result},
    model::Weights,
};
use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::{Duration, Instant},
};

/// Failures of one model, on engines that compute the same for their own model, after which it is given up.
const MOST_FAILURES: usize = 2;
/// Pause between two looks at the interrupt.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// Engines, and the directory in which models are written for them.
pub struct Engines {
    pub(super) all: Vec<Arc<Engine>>,
    states: Mutex<Vec<EngineState>>,
    /// Notified when an engine becomes free or is taken out.
    pub(super) freed: Condvar,
    scratch: Scratch,
    identity: String,
    pub(super) patience: Duration,
    pub(super) interrupt: Interrupt,
    pub(super) notice: Box<dyn Fn(&str) + Send + Sync>,
}

/// How engines are reached and started.
pub struct EngineOptions<'a> {
    /// Directory below which models are written for engines.
    pub scratch: &'a Path,
    /// Time that a request may take, and that an engine that is away is waited for.
    pub timeout: Duration,
    /// GPUs of engines that are started, one engine for each; without any, one engine sees all.
    pub gpus: &'a [String],
    /// Checkpoint with which engines are started.
    pub model: &'a Path,
    /// Ends all waiting.
    pub interrupt: Interrupt,
}

/// State of one engine.
#[derive(Default)]
pub(super) struct EngineState {
    pub(super) leased: bool,
    pub(super) out: bool,
    /// Failures in a row.
    pub(super) strikes: usize,
    pub(super) candidates: usize,
    pub(super) loading: Duration,
    pub(super) scoring: Duration,
    /// Time of the first lease, and of the end of the last.
    pub(super) span: Option<(Instant, Instant)>,
}

/// What an engine did.
#[derive(Clone, Debug)]
pub struct EngineUse {
    /// Kind and address.
    pub engine: String,
    /// Models that it scored.
    pub candidates: usize,
    /// Seconds in which it loaded weights and proved them.
    pub loading: f64,
    /// Seconds in which it scored.
    pub scoring: f64,
    /// Seconds from its first model to its last.
    pub span: f64,
    /// True if it failed too often and was asked no more.
    pub out: bool,
}

impl EngineUse {
    /// Share of the time in which it waited for a model.
    pub fn idle(&self) -> f64 {
        (1.0 - (self.loading + self.scoring) / self.span).clamp(0.0, 1.0)
    }
}

impl Engines {
    /// Starts engines that are to be started, and reaches all. `wire` makes the connections to an address.
    ///
    /// Fails if an engine cannot be started or given weights, or if they are not all alike: a search has one engine's
    /// scores.
    pub fn connect(
        addresses: &[EngineAddress],
        options: &EngineOptions<'_>,
        wire: impl Fn(&str) -> Result<ServerWire>,
    ) -> Result<Self> {
        let scratch = Scratch::begin(options.scratch)?;
        let mut places = Vec::new();
        for EngineAddress { kind, place } in addresses {
            match place {
                EnginePlace::Url(url) => places.push((*kind, url.clone(), None)),
                EnginePlace::Command(command) => {
                    let gpus: Vec<Option<&str>> = options.gpus.iter().map(|gpu| Some(gpu.as_str())).collect();
                    for gpu in if gpus.is_empty() { &[None][..] } else { &gpus } {
                        let port = free_port()?;
                        let command = filled(command, options.model, port)?;
                        let log = scratch.log(places.len());
                        let process = EngineProcess::start(*kind, command, *gpu, log)?;
                        places.push((*kind, format!("http://127.0.0.1:{port}"), Some(process)));
                    }
                }
            }
        }
        // All of them start at the same time.
        let connect = |(kind, url, mut process): (EngineKind, String, Option<EngineProcess>)| {
            let wire = wire(&url)?.once_within(options.timeout);
            if let Some(process) = &mut process {
                process.wait_for(&wire, &options.interrupt)?;
            }
            Engine::connect(kind, &url, wire, process).map(Arc::new)
        };
        let engines: Vec<Arc<Engine>> = places.into_iter().map(connect).collect::<Result<_>>()?;
        let Some(first) = engines.first() else { return Err(Error::user("no engine is named")) };
        if let Some(other) = engines.iter().find(|engine| engine.identity() != first.identity()) {
            return Err(Error::user(format!(
                "{} is {}, but {} is {}: their scores cannot be mixed",
                first.name(),
                first.identity(),
                other.name(),
                other.identity()
            ))
            .hint("start all engines alike, or use one of them"));
        }
        let identity = first.identity().to_owned();
        let states = Mutex::new(engines.iter().map(|_| EngineState::default()).collect());
        let (freed, patience, interrupt) = (Condvar::new(), options.timeout, options.interrupt.clone());
        Ok(Self { all: engines, states, freed, scratch, identity, patience, interrupt, notice: Box::new(|_| {}) })
    }

    /// The same engines, which tell `notice` when one fails, comes back or is taken out.
    #[must_use]
    pub fn noticed(mut self, notice: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.notice = Box::new(notice);
        self
    }

    /// Engine, version and every setting that may change a number: the same for all.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// What the engines cannot prove, for the user.
    pub fn notes(&self) -> Vec<String> {
        self.all.iter().flat_map(|engine| engine.notes()).collect()
    }

    /// Number of engines.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Number of models of this size that should be at work at once: one in each engine, and one for each that is written
    /// meanwhile, as far as there is room. Fails if there is no room for one.
    pub fn at_once(&self, bytes: u64) -> Result<usize> {
        let bytes = bytes + SIDECARS;
        let room = self.scratch.room()?;
        let fitting = room / bytes;
        if fitting == 0 {
            let gb = |bytes: u64| bytes as f64 / 1e9;
            return Err(Error::user(format!(
                "a model takes {:.2} GB, but {} has only {:.2} GB free",
                gb(bytes),
                self.scratch.parent().display(),
                gb(room)
            ))
            .hint("`--scratch DIR` names another directory; a container's /dev/shm is set by `--shm-size`"));
        }
        Ok((2 * self.all.len()).min(fitting as usize))
    }

    /// Refuses a model that the engines cannot hold, and requests that their context is too short for.
    pub fn check(&self, weights: &dyn Weights, tokenizer: &Tokenizer, requests: &[Request]) -> Result<()> {
        for engine in &self.all {
            engine.check_shape(weights)?;
            engine.check_vocabulary(weights, tokenizer)?;
            check_context(engine, weights, tokenizer, requests)?;
        }
        Ok(())
    }

    /// Refuses a model of another shape than the one that the engines were started with.
    pub(crate) fn check_shape(&self, weights: &dyn Weights) -> Result<()> {
        self.all.iter().try_for_each(|engine| engine.check_shape(weights))
    }

    /// True if the engines are given scales of adapters that they hold, not weights.
    pub fn hold_adapters(&self) -> bool {
        self.all.iter().any(|engine| engine.holds_adapters())
    }

    /// The option that makes a server answer as this model, if the engines are given scales of adapters.
    pub fn option(&self, weights: &dyn Weights) -> Result<Option<String>> {
        self.all.first().map_or(Ok(None), |engine| engine.option(weights))
    }

    /// Brings a model into the form that the engines are given: writes it where they load it from, or finds its adapters.
    pub fn give(&self, weights: &dyn Weights) -> Result<Arc<GivenModel>> {
        if self.hold_adapters() {
            return weights.mixture().map(|mixture| Arc::new(GivenModel::Mixture(mixture)));
        }
        self.scratch.write(weights, &self.interrupt).map(|files| Arc::new(GivenModel::Files(files)))
    }

    /// What ends all waiting.
    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// The directory in which models are written.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Lets `ask` ask a model on the next free engine, again on another if the engine fails.
    ///
    /// `ask` must go on where it was when it is called again. Fails for the model, with an error that the user can fix,
    /// only if engines fail on it that answer for their own model.
    pub fn run<T>(
        &self,
        weights: &dyn Weights,
        given: &Arc<GivenModel>,
        tokenizer: &Tokenizer,
        mut ask: impl FnMut(&mut ServedModel) -> Result<T>,
    ) -> Result<T> {
        let mut failures = 0;
        loop {
            let lease = self.lease()?;
            let (trouble, list) = match lease.ask(weights, given, tokenizer, &mut ask) {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            let (error, answered) = match trouble {
                Trouble::Fatal(error) => return Err(error),
                Trouble::Engine { error, answered } => (error, answered),
            };
            // An engine that cannot load says nothing of the model: it may not see the directory.
            if lease.recover(&error, list.as_deref())? && answered && list.is_some() {
                failures += 1;
            }
            if failures == MOST_FAILURES {
                lease.forgive();
                return Err(Error::user(format!("the engine cannot compute it, but computes its own model: {error}")));
            }
        }
    }

    /// Waits for a free engine. Fails if none is left, or if interrupted.
    fn lease(&self) -> Result<Lease<'_>> {
        let mut states = self.states();
        loop {
            if self.interrupt.is_set() {
                return Err(Error::interrupted());
            }
            if states.iter().all(|state| state.out) {
                return Err(Error::machine("no engine is left")
                    .hint("nothing that was scored is lost: start the engines again, and run the same command"));
            }
            // The one that worked least is the likeliest to be well.
            let free = states.iter().enumerate().filter(|(_, state)| !state.leased && !state.out);
            if let Some((number, _)) = free.min_by_key(|(_, state)| (state.strikes, state.candidates)) {
                let now = Instant::now();
                states[number].leased = true;
                states[number].span.get_or_insert((now, now));
                return Ok(Lease { engines: self, number });
            }
            states = self.freed.wait_timeout(states, LOOK).expect("no panic while held").0;
        }
    }

    /// What the engines did so far.
    pub fn uses(&self) -> Vec<EngineUse> {
        let of = |(engine, state): (&Arc<Engine>, &EngineState)| EngineUse {
            engine: engine.name().to_owned(),
            candidates: state.candidates,
            loading: state.loading.as_secs_f64(),
            scoring: state.scoring.as_secs_f64(),
            span: state.span.map_or(0.0, |(first, last)| (last - first).as_secs_f64()),
            out: state.out,
        };
        self.all.iter().zip(self.states().iter()).map(of).collect()
    }

    pub(super) fn states(&self) -> MutexGuard<'_, Vec<EngineState>> {
        self.states.lock().expect("no panic while held")
    }
}

/// Bytes allowed for the files beside a model's tensors.
const SIDECARS: u64 = 32 << 20;

impl Drop for Engines {
    /// Gives the engines their own models back.
    fn drop(&mut self) {
        for (engine, state) in self.all.iter().zip(self.states().iter()) {
            if state.candidates > 0 && !engine.is_ours() {
                engine.give_back();
            }
        }
    }
}

impl Engines {
    /// Waits, or less long if interrupted.
    pub(super) fn rest(&self, pause: Duration) {
        let began = Instant::now();
        while began.elapsed() < pause && !self.interrupt.is_set() {
            thread::sleep(LOOK.min(pause));
        }
    }
}
