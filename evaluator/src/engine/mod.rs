//! Inference engines that are given a model's weights, and answer in its place: vLLM, SGLang and llama.cpp.
//!
//! A model is written whole to a fresh directory of a [`Scratch`], loaded in place, and proved: its parameters are
//! compared with the file byte by byte where the engine tells their hashes, and every list of answers is followed by a
//! look at the engine's weight version. We make the tokens, so every request that our own forward pass answers, an
//! engine answers too. llama.cpp is given no weights but a scale for each `LoRA` adapter that it holds, and can only
//! generate. [`Engines`] shares engines among candidates, and takes out those that fail.

mod adapters;
mod address;
mod agreement;
mod asking;
mod gguf;
mod given;
mod lease;
mod llama_cpp;
mod pool;
mod process;
mod proof;
mod scratch;
mod sglang;
mod vllm;
mod wanted;

pub use self::{
    address::{EngineAddress, EngineKind, EnginePlace},
    agreement::Agreement,
    asking::ServedModel,
    given::GivenModel,
    pool::{EngineOptions, EngineUse, Engines},
    scratch::{Scratch, ScratchFile, ScratchModel},
};

use self::adapters::HeldFiles;
use self::llama_cpp::HeldAdapter;
use self::process::EngineProcess;
use self::proof::{Hashes, Proof, expected};
use self::wanted::{Computed, Trouble, Wanted, What};
use crate::{
    prompt::Tokenizer,
    server::{ServerWire, is_local, wire::Refusal},
};
use merge_core::{
    checkpoint::Checkpoint,
    error::{Error, Result},
    merge::unlike,
    model::{Weights, dtype::Dtype},
    words::counted,
};
use serde_json::Value;
use std::{path::Path, sync::Mutex, time::Duration};

/// A running engine, and everything about it that a score depends on.
pub struct Engine {
    kind: EngineKind,
    wire: ServerWire,
    name: String,
    facts: Facts,
    /// The model that it was started with, if this process can read it.
    started: Option<Checkpoint>,
    /// Engine, version, and every setting that may change a number.
    identity: String,
    /// Hashes of its own model's parameters.
    own: Hashes,
    /// Files that llama.cpp holds.
    held: Option<HeldFiles>,
    proof: Mutex<Proof>,
    /// Its process, if evomerge has started it.
    process: Option<Mutex<EngineProcess>>,
}

/// Facts about an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    /// Engine, version, and every setting that it tells and that may change a number.
    identity: String,
    /// Name of its model in requests.
    model: String,
    /// Path or hub name of the model that it was started with.
    root: String,
    /// Most tokens of a sequence.
    context: usize,
    /// Type in which it keeps weights, if it says so.
    dtype: Option<Dtype>,
    /// Number of sequences that it computes at once, if it says so.
    slots: Option<usize>,
    /// Adapters that it holds.
    adapters: Vec<HeldAdapter>,
}

/// Time of each request by which an engine gets its own model back at the end.
const LAST_TIMEOUT: Duration = Duration::from_secs(30);

/// Weight version of the model that an engine was started with.
const OWN: &str = "own";

/// Texts whose tokens must be the same to an engine and to a model: scripts, digits, spaces and symbols.
const PROBES: [&str; 3] = [
    "問題：太郎は りんごを３個、花子は12個 持っています。合わせて何個ですか？\nステップごとの答え：",
    "The quick brown fox\tjumps over 1,234.5 lazy dogs - isn't that naïve?\n\n    def f(x):\n",
    "鬱蒼とした森で𠮷野家の🐈が「ﾆｬｰ」と鳴いた……",
];

impl Engine {
    /// Reaches an engine, learns what it is, puts its own model back and checks that it can be given weights.
    ///
    /// `wire` makes the connections. Fails, with the setting to change, if the engine
    /// has no routes to load weights, keeps quantised weights, or cannot prove which weights it holds.
    fn connect(kind: EngineKind, url: &str, wire: ServerWire, process: Option<EngineProcess>) -> Result<Self> {
        let name = format!("{}={url}", kind.name());
        let facts = facts(kind, &wire).map_err(|e| e.at(&name))?;
        if facts.root.contains(scratch::PREFIX) {
            let why =
                format!("{name}: it holds the weights of a search that was killed, and does not know its own model");
            return Err(Error::user(why).hint("start the engine again"));
        }
        let started = Path::new(&facts.root).is_dir().then(|| Checkpoint::open(Path::new(&facts.root)).ok()).flatten();
        let (own, proof, process) = (Hashes::new(), Mutex::default(), process.map(Mutex::new));
        let is_here = is_local(url);
        let held = (kind == EngineKind::LlamaCpp).then(|| HeldFiles::open(&facts.root, &facts.adapters, is_here));
        let identity = facts.identity.clone() + &held.as_ref().map_or_else(String::new, HeldFiles::named);
        let mut engine = Self { kind, wire, name, facts, started, identity, own, held, proof, process };
        if let Err(trouble) = engine.begin() {
            engine.give_back();
            return Err(trouble.into_error());
        }
        Ok(engine)
    }

