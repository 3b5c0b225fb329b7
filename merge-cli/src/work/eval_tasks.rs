//! Reads the tasks of an eval: built-in ones, suites of them, or files.

use crate::args::{Eval, ItemSplit};
use evaluator::{
    dataset::Shelf,
    evaluation::TaskItems,
    protocol::{self, Builtin},
    task::{self, Benchmark, Fractions, Split, Suite, Task as _},
};
use merge_core::{
    error::{Error, Result},
    yaml::is_there,
};
use std::path::Path;

/// Tasks to ask, and tasks of the named suites that cannot be asked, with the reasons.
pub(crate) struct TaskChoice {
    pub(crate) suite: Suite,
    pub(crate) missing: Vec<(&'static str, String)>,
}

/// True if a name is a task file's; all other names are built in.
fn is_file(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "yaml" || end == "yml") || is_there(path) && !path.is_dir()
}

/// A search's built-in task, by name or by its benchmark in the default protocol; `None` for a file.
pub(crate) fn builtin(name: &str) -> Result<Option<&'static Builtin>> {
    if is_file(Path::new(name)) { Ok(None) } else { protocol::find(name, PROTOCOL).map(Some) }
}

/// Default protocol.
pub(crate) const PROTOCOL: &str = "strict";

/// Reads the tasks; fails if one is named twice.
pub(crate) fn read(args: &Eval, shelf: &Shelf) -> Result<TaskChoice> {
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

/// The items of each task that are asked.
pub(crate) fn asked<'a>(args: &Eval, tasks: &'a [Benchmark]) -> Result<Vec<TaskItems<'a>>> {
    let split = match args.items {
        ItemSplit::Search => Split::Search,
        ItemSplit::Select => Split::Select,
        ItemSplit::Report => Split::Report,
    };
    let of = |task: &'a Benchmark| {
        let items = task.split(split);
        if items.is_empty() {
            let has = Split::ALL.into_iter().filter(|split| !task.split(*split).is_empty()).map(Split::name);
            return Err(Error::user(format!("task {} has no {} items", task.name(), split.name()))
                .hint(format!("it has items to {}", has.collect::<Vec<_>>().join(", to "))));
        }
        let items = &items[..args.limit.unwrap_or(items.len()).min(items.len())];
        Ok(TaskItems { task, items: items.to_vec() })
    };
    tasks.iter().map(of).collect()
}
