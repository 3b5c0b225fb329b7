//! Opens the models of an eval: checkpoints, recipes merged in memory, servers.

use crate::{
    args::Eval,
    draw::screen,
    hub::agent,
    work::{
        engines::{self, key},
        footprints::batch,
        model::OpenedModel,
    },
};
use evaluator::{
    answer::{AnsweredBy, Memory, Transformer},
    engine::Engines,
    evaluation::TaskItems,
    interrupt::Interrupt,
    language_model::LanguageModel,
    model::{Bf16Dot, device},
    prompt::{Conversation, Tokenizer},
    server::{ModelServer, ServerWire},
    task::Task as _,
};
use merge_core::{
    environment,
    error::{Error, Result},
    model::check_finite,
    store::{Fingerprint, Payload as _, Store},
};
use sha2::{Digest as _, Sha256};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// A model as the command line names it.
pub(super) enum ModelAddress {
    /// A directory, a recipe, or a name on the hub.
    Local(PathBuf),
    /// The address of an OpenAI-compatible server.
    Server(String),
}

/// Way in which a model was asked, and the cost of its answers.
#[derive(Clone, Default)]
pub(super) struct AnsweringCost {
    /// Form of the conversations, if prompts became conversations.
    pub(super) chat: Option<Conversation>,
    /// Name of the model on the server.
    pub(super) served: Option<String>,
    /// Engine that was given the weights, with its settings.
    pub(super) engine: Option<String>,
    /// Number of requests answered from memory.
    pub(super) recalled: usize,
    /// Number of computed tokens.
    pub(super) computed: usize,
}

/// All given models, servers last.
pub(super) fn all(args: &Eval) -> Result<Vec<ModelAddress>> {
    let local = args.models.iter().cloned().map(ModelAddress::Local);
    let all: Vec<ModelAddress> = local.chain(args.server.iter().cloned().map(ModelAddress::Server)).collect();
    if all.is_empty() {
        return Err(
            Error::user("no model is named").hint("name a checkpoint, a recipe, or a server with `--server URL`")
        );
    }
    Ok(all)
}

/// Refuses, before anything is asked, tasks that a server cannot be asked as they require.
pub(super) fn check(args: &Eval, asked: &[TaskItems<'_>]) -> Result<()> {
    let answers = if args.chat { ModelServer::check_conversation } else { ModelServer::check_completion };
    let mut bare = Vec::new();
    for TaskItems { task, items } in asked.iter().filter(|_| !args.server.is_empty()) {
        let requests = task.requests(items);
        requests.iter().try_for_each(answers).map_err(|e| e.at(format_args!("task {}", task.name())))?;
        if !args.chat && requests.iter().any(|request| request.encoding.bare) {
            bare.push(task.name());
        }
    }
    if !bare.is_empty() {
        let tasks = bare.join(", ");
        screen::say(&format!(
            "note: {tasks}: servers are asked to put no BOS before prompts; only vLLM is known to support this"
        ));
    }
    Ok(())
}

impl ModelAddress {
    /// Name in tables.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Local(path) => path.display().to_string(),
            Self::Server(url) => url.clone(),
        }
    }

    /// True if its answers are remembered.
    pub(super) fn remembers(&self, args: &Eval) -> bool {
        matches!(self, Self::Local(_)) && !args.no_memory
    }

    /// Opens the model, lets `work` ask it, and returns the cost too.
    pub(super) fn open<T>(
        &self,
        args: &Eval,
        interrupt: &Interrupt,
        mut work: impl FnMut(&mut dyn LanguageModel) -> Result<T>,
    ) -> Result<(T, AnsweringCost)> {
        let path = match self {
            Self::Local(path) => path,
            Self::Server(url) => {
                let wire = ServerWire::new(agent(url)?, url, key().as_deref())?;
                let mut server = ModelServer::connect(wire, args.served.clone())?;
                if args.chat {
                    server = server.chat(args.system.clone());
                }
                let done = work(&mut server)?;
                let (chat, served) = (server.conversation().cloned(), Some(server.model().to_owned()));
                return Ok((done, AnsweringCost { chat, served, ..AnsweringCost::default() }));
            }
        };
        let model = OpenedModel::open(path)?;
        if let OpenedModel::Checkpoint(checkpoint) = &model {
            // A merge checks its numbers itself.
            check_finite(checkpoint).map_err(|e| e.at(path.display()))?;
        }
        let weights = model.weights();
        engines::check_scratch(&args.engines, false)?;
        if let Some(engines) = engines::connect(&args.engines, || Ok(model.files()[0].1.clone()), interrupt.clone())? {
            return on_engine(args, &model, &engines, work);
        }
        let device = device(&args.execution.device)?;
        let dot = bf16_dot(args)?;
        let loaded = match dot {
            Some(dot) => Transformer::load_bf16(weights, dot)?,
            None => Transformer::load(weights, &device)?,
        };
        let mut opened = loaded.interruptible(interrupt.clone()).batch(batch(args));
        if args.chat {
            opened = opened.chat(weights, args.system.clone())?;
        }
        if self.remembers(args) {
            opened = opened.remembering(memory(args, &model, AnsweredBy::Own(&device, dot))?);
        }
        let done = work(&mut opened)?;
        let (recalled, computed) = (opened.recalled(), opened.computed());
        let chat = opened.conversation().cloned();
        Ok((done, AnsweringCost { chat, recalled, computed, ..AnsweringCost::default() }))
    }
}

