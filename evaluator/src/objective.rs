//! Benchmarks as a search's objective: loads a candidate from memory, asks it the items and marks the answers.

use crate::{
    answer::{Batch, Footprint, RequestLengths, Transformer, health::HealthWatch},
    engine::{Agreement, Engines},
    guard::{self, GuardQuestion},
    interrupt::Interrupt,
    language_model::{LanguageModel, watched},
    model::{ENGINE, Pool},
    prompt::Tokenizer,
    task::{Benchmark, ItemQuestion, OutputType, Split, Task as _},
};
use candle_core::Device;
use merge_core::{
    error::{Error, Result},
    item::{ItemId, ItemScore},
    model::Weights,
    search::Items,
    study::{Candidate, Goal, Listener, News, Objective},
    words::counted,
};
use sha2::{Digest as _, Sha256};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::{Arc, Mutex},
};

/// Tasks, each with its goal in a search.
pub struct Benchmarks {
    tasks: Vec<Benchmark>,
    goals: Vec<Goal>,
    device: Device,
    interrupt: Interrupt,
    /// Tokenizers by the SHA-256 of `tokenizer.json`: the candidates of a search share one.
    tokenizers: Mutex<BTreeMap<[u8; 32], Tokenizer>>,
    /// Layers, and states of prompts, that candidates with a layer path share.
    pool: Pool,
    /// Engines that score in place of our own forward pass.
    engines: Option<Arc<Engines>>,
}

impl Benchmarks {
    /// An objective without tasks, whose models run on `device`.
    pub fn new(device: Device) -> Self {
        let pool = Pool::new(&device, Pool::MAX_BYTES);
        let (tasks, goals) = (Vec::new(), Vec::new());
        let interrupt = Interrupt::default();
        Self { tasks, goals, device, interrupt, tokenizers: Mutex::default(), pool, engines: None }
    }

    /// The same objective, which stops within a step of the model, leaving items unscored, once `interrupt` is set.
    #[must_use]
    pub fn interruptible(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = interrupt;
        self
    }

    /// The same objective, scored by engines that are given each candidate's weights.
    #[must_use]
    pub fn on(mut self, engines: Arc<Engines>) -> Self {
        self.engines = Some(engines);
        self
    }

    /// Adds a task to maximise, with its `weight` in the fitness and the number of search `items` per generation.
    ///
    /// A task without search items, or with 0 `items`, ranks no candidates but takes part in choosing and reporting the
    /// answer. A task with only search items only ranks. Fails if the task has fewer search items than `items`.
    pub fn maximise(&mut self, task: Benchmark, weight: f64, items: Items) -> Result<()> {
        self.rank(task, items, |goal| Goal { weight, ..goal })
    }

    /// Adds a constraint: a task on which no candidate may be more than `within` below the best parent.
    ///
    /// Fails if the task has fewer search items than `items`, or no select items.
    pub fn constrain(&mut self, task: Benchmark, within: f64, items: Items) -> Result<()> {
        if task.split(Split::Select).is_empty() {
            return Err(Error::user(format!("task {} has no select items", task.name()))
                .hint("the answer must meet the constraint on select items: give the task some"));
        }
        self.rank(task, items, |goal| Goal { within: Some(within), ..goal })
    }

    fn rank(&mut self, task: Benchmark, items: Items, as_goal: impl Fn(Goal) -> Goal) -> Result<()> {
        let (least, most) = (items.from, items.to);
        let there = task.split(Split::Search).len();
        if most > there {
            let message = format!(
                "task {}: {} per generation, but it has only {}",
                task.name(),
                counted(most, "item"),
                counted(there, "search item")
            );
            return Err(Error::user(message).hint(if there == 0 {
                "with `items: 0` it is used only to choose and report the answer".to_owned()
            } else {
                format!("set `items: {there}` or less{}", if least < most { ", also as `to`" } else { "" })
            }));
        }
        let [search, select, report] = Split::ALL.map(|split| task.split(split).to_vec());
        let search = if most == 0 { Vec::new() } else { search };
        self.add(task, as_goal(Goal { items, search, select, report, ..Goal::default() }))
    }

