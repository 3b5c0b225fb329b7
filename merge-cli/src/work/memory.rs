//! Estimates the memory that a command needs, and reads that of the machine.

use super::engines::candidate_bytes;
use crate::draw::screen;
use evaluator::{answer::Footprint, model::Pool, objective::Benchmarks};
use merge_core::{
    baseline,
    error::{Error, Result},
    merge::{Merge, PlanStep, sources::Sources},
    model::{Weights, blocks::BLOCK},
    recipe::Recipe,
    search::SearchFile,
    study,
};
use serde::{Deserialize, Serialize};
use sysinfo::System;

/// Needed bytes of memory, without the files' cache: of the process, and of each of its workers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct MemoryNeed {
    pub(crate) fixed: u64,
    pub(crate) each: u64,
}

/// Bytes of a process without models, and of a search's store and threads: measured.
const PROCESS: u64 = 8 << 20;
const STUDY: u64 = 6 << 20;
/// Bytes that the store caches of each item evaluation, and at most: see `merge_core::store`.
const STORE_CACHE: (u64, u64) = (256, 64 << 20);
/// Share added for freed memory that the allocator keeps, and for small things: measured.
const ALLOWANCE: f64 = 0.15;

impl MemoryNeed {
    /// Memory of a merge.
    pub(crate) fn of_merge(merge: &Merge) -> Self {
        Self { fixed: of_merge(&merge.steps().collect::<Vec<_>>()), each: 0 }
    }

    /// Memory of a report, which opens no model.
    pub(crate) fn of_report() -> Self {
        Self { fixed: PROCESS + STORE_CACHE.1, each: 0 }
    }

    /// Memory of a process that asks one model after the other.
    pub(crate) fn of_models(footprints: impl Iterator<Item = Footprint>) -> Self {
        Self { fixed: PROCESS + with_allowance(footprints.map(|one| one.total()).max().unwrap_or(0)), each: 0 }
    }

    /// Memory of a search; each worker holds a candidate or a source, and its files if a judge scores. What a judge itself
    /// takes is not known.
    pub(crate) fn of_search(file: &SearchFile, sources: &Sources, benchmarks: &Benchmarks) -> Result<Self> {
        let template = &file.template;
        let space = template.space(sources)?;
        let evaluations = study::evaluations(template, &file.search, study::Objective::goals(benchmarks));
        let mut fixed = PROCESS + STUDY + (STORE_CACHE.0 * evaluations).min(STORE_CACHE.1);
        let (mut most, mut prompt) = (0, 0);
        let mut originals = Vec::new();
        for (_, source) in sources.iter() {
            let footprint = benchmarks.footprint(&**source)?;
            most = most.max(footprint.total());
            originals.push(footprint);
        }
        let starts =
            (0..template.variants().len()).map(|number| template.fill(&space, &template.start_of(&space, number)));
        for recipe in starts.chain(baseline::stacked(template, &space)) {
            let merge = Merge::plan(&recipe, &sources.of(&recipe))?;
            let footprint = benchmarks.footprint(&merge)?;
            let hops = merge.path().map_or(0, |path| path.hops.len());
            // `most_layers` limits a candidate's layers.
            let part = match &file.search.most_layers {
                Some(limit) if hops > limit.value => limit.value as f64 / hops as f64,
                _ => 1.0,
            };
            prompt = prompt.max((footprint.prompt as f64 * part) as u64);
            most = most.max((footprint.total() as f64 * part) as u64);
        }
        if template.variants().iter().any(Recipe::is_path) {
            // Candidates share layers, and what is computed of common prompts: measured, the latter
            // takes a quarter of what each candidate would need alone.
            let layers: u64 = originals.iter().map(|footprint| footprint.weights).sum();
            let prompts = file.search.budget.value / 4;
            fixed += with_allowance(layers + prompts.saturating_mul(prompt).min(Pool::MAX_BYTES as u64));
        }
        if benchmarks.has_judges() {
            // Its files lie in memory while it is scored.
            most += candidate_bytes(file, sources)?;
        }
        Ok(Self { fixed, each: with_allowance(most) })
    }

    /// Memory of a search on engines, whose candidates of this size lie in memory while they are loaded.
    pub(crate) fn of_search_on_engines(candidate: u64) -> Self {
        Self { fixed: PROCESS + STUDY + STORE_CACHE.1, each: with_allowance(candidate) }
    }

