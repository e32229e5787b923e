//! What a client is told when its request fails, in the shapes of Flink's servers.
//!
//! Flink answers with `{"errors": [...]}`; the text of an error holds a chain of exceptions, of which
//! clients show the last. So ours are worded as such a chain, with Flink's class names and without the
//! lines of a stack.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use shardlake_sql::diagnostic::{Code, Diagnostic};

use crate::respond::json_response;

const GATEWAY_EXCEPTION: &str = "org.apache.flink.table.gateway.api.utils.SqlGatewayException";
const REST_EXCEPTION: &str = "org.apache.flink.runtime.rest.handler.RestHandlerException";

/// A request that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    errors: Vec<String>,
    /// For clients of ours, which ask for it.
    pub(crate) diagnostic: Option<Box<Diagnostic>>,
}

pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// A failure with a single error.
    pub(crate) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, errors: vec![error.into()], diagnostic: None }
    }

    /// There is nothing at this path.
    pub(crate) fn no_such_path(path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("Not found: {path}"))
    }

    /// A part of the path or of the query is not what it should be.
    pub(crate) fn parameter(kind: &str, name: &str, value: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            format!(
                "{REST_EXCEPTION}: Bad request, could not parse parameters: Cannot resolve {kind} \
                 parameter ({name}) from value \"{}\".\n",
                excerpt(value)
            ),
        )
    }

    /// The body is not what it should be.
    pub(crate) fn body(reason: &str) -> Self {
        let error =
            format!("{REST_EXCEPTION}: Bad request, request body could not be read: {reason}\n");
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// The gateway could not do `what` because of `cause`; both fit Flink's sentences.
    pub(crate) fn gateway(what: &str, cause: &str) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!(
                "{REST_EXCEPTION}: Failed to {what}.\nCaused by: {GATEWAY_EXCEPTION}: Failed to \
                 {what}.\nCaused by: {GATEWAY_EXCEPTION}: {cause}\n"
            ),
        )
    }

    /// The gateway could not do `what`; worded as an exception on the server's side.
    pub(crate) fn server_side(what: &str, class: &str, cause: &str) -> Self {
        Self {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            errors: vec![
                "Internal server error.".to_owned(),
                format!(
                    "<Exception on server side:\n{GATEWAY_EXCEPTION}: Failed to {what}.\nCaused by: \
                     {class}: {cause}\n\nEnd of exception on server side>"
                ),
            ],
            diagnostic: None,
        }
    }

    /// A statement that could not be run, in words that Flink's clients take apart.
    pub(crate) fn statement(what: &str, diagnostic: Diagnostic) -> Self {
        let mut cause = format!("{} ({})", diagnostic.message.trim_end(), diagnostic.code);
        for more in [&diagnostic.detail, &diagnostic.hint].into_iter().flatten() {
            cause.push('\n');
            cause.push_str(more);
        }
        let mut failure = Self::server_side(what, exception_class(diagnostic.code), &cause);
        failure.diagnostic = Some(Box::new(diagnostic));
        failure
    }

    /// The same failure as a client of ours reads it.
    pub(crate) fn into_detailed(self) -> Response {
        let diagnostic = serde_json::to_value(&self.diagnostic).unwrap_or(Value::Null);
        let body = json!({ "errors": self.errors, "diagnostic": diagnostic });
        json_response(self.status, body.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        json_response(self.status, json!({ "errors": self.errors }).to_string())
    }
}

/// The class with which Flink reports a mistake of this kind.
const fn exception_class(code: Code) -> &'static str {
    match code {
        Code::Syntax => "org.apache.flink.table.api.SqlParserException",
        Code::ObjectNotFound
        | Code::ObjectExists
        | Code::ColumnNotFound
        | Code::TypeMismatch
        | Code::TableOptions
        | Code::ConnectorNotFound
        | Code::TableDefinition
        | Code::Configuration
        | Code::SessionState
        | Code::StreamingQuery
        | Code::ChangelogSink
        | Code::Planning
        | Code::JobNotFound => "org.apache.flink.table.api.ValidationException",
        _ => "org.apache.flink.table.api.TableException",
    }
}

/// The start of a text that a client sent, for a message.
pub(crate) fn excerpt(text: &str) -> String {
    const CHARS_MAX: usize = 100;
    let mut start: String = text.chars().take(CHARS_MAX).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        start.push('…');
    }
    start
}