    /// Refuses an objective that cannot rank candidates, choose among them and report the answer,
    /// or that uses the same question for two of these, in whatever tasks.
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
        let [search, select, report] = Split::ALL.map(|split| self.questions_of(split));
        guard::check(&guard_questions(&search), &guard_questions(&select)).map_err(|e| e.at("select"))?;
        guard::check(&guard_questions(&[search, select].concat()), &guard_questions(&report))?;
        Ok(())
    }

    /// Adds a task that is only reported, on one of its splits.
    ///
    /// Fails if the split has no items.
    pub fn report_on(&mut self, task: Benchmark, split: Split) -> Result<()> {
        if task.split(split).is_empty() {
            let has = Split::ALL.into_iter().filter(|split| !task.split(*split).is_empty()).map(Split::name);
            return Err(Error::user(format!("task {} has no {} items", task.name(), split.name()))
                .hint(format!("it has items to {}", has.collect::<Vec<_>>().join(", to "))));
        }
        let report = task.split(split).to_vec();
        self.add(task, Goal { report, items: Items { from: 0, to: 0 }, ..Goal::default() })
    }

    /// The tasks, in the order of the goals.
    pub fn tasks(&self) -> &[Benchmark] {
        &self.tasks
    }

    /// Memory that a model takes when it is asked these tasks, computed without reading a weight.
    pub fn footprint(&self, weights: &dyn Weights) -> Result<Footprint> {
        let asked = self.tasks.iter().zip(&self.goals).flat_map(|(task, goal)| {
            let of = |(items, most): (&Vec<ItemId>, usize)| {
                task.requests(&items[..self.chunk_len(task).min(most).min(items.len())])
            };
            [(&goal.search, goal.items.to), (&goal.select, usize::MAX), (&goal.report, usize::MAX)].map(of)
        });
        Footprint::of(weights, &self.tokenizer(weights)?, &asked.collect::<Vec<_>>(), Batch::default())
    }

    /// Lengths of requests to a model: of the first items that a generation asks, of each task.
    ///
    /// Fails for a request that the model cannot answer.
    pub fn lengths(&self, weights: &dyn Weights) -> Result<RequestLengths> {
        let asked = self.first_items().into_iter().zip(&self.tasks).flat_map(|(items, task)| task.requests(&items));
        RequestLengths::of(weights, &self.tokenizer(weights)?, &asked.collect::<Vec<_>>())
    }

    /// The first search items of each goal, as many as its first generation asks; of a search that ranks by none, the
    /// first select items.
    pub fn first_items(&self) -> Vec<Vec<ItemId>> {
        let first = |goal: &Goal| goal.search[..goal.items.from.min(goal.search.len())].to_vec();
        self.goals.iter().map(first).collect()
    }

    /// Holds the engines against our own forward pass, on a few items of each task.
    ///
    /// Returns `None` if no engine scores, or if our own pass lacks the model's architecture or would need more than
    /// `memory` bytes or `tokens` tokens.
    pub fn agreement(&self, weights: &dyn Weights, memory: u64, tokens: usize) -> Result<Option<Agreement>> {
        let (Some(engines), Ok(footprint)) = (&self.engines, self.footprint(weights)) else { return Ok(None) };
        let few = |(task, goal): (&Benchmark, &Goal)| {
            let items: Vec<ItemId> =
                [&goal.search, &goal.select, &goal.report].into_iter().flatten().copied().collect();
            task.requests(&items[..FEW.min(items.len())])
        };
        let mut requests: Vec<_> = self.tasks.iter().zip(&self.goals).flat_map(few).collect();
        let mut asked = 0;
        requests.retain(|request| {
            asked += request.prompt.text().len() / 3 + request.effort();
            asked <= tokens
        });
        if footprint.total() > memory || requests.is_empty() {
            return Ok(None);
        }
        Agreement::of(engines, weights, &self.tokenizer(weights)?, &requests).map(Some)
    }

    /// Questions that the goals ask of a split, with their tasks' names.
    fn questions_of(&self, split: Split) -> Vec<(String, ItemQuestion)> {
        let mut all = Vec::new();
        for (task, goal) in self.tasks.iter().zip(&self.goals) {
            all.extend(task.asks(items(goal, split)).into_iter().map(|asks| (task.name().to_owned(), asks)));
        }
        all
    }

    fn add(&mut self, task: Benchmark, goal: Goal) -> Result<()> {
        if self.tasks.iter().any(|other| other.name() == task.name()) {
            return Err(Error::user(format!("task {} is named twice", task.name()))
                .hint("a task of the objective is reported too: name it once"));
        }
        let (name, metric) = (task.name().to_owned(), task.metric());
        self.goals.push(Goal { name, metric, fingerprint: task.fingerprint(), worst: task.worst(), ..goal });
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

fn guard_questions(asked: &[(String, ItemQuestion)]) -> Vec<GuardQuestion<'_>> {
    let all = asked.iter();
    all.map(|(task, asks)| GuardQuestion { task, text: &asks.text, place: asks.row, family: asks.family }).collect()
}

