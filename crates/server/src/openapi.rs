//! The OpenAPI document: every path that the server answers. Tests send hostile requests to each of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::respond::ok;

/// A path, its method, what it does, its query parameters and the fields of its body.
struct Endpoint(
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
);

const SESSION: &str = "/sessions/{session_handle}";

const GATEWAY: &[Endpoint] = &[
    Endpoint("get", "/info", "Product and version", &[], &[]),
    Endpoint("get", "/api_versions", "Versions of the protocol", &[], &[]),
    Endpoint(
        "post",
        "/sessions",
        "Opens a session",
        &[],
        &[("sessionName", "string"), ("properties", "object")],
    ),
    Endpoint("get", SESSION, "Settings of a session", &[], &[]),
    Endpoint("delete", SESSION, "Closes a session", &[], &[]),
    Endpoint("post", "/sessions/{session_handle}/heartbeat", "Keeps a session", &[], &[]),
    Endpoint(
        "post",
        "/sessions/{session_handle}/configure-session",
        "Runs a statement that configures the session",
        &[],
        &[("statement", "string"), ("executionTimeout", "integer")],
    ),
    Endpoint(
        "post",
        "/sessions/{session_handle}/statements",
        "Submits a statement",
        &[],
        &[("statement", "string"), ("executionTimeout", "integer"), ("executionConfig", "object")],
    ),
    Endpoint(
        "get",
        "/sessions/{session_handle}/complete-statement",
        "Completes a statement",
        &[],
        &[("statement", "string"), ("position", "integer")],
    ),
    Endpoint(
        "post",
        "/sessions/{session_handle}/complete-statement",
        "Completes a statement",
        &[],
        &[("statement", "string"), ("position", "integer")],
    ),
    Endpoint(
        "get",
        "/sessions/{session_handle}/operations/{operation_handle}/status",
        "Where an operation stands",
        &[],
        &[],
    ),
    Endpoint(
        "post",
        "/sessions/{session_handle}/operations/{operation_handle}/cancel",
        "Cancels an operation",
        &[],
        &[],
    ),
    Endpoint(
        "delete",
        "/sessions/{session_handle}/operations/{operation_handle}/cancel",
        "Cancels an operation",
        &[],
        &[],
    ),
    Endpoint(
        "delete",
        "/sessions/{session_handle}/operations/{operation_handle}/close",
        "Closes an operation",
        &[],
        &[],
    ),
    Endpoint(
        "get",
        "/sessions/{session_handle}/operations/{operation_handle}/result/{token}",
        "A page of a result",
        &["rowFormat"],
        &[],
    ),
];

