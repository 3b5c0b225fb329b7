//! Answers many requests: looks up what is remembered, and computes the rest in batches of neighbours.

use super::{
    Transformer,
    batch::CachedSequence,
    open::{self, JobPlace, OpenRequest},
    question::{QuestionReader, SequenceJob},
};
use crate::{
    language_model::{AnswerListener, LanguageModel},
    model::rope::RopeStretch,
    prompt::{Conversation, common},
    request::Request,
};
use merge_core::error::Result;
use std::ops::ControlFlow;

impl LanguageModel for Transformer {
    fn conversation(&self) -> Option<&Conversation> {
        self.chat.as_ref()
    }

    /// Answers come in an order that depends on the requests alone, not on the batch or the memory. An interrupted
    /// model stops within a step of the decoder; finished answers are remembered, and told as far as the order allows.
    fn answer(&mut self, requests: &[Request], listener: &mut AnswerListener<'_>) -> Result<()> {
        let reader = QuestionReader {
            tokenizer: &self.tokenizer,
            specials: &self.specials,
            chat: self.chat.as_ref(),
            context: self.network.decoder.blueprint().context,
        };
        let Some((mut open, mut places)) = open::places(reader, requests, &self.interrupt)? else { return Ok(()) };
        // Neighbours share the longest beginnings.
        places.sort_by(|a, b| (self.stretch(a), &a.job.sequence).cmp(&(self.stretch(b), &b.job.sequence)));
        let mut complete_at = vec![0; requests.len()];
        for (position, place) in places.iter().enumerate() {
            complete_at[place.request] = position + 1;
        }
        let mut order: Vec<usize> = (0..requests.len()).collect();
        order.sort_by_key(|number| complete_at[*number]);
        let mut order = &order[..];
        let tokenizer = self.tokenizer.clone();
        let mut tell = |open: &mut [OpenRequest]| -> Result<ControlFlow<()>> {
            while let Some((number, later)) = order.split_first()
                && open[*number].is_complete()
            {
                order = later;
                if listener(*number, open[*number].answer(&requests[*number], &tokenizer)?)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        };
        let rest = open::look_up(self.memory.as_ref(), places, &mut open)?;
        if self.memory.is_some() {
            self.recalled += open.iter().filter(|open| open.is_complete()).count();
        }
        let mut cache = self.network.decoder.cache()?;
        let mut before = CachedSequence::default();
        let mut rest = &rest[..];
        while tell(&mut open)?.is_continue() && !rest.is_empty() {
            let (batch, others) = rest.split_at(self.batch_len(rest));
            let jobs: Vec<&SequenceJob<'_>> = batch.iter().map(|place| &place.job).collect();
            let outcomes;
            (outcomes, before) = self.answer_batch(&mut cache, &jobs, &before)?;
            let interrupted = outcomes.iter().any(Option::is_none);
            if let Some(memory) = &self.memory {
                memory.keep(
                    jobs.iter().copied().zip(&outcomes).filter_map(|(job, outcome)| Some((job, outcome.as_ref()?))),
                )?;
            }
            for (place, outcome) in batch.iter().zip(outcomes) {
                open[place.request].parts[place.part] = outcome;
            }
            if interrupted {
                return tell(&mut open).map(drop);
            }
            if others.first().is_some_and(|next| self.stretch(next) != self.stretch(&batch[0])) {
                before = CachedSequence::default();
            }
            rest = others;
        }
        Ok(())
    }
}

impl Transformer {
    /// Choice of rotary frequencies for a sequence. Only sequences with the same choice can share rows of the cache.
    fn stretch(&self, place: &JobPlace<'_>) -> RopeStretch {
        self.network.decoder.stretch(place.job.sequence.tokens.len())
    }

    /// Number of jobs, at least one, that fit a batch. Rows that neighbours share count once.
    ///
    /// If possible, a batch ends where the next sequence wants no logits of shared tokens: those are gone by then.
    fn batch_len(&self, places: &[JobPlace<'_>]) -> usize {
        let most = self.batch.cache_bytes / self.network.decoder.row_bytes();
        let mut rows = 0;
        let mut before: &[u32] = &[];
        let alike = places.iter().take_while(|place| self.stretch(place) == self.stretch(&places[0]));
        let fitting = alike.take(self.batch.sequences).take_while(|JobPlace { job, .. }| {
            rows += job.sequence.tokens.len() - common(before, &job.sequence.tokens) + job.growth();
            before = &job.sequence.tokens;
            rows <= most
        });
        let len = fitting.count().max(1);
        let is_apart = |end: &usize| {
            let sequence = |i: usize| places.get(i).map(|place: &JobPlace<'_>| &place.job.sequence);
            let next = sequence(*end);
            next.is_none_or(|next| {
                sequence(*end - 1).is_none_or(|last| common(&last.tokens, &next.tokens) <= next.from)
            })
        };
        (1..=len).rev().find(is_apart).unwrap_or(len)
    }
}
