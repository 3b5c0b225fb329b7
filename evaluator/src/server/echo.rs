//! Log-likelihoods of a text that a server echoes, and the place of the continuation in it.

use crate::request::Likelihood;
use serde_json::Value;

/// Tokens of a text with their log-likelihoods.
pub(crate) struct Echo {
    place: Place,
    /// Log-likelihood of each token; `None` for the first token of a text, and for a value that is not a number.
    logs: Vec<Option<f64>>,
    /// Log-likelihood of the likeliest token at each place. Servers name tokens by text, so all
    /// tokens that are part of a character look alike: one of them may wrongly seem the likeliest.
    best: Vec<Option<f64>>,
    /// Number of tokens of the text as the server counts them, BOS included.
    counted: Option<usize>,
}

/// Places of the tokens in the text.
enum Place {
    /// Ids of the text's tokens, of a server that tells them: the only exact place of a token that is part of a
    /// character.
    Ids(Vec<u32>),
    /// Start and end of each token, in characters, of a server that tells only texts.
    Spans {
        /// A token that is part of a character has no length; a generated token starts at the end of the text.
        spans: Vec<(usize, usize)>,
        /// Start of the continuation.
        cut: usize,
        /// End of the continuation.
        end: usize,
    },
}

/// vLLM writes tokens so if it is asked for their ids: `token_id:12`.
const ID: &str = "token_id:";

/// Likelihood of a stretch of the text.
pub(crate) struct EchoScore {
    pub likelihood: Likelihood,
    /// Number of tokens before it.
    pub before: usize,
    /// True if its first token holds a part of the text before it.
    pub fused: bool,
    /// True if a log-likelihood is not a number.
    pub broken: bool,
}

impl Echo {
    /// Reads `choices[0].logprobs` of an answer to `text`, which begins with `prompt`.
    ///
    /// Fails if it has no log-likelihoods, or if its tokens cannot be placed in the text.
    pub(crate) fn read(answer: &Value, prompt: &str, text: &str) -> Result<Self, String> {
        let list = |name: &str| answer["choices"][0]["logprobs"][name].as_array();
        let (Some(tokens), Some(logs), Some(top)) = (list("tokens"), list("token_logprobs"), list("top_logprobs"))
        else {
            return Err(
                "it has no log-likelihoods of the prompt: the server must know `echo` with `logprobs`, as vLLM \
                        does, and llama_cpp.server with --logits_all true"
                    .to_owned(),
            );
        };
        let tokens: Vec<&str> = tokens.iter().map(|token| token.as_str().unwrap_or_default()).collect();
        let counted = answer["usage"]["prompt_tokens"].as_u64().map(|tokens| tokens as usize);
        let best = |of: &Value| of.as_object()?.values().filter_map(Value::as_f64).max_by(f64::total_cmp);
        let (logs, best): (Vec<_>, Vec<_>) = (logs.iter().map(Value::as_f64).collect(), top.iter().map(best).collect());
        let ids: Option<Vec<u32>> = tokens.iter().map(|token| token.strip_prefix(ID)?.parse().ok()).collect();
        if let Some(mut ids) = ids {
            if logs.len() != ids.len() || best.len() != ids.len() || counted.is_none_or(|counted| counted > ids.len()) {
                return Err("its lists have different lengths".to_owned());
            }
            // The generated token follows.
            ids.truncate(counted.unwrap_or(ids.len()));
            return Ok(Self { place: Place::Ids(ids), logs, best, counted });
        }
        let end = text.chars().count();
        let starts = starts(&tokens, list("text_offset"), text);
        if starts.len() != tokens.len() || logs.len() != tokens.len() || best.len() != tokens.len() {
            return Err("its lists have different lengths".to_owned());
        }
        let ends = starts.iter().skip(1).copied().chain([end]);
        let spans: Vec<_> = starts.iter().copied().zip(ends).map(|(start, next)| (start, next.max(start))).collect();
        // Without BOS, llama_cpp.server 0.3 is one token late and leaves out the token it generated. With BOS, which it
        // does not list, it lists fewer tokens than it counts, and may have generated none.
        if starts.last().is_none_or(|last| *last < end) && counted.is_some_and(|counted| tokens.len() >= counted) {
            return Err(
                "its tokens cannot be placed in the text: llama_cpp.server must put BOS before prompts by itself \
                        (--kv_overrides tokenizer.ggml.add_bos_token=bool:true)"
                    .to_owned(),
            );
        }
        Ok(Self { place: Place::Spans { spans, cut: prompt.chars().count(), end }, logs, best, counted })
    }

