//! Requests that are not answered yet: their known parts, and the sequences that are still to be computed.

use super::{
    Memory,
    question::{AnswerPart, Outcome, Question, QuestionReader, SequenceJob},
};
use crate::{
    interrupt::Interrupt,
    prompt::Tokenizer,
    request::{Answer, Ask, Fit, Likelihood, Request, Said},
};
use merge_core::error::Result;
use rayon::prelude::*;

/// A request that is not answered yet.
pub(crate) struct OpenRequest {
    fit: Fit,
    pub(crate) parts: Vec<Option<Outcome>>,
}

/// A job, and the request and part of an answer that its outcome belongs to.
pub(crate) struct JobPlace<'a> {
    pub(crate) job: SequenceJob<'a>,
    pub(crate) request: usize,
    pub(crate) part: usize,
}

/// Requests with their known parts, and the jobs to compute; `None` if interrupted.
pub(crate) fn places<'a>(
    reader: QuestionReader<'_>,
    requests: &'a [Request],
    interrupt: &Interrupt,
) -> Result<Option<(Vec<OpenRequest>, Vec<JobPlace<'a>>)>> {
    // A chat template may take long for each request.
    let question = |(i, request)| {
        let wanted = (!interrupt.is_set()).then(|| reader.question(request));
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
pub(crate) fn look_up<'a>(
    memory: Option<&Memory>,
    places: Vec<JobPlace<'a>>,
    open: &mut [OpenRequest],
) -> Result<Vec<JobPlace<'a>>> {
    let Some(memory) = memory else { return Ok(places) };
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

impl OpenRequest {
    /// True if every part is known.
    pub(crate) fn is_complete(&self) -> bool {
        self.parts.iter().all(Option::is_some)
    }

    /// Joins the parts to an answer.
    pub(crate) fn answer(&mut self, request: &Request, tokenizer: &Tokenizer) -> Result<Answer> {
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
