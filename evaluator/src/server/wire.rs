//! Asks a server in JSON: repeats requests while the server is busy, and names it in errors.

use merge_core::error::{Error, Result};
use serde_json::Value;
use std::{io, thread, time::Duration};
use ureq::{
    Agent, Body,
    http::{Response, Uri, header},
};

/// Address of a server, and the pause before a request is repeated.
#[derive(Clone, Debug)]
pub struct ServerWire {
    agent: Agent,
    /// URL without `/v1`.
    base: String,
    /// Header value `Bearer KEY`.
    authorization: Option<String>,
    pause: Duration,
    timeout: Duration,
    tries: u32,
}

/// Most times that a request is made, if failures are not counted elsewhere.
const TRIES: u32 = 6;
/// Longest wait that a server may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Long enough for a long prompt on a slow machine.
const TIMEOUT: Duration = Duration::from_secs(600);
/// Most bytes of an answer: enough for the log-likelihoods of a hundred thousand tokens.
const ANSWER_LIMIT: u64 = 256 << 20;

/// Reason why there is no answer.
pub(crate) enum Refusal {
    /// The network failed. The same request may succeed later.
    Unreachable(Error),
    /// The server is busy, or has an error of its own. The same request may succeed later: after this time, if given.
    Failed(Error, Option<Duration>),
    /// The prompt is longer than the model's context.
    TooLong(Error),
    /// The same request would fail again.
    Permanent(Error),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unreachable(error)
            | Refusal::Failed(error, _)
            | Refusal::TooLong(error)
            | Refusal::Permanent(error) => error,
        }
    }
}

