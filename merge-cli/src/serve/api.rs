//! Handlers of the HTTP routes, served at the socket and, with a guard before them, at a port.
//!
//! The table in `routes` describes each.

use super::{
    connections,
    guard::{self, Guard},
    home,
    look::{self, Look},
    metrics, openapi, routes,
    service::{Asker, JobError, JobNews, JobResult, Server, Service},
    shown::JobView,
    wanted::{Again, PriorityRequest, SubmitRequest},
};
use crate::study_report;
use axum::{
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    middleware,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use merge_core::{
    error::{Error, Fault, Result},
    queue::{JobId, JobKind, JobState},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap, convert::Infallible, net::TcpListener, os::unix::net::UnixListener, sync::Arc,
    time::Duration,
};
use tokio::{runtime::Runtime, sync::Semaphore, time::timeout};
use tokio_stream::{StreamExt as _, wrappers::BroadcastStream};

/// Maximum size of a body at the port in bytes: a recipe has some kilobytes.
const LARGEST_BODY: usize = 1 << 20;
/// Maximum size of a body at the socket, where a job comes with all texts that it reads.
const LARGEST_BODY_HERE: usize = 256 << 20;
/// Number of requests that examine files at a time; others wait.
const LOOKS: usize = 2;
/// Maximum time that such a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(30);
/// Maximum number of bytes of a log in one response.
const PART: u64 = 64 << 10;

/// State of the handlers: the queue, and the sender of the request.
#[derive(Clone)]
pub(super) struct App {
    service: Arc<Service>,
    asker: Asker,
    looks: Arc<Semaphore>,
}

/// Serves the routes at the socket and, with a guard, at a port.
pub(super) fn start(
    runtime: &Runtime,
    service: &Arc<Service>,
    socket: UnixListener,
    http: Option<(TcpListener, Guard)>,
) -> Result<()> {
    let failed = |e: std::io::Error| Error::machine(format!("cannot listen: {e}"));
    let _inside = runtime.enter();
    let socket = tokio::net::UnixListener::from_std(socket).map_err(failed)?;
    let app = |asker| App { service: Arc::clone(service), asker, looks: Arc::new(Semaphore::new(LOOKS)) };
    let whole = |most| middleware::from_fn(move |request, next| connections::whole(most, request, next));
    let here = routes::router(app(Asker::Here)).layer(whole(LARGEST_BODY_HERE));
    runtime.spawn(connections::at_socket(socket, here));
    if let Some((listener, guard)) = http {
        let port = listener.local_addr().map_err(failed)?.port();
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        let guard = Arc::new(guard.at(port, Arc::clone(service)));
        let afar = routes::router(app(Asker::Afar)).layer(whole(LARGEST_BODY));
        let guarded = afar.layer(middleware::from_fn_with_state(guard, guard::stand));
        runtime.spawn(connections::at_port(listener, guarded));
    }
    Ok(())
}

/// Response for an error.
pub(super) fn refusal(code: StatusCode, error: &str, hint: Option<&str>) -> Response {
    (code, axum::Json(json!({ "error": error, "hint": hint }))).into_response()
}

/// Error with its HTTP status.
pub(super) struct Wrong(StatusCode, Error);

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        let code = match error.fault() {
            Fault::User => StatusCode::UNPROCESSABLE_ENTITY,
            Fault::Machine | Fault::Interrupted => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(code, error)
    }
}

impl From<JobError> for Wrong {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Absent(error) => Self(StatusCode::NOT_FOUND, error),
            // The job's present state forbids it.
            JobError::Other(error) if error.fault() == Fault::User => Self(StatusCode::CONFLICT, error),
            JobError::Other(error) => error.into(),
        }
    }
}

impl IntoResponse for Wrong {
    fn into_response(self) -> Response {
        refusal(self.0, &self.1.to_string(), self.1.advice())
    }
}

type ApiAnswer<T = Response> = std::result::Result<T, Wrong>;

/// Runs blocking work on a thread of its own, so that other requests go on.
async fn apart<T: Send + 'static>(app: App, work: impl FnOnce(&App) -> ApiAnswer<T> + Send + 'static) -> ApiAnswer<T> {
    let done = tokio::task::spawn_blocking(move || work(&app)).await;
    done.unwrap_or_else(|_| Err(Error::machine("this could not be done; the server's own output says why").into()))
}

/// Like [`apart`], for work that examines files: only [`LOOKS`] run at a time.
async fn looking<T: Send + 'static>(
    app: App,
    work: impl FnOnce(&App) -> ApiAnswer<T> + Send + 'static,
) -> ApiAnswer<T> {
    let Ok(Ok(_place)) = timeout(PATIENCE, Arc::clone(&app.looks).acquire_owned()).await else {
        let error = Error::user("others have asked for so much that this was not looked at").hint("try again later");
        return Err(Wrong(StatusCode::SERVICE_UNAVAILABLE, error));
    };
    apart(app, work).await
}

