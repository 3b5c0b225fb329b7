//! Lengths of requests in tokens, by which the cost of a search is estimated.

use super::{
    open,
    question::{Purpose, QuestionReader},
};
use crate::{
    interrupt::Interrupt,
    model::config::Blueprint,
    prompt::{Specials, Tokenizer},
    request::Request,
};
use merge_core::{error::Result, model::Weights};

/// Tokens of requests, in total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestLengths {
    /// Number of requests.
    pub requests: usize,
    /// Tokens to read; a prompt that several continuations follow counts for each.
    pub read: usize,
    /// Most tokens to generate.
    pub generated: usize,
}

impl RequestLengths {
    /// The lengths of these requests to a model.
    ///
    /// Fails for a request that the model cannot answer.
    pub fn of(weights: &dyn Weights, tokenizer: &Tokenizer, requests: &[Request]) -> Result<Self> {
        let specials = Specials::of(weights, tokenizer)?;
        let context = context(weights).unwrap_or(usize::MAX / 2);
        let reader = QuestionReader { tokenizer, specials: &specials, chat: None, context };
        let places = open::places(reader, requests, &Interrupt::default())?.map_or_else(Vec::new, |(_, places)| places);
        let mut all = Self { requests: requests.len(), ..Self::default() };
        for place in places {
            all.read += place.job.sequence.tokens.len();
            all.generated += match place.job.purpose {
                Purpose::Generate { limit, .. } => limit,
                Purpose::Score { .. } => 0,
            };
        }
        Ok(all)
    }
}

/// Most tokens of a sequence that a model was made for, if its configuration says so.
pub(crate) fn context(weights: &dyn Weights) -> Option<usize> {
    let config = weights.config();
    Blueprint::read(config).ok().map(|blueprint| blueprint.context).or(config.count("max_position_embeddings").ok()?)
}
