//! HTTP requests to the hub: TLS, redirects, the token, and the meaning of refusals.

use super::listing::Listing;
use merge_core::{
    error::{Error, Result},
    file,
};
use std::{fmt, io, path::Path, sync::Arc, time::Duration};
use ureq::{
    Agent, Body,
    http::{HeaderMap, Response, StatusCode, Uri, header},
    tls::{PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem},
};

/// Maximum bytes of a listing: enough for a repository with a hundred thousand files.
const LISTING_LIMIT: u64 = 64 << 20;

pub(super) struct HubWire {
    endpoint: String,
    /// Value of the header: `Bearer TOKEN`.
    authorization: Option<String>,
    agent: Agent,
}

/// A failed request, by whether a retry may help.
pub(super) enum HubFailure {
    /// A failure of the network or of a busy server: the same request may succeed later.
    Passing(Error),
    /// A failure that a retry does not change.
    Lasting(Error),
}

/// Result of a request.
pub(super) type HubResult<T> = std::result::Result<T, HubFailure>;

impl From<Error> for HubFailure {
    fn from(error: Error) -> Self {
        Self::Lasting(error)
    }
}

impl HubWire {
    pub(super) fn new(endpoint: &str, token: Option<&str>, certificates: Option<&Path>) -> Result<Self> {
        if origin(endpoint).is_none() {
            return Err(Error::user(format!("HF_ENDPOINT is `{endpoint}`, which is no address"))
                .hint("it begins with https:// or http://"));
        }
        if token.is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err(Error::user("the hub's token contains characters that no token has").hint(
                "HF_TOKEN, or the file `token` in HF_HOME, holds a token of https://huggingface.co/settings/tokens",
            ));
        }
        let agent = agent(certificates, Duration::from_secs(60))?;
        let authorization = token.map(|token| format!("Bearer {token}"));
        Ok(Self { endpoint: endpoint.to_owned(), authorization, agent })
    }

    /// The files of a repository at a revision.
    pub(super) fn listing(&self, repo: &str, revision: &str) -> HubResult<Listing> {
        let address = format!("{}/api/models/{repo}/revision/{}?blobs=true", self.endpoint, escaped(revision));
        let mut answer = self.get(&address, 0)?;
        if answer.status() != StatusCode::OK {
            return Err(self.refusal(&answer, repo, &format!("revision `{revision}`")));
        }
        let text = answer.body_mut().with_config().limit(LISTING_LIMIT).read_to_string();
        let text = text.map_err(|e| HubFailure::Passing(unreachable(&address, &e)))?;
        Listing::read(&text).map_err(|e| HubFailure::Lasting(e.at(format_args!("{}: {repo}", self.endpoint))))
    }

    /// Requests a file of a commit from byte `from` on. The server answers 206, or 200 with the
    /// whole file, or 416 if the file has no such byte.
    pub(super) fn file(&self, repo: &str, commit: &str, name: &str, from: u64) -> HubResult<Response<Body>> {
        let address = format!("{}/{repo}/resolve/{commit}/{}", self.endpoint, escaped(name));
        let answer = self.get(&address, from)?;
        match answer.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => Ok(answer),
            _ => Err(self.refusal(&answer, repo, &format!("file {name}"))),
        }
    }

    /// Requests an address, from byte `from` on if the server allows it, and follows redirects.
    pub(super) fn get(&self, address: &str, from: u64) -> HubResult<Response<Body>> {
        let mut address = address.to_owned();
        for _ in 0..10 {
            if address.starts_with("https:") && !processor_can_encrypt() {
                return Err(HubFailure::Lasting(
                    Error::user("this processor lacks the instructions that encryption is written in here").hint(
                        "download it with another tool: models are found in the hub's cache, data with `--from DIR`",
                    ),
                ));
            }
            // A compressed download cannot be resumed.
            let mut request = self.agent.get(&address).header(header::ACCEPT_ENCODING, "identity");
            if let Some(token) = &self.authorization
                && origin(&address) == origin(&self.endpoint)
            {
                request = request.header(header::AUTHORIZATION, token);
            }
            if from > 0 {
                request = request.header(header::RANGE, format!("bytes={from}-"));
            }
            let answer = request.call().map_err(|e| unanswered(&address, &e))?;
            if !answer.status().is_redirection() {
                return Ok(answer);
            }
            let to = text(answer.headers(), "location").and_then(|to| redirected(&address, to));
            address = to.ok_or_else(|| {
                Error::user(format!("{} leads to an address that cannot be followed", self.endpoint))
                    .hint("is HF_ENDPOINT the address of a hub?")
            })?;
        }
        Err(HubFailure::Lasting(Error::user(format!("{}: too many redirects", self.endpoint))))
    }

    /// Explains a refusal. The hub hides private models: 401 may mean that there is no such model.
    fn refusal(&self, answer: &Response<Body>, repo: &str, what: &str) -> HubFailure {
        let Self { endpoint, authorization, .. } = self;
        let status = answer.status();
        let reason =
            text(answer.headers(), "x-error-message").map_or_else(String::new, |reason| format!(": {}", plain(reason)));
        let signed = authorization.is_some();
        let error = match (status.as_u16(), text(answer.headers(), "x-error-code")) {
            (401 | 403, Some("GatedRepo")) => {
                let hint = if signed {
                    format!("accept the licence on {endpoint}/{repo} with the account of your token, and wait if its owner must agree")
                } else {
                    format!("accept the licence on {endpoint}/{repo}, then set HF_TOKEN to a token of that account")
                };
                Error::user(format!("{repo} is gated{reason}")).hint(hint)
            }
            (404, Some("RevisionNotFound")) => Error::user(format!("{endpoint}: {repo} has no {what}"))
                .hint("check the branch, tag or commit behind the `@`; without it, `main` is meant"),
            (404, Some("EntryNotFound")) => Error::user(format!("{endpoint}: {repo} has no {what}")),
            (401, code) if signed && code != Some("RepoNotFound") => {
                Error::user(format!("{endpoint} does not accept the token{reason}"))
                    .hint(format!("set HF_TOKEN to a valid one ({endpoint}/settings/tokens), or remove it"))
            }
            (401 | 404, _) if signed => Error::user(format!("{endpoint} has no {repo} with {what}, or hides it"))
                .hint("check the spelling and the revision; a private model needs the token of an account that may see it"),
            (401 | 404, _) => Error::user(format!("{endpoint} has no {repo} with {what}, or hides it"))
                .hint("check the spelling and the revision; a private model needs HF_TOKEN"),
            (403, _) => Error::user(format!("{endpoint} refuses access to {repo}{reason}")).hint(
                "set HF_TOKEN to a token of an account that may read it; if it is gated, accept the licence on its page",
            ),
            (429 | 500..=599, _) => {
                return HubFailure::Passing(Error::machine(format!("{endpoint} answers {status}{reason}")).hint(
                    "try again later; HF_HUB_OFFLINE=1 uses only what is in the cache",
                ));
            }
            _ => Error::user(format!("{endpoint} answers {status}{reason}")),
        };
        HubFailure::Lasting(error)
    }
}

