//! Workers: processes that score candidates at the other end of a pipe, and what starts them.
//!
//! A worker reads orders from its standard input and writes replies to its standard output, a line of JSON each. Whoever
//! starts it owns it: it ends with its input. A candidate goes as its recipe, with the items to score; the worker has the
//! models, and refuses work if its files are not those that the search names by hash.

mod desk;
mod message;
mod objective;
mod pace;
mod pipe;
mod running;
mod worker;
mod workers;

pub(crate) use self::{
    message::{StudyOrder, schema},
    objective::RemoteObjective,
    worker::serve,
    workers::Workers,
};

use crate::{args::SearchArgs, draw::screen};
use evaluator::interrupt::Interrupt;
use merge_core::{
    error::{Error, Result},
    search::SearchFile,
};
use std::{env, sync::Arc, time::Duration};

/// Time after which a worker that says nothing is taken for dead. It says every few seconds that it lives.
const SILENCE: Duration = Duration::from_secs(60);

/// The workers that the arguments name; `None` if there are none.
pub(crate) fn start(args: &SearchArgs, interrupt: Interrupt) -> Result<Option<Arc<Workers>>> {
    let Some(launcher) = &args.launch else { return Ok(None) };
    let program = env::current_exe().map_err(|e| Error::machine(format!("cannot find evomerge itself: {e}")))?;
    let program = format!("{} work", quoted(&program.to_string_lossy()));
    let count = args.workers.map_or(1, usize::from);
    let notice = |what: &str| screen::say(&format!("note: {what}"));
    Ok(Some(Arc::new(Workers::start(launcher, &program, count, SILENCE, interrupt, notice))))
}

/// A text as one word of a shell.
pub(crate) fn quoted(text: &str) -> String {
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
