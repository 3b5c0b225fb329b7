//! Tasks put to one model, all in one go, so that whatever their prompts share is computed once.

use crate::{
    language_model::{LanguageModel, watched},
    request::{Answer, Fit, Request, Said},
    task::{Benchmark, MarkedItem, Task as _},
};
use merge_core::{error::Result, item::ItemId};
use serde::Serialize;
use std::ops::ControlFlow;

/// A task and the items of it that are asked.
pub struct TaskItems<'a> {
    /// The task.
    pub task: &'a Benchmark,
    /// Its items.
    pub items: Vec<ItemId>,
}

/// Told each request that is answered; `Break` asks to stop.
pub type RequestWatch<'a> = dyn FnMut(&Request) -> ControlFlow<()> + 'a;

/// What did not go as a task asked for it: nothing is cut in silence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Mishaps {
    /// Generated answers that reached their limit.
    pub truncated: usize,
    /// Prompts that lost examples for want of room.
    pub shortened: usize,
    /// Examples that were lost.
    pub dropped_shots: usize,
    /// Prompts of which something was cut for want of room.
    pub cut: usize,
    /// Continuations whose first token holds a part of the prompt as well.
    pub fused: usize,
    /// Answers of a model that computes no numbers.
    pub broken: usize,
}

/// Puts tasks to a model and marks what it answers, task by task in the order of the items; `None` if the model was interrupted
/// or `watch` broke it off.
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
    /// Of all answers to a task.
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
