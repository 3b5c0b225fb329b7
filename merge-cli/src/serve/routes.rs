//! Table of the routes, from which the server, its description and its index are made.

use super::{
    api::{self, App},
    page,
    service::{Server, SubmissionCheck},
    shown::{Detail, JobView, RecipeEntry},
    wanted::{Again, PriorityRequest, SubmitRequest},
};
use crate::language::Language;
use axum::{
    Router,
    extract::DefaultBodyLimit,
    handler::Handler,
    http::{Method, header},
    routing::{self, MethodFilter, MethodRouter},
};
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// A route with its handler and its description.
pub(super) struct ApiRoute {
    pub(super) method: Method,
    pub(super) path: &'static str,
    handler: MethodRouter<App>,
    /// Name of the operation for programs.
    pub(super) name: &'static str,
    pub(super) says: &'static str,
    /// Schema of the body, if the route takes one.
    pub(super) takes: Option<Value>,
    /// Parameters of the query.
    pub(super) query: Vec<Value>,
    /// Responses on success: status, content type, schema.
    pub(super) gives: Vec<(u16, &'static str, Option<Value>)>,
    /// Statuses of the refusals.
    pub(super) refuses: &'static [u16],
}

/// Content type of most responses and of every body.
pub(super) const JSON: &str = "application/json";
/// Content types of other responses.
pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const SVG: &str = "image/svg+xml";
pub(super) const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const EVENTS: &str = "text/event-stream";

/// Refusals of routes that check a submission, that read a job, and that change a job.
const SUBMITTING: &[u16] = &[400, 408, 413, 415, 422, 503];
const SHOWING: &[u16] = &[400, 404, 422, 503];
const CHANGING: &[u16] = &[400, 404, 408, 409, 413, 415, 422];

/// Router of all routes and of the page's files.
pub(super) fn router(app: App) -> Router {
    let pages = page::files(Language::chosen()).into_iter().fold(Router::new(), |router, file| {
        let answer = ([(header::CONTENT_TYPE, file.content_type)], file.text);
        router.route(file.path, routing::get(move || async move { answer }))
    });
    all(&mut SchemaGenerator::default())
        .into_iter()
        .fold(pages, |router, route| router.route(route.path, route.handler))
        .fallback(api::nothing)
        // `connections::whole` limits the bodies.
        .layer(DefaultBodyLimit::disable())
        .with_state(app)
}

/// All routes. Their schemas refer to definitions in the generator.
pub(super) fn all(generator: &mut SchemaGenerator) -> Vec<ApiRoute> {
    let (job, wanted) = (of::<JobView>(generator), of::<SubmitRequest>(generator));
    let jobs = object(&[("jobs", list(&job)), ("server", of::<Server>(generator))]);
    let recipes = object(&[("recipes", list(&of::<RecipeEntry>(generator)))]);
    let line = object(&[("method", text()), ("path", text()), ("says", text())]);
    let index = object(&[("routes", list(&line))]);
    let mut routes = vec![
        route(Method::GET, "/api/jobs", api::jobs, "jobs").says("All jobs, oldest first, and the server.").json(jobs),
        route(Method::POST, "/api/jobs", api::submit, "submit")
            .says("Takes a job in; 200 if its key is known.")
            .takes(wanted.clone())
            .gives(201, JSON, Some(job.clone()))
            .json(job.clone())
            .refuses(SUBMITTING),
        route(Method::POST, "/api/check", api::check, "check")
            .says("Looks whether a recipe can be done, and says what it needs; takes nothing in.")
            .takes(wanted)
            .json(of::<SubmissionCheck>(generator))
            .refuses(SUBMITTING),
        route(Method::GET, "/api/recipes", api::recipes, "recipes")
            .says("The recipes that may be handed in.")
            .json(recipes),
        route(Method::GET, "/api/recipes/text", api::text, "text")
            .says("A recipe's text.")
            .asks("file", &text(), true, "A recipe's name, from a root on.")
            .json(object(&[("text", text())]))
            .refuses(&[400, 422, 503]),
        route(Method::GET, "/api/events", api::events, "events")
            .says("Jobs as they change: events `job` with a job, and `removed` with its number.")
            .sends(EVENTS),
        route(Method::GET, "/api", api::index, "index").says("What there is at which address.").json(index),
        route(Method::GET, "/api/openapi.json", api::description, "description").says("This description.").sends(JSON),
        route(Method::GET, "/metrics", api::metrics, "metrics")
            .says("The queue in numbers, for Prometheus.")
            .sends(OPENMETRICS),
    ];
    routes.extend(of_a_job(&job, generator));
    routes
}

/// Routes of one job.
fn of_a_job(job: &Value, generator: &mut SchemaGenerator) -> Vec<ApiRoute> {
    let nothing = || json!({ "type": "object", "additionalProperties": false });
    let number = json!({ "type": "integer", "minimum": 0 });
    vec![
        route(Method::GET, "/api/jobs/{id}", api::job, "job")
            .says("A job, and all that has happened to it.")
            .json(of::<Detail>(generator))
            .refuses(SHOWING),
        route(Method::DELETE, "/api/jobs/{id}", api::remove, "remove")
            .says("Forgets a job that has ended, and its directory.")
            .gives(204, "", None)
            .refuses(&[400, 404, 409, 422]),
        route(Method::POST, "/api/jobs/{id}/cancel", api::cancel, "cancel")
            .says("Gives a job up; one that runs is asked to stop.")
            .takes(nothing())
            .json(job.clone())
            .refuses(CHANGING),
        route(Method::POST, "/api/jobs/{id}/pause", api::pause, "pause")
            .says("Holds a job; one that runs is asked to stop.")
            .takes(nothing())
            .json(job.clone())
            .refuses(CHANGING),
        route(Method::POST, "/api/jobs/{id}/resume", api::resume, "resume")
            .says("Lets a paused job have its turn again.")
            .takes(nothing())
            .json(job.clone())
            .refuses(CHANGING),
        route(Method::POST, "/api/jobs/{id}/retry", api::retry, "retry")
            .says("Queues a job again that failed or was cancelled.")
            .takes(of::<Again>(generator))
            .json(job.clone())
            .refuses(CHANGING),
        route(Method::POST, "/api/jobs/{id}/priority", api::prioritise, "prioritise")
            .says("Gives a job another place in the order.")
            .takes(of::<PriorityRequest>(generator))
            .json(job.clone())
            .refuses(CHANGING),
        route(Method::GET, "/api/jobs/{id}/log", api::log, "log")
            .says("What a job has said, and where to go on.")
            .asks("from", &number, false, "The byte to begin at; the last 64 KiB unless given.")
            .json(object(&[("text", text()), ("next", number.clone())]))
            .refuses(SHOWING),
        route(Method::GET, "/api/jobs/{id}/output", api::output, "output")
            .says("What a job has found.")
            .json(object(&[("text", text())]))
            .refuses(SHOWING),
        route(Method::GET, "/api/jobs/{id}/chart", api::chart, "chart")
            .says("A running search, drawn.")
            .asks("width", &number, false, "Pixels that there are for it; 860 unless given.")
            .sends(SVG)
            .refuses(SHOWING),
        route(Method::GET, "/api/jobs/{id}/report", api::report, "report")
            .says("What a search found: one page.")
            .sends(HTML)
            .refuses(SHOWING),
    ]
}

/// A route without a description.
fn route<T: 'static>(
    method: Method,
    path: &'static str,
    handler: impl Handler<T, App>,
    name: &'static str,
) -> ApiRoute {
    let filter = MethodFilter::try_from(method.clone()).expect("axum routes this method");
    let handler = routing::on(filter, handler);
    ApiRoute { method, path, handler, name, says: "", takes: None, query: Vec::new(), gives: Vec::new(), refuses: &[] }
}

impl ApiRoute {
    fn says(self, says: &'static str) -> Self {
        Self { says, ..self }
    }

    fn takes(self, schema: Value) -> Self {
        Self { takes: Some(schema), ..self }
    }

    fn asks(mut self, name: &str, schema: &Value, is_required: bool, says: &str) -> Self {
        self.query.push(
            json!({ "name": name, "in": "query", "required": is_required, "schema": schema, "description": says }),
        );
        self
    }

    fn json(self, schema: Value) -> Self {
        self.gives(200, JSON, Some(schema))
    }

    /// Adds a success response without a schema.
    fn sends(self, kind: &'static str) -> Self {
        self.gives(200, kind, None)
    }

    fn gives(mut self, code: u16, kind: &'static str, schema: Option<Value>) -> Self {
        self.gives.push((code, kind, schema));
        self
    }

    fn refuses(self, codes: &'static [u16]) -> Self {
        Self { refuses: codes, ..self }
    }
}

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

fn object(fields: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let properties: Map<String, Value> =
        fields.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "required": names, "properties": properties })
}

fn list(of: &Value) -> Value {
    json!({ "type": "array", "items": of })
}

fn text() -> Value {
    json!({ "type": "string" })
}
