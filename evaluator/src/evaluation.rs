//! Evaluates one model on several tasks at once, so that beginnings that prompts share are computed once.

use crate::{
    language_model::{LanguageModel, watched},
    request::{Answer, Fit, Request, Said},
    task::{Benchmark, MarkedItem, Task as _},
};
use merge_core::{error::Result, item::ItemId};
use serde::Serialize;
use std::ops::ControlFlow;

/// A task and the items to ask of it.
pub struct TaskItems<'a> {
    /// The task.
    pub task: &'a Benchmark,
    /// Items to ask.
    pub items: Vec<ItemId>,
}

/// Called with each request that is answered; `Break` asks to stop.
pub type RequestWatch<'a> = dyn FnMut(&Request) -> ControlFlow<()> + 'a;

/// Counts of answers that did not go as the task asked: nothing is cut without being counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Mishaps {
    /// Generated answers that reached their limit.
    pub truncated: usize,
    /// Prompts that lost examples for want of room.
    pub shortened: usize,
    /// Examples lost in all.
    pub dropped_shots: usize,
    /// Prompts of which tokens were cut for want of room.
    pub cut: usize,
    /// Continuations whose first token holds a part of the prompt as well.
    pub fused: usize,
    /// Answers of a model that computed a number that is not finite.
    pub broken: usize,
}

/// Asks a model the items of these tasks and marks its answers, task by task in the order of the
/// items. Returns `None` if the model was interrupted or `watch` stopped it.
pub fn evaluate(
    model: &mut dyn LanguageModel,
    asked: &[TaskItems<'_>],
    watch: &mut RequestWatch<'_>,
) -> Result<Option<Vec<Vec<MarkedItem>>>> {
    let requests: Vec<Request> = asked.iter().flat_map(|asked| asked.task.requests(&asked.items)).collect();
    let Some(answers) = watched(model, &requests, &mut |number| watch(&requests[number]))? else { return Ok(None) };
    let mut rest = &answers[..];
    let marked = asked.iter().map(|asked| {
        let (own, others) = rest.split_at(asked.task.requests(&asked.items).len());
        rest = others;
        asked.task.marked(&asked.items, own)
    });
    marked.collect::<Result<_>>().map(Some)
}

impl Mishaps {
    /// Counts the mishaps in all answers to a task.
    pub fn of(marked: &[MarkedItem]) -> Self {
        let mut all = Self::default();
        for Answer { said, fit: Fit { dropped_shots, cut_tokens, fused, .. }, broken, .. } in
            marked.iter().flat_map(|marked| &marked.answers)
        {
            all.truncated += usize::from(matches!(said, Said::Text { truncated: true, .. }));
            all.shortened += usize::from(*dropped_shots > 0);
            all.dropped_shots += dropped_shots;
            all.cut += usize::from(*cut_tokens > 0);
            all.fused += fused;
            all.broken += usize::from(*broken);
        }
        all
    }
}
