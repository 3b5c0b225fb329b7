//! Who answers requests: the trait, and ways to ask.

use crate::{
    prompt::Conversation,
    request::{Answer, Request},
};
use merge_core::error::Result;
use std::ops::ControlFlow;

/// Takes the number of a request and its answer, as they come; `Break` asks the model to stop.
pub type AnswerListener<'a> = dyn FnMut(usize, Answer) -> Result<ControlFlow<()>> + 'a;

/// Anything that answers requests: our own forward pass, a server, or a double in a test.
///
/// An evaluation asks any of them. A search asks [`Transformer`](crate::answer::Transformer) alone, as it has to give it weights.
pub trait LanguageModel {
    /// Answers each request once, in any order, unless it is interrupted. An answer depends on its own request alone, never on
    /// what else is asked.
    fn answer(&mut self, requests: &[Request], listener: &mut AnswerListener<'_>) -> Result<()>;

    /// How prompts become conversations, if they do.
    fn conversation(&self) -> Option<&Conversation> {
        None
    }
}

/// All answers, in the order of the requests; `None` if the model was interrupted, or `watch`, which is told the number of each
/// request that is answered, broke it off.
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

/// All answers, in the order of the requests.
///
/// # Panics
/// If the model leaves a request out.
pub fn answers(model: &mut dyn LanguageModel, requests: &[Request]) -> Result<Vec<Answer>> {
    let answers = watched(model, requests, &mut |_| ControlFlow::Continue(()))?;
    Ok(answers.expect("a model answers every request"))
}
