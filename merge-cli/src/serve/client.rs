//! A client of the server's socket.

use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use merge_core::error::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{net::UnixStream, runtime, time::timeout};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client; holds the path of the server's socket.
pub(crate) struct Client(PathBuf);

impl Client {
    /// Connects to a server; `None` if none listens.
    pub(super) fn connect(socket: &Path) -> Option<Self> {
        std::os::unix::net::UnixStream::connect(socket).ok().map(|_| Self(socket.to_owned()))
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask(&Method::GET, path, None)
    }

    pub(super) fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T> {
        self.ask(&Method::POST, path, Some(serde_json::to_vec(body).expect("plain data")))
    }

    pub(super) fn delete(&self, path: &str) -> Result<()> {
        self.ask(&Method::DELETE, path, None)
    }

    fn ask<T: DeserializeOwned>(&self, method: &Method, path: &str, body: Option<Vec<u8>>) -> Result<T> {
        let lost = |why: String| {
            Error::machine(format!("the server at {} does not answer: {why}", self.0.display()))
                .hint("its own output says what became of it")
        };
        let made = runtime::Builder::new_current_thread().enable_all().build();
        let answer = made.map_err(|e| lost(e.to_string()))?.block_on(async {
            let late = |_| Err(format!("no answer in {} s", PATIENCE.as_secs()));
            timeout(PATIENCE, self.exchange(method, path, body)).await.unwrap_or_else(late)
        });
        let (code, bytes) = answer.map_err(lost)?;
        let unread = |e: serde_json::Error| Error::machine(format!("the server's answer cannot be read: {e}"));
        if code.is_success() {
            // An empty body is no value.
            let bytes = if bytes.is_empty() { Bytes::from_static(b"null") } else { bytes };
            return serde_json::from_slice(&bytes).map_err(unread);
        }
        let refused: ApiRefusal = serde_json::from_slice(&bytes).map_err(unread)?;
        let error = if code.is_server_error() { Error::machine(refused.error) } else { Error::user(refused.error) };
        Err(match refused.hint {
            Some(hint) => error.hint(hint),
            None => error,
        })
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> std::result::Result<(StatusCode, Bytes), String> {
        let text = |e: hyper::Error| e.to_string();
        let stream = UnixStream::connect(&self.0).await.map_err(|e| e.to_string())?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "evomerge")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|e| e.to_string())?;
        let answer = sender.send_request(request).await.map_err(text)?;
        let code = answer.status();
        Ok((code, answer.into_body().collect().await.map_err(text)?.to_bytes()))
    }
}

/// The server's answer if it refuses a request.
#[derive(serde::Deserialize)]
struct ApiRefusal {
    error: String,
    hint: Option<String>,
}
