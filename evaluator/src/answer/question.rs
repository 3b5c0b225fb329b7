//! Turns requests into sequences of tokens that fit the model's context, and counts what did not fit.

use crate::{
    model::prefill::Sequence,
    prompt::{Conversation, Encoder, Specials, Tokenizer, cut},
    request::{Ask, Encoding, Fit, Likelihood, Limit, Prompt, Request, Said},
};
use merge_core::{
    error::{Error, Result},
    words::counted,
};
use serde::{Deserialize, Serialize};

/// A request in the form in which a model computes it.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    /// Fit of the prompt.
    pub fit: Fit,
    /// One part for a generated answer, or one for each likelihood.
    pub parts: Vec<AnswerPart<'a>>,
}

/// A part of an answer.
#[derive(Debug)]
pub(crate) enum AnswerPart<'a> {
    /// Needs no computation: no token may be generated, or none is to be scored.
    Known(Outcome),
    /// Must be computed.
    Job(SequenceJob<'a>),
}

/// A sequence and the purpose of its logits.
#[derive(Debug)]
pub(crate) struct SequenceJob<'a> {
    /// Tokens to compute.
    pub sequence: Sequence,
    /// Purpose of their logits.
    pub purpose: Purpose<'a>,
}

/// Purpose of logits.
#[derive(Debug)]
pub(crate) enum Purpose<'a> {
    /// Greedy generation.
    Generate { stop: &'a [String], limit: usize },
    /// Likelihood of these tokens. Target `i` follows position `from + i`.
    Score { targets: Vec<u32> },
}

/// Outcome of a part of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// The text, or one likelihood.
    pub said: Said,
    /// True if a computed number is not finite.
    pub broken: bool,
}

/// Turns requests into questions.
#[derive(Clone, Copy)]
pub(crate) struct QuestionReader<'a> {
    pub tokenizer: &'a Tokenizer,
    pub specials: &'a Specials,
    pub chat: Option<&'a Conversation>,
    /// Most tokens of a sequence.
    pub context: usize,
}

impl SequenceJob<'_> {
    /// The outcome before anything is computed.
    pub(crate) fn outcome(&self) -> Outcome {
        match &self.purpose {
            Purpose::Generate { .. } => Outcome::text(String::new(), 0, true),
            Purpose::Score { targets } => Outcome::certain(targets.len()),
        }
    }

    /// Most rows of the cache beyond the sequence's own: the last generated token is not computed.
    pub(crate) fn growth(&self) -> usize {
        match self.purpose {
            Purpose::Generate { limit, .. } => limit - 1,
            Purpose::Score { .. } => 0,
        }
    }
}

impl Outcome {
    pub(crate) fn text(text: String, tokens: usize, truncated: bool) -> Self {
        Self { said: Said::Text { text, tokens, truncated }, broken: false }
    }

    fn certain(tokens: usize) -> Self {
        Self { said: Said::Likelihoods(vec![Likelihood { log: 0.0, tokens, greedy: true }]), broken: false }
    }
}