const REST: &[Endpoint] = &[
    Endpoint("get", "/overview", "The cluster", &[], &[]),
    Endpoint("get", "/config", "The configuration of the page", &[], &[]),
    Endpoint("get", "/cluster", "The cluster", &[], &[]),
    Endpoint("delete", "/cluster", "Refused", &[], &[]),
    Endpoint("get", "/datasets", "None", &[], &[]),
    Endpoint("get", "/jars", "None", &[], &[]),
    Endpoint("get", "/jobmanager/config", "Settings of the server", &[], &[]),
    Endpoint("get", "/jobmanager/environment", "What the server runs on", &[], &[]),
    Endpoint("get", "/jobmanager/metrics", "Metrics of the process", &["get"], &[]),
    Endpoint("get", "/jobmanager/thread-dump", "Threads of the process", &[], &[]),
    Endpoint("get", "/jobmanager/logs", "Files of the log", &[], &[]),
    Endpoint("get", "/jobmanager/logs/{name}", "A file of the log", &[], &[]),
    Endpoint("get", "/jobmanager/log", "The log", &[], &[]),
    Endpoint("get", "/jobmanager/stdout", "Empty", &[], &[]),
    Endpoint("get", "/taskmanagers", "The only task manager", &[], &[]),
    Endpoint("get", "/taskmanagers/metrics", "Metrics of the process", &["get"], &[]),
    Endpoint("get", "/taskmanagers/{taskmanagerid}", "A task manager", &[], &[]),
    Endpoint("get", "/taskmanagers/{taskmanagerid}/metrics", "Its metrics", &["get"], &[]),
    Endpoint("get", "/taskmanagers/{taskmanagerid}/thread-dump", "Its threads", &[], &[]),
    Endpoint("get", "/taskmanagers/{taskmanagerid}/logs", "Files of its log", &[], &[]),
    Endpoint("get", "/taskmanagers/{taskmanagerid}/logs/{name}", "A file of its log", &[], &[]),
    Endpoint("get", "/taskmanagers/{taskmanagerid}/log", "Its log", &[], &[]),
    Endpoint("get", "/taskmanagers/{taskmanagerid}/stdout", "Empty", &[], &[]),
    Endpoint("get", "/applications/overview", "Jobs as applications", &[], &[]),
    Endpoint("get", "/applications/{jobid}", "A job as an application", &[], &[]),
    Endpoint("get", "/applications/{jobid}/exceptions", "Empty", &[], &[]),
    Endpoint("get", "/applications/{jobid}/jobmanager/config", "Settings of the server", &[], &[]),
    Endpoint("get", "/jobs", "Ids of the jobs", &[], &[]),
    Endpoint("get", "/jobs/overview", "The jobs", &[], &[]),
    Endpoint("get", "/jobs/metrics", "Metrics over jobs", &["get", "jobs", "agg"], &[]),
    Endpoint("get", "/jobs/{jobid}", "A job", &[], &[]),
    Endpoint("patch", "/jobs/{jobid}", "Cancels a job", &["mode"], &[]),
    Endpoint(
        "post",
        "/jobs/{jobid}/stop",
        "Stops a job with a savepoint",
        &[],
        &[("targetDirectory", "string"), ("drain", "boolean"), ("triggerId", "string")],
    ),
    Endpoint(
        "post",
        "/jobs/{jobid}/savepoints",
        "Makes a savepoint",
        &[],
        &[("target-directory", "string"), ("cancel-job", "boolean"), ("triggerId", "string")],
    ),
    Endpoint("get", "/jobs/{jobid}/savepoints/{triggerid}", "What came of a savepoint", &[], &[]),
    Endpoint(
        "post",
        "/savepoint-disposal",
        "Removes a savepoint",
        &[],
        &[("savepoint-path", "string")],
    ),
    Endpoint("get", "/savepoint-disposal/{triggerid}", "What came of a removal", &[], &[]),
    Endpoint("get", "/jobs/{jobid}/status", "The status of a job", &[], &[]),
    Endpoint("get", "/jobs/{jobid}/plan", "The plan of a job", &[], &[]),
    Endpoint("get", "/jobs/{jobid}/config", "The settings of a job", &[], &[]),
    Endpoint("get", "/jobs/{jobid}/exceptions", "Failures of a job", &["maxExceptions"], &[]),
    Endpoint("get", "/jobs/{jobid}/execution-result", "How a job ended", &[], &[]),
    Endpoint("get", "/jobs/{jobid}/accumulators", "None", &[], &[]),
    Endpoint("get", "/jobs/{jobid}/metrics", "Metrics of a job", &["get"], &[]),
    Endpoint("get", "/jobs/{jobid}/jobmanager/config", "Settings of the server", &[], &[]),
    Endpoint("get", "/jobs/{jobid}/checkpoints", "Checkpoints of a job", &[], &[]),
    Endpoint("post", "/jobs/{jobid}/checkpoints", "Refused", &[], &[]),
    Endpoint("get", "/jobs/{jobid}/checkpoints/config", "Settings of checkpoints", &[], &[]),
    Endpoint("get", "/jobs/{jobid}/checkpoints/details/{checkpointid}", "A checkpoint", &[], &[]),
    Endpoint(
        "get",
        "/jobs/{jobid}/checkpoints/details/{checkpointid}/subtasks/{vertexid}",
        "A checkpoint of an operator",
        &[],
        &[],
    ),
    Endpoint("patch", "/jobs/{jobid}/rescaling", "Refused", &[], &[]),
    Endpoint("post", "/jobs/{jobid}/rescaling", "Refused", &[], &[]),
    Endpoint("get", "/jobs/{jobid}/vertices/{vertexid}", "An operator", &[], &[]),
    Endpoint("get", "/jobs/{jobid}/vertices/{vertexid}/accumulators", "None", &[], &[]),
    Endpoint(
        "get",
        "/jobs/{jobid}/vertices/{vertexid}/backpressure",
        "Its back-pressure",
        &[],
        &[],
    ),
    Endpoint("get", "/jobs/{jobid}/vertices/{vertexid}/flamegraph", "None", &["type"], &[]),
    Endpoint("get", "/jobs/{jobid}/vertices/{vertexid}/metrics", "Its metrics", &["get"], &[]),
    Endpoint("get", "/jobs/{jobid}/vertices/{vertexid}/subtasktimes", "Its times", &[], &[]),
    Endpoint("get", "/jobs/{jobid}/vertices/{vertexid}/taskmanagers", "Where it runs", &[], &[]),
    Endpoint("get", "/jobs/{jobid}/vertices/{vertexid}/watermarks", "None", &[], &[]),
    Endpoint("get", "/jobs/{jobid}/vertices/{vertexid}/subtasks/accumulators", "None", &[], &[]),
    Endpoint(
        "get",
        "/jobs/{jobid}/vertices/{vertexid}/subtasks/metrics",
        "Metrics over its subtasks",
        &["get", "subtasks", "agg"],
        &[],
    ),
    Endpoint(
        "get",
        "/jobs/{jobid}/vertices/{vertexid}/subtasks/{subtaskindex}",
        "A subtask",
        &[],
        &[],
    ),
    Endpoint(
        "get",
        "/jobs/{jobid}/vertices/{vertexid}/subtasks/{subtaskindex}/metrics",
        "Its metrics",
        &["get"],
        &[],
    ),
    Endpoint(
        "get",
        "/jobs/{jobid}/vertices/{vertexid}/subtasks/{subtaskindex}/attempts/{attempt}",
        "A subtask",
        &[],
        &[],
    ),
    Endpoint(
        "get",
        "/jobs/{jobid}/vertices/{vertexid}/subtasks/{subtaskindex}/attempts/{attempt}/accumulators",
        "None",
        &[],
        &[],
    ),
];