fn items(goal: &Goal, split: Split) -> &[ItemId] {
    match split {
        Split::Search => &goal.search,
        Split::Select => &goal.select,
        Split::Report => &goal.report,
    }
}

impl Objective for Benchmarks {
    fn engine(&self) -> &str {
        self.served_by().unwrap_or(ENGINE)
    }

    fn served_by(&self) -> Option<&str> {
        self.engines.as_ref().map(|engines| engines.identity())
    }

    fn goals(&self) -> &[Goal] {
        &self.goals
    }

    fn check(&self, weights: &dyn Weights) -> Result<()> {
        let tokenizer = self.tokenizer(weights)?;
        let Some(engines) = &self.engines else { return Transformer::check(weights, &tokenizer) };
        let all = self.tasks.iter().zip(&self.goals).flat_map(|(task, goal)| {
            let lists = [&goal.search, &goal.select, &goal.report];
            lists.into_iter().flat_map(|items| task.requests(items))
        });
        engines.check(weights, &tokenizer, &all.collect::<Vec<_>>())
    }

    /// A model with a layer path is scored on search items from the pool, which shares weights and computations; on all
    /// others, which choose and report the answer, it is scored as exported, with its folded weights rounded.
    fn score(&self, candidate: &Candidate<'_>, items: &[Vec<ItemId>], listener: &mut Listener<'_>) -> Result<()> {
        let weights = candidate.weights()?;
        if let Some(engines) = &self.engines {
            return self.score_on(engines, weights, items, listener);
        }
        let is_path = weights.path().is_some();
        let (ranking, rest) = self.divide_for_pool(items, is_path);
        // Inside the thread pool: each operation of a model called from outside would have to wait for the pool.
        rayon::scope(|_| {
            if ranking.iter().any(|items| !items.is_empty()) {
                let mut model = Transformer::in_pool(&self.pool, weights, self.tokenizer(weights)?)?
                    .interruptible(self.interrupt.clone());
                if self.ask_all(&mut model, &ranking, &rest, listener)?.is_break() {
                    return Ok(());
                }
            }
            if rest.iter().any(|items| !items.is_empty()) {
                let mut model = Transformer::with_tokenizer(weights, self.tokenizer(weights)?, &self.device)?
                    .interruptible(self.interrupt.clone());
                let nothing = vec![Vec::new(); rest.len()];
                let _ = self.ask_all(&mut model, &rest, &nothing, listener)?;
            }
            Ok(())
        })
    }
}

