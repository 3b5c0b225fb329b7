//! What a task asks of a model and what the model answers: text in, text and numbers out.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

/// A question to a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What comes first.
    pub prompt: Prompt,
    /// What is wanted after it.
    pub ask: Ask,
    /// How text becomes tokens.
    pub encoding: Encoding,
    /// A text that what is generated is compared with token by token: the tokens of both are wanted.
    pub compared: Option<String>,
}

/// A prompt in its parts, so that a model can leave examples out that it has no room for, or give each its turn in a chat.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prompt {
    /// What comes before all examples.
    pub head: String,
    /// Answered examples.
    pub shots: Vec<Shot>,
    /// What is asked in the end.
    pub question: String,
    /// A stretch of each example's question, in order, and one of the question: if the prompt is too long, these are cut at the
    /// end of a sentence, and no example is left out. Empty where prompts are not cut so.
    pub articles: Vec<String>,
}

/// An answered example of a prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shot {
    /// What was asked.
    pub question: String,
    /// What stands between the two.
    pub delimiter: String,
    /// What was answered.
    pub answer: String,
    /// What stands between this example and what follows.
    pub after: String,
}

/// What is wanted after a prompt.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Go on, greedily.
    Generate {
        /// Ends the answer when it appears; the stop text itself is not part of the answer.
        stop: Vec<String>,
        /// Most tokens to generate.
        limit: Limit,
    },
    /// How likely is each continuation?
    Choose {
        /// The continuations, each scored on its own after the prompt.
        choices: Vec<String>,
    },
    /// How likely is this text, which may be longer than the model's context? It is read in stretches, each after one token of
    /// the stretch before; the last is as long as the others, and what it repeats is not scored again. There is no prompt.
    Read {
        /// The text.
        text: String,
    },
}

/// Most tokens of a generated answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Limit {
    /// So many.
    Tokens(usize),
    /// As many as the longest of these texts has, and some more: a quirk of some protocols, which tells the model how long the
    /// right answer is.
    LongestOf(Vec<String>, usize),
}

/// How the text of a request becomes tokens. Harnesses differ here, and so do their scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Encoding {
    /// How a prompt and its continuation are put together.
    pub pairs: Pairs,
    /// Whether prompts are without the special tokens that the tokenizer puts around text, such as BOS.
    pub bare: bool,
    /// What stands in for a prompt without any token.
    pub start: SequenceStart,
}

/// How a prompt and its continuation become one sequence of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pairs {
    /// Each is encoded for itself (Stability's harness).
    Separate,
    /// White space at the end of the prompt moves to the continuation; both are encoded together and cut at the length of the
    /// encoded prompt (`EleutherAI`'s harness, which also scores the BOS token of a text that is read).
    Joint,
    /// Both are encoded together and cut where the encoded prompt stops being their beginning: every token that the
    /// continuation has a part in is scored.
    #[default]
    Common,
}

/// What stands in for a prompt without any token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SequenceStart {
    /// The beginning-of-sequence token; without one, the end-of-sequence token.
    #[default]
    Bos,
    /// The end-of-sequence token (Stability's harness).
    Eos,
}

/// What a model answers to a [`Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The answer itself.
    pub said: Said,
    /// How the prompt fitted the model.
    pub fit: Fit,
    /// Whether the model is broken: what it computed is not finite. It says nothing after that.
    #[serde(default)]
    pub broken: bool,
    /// The model's tokens of what it generated and of what that is compared with, each text by itself, if the request wants them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<[Vec<u32>; 2]>,
}

/// The answer itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Said {
    /// To [`Ask::Generate`].
    Text {
        /// The generated text, without special tokens and without the stop text.
        text: String,
        /// Tokens generated, the end-of-sequence token included.
        tokens: usize,
        /// Whether generation ended because the limit was reached (or the context was full).
        truncated: bool,
    },
    /// To [`Ask::Choose`], for each choice; to [`Ask::Read`], one.
    Likelihoods(Vec<Likelihood>),
}

/// How likely a text is after what came before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Likelihood {
    /// The summed log-likelihood of its tokens, in nats; minus infinity (in JSON, null) from a model that is broken.
    #[serde(deserialize_with = "impossible_is_null")]
    pub log: f64,
    /// Its tokens.
    pub tokens: usize,
    /// Whether it is what the model would have said: each token the likeliest at its place.
    pub greedy: bool,
}

/// How a prompt fitted the model: nothing is cut in silence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fit {
    /// Tokens of the prompt as it was asked.
    pub prompt_tokens: usize,
    /// Examples left out for want of room.
    pub dropped_shots: usize,
    /// Tokens cut after that, for want of room: from the beginning, or of articles.
    pub cut_tokens: usize,
    /// Continuations whose first token holds a part of the prompt as well.
    pub fused: usize,
}

/// JSON has no infinity.
fn impossible_is_null<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<f64, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or(f64::NEG_INFINITY))
}

impl Request {
    /// Roughly how many tokens it takes to answer this, apart from what many requests have in common: what may be generated, and a
    /// third of the bytes that are read.
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

    /// The text without the first so many examples.
    pub fn without(&self, shots: usize) -> String {
        let mut text = self.head.clone();
        for Shot { question, delimiter, answer, after } in &self.shots[shots..] {
            text.extend([question, delimiter, answer, after].map(String::as_str));
        }
        text + &self.question
    }
}
