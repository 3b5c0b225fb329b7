//! Asks a candidate the items of tasks: on an engine that is given its weights, or by our own forward pass.

use super::{AnsweredItem, Benchmarks, GoalScorer, ItemChunk};
use crate::{
    answer::Transformer,
    engine::{Engines, GivenModel},
    language_model::LanguageModel,
};
use merge_core::{
    error::Result,
    item::ItemId,
    model::Weights,
    study::{Candidate, Listener, News},
};
use std::{ops::ControlFlow, sync::Arc};

impl Benchmarks {
    /// Asks a model all these items, unless it is broken: then all items left, `later` included, get the worst score.
    pub(super) fn ask(
        &self,
        weights: &dyn Weights,
        items: &[Vec<ItemId>],
        later: &[Vec<ItemId>],
        listener: &mut Listener<'_>,
    ) -> Result<ControlFlow<()>> {
        let chunks = self.chunks(weights, items);
        // Inside the thread pool: each operation of a model called from outside would have to wait for the pool.
        rayon::scope(|_| {
            let mut left = &chunks[..];
            while let Some(ItemChunk { in_pool, .. }) = left.first() {
                let n = left.iter().take_while(|chunk| chunk.in_pool == *in_pool).count();
                if self.ask_all(&mut self.load(weights, *in_pool)?, left, n, later, listener)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                left = &left[n..];
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// Loads a model into our own forward pass, for chunks that are or are not scored from the pool.
    pub fn load(&self, weights: &dyn Weights, in_pool: bool) -> Result<Transformer> {
        let tokenizer = self.tokenizer(weights)?;
        let model = if in_pool {
            Transformer::in_pool(&self.pool, weights, tokenizer)
        } else {
            Transformer::with_tokenizer(weights, tokenizer, &self.device)
        };
        Ok(model?.interruptible(self.interrupt.clone()))
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
                let chunks = self.cut(&asked, false);
                self.ask_all(model, &chunks, chunks.len(), judged, &mut listener)
            })?;
            if going_on.is_break() {
                return Ok(());
            }
        }
        self.judge(candidate, given.files(), judged, listener)
    }

    /// Asks a model items of a goal that is a task on the next free engine; `None` if it was interrupted.
    pub fn answered_on(
        &self,
        engines: &Engines,
        weights: &dyn Weights,
        given: &Arc<GivenModel>,
        goal: usize,
        items: &[ItemId],
    ) -> Result<Option<Vec<AnsweredItem>>> {
        engines.run(weights, given, &self.tokenizer(weights)?, |model| self.answered(model, goal, items))
    }

    /// Divides items into those of tasks and those of judges.
    pub(super) fn divide_for_judges(&self, items: &[Vec<ItemId>]) -> (Vec<Vec<ItemId>>, Vec<Vec<ItemId>>) {
        let divide = |(scorer, items): (&GoalScorer, &Vec<ItemId>)| match scorer {
            GoalScorer::Task(_) => (items.clone(), Vec::new()),
            GoalScorer::Judge(_) => (Vec::new(), items.clone()),
        };
        self.scorers.iter().zip(items).map(divide).unzip()
    }

    /// Asks a model the first `n` of these chunks. If it is broken, all items left, `later` included, get the worst score.
    fn ask_all(
        &self,
        model: &mut dyn LanguageModel,
        chunks: &[ItemChunk],
        n: usize,
        later: &[Vec<ItemId>],
        listener: &mut Listener<'_>,
    ) -> Result<ControlFlow<()>> {
        for (number, ItemChunk { goal, items, .. }) in chunks[..n].iter().enumerate() {
            let Some(answered) = self.answered(model, *goal, items)? else { return Ok(ControlFlow::Break(())) };
            let news = self.news(&chunks[number..], answered, later)?;
            let is_over = matches!(news, News::GivenUp(..));
            if listener(news)?.is_break() || is_over {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
