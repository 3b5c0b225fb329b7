//! What the server says of itself to programs: `OpenAPI` 3.1, its schemas made from the types that are read and written.

use super::{
    service::{Server, SubmissionCheck},
    shown::{Detail, JobView, RecipeEntry},
    wanted::{Again, PriorityRequest, SubmitRequest},
};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

/// A way in.
struct ApiRoute {
    path: &'static str,
    method: &'static str,
    name: &'static str,
    says: &'static str,
    /// The schema of the body, if there is one.
    takes: Option<Value>,
    /// Parameters of the query.
    query: Vec<Value>,
    /// What comes back when all is well: code, type, schema.
    gives: Vec<(u16, &'static str, Option<Value>)>,
    /// What may come back otherwise.
    refuses: &'static [u16],
}

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// What there is at which address, for who looks around.
pub(super) fn index() -> Value {
    let routes = routes(&mut SchemaSettings::draft2020_12().into_generator());
    let line =
        |route: &ApiRoute| json!({ "method": route.method.to_uppercase(), "path": route.path, "says": route.says });
    json!({
        "routes": routes.iter().map(line).collect::<Vec<_>>(),
        "description": "/api/openapi.json",
        "page": "/",
    })
}

/// The description.
pub(super) fn description() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes(&mut generator) {
        let place = paths.entry(route.path).or_insert_with(|| json!({}));
        place.as_object_mut().expect("it was made so").insert(route.method.to_owned(), operation(&route));
    }
    let mut schemas = generator.take_definitions(true);
    schemas.insert(
        "Refusal".to_owned(),
        json!({
            "type": "object",
            "required": ["error", "hint"],
            "properties": {
                "error": { "type": "string", "description": "What is wrong; of a recipe with file, line and column." },
                "hint": { "type": ["string", "null"], "description": "What to do about it." },
            },
        }),
    );
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "evomerge",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The job queue of a workstation that merges language models and evolves merges.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        // Only a server that others can reach asks for one.
        "security": [{}, { "token": [] }],
    })
}