    /// The larger of two needs, for work that is done in turn.
    pub(crate) fn or(self, other: Self) -> Self {
        Self { fixed: self.fixed.max(other.fixed), each: self.each.max(other.each) }
    }

    /// Bytes in total with this number of workers.
    pub(crate) fn with(self, workers: usize) -> u64 {
        self.fixed + workers as u64 * self.each
    }

    /// Largest number of workers, up to `workers`, that fits into `there` bytes.
    pub(crate) fn fitting(self, workers: usize, there: u64) -> usize {
        (1..=workers).rev().find(|workers| self.with(*workers) <= there).unwrap_or(0)
    }

    /// Fails if the workers do not fit into `there` bytes; `whose` introduces these in the message.
    pub(crate) fn check(self, workers: usize, there: u64, whose: &str) -> Result<()> {
        let needs = self.with(workers);
        if needs <= there {
            return Ok(());
        }
        let said = screen::bytes;
        let error = Error::user(format!("it needs about {} of memory, and {whose} {} here", said(needs), said(there)));
        Err(error.hint(match self.fitting(workers, there) {
            0 if self.with(1) < needs => format!(
                "with `--workers 1` it needs about {}, which is too much, too: take smaller models, or a machine with more memory",
                said(self.with(1))
            ),
            0 => "take smaller models, or a machine with more memory".to_owned(),
            fitting => format!("with `--workers {fitting}` it needs about {}", said(self.with(fitting))),
        }))
    }
}

fn with_allowance(bytes: u64) -> u64 {
    bytes + (bytes as f64 * ALLOWANCE) as u64
}

/// Bytes of the machine's memory, within a container's limit.
#[derive(Clone, Copy)]
pub(crate) struct MachineMemory {
    /// Installed memory.
    pub(crate) total: u64,
    /// Memory that is unused, or that the files' cache gives back.
    pub(crate) free: u64,
}

impl MachineMemory {
    /// Reads the memory of this machine.
    pub(crate) fn here() -> Self {
        let mut system = System::new();
        system.refresh_memory();
        let (total, free) =
            system.cgroup_limits().map_or((u64::MAX, u64::MAX), |all| (all.total_memory, all.free_memory));
        Self { total: system.total_memory().min(total), free: system.available_memory().min(free) }
    }
}

/// Bytes that the threads of a merge use: a block of each input and of the method's results, counts
/// for selection, and an output buffer.
pub(crate) fn of_merge(steps: &[PlanStep]) -> u64 {
    let inputs = steps.iter().map(|step| step.sources.len()).max().unwrap_or(0) as u64;
    let widest = steps.iter().filter_map(|step| step.shape.last()).max().copied().unwrap_or(0);
    let block = 4 * BLOCK.max(widest) as u64;
    let each = 2 * inputs * block + 4 * block + (4 << 20);
    (16 << 20) + rayon::current_num_threads() as u64 * each
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(memory: MemoryNeed, workers: usize) -> (String, String) {
        let error = memory.check(workers, 10_000_000_000, "there are").unwrap_err();
        (error.to_string(), error.advice().unwrap().to_owned())
    }

    #[test]
    fn a_hint_names_as_many_workers_as_fit_and_none_if_none_does() {
        let memory = MemoryNeed { fixed: 1_000_000_000, each: 4_000_000_000 };
        assert_eq!((memory.fitting(8, 10_000_000_000), memory.check(2, 9_000_000_000, "").is_ok()), (2, true));
        let (error, hint) = refused(memory, 3);
        assert_eq!(error, "it needs about 13.0 GB of memory, and there are 10.0 GB here");
        assert_eq!(hint, "with `--workers 2` it needs about 9.0 GB");
        let memory = MemoryNeed { each: 20_000_000_000, ..memory };
        let more = "take smaller models, or a machine with more memory";
        assert_eq!(
            refused(memory, 2).1,
            format!("with `--workers 1` it needs about 21.0 GB, which is too much, too: {more}")
        );
        assert_eq!(refused(memory, 1).1, more);
        // The number of workers does not matter if each needs nothing.
        assert_eq!(refused(MemoryNeed { fixed: 20_000_000_000, each: 0 }, 4).1, more);
    }
}
