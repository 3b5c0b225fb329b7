//! Benchmarks as a search's objective: loads a candidate from memory, asks it the items, marks the answers.

use crate::{
    guard::{self, Question},
    interrupt::Interrupt,
    model::{Tokenizer, Transformer, health::Watch},
    request::watched,
    task::{Asks, Benchmark, OutputType, Split, Task as _},
};
use candle_core::Device;
use merge_core::{
    error::{Error, Result},
    evolve::{Goal, Heard, News, Objective},
    item::{ItemId, ItemScore},
    weights::Weights,
};
use sha2::{Digest as _, Sha256};
use std::{cmp::Ordering, collections::BTreeMap, ops::ControlFlow, sync::Mutex};

/// Tasks, each with its goal in a search.
pub struct Benchmarks {
    tasks: Vec<Benchmark>,
    goals: Vec<Goal>,
    device: Device,
    interrupt: Interrupt,
    /// By the SHA-256 of their files: every candidate of a search has the same.
    tokenizers: Mutex<BTreeMap<[u8; 32], Tokenizer>>,
}

impl Benchmarks {
    /// No task yet; models run on `device`.
    pub fn new(device: Device) -> Self {
        let (tasks, goals) = (Vec::new(), Vec::new());
        Self { tasks, goals, device, interrupt: Interrupt::default(), tokenizers: Mutex::default() }
    }

    /// The same objective, which leaves the items in flight unscored, within a step of the model, once `interrupt` is set.
    #[must_use]
    pub fn interruptible(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = interrupt;
        self
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
    /// what it did another on: the same question, in whatever task.
    pub fn check(&self) -> Result<()> {
        for split in Split::ALL {
            let mut weighed = self.goals.iter().filter(|goal| goal.weight > 0.0);
            if weighed.all(|goal| items(goal, split).is_empty()) {
                return Err(Error::user(format!("no task of the objective has {} items", split.name()))
                    .hint("a search needs items to search, to select and to report on"));
            }
        }
        if let Some(goal) = self.goals.iter().find(|goal| goal.report.len() == 1) {
            return Err(Error::user(format!("task {} has 1 report item: too few for an interval", goal.name))
                .hint("a result needs two items, and says little on fewer than a hundred"));
        }
        let [search, select, report] = Split::ALL.map(|split| self.asks(split));
        guard::check(&questions(&search), &questions(&select)).map_err(|e| e.at("select"))?;
        guard::check(&questions(&[search, select].concat()), &questions(&report))?;
        Ok(())
    }

    /// Adds a task of which one split is asked, as what is reported.
    ///
    /// Fails if it has no such items.
    pub fn ask(&mut self, task: Benchmark, split: Split) -> Result<()> {
        if task.split(split).is_empty() {
            let has = Split::ALL.into_iter().filter(|split| !task.split(*split).is_empty()).map(Split::name);
            return Err(Error::user(format!("task {} has no {} items", task.name(), split.name()))
                .hint(format!("it has items to {}", has.collect::<Vec<_>>().join(", to "))));
        }
        let report = task.split(split).to_vec();
        self.add(task, Goal { report, ..Goal::default() })
    }

    /// The tasks, in the order of the goals.
    pub fn tasks(&self) -> &[Benchmark] {
        &self.tasks
    }

    /// What the goals ask of a split, with their tasks' names.
    fn asks(&self, split: Split) -> Vec<(String, Asks)> {
        let mut all = Vec::new();
        for (task, goal) in self.tasks.iter().zip(&self.goals) {
            all.extend(task.asks(items(goal, split)).into_iter().map(|asks| (task.name().to_owned(), asks)));
        }
        all
    }

    fn add(&mut self, task: Benchmark, goal: Goal) -> Result<()> {
        if self.tasks.iter().any(|other| other.name() == task.name()) {
            return Err(Error::user(format!("task {} is named twice", task.name()))
                .hint("an objective is reported too: name it once"));
        }
        let (name, metric) = (task.name().to_owned(), task.metric());
        self.goals.push(Goal { name, metric, fingerprint: task.fingerprint(), ..goal });
        self.tasks.push(task);
        Ok(())
    }

    fn tokenizer(&self, weights: &dyn Weights) -> Result<Tokenizer> {
        let Some(bytes) = weights.sidecar("tokenizer.json")? else { return Tokenizer::of(weights) };
        let hash = Sha256::digest(&bytes).into();
        let mut known = self.tokenizers.lock().expect("no panic while held");
        if let Some(tokenizer) = known.get(&hash) {
            return Ok(tokenizer.clone());
        }
        let tokenizer = Tokenizer::read(&bytes, format!("{}/tokenizer.json", weights.place()))?;
        known.insert(hash, tokenizer.clone());
        Ok(tokenizer)
    }
}

/// As the guard takes them.
fn questions(asked: &[(String, Asks)]) -> Vec<Question<'_>> {
    let all = asked.iter();
    all.map(|(task, asks)| Question { task, text: &asks.text, place: asks.row, family: asks.family }).collect()
}

