//! Benchmarks as a search's objective: loads a candidate from memory, asks it the items, marks the answers.

use crate::{
    model::{Llama, Tokenizer},
    request::LanguageModel as _,
    task::{Benchmark, Split, Task as _},
};
use candle_core::Device;
use merge_core::{
    error::{Error, Result},
    evolve::{Goal, Heard, Objective},
    item::ItemId,
    weights::Weights,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    path::PathBuf,
    sync::Mutex,
};

/// Items asked at once: enough to fill a batch, few enough that little is lost when the power goes.
const CHUNK: usize = 256;

/// Tasks, each with its goal in a search.
pub struct Benchmarks {
    tasks: Vec<Benchmark>,
    goals: Vec<Goal>,
    device: Device,
    /// By directory: every candidate of a search has the tokenizer of the same model.
    tokenizers: Mutex<BTreeMap<PathBuf, Tokenizer>>,
}

impl Benchmarks {
    /// No task yet; models run on `device`.
    pub fn new(device: Device) -> Self {
        Self { tasks: Vec::new(), goals: Vec::new(), device, tokenizers: Mutex::default() }
    }

    /// Adds a task that a search maximises: `weight` in the fitness, `items` search items a generation.
    ///
    /// A task without search items, or 0 `items`, ranks no candidates but takes part in choosing and reporting the answer;
    /// one with search items alone only ranks. Fails if the task has fewer search items than `items`.
    pub fn maximise(&mut self, task: Benchmark, weight: f64, items: usize) -> Result<()> {
        let there = task.split(Split::Search).len();
        if items > there {
            let message =
                format!("task {}: {items} items a generation, but it has only {there} to search on", task.name());
            return Err(Error::user(message).hint(if there == 0 {
                "with `items: 0` it takes part in choosing and reporting the answer alone".to_owned()
            } else {
                format!("set `items: {there}` or less")
            }));
        }
        let [search, select, report] = Split::ALL.map(|split| task.split(split).to_vec());
        let search = if items == 0 { Vec::new() } else { search };
        self.add(task, Goal { weight, items, search, select, report, ..Goal::default() })
    }

    /// Refuses an objective that cannot rank candidates, choose among them and report the answer, or that does one on
    /// what it did another on: the same item, in whatever task.
    pub fn check(&self) -> Result<()> {
        let weighed = || self.goals.iter().filter(|goal| goal.weight > 0.0);
        let of = |split: Split| {
            move |goal: &'_ Goal| -> Vec<ItemId> {
                match split {
                    Split::Search => goal.search.clone(),
                    Split::Select => goal.select.clone(),
                    Split::Report => goal.report.clone(),
                }
            }
        };
        for split in Split::ALL {
            if weighed().flat_map(of(split)).next().is_none() {
                return Err(Error::user(format!("no task of the objective has {} items", split.name()))
                    .hint("a search needs items to search, to select and to report on"));
            }
        }
        for (one, other) in
            [(Split::Search, Split::Select), (Split::Search, Split::Report), (Split::Select, Split::Report)]
        {
            let first: BTreeSet<ItemId> = weighed().flat_map(of(one)).collect();
            for goal in &self.goals {
                if of(other)(goal).iter().any(|item| first.contains(item)) {
                    let (one, other) = (one.name(), other.name());
                    return Err(Error::user(format!("task {} has {other} items that are {one} items too", goal.name))
                        .hint(
                            "give each task of the objective the same split: what was searched on can't be reported on",
                        ));
                }
            }
        }
        Ok(())
    }

    /// Adds a task of which one split is asked, as what is reported.
    ///
    /// Fails if it has no such items.
    pub fn ask(&mut self, task: Benchmark, split: Split) -> Result<()> {
        if task.split(split).is_empty() {
            return Err(Error::user(format!("task {} has no {} items", task.name(), split.name())));
        }
        let report = task.split(split).to_vec();
        self.add(task, Goal { report, ..Goal::default() })
    }

    /// The tasks, in the order of the goals.
    pub fn tasks(&self) -> &[Benchmark] {
        &self.tasks
    }

    fn add(&mut self, task: Benchmark, goal: Goal) -> Result<()> {
        if self.tasks.iter().any(|other| other.name() == task.name()) {
            return Err(Error::user(format!("task {} is named twice", task.name()))
                .hint("an objective is reported too: name it once"));
        }
        let (name, metric) = (task.name().to_owned(), task.metric().to_owned());
        self.goals.push(Goal { name, metric, fingerprint: task.fingerprint(), ..goal });
        self.tasks.push(task);
        Ok(())
    }

    fn tokenizer(&self, weights: &dyn Weights) -> Result<Tokenizer> {
        let mut known = self.tokenizers.lock().expect("no panic while held");
        if let Some(tokenizer) = known.get(weights.sidecars()) {
            return Ok(tokenizer.clone());
        }
        let tokenizer = Tokenizer::open(weights.sidecars())?;
        known.insert(weights.sidecars().to_owned(), tokenizer.clone());
        Ok(tokenizer)
    }
}

impl Objective for Benchmarks {
    fn goals(&self) -> &[Goal] {
        &self.goals
    }

    fn score(&self, weights: &dyn Weights, asked: &[Vec<ItemId>], heard: &mut Heard<'_>) -> Result<()> {
        // In the thread pool from here on: every operation of the model that is called from outside has to wait for it.
        rayon::scope(|_| {
            let mut model = Llama::with_tokenizer(weights, self.tokenizer(weights)?, &self.device)?;
            for (goal, (task, items)) in self.tasks.iter().zip(asked).enumerate() {
                for chunk in items.chunks(CHUNK) {
                    let answers = model.answer(&task.requests(chunk))?;
                    let scores = chunk.iter().copied().zip(task.mark(chunk, &answers)).collect();
                    if let ControlFlow::Break(()) = heard(goal, scores)? {
                        return Ok(());
                    }
                }
            }
            Ok(())
        })
    }
}
