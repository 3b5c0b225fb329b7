//! The queue by HTTP: the same routes on the socket and, if asked for, on a port, where a guard stands before them.

use super::{
    connections,
    guard::{self, Guard},
    home,
    look::{self, Look},
    metrics, openapi, page,
    service::{Asker, JobNews, Server, Service},
    shown::JobView,
    wanted::{Again, PriorityRequest, SubmitRequest},
};
use crate::{language::Language, study_report};
use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    middleware,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::{get, post},
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

/// A recipe is some kilobytes.
const LARGEST_BODY: usize = 1 << 20;
/// At the socket a job comes with all that it reads.
const LARGEST_BODY_HERE: usize = 256 << 20;
/// So many look at files at a time; others wait.
const LOOKS: usize = 2;
/// How long they wait.
const PATIENCE: Duration = Duration::from_secs(30);
/// So much of a log at a time.
const PART: u64 = 64 << 10;

/// What handlers know: the queue, and who asks.
#[derive(Clone)]
struct App {
    service: Arc<Service>,
    asker: Asker,
    looks: Arc<Semaphore>,
}

/// Answers at the socket and, with a guard, at a port.
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
    let here = routes(app(Asker::Here)).layer(whole(LARGEST_BODY_HERE));
    runtime.spawn(connections::at_socket(socket, here));
    if let Some((listener, guard)) = http {
        let port = listener.local_addr().map_err(failed)?.port();
        let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
        let guard = Arc::new(guard.at(port, Arc::clone(service)));
        let afar = routes(app(Asker::Afar)).layer(whole(LARGEST_BODY));
        let guarded = afar.layer(middleware::from_fn_with_state(guard, guard::stand));
        runtime.spawn(connections::at_port(listener, guarded));
    }
    Ok(())
}

fn routes(app: App) -> Router {
    let pages = page::files(Language::chosen()).into_iter().fold(Router::new(), |router, file| {
        router.route(file.path, get(move || async move { ([(header::CONTENT_TYPE, file.content_type)], file.text) }))
    });
    pages
        .route("/metrics", get(metrics))
        .route("/api", get(|| async { axum::Json(openapi::index()) }))
        .route("/api/openapi.json", get(|| async { axum::Json(openapi::description()) }))
        .route("/api/jobs", get(jobs).post(submit))
        .route("/api/check", post(check))
        .route("/api/recipes", get(recipes))
        .route("/api/recipes/text", get(text))
        .route("/api/events", get(events))
        .route("/api/jobs/{id}", get(job).delete(remove))
        .route("/api/jobs/{id}/cancel", post(cancel))
        .route("/api/jobs/{id}/pause", post(pause))
        .route("/api/jobs/{id}/resume", post(resume))
        .route("/api/jobs/{id}/retry", post(retry))
        .route("/api/jobs/{id}/priority", post(prioritise))
        .route("/api/jobs/{id}/log", get(log))
        .route("/api/jobs/{id}/output", get(output))
        .route("/api/jobs/{id}/chart", get(chart))
        .route("/api/jobs/{id}/report", get(report_page))
        .fallback(|| async {
            refusal(StatusCode::NOT_FOUND, "there is nothing at this address", Some("`/api` lists what there is"))
        })
        // What a body may be is said where it is read.
        .layer(DefaultBodyLimit::disable())
        .with_state(app)
}

/// What an error is by HTTP.
pub(super) fn refusal(code: StatusCode, error: &str, hint: Option<&str>) -> Response {
    (code, axum::Json(json!({ "error": error, "hint": hint }))).into_response()
}

/// What went wrong, and how it is called by HTTP.
struct Wrong(StatusCode, Error);

impl std::convert::From<Error> for Wrong {
    fn from(error: Error) -> Self {
        let code = match error.fault() {
            Fault::User if error.to_string().starts_with("there is no job") => StatusCode::NOT_FOUND,
            Fault::User => StatusCode::UNPROCESSABLE_ENTITY,
            Fault::Machine | Fault::Interrupted => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(code, error)
    }
}

impl IntoResponse for Wrong {
    fn into_response(self) -> Response {
        refusal(self.0, &self.1.to_string(), self.1.advice())
    }
}

/// What cannot be done to a job as it is now.
fn conflict(error: Error) -> Wrong {
    let wrong = Wrong::from(error);
    Wrong(if wrong.0 == StatusCode::UNPROCESSABLE_ENTITY { StatusCode::CONFLICT } else { wrong.0 }, wrong.1)
}

type ApiAnswer<T = Response> = std::result::Result<T, Wrong>;

/// Does what takes time where it holds nobody up.
async fn apart<T: Send + 'static>(app: App, work: impl FnOnce(&App) -> ApiAnswer<T> + Send + 'static) -> ApiAnswer<T> {
    let done = tokio::task::spawn_blocking(move || work(&app)).await;
    done.unwrap_or_else(|_| Err(Error::machine("this could not be done; the server's own output says why").into()))
}

/// The same for what looks at files, which is done for a few at a time.
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

/// The body, which must call itself JSON: a page of another origin cannot send that without being asked for leave.
fn body<T: DeserializeOwned>(headers: &HeaderMap, bytes: &Bytes) -> ApiAnswer<T> {
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
    // To JSON Schema 5.0 is an integer.
    for value in fields.values_mut() {
        if let Some(whole) = value.as_f64().filter(|x| !value.is_u64() && x.fract() == 0.0 && (0.0..9e15).contains(x)) {
            *value = json!(whole as u64);
        }
    }
    serde_json::from_value(Value::Object(fields)).map_err(|e| Error::user(format!("the body: {e}")).into())
}

