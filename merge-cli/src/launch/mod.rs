//! Workers: processes that score candidates at the other end of a pipe, and what starts them.
//!
//! A worker reads orders from its standard input and writes replies to its standard output, a line of JSON each. Whoever
//! starts it owns it: it ends with its input. A candidate goes as its recipe, with the items to score; the worker has the
//! models, and refuses work if its files are not those that the search names by hash.

mod desk;
mod launcher;
mod message;
mod objective;
mod pace;
mod pipe;
mod ray;
mod running;
mod worker;
mod workers;

pub(crate) use self::{
    message::{StudyOrder, schema},
    objective::RemoteObjective,
    worker::serve,
    workers::Workers,
};

use self::{
    launcher::Launcher,
    message::EngineOrder,
    ray::{RayCluster, RaySettings},
};
use crate::{
    args::{EngineArgs, SearchArgs},
    draw::screen,
    hub::agent,
};
use evaluator::{
    engine::{EngineAddress, EngineKind, EnginePlace},
    interrupt::Interrupt,
    server::ServerWire,
};
use merge_core::{
    error::{Error, Result},
    search::SearchFile,
};
use std::{env, sync::Arc, time::Duration};

/// Time after which a worker that says nothing is taken for dead. It says every few seconds that it lives.
const SILENCE: Duration = Duration::from_secs(60);

/// The workers that the arguments name; `None` if there are none. Fails if there is no cluster where one is named.
pub(crate) fn start(args: &SearchArgs, interrupt: Interrupt) -> Result<Option<Arc<Workers>>> {
    let command = || {
        let own = env::current_exe().map_err(|e| Error::machine(format!("cannot find evomerge itself: {e}")))?;
        let mut words = vec![own.to_string_lossy().into_owned(), "work".to_owned()];
        // Whoever starts the workers has named the command.
        let starts = |engine: EngineAddress| matches!(engine.place, EnginePlace::Command(_));
        words.extend(engine(args)?.is_some_and(starts).then(|| "--allow-commands".to_owned()));
        Result::Ok(words)
    };
    let launcher = match (&args.launch, &args.ray) {
        (Some(launcher), _) => {
            let program = command()?.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
            Launcher::Command { launcher: launcher.clone(), program }
        }
        (None, Some(address)) => {
            let command = command()?;
            let resources = args.per_worker.clone().unwrap_or_default();
            let settings = RaySettings { address: address.clone(), resources, command };
            let (cluster, said) = RayCluster::connect(&args.python, settings, &interrupt)?;
            screen::say(&format!("note: {said} at {address}"));
            Launcher::Ray(cluster)
        }
        (None, None) => return Ok(None),
    };
    let count = args.workers.map_or(1, usize::from);
    let notice = |what: &str| screen::say(&format!("note: {what}"));
    Ok(Some(Arc::new(Workers::start(launcher, count, SILENCE, interrupt, notice))))
}

/// The engine of a worker, if the arguments name one. Fails for one that workers cannot have.
fn engine(args: &SearchArgs) -> Result<Option<EngineAddress>> {
    let address = match &args.engines.engine[..] {
        [] => return Ok(None),
        [one] => one.replace("{n}", "1").parse::<EngineAddress>()?,
        _ => {
            return Err(Error::user("each worker has one engine, but several are named")
                .hint("`{n}` in its address is the worker's number: --engine 'vllm=http://127.0.0.1:800{n}'"));
        }
    };
    if address.kind == EngineKind::LlamaCpp {
        return Err(Error::user("workers have no engine that holds adapters, such as llama.cpp")
            .hint("leave `--launch` out: one llama-server answers for many candidates at once"));
    }
    if let EnginePlace::Url(url) = &address.place {
        ServerWire::new(agent(url)?, url, None)?;
    }
    Ok(Some(address))
}

/// What workers are told of their engine, which is held against our own forward pass in a new study.
pub(crate) fn engine_order(args: &EngineArgs, is_new: bool) -> Option<EngineOrder> {
    args.engine.first().map(|engine| EngineOrder {
        engine: engine.clone(),
        gpus: args.gpus.clone(),
        scratch: args.scratch.clone(),
        timeout: args.engine_timeout,
        is_compared: is_new,
    })
}

/// A text as one word of a shell.
pub(crate) fn quoted(text: &str) -> String {
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+:@%".contains(c)) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Says what each worker did.
pub(crate) fn tell(workers: &Workers) {
    for one in workers.uses() {
        let (candidates, items) = (screen::counted(one.candidates, "candidate"), screen::counted(one.items, "item"));
        let deaths = screen::counted(one.deaths, "time");
        let deaths = if one.deaths > 0 { format!(", ended {deaths} too early") } else { String::new() };
        screen::say(&format!("{}: {candidates}, {items}, {:.0}% idle{deaths}", one.name, 100.0 * one.idle));
    }
}

/// Refuses a search whose judges are programs and services: workers run none.
pub(crate) fn check(file: &SearchFile) -> Result<()> {
    if !file.search.has_judges() {
        return Ok(());
    }
    Err(Error::user(format!("{}: its judges run programs or ask services", file.template.file.display()))
        .hint("a worker scores tasks only: leave `--launch` out"))
}