/// What a goal has of a split.
fn items(goal: &Goal, split: Split) -> &[ItemId] {
    match split {
        Split::Search => &goal.search,
        Split::Select => &goal.select,
        Split::Report => &goal.report,
    }
}

impl Objective for Benchmarks {
    fn goals(&self) -> &[Goal] {
        &self.goals
    }

    fn check(&self, weights: &dyn Weights) -> Result<()> {
        Transformer::check(weights, &self.tokenizer(weights)?)
    }

    fn score(&self, weights: &dyn Weights, asked: &[Vec<ItemId>], heard: &mut Heard<'_>) -> Result<()> {
        // In the thread pool from here on: every operation of the model that is called from outside has to wait for it.
        rayon::scope(|_| {
            let mut model = Transformer::with_tokenizer(weights, self.tokenizer(weights)?, &self.device)?
                .interruptible(self.interrupt.clone());
            for (goal, (task, items)) in self.tasks.iter().zip(asked).enumerate() {
                let mut rest = &items[..];
                while !rest.is_empty() {
                    let (chunk, later) = rest.split_at(chunk_len(task).min(rest.len()));
                    let going_on = &mut |_| ControlFlow::Continue(());
                    let Some(answers) = watched(&mut model, &task.requests(chunk), going_on)? else { return Ok(()) };
                    let mut watch = Watch::default();
                    for answer in &answers {
                        _ = watch.tell(answer, task.expects_japanese());
                    }
                    if let Some(verdict) = watch.verdict {
                        // Scored by chunk or not at all, so that a search that was broken off comes to the same.
                        let left = (0..asked.len()).map(|other| match other.cmp(&goal) {
                            Ordering::Less => &[][..],
                            Ordering::Equal => rest,
                            Ordering::Greater => &asked[other][..],
                        });
                        let worst =
                            left.zip(&self.tasks).map(|(items, task)| items.iter().map(|item| (*item, worst(task))));
                        let _ = heard(News::GivenUp(verdict.to_string(), worst.map(Iterator::collect).collect()))?;
                        return Ok(());
                    }
                    let scores = chunk.iter().copied().zip(task.mark(chunk, &answers)).collect();
                    if let ControlFlow::Break(()) = heard(News::Scores(goal, scores))? {
                        return Ok(());
                    }
                    rest = later;
                }
            }
            Ok(())
        })
    }
}

/// Items asked at once: enough to fill a batch, few enough that little is lost when the power goes, and where answers are long,
/// that little is wasted on a broken model. It depends on the task alone: a search that was broken off goes on at the same
/// place.
fn chunk_len(task: &Benchmark) -> usize {
    if task.output() == OutputType::GenerateUntil { 64 } else { 256 }
}

/// The score of an item that a broken model was not asked.
fn worst(task: &Benchmark) -> ItemScore {
    ItemScore { value: task.worst(), tokens: 0, truncated: false }
}
