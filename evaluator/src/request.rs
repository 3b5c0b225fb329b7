//! Requests of a task to a model, and the model's answers: text goes in, text and numbers come out.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// One request to a model: a prompt, and the kind of answer that is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Prompt: the text before the answer.
    pub prompt: Prompt,
    /// Kind of answer that is wanted.
    pub ask: Ask,
    /// Rules by which text becomes tokens.
    pub encoding: Encoding,
    /// Text to compare with the generated text, token by token. If set, the answer has both texts' tokens.
    pub compared: Option<String>,
}

/// A prompt in parts, so that examples can be left out if there is no room, or get their own turn in a chat.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompt {
    /// Text before all examples.
    pub head: String,
    /// Answered examples.
    pub shots: Vec<Shot>,
    /// Final question.
    pub question: String,
    /// A stretch of each example's question, in order, and one of the final question. If the prompt is too long, these
    /// are cut at the end of a sentence and no example is left out. Empty for prompts that are not cut so.
    pub articles: Vec<String>,
}

/// An answered example of a prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shot {
    /// Question of the example.
    pub question: String,
    /// Text between question and answer.
    pub delimiter: String,
    /// Answer of the example.
    pub answer: String,
    /// Text between this example and the next part of the prompt.
    pub after: String,
}

/// Kind of answer that a request wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Greedy generation.
    Generate {
        /// Texts that end the answer. The stop text itself is not part of the answer.
        stop: Vec<String>,
        /// Most tokens to generate.
        limit: Limit,
    },
    /// The likelihood of each continuation.
    Choose {
        /// The continuations, each scored on its own after the prompt.
        choices: Vec<String>,
    },
    /// The likelihood of a text without a prompt, which may be longer than the context. It is read in windows, each
    /// after one token of the window before. The last is as long as the others; tokens it repeats are not scored again.
    Read {
        /// The text.
        text: String,
    },
}

/// Most tokens of a generated answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Limit {
    /// This number of tokens.
    Tokens(usize),
    /// As many tokens as the longest of these texts has, plus a number: a quirk of some protocols,
    /// which tells the model how long the right answer is.
    LongestOf(Vec<String>, usize),
}

/// Rules by which the text of a request becomes tokens. Harnesses differ here, and so do their scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Encoding {
    /// Way in which a prompt and its continuation are joined.
    pub pairs: Pairs,
    /// True to leave out the special tokens that the tokenizer puts around text, such as BOS.
    pub bare: bool,
    /// Token that stands in for a prompt without any token.
    pub start: SequenceStart,
}

/// Way in which a prompt and its continuation become one sequence of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pairs {
    /// Each is encoded by itself (Stability's harness).
    Separate,
    /// White space at the end of the prompt moves to the continuation; both are encoded together and cut at the length of the
    /// encoded prompt (`EleutherAI`'s harness, which also scores the BOS token of a text that is read).
    Joint,
    /// Both are encoded together and cut at the first token that differs from the encoded prompt:
    /// every token that holds a part of the continuation is scored.
    #[default]
    Common,
}

/// Token that stands in for a prompt without any token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SequenceStart {
    /// The beginning-of-sequence token; without one, the end-of-sequence token.
    #[default]
    Bos,
    /// The end-of-sequence token (Stability's harness).
    Eos,
}

/// Answer of a model to a [`Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Generated text, or likelihoods.
    pub said: Said,
    /// Fit of the prompt into the model's context.
    pub fit: Fit,
    /// True if the model computed a number that is not finite. It generates nothing after that.
    #[serde(default)]
    pub broken: bool,
    /// Tokens of the generated text and of [`Request::compared`], each encoded by itself, if the request has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<[Vec<u32>; 2]>,
}

/// Generated text, or likelihoods.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Said {
    /// Answer to [`Ask::Generate`].
    Text {
        /// The generated text, without special tokens and without the stop text.
        text: String,
        /// Number of tokens generated, the end-of-sequence token included.
        tokens: usize,
        /// True if generation ended because the limit was reached (or the context was full).
        truncated: bool,
    },
    /// Answer to [`Ask::Choose`], one for each choice; to [`Ask::Read`], a single one.
    Likelihoods(Vec<Likelihood>),
}

/// Likelihood of a text after the text before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Likelihood {
    /// Sum of its tokens' log-likelihoods, in nats; minus infinity (in JSON, null) from a broken model.
    #[serde(deserialize_with = "impossible_is_null")]
    pub log: f64,
    /// Number of its tokens.
    pub tokens: usize,
    /// True if greedy generation would give this text: each token is the likeliest at its place.
    pub greedy: bool,
}

/// Fit of a prompt into the model's context: nothing is cut without being counted here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fit {
    /// Tokens of the whole prompt, before anything is left out.
    pub prompt_tokens: usize,
    /// Examples left out for want of room.
    pub dropped_shots: usize,
    /// Tokens cut after that for want of room, from the beginning or from articles.
    pub cut_tokens: usize,
    /// Continuations whose first token holds a part of the prompt as well.
    pub fused: usize,
}

/// Reads null as minus infinity, because JSON has no infinity.
fn impossible_is_null<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NEG_INFINITY))
}

impl Request {
    /// Rough number of tokens to compute for this request, without the parts that many requests
    /// share: the tokens that may be generated, and a third of the bytes to read.
    pub fn effort(&self) -> usize {
        let bytes = |texts: &[String]| texts.iter().map(String::len).sum::<usize>();
        let (read, generated) = match &self.ask {
            Ask::Generate { limit: Limit::Tokens(limit), .. } => (0, *limit),
            Ask::Generate { limit: Limit::LongestOf(texts, more), .. } => {
                (0, texts.iter().map(String::len).max().unwrap_or(0) / 3 + more)
            }
            Ask::Choose { choices } => (bytes(choices), 0),
            Ask::Read { text } => (text.len(), 0),
        };
        (self.prompt.question.len() + read) / 3 + generated
    }
}

impl Prompt {
    /// A prompt without examples.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { question: text.into(), ..Self::default() }
    }

    /// The whole text.
    pub fn text(&self) -> String {
        self.without(0)
    }

    /// The text without the first `shots` examples.
    pub fn without(&self, shots: usize) -> String {
        let mut text = self.head.clone();
        for Shot { question, delimiter, answer, after } in &self.shots[shots..] {
            text.extend([question, delimiter, answer, after].map(String::as_str));
        }
        text + &self.question
    }
}
