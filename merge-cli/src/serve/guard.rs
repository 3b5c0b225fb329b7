//! Guards the queue against the network: checks host, origin and token, and hides paths in answers.

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

/// Rules for requests, before the port is known.
pub(super) struct Guard {
    address: SocketAddr,
    /// Names of the server besides its address.
    names: Vec<String>,
    /// SHA-256 of the token, so that nothing that is kept or compared reveals its length.
    token: Option<[u8; 32]>,
}

/// Rules for requests to a server at a port.
pub(super) struct GuardSeat {
    /// Allowed values of the header `Host`.
    hosts: Vec<String>,
    token: Option<[u8; 32]>,
    service: Arc<Service>,
}

/// Minimum length of a token: a shorter one can be guessed.
const SHORTEST_TOKEN: usize = 16;
/// Maximum size of a JSON answer, more than any has.
const LARGEST_ANSWER: usize = 64 << 20;

/// Policy for the page: it may only load from this server and send requests to it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; \
                      form-action 'none'; base-uri 'none'; frame-ancestors 'none'";
/// Policy for a report: its own styles, no scripts, no links.
const REPORT_POLICY: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

impl Guard {
    /// Fails if other machines can reach the address and no token is required.
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
        // A proxy in front may use the default port, which `Host` leaves out.
        let mut hosts: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
        names.push(if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() });
        // These names work on this machine in any case; if other machines can reach the server,
        // they need a token.
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

/// Refuses requests that break the rules, and hides paths of this machine in answers.
pub(super) async fn stand(State(guard): State<Arc<GuardSeat>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let answer = match guard.refuses(&path, request.headers()) {
        Some(refused) => refused,
        None => next.run(request).await,
    };
    // The API description contains paths, but none of this machine.
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
    /// The refusal of a request, if it breaks a rule.
    fn refuses(&self, path: &str, headers: &HeaderMap) -> Option<Response> {
        let text =
            |name: header::HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?").to_lowercase());
        // Protects against DNS rebinding: another name that resolves to this address is refused.
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

    /// True if the token is right, or none is required. The comparison takes constant time.
    fn knows(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given =
            given.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let given = given.map(|(_, token)| token).unwrap_or_default();
        Sha256::digest(given.trim()).as_slice().ct_eq(token).into()
    }

    /// Hides paths of this machine in a JSON answer.
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
