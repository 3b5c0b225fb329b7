//! Answers many requests: looks up what is remembered, and computes the rest in batches of neighbours.

use super::{
    Transformer,
    batch::CachedSequence,
    question::{AnswerPart, Outcome, Question, QuestionReader, SequenceJob},
};
use crate::{
    language_model::{AnswerListener, LanguageModel},
    model::rope::RopeStretch,
    prompt::{Conversation, Tokenizer, common},
    request::{Answer, Ask, Fit, Likelihood, Request, Said},
};
use merge_core::error::Result;
use rayon::prelude::*;
use std::ops::ControlFlow;

/// A request that is not answered yet.
struct OpenRequest {
    fit: Fit,
    parts: Vec<Option<Outcome>>,
}

/// A job, and the request and part of an answer that its outcome belongs to.
struct JobPlace<'a> {
    job: SequenceJob<'a>,
    request: usize,
    part: usize,
}

impl LanguageModel for Transformer {
    fn conversation(&self) -> Option<&Conversation> {
        self.chat.as_ref()
    }

    /// Answers come in an order that depends on the requests alone, not on the batch or the memory. An interrupted
    /// model stops within a step of the decoder; finished answers are remembered, and told as far as the order allows.
    fn answer(&mut self, requests: &[Request], listener: &mut AnswerListener<'_>) -> Result<()> {
        let Some((mut open, mut places)) = self.places(requests)? else { return Ok(()) };
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
        let rest = self.look_up(places, &mut open)?;
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
    /// Requests with their known parts, and the jobs to compute; `None` if interrupted.
    fn places<'a>(&self, requests: &'a [Request]) -> Result<Option<(Vec<OpenRequest>, Vec<JobPlace<'a>>)>> {
        let reader = QuestionReader {
            tokenizer: &self.tokenizer,
            specials: &self.specials,
            chat: self.chat.as_ref(),
            context: self.network.decoder.blueprint().context,
        };
        // A chat template may take long for each request.
        let question = |(i, request)| {
            let wanted = (!self.interrupt.is_set()).then(|| reader.question(request));
            wanted.map(|question| question.map_err(|e| e.at(format!("request {}", i + 1))))
        };
        let questions: Vec<Option<Result<Question<'_>>>> = requests.par_iter().enumerate().map(question).collect();
        let Some(questions) = questions.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
        let (mut open, mut places) = (Vec::with_capacity(requests.len()), Vec::new());
        for (request, question) in questions.into_iter().enumerate() {
            let Question { fit, parts } = question?;
            let mut known = Vec::with_capacity(parts.len());
            for (part, what) in parts.into_iter().enumerate() {
                known.push(match what {
                    AnswerPart::Known(outcome) => Some(outcome),
                    AnswerPart::Job(job) => {
                        places.push(JobPlace { job, request, part });
                        None
                    }
                });
            }
            open.push(OpenRequest { fit, parts: known });
        }
        Ok(Some((open, places)))
    }

    /// Puts remembered outcomes in their places; returns the jobs that are not remembered.
    fn look_up<'a>(&self, places: Vec<JobPlace<'a>>, open: &mut [OpenRequest]) -> Result<Vec<JobPlace<'a>>> {
        let Some(memory) = &self.memory else { return Ok(places) };
        let known = memory.recall(places.iter().map(|place| &place.job))?;
        let mut unknown = Vec::new();
        for (place, outcome) in places.into_iter().zip(known) {
            match outcome {
                Some(outcome) => open[place.request].parts[place.part] = Some(outcome),
                None => unknown.push(place),
            }
        }
        Ok(unknown)
    }

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

impl OpenRequest {
    fn is_complete(&self) -> bool {
        self.parts.iter().all(Option::is_some)
    }

    /// Joins the parts to an answer.
    fn answer(&mut self, request: &Request, tokenizer: &Tokenizer) -> Result<Answer> {
        let parts = std::mem::take(&mut self.parts).into_iter().flatten();
        let mut broken = false;
        let mut said = parts.map(|part| {
            broken |= part.broken;
            part.said
        });
        let said = match &request.ask {
            Ask::Generate { .. } => said.next().expect("a generation has one part"),
            Ask::Choose { .. } => Said::Likelihoods(said.flat_map(likelihoods).collect()),
            Ask::Read { .. } => {
                let none = Likelihood { log: 0.0, tokens: 0, greedy: true };
                let sum = |sum: Likelihood, more: Likelihood| Likelihood {
                    log: sum.log + more.log,
                    tokens: sum.tokens + more.tokens,
                    greedy: sum.greedy && more.greedy,
                };
                Said::Likelihoods(vec![said.flat_map(likelihoods).fold(none, sum)])
            }
        };
        let compared = match (&said, &request.compared) {
            (Said::Text { text, .. }, Some(other)) => {
                Some([tokenizer.encode_continuation(text)?, tokenizer.encode_continuation(other)?])
            }
            _ => None,
        };
        Ok(Answer { said, fit: self.fit, broken, compared })
    }
}

fn likelihoods(said: Said) -> Vec<Likelihood> {
    match said {
        Said::Likelihoods(values) => values,
        Said::Text { .. } => Vec::new(),
    }
}