const OWN: &[Endpoint] = &[
    Endpoint("get", "/", "The page", &[], &[]),
    Endpoint("get", "/healthz", "Whether the process answers", &[], &[]),
    Endpoint("get", "/readyz", "Whether the server can work", &[], &[]),
    Endpoint("get", "/metrics", "Metrics in Prometheus' format", &[], &[]),
    Endpoint("get", "/openapi.json", "This document", &[], &[]),
    Endpoint("get", "/api/v1/overview", "Everything that changes, for the page", &[], &[]),
    Endpoint("get", "/api/v1/events", "The overview as a stream of events", &["job"], &[]),
    Endpoint("get", "/api/v1/jobs/{jobid}", "A job with all its details", &[], &[]),
    Endpoint("get", "/api/v1/jobs/{jobid}/tables", "The tables that a job writes", &[], &[]),
    Endpoint("get", "/api/v1/logs", "The end of the log", &["lines"], &[]),
];

/// The versions below which the gateway's paths are answered, and below which those of the JobManager.
const VERSIONS: [(&str, &[&[Endpoint]]); 5] = [
    ("", &[GATEWAY, REST, OWN]),
    ("/v1", &[GATEWAY, REST]),
    ("/v2", &[GATEWAY]),
    ("/v3", &[GATEWAY]),
    ("/v4", &[GATEWAY]),
];

/// `GET /openapi.json`.
pub(crate) async fn document(State(app): State<Arc<App>>) -> Response {
    ok(&build(app.access.asks_for_tokens()))
}

fn build(asks_for_tokens: bool) -> Value {
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for (version, groups) in VERSIONS {
        for endpoint in groups.iter().copied().flatten() {
            let path = format!("{version}{}", endpoint.1);
            let operation = operation(endpoint, &path);
            paths.entry(path).or_default().insert(endpoint.0.to_owned(), operation);
        }
    }
    let security = if asks_for_tokens { json!([{ "token": [] }]) } else { json!([]) };
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "Shardlake",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Flink's SQL gateway and JobManager REST, and the server's own paths.",
        },
        "security": security,
        "components": {
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
            "schemas": {
                "Errors": {
                    "type": "object",
                    "required": ["errors"],
                    "properties": {
                        "errors": { "type": "array", "items": { "type": "string" } },
                    },
                },
            },
        },
        "paths": paths,
    })
}

fn operation(endpoint: &Endpoint, path: &str) -> Value {
    let Endpoint(_, _, summary, query, body) = endpoint;
    let in_path = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let text = |name: &str, place: &str| {
        json!({
            "name": name, "in": place, "required": place == "path",
            "schema": { "type": "string" },
        })
    };
    let mut parameters: Vec<Value> = in_path.map(|name| text(name, "path")).collect();
    parameters.extend(query.iter().map(|name| text(name, "query")));
    let failure = json!({
        "description": "A failure with its reason",
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Errors" } } },
    });
    let mut operation = json!({
        "summary": summary,
        "parameters": parameters,
        "responses": { "200": { "description": "The answer" }, "default": failure },
    });
    if !body.is_empty() {
        let fields: Map<String, Value> =
            body.iter().map(|(name, kind)| ((*name).to_owned(), json!({ "type": kind }))).collect();
        let schema = json!({ "type": "object", "properties": fields });
        if let Some(operation) = operation.as_object_mut() {
            operation.insert(
                "requestBody".to_owned(),
                json!({ "content": { "application/json": { "schema": schema } } }),
            );
        }
    }
    operation
}
