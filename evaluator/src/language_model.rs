//! The trait of everything that answers requests, and functions that ask it.

use crate::{
    prompt::Conversation,
    request::{Answer, Request},
};
use merge_core::error::Result;
use std::ops::ControlFlow;

/// Receives the number of a request and its answer, as they come; `Break` asks the model to stop.
pub type AnswerListener<'a> = dyn FnMut(usize, Answer) -> Result<ControlFlow<()>> + 'a;

/// Anything that answers requests: our own forward pass, a server, or a test double.
///
/// A search asks only [`Transformer`](crate::answer::Transformer), because it has to give it weights.
pub trait LanguageModel {
    /// Answers each request once, in any order, unless it is interrupted. An answer depends on its
    /// own request alone, never on the other requests.
    fn answer(&mut self, requests: &[Request], listener: &mut AnswerListener<'_>) -> Result<()>;

    /// Form in which prompts become conversations; `None` if they do not.
    fn conversation(&self) -> Option<&Conversation> {
        None
    }
}

/// Returns all answers in the order of the requests, or `None` if the model was interrupted or
/// `watch` stopped it. `watch` is called with the number of each request that is answered.
pub fn watched(
    model: &mut dyn LanguageModel,
    requests: &[Request],
    watch: &mut dyn FnMut(usize) -> ControlFlow<()>,
) -> Result<Option<Vec<Answer>>> {
    let mut answers: Vec<Option<Answer>> = vec![None; requests.len()];
    model.answer(requests, &mut |number, answer| {
        answers[number] = Some(answer);
        Ok(watch(number))
    })?;
    Ok(answers.into_iter().collect())
}

/// Returns all answers, in the order of the requests.
///
/// # Panics
/// If the model leaves a request unanswered.
pub fn answers(model: &mut dyn LanguageModel, requests: &[Request]) -> Result<Vec<Answer>> {
    let answers = watched(model, requests, &mut |_| ControlFlow::Continue(()))?;
    Ok(answers.expect("a model answers every request"))
}