    /// Loads its own model twice, the second time over zeros, and learns what can be proved.
    fn begin(&mut self) -> std::result::Result<(), Trouble> {
        match self.kind {
            EngineKind::Vllm => {}
            EngineKind::Sglang => return self.load_at(&self.facts.root, OWN),
            EngineKind::LlamaCpp => return Ok(()),
        }
        vllm::load(&self.wire, &self.facts.root, OWN, false)?;
        self.own = vllm::checksums(&self.wire)?;
        vllm::zero(&self.wire)?;
        let zeros = vllm::checksums(&self.wire)?;
        vllm::load(&self.wire, &self.facts.root, OWN, false)?;
        let again = vllm::checksums(&self.wire)?;
        let lost: Vec<&String> =
            self.own.iter().filter(|(name, hash)| again.get(*name) != Some(hash)).map(|(n, _)| n).collect();
        if let Some(first) = lost.first() {
            return Err(Trouble::Fatal(
                Error::machine(format!(
                    "{}: {} ({first} …) did not come back when its own model was loaded again",
                    self.name,
                    counted(lost.len(), "parameter")
                ))
                .hint("start the engine again; it cannot prove which weights it holds, so no candidate can be scored on it"),
            ));
        }
        let (dtype, started) = (self.facts.dtype, self.started.as_ref());
        let files = started.map(|files| move |names: &[&str]| expected(files, names, dtype));
        *self.proof.lock().expect("no panic while held") = Proof::new(&self.own, zeros, files);
        Ok(())
    }

    fn load_at(&self, path: &str, version: &str) -> std::result::Result<(), Trouble> {
        match self.kind {
            EngineKind::Vllm => vllm::load(&self.wire, path, version, true),
            EngineKind::Sglang => sglang::load(&self.wire, path, version),
            EngineKind::LlamaCpp => Ok(()),
        }
    }

    /// Version of the model that the engine was started with; of llama.cpp, scales of zero.
    pub(crate) fn own_version(&self) -> String {
        self.held.as_ref().map_or_else(|| OWN.to_owned(), HeldFiles::none)
    }

    /// Puts a model into the engine, and proves that it is there.
    ///
    /// Returns the weight version by which the engine knows it; of llama.cpp, the scales of its adapters.
    pub(crate) fn load(&self, model: &GivenModel) -> std::result::Result<String, Trouble> {
        let model = match (model, &self.held) {
            (GivenModel::Mixture(mixture), Some(held)) => {
                self.check_held()?;
                return held.scales(mixture, &self.name).map_err(Trouble::Fatal);
            }
            (GivenModel::Files(model), None) => model,
            _ => unreachable!("all engines of a search are of one kind"),
        };
        let version = model.version();
        self.load_at(&model.path().to_string_lossy(), &version)?;
        if self.kind == EngineKind::Vllm {
            let found = vllm::checksums(&self.wire)?;
            let proof = &mut *self.proof.lock().expect("no panic while held");
            proof.check(&found, |names| model.hashes(names, self.facts.dtype)).map_err(|why| {
                Trouble::engine(Error::machine(format!(
                    "{}: it does not hold the weights that it was given: {why}",
                    self.name
                )))
            })?;
        }
        self.check_version(&version)?;
        Ok(version)
    }

    /// Fails if the engine holds other weights than those of this version.
    pub(crate) fn check_version(&self, version: &str) -> std::result::Result<(), Trouble> {
        let found = match self.kind {
            EngineKind::Vllm => vllm::version(&self.wire)?,
            EngineKind::Sglang => sglang::version(&self.wire)?,
            EngineKind::LlamaCpp => return self.check_held(),
        };
        self.same_version(version, &found)
    }