/// Lets `work` ask a model on an engine that is given its weights.
fn on_engine<T>(
    args: &Eval,
    model: &OpenedModel,
    engines: &Engines,
    mut work: impl FnMut(&mut dyn LanguageModel) -> Result<T>,
) -> Result<(T, AnsweringCost)> {
    let (weights, tokenizer) = (model.weights(), Tokenizer::of(model.weights())?);
    engines.check(weights, &tokenizer, &[])?;
    let memory = (!args.no_memory).then(|| memory(args, model, AnsweredBy::Engine(engines.identity()))).transpose()?;
    let given = engines.give(weights)?;
    let mut cost = AnsweringCost { engine: Some(engines.identity().to_owned()), ..AnsweringCost::default() };
    let done = engines.run(weights, &given, &tokenizer, |served| {
        if args.chat {
            served.converse(weights, args.system.clone())?;
        }
        if let Some(memory) = &memory {
            served.remember(memory.clone());
        }
        let done = work(served)?;
        cost = AnsweringCost {
            chat: served.conversation().cloned(),
            recalled: served.recalled(),
            computed: served.computed(),
            ..cost.clone()
        };
        Ok(done)
    })?;
    Ok((done, cost))
}

/// The model's memory of answers.
fn memory(args: &Eval, model: &OpenedModel, by: AnsweredBy<'_>) -> Result<Memory> {
    let content = content(model)?;
    Memory::new(Arc::new(store(args, &content)?), model.weights(), content, by)
}

/// The processor's bfloat16 instructions, if `--bf16-dot` asks for them.
pub(super) fn bf16_dot(args: &Eval) -> Result<Option<Bf16Dot>> {
    if !args.bf16_dot {
        return Ok(None);
    }
    if args.execution.device != "cpu" {
        return Err(Error::user(format!("--bf16-dot is for processors, not for {}", args.execution.device))
            .hint("leave out one of `--bf16-dot` and `--device`"));
    }
    Bf16Dot::of_this_processor().map(Some).map_err(|e| e.at("--bf16-dot"))
}

/// Fingerprint of everything that determines a model's weights.
fn content(model: &OpenedModel) -> Result<Fingerprint> {
    let mut hash = Sha256::new();
    match model {
        // The files' hashes only: the path does not matter.
        OpenedModel::Checkpoint(checkpoint) => hash.update(checkpoint.sha256()?.payload()),
        OpenedModel::Recipe { sources, content, .. } => {
            hash.update(sources.sha256()?.payload());
            hash.update(content);
        }
    }
    Ok(hash.finalize().into())
}

/// The model's own store of answers, so that evals of two models do not wait for each other.
fn store(args: &Eval, content: &Fingerprint) -> Result<Store> {
    let dir = match &args.memory {
        Some(dir) => dir.clone(),
        None => cache().ok_or_else(|| {
            Error::user("no directory to remember answers in is known")
                .hint("`--memory DIR` names one; with `--no-memory` nothing is remembered")
        })?,
    };
    let dir = dir.join(merge_core::model::hash::hex(&content[..16]));
    let store = Store::of_answers(&dir).map_err(|e| match e.advice() {
        Some(_) => e,
        None => e.hint("`--memory DIR` names another directory; with `--no-memory` nothing is remembered"),
    })?;
    if let Some(aside) = store.repaired() {
        screen::say(&format!("note: damaged files were moved to {}", aside.display()));
    }
    Ok(store)
}

/// Default directory of answers, in `XDG_CACHE_HOME` or `~/.cache`.
fn cache() -> Option<PathBuf> {
    let cache = environment::path("XDG_CACHE_HOME").filter(|dir| dir.is_absolute());
    let cache = cache.or_else(|| Some(environment::path("HOME")?.join(".cache")))?;
    Some(cache.join(Path::new("evomerge/answers")))
}
