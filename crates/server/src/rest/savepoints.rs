//! Savepoints over REST: triggered by one request, asked about by others.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use indexmap::IndexMap;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use shardlake_checkpoint::{Savepoint, local_path};
use uuid::Uuid;

use super::jobs::find_job;
use crate::app::App;
use crate::engine::Engine;
use crate::failure::{Failure, Outcome};
use crate::respond::{json_response, ok, read_object, text_field};

/// The most triggers whose outcome is remembered.
const TRIGGERS_MAX: usize = 1_000;

type Server = State<Arc<App>>;
type Answered = Outcome<Response>;

/// What came of a trigger; none while it is under way.
type TriggerOutcome = Option<Result<String, String>>;

/// Triggers by their ids.
#[derive(Default)]
pub(crate) struct Triggers(Mutex<IndexMap<String, (String, TriggerOutcome)>>);

impl Triggers {
    fn begin(&self, job: &str, id: Option<String>) -> String {
        let id = id.unwrap_or_else(|| Uuid::new_v4().simple().to_string());
        let mut triggers = self.0.lock();
        triggers.insert(id.clone(), (job.to_owned(), None));
        while triggers.len() > TRIGGERS_MAX {
            triggers.shift_remove_index(0);
        }
        id
    }

    fn end(&self, id: &str, outcome: Result<String, String>) {
        if let Some((_, place)) = self.0.lock().get_mut(id) {
            *place = Some(outcome);
        }
    }

    fn get(&self, job: &str, id: &str) -> Option<TriggerOutcome> {
        let triggers = self.0.lock();
        let (of, outcome) = triggers.get(id)?;
        (of == job).then(|| outcome.clone())
    }
}

fn trigger_id(body: &Map<String, Value>) -> Outcome<Option<String>> {
    let id = text_field(body, "triggerId")?;
    match &id {
        Some(id) if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            Err(Failure::body("the field 'triggerId' must hold 32 hexadecimal digits."))
        }
        _ => Ok(id),
    }
}

fn folder_of(text: Option<String>) -> Outcome<Option<PathBuf>> {
    let path = text.map(|text| local_path("target-directory", &text)).transpose();
    path.map_err(|error| Failure::new(StatusCode::BAD_REQUEST, error.report()))
}

fn accepted(id: &str) -> Response {
    json_response(StatusCode::ACCEPTED, json!({ "request-id": id }).to_string())
}

/// `POST /jobs/{id}/savepoints`.
pub(crate) async fn trigger(State(app): Server, Path(id): Path<String>, body: Bytes) -> Answered {
    let job = find_job(&app, &id)?;
    let body = read_object(&body)?;
    let ends = body.get("cancel-job").and_then(Value::as_bool).unwrap_or(false);
    let folder = folder_of(text_field(&body, "target-directory")?)?;
    start(&app, &job.id, trigger_id(&body)?, folder, ends)
}

/// `POST /jobs/{id}/stop`.
pub(crate) async fn stop(State(app): Server, Path(id): Path<String>, body: Bytes) -> Answered {
    let job = find_job(&app, &id)?;
    let body = read_object(&body)?;
    let folder = folder_of(text_field(&body, "targetDirectory")?)?;
    start(&app, &job.id, trigger_id(&body)?, folder, true)
}

fn start(
    app: &Arc<App>,
    job: &str,
    id: Option<String>,
    folder: Option<PathBuf>,
    ends: bool,
) -> Answered {
    // What is wrong with the request is answered at once.
    let folder = app.engine.savepoint_folder(job, folder);
    let folder =
        folder.map_err(|failure| Failure::new(StatusCode::BAD_REQUEST, failure.message))?;
    let id = app.triggers.begin(job, id);
    let (running, job, trigger) = (Arc::clone(app), job.to_owned(), id.clone());
    tokio::spawn(async move {
        let outcome = match ends {
            true => running.engine.stop_with_savepoint(&job, &folder).await,
            false => Engine::savepoint(&running.engine, &job, &folder).await,
        };
        running.triggers.end(&trigger, outcome.map_err(|failure| failure.message));
    });
    Ok(accepted(&id))
}

/// `GET /jobs/{id}/savepoints/{trigger}`.
pub(crate) async fn status(
    State(app): Server,
    Path((job, trigger)): Path<(String, String)>,
) -> Answered {
    let job = find_job(&app, &job)?;
    answer(&app, &job.id, &trigger)
}

fn answer(app: &App, job: &str, trigger: &str) -> Answered {
    let outcome = app.triggers.get(job, trigger).ok_or_else(|| {
        let error = format!(
            "org.apache.flink.runtime.rest.NotFoundException: Could not find a savepoint operation \
             with the id {}.\n",
            crate::failure::excerpt(trigger)
        );
        Failure::new(StatusCode::NOT_FOUND, error)
    })?;
    Ok(ok(&match outcome {
        None => json!({ "status": { "id": "IN_PROGRESS" }, "operation": null }),
        Some(Ok(location)) if location.is_empty() => {
            json!({ "status": { "id": "COMPLETED" }, "operation": {} })
        }
        Some(Ok(location)) => {
            json!({ "status": { "id": "COMPLETED" }, "operation": { "location": location } })
        }
        Some(Err(message)) => json!({
            "status": { "id": "COMPLETED" },
            "operation": {
                "failure-cause": { "class": "SavepointFailure", "stack-trace": message },
            },
        }),
    }))
}

/// `POST /savepoint-disposal`: removes a savepoint, and nothing that is none.
pub(crate) async fn dispose(State(app): Server, body: Bytes) -> Answered {
    let body = read_object(&body)?;
    let path = folder_of(text_field(&body, "savepoint-path")?)?;
    let path = path.ok_or_else(|| Failure::body("the field 'savepoint-path' is missing."))?;
    let id = app.triggers.begin("", None);
    let outcome = tokio::task::spawn_blocking(move || remove(&path)).await;
    let outcome = outcome.unwrap_or_else(|_| Err("removing the savepoint panicked".to_owned()));
    app.triggers.end(&id, outcome.map(|()| String::new()));
    Ok(accepted(&id))
}

fn remove(path: &std::path::Path) -> Result<(), String> {
    Savepoint::read(path).map_err(|error| error.report())?;
    let failed = |error: std::io::Error| format!("the savepoint cannot be removed: {error}");
    let folder = if path.is_dir() { Some(path) } else { path.parent() };
    let folder = folder.ok_or_else(|| "the savepoint has no folder".to_owned())?;
    std::fs::remove_file(folder.join("_metadata")).map_err(failed)?;
    std::fs::remove_dir(folder).map_err(failed)
}

/// `GET /savepoint-disposal/{trigger}`.
pub(crate) async fn disposal(State(app): Server, Path(trigger): Path<String>) -> Answered {
    answer(&app, "", &trigger)
}
