//! Description of the routes as `OpenAPI` 3.1, with schemas made from the Rust types.

use super::routes::{self, ApiRoute, JSON};
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// Short list of the routes.
pub(super) fn index() -> Value {
    let routes = routes::all(&mut SchemaSettings::draft2020_12().into_generator());
    let line = |route: &ApiRoute| json!({ "method": route.method.as_str(), "path": route.path, "says": route.says });
    json!({
        "routes": routes.iter().map(line).collect::<Vec<_>>(),
        "description": "/api/openapi.json",
        "page": "/",
    })
}

/// The full description in `OpenAPI`.
pub(super) fn description() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes::all(&mut generator) {
        let place = paths.entry(route.path).or_insert_with(|| json!({}));
        place.as_object_mut().expect("it was made so").insert(route.method.as_str().to_lowercase(), operation(&route));
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
        // Only a server that others can reach needs a token.
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