fn operation(route: &ApiRoute) -> Value {
    let mut responses = Map::new();
    for (code, kind, schema) in &route.gives {
        let mut response = json!({ "description": "It is done." });
        if !kind.is_empty() {
            response["content"] =
                json!({ *kind: schema.as_ref().map_or_else(|| json!({}), |schema| json!({ "schema": schema })) });
        }
        responses.insert(code.to_string(), response);
    }
    let refusal = json!({ "$ref": "#/components/schemas/Refusal" });
    for code in route.refuses.iter().chain(&[401, 403]) {
        let says = match code {
            400 => "The body is no JSON, or the address is broken.",
            401 => "A token is needed.",
            403 => "The request comes from another site's page, or under a name that is not this server's.",
            404 => "There is no such thing.",
            409 => "It cannot be done to a job that is as this one is now.",
            408 => "The body has not come in time.",
            413 => "The body is too long.",
            415 => "The body does not call itself JSON.",
            503 => "Others ask for too much: try again later.",
            _ => "It cannot be done: the error says why.",
        };
        responses.insert(code.to_string(), json!({ "description": says, "content": { JSON: { "schema": refusal } } }));
    }
    let mut parameters = route.query.clone();
    if route.path.contains("{id}") {
        parameters.push(json!({
            "name": "id", "in": "path", "required": true, "description": "A job's number.",
            "schema": { "type": "integer", "minimum": 1, "maximum": 9_007_199_254_740_991_u64 },
        }));
    }
    let mut operation = json!({
        "operationId": route.name, "summary": route.says, "parameters": parameters, "responses": responses,
    });
    if let Some(schema) = &route.takes {
        operation["requestBody"] = json!({ "required": true, "content": { JSON: { "schema": schema } } });
    }
    operation
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

fn get(
    path: &'static str,
    name: &'static str,
    says: &'static str,
    kind: &'static str,
    schema: Option<Value>,
) -> ApiRoute {
    ApiRoute {
        path,
        method: "get",
        name,
        says,
        takes: None,
        query: Vec::new(),
        gives: vec![(200, kind, schema)],
        refuses: &[],
    }
}

fn post(path: &'static str, name: &'static str, says: &'static str, takes: Value, schema: &Value) -> ApiRoute {
    ApiRoute {
        path,
        method: "post",
        name,
        says,
        takes: Some(takes),
        query: Vec::new(),
        gives: vec![(200, JSON, Some(schema.clone()))],
        refuses: &[400, 408, 413, 415, 422, 503],
    }
}

fn parameter(name: &str, schema: &Value, is_required: bool, says: &str) -> Value {
    json!({ "name": name, "in": "query", "required": is_required, "schema": schema, "description": says })
}

fn routes(generator: &mut SchemaGenerator) -> Vec<ApiRoute> {
    let (job, wanted) = (of::<JobView>(generator), of::<SubmitRequest>(generator));
    let all = object(&[("jobs", list(&job)), ("server", of::<Server>(generator))]);
    let listed = object(&[("recipes", list(&of::<RecipeEntry>(generator)))]);
    let route = object(&[("method", text()), ("path", text()), ("says", text())]);
    let file = parameter("file", &text(), true, "A recipe's name, from a root on.");
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let mut routes = vec![
        get("/api/jobs", "jobs", "All jobs, oldest first, and the server.", JSON, Some(all)),
        ApiRoute {
            gives: vec![(201, JSON, Some(job.clone())), (200, JSON, Some(job.clone()))],
            ..post("/api/jobs", "submit", "Takes a job in; 200 if its key is known.", wanted.clone(), &job)
        },
        post(
            "/api/check",
            "check",
            "Looks whether a recipe can be done, and says what it needs; takes nothing in.",
            wanted,
            &of::<SubmissionCheck>(generator),
        ),
        get("/api/recipes", "recipes", "The recipes that may be handed in.", JSON, Some(listed)),
        ApiRoute {
            query: vec![file],
            refuses: &[400, 422, 503],
            ..get("/api/recipes/text", "text", "A recipe's text.", JSON, Some(object(&[("text", text())])))
        },
        get(
            "/api/events",
            "events",
            "Jobs as they change: events `job` with a job, and `removed` with its number.",
            "text/event-stream",
            None,
        ),
        get("/api", "index", "What there is at which address.", JSON, Some(object(&[("routes", list(&route))]))),
        get("/api/openapi.json", "description", "This description.", JSON, None),
        get("/metrics", "metrics", "The queue in numbers, for Prometheus.", openmetrics, None),
    ];
    routes.extend(routes_of_a_job(&job, generator));
    routes
}

fn routes_of_a_job(job: &Value, generator: &mut SchemaGenerator) -> Vec<ApiRoute> {
    let nothing = || json!({ "type": "object", "additionalProperties": false });
    let change = |path, name, says, takes: Value| ApiRoute {
        refuses: &[400, 404, 408, 409, 413, 415, 422],
        ..post(path, name, says, takes, job)
    };
    let integer = json!({ "type": "integer", "minimum": 0 });
    let from = parameter("from", &integer, false, "The byte to begin at; the last 64 KiB unless given.");
    let log = object(&[("text", text()), ("next", integer.clone())]);
    let detail = of::<Detail>(generator);
    let found = |route| ApiRoute { refuses: &[400, 404, 422, 503], ..route };
    vec![
        found(get("/api/jobs/{id}", "job", "A job, and all that has happened to it.", JSON, Some(detail))),
        ApiRoute {
            method: "delete",
            gives: vec![(204, "", None)],
            refuses: &[400, 404, 409, 422],
            ..found(get("/api/jobs/{id}", "remove", "Forgets a job that has ended, and its directory.", JSON, None))
        },
        change("/api/jobs/{id}/cancel", "cancel", "Gives a job up; one that runs is asked to stop.", nothing()),
        change("/api/jobs/{id}/pause", "pause", "Holds a job; one that runs is asked to stop.", nothing()),
        change("/api/jobs/{id}/resume", "resume", "Lets a paused job have its turn again.", nothing()),
        change(
            "/api/jobs/{id}/retry",
            "retry",
            "Queues a job again that failed or was cancelled.",
            of::<Again>(generator),
        ),
        change(
            "/api/jobs/{id}/priority",
            "prioritise",
            "Gives a job another place in the order.",
            of::<PriorityRequest>(generator),
        ),
        ApiRoute {
            query: vec![from],
            ..found(get("/api/jobs/{id}/log", "log", "What a job has said, and where to go on.", JSON, Some(log)))
        },
        found(get("/api/jobs/{id}/output", "output", "What a job has found.", JSON, Some(object(&[("text", text())])))),
        ApiRoute {
            query: vec![parameter("width", &integer, false, "Pixels that there are for it; 860 unless given.")],
            ..found(get("/api/jobs/{id}/chart", "chart", "A running search, drawn.", "image/svg+xml", None))
        },
        found(get("/api/jobs/{id}/report", "report", "What a search found: one page.", HTML, None)),
    ]
}
