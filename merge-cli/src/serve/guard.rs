//! What stands between the queue and a network: who may ask, from which page, and what of this machine is told.

use super::{api::refusal, service::Service};
use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use merge_core::{
    error::{Error, Result},
    yaml::read_text,
};
use sha2::{Digest as _, Sha256};
use std::{net::SocketAddr, path::Path, sync::Arc};
use subtle::ConstantTimeEq as _;

/// Who may ask.
pub(super) struct Guard {
    address: SocketAddr,
    /// Names, besides the address, that the server goes by.
    names: Vec<String>,
    /// The digest of the token, so that nothing that is kept or compared has its length.
    token: Option<[u8; 32]>,
}

/// A guard at its place.
pub(super) struct GuardSeat {
    /// What the header `Host` may be.
    hosts: Vec<String>,
    token: Option<[u8; 32]>,
    service: Arc<Service>,
}

/// A token of fewer letters can be guessed.
const SHORTEST_TOKEN: usize = 16;
/// More than any answer that is not a file has.
const LARGEST_ANSWER: usize = 64 << 20;

/// What the page may do: show what this server sends, and ask this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; \
                      form-action 'none'; base-uri 'none'; frame-ancestors 'none'";
/// A report has its own styles, and neither scripts nor links.
const REPORT_POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

impl Guard {
    /// Fails if others could reach the address and no token is asked for.
    pub(super) fn new(address: SocketAddr, names: &[String], token_file: Option<&Path>) -> Result<Self> {
        let token = token_file.map(read_token).transpose()?;
        if token.is_none() && !address.ip().is_loopback() {
            return Err(Error::user(format!("--listen {address}: others can reach this address, and no token is asked for"))
                .hint("write a long random one into a file that only you can read, and give `--token-file FILE`; or listen on 127.0.0.1"));
        }
        if address.ip().is_unspecified() && names.is_empty() {
            return Err(Error::user(format!(
                "--listen {address}: by which name others reach this machine is not said"
            ))
            .hint("give `--host NAME` for each name or address that it goes by"));
        }
        Ok(Self { address, names: names.to_vec(), token })
    }

    pub(super) fn at(self, port: u16, service: Arc<Service>) -> GuardSeat {
        let ip = self.address.ip();
        let mut names = self.names;
        // A proxy in front of it may have the usual port, which is not named.
        let mut hosts: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
        names.push(if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() });
        // On this machine it is reached by these whatever else it is called. Where others reach it too, they need a token.
        if ip.is_loopback() || self.token.is_some() {
            names.extend(["localhost".to_owned(), "127.0.0.1".to_owned(), "[::1]".to_owned()]);
        }
        hosts.extend(names.iter().map(|name| format!("{}:{port}", name.to_lowercase())));
        GuardSeat { hosts, token: self.token, service }
    }
}

fn read_token(path: &Path) -> Result<[u8; 32]> {
    let text = read_text(path).map_err(|e| e.at("--token-file"))?;
    let token = text.trim();
    if token.len() < SHORTEST_TOKEN {
        return Err(Error::user(format!("{}: a token has {SHORTEST_TOKEN} letters or more", path.display()))
            .hint("`openssl rand -hex 32` makes a good one"));
    }
    Ok(Sha256::digest(token).into())
}

/// Refuses whom it must, and takes out of answers what is this machine's own business.
pub(super) async fn stand(State(guard): State<Arc<GuardSeat>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let answer = match guard.refuses(&path, request.headers()) {
        Some(refused) => refused,
        None => next.run(request).await,
    };
    // The description has paths in it, but none of this machine.
    let mut answer =
        if ["/api", "/api/openapi.json"].contains(&path.as_str()) { answer } else { guard.concealed(answer).await };
    let policy = if path.ends_with("/report") { REPORT_POLICY } else { POLICY };
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in fixed {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

impl GuardSeat {
    /// Why a request is not answered, if it is not.
    fn refuses(&self, path: &str, headers: &HeaderMap) -> Option<Response> {
        let text =
            |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?").to_lowercase());
        // A name that somebody else has made lead here (DNS rebinding) is none of ours.
        let host = text(header::HOST).unwrap_or_default();
        if !self.hosts.contains(&host) {
            let hint = "whoever runs it names the names it goes by with `--host`";
            return Some(refusal(StatusCode::FORBIDDEN, "this server does not go by this name", Some(hint)));
        }
        let origin = text(header::ORIGIN);
        let is_ours = |origin: &str| {
            let name = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            name.is_some_and(|name| self.hosts.iter().any(|host| host == name))
        };
        let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok()).unwrap_or("none");
        if origin.is_some_and(|origin| !is_ours(&origin)) || site == "cross-site" {
            return Some(refusal(StatusCode::FORBIDDEN, "this comes from another site's page", None));
        }
        let is_data = path == "/api" || path.starts_with("/api/") || path == "/metrics";
        if is_data && !self.knows(headers) {
            let mut refused = refusal(StatusCode::UNAUTHORIZED, "a token is needed", None);
            refused.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return Some(refused);
        }
        None
    }

    /// Whether the token is there, if one is asked for: compared in the same time wherever it differs.
    fn knows(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given =
            given.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let given = given.map(|(_, token)| token).unwrap_or_default();
        Sha256::digest(given.trim()).as_slice().ct_eq(token).into()
    }

    /// An answer without the paths of this machine.
    async fn concealed(&self, answer: Response) -> Response {
        let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("application/json") {
            return answer;
        }
        let (mut parts, body) = answer.into_parts();
        let Ok(bytes) = to_bytes(body, LARGEST_ANSWER).await else {
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, "the answer is too long", None);
        };
        let Ok(mut value) = serde_json::from_slice(&bytes) else {
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, "the answer is broken", None);
        };
        self.service.roots.conceal_in(&mut value);
        parts.headers.remove(header::CONTENT_LENGTH);
        (parts, Body::from(value.to_string())).into_response()
    }
}