fn json_of<T: Serialize>(value: &T) -> Response {
    axum::Json(serde_json::to_value(value).expect("plain data")).into_response()
}

/// Headers and body of a request.
type SentBody = (HeaderMap, Bytes);

/// Parses the body. Its type must be JSON: a page of another origin cannot send that without a
/// preflight.
fn body<T: DeserializeOwned>((headers, bytes): &SentBody) -> ApiAnswer<T> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().is_none_or(|kind| !kind.trim().eq_ignore_ascii_case("application/json")) {
        let error = Error::user("the body must be JSON").hint("send it with `content-type: application/json`");
        return Err(Wrong(StatusCode::UNSUPPORTED_MEDIA_TYPE, error));
    }
    let read = serde_json::from_slice::<Value>(bytes)
        .map_err(|e| Wrong(StatusCode::BAD_REQUEST, Error::user(format!("the body is no JSON: {e}"))))?;
    let Value::Object(mut fields) = read else {
        return Err(Error::user("the body must be an object").into());
    };
    // In JSON Schema, 5.0 is an integer.
    for value in fields.values_mut() {
        if let Some(whole) = value.as_f64().filter(|x| !value.is_u64() && x.fract() == 0.0 && (0.0..9e15).contains(x)) {
            *value = json!(whole as u64);
        }
    }
    serde_json::from_value(Value::Object(fields)).map_err(|e| Error::user(format!("the body: {e}")).into())
}

fn id(text: &str) -> ApiAnswer<JobId> {
    let absent = || Error::user(format!("there is no job `{text}`")).hint("jobs have numbers");
    text.parse().map(JobId).map_err(|_| Wrong(StatusCode::NOT_FOUND, absent()))
}

/// Query of a URL, by the names of its parameters.
type JobsQuery = Query<BTreeMap<String, String>>;

/// Response for an address without a route.
pub(super) async fn nothing() -> Response {
    refusal(StatusCode::NOT_FOUND, "there is nothing at this address", Some("`/api` lists what there is"))
}

pub(super) async fn index() -> Response {
    axum::Json(openapi::index()).into_response()
}

pub(super) async fn description() -> Response {
    axum::Json(openapi::description()).into_response()
}

pub(super) async fn metrics(State(app): State<App>) -> ApiAnswer {
    apart(app, |app| {
        let text = metrics::text(&app.service);
        Ok(([(header::CONTENT_TYPE, routes::OPENMETRICS)], text).into_response())
    })
    .await
}

pub(super) async fn jobs(State(app): State<App>) -> ApiAnswer {
    apart(app, |app| Ok(axum::Json(JobList { jobs: app.service.jobs(), server: app.service.server() }).into_response()))
        .await
}

#[derive(Serialize)]
struct JobList {
    jobs: Vec<JobView>,
    server: Server,
}

pub(super) async fn submit(State(app): State<App>, sent: SentBody) -> ApiAnswer {
    looking(app, move |app| {
        let (shown, is_new) = app.service.submit(&wanted(&sent)?, app.asker)?;
        let code = if is_new { StatusCode::CREATED } else { StatusCode::OK };
        Ok((code, json_of(&shown)).into_response())
    })
    .await
}

pub(super) async fn check(State(app): State<App>, sent: SentBody) -> ApiAnswer {
    looking(app, move |app| Ok(json_of(&app.service.check(&wanted(&sent)?, app.asker)?))).await
}

/// Parses a submission, and checks the limits that the schema states.
fn wanted(sent: &SentBody) -> ApiAnswer<SubmitRequest> {
    let wanted: SubmitRequest = body(sent)?;
    wanted.check()?;
    Ok(wanted)
}

pub(super) async fn recipes(State(app): State<App>) -> ApiAnswer {
    apart(app, |app| Ok(axum::Json(json!({ "recipes": app.service.recipes() })).into_response())).await
}

pub(super) async fn text(State(app): State<App>, Query(query): JobsQuery) -> ApiAnswer {
    looking(app, move |app| {
        let file = query.get("file").ok_or_else(|| Error::user("no `file` is named"))?.clone();
        let text: String = look::at(&Look::Text { file, roots: app.service.roots.clone() })?;
        Ok(axum::Json(json!({ "text": text })).into_response())
    })
    .await
}

pub(super) async fn job(State(app): State<App>, Path(number): Path<String>) -> ApiAnswer {
    apart(app, move |app| Ok(json_of(&app.service.job(id(&number)?)?))).await
}

