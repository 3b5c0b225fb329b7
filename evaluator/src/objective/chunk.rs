//! Items that are scored as a whole or not at all, and the news that their answers are.

use super::{Benchmarks, GoalScorer};
use crate::{
    answer::health::{AnswerHealth, HealthWatch},
    language_model::{LanguageModel, watched},
    task::{Benchmark, OutputType, Task as _},
};
use merge_core::{
    error::Result,
    item::{ItemId, ItemScore},
    model::Weights,
    study::{Goal, News},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, ops::ControlFlow, slice};

/// Items of one goal whose scores are told together, so that a resumed search gets the same scores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ItemChunk {
    /// Number of the goal.
    pub goal: usize,
    /// Ids of the items, in the order in which a model is judged by its answers.
    #[schemars(with = "Vec<String>")]
    pub items: Vec<ItemId>,
    /// True if the model is loaded from the pool that candidates with a layer path share.
    pub in_pool: bool,
}

/// An item that was asked: its score, or why it cannot be marked, and the health of each answer.
pub struct AnsweredItem {
    /// The score.
    pub score: Result<ItemScore>,
    /// One entry for each answer, in order.
    pub answers: Vec<AnswerHealth>,
}

impl Benchmarks {
    /// The items of tasks, in the order in which a model is asked, unless engines here ask it.
    ///
    /// A model with a layer path is scored on search items from the pool, which shares weights and computations; on all
    /// others, which choose and report the answer, it is scored as exported, with its folded weights rounded.
    pub fn chunks(&self, weights: &dyn Weights, items: &[Vec<ItemId>]) -> Vec<ItemChunk> {
        if self.has_engines_elsewhere {
            return self.cut(items, false);
        }
        let is_path = weights.path().is_some();
        let divide = |(goal, items): (&Goal, &Vec<ItemId>)| {
            let search: BTreeSet<&ItemId> = if is_path { goal.search.iter().collect() } else { BTreeSet::new() };
            items.iter().partition::<Vec<ItemId>, _>(|item| search.contains(item))
        };
        let (ranking, rest): (Vec<_>, Vec<_>) = self.goals.iter().zip(items).map(divide).unzip();
        [self.cut(&ranking, true), self.cut(&rest, false)].concat()
    }

    /// Items of tasks, cut into chunks.
    pub(super) fn cut(&self, items: &[Vec<ItemId>], in_pool: bool) -> Vec<ItemChunk> {
        let of_task = |(goal, task): (usize, &Benchmark)| {
            let chunks = items[goal].chunks(self.chunk_len(task));
            chunks.map(|items| ItemChunk { goal, items: items.to_vec(), in_pool }).collect::<Vec<_>>()
        };
        self.asked().flat_map(of_task).collect()
    }

    /// Number of items asked at once: enough to fill a batch, few enough that a power cut loses little
    /// and that a broken model with long answers wastes little. It depends on the task alone, so that a
    /// resumed search goes on at the same place.
    pub(super) fn chunk_len(&self, task: &Benchmark) -> usize {
        let is_own = self.engines.is_none() && !self.has_engines_elsewhere;
        if task.output() == OutputType::GenerateUntil && is_own { 64 } else { 256 }
    }

    /// Asks a model items of a goal that is a task; `None` if it was interrupted.
    ///
    /// # Panics
    /// If the goal is a judge's, or an item is not one of the task's.
    pub fn answered(
        &self,
        model: &mut dyn LanguageModel,
        goal: usize,
        items: &[ItemId],
    ) -> Result<Option<Vec<AnsweredItem>>> {
        let GoalScorer::Task(task) = &self.scorers[goal] else { unreachable!("judges are not asked") };
        let stopping = || if self.interrupt.is_set() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let Some(answers) = watched(model, &task.requests(items), &mut |_| stopping())? else { return Ok(None) };
        let mut left = &answers[..];
        let of_item = |item: &ItemId| {
            let own = left.split_off(..task.requests_of(*item).len()).expect("each request is answered");
            AnsweredItem {
                score: task.mark(slice::from_ref(item), own).map(|scores| scores[0]),
                answers: own.iter().map(|answer| AnswerHealth::of(answer, task.expects_japanese())).collect(),
            }
        };
        Ok(Some(items.iter().map(of_item).collect()))
    }

    /// The news of the first of these chunks, whose items were answered so. If the model is broken, all items of the chunks
    /// and `later` get the worst score.
    ///
    /// Fails if an answer cannot be marked.
    pub fn news(&self, chunks: &[ItemChunk], answered: Vec<AnsweredItem>, later: &[Vec<ItemId>]) -> Result<News> {
        let mut watch = HealthWatch::default();
        for answer in answered.iter().flat_map(|item| &item.answers) {
            _ = watch.observe(*answer);
        }
        if let Some(verdict) = watch.verdict {
            let mut left = later.to_vec();
            for chunk in chunks {
                left[chunk.goal].extend(&chunk.items);
            }
            return Ok(News::GivenUp(verdict.to_string(), self.worst(&left)));
        }
        let first = &chunks[0];
        let scores = first.items.iter().zip(answered).map(|(item, answered)| Ok((*item, answered.score?)));
        Ok(News::Scores(first.goal, scores.collect::<Result<_>>()?))
    }

    /// Scores of items that are not asked because the model is broken.
    fn worst(&self, items: &[Vec<ItemId>]) -> Vec<Vec<(ItemId, ItemScore)>> {
        let worst = |(scorer, items): (&GoalScorer, &Vec<ItemId>)| {
            let score = ItemScore { value: scorer.worst(), tokens: 0, truncated: false };
            items.iter().map(|item| (*item, score)).collect()
        };
        self.scorers.iter().zip(items).map(worst).collect()
    }
}