    /// Fails if llama.cpp holds other files by now.
    fn check_held(&self) -> std::result::Result<(), Trouble> {
        let found = llama_cpp::facts(&self.wire).map_err(|e| Trouble::engine(e.as_machine()))?;
        self.check_files()?;
        if found == self.facts {
            return Ok(());
        }
        let why = format!("{}: it holds other files by now: {}", self.name, told(&found));
        Err(Trouble::engine(Error::machine(why).hint("start it again as it was")))
    }

    /// Fails for good if a file of llama.cpp is not as it was.
    fn check_files(&self) -> std::result::Result<(), Trouble> {
        let Some(changed) = self.held.as_ref().and_then(HeldFiles::changed) else { return Ok(()) };
        let why = format!("{}: {changed} was changed while it is used", self.name);
        Err(Trouble::Fatal(Error::machine(why).hint("put the file back, and start llama-server again")))
    }

    fn same_version(&self, version: &str, found: &str) -> std::result::Result<(), Trouble> {
        if found == version {
            return Ok(());
        }
        let why = format!("{}: it holds other weights by now: version `{found}`, not `{version}`", self.name);
        Err(Trouble::engine(Error::machine(why).hint("it was restarted, or another program gives it weights, too")))
    }

    /// Computes sequences of the same kind, and checks which weights computed them.
    pub(crate) fn compute(
        &self,
        wanted: &[Wanted<'_>],
        ends: &[u32],
        version: &str,
    ) -> std::result::Result<Vec<Computed>, Trouble> {
        match self.kind {
            EngineKind::Vllm => {
                let computed = vllm::compute(&self.wire, &self.facts.model, wanted, ends)?;
                self.check_version(version)?;
                Ok(computed)
            }
            EngineKind::Sglang => {
                let (computed, versions) = sglang::compute(&self.wire, wanted, ends)?;
                versions.iter().try_for_each(|found| self.same_version(version, found))?;
                Ok(computed)
            }
            EngineKind::LlamaCpp => {
                let computed = llama_cpp::compute(&self.wire, &self.name, wanted, ends, version)?;
                self.check_held()?;
                Ok(computed)
            }
        }
    }

    /// Puts the engine's own model back at the end, if that takes a moment: whatever is still asked is dropped.
    ///
    /// It is no use to complain: whoever needs the engine's own model finds out.
    pub(crate) fn give_back(&self) {
        let wire = self.wire.clone().once_within(LAST_TIMEOUT);
        let _ = match self.kind {
            EngineKind::Vllm => vllm::load(&wire, &self.facts.root, OWN, false),
            EngineKind::Sglang => sglang::load(&wire, &self.facts.root, OWN),
            EngineKind::LlamaCpp => Ok(()),
        };
    }

    /// Puts the engine's own model back; fails if it is not there then, or does not answer.
    pub(crate) fn restore(&self) -> std::result::Result<(), Trouble> {
        self.load_at(&self.facts.root, OWN)?;
        if self.kind == EngineKind::Vllm && vllm::checksums(&self.wire)? != self.own {
            return Err(Trouble::engine(Error::machine(format!("{}: its own model did not come back", self.name))));
        }
        let wanted = Wanted { tokens: &[0], what: What::Generate(1, &[]) };
        self.compute(&[wanted], &[], &self.own_version()).map(drop)
    }

    /// True if the engine answers and its facts are those of before. One that evomerge has started is started again if it
    /// has ended.
    pub(crate) fn is_back(&self) -> std::result::Result<bool, Trouble> {
        if let Some(process) = &self.process {
            process.lock().expect("no panic while held").revive().map_err(Trouble::Fatal)?;
        }
        self.check_files()?;
        match facts(self.kind, &self.wire) {
            // SGLang calls itself by the path of what it has loaded.
            Ok(found)
                if found.identity == self.facts.identity
                    && found.context == self.facts.context
                    && found.adapters == self.facts.adapters =>
            {
                Ok(true)
            }
            Ok(found) => Err(Trouble::Fatal(Error::machine(format!(
                "{}: it was started again as something else: {}, not {}",
                self.name,
                told(&found),
                told(&self.facts)
            )))),
            Err(_) => Ok(false),
        }
    }

    /// True if evomerge has started it, and ends it.
    pub(crate) fn is_ours(&self) -> bool {
        self.process.is_some()
    }

    /// Kind and address.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Engine, version, and every setting that may change a number.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The option that makes a server answer as this model, if the engine is given scales of adapters.
    pub(crate) fn option(&self, weights: &dyn Weights) -> Result<Option<String>> {
        let held = self.held.as_ref();
        held.map(|held| held.option(&weights.mixture()?, &self.name)).transpose()
    }

    /// Most sequences of a request, and most requests at once: enough to fill a batch, few enough that each ends in time.
    pub(crate) fn at_once(&self) -> (usize, usize) {
        self.facts.slots.map_or((256, 4), |slots| (2 * slots.max(1), 2))
    }

    /// True if it is given scales of adapters, not weights.
    pub(crate) fn holds_adapters(&self) -> bool {
        self.held.is_some()
    }

    /// Most tokens of a sequence.
    pub(crate) fn context(&self) -> usize {
        self.facts.context
    }

    /// What the engine cannot prove, for the user; empty if it proves everything.
    pub(crate) fn notes(&self) -> Vec<String> {
        if let Some(held) = &self.held {
            return held.notes(&self.name);
        }
        let proof = self.proof.lock().expect("no panic while held");
        let hidden = proof.hidden().map(|(hidden, all)| {
            format!(
                "{}: it hides {hidden} of {all} parameters (vLLM for the CPU packs them): they are loaded by the same call \
                 as those that are proved, but their bytes are not compared",
                self.name
            )
        });
        let unread = self.started.is_none().then(|| {
            format!(
                "{}: its own model ({}) cannot be read here, so its shape and config.json are not compared with the candidates'",
                self.name, self.facts.root
            )
        });
        hidden.into_iter().chain(unread).collect()
    }

    /// Refuses a model that is not of the shape that the engine was started with.
    ///
    /// An engine reads `config.json` when it starts, and never again: every key that may change a number must agree.
    pub(crate) fn check_shape(&self, weights: &dyn Weights) -> Result<()> {
        if let Some(held) = &self.held {
            return held.scales(&weights.mixture()?, &self.name).map(drop);
        }
        if let Some(difference) = self.started.as_ref().and_then(|own| unlike(own, weights)) {
            return Err(Error::user(format!(
                "{}: it was started with {}, which is not of the shape of {}: {difference}",
                self.name,
                self.facts.root,
                weights.place()
            ))
            .hint("an engine keeps the shape that it was started with: start it with one of the models to be merged"));
        }
        Ok(())
    }

    /// Refuses a model whose tokenizer is not the engine's: its stop texts would end answers elsewhere.
    pub(crate) fn check_vocabulary(&self, weights: &dyn Weights, tokenizer: &Tokenizer) -> Result<()> {
        for probe in PROBES {
            let ours = tokenizer.encode_continuation(probe)?;
            let theirs = match self.kind {
                EngineKind::Vllm => vllm::tokens(&self.wire, &self.facts.model, probe)?,
                EngineKind::Sglang => sglang::tokens(&self.wire, probe)?,
                EngineKind::LlamaCpp => llama_cpp::tokens(&self.wire, probe)?,
            };
            if ours != theirs {
                return Err(Error::user(format!("{}: its vocabulary is not that of {}", self.name, weights.place()))
                    .hint("start the engine with one of the models to be merged, and with that model's tokenizer"));
            }
        }
        Ok(())
    }
}

/// Facts about an engine.
fn facts(kind: EngineKind, wire: &ServerWire) -> Result<Facts> {
    match kind {
        EngineKind::Vllm => vllm::facts(wire),
        EngineKind::Sglang => sglang::facts(wire),
        EngineKind::LlamaCpp => llama_cpp::facts(wire),
    }
}

/// The error for an address whose server lacks a route that an engine has.
fn is_it(refusal: Refusal, engine: &str) -> Error {
    match refusal {
        Refusal::Permanent(error) => error.hint(format!("is {engine} the server at this address?")),
        other => other.into(),
    }
}

/// All that must stay as it is, for messages.
fn told(facts: &Facts) -> String {
    let paths: Vec<&str> = facts.adapters.iter().map(|one| one.path.as_str()).collect();
    let adapters = if paths.is_empty() { String::new() } else { format!(", adapters {}", paths.join(", ")) };
    format!("{}, a context of {}{adapters}", facts.identity, counted(facts.context, "token"))
}

/// A list of token ids in JSON.
fn ids(list: &Value) -> Option<Vec<u32>> {
    list.as_array()?.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect()
}