    /// Ids of the text's tokens, if the server tells them.
    pub(crate) fn ids(&self) -> Option<&[u32]> {
        match &self.place {
            Place::Ids(ids) => Some(ids),
            Place::Spans { .. } => None,
        }
    }

    /// Likelihood of the continuation: of every token that holds a part of it. `prompt` are the ids of the prompt's
    /// tokens by themselves, for a server that tells ids.
    ///
    /// Fails if the server does not tell the likelihood of its first token.
    pub(crate) fn likelihood(&self, prompt: &[u32]) -> Result<EchoScore, String> {
        let scored = match &self.place {
            Place::Ids(ids) => {
                let same = ids.iter().zip(prompt).take_while(|(a, b)| a == b).count();
                (same..ids.len()).collect()
            }
            Place::Spans { .. } => self.scored(),
        };
        if scored.first().is_some_and(|first| *first == 0) {
            return Err("there is no prompt, and servers do not tell how likely a first token is".to_owned());
        }
        let fused = match &self.place {
            Place::Ids(_) => scored.first().is_some_and(|first| *first < prompt.len()),
            Place::Spans { spans, cut, .. } => scored.first().is_some_and(|first| spans[*first].0 < *cut),
        };
        Ok(EchoScore { fused, ..self.sum(&scored) })
    }

    /// Likelihood of the text without its first token, whose likelihood servers do not tell.
    pub(crate) fn reading(&self) -> Result<EchoScore, String> {
        let scored = self.scored();
        Ok(self.sum(scored.get(1..).ok_or("it has no token")?))
    }

    /// Positions of the tokens that hold a part of the continuation; of ids, those of all tokens.
    fn scored(&self) -> Vec<usize> {
        match &self.place {
            Place::Ids(ids) => (0..ids.len()).collect(),
            Place::Spans { spans, cut, end } => {
                let belongs = |(from, to): (usize, usize)| from < *end && (from >= *cut || to > *cut);
                (0..spans.len()).filter(|i| belongs(spans[*i])).collect()
            }
        }
    }

    fn sum(&self, scored: &[usize]) -> EchoScore {
        let mut likelihood = Likelihood { log: 0.0, tokens: scored.len(), greedy: true };
        let mut broken = false;
        for &i in scored {
            broken |= self.logs[i].is_none();
            likelihood.log += self.logs[i].unwrap_or(f64::NEG_INFINITY);
            likelihood.greedy &= self.logs[i].is_some() && self.logs[i] >= self.best[i];
        }
        let counted = self.counted.and_then(|counted| counted.checked_sub(scored.len()));
        let before = counted.unwrap_or_else(|| scored.first().copied().unwrap_or(self.logs.len()));
        EchoScore { likelihood, before, fused: false, broken }
    }
}

/// Start of each token in the text, in characters.
///
/// Servers count from different places: some count the text of BOS too, or the space that some
/// tokenizers put before everything. Some do not count at all.
fn starts(tokens: &[&str], offsets: Option<&Vec<Value>>, text: &str) -> Vec<usize> {
    let len = |token: &str| token.chars().count();
    let counted = || {
        let mut at = 0;
        let start = |token: &&str| {
            at += len(token);
            at - len(token)
        };
        tokens.iter().map(start).collect()
    };
    let offsets: Vec<usize> = offsets.map_or_else(counted, |offsets| {
        offsets.iter().map_while(|offset| offset.as_u64().map(|offset| offset as usize)).collect()
    });
    let (Some(first), Some(from)) = (tokens.first(), offsets.first()) else { return offsets };
    let before = if text.starts_with(first) {
        0
    } else if first.strip_prefix(' ').is_some_and(|rest| text.starts_with(rest)) {
        1
    } else {
        len(first)
    };
    offsets.iter().map(|offset| offset.saturating_sub(from + before)).collect()
}
