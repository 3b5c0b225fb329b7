//! Asks a candidate the items of tasks: on an engine that is given its weights, or by our own forward pass.

use super::{Benchmarks, GoalScorer};
use crate::{
    answer::{Transformer, health::HealthWatch},
    engine::Engines,
    language_model::{LanguageModel, watched},
    task::{Benchmark, OutputType, Task as _},
};
use merge_core::{
    error::Result,
    item::{ItemId, ItemScore},
    model::Weights,
    study::{Candidate, Goal, Listener, News},
};
use std::{collections::BTreeSet, ops::ControlFlow};

impl Benchmarks {
    /// Asks a model all these items, unless it is broken: then all items left, `later` included, get the worst score.
    ///
    /// A model with a layer path is scored on search items from the pool, which shares weights and computations; on all
    /// others, which choose and report the answer, it is scored as exported, with its folded weights rounded.
    pub(super) fn ask(
        &self,
        weights: &dyn Weights,
        items: &[Vec<ItemId>],
        later: &[Vec<ItemId>],
        listener: &mut Listener<'_>,
    ) -> Result<ControlFlow<()>> {
        let is_path = weights.path().is_some();
        let (ranking, rest) = self.divide_for_pool(items, is_path);
        // Inside the thread pool: each operation of a model called from outside would have to wait for the pool.
        rayon::scope(|_| {
            if ranking.iter().any(|items| !items.is_empty()) {
                let mut model = Transformer::in_pool(&self.pool, weights, self.tokenizer(weights)?)?
                    .interruptible(self.interrupt.clone());
                if self.ask_all(&mut model, &ranking, &joined(&rest, later), listener)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            if rest.iter().any(|items| !items.is_empty()) {
                let mut model = Transformer::with_tokenizer(weights, self.tokenizer(weights)?, &self.device)?
                    .interruptible(self.interrupt.clone());
                return self.ask_all(&mut model, &rest, later, listener);
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Scores a model on the next free engine. If that fails, the items that have no score yet are asked again elsewhere.
    /// Then judges score the same files.
    pub(super) fn score_on(
        &self,
        engines: &Engines,
        candidate: &Candidate<'_>,
        items: &[Vec<ItemId>],
        judged: &[Vec<ItemId>],
        listener: &mut Listener<'_>,
    ) -> Result<()> {
        let weights = candidate.weights()?;
        let is_asked = items.iter().any(|items| !items.is_empty());
        if is_asked {
            engines.check_shape(weights)?;
        }
        let given = engines.give(weights)?;
        if is_asked {
            let tokenizer = self.tokenizer(weights)?;
            let mut left = items.to_vec();
            let going_on = engines.run(weights, &given, &tokenizer, |model| {
                let asked = left.clone();
                let mut listener = |news: News| {
                    match &news {
                        News::Scores(goal, scores) => {
                            left[*goal].retain(|item| scores.iter().all(|(scored, _)| scored != item));
                        }
                        News::GivenUp(..) => left.iter_mut().for_each(Vec::clear),
                    }
                    listener(news)
                };
                self.ask_all(model, &asked, judged, &mut listener)
            })?;
            if going_on.is_break() {
                return Ok(());
            }
        }
        self.judge(candidate, given.files(), judged, listener)
    }

    /// Divides items into those of tasks and those of judges.
    pub(super) fn divide_for_judges(&self, items: &[Vec<ItemId>]) -> (Vec<Vec<ItemId>>, Vec<Vec<ItemId>>) {
        let divide = |(scorer, items): (&GoalScorer, &Vec<ItemId>)| match scorer {
            GoalScorer::Task(_) => (items.clone(), Vec::new()),
            GoalScorer::Judge(_) => (Vec::new(), items.clone()),
        };
        self.scorers.iter().zip(items).map(divide).unzip()
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
        for (goal, task) in self.asked() {
            let mut rest = &asked[goal][..];
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
                    let mut left = vec![Vec::new(); asked.len()];
                    left[goal] = rest.to_vec();
                    left[goal + 1..].clone_from_slice(&asked[goal + 1..]);
                    let news = News::GivenUp(verdict.to_string(), self.worst(&joined(&left, later)));
                    let _ = listener(news)?;
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

    /// Scores of items that are not asked because the model is broken.
    fn worst(&self, items: &[Vec<ItemId>]) -> Vec<Vec<(ItemId, ItemScore)>> {
        let worst = |(scorer, items): (&GoalScorer, &Vec<ItemId>)| {
            let score = ItemScore { value: scorer.worst(), tokens: 0, truncated: false };
            items.iter().map(|item| (*item, score)).collect()
        };
        self.scorers.iter().zip(items).map(worst).collect()
    }

    /// Number of items asked at once: enough to fill a batch, few enough that a power cut loses little
    /// and that a broken model with long answers wastes little. It depends on the task alone, so that a
    /// resumed search goes on at the same place.
    pub(super) fn chunk_len(&self, task: &Benchmark) -> usize {
        if task.output() == OutputType::GenerateUntil && self.engines.is_none() { 64 } else { 256 }
    }
}

/// Items of each goal, those of the first list first.
fn joined(first: &[Vec<ItemId>], then: &[Vec<ItemId>]) -> Vec<Vec<ItemId>> {
    first.iter().zip(then).map(|(first, then)| [&first[..], then].concat()).collect()
}
