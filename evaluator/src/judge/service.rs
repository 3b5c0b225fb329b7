//! A judge that is an HTTP service: one request for a model and the items asked.

use super::{MOST_OUTPUT, items::AskedRow, verdict::short};
use crate::{interrupt::Interrupt, server::is_local};
use merge_core::error::{Error, Result};
use serde_json::{Value, json};
use std::{
    io,
    path::Path,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};
use ureq::{
    Agent,
    http::{Uri, header},
};

/// Pause between two looks at the interrupt.
const LOOK: Duration = Duration::from_millis(20);
/// Pauses before a service that is busy is asked again.
const PAUSES: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(8)];
/// Statuses by which a service, or what stands before it, says that it is busy.
const BUSY: [u16; 4] = [429, 502, 503, 504];

/// A service that scores models. It must be able to read the directories that it is told.
pub(super) struct JudgeService {
    agent: Agent,
    address: String,
    timeout: Duration,
}

impl JudgeService {
    /// A service at an address such as `http://127.0.0.1:9000/score`. No key is sent to it.
    ///
    /// Fails if this is not the address of a service.
    pub(super) fn new(agent: Agent, address: &str, timeout: Duration) -> Result<Self> {
        let uri: Option<Uri> = address.parse().ok();
        if !uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()) {
            return Err(Error::user(format!("`{address}` is not the address of a service"))
                .hint("it begins with http:// or https://, such as http://127.0.0.1:9000/score"));
        }
        Ok(Self { agent, address: address.to_owned(), timeout })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Asks for the scores of a model, and returns the answer's text.
    ///
    /// Fails with an error of the machine if the service cannot be reached, with one of the user if it answers that it
    /// failed, or not in time.
    pub(super) fn ask(&self, model: &Path, asked: &[AskedRow<'_>], interrupt: &Interrupt) -> Result<String> {
        let rows: Vec<&serde_json::Map<String, Value>> = asked.iter().filter_map(|one| one.row).collect();
        let mut body = json!({ "model": model.to_string_lossy() });
        if !rows.is_empty() {
            body["items"] = json!(rows);
        }
        let (sender, answer) = mpsc::channel();
        let (agent, address, timeout) = (self.agent.clone(), self.address.clone(), self.timeout);
        // The thread ends with the request. An interrupt does not wait for it.
        thread::spawn(move || sender.send(patiently(&agent, &address, &body.to_string(), timeout)));
        loop {
            match answer.recv_timeout(LOOK) {
                Ok(answer) => return answer.map_err(|e| e.at(&self.address)),
                Err(RecvTimeoutError::Timeout) if interrupt.is_set() => return Err(Error::interrupted()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::machine(format!("{}: the request ended without an answer", self.address)));
                }
            }
        }
    }
}

/// Asks again after pauses while the service is busy: that tells nothing about the model.
fn patiently(agent: &Agent, address: &str, body: &str, timeout: Duration) -> Result<String> {
    for pause in PAUSES {
        let (status, text) = post(agent, address, body, timeout)?;
        if !BUSY.contains(&status) {
            return answered(status, text);
        }
        thread::sleep(pause);
    }
    let (status, text) = post(agent, address, body, timeout)?;
    answered(status, text)
}

/// The text of an answer. Fails with an error of the machine if the service is still busy.
fn answered(status: u16, text: String) -> Result<String> {
    if (200..300).contains(&status) {
        return Ok(text);
    }
    let message = format!("it answers {status}: {}", short(&text));
    Err(if BUSY.contains(&status) {
        Error::machine(message)
            .hint("the service, or what stands before it, is overloaded: run the same command again later")
    } else {
        Error::user(message)
    })
}

/// Status and text of an answer.
fn post(agent: &Agent, address: &str, body: &str, timeout: Duration) -> Result<(u16, String)> {
    let request = agent.post(address).config().http_status_as_error(false);
    let mut request = request.timeout_global(Some(timeout)).timeout_per_read(None);
    if is_local(address) {
        request = request.proxy(None);
    }
    let request = request.build().header(header::CONTENT_TYPE, "application/json");
    let mut response = request.send(body).map_err(|e| failure(&e, timeout))?;
    let text = response.body_mut().with_config().limit(MOST_OUTPUT as u64).read_to_string();
    let text = text.map_err(|e| failure(&e, timeout))?;
    Ok((response.status().as_u16(), text))
}

fn failure(error: &ureq::Error, timeout: Duration) -> Error {
    match error {
        ureq::Error::Timeout(_) => Error::user(format!("it took longer than {} s, its `timeout`", timeout.as_secs())),
        ureq::Error::BodyExceedsLimit(_) => Error::user(format!("it answers more than {} MiB", MOST_OUTPUT >> 20)),
        ureq::Error::Io(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            Error::machine("connection refused").hint("is the service running there?")
        }
        ureq::Error::Io(e) if e.kind() == io::ErrorKind::InvalidData => {
            Error::user(format!("its answer cannot be read: {e}"))
        }
        other => Error::machine(other.to_string()),
    }
}