impl Benchmarks {
    /// Scores a model on the next free engine. If that fails, the items that have no score yet are asked again elsewhere.
    fn score_on(
        &self,
        engines: &Engines,
        weights: &dyn Weights,
        items: &[Vec<ItemId>],
        listener: &mut Listener<'_>,
    ) -> Result<()> {
        let tokenizer = self.tokenizer(weights)?;
        engines.check_shape(weights)?;
        let written = engines.write(weights)?;
        let mut left = items.to_vec();
        engines.run(weights, &written, &tokenizer, |model| {
            let (asked, nothing) = (left.clone(), vec![Vec::new(); left.len()]);
            let mut listener = |news: News| {
                match &news {
                    News::Scores(goal, scores) => {
                        left[*goal].retain(|item| scores.iter().all(|(scored, _)| scored != item));
                    }
                    News::GivenUp(..) => left.iter_mut().for_each(Vec::clear),
                }
                listener(news)
            };
            self.ask_all(model, &asked, &nothing, &mut listener).map(drop)
        })
    }

    /// Divides items into those that rank candidates with a layer path, and all others.
    fn divide_for_pool(&self, asked: &[Vec<ItemId>], is_path: bool) -> (Vec<Vec<ItemId>>, Vec<Vec<ItemId>>) {
        let divide = |(goal, items): (&Goal, &Vec<ItemId>)| {
            let search: BTreeSet<&ItemId> = if is_path { goal.search.iter().collect() } else { BTreeSet::new() };
            items.iter().partition::<Vec<ItemId>, _>(|item| search.contains(item))
        };
        self.goals.iter().zip(asked).map(divide).unzip()
    }

    /// Asks a model all these items. If it is broken, all items left, `later` included, get the worst score.
    fn ask_all(
        &self,
        model: &mut dyn LanguageModel,
        asked: &[Vec<ItemId>],
        later: &[Vec<ItemId>],
        listener: &mut Listener<'_>,
    ) -> Result<ControlFlow<()>> {
        for (goal, (task, items)) in self.tasks.iter().zip(asked).enumerate() {
            let mut rest = &items[..];
            while !rest.is_empty() {
                let (chunk, others) = rest.split_at(self.chunk_len(task).min(rest.len()));
                let going_on = &mut |_| ControlFlow::Continue(());
                let Some(answers) = watched(model, &task.requests(chunk), going_on)? else {
                    return Ok(ControlFlow::Break(()));
                };
                let mut watch = HealthWatch::default();
                for answer in &answers {
                    _ = watch.observe(answer, task.expects_japanese());
                }
                if let Some(verdict) = watch.verdict {
                    // A chunk is scored as a whole or not at all, so that a resumed search gets the same scores.
                    let left = (0..asked.len()).map(|other| match other.cmp(&goal) {
                        Ordering::Less => &[][..],
                        Ordering::Equal => rest,
                        Ordering::Greater => &asked[other][..],
                    });
                    let left = left.zip(later).zip(&self.tasks);
                    let worst = left.map(|((items, later), task)| {
                        items.iter().chain(later).map(|item| (*item, worst(task))).collect()
                    });
                    let _ = listener(News::GivenUp(verdict.to_string(), worst.collect()))?;
                    return Ok(ControlFlow::Break(()));
                }
                let scores = chunk.iter().copied().zip(task.mark(chunk, &answers)?).collect();
                if let ControlFlow::Break(()) = listener(News::Scores(goal, scores))? {
                    return Ok(ControlFlow::Break(()));
                }
                rest = others;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Number of items asked at once: enough to fill a batch, few enough that a power cut loses little
    /// and that a broken model with long answers wastes little. It depends on the task alone, so that a
    /// resumed search goes on at the same place.
    fn chunk_len(&self, task: &Benchmark) -> usize {
        if task.output() == OutputType::GenerateUntil && self.engines.is_none() { 64 } else { 256 }
    }
}

/// Items of each task on which an engine is held against our own forward pass.
const FEW: usize = 16;

/// Score of an item that was not asked because the model is broken.
fn worst(task: &Benchmark) -> ItemScore {
    ItemScore { value: task.worst(), tokens: 0, truncated: false }
}
