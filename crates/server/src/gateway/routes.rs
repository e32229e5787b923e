//! The paths of the gateway.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{OriginalUri, Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde_json::{Map, Value, json};
use shardlake_sql::session::Configuration;
use uuid::Uuid;

use super::complete;
use super::operation::{Fetched, Operation};
use super::page::RowFormat;
use super::session::{GatewaySession, Request};
use crate::app::App;
use crate::failure::{Failure, Outcome};
use crate::guard::{Role, defines};
use crate::parameters;
use crate::respond::{ok, pairs_field, read_object, text_field};

/// The versions of Flink's protocol that are answered.
const VERSIONS: [&str; 4] = ["V1", "V2", "V3", "V4"];
/// The statements that can configure a session.
const CONFIGURING: [&str; 8] = ["SET", "RESET", "CREATE", "DROP", "USE", "ALTER", "LOAD", "UNLOAD"];
/// How often a finished configuring statement is looked for.
const POLL: Duration = Duration::from_millis(5);

type Server = State<Arc<App>>;
type Answered = Outcome<Response>;

/// All paths of the gateway, below each version and below none.
pub(crate) fn routes() -> Router<Arc<App>> {
    let mut router = one_version();
    for version in VERSIONS {
        router = router.nest(&format!("/{}", version.to_ascii_lowercase()), one_version());
    }
    router
}

fn one_version() -> Router<Arc<App>> {
    let session = "/sessions/{session_handle}";
    let operation = format!("{session}/operations/{{operation_handle}}");
    Router::new()
        .route("/info", get(info))
        .route("/api_versions", get(api_versions))
        .route("/sessions", post(open_session))
        .route(session, get(session_config).delete(close_session))
        .route(&format!("{session}/heartbeat"), post(heartbeat))
        .route(&format!("{session}/configure-session"), post(configure_session))
        .route(&format!("{session}/statements"), post(execute_statement))
        .route(
            &format!("{session}/complete-statement"),
            get(complete_statement).post(complete_statement),
        )
        .route(&format!("{operation}/status"), get(operation_status))
        .route(&format!("{operation}/cancel"), post(cancel_operation).delete(cancel_operation))
        .route(&format!("{operation}/close"), delete(close_operation))
        .route(&format!("{operation}/result/{{token}}"), get(fetch_results))
}

async fn info(State(app): Server) -> Response {
    ok(&json!({ "productName": "Apache Flink", "version": app.flink_version }))
}

async fn api_versions() -> Response {
    ok(&json!({ "versions": VERSIONS }))
}

async fn open_session(State(app): Server, body: Bytes) -> Answered {
    let body = read_object(&body)?;
    let mut settings = app.settings.clone();
    settings.extend(pairs_field(&body, "properties")?);
    let configuration = Configuration::new(settings)
        .map_err(|failure| Failure::statement("openSession", failure))?;
    let handle = app.sessions.open(app.engine.session(configuration))?;
    Ok(ok(&json!({ "sessionHandle": handle })))
}

fn find_session(app: &App, what: &str, handle: &str) -> Outcome<Arc<GatewaySession>> {
    let handle = parameters::handle("session_handle", handle)?;
    app.sessions.get(handle).ok_or_else(|| no_session(what, handle))
}

fn no_session(what: &str, handle: Uuid) -> Failure {
    let cause = format!(
        "Session '{handle}' does not exist. It may have been closed, or it was idle for too long."
    );
    Failure::gateway(what, &cause)
}

async fn session_config(State(app): Server, Path(handle): Path<String>) -> Answered {
    let session = find_session(&app, "getSessionConfig", &handle)?;
    let options = session.configuration().to_options();
    let properties: Map<String, Value> =
        options.masked().map(|(key, value)| (key.to_owned(), Value::from(value))).collect();
    Ok(ok(&json!({ "properties": properties })))
}

async fn close_session(State(app): Server, Path(handle): Path<String>) -> Answered {
    let handle = parameters::handle("session_handle", &handle)?;
    if !app.sessions.close(handle) {
        return Err(no_session("closeSession", handle));
    }
    Ok(ok(&json!({ "status": "CLOSED" })))
}

async fn heartbeat(State(app): Server, Path(handle): Path<String>, _body: Bytes) -> Answered {
    find_session(&app, "triggerHeartbeat", &handle)?;
    Ok(ok(&json!({})))
}

fn request(body: &Map<String, Value>) -> Outcome<Request> {
    let timeout = text_field(body, "executionTimeout")?;
    let timeout_ms = match timeout.as_deref().map(str::parse::<i64>) {
        None => 0,
        Some(Ok(ms)) => u64::try_from(ms).unwrap_or(0),
        Some(Err(_)) => {
            return Err(Failure::body("the field 'executionTimeout' must hold a number."));
        }
    };
    Ok(Request {
        statement: text_field(body, "statement")?.unwrap_or_default(),
        settings: pairs_field(body, "executionConfig")?,
        timeout: (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms)),
    })
}

/// A client without the role `admin` uses what is defined, and defines nothing.
fn check_role(role: Option<Extension<Role>>, statement: &str) -> Outcome<()> {
    let role = role.map_or(Role::Read, |Extension(role)| role);
    if role < Role::Admin && defines(statement) {
        let message = "Statements that define something need a token with the role 'admin'.";
        return Err(Failure::new(StatusCode::FORBIDDEN, message));
    }
    Ok(())
}

