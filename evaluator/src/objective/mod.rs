//! Benchmarks as a search's objective: loads a candidate from memory, asks it the items and marks the answers, or has judges score it.

mod asking;
mod chunk;
mod judging;

pub use chunk::{AnsweredItem, ItemChunk};

use crate::{
    answer::{Batch, Footprint, RequestLengths, Transformer},
    engine::{Agreement, Engines, Scratch},
    guard::{self, GuardQuestion},
    interrupt::Interrupt,
    judge::Judge,
    model::{ENGINE, Pool},
    prompt::Tokenizer,
    task::{Benchmark, ItemQuestion, Split, Task as _},
};
use candle_core::Device;
use merge_core::{
    error::{Error, Result},
    item::ItemId,
    model::Weights,
    search::Items,
    study::{Candidate, Goal, Listener, Objective},
    words::counted,
};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// Tasks and judges, each with its goal in a search.
pub struct Benchmarks {
    scorers: Vec<GoalScorer>,
    goals: Vec<Goal>,
    device: Device,
    interrupt: Interrupt,
    /// Tokenizers by the SHA-256 of `tokenizer.json`: the candidates of a search share one.
    tokenizers: Mutex<BTreeMap<[u8; 32], Tokenizer>>,
    /// Layers, and states of prompts, that candidates with a layer path share.
    pool: Pool,
    /// Engines that score in place of our own forward pass.
    engines: Option<Arc<Engines>>,
    /// True if engines of workers do, which are not known here.
    has_engines_elsewhere: bool,
    /// Directory in which models are written for judges, if no engine has one.
    scratch: Option<Arc<Scratch>>,
    /// Held by the candidate whose judges run while engines score others: judges may share a GPU.
    judging: Mutex<()>,
}

/// What tells the scores of a goal.
pub enum GoalScorer {
    /// A task, whose questions a language model answers.
    Task(Box<Benchmark>),
    /// A judge, which gets the model itself.
    Judge(Box<Judge>),
}

impl From<Benchmark> for GoalScorer {
    fn from(task: Benchmark) -> Self {
        Self::Task(Box::new(task))
    }
}

impl From<Judge> for GoalScorer {
    fn from(judge: Judge) -> Self {
        Self::Judge(Box::new(judge))
    }
}

impl GoalScorer {
    fn name(&self) -> &str {
        match self {
            Self::Task(task) => task.name(),
            Self::Judge(judge) => judge.name(),
        }
    }

    /// What it is, with its name, for messages.
    fn called(&self) -> String {
        let kind = match self {
            Self::Task(_) => "task",
            Self::Judge(_) => "judge",
        };
        format!("{kind} {}", self.name())
    }

    fn split(&self, split: Split) -> &[ItemId] {
        match self {
            Self::Task(task) => task.split(split),
            Self::Judge(judge) => judge.split(split),
        }
    }

    fn asks(&self, items: &[ItemId]) -> Vec<ItemQuestion> {
        match self {
            Self::Task(task) => task.asks(items),
            Self::Judge(judge) => judge.asks(items),
        }
    }

    fn worst(&self) -> f64 {
        match self {
            Self::Task(task) => task.worst(),
            Self::Judge(judge) => judge.worst(),
        }
    }
}