impl QuestionReader<'_> {
    /// Fails for a request that no model with this context can answer, and for a model without the tokens it needs.
    pub(crate) fn question(self, request: &Request) -> Result<Question<'_>> {
        // A chat template writes the special tokens itself.
        let encoding = Encoding { bare: request.encoding.bare || self.chat.is_some(), ..request.encoding };
        let encoder = Encoder { tokenizer: self.tokenizer, specials: self.specials, encoding };
        match &request.ask {
            Ask::Generate { stop, limit } => self.generate(encoder, &request.prompt, stop, limit),
            Ask::Choose { choices } => self.choose(encoder, &request.prompt, choices),
            Ask::Read { text } => {
                if request.prompt != Prompt::default() {
                    return Err(Error::user("a text to read must have no prompt before it"));
                }
                self.read(Encoder { encoding: request.encoding, ..encoder }, text)
            }
        }
    }

    fn generate<'a>(
        self,
        encoder: Encoder<'_>,
        prompt: &Prompt,
        stop: &'a [String],
        limit: &Limit,
    ) -> Result<Question<'a>> {
        let limit = self.tokens(limit)?;
        let Some(room) = self.context.checked_sub(limit).filter(|room| *room > 0) else {
            let context = self.context;
            return Err(Error::user(format!(
                "an answer of {} leaves the prompt no room in a context of {context}",
                counted(limit, "token")
            ))
            .hint("let the answer have fewer tokens, or take a model with a longer context"));
        };
        let mut fit = Fit::default();
        let mut tokens = encoder.prompt(&self.text(prompt, 0)?)?;
        fit.prompt_tokens = tokens.len();
        if tokens.len() > room && !prompt.articles.is_empty() && self.chat.is_none() {
            let stop = stop.first().map_or("", String::as_str);
            tokens = encoder.prompt(&cut(prompt, stop, room, self.tokenizer)?)?;
            fit.cut_tokens = fit.prompt_tokens.saturating_sub(tokens.len());
        }
        while tokens.len() > room && prompt.articles.is_empty() && fit.dropped_shots < prompt.shots.len() {
            fit.dropped_shots += 1;
            tokens = encoder.prompt(&self.text(prompt, fit.dropped_shots)?)?;
        }
        let cut = tokens.len().saturating_sub(room);
        tokens.drain(..cut);
        fit.cut_tokens += cut;
        let part = if limit == 0 {
            AnswerPart::Known(Outcome::text(String::new(), 0, true))
        } else {
            let sequence = Sequence { from: tokens.len() - 1, tokens };
            AnswerPart::Job(SequenceJob { sequence, purpose: Purpose::Generate { stop, limit } })
        };
        Ok(Question { fit, parts: vec![part] })
    }

    fn choose(self, encoder: Encoder<'_>, prompt: &Prompt, choices: &[String]) -> Result<Question<'static>> {
        let pairs = encoder.pairs(&self.text(prompt, 0)?, choices)?;
        let mut fit = Fit::default();
        let mut parts = Vec::with_capacity(pairs.len());
        for (i, pair) in pairs.into_iter().enumerate() {
            // The last token is scored but not computed.
            let cut = pair.tokens.len().saturating_sub(self.context + 1);
            if pair.cut <= cut {
                let (choice, len) = (i + 1, pair.tokens.len() - pair.cut);
                return Err(Error::user(format!(
                    "choice {choice} has {}, but the context has only {}",
                    counted(len, "token"),
                    self.context
                ))
                .hint("take a model with a longer context"));
            }
            fit.prompt_tokens = fit.prompt_tokens.max(pair.cut);
            fit.cut_tokens = fit.cut_tokens.max(cut);
            fit.fused += usize::from(pair.fused);
            parts.push(score(&pair.tokens[cut..], pair.cut - cut));
        }
        Ok(Question { fit, parts })
    }

    /// Makes the windows of lm-evaluation-harness: `get_rolling_token_windows` with 1 token of context, made disjoint.
    fn read(self, encoder: Encoder<'_>, text: &str) -> Result<Question<'static>> {
        let (start, tokens) = encoder.reading(text)?;
        let tokens = [&[start][..], &tokens].concat();
        let mut parts = Vec::new();
        let mut scored = 1;
        while scored < tokens.len() {
            let end = tokens.len().min(scored + self.context);
            let first = end.saturating_sub(self.context + 1);
            parts.push(score(&tokens[first..end], scored - first));
            scored = end;
        }
        Ok(Question { fit: Fit::default(), parts })
    }

    fn text(self, prompt: &Prompt, dropped: usize) -> Result<String> {
        match self.chat {
            Some(chat) => chat.text(prompt, dropped),
            None => Ok(prompt.without(dropped)),
        }
    }

    fn tokens(self, limit: &Limit) -> Result<usize> {
        match limit {
            Limit::Tokens(limit) => Ok(*limit),
            Limit::LongestOf(texts, more) => {
                let len = |text: &String| Ok(self.tokenizer.encode_continuation(text)?.len());
                let lens = texts.iter().map(len).collect::<Result<Vec<_>>>()?;
                Ok(lens.into_iter().max().unwrap_or(0) + more)
            }
        }
    }
}

/// A part that scores the tokens from `cut` on, after those before.
fn score(tokens: &[u32], cut: usize) -> AnswerPart<'static> {
    let targets = tokens[cut..].to_vec();
    if targets.is_empty() {
        return AnswerPart::Known(Outcome::certain(0));
    }
    let sequence = Sequence { tokens: tokens[..tokens.len() - 1].to_vec(), from: cut - 1 };
    AnswerPart::Job(SequenceJob { sequence, purpose: Purpose::Score { targets } })
}
