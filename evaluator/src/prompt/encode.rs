//! Turns a prompt and its continuation into one sequence of tokens, as each harness does it.

use super::{Specials, Tokenizer};
use crate::{
    prompt::common,
    python,
    request::{Encoding, Pairs, SequenceStart},
};
use merge_core::error::{Error, Result};

/// Turns text into tokens for one model.
#[derive(Clone, Copy)]
pub(crate) struct Encoder<'a> {
    pub tokenizer: &'a Tokenizer,
    pub specials: &'a Specials,
    pub encoding: Encoding,
}

/// A prompt with a continuation, as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// The tokens of both.
    pub tokens: Vec<u32>,
    /// Index where the continuation begins; never 0.
    pub cut: usize,
    /// True if the first token of the continuation holds a part of the prompt.
    pub fused: bool,
}

impl Encoder<'_> {
    /// The tokens of a prompt: at least one.
    pub(crate) fn prompt(&self, text: &str) -> Result<Vec<u32>> {
        let tokens = self.whole(text)?;
        if tokens.is_empty() {
            return Ok(vec![self.start()?]);
        }
        Ok(tokens)
    }

    /// The tokens of a prompt with each of these continuations.
    pub(crate) fn pairs(&self, prompt: &str, continuations: &[String]) -> Result<Vec<Pair>> {
        let encoded = continuations.iter();
        match self.encoding.pairs {
            Pairs::Separate => {
                let tokens = self.prompt(prompt)?;
                encoded.map(|text| Ok(joined(&tokens, &self.tokenizer.encode_continuation(text)?))).collect()
            }
            Pairs::Joint if prompt.is_empty() => {
                let start = [self.start()?];
                let after = |text: &String| {
                    let tokens = self.tokenizer.encode_continuation(text)?;
                    Ok(joined(&start, tokens.strip_prefix(&start).unwrap_or(&tokens)))
                };
                encoded.map(after).collect()
            }
            Pairs::Joint => {
                let (prompt, space) = prompt.split_at(before_space(prompt));
                let tokens = self.whole(prompt)?;
                encoded.map(|text| self.joint(prompt, &tokens, &format!("{space}{text}"))).collect()
            }
            Pairs::Common => {
                let tokens = self.whole(prompt)?;
                encoded.map(|text| self.common(&tokens, self.whole(&format!("{prompt}{text}"))?)).collect()
            }
        }
    }

    /// The token before a text that is read, and the text's tokens, each of which is scored after those before it.
    pub(crate) fn reading(&self, text: &str) -> Result<(u32, Vec<u32>)> {
        let tokens = match self.encoding.pairs {
            Pairs::Joint => self.whole(text)?,
            Pairs::Separate | Pairs::Common => self.tokenizer.encode_continuation(text)?,
        };
        Ok((self.start()?, tokens))
    }

    fn joint(&self, prompt: &str, tokens: &[u32], continuation: &str) -> Result<Pair> {
        let whole = self.whole(&format!("{prompt}{continuation}"))?;
        if tokens.is_empty() || (whole.len() <= tokens.len() && !continuation.is_empty()) {
            // There is no prompt before it, or no token left to score.
            return self.common(tokens, whole);
        }
        let rest = whole.get(tokens.len()..).unwrap_or_default();
        Ok(Pair { fused: !whole.starts_with(tokens), ..joined(tokens, rest) })
    }

    fn common(&self, prompt: &[u32], mut whole: Vec<u32>) -> Result<Pair> {
        let mut cut = common(prompt, &whole);
        let fused = cut < prompt.len();
        if cut == 0 {
            let start = self.start()?;
            if whole.first() != Some(&start) {
                whole.insert(0, start);
            }
            cut = 1;
        }
        Ok(Pair { tokens: whole, cut, fused })
    }

    /// The tokens of a text from its beginning, with special tokens around it unless it begins with one.
    fn whole(&self, text: &str) -> Result<Vec<u32>> {
        let Specials { bos, eos, .. } = self.specials;
        let written = bos.or(*eos).and_then(|token| self.tokenizer.name(token));
        if self.encoding.bare || written.is_some_and(|start| text.starts_with(&start)) {
            return self.tokenizer.encode_continuation(text);
        }
        self.tokenizer.encode_prompt(text)
    }

    fn start(&self) -> Result<u32> {
        let Specials { bos, eos, .. } = *self.specials;
        let start = match self.encoding.start {
            SequenceStart::Bos => bos.or(eos),
            SequenceStart::Eos => eos,
        };
        start.ok_or_else(|| {
            let wanted = match self.encoding.start {
                SequenceStart::Bos => "bos_token or eos_token",
                SequenceStart::Eos => "eos_token",
            };
            Error::user(format!("the prompt has no tokens, and the model has no {wanted} to use instead"))
                .hint("tokenizer_config.json or config.json names it")
        })
    }
}

fn joined(prompt: &[u32], continuation: &[u32]) -> Pair {
    Pair { tokens: [prompt, continuation].concat(), cut: prompt.len(), fused: false }
}

/// Index of the white space at the end of a text, as Python's `str.rstrip` finds it.
pub(crate) fn before_space(text: &str) -> usize {
    text.trim_end_matches(python::is_space).len()
}