pub(super) async fn remove(State(app): State<App>, Path(number): Path<String>) -> ApiAnswer {
    apart(app, move |app| {
        app.service.remove(id(&number)?)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

/// Changes a job. The body is an empty object: its JSON type proves that no form of another page
/// sent it.
async fn change(app: App, number: String, sent: SentBody, how: fn(&Service, JobId) -> JobResult<JobView>) -> ApiAnswer {
    apart(app, move |app| {
        let _: Nothing = body(&sent)?;
        Ok(json_of(&how(&app.service, id(&number)?)?))
    })
    .await
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

pub(super) async fn cancel(State(app): State<App>, Path(number): Path<String>, sent: SentBody) -> ApiAnswer {
    change(app, number, sent, Service::cancel).await
}

pub(super) async fn pause(State(app): State<App>, Path(number): Path<String>, sent: SentBody) -> ApiAnswer {
    change(app, number, sent, Service::pause).await
}

pub(super) async fn resume(State(app): State<App>, Path(number): Path<String>, sent: SentBody) -> ApiAnswer {
    change(app, number, sent, Service::resume).await
}

pub(super) async fn retry(State(app): State<App>, Path(number): Path<String>, sent: SentBody) -> ApiAnswer {
    apart(app, move |app| {
        let again: Again = body(&sent)?;
        if again.seconds == Some(0) || again.bytes == Some(0) {
            return Err(Error::user("the body: a limit is 1 or more").into());
        }
        Ok(json_of(&app.service.retry(id(&number)?, &again)?))
    })
    .await
}

pub(super) async fn prioritise(State(app): State<App>, Path(number): Path<String>, sent: SentBody) -> ApiAnswer {
    apart(app, move |app| {
        let PriorityRequest { priority } = body(&sent)?;
        Ok(json_of(&app.service.prioritise(id(&number)?, priority)?))
    })
    .await
}

pub(super) async fn log(State(app): State<App>, Path(number): Path<String>, Query(query): JobsQuery) -> ApiAnswer {
    apart(app, move |app| {
        let id = app.service.job(id(&number)?)?.job.id;
        let from = match query.get("from") {
            None => None,
            Some(text) => Some(text.parse().map_err(|_| Error::user(format!("from: `{text}` is no number of bytes")))?),
        };
        let (text, next) = home::tail(&app.service.home.log(JobId(id)), from, PART)?;
        Ok(axum::Json(json!({ "text": text, "next": next })).into_response())
    })
    .await
}

pub(super) async fn output(State(app): State<App>, Path(number): Path<String>) -> ApiAnswer {
    apart(app, move |app| {
        let id = app.service.job(id(&number)?)?.job.id;
        let (text, _) = home::tail(&app.service.home.output(JobId(id)), None, PART)?;
        Ok(axum::Json(json!({ "text": text })).into_response())
    })
    .await
}

pub(super) async fn chart(State(app): State<App>, Path(number): Path<String>, Query(query): JobsQuery) -> ApiAnswer {
    apart(app, move |app| {
        let id = id(&number)?;
        let width = query
            .get("width")
            .map(|text| text.parse().map_err(|_| Error::user(format!("width: `{text}` is no number of pixels"))));
        let width = width.transpose()?;
        app.service.job(id)?;
        let told = app.service.told(id);
        let drawn = told
            .and_then(|told| study_report::live(&told.curves, &told.models, width))
            .ok_or_else(|| Wrong(StatusCode::NOT_FOUND, Error::user(format!("job {id} has nothing to draw yet"))))?;
        Ok(([(header::CONTENT_TYPE, routes::SVG)], drawn).into_response())
    })
    .await
}

pub(super) async fn report(State(app): State<App>, Path(number): Path<String>) -> ApiAnswer {
    looking(app, move |app| {
        let id = id(&number)?;
        let job = app.service.job(id)?.job;
        let none = || {
            let error = Error::user(format!("job {id} has no report yet")).hint("a search has one when it is done");
            Wrong(StatusCode::NOT_FOUND, error)
        };
        if (job.kind, job.state) != (JobKind::Search, JobState::Done) {
            return Err(none());
        }
        let study = app.service.output_of(id).ok_or_else(none)?;
        let html: String = look::at(&Look::Report { name: job.name, study })?;
        Ok(([(header::CONTENT_TYPE, routes::HTML)], html).into_response())
    })
    .await
}

pub(super) async fn events(State(app): State<App>) -> Response {
    let (service, asker) = (Arc::clone(&app.service), app.asker);
    let news = BroadcastStream::new(service.listen());
    let event = move |news| {
        // A slow listener has missed events. It gets `missed`, and loads everything again.
        let event = match news {
            Ok(JobNews::Job(text)) => Event::default().event("job").data(match asker {
                Asker::Here => text.to_string(),
                Asker::Afar => {
                    let mut job = serde_json::from_str(&text).unwrap_or_default();
                    service.roots.conceal_in(&mut job);
                    job.to_string()
                }
            }),
            Ok(JobNews::Removed(id)) => Event::default().event("removed").data(json!({ "id": id }).to_string()),
            Err(_) => Event::default().event("missed").data("{}"),
        };
        Ok::<_, Infallible>(event)
    };
    Sse::new(news.map(event)).keep_alive(KeepAlive::default()).into_response()
}
