//! What a task asks of a model and what the model answers: text in, text and numbers out.

use merge_core::error::Result;

/// A question to a model.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Go on after the prompt, greedily.
    Generate {
        /// The text to go on from.
        prompt: String,
        /// Ends the answer when it appears; the stop text itself is not part of the answer.
        stop: Vec<String>,
        /// Most tokens to generate.
        max_tokens: usize,
    },
    /// How likely is each continuation of the prompt?
    Choose {
        /// The text that comes first.
        prompt: String,
        /// The continuations, each scored on its own after the prompt.
        choices: Vec<String>,
    },
}

/// What a model answers to a [`Request`].
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To [`Request::Generate`].
    Text {
        /// The generated text, without special tokens and without the stop text.
        text: String,
        /// Tokens generated, the end-of-sequence token included.
        tokens: usize,
        /// Whether generation ended because `max_tokens` was reached (or the context was full).
        truncated: bool,
    },
    /// To [`Request::Choose`]: the summed log-likelihood of each choice's tokens, in nats.
    LogLikelihoods(Vec<f64>),
}

/// Anything that answers: our own forward pass, or a double in a test.
pub trait LanguageModel {
    /// One answer for each request, in order. An answer depends on its own request alone, never on what else is asked.
    fn answer(&mut self, requests: &[Request]) -> Result<Vec<Answer>>;
}
