//! The log of the server. Only the log's own files can be read, by the names that the list gives.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::app::App;
use crate::failure::{Failure, Outcome};
use crate::respond::ok;

/// The files of the log.
const NAMES: [&str; 2] = ["shardlake.log", "shardlake.log.1"];
/// The most of a file that is answered: its end.
const BYTES_MAX: u64 = 1 << 20;

/// `GET /jobmanager/logs`.
pub(crate) async fn list(State(app): State<Arc<App>>) -> Response {
    let entry = |name: &&str| {
        let facts = fs::metadata(app.state_dir.join(name)).ok()?;
        let modified = facts.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(json!({
            "name": name,
            "size": facts.len(),
            "mtime": u64::try_from(modified.as_millis()).unwrap_or(0),
        }))
    };
    let logs: Vec<Value> = NAMES.iter().filter_map(entry).collect();
    ok(&json!({ "logs": logs }))
}

/// `GET /jobmanager/log`.
pub(crate) async fn current(State(app): State<Arc<App>>) -> Outcome<Response> {
    file(&app, NAMES[0]).await
}

/// `GET /jobmanager/logs/{name}`.
pub(crate) async fn named(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Outcome<Response> {
    file(&app, &name).await
}

/// `GET /taskmanagers/{id}/logs/{name}`.
pub(crate) async fn named_of_manager(
    State(app): State<Arc<App>>,
    Path((_, name)): Path<(String, String)>,
) -> Outcome<Response> {
    file(&app, &name).await
}

/// `GET /jobmanager/stdout`: nothing is written there once the server runs.
pub(crate) async fn stdout() -> Response {
    text(String::new())
}

async fn file(app: &App, name: &str) -> Outcome<Response> {
    let missing =
        || Failure::new(StatusCode::NOT_FOUND, "This file does not exist in JobManager log dir.");
    let known = NAMES.iter().find(|known| **known == name).ok_or_else(missing)?;
    let path = app.state_dir.join(known);
    let read = spawn_blocking(move || end_of_file(&path, BYTES_MAX)).await;
    read.ok().and_then(Result::ok).map(text).ok_or_else(missing)
}

fn text(body: String) -> Response {
    let kind = HeaderValue::from_static("text/plain; charset=UTF-8");
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

fn end_of_file(path: &FilePath, bytes_max: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(bytes_max)))?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let whole = length <= bytes_max;
    let first_line = if whole { 0 } else { text.find('\n').map_or(0, |end| end + 1) };
    Ok(text.get(first_line..).unwrap_or_default().to_owned())
}

/// The last lines of the log.
pub(crate) async fn last_lines(state_dir: PathBuf, count: usize) -> Vec<String> {
    let path = state_dir.join(NAMES[0]);
    let read = spawn_blocking(move || end_of_file(&path, BYTES_MAX / 4)).await;
    let text = read.ok().and_then(Result::ok).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(count)).map(|line| (*line).to_owned()).collect()
}
