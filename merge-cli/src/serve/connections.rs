//! Connections and their limits: total, for each network, and in time. Idle clients cannot keep
//! others out, and the user's socket answers whatever happens at the port.

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{StatusCode, header},
    middleware::Next,
    response::Response,
};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustix::process::{Resource, getrlimit};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    time::{sleep, timeout},
};

/// Longest time for the head of a request, and for an idle connection.
const HEAD: Duration = Duration::from_secs(10);
/// Longest time for the body of a request.
const BODY: Duration = Duration::from_secs(20);
/// Maximum connections of one network. A page has one for news and a few for requests.
const MOST_OF_ONE: usize = 128;
const MOST: usize = 512;
/// Open files reserved for the socket, the queue, the jobs and processes that look at files.
const KEPT: u64 = 256;

/// Serves connections at the socket.
pub(super) async fn at_socket(listener: UnixListener, router: Router) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move { answer(stream, router).await });
            }
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Serves connections at the port; connections above the limit are refused at once.
pub(super) async fn at_port(listener: TcpListener, router: Router) {
    let places = Arc::new(Connections::new(most()));
    loop {
        match listener.accept().await {
            Ok((stream, from)) => match Connections::take(&places, from.ip()) {
                Some(place) => {
                    let router = router.clone();
                    tokio::spawn(async move {
                        answer(stream, router).await;
                        drop(place);
                    });
                }
                None => {
                    // The client gets this only if it can be sent at once.
                    let _ = stream.try_write(FULL);
                }
            },
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 10\r\nconnection: close\r\n\
                      content-length: 76\r\n\r\n{\"error\":\"there are too many connections\",\"hint\":\"close some of your pages\"}";

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(stream: S, router: Router) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD);
    // A client that breaks off or is too slow gets no answer.
    let _ = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)).await;
}

/// Maximum connections at the port, within this process's limit of open files.
fn most() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    (files.saturating_sub(KEPT) as usize).clamp(16, MOST)
}

/// Number of connections of each network.
struct Connections {
    most: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// Permission for one connection, until it is dropped.
struct ConnectionPermit {
    places: Arc<Connections>,
    from: IpAddr,
}

impl Connections {
    fn new(most: usize) -> Self {
        Self { most, taken: Mutex::default() }
    }

    /// Takes a permit; `None` if all are taken, or all of this network.
    fn take(places: &Arc<Self>, from: IpAddr) -> Option<ConnectionPermit> {
        let from = network(from);
        let mut taken = places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, own) = (taken.values().sum::<usize>(), taken.get(&from).copied().unwrap_or(0));
        if all >= places.most || own >= MOST_OF_ONE {
            return None;
        }
        taken.insert(from, own + 1);
        Some(ConnectionPermit { places: Arc::clone(places), from })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(n) = taken.get_mut(&self.from) {
            *n -= 1;
            if *n == 0 {
                taken.remove(&self.from);
            }
        }
    }
}

/// Network of an address: for IPv6 its /64, since a user has many addresses there (RFC 6177).
fn network(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Reads the whole body, within limits, before the request is handled. Every refusal becomes JSON,
/// also one from a library.
pub(super) async fn whole(most: usize, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let read = timeout(BODY, Limited::new(body, most).collect()).await;
    let answer = match read {
        Err(_) => refused(StatusCode::REQUEST_TIMEOUT, &format!("the body has not come in {} s", BODY.as_secs())),
        Ok(Err(e)) if e.is::<LengthLimitError>() => {
            refused(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body is longer than {most} bytes"))
        }
        Ok(Err(_)) => refused(StatusCode::BAD_REQUEST, "the body breaks off"),
        Ok(Ok(body)) => next.run(Request::from_parts(parts, Body::from(body.to_bytes()))).await,
    };
    let is_json = answer.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    if is_json || !(answer.status().is_client_error() || answer.status().is_server_error()) {
        return answer;
    }
    // A refusal by the library: of an address, a method, or characters in a path.
    let (parts, body) = answer.into_parts();
    let said = Limited::new(body, 4096).collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let said = match String::from_utf8_lossy(&said).trim() {
        "" => parts.status.canonical_reason().unwrap_or("this cannot be done").to_lowercase(),
        said => said.to_owned(),
    };
    let mut refused = refused(parts.status, &said);
    if let Some(allowed) = parts.headers.get(header::ALLOW) {
        refused.headers_mut().insert(header::ALLOW, allowed.clone());
    }
    refused
}

fn refused(code: StatusCode, error: &str) -> Response {
    super::api::refusal(code, error, None)
}

#[cfg(test)]
mod tests {
    use super::{Connections, FULL, MOST_OF_ONE, network};
    use std::sync::Arc;

    #[test]
    fn nobody_takes_all_places() {
        let places = Arc::new(Connections::new(200));
        let from = |n: u8| [10, 0, 0, n].into();
        let greedy: Vec<_> = (0..1000).filter_map(|_| Connections::take(&places, from(1))).collect();
        assert_eq!(greedy.len(), MOST_OF_ONE);
        let others: Vec<_> = (0..1000).filter_map(|n| Connections::take(&places, from(2 + (n % 4) as u8))).collect();
        assert_eq!(others.len(), 200 - MOST_OF_ONE);
        drop(greedy);
        assert!(Connections::take(&places, from(1)).is_some());
        drop(others);
        assert!(places.taken.lock().unwrap().is_empty());
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), from(1));
    }

    #[test]
    fn the_answer_to_one_too_many_has_its_length() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("\r\ncontent-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).unwrap()["error"].is_string());
    }
}
