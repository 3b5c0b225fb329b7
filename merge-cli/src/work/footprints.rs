//! Estimates the memory that an eval needs for one model.

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

/// The most expensive requests that are answered at the same time.
pub(crate) struct Footprints {
    requests: Vec<Request>,
    batch: Batch,
}

impl Footprints {
    /// Reads the requests of an eval; fails if it has no task to ask.
    pub(crate) fn of(args: &Eval) -> Result<Self> {
        let chosen = eval_tasks::read(args, &shelf()?)?;
        let asked = asked(args, &chosen.suite.tasks)?;
        let mut requests: Vec<Request> = asked.iter().flat_map(|asked| asked.task.requests(&asked.items)).collect();
        let batch = batch(args);
        requests.sort_by_key(|request| Reverse(request.effort()));
        requests.truncate(batch.sequences);
        Ok(Self { requests, batch })
    }

    /// The footprint of a model that answers them.
    pub(crate) fn footprint(&self, weights: &dyn Weights) -> Result<Footprint> {
        Footprint::of(weights, &Tokenizer::of(weights)?, std::slice::from_ref(&self.requests), self.batch)
    }
}

/// Limits of what is answered at the same time.
pub(crate) fn batch(args: &Eval) -> Batch {
    let usual = Batch::default();
    Batch { sequences: args.batch.map_or(usual.sequences, usize::from), ..usual }
}
