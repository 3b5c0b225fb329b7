//! A model behind a server that speaks the protocol of `OpenAI`, such as vLLM's or llama.cpp's.
//!
//! The server encodes prompt and continuation together, and every token that holds a part of the continuation is
//! scored. A request that asks for something else is refused: [`ModelServer::check_completion`]. Answers are never
//! remembered, because the server's weights are unknown.

mod echo;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

pub use self::wire::ServerWire;
pub(crate) use self::wire::is_local;

use self::{echo::Echo, wire::Refusal};
use super::prompt::{Conversation, before_space};
use crate::{
    language_model::{AnswerListener, LanguageModel},
    request::{Answer, Ask, Fit, Likelihood, Limit, Pairs, Prompt, Request, Said, SequenceStart},
};
use merge_core::error::{Error, Result};
use serde_json::{Map, Value, json};
use std::{
    ops::ControlFlow,
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

/// A model that answers over the network.
#[derive(Clone, Debug)]
pub struct ModelServer {
    wire: ServerWire,
    model: String,
    chat: Option<Conversation>,
    parallel: usize,
}

/// Requests in flight at once: enough to fill a server's batches, few enough for one that takes them in turn.
const PARALLEL: usize = 8;

impl ModelServer {
    /// A model of this name on a server; without a name, the first one that the server lists.
    ///
    /// Fails, without a name, if the server cannot be reached or lists no model.
    pub fn connect(wire: ServerWire, model: Option<String>) -> Result<Self> {
        let model = if let Some(model) = model {
            model
        } else {
            let models = wire.get("v1/models")?;
            let first = models["data"][0]["id"].as_str().map(str::to_owned);
            first.ok_or_else(|| Error::user(format!("{}: the server names no model", wire.address("v1/models"))))?
        };
        Ok(Self { wire, model, chat: None, parallel: PARALLEL })
    }

    /// The same model, asked as a conversation, which the server writes in the model's template;
    /// `system` comes before the prompt's head. It can generate then, but not score.
    #[must_use]
    pub fn chat(mut self, system: Option<String>) -> Self {
        self.chat = Some(Conversation::of_server(system));
        self
    }

    /// The same model with this number of requests in flight at once; zero counts as one.
    #[must_use]
    pub fn parallel(mut self, requests: usize) -> Self {
        self.parallel = requests.max(1);
        self
    }

    /// The model's name on the server.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Refuses a request that no server can answer exactly: one that needs the server's tokenizer, separate encoding of
    /// prompt and continuation, the likelihood of a first token, or a text after an EOS token.
    pub fn check_completion(request: &Request) -> Result<()> {
        let Request { prompt, ask, encoding, .. } = request;
        let refuse = |what: &str| {
            let hint = "take a protocol whose tasks have `encoding: {pairs: common}`, as strict has, or evaluate the checkpoint itself";
            Err(Error::user(what).hint(hint))
        };
        match ask {
            Ask::Generate { limit, .. } => {
                tokens(limit)?;
                shows_no_tokens(request)?;
                if !prompt.articles.is_empty() {
                    return refuse(
                        "a prompt that is too long is cut by tokens, but a server does not show its tokenizer",
                    );
                }
            }
            Ask::Choose { .. } if encoding.pairs == Pairs::Separate => {
                return refuse("prompt and choice must be encoded separately, but a server encodes them together");
            }
            Ask::Read { .. } if encoding.pairs == Pairs::Joint => {
                return refuse("the BOS token of a text is scored, but a server does not tell how likely it is");
            }
            Ask::Choose { .. } | Ask::Read { .. } => {}
        }
        if *prompt == Prompt::default() && encoding.start == SequenceStart::Eos {
            return refuse(
                "the text follows the end-of-sequence token, but a server puts its own start token before it",
            );
        }
        Ok(())
    }

    /// Refuses a request that no server can answer as a conversation: all but generation with a limit in tokens.
    pub fn check_conversation(request: &Request) -> Result<()> {
        match &request.ask {
            Ask::Generate { limit, .. } => tokens(limit).map(drop),
            Ask::Choose { .. } | Ask::Read { .. } => {
                Err(Error::user("a conversation cannot be scored: servers give no log-likelihoods of chat messages")
                    .hint("leave `--chat` out, or take a task that generates"))
            }
        }
    }

    fn answer_one(&self, request: &Request) -> Result<Answer> {
        if self.chat.is_some() {
            Self::check_conversation(request)?;
        } else {
            Self::check_completion(request)?;
        }
        match &request.ask {
            Ask::Generate { stop, limit } => self.generate(request, stop, tokens(limit)?),
            Ask::Choose { choices } => {
                let mut prompt = request.prompt.text();
                // Joint pairs move white space at the end of the prompt to the continuation.
                let end = if request.encoding.pairs == Pairs::Joint { before_space(&prompt) } else { prompt.len() };
                let space = prompt.split_off(end);
                let mut fit = Fit::default();
                let (mut values, mut broken) = (Vec::with_capacity(choices.len()), false);
                // The prompt's own tokens, once for all choices.
                let mut own: Option<Vec<u32>> = None;
                for choice in choices {
                    let echo = self.echo(request, &prompt, &format!("{space}{choice}"))?;
                    if echo.ids().is_some() && own.is_none() && !prompt.is_empty() {
                        own = self.echo(request, &prompt, "")?.ids().map(<[u32]>::to_vec);
                    }
                    let scored = echo.likelihood(own.as_deref().unwrap_or_default()).map_err(|e| self.unclear(&e))?;
                    fit.prompt_tokens = fit.prompt_tokens.max(scored.before);
                    fit.fused += usize::from(scored.fused);
                    broken |= scored.broken;
                    values.push(scored.likelihood);
                }
                Ok(Answer { said: Said::Likelihoods(values), fit, broken, compared: None })
            }
            Ask::Read { text } if text.is_empty() => {
                let none = Likelihood { log: 0.0, tokens: 0, greedy: true };
                Ok(Answer { said: Said::Likelihoods(vec![none]), fit: Fit::default(), broken: false, compared: None })
            }
            Ask::Read { text } => {
                let scored = self.echo(request, "", text)?.reading().map_err(|e| self.unclear(&e))?;
                let said = Said::Likelihoods(vec![scored.likelihood]);
                Ok(Answer { said, fit: Fit::default(), broken: scored.broken, compared: None })
            }
        }
    }

    /// Generates an answer, leaving out examples one by one until the server has room.
    fn generate(&self, request: &Request, stop: &[String], limit: usize) -> Result<Answer> {
        let mut fit = Fit::default();
        loop {
            let said = if limit == 0 {
                Ok(Said::Text { text: String::new(), tokens: 0, truncated: true })
            } else {
                self.complete(request, stop, limit, &mut fit)
            };
            match said {
                Ok(said) => return Ok(Answer { said, fit, broken: false, compared: None }),
                Err(Refusal::TooLong(_)) if fit.dropped_shots < request.prompt.shots.len() => fit.dropped_shots += 1,
                Err(refusal) => return Err(refusal.into()),
            }
        }
    }

    fn complete(
        &self,
        request: &Request,
        stop: &[String],
        limit: usize,
        fit: &mut Fit,
    ) -> std::result::Result<Said, Refusal> {
        let mut body = self.body(request);
        body.insert("max_tokens".to_owned(), json!(limit));
        let stop: Vec<&String> = stop.iter().filter(|stop| !stop.is_empty()).collect();
        if !stop.is_empty() {
            body.insert("stop".to_owned(), json!(stop));
        }
        let (path, text) = if let Some(chat) = &self.chat {
            let messages = chat.messages(&request.prompt, fit.dropped_shots);
            body.insert("messages".to_owned(), json!(messages));
            ("v1/chat/completions", "/choices/0/message/content")
        } else {
            body.insert("prompt".to_owned(), json!(request.prompt.without(fit.dropped_shots)));
            ("v1/completions", "/choices/0/text")
        };
        let answer = self.wire.post(path, &Value::Object(body))?;
        let Some(text) = answer.pointer(text) else {
            return Err(Refusal::Permanent(self.wire.unclear(path, "it has no text")));
        };
        let mut text = text.as_str().unwrap_or_default().to_owned();
        // Some servers leave the stop text in.
        if let Some(end) = stop.iter().filter_map(|stop| text.find(*stop)).min() {
            text.truncate(end);
        }
        let used = |what: &str| answer["usage"][what].as_u64().map_or(0, |tokens| tokens as usize);
        if fit.dropped_shots == 0 {
            fit.prompt_tokens = used("prompt_tokens");
        }
        let truncated = answer["choices"][0]["finish_reason"] == "length";
        Ok(Said::Text { text, tokens: used("completion_tokens"), truncated })
    }

    /// Asks for the log-likelihoods of a text, and for one new token: some servers take a limit of 0 as none at all.
    fn echo(&self, request: &Request, prompt: &str, continuation: &str) -> Result<Echo> {
        let text = format!("{prompt}{continuation}");
        let mut body = self.body(request);
        // vLLM tells ids if it is asked to; other servers do not know that key.
        let more = json!({
            "prompt": text, "max_tokens": 1, "echo": true, "logprobs": 1, "return_tokens_as_token_ids": true,
        });
        body.extend(more.as_object().cloned().unwrap_or_default());
        let answer = self.wire.post("v1/completions", &Value::Object(body))?;
        Echo::read(&answer, prompt, &text).map_err(|e| self.unclear(&e))
    }

    fn body(&self, request: &Request) -> Map<String, Value> {
        let mut body = Map::from_iter([
            ("model".to_owned(), json!(self.model)),
            ("temperature".to_owned(), json!(0)),
            ("seed".to_owned(), json!(0)),
            // By default llama.cpp's Python server makes repeated tokens less likely.
            ("repeat_penalty".to_owned(), json!(1.0)),
            // vLLM takes a model's own default from `generation_config.json`.
            ("repetition_penalty".to_owned(), json!(1.0)),
        ]);
        if request.encoding.bare {
            // vLLM's name for it; other servers do not know it.
            body.insert("add_special_tokens".to_owned(), json!(false));
        }
        body
    }

    fn unclear(&self, what: &str) -> Error {
        self.wire.unclear("v1/completions", what)
    }
}

impl LanguageModel for ModelServer {
    fn conversation(&self) -> Option<&Conversation> {
        self.chat.as_ref()
    }

    fn answer(&mut self, requests: &[Request], listener: &mut AnswerListener<'_>) -> Result<()> {
        let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
        let server = &*self;
        let work = |tell: mpsc::Sender<(usize, Result<Answer>)>| {
            while !stopped.load(Ordering::Relaxed) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(request) = requests.get(number) else { return };
                let answer = server.answer_one(request).map_err(|e| e.at(format!("request {}", number + 1)));
                if tell.send((number, answer)).is_err() {
                    return;
                }
            }
        };
        thread::scope(|scope| {
            let (tell, told) = mpsc::channel();
            for _ in 0..self.parallel.min(requests.len()) {
                let tell = tell.clone();
                scope.spawn(|| work(tell));
            }
            drop(tell);
            for (number, answer) in told {
                match answer.and_then(|answer| listener(number, answer)) {
                    Ok(ControlFlow::Continue(())) => {}
                    end => {
                        stopped.store(true, Ordering::Relaxed);
                        return end.map(|_| ());
                    }
                }
            }
            Ok(())
        })
    }
}

/// Refuses a request that compares tokens.
fn shows_no_tokens(request: &Request) -> Result<()> {
    if request.compared.is_none() {
        return Ok(());
    }
    Err(Error::user("the model's own tokens are counted, but a server does not show its tokenizer")
        .hint("take a protocol that counts words, or evaluate the checkpoint itself"))
}

/// The limit, if it is given in tokens.
fn tokens(limit: &Limit) -> Result<usize> {
    match limit {
        Limit::Tokens(limit) => Ok(*limit),
        Limit::LongestOf(..) => {
            Err(Error::user("the limit is as long as another text, but a server does not show its tokenizer")
                .hint("take a protocol with a limit in tokens, or evaluate the checkpoint itself"))
        }
    }
}
