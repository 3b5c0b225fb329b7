//! Asking a server in JSON: patiently while it is busy, and naming it when it fails.

use merge_core::error::{Error, Result};
use serde_json::Value;
use std::{io, thread, time::Duration};
use ureq::{
    Agent, Body,
    http::{Response, Uri, header},
};

/// A server's address, and how patiently it is asked.
#[derive(Clone, Debug)]
pub struct ServerWire {
    agent: Agent,
    /// Ends with `/v1`.
    base: String,
    /// `Bearer KEY`.
    authorization: Option<String>,
    pause: Duration,
}

/// Times a request is made in all.
const TRIES: u32 = 6;
/// Longest wait that a server may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A long prompt on a slow machine.
const TIMEOUT: Duration = Duration::from_secs(600);
/// Enough for the log-likelihoods of a hundred thousand tokens.
const ANSWER_LIMIT: u64 = 256 << 20;

/// Why there is no answer.
pub(crate) enum Refusal {
    /// The network, or a server that is busy: the same request may succeed later, after so long if the server says.
    Passing(Error, Option<Duration>),
    /// The prompt is longer than the model's context.
    TooLong(Error),
    /// Asking again would change nothing.
    Lasting(Error),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Passing(error, _) | Refusal::TooLong(error) | Refusal::Lasting(error) => error,
        }
    }
}

impl ServerWire {
    /// A server at `url`, such as `http://127.0.0.1:8000`, with `/v1` at its end or not; `agent` makes the connections, and must
    /// know TLS if they are encrypted. A key goes to nobody else.
    ///
    /// Fails for what is no address, and for a key that no header can hold.
    pub fn new(agent: Agent, url: &str, key: Option<&str>) -> Result<Self> {
        let base = url.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches('/').to_owned() + "/v1";
        let uri: Option<Uri> = base.parse().ok();
        if !uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()) {
            return Err(Error::user(format!("`{url}` is no address of a server"))
                .hint("it begins with http:// or https://, such as http://127.0.0.1:8000"));
        }
        if key.is_some_and(|key| !key.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Error::user("the key of the server holds what no key holds").hint("OPENAI_API_KEY holds it"));
        }
        let authorization = key.map(|key| format!("Bearer {key}"));
        Ok(Self { agent, base, authorization, pause: Duration::from_millis(500) })
    }

    /// The same server with another first pause after a failure; each is twice as long as the one before.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// The address of a path.
    pub(crate) fn address(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value> {
        let address = self.address(path);
        let get = || {
            let mut request =
                self.agent.get(&address).config().http_status_as_error(false).timeout_global(Some(TIMEOUT));
            if self.is_here() {
                request = request.proxy(None);
            }
            let mut request = request.build();
            if let Some(key) = &self.authorization {
                request = request.header(header::AUTHORIZATION, key);
            }
            request.call()
        };
        Ok(self.patiently(path, get)?)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> std::result::Result<Value, Refusal> {
        let address = self.address(path);
        let body = body.to_string();
        let post = || {
            let mut request =
                self.agent.post(&address).config().http_status_as_error(false).timeout_global(Some(TIMEOUT));
            if self.is_here() {
                request = request.proxy(None);
            }
            let mut request = request.build().header(header::CONTENT_TYPE, "application/json");
            if let Some(key) = &self.authorization {
                request = request.header(header::AUTHORIZATION, key);
            }
            request.send(&body)
        };
        self.patiently(path, post)
    }

    /// An answer that is not what was asked for.
    pub(crate) fn unclear(&self, path: &str, what: &str) -> Error {
        Error::user(format!("{}: the answer cannot be used: {what}", self.address(path)))
    }

    /// Asks until there is an answer, or no hope.
    fn patiently(
        &self,
        path: &str,
        ask: impl Fn() -> std::result::Result<Response<Body>, ureq::Error>,
    ) -> std::result::Result<Value, Refusal> {
        let mut pause = self.pause;
        for _ in 1..TRIES {
            match self.once(path, &ask) {
                Err(Refusal::Passing(_, wanted)) => thread::sleep(wanted.unwrap_or(pause).min(LONGEST_PAUSE)),
                done => return done,
            }
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
        let value: Option<Value> = serde_json::from_str(&text).ok();
        if status.is_success() {
            return value.ok_or_else(|| Refusal::Lasting(self.unclear(path, &format!("not JSON: {}", short(&text)))));
        }
        let said = value.as_ref().and_then(reason).unwrap_or(&text);
        let said = if said.is_empty() { String::new() } else { format!(": {}", short(said)) };
        let message = format!("{} answers {status}{said}", self.address(path));
        Err(match status.as_u16() {
            429 | 500..=599 => Refusal::Passing(
                Error::machine(message).hint("look at what the server prints, and try again later"),
                wanted.map(Duration::from_secs),
            ),
            401 | 403 => {
                Refusal::Lasting(Error::user(message).hint("set OPENAI_API_KEY to a key that the server accepts"))
            }
            404 => Refusal::Lasting(
                Error::user(message).hint("the address ends where `/v1` begins; is the model's name right?"),
            ),
            400 | 413 | 422 if said.to_lowercase().contains("context") => Refusal::TooLong(
                Error::user(message).hint("take fewer examples, or start the server with a longer context"),
            ),
            _ => Refusal::Lasting(Error::user(message)),
        })
    }

    fn unanswered(&self, path: &str, error: &ureq::Error) -> Refusal {
        let address = self.address(path);
        let failed = |why: &str| Error::machine(format!("cannot reach {address}: {why}"));
        match error {
            ureq::Error::Io(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                Refusal::Passing(failed("connection refused").hint("is the server running there?"), None)
            }
            ureq::Error::Http(_) | ureq::Error::BadUri(_) | ureq::Error::Tls(_) | ureq::Error::Rustls(_) => {
                Refusal::Lasting(failed(&error.to_string()))
            }
            ureq::Error::TlsRequired | ureq::Error::HostNotFound => Refusal::Lasting(failed(&error.to_string())),
            _ => Refusal::Passing(failed(&error.to_string()), None),
        }
    }

    /// Whether it is this machine, which no proxy stands before.
    fn is_here(&self) -> bool {
        let uri: Option<Uri> = self.base.parse().ok();
        uri.as_ref().and_then(Uri::host).is_some_and(|host| {
            let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
            host == "localhost" || address.is_ok_and(|address| address.is_loopback())
        })
    }
}

/// Why a server says it refuses, in the form of `OpenAI` or of `FastAPI`.
fn reason(answer: &Value) -> Option<&str> {
    let places = ["/error/message", "/message", "/detail", "/detail/0/msg", "/error"];
    places.iter().find_map(|place| answer.pointer(place)?.as_str())
}

/// What a server says, fit for a terminal.
fn short(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}