/// The error for a connection that broke or could not be made.
pub(super) fn broken(address: &str, error: &io::Error) -> HubFailure {
    // TLS reports an untrusted certificate this way.
    if error.kind() == io::ErrorKind::InvalidData {
        return untrusted_certificate(address, error);
    }
    let text = error.to_string();
    HubFailure::Passing(unreachable(address, &text.split(" (os error").next().unwrap_or(&text).to_lowercase()))
}

/// The error for a request without an answer.
fn unanswered(address: &str, error: &ureq::Error) -> HubFailure {
    use ureq::Error as E;
    match error {
        E::Io(error) => broken(address, error),
        E::Rustls(_) | E::Tls(_) | E::Pem(_) => untrusted_certificate(address, error),
        E::Http(_) | E::BadUri(_) | E::InvalidProxyUrl => HubFailure::Lasting(unreachable(address, error)),
        _ => HubFailure::Passing(unreachable(address, error)),
    }
}

fn untrusted_certificate(address: &str, why: &dyn fmt::Display) -> HubFailure {
    let hint = "if a proxy stands between, SSL_CERT_FILE sets the certificates to trust, as a PEM file";
    HubFailure::Lasting(unreachable(address, why).hint(hint))
}

fn unreachable(address: &str, why: &dyn fmt::Display) -> Error {
    let host = origin(address).map_or_else(|| address.to_owned(), |(_, host, _)| host);
    Error::machine(format!("cannot reach {host}: {why}"))
        .hint("HF_HUB_OFFLINE=1 uses only what is in the cache; HF_ENDPOINT sets another hub")
}

/// HTTP client with TLS; `patience` is the longest wait for data.
pub(super) fn agent(certificates: Option<&Path>, patience: Duration) -> Result<Agent> {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls_graviola::default_provider()))
        .root_certs(certificates.map_or(Ok(RootCerts::WebPki), roots)?)
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        // `get` follows redirects itself, so that the token goes to no other host.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_per_read(Some(patience))
        .user_agent(concat!("evomerge/", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(config.new_agent())
}

/// Reads the certificates of a PEM file.
fn roots(path: &Path) -> Result<RootCerts> {
    let pem = file::read(path).map_err(|e| Error::io("read", path, &e).or_hint("SSL_CERT_FILE names it"))?;
    let found: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        return Err(Error::user(format!("{}: no certificate in it", path.display())).hint("SSL_CERT_FILE names it"));
    }
    Ok(found.into())
}

/// Scheme, host and port of an address; the token is only sent to the endpoint's.
pub(super) fn origin(address: &str) -> Option<(String, String, u16)> {
    let uri: Uri = address.parse().ok()?;
    let scheme = uri.scheme_str()?.to_owned();
    let usual = match scheme.as_str() {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    Some((scheme, uri.host()?.to_lowercase(), uri.port_u16().unwrap_or(usual)))
}

/// Target of a redirect; `None` if it leads from `https` to `http`, or is no address.
pub(super) fn redirected(from: &str, to: &str) -> Option<String> {
    let uri: Uri = from.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    let to = match to {
        to if to.starts_with("//") => format!("{scheme}:{to}"),
        to if to.starts_with('/') => format!("{scheme}://{authority}{to}"),
        to => to.to_owned(),
    };
    let (secure, _, _) = origin(&to)?;
    (scheme != "https" || secure == "https").then_some(to)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A server's message without control characters, at most 200 characters.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// Percent-encodes a part of an address, `/` too.
fn escaped(part: &str) -> String {
    part.bytes().fold(String::new(), |text, byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'~' => {
            text + char::from(byte).encode_utf8(&mut [0; 4])
        }
        _ => text + &format!("%{byte:02X}"),
    })
}

/// True if the processor has the instructions that `graviola` needs; it panics without them.
pub(super) fn processor_can_encrypt() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("adx")
        && is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull")
        && std::arch::is_aarch64_feature_detected!("sha2");
}
