//! The tasks that were named: built in, suites of them, or files.

use crate::args::Eval;
use evaluator::{
    dataset::Shelf,
    protocol::{self, Builtin},
    task::{self, Fractions, Suite, Task as _},
};
use merge_core::{
    error::{Error, Result},
    yaml::is_there,
};
use std::path::Path;

/// Tasks, and what of the named suites cannot be asked.
pub(super) struct TaskChoice {
    pub(super) suite: Suite,
    pub(super) missing: Vec<(&'static str, String)>,
}

/// Whether a name is that of a file; all others are built in.
fn is_file(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "yaml" || end == "yml") || is_there(path) && !path.is_dir()
}

/// The built-in task that a search names, by its own name or as the benchmark of the usual protocol; none for a file.
pub(in crate::command) fn builtin(name: &str) -> Result<Option<&'static Builtin>> {
    if is_file(Path::new(name)) { Ok(None) } else { protocol::find(name, PROTOCOL).map(Some) }
}

/// The protocol where none is named.
pub(crate) const PROTOCOL: &str = "strict";

/// Reads the tasks, each name once.
pub(super) fn read(args: &Eval, shelf: &Shelf) -> Result<TaskChoice> {
    let mut chosen = TaskChoice { suite: Suite::default(), missing: Vec::new() };
    protocol::protocol(&args.protocol)?;
    for name in &args.tasks {
        let path = Path::new(name);
        if is_file(path) {
            let Suite { tasks, groups } = task::suite(path, Fractions::default(), shelf)?;
            chosen.suite.tasks.extend(tasks);
            chosen.suite.groups.extend(groups);
            continue;
        }
        let protocol::ProtocolChoice { tasks, missing } = protocol::choose(&[name], &args.protocol, shelf)?;
        for builtin in tasks {
            chosen.suite.tasks.push(builtin.read(Fractions::default(), shelf)?);
        }
        chosen.missing.extend(missing);
    }
    let tasks = &chosen.suite.tasks;
    if let Some((_, twice)) =
        tasks.iter().enumerate().find(|(i, task)| tasks[..*i].iter().any(|other| other.name() == task.name()))
    {
        return Err(Error::user(format!("task {} is named twice", twice.name())).hint("name it once"));
    }
    if tasks.is_empty() {
        let why = chosen.missing.iter().map(|(name, why)| format!("{name}: {why}")).collect::<Vec<_>>().join("; ");
        return Err(Error::user(format!("no task can be asked: {why}")));
    }
    Ok(chosen)
}