impl Benchmarks {
    /// An objective without tasks, whose models run on `device`.
    pub fn new(device: Device) -> Self {
        let pool = Pool::new(&device, Pool::MAX_BYTES);
        let (scorers, goals, tokenizers) = (Vec::new(), Vec::new(), Mutex::default());
        let interrupt = Interrupt::default();
        Self {
            scorers,
            goals,
            device,
            interrupt,
            tokenizers,
            pool,
            engines: None,
            has_engines_elsewhere: false,
            scratch: None,
            judging: Mutex::default(),
        }
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

    /// The same objective, whose items workers ask on engines of their own: here no model is loaded.
    #[must_use]
    pub fn on_engines_elsewhere(mut self) -> Self {
        self.has_engines_elsewhere = true;
        self
    }

    /// The same objective, whose models are written here for judges unless engines have a directory.
    #[must_use]
    pub fn within(mut self, scratch: Arc<Scratch>) -> Self {
        self.scratch = Some(scratch);
        self
    }

    /// Adds a task or a judge to maximise, with its `weight` in the fitness and the number of search `items` per generation.
    ///
    /// A task without search items, or with 0 `items`, ranks no candidates but takes part in choosing and reporting the
    /// answer. A task with only search items only ranks. Fails if the task has fewer search items than `items`.
    pub fn maximise(&mut self, scorer: impl Into<GoalScorer>, weight: f64, items: Items) -> Result<()> {
        self.rank(scorer.into(), items, |goal| Goal { weight, ..goal })
    }

    /// Adds a constraint: a task or a judge on which no candidate may be more than `within` below the best parent.
    ///
    /// Fails if the task has fewer search items than `items`, or no select items.
    pub fn constrain(&mut self, scorer: impl Into<GoalScorer>, within: f64, items: Items) -> Result<()> {
        let scorer = scorer.into();
        if scorer.split(Split::Select).is_empty() {
            return Err(Error::user(format!("{} has no select items", scorer.called()))
                .hint("the answer must meet the constraint on select items: give it some"));
        }
        self.rank(scorer, items, |goal| Goal { within: Some(within), ..goal })
    }

    fn rank(&mut self, scorer: GoalScorer, items: Items, as_goal: impl Fn(Goal) -> Goal) -> Result<()> {
        let (least, most) = (items.from, items.to);
        let there = scorer.split(Split::Search).len();
        if most > there {
            let key = if matches!(scorer, GoalScorer::Judge(_)) { "per_generation" } else { "items" };
            let message = format!(
                "{}: {} per generation, but it has only {}",
                scorer.called(),
                counted(most, "item"),
                counted(there, "search item")
            );
            return Err(Error::user(message).hint(if there == 0 {
                format!("with `{key}: 0` it is used only to choose and report the answer")
            } else {
                format!("set `{key}: {there}` or less{}", if least < most { ", also as `to`" } else { "" })
            }));
        }
        let [search, select, report] = Split::ALL.map(|split| scorer.split(split).to_vec());
        let search = if most == 0 { Vec::new() } else { search };
        self.add(scorer, as_goal(Goal { items, search, select, report, ..Goal::default() }))
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
        let mut each = self.goals.iter().zip(&self.scorers);
        if let Some((_, scorer)) = each.find(|(goal, _)| goal.report.len() == 1 && !goal.whole) {
            return Err(Error::user(format!("{} has 1 report item: too few for an interval", scorer.called()))
                .hint("a result needs two items, and says little on fewer than a hundred"));
        }
        let [search, select, report] = Split::ALL.map(|split| self.questions_of(split));
        guard::check(&guard_questions(&search), &guard_questions(&select)).map_err(|e| e.at("select"))?;
        guard::check(&guard_questions(&[search, select].concat()), &guard_questions(&report))?;
        Ok(())
    }

    /// Adds a task or a judge that is only reported, on one of its splits.
    ///
    /// Fails if the split has no items.
    pub fn report_on(&mut self, scorer: impl Into<GoalScorer>, split: Split) -> Result<()> {
        let scorer = scorer.into();
        if scorer.split(split).is_empty() {
            let has = Split::ALL.into_iter().filter(|split| !scorer.split(*split).is_empty()).map(Split::name);
            return Err(Error::user(format!("{} has no {} items", scorer.called(), split.name()))
                .hint(format!("it has items to {}", has.collect::<Vec<_>>().join(", to "))));
        }
        let report = scorer.split(split).to_vec();
        self.add(scorer, Goal { report, items: Items { from: 0, to: 0 }, ..Goal::default() })
    }

    /// The tasks, in the order of their goals.
    pub fn tasks(&self) -> impl Iterator<Item = &Benchmark> {
        self.asked().map(|(_, task)| task)
    }

    /// True if a judge scores, so that models are written to a scratch directory.
    pub fn has_judges(&self) -> bool {
        self.scorers.iter().any(|scorer| matches!(scorer, GoalScorer::Judge(_)))
    }

    /// The tasks, with the numbers of their goals.
    fn asked(&self) -> impl Iterator<Item = (usize, &Benchmark)> {
        self.scorers.iter().enumerate().filter_map(|(number, scorer)| match scorer {
            GoalScorer::Task(task) => Some((number, &**task)),
            GoalScorer::Judge(_) => None,
        })
    }

    /// Memory that a model takes when it is asked these tasks, computed without reading a weight. Without a task it takes
    /// none: judges see only its files.
    pub fn footprint(&self, weights: &dyn Weights) -> Result<Footprint> {
        if self.tasks().next().is_none() {
            return Ok(Footprint::default());
        }
        let asked = self.asked().flat_map(|(number, task)| {
            let goal = &self.goals[number];
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
        let first = self.first_items();
        let asked: Vec<_> = self.asked().flat_map(|(number, task)| task.requests(&first[number])).collect();
        if asked.is_empty() {
            return Ok(RequestLengths::default());
        }
        RequestLengths::of(weights, &self.tokenizer(weights)?, &asked)
    }

    /// The first search items of each goal, as many as its first generation asks.
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
        let few = |(number, task): (usize, &Benchmark)| {
            let goal = &self.goals[number];
            let items: Vec<ItemId> =
                [&goal.search, &goal.select, &goal.report].into_iter().flatten().copied().collect();
            task.requests(&items[..FEW.min(items.len())])
        };
        let mut requests: Vec<_> = self.asked().flat_map(few).collect();
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
        for (scorer, goal) in self.scorers.iter().zip(&self.goals) {
            all.extend(scorer.asks(items(goal, split)).into_iter().map(|asks| (scorer.name().to_owned(), asks)));
        }
        all
    }

    fn add(&mut self, scorer: GoalScorer, goal: Goal) -> Result<()> {
        if self.scorers.iter().any(|other| other.name() == scorer.name()) {
            return Err(Error::user(format!("{} is named twice", scorer.called()))
                .hint("what the objective names is reported too: name it once"));
        }
        let (metric, fingerprint, whole) = match &scorer {
            GoalScorer::Task(task) => (task.metric(), task.fingerprint(), false),
            GoalScorer::Judge(judge) => (judge.metric().to_owned(), judge.fingerprint(), judge.is_whole()),
        };
        let (name, worst) = (scorer.name().to_owned(), scorer.worst());
        self.goals.push(Goal { name, metric, fingerprint, worst, whole, ..goal });
        self.scorers.push(scorer);
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
        if self.tasks().next().is_none() || self.has_engines_elsewhere {
            return Ok(());
        }
        let tokenizer = self.tokenizer(weights)?;
        let Some(engines) = &self.engines else { return Transformer::check(weights, &tokenizer) };
        let all = self.asked().flat_map(|(number, task)| {
            let goal = &self.goals[number];
            let lists = [&goal.search, &goal.select, &goal.report];
            lists.into_iter().flat_map(|items| task.requests(items))
        });
        engines.check(weights, &tokenizer, &all.collect::<Vec<_>>())
    }

    fn admits(&self, weights: &dyn Weights) -> Result<()> {
        match &self.engines {
            Some(engines) if engines.hold_adapters() => engines.check_shape(weights),
            _ => Ok(()),
        }
    }

    /// Tasks come first: a model that is broken there is no work for a judge.
    fn score(&self, candidate: &Candidate<'_>, items: &[Vec<ItemId>], listener: &mut Listener<'_>) -> Result<()> {
        let (asked, judged) = self.divide_for_judges(items);
        match &self.engines {
            Some(engines) => self.score_on(engines, candidate, &asked, &judged, listener),
            None if self.ask(candidate.weights()?, &asked, &judged, listener)?.is_break() => Ok(()),
            None => self.judge(candidate, None, &judged, listener),
        }
    }
}

/// Items of each task on which an engine is held against our own forward pass.
const FEW: usize = 16;