fn id(text: &str) -> ApiAnswer<JobId> {
    text.parse()
        .map(JobId)
        .map_err(|_| Error::user(format!("there is no job `{text}`")).hint("jobs have numbers").into())
}

/// What stands behind the question mark.
type JobsQuery = Query<BTreeMap<String, String>>;

async fn metrics(State(app): State<App>) -> ApiAnswer {
    apart(app, |app| {
        let text = metrics::text(&app.service);
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
    })
    .await
}

async fn jobs(State(app): State<App>) -> ApiAnswer {
    apart(app, |app| Ok(axum::Json(JobList { jobs: app.service.jobs(), server: app.service.server() }).into_response()))
        .await
}

#[derive(Serialize)]
struct JobList {
    jobs: Vec<JobView>,
    server: Server,
}

async fn submit(State(app): State<App>, headers: HeaderMap, bytes: Bytes) -> ApiAnswer {
    looking(app, move |app| {
        let (shown, is_new) = app.service.submit(&wanted(&headers, &bytes)?, app.asker)?;
        let code = if is_new { StatusCode::CREATED } else { StatusCode::OK };
        Ok((code, json_of(&shown)).into_response())
    })
    .await
}

async fn check(State(app): State<App>, headers: HeaderMap, bytes: Bytes) -> ApiAnswer {
    looking(app, move |app| Ok(json_of(&app.service.check(&wanted(&headers, &bytes)?, app.asker)?))).await
}

/// What is wanted, within what its description says.
fn wanted(headers: &HeaderMap, bytes: &Bytes) -> ApiAnswer<SubmitRequest> {
    let wanted: SubmitRequest = body(headers, bytes)?;
    wanted.check()?;
    Ok(wanted)
}

async fn recipes(State(app): State<App>) -> ApiAnswer {
    apart(app, |app| Ok(axum::Json(json!({ "recipes": app.service.recipes() })).into_response())).await
}

async fn text(State(app): State<App>, Query(query): JobsQuery) -> ApiAnswer {
    looking(app, move |app| {
        let file = query.get("file").ok_or_else(|| Error::user("no `file` is named"))?.clone();
        let text: String = look::at(&Look::Text { file, roots: app.service.roots.clone() })?;
        Ok(axum::Json(json!({ "text": text })).into_response())
    })
    .await
}

async fn job(State(app): State<App>, Path(number): Path<String>) -> ApiAnswer {
    apart(app, move |app| Ok(json_of(&app.service.job(id(&number)?)?))).await
}

async fn remove(State(app): State<App>, Path(number): Path<String>) -> ApiAnswer {
    apart(app, move |app| {
        app.service.remove(id(&number)?).map_err(conflict)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    })
    .await
}

/// What is done to a job; the body says nothing but that it is no form of another page.
async fn change(
    app: App,
    number: String,
    headers: HeaderMap,
    bytes: Bytes,
    how: fn(&Service, JobId) -> Result<JobView>,
) -> ApiAnswer {
    apart(app, move |app| {
        let _: Nothing = body(&headers, &bytes)?;
        Ok(json_of(&how(&app.service, id(&number)?).map_err(conflict)?))
    })
    .await
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn cancel(State(app): State<App>, Path(number): Path<String>, headers: HeaderMap, bytes: Bytes) -> ApiAnswer {
    change(app, number, headers, bytes, Service::cancel).await
}

async fn pause(State(app): State<App>, Path(number): Path<String>, headers: HeaderMap, bytes: Bytes) -> ApiAnswer {
    change(app, number, headers, bytes, Service::pause).await
}

async fn resume(State(app): State<App>, Path(number): Path<String>, headers: HeaderMap, bytes: Bytes) -> ApiAnswer {
    change(app, number, headers, bytes, Service::resume).await
}

async fn retry(State(app): State<App>, Path(number): Path<String>, headers: HeaderMap, bytes: Bytes) -> ApiAnswer {
    apart(app, move |app| {
        let again: Again = body(&headers, &bytes)?;
        if again.seconds == Some(0) || again.bytes == Some(0) {
            return Err(Error::user("the body: a limit is 1 or more").into());
        }
        Ok(json_of(&app.service.retry(id(&number)?, &again).map_err(conflict)?))
    })
    .await
}

async fn prioritise(State(app): State<App>, Path(number): Path<String>, headers: HeaderMap, bytes: Bytes) -> ApiAnswer {
    apart(app, move |app| {
        let PriorityRequest { priority } = body(&headers, &bytes)?;
        Ok(json_of(&app.service.prioritise(id(&number)?, priority).map_err(conflict)?))
    })
    .await
}

async fn log(State(app): State<App>, Path(number): Path<String>, Query(query): JobsQuery) -> ApiAnswer {
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

async fn output(State(app): State<App>, Path(number): Path<String>) -> ApiAnswer {
    apart(app, move |app| {
        let id = app.service.job(id(&number)?)?.job.id;
        let (text, _) = home::tail(&app.service.home.output(JobId(id)), None, PART)?;
        Ok(axum::Json(json!({ "text": text })).into_response())
    })
    .await
}

async fn chart(State(app): State<App>, Path(number): Path<String>, Query(query): JobsQuery) -> ApiAnswer {
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
        Ok(([(header::CONTENT_TYPE, "image/svg+xml")], drawn).into_response())
    })
    .await
}

async fn report_page(State(app): State<App>, Path(number): Path<String>) -> ApiAnswer {
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
        Ok(([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response())
    })
    .await
}

async fn events(State(app): State<App>) -> Response {
    let (service, asker) = (Arc::clone(&app.service), app.asker);
    let news = BroadcastStream::new(service.listen());
    let event = move |news| {
        // One that is too slow has missed something, and asks for all again when it is told of the next.
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
