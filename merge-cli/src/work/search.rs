//! Checks of a search before it runs: validity, memory, number of workers.

use super::{
    engines::candidate_bytes,
    memory::{MachineMemory, MemoryNeed},
    search_tasks,
};
use crate::{args::EngineArgs, draw::screen};
use merge_core::{error::Result, merge::sources::Sources, recipe::Recipe, search::SearchFile, study};

/// Refuses an impossible search, without reading a weight. Returns the memory that it needs, and
/// notes on its merges for the user.
///
/// Engines are asked only when it runs.
pub(crate) fn check(file: &SearchFile, sources: &Sources, engines: &EngineArgs) -> Result<(MemoryNeed, Vec<String>)> {
    let benchmarks = search_tasks::benchmarks(file)?;
    if !engines.engine.is_empty() {
        return Ok((MemoryNeed::of_search_on_engines(candidate_bytes(file, sources)?), sources.notes()));
    }
    let notes = study::check(&file.template, sources, &file.search, &benchmarks)?;
    Ok((MemoryNeed::of_search(file, sources, &benchmarks)?, notes))
}

/// The first candidate of a stage, used in place of its answer until there is one.
pub(crate) fn stand_in(file: &SearchFile, sources: &Sources) -> Result<Recipe> {
    let space = file.template.space(sources)?;
    Ok(file.template.fill(&space, &space.init()))
}

/// Number of workers, as requested or as cores and free memory allow, and a note for the user.
pub(crate) fn workers(
    given: Option<u16>,
    memory: MemoryNeed,
    there: MachineMemory,
    cores: usize,
) -> Result<(usize, Option<String>)> {
    let wanted = given.map_or(cores, usize::from).max(1);
    let fitting = if given.is_some() { wanted } else { memory.fitting(cores, there.free).max(1) };
    memory.check(fitting, there.total, "there are")?;
    let (needs, free) = (|workers| screen::bytes(memory.with(workers)), screen::bytes(there.free));
    let counted = |workers| screen::counted(workers, "worker");
    let note = if memory.with(fitting) > there.free {
        let (counted, needs) = (counted(fitting), needs(fitting));
        Some(format!("with {counted} the search needs about {needs} of memory, but only {free} are free now"))
    } else if fitting < wanted {
        let why = format!("{} need about {} of memory, but only {free} are free", counted(wanted), needs(wanted));
        Some(format!("{why}: the search uses {}", counted(fitting)))
    } else {
        None
    };
    Ok((fitting, note))
}

/// Refuses a search whose tasks cannot be asked.
pub(crate) fn check_tasks(file: &SearchFile) -> Result<()> {
    search_tasks::benchmarks(file).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The machine has eight cores and 64 GB.
    #[test]
    fn there_are_as_many_workers_as_the_free_memory_holds_but_as_many_as_are_asked_for() {
        let check = |given, each: u64, free: u64, expected: usize, said: Option<&str>| {
            let memory = MemoryNeed { fixed: 1_000_000_000, each: each * 1_000_000_000 };
            let there = MachineMemory { total: 64_000_000_000, free: free * 1_000_000_000 };
            let (workers, note) = workers(given, memory, there, 8).unwrap();
            assert_eq!((workers, note.as_deref()), (expected, said));
        };
        check(None, 4, 64, 8, None);
        let fewer = "8 workers need about 33.0 GB of memory, but only 14.0 GB are free: the search uses 3 workers";
        check(None, 4, 14, 3, Some(fewer));
        let tight = "with 1 worker the search needs about 5.0 GB of memory, but only 2.0 GB are free now";
        check(None, 4, 2, 1, Some(tight));
        let wanted = "with 6 workers the search needs about 25.0 GB of memory, but only 14.0 GB are free now";
        check(Some(6), 4, 14, 6, Some(wanted));
        check(Some(2), 4, 14, 2, None);
        let there = MachineMemory { total: 64_000_000_000, free: 64_000_000_000 };
        let most = MemoryNeed { fixed: 0, each: 30_000_000_000 };
        assert!(workers(Some(3), most, there, 8).is_err());
        assert_eq!(workers(None, most, there, 8).unwrap().0, 2);
    }
}
