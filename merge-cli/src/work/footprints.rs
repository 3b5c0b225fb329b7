//! What an eval asks, as far as it says how much memory a model takes that is asked it.

use super::eval_tasks::{self, asked};
use crate::{args::Eval, work::shelf::shelf};
use evaluator::{
    answer::{Batch, Footprint},
    prompt::Tokenizer,
    request::Request,
    task::Task as _,
};
use merge_core::{error::Result, model::Weights};
use std::cmp::Reverse;

/// What is asked side by side, and takes most.
pub(crate) struct Footprints {
    requests: Vec<Request>,
    batch: Batch,
}

impl Footprints {
    /// Fails as the eval would that has no task to ask.
    pub(crate) fn of(args: &Eval) -> Result<Self> {
        let chosen = eval_tasks::read(args, &shelf()?)?;
        let asked = asked(args, &chosen.suite.tasks)?;
        let mut requests: Vec<Request> = asked.iter().flat_map(|asked| asked.task.requests(&asked.items)).collect();
        let batch = batch(args);
        requests.sort_by_key(|request| Reverse(request.effort()));
        requests.truncate(batch.sequences);
        Ok(Self { requests, batch })
    }

    /// Of a model that is asked.
    pub(crate) fn footprint(&self, weights: &dyn Weights) -> Result<Footprint> {
        Footprint::of(weights, &Tokenizer::of(weights)?, std::slice::from_ref(&self.requests), self.batch)
    }
}

/// How much is answered side by side.
pub(crate) fn batch(args: &Eval) -> Batch {
    let usual = Batch::default();
    Batch { sequences: args.batch.map_or(usual.sequences, usize::from), ..usual }
}