async fn execute_statement(
    State(app): Server,
    Path(handle): Path<String>,
    role: Option<Extension<Role>>,
    body: Bytes,
) -> Answered {
    let handle = parameters::handle("session_handle", &handle)?;
    let request = request(&read_object(&body)?)?;
    check_role(role, &request.statement)?;
    let session = app.sessions.get(handle).ok_or_else(|| {
        Failure::server_side(
            "execute statement",
            "org.apache.flink.table.gateway.api.utils.SqlGatewayException",
            &format!("Session '{handle}' does not exist."),
        )
    })?;
    let operation = session.submit(request)?;
    Ok(ok(&json!({ "operationHandle": operation })))
}

async fn configure_session(
    State(app): Server,
    Path(handle): Path<String>,
    role: Option<Extension<Role>>,
    body: Bytes,
) -> Answered {
    let session = find_session(&app, "configure session", &handle)?;
    let request = request(&read_object(&body)?)?;
    check_role(role, &request.statement)?;
    let word = request.statement.split_whitespace().next().unwrap_or_default();
    if !CONFIGURING.contains(&word.to_ascii_uppercase().as_str()) {
        let cause = format!(
            "Unsupported statement for configuring session.\nThe configuration session API only \
             supports to execute statement of type {}.",
            CONFIGURING.join(", ")
        );
        return Err(Failure::server_side(
            "configure session",
            "org.apache.flink.table.api.TableException",
            &cause,
        ));
    }
    let handle = session.submit(request)?;
    let operation = find_operation(&session, "configure session", handle)?;
    while !operation.status().is_terminal() {
        tokio::time::sleep(POLL).await;
    }
    let outcome = operation.fetch(0, RowFormat::Json, |_| String::new()).await;
    session.close_operation(handle);
    outcome.map(|_| ok(&json!({})))
}

async fn complete_statement(
    State(app): Server,
    Path(handle): Path<String>,
    body: Bytes,
) -> Answered {
    let session = find_session(&app, "completeStatement", &handle)?;
    let body = read_object(&body)?;
    let statement = text_field(&body, "statement")?.unwrap_or_default();
    let end = statement.chars().count();
    let position = body.get("position").and_then(Value::as_u64);
    let position = position.and_then(|position| usize::try_from(position).ok()).unwrap_or(end);
    let (place, names) = session.object_names().await;
    let candidates = complete::candidates(&statement, position, &place, &names);
    Ok(ok(&json!({ "candidates": candidates })))
}

fn find_operation(session: &GatewaySession, what: &str, handle: Uuid) -> Outcome<Arc<Operation>> {
    session.operation(handle).ok_or_else(|| no_operation(what, handle))
}

fn no_operation(what: &str, handle: Uuid) -> Failure {
    let cause =
        format!("Can not find the submitted operation in the OperationManager with the {handle}.");
    Failure::gateway(what, &cause)
}

async fn operation_status(
    State(app): Server,
    Path((session, operation)): Path<(String, String)>,
) -> Answered {
    const WHAT: &str = "getOperationInfo";
    let handle = parameters::handle("operation_handle", &operation)?;
    let session = find_session(&app, WHAT, &session)?;
    let operation = find_operation(&session, WHAT, handle)?;
    Ok(ok(&json!({ "status": operation.status().as_str() })))
}

async fn cancel_operation(
    State(app): Server,
    Path((session, operation)): Path<(String, String)>,
    _body: Bytes,
) -> Answered {
    const WHAT: &str = "cancelOperation";
    let handle = parameters::handle("operation_handle", &operation)?;
    let session = find_session(&app, WHAT, &session)?;
    let status = find_operation(&session, WHAT, handle)?.cancel()?;
    Ok(ok(&json!({ "status": status.as_str() })))
}

async fn close_operation(
    State(app): Server,
    Path((session, operation)): Path<(String, String)>,
) -> Answered {
    const WHAT: &str = "closeOperation";
    let handle = parameters::handle("operation_handle", &operation)?;
    let session = find_session(&app, WHAT, &session)?;
    if !session.close_operation(handle) {
        return Err(no_operation(WHAT, handle));
    }
    Ok(ok(&json!({ "status": "CLOSED" })))
}

async fn fetch_results(
    State(app): Server,
    Path((session, operation, token)): Path<(String, String, String)>,
    OriginalUri(uri): OriginalUri,
    RawQuery(query): RawQuery,
) -> Response {
    let format = match parameters::row_format(query.as_deref()) {
        Ok(format) => format,
        Err(failure) => return failure.into_response(),
    };
    let asked = (session.as_str(), operation.as_str(), token.as_str());
    match fetch(&app, asked, format, uri.path()).await {
        Ok(answer) => answer,
        Err(failure) if format == RowFormat::Arrow => failure.into_detailed(),
        Err(failure) => failure.into_response(),
    }
}

async fn fetch(
    app: &App,
    (session, operation, token): (&str, &str, &str),
    format: RowFormat,
    path: &str,
) -> Answered {
    const WHAT: &str = "fetchResults";
    let handle = parameters::handle("operation_handle", operation)?;
    let token = parameters::token(token)?;
    let session = find_session(app, WHAT, session)?;
    let operation = find_operation(&session, WHAT, handle)?;
    let base = path.rsplit_once('/').map_or("", |(base, _)| base);
    let place = |token: u64| format!("{base}/{token}?rowFormat={}", format.name());
    match operation.fetch(token, format, &place).await? {
        Fetched::NotReady => {
            Ok(ok(&json!({ "resultType": "NOT_READY", "nextResultUri": place(token) })))
        }
        Fetched::Page(body) => Ok(crate::respond::json_response(StatusCode::OK, body)),
    }
}