impl ServerWire {
    /// A server at `url`, such as `http://127.0.0.1:8000`, with or without `/v1` at its end. `agent` makes the
    /// connections, and needs TLS for encrypted ones. The key is sent to this server alone.
    ///
    /// Fails if `url` is not the address of a server, or if no header can hold the key.
    pub fn new(agent: Agent, url: &str, key: Option<&str>) -> Result<Self> {
        let base = url.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches('/').to_owned();
        let uri: Option<Uri> = base.parse().ok();
        if !uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()) {
            return Err(Error::user(format!("`{url}` is not the address of a server"))
                .hint("it begins with http:// or https://, such as http://127.0.0.1:8000"));
        }
        if key.is_some_and(|key| !key.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Error::user(
                "the server's key has a character that no key can have, such as a space or a line break",
            )
            .hint("the key is read from OPENAI_API_KEY"));
        }
        let authorization = key.map(|key| format!("Bearer {key}"));
        Ok(Self { agent, base, authorization, pause: Duration::from_millis(500), timeout: TIMEOUT, tries: TRIES })
    }

    /// The same server, of which every request is made once and fails if it takes longer than `timeout`.
    pub(crate) fn once_within(self, timeout: Duration) -> Self {
        Self { timeout, tries: 1, ..self }
    }

    /// The same server with another first pause after a failure; each pause is twice as long as the one before.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// URL of a path, such as `v1/models`.
    pub(crate) fn address(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    pub(crate) fn get(&self, path: &str) -> std::result::Result<Value, Refusal> {
        let address = self.address(path);
        let get = || {
            let mut request = self
                .agent
                .get(&address)
                .config()
                .http_status_as_error(false)
                .timeout_global(Some(self.timeout))
                .timeout_per_read(None);
            if is_local(&self.base) {
                request = request.proxy(None);
            }
            let mut request = request.build();
            if let Some(key) = &self.authorization {
                request = request.header(header::AUTHORIZATION, key);
            }
            request.call()
        };
        self.with_retries(path, get)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> std::result::Result<Value, Refusal> {
        let address = self.address(path);
        let body = body.to_string();
        let post = || {
            let mut request = self
                .agent
                .post(&address)
                .config()
                .http_status_as_error(false)
                .timeout_global(Some(self.timeout))
                .timeout_per_read(None);
            if is_local(&self.base) {
                request = request.proxy(None);
            }
            let mut request = request.build().header(header::CONTENT_TYPE, "application/json");
            if let Some(key) = &self.authorization {
                request = request.header(header::AUTHORIZATION, key);
            }
            request.send(&body)
        };
        self.with_retries(path, post)
    }

    /// An error that says why an answer cannot be used.
    pub(crate) fn unclear(&self, path: &str, what: &str) -> Error {
        Error::user(format!("{}: the answer cannot be used: {what}", self.address(path)))
    }

    /// Repeats a request until it is answered, is refused for good, or has failed too often.
    fn with_retries(
        &self,
        path: &str,
        ask: impl Fn() -> std::result::Result<Response<Body>, ureq::Error>,
    ) -> std::result::Result<Value, Refusal> {
        let mut pause = self.pause;
        for _ in 1..self.tries {
            let wanted = match self.once(path, &ask) {
                Err(Refusal::Failed(_, wanted)) => wanted,
                Err(Refusal::Unreachable(_)) => None,
                done => return done,
            };
            thread::sleep(wanted.unwrap_or(pause).min(LONGEST_PAUSE));
            pause *= 2;
        }
        self.once(path, &ask)
    }

    fn once(
        &self,
        path: &str,
        ask: &impl Fn() -> std::result::Result<Response<Body>, ureq::Error>,
    ) -> std::result::Result<Value, Refusal> {
        let mut response = ask().map_err(|e| self.unanswered(path, &e))?;
        let status = response.status();
        let wanted = response.headers().get(header::RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
        let text = response.body_mut().with_config().limit(ANSWER_LIMIT).read_to_string();
        let text = text.map_err(|e| self.unanswered(path, &e))?;
        // Routes that only do something answer nothing.
        let value: Option<Value> = if text.is_empty() { Some(Value::Null) } else { serde_json::from_str(&text).ok() };
        if status.is_success() {
            return value.ok_or_else(|| Refusal::Permanent(self.unclear(path, &format!("not JSON: {}", short(&text)))));
        }
        let said = value.as_ref().and_then(reason).unwrap_or(&text);
        let said = if said.is_empty() { String::new() } else { format!(": {}", short(said)) };
        let message = format!("{} answers {status}{said}", self.address(path));
        Err(match status.as_u16() {
            429 | 500..=599 => Refusal::Failed(
                Error::machine(message).hint("look at what the server prints, and try again later"),
                wanted.map(Duration::from_secs),
            ),
            401 | 403 => {
                Refusal::Permanent(Error::user(message).hint("set OPENAI_API_KEY to a key that the server accepts"))
            }
            404 => Refusal::Permanent(
                Error::user(message).hint("the address ends where `/v1` begins; is the model's name right?"),
            ),
            400 | 413 | 422 if said.to_lowercase().contains("context") => Refusal::TooLong(
                Error::user(message).hint("take fewer examples, or start the server with a longer context"),
            ),
            _ => Refusal::Permanent(Error::user(message)),
        })
    }

    fn unanswered(&self, path: &str, error: &ureq::Error) -> Refusal {
        let address = self.address(path);
        let failed = |why: &str| Error::machine(format!("cannot reach {address}: {why}"));
        match error {
            ureq::Error::Io(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                Refusal::Unreachable(failed("connection refused").hint("is the server running there?"))
            }
            ureq::Error::Http(_) | ureq::Error::BadUri(_) | ureq::Error::Tls(_) | ureq::Error::Rustls(_) => {
                Refusal::Permanent(failed(&error.to_string()))
            }
            ureq::Error::TlsRequired | ureq::Error::HostNotFound => Refusal::Permanent(failed(&error.to_string())),
            _ => Refusal::Unreachable(failed(&error.to_string())),
        }
    }
}

/// True if an address is on this machine: no proxy is used then.
pub(crate) fn is_local(address: &str) -> bool {
    let uri: Option<Uri> = address.parse().ok();
    uri.as_ref().and_then(Uri::host).is_some_and(|host| {
        let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

/// Reason that a server gives for a refusal, in the form of `OpenAI` or of `FastAPI`.
fn reason(answer: &Value) -> Option<&str> {
    let places = ["/error/message", "/message", "/detail", "/detail/0/msg", "/error"];
    places.iter().find_map(|place| answer.pointer(place)?.as_str())
}

/// First 200 characters of a server's text, without control characters.
fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}
