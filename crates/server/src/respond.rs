//! Answers in JSON, and the reading of bodies that hold JSON.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::Value;

use crate::failure::{Failure, Outcome};

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=UTF-8");

/// An answer with a body of JSON.
pub(crate) fn json_response(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// A successful answer.
pub(crate) fn ok(body: &Value) -> Response {
    json_response(StatusCode::OK, body.to_string())
}

/// The object in a body; an empty body is an empty object, as for Flink.
pub(crate) fn read_object(body: &Bytes) -> Outcome<serde_json::Map<String, Value>> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(serde_json::Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Failure::body("it holds JSON, but no object.")),
        Err(error) => {
            let (line, column) = (error.line(), error.column());
            Err(Failure::body(&format!("it is no JSON at line {line}, column {column}.")))
        }
    }
}

/// A field that holds text; numbers and truth values are taken as their text, as by Flink.
pub(crate) fn text_field(
    object: &serde_json::Map<String, Value>,
    key: &str,
) -> Outcome<Option<String>> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => scalar_text(value)
            .map(Some)
            .ok_or_else(|| Failure::body(&format!("the field '{key}' must hold text."))),
    }
}

/// A field that holds keys and values.
pub(crate) fn pairs_field(
    object: &serde_json::Map<String, Value>,
    key: &str,
) -> Outcome<Vec<(String, String)>> {
    let wrong = || Failure::body(&format!("the field '{key}' must hold an object of texts."));
    match object.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Object(pairs)) => pairs
            .iter()
            .map(|(key, value)| Ok((key.clone(), scalar_text(value).ok_or_else(wrong)?)))
            .collect(),
        Some(_) => Err(wrong()),
    }
}

fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
