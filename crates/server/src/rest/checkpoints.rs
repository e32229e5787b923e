//! Checkpoints: the epochs of a job that became visible.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};
use shardlake_checkpoint::CheckpointSettings;
use shardlake_job::{CommitReading, JobHandle};

use super::jobs::{find_job, operators};
use crate::app::App;
use crate::directory::JobView;
use crate::failure::{Failure, Outcome};
use crate::respond::ok;

type Server = State<Arc<App>>;
type Answered = Outcome<Response>;

fn epochs(job: &JobView) -> Vec<CommitReading> {
    job.handle.as_ref().map(JobHandle::epochs).unwrap_or_default()
}

const fn took_ms(epoch: &CommitReading) -> u64 {
    epoch.at_ms.saturating_sub(epoch.closed_at_ms)
}

/// An epoch as a checkpoint. `tasks` are those of a detail.
fn checkpoint(epoch: &CommitReading, task_count: usize, tasks: Value) -> Value {
    json!({
        "className": "completed",
        "id": epoch.epoch,
        "status": "COMPLETED",
        "is_savepoint": false,
        "savepointFormat": null,
        "trigger_timestamp": epoch.closed_at_ms,
        "latest_ack_timestamp": epoch.at_ms,
        "checkpointed_size": epoch.size_bytes,
        "state_size": epoch.size_bytes,
        "end_to_end_duration": took_ms(epoch),
        "alignment_buffered": 0,
        "processed_data": epoch.row_count,
        "persisted_data": 0,
        "num_subtasks": task_count,
        "num_acknowledged_subtasks": task_count,
        "checkpoint_type": "CHECKPOINT",
        "tasks": tasks,
        "external_path": commit_name(epoch),
        "discarded": false,
    })
}

/// Where the checkpoint is: the commits of the sinks.
fn commit_name(epoch: &CommitReading) -> String {
    let names: Vec<&str> = epoch.commits.iter().flatten().map(String::as_str).collect();
    if names.is_empty() { "<none>".to_owned() } else { names.join(",") }
}

/// Flink's statistics over values.
fn statistics(values: impl Iterator<Item = u64>) -> Value {
    let mut sorted: Vec<u64> = values.collect();
    sorted.sort_unstable();
    let quantile = |part: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "the index of one of at most some hundred values"
        )]
        let index = ((sorted.len().saturating_sub(1)) as f64 * part).round() as usize;
        match sorted.get(index) {
            #[expect(clippy::cast_precision_loss, reason = "it is shown, not computed with")]
            Some(value) => json!(*value as f64),
            None => json!("NaN"),
        }
    };
    let sum: u64 = sorted.iter().sum();
    json!({
        "min": sorted.first().copied().unwrap_or(0),
        "max": sorted.last().copied().unwrap_or(0),
        "avg": sum / (sorted.len().max(1) as u64),
        "p50": quantile(0.5), "p90": quantile(0.9), "p95": quantile(0.95), "p99": quantile(0.99),
        "p999": quantile(0.999),
    })
}

/// `GET /jobs/{id}/checkpoints`.
pub(crate) async fn history(State(app): Server, Path(id): Path<String>) -> Answered {
    let job = find_job(&app, &id)?;
    let epochs = epochs(&job);
    let tasks = operators(&job).iter().map(|operator| operator.parallelism).sum();
    let completed = job.handle.as_ref().map_or(0, JobHandle::epoch_count);
    let failed = job.handle.as_ref().map_or(0, |job| job.counters().restarts);
    let one = |epoch: &CommitReading| checkpoint(epoch, tasks, json!({}));
    let history: Vec<Value> = epochs.iter().rev().map(one).collect();
    Ok(ok(&json!({
        "counts": {
            "restored": 0, "total": completed + failed, "in_progress": 0, "completed": completed,
            "failed": failed,
        },
        "summary": {
            "checkpointed_size": statistics(epochs.iter().map(|epoch| epoch.size_bytes)),
            "state_size": statistics(epochs.iter().map(|epoch| epoch.size_bytes)),
            "end_to_end_duration": statistics(epochs.iter().map(took_ms)),
            "alignment_buffered": statistics(epochs.iter().map(|_| 0)),
            "processed_data": statistics(epochs.iter().map(|epoch| epoch.row_count)),
            "persisted_data": statistics(epochs.iter().map(|_| 0)),
        },
        "latest": {
            "completed": epochs.last().map(one), "savepoint": null, "failed": null, "restored": null,
        },
        "history": history,
    })))
}

/// `GET /jobs/{id}/checkpoints/config`.
pub(crate) async fn config(State(app): Server, Path(id): Path<String>) -> Answered {
    let job = find_job(&app, &id)?;
    let options = job.handle.as_ref().map(|job| job.configuration().clone()).unwrap_or_default();
    let settings = CheckpointSettings::from_options(&options);
    let limits = settings.map(|settings| settings.limits).ok();
    Ok(ok(&json!({
        "mode": "exactly_once",
        "interval": limits.map_or(3_000, |limits| limits.interval_ms),
        "timeout": limits.map_or(600_000, |limits| limits.timeout_ms),
        "min_pause": limits.map_or(0, |limits| limits.min_pause_ms),
        "max_concurrent": limits.map_or(1, |limits| limits.in_flight.saturating_sub(1)),
        "externalization": { "enabled": true, "delete_on_cancellation": false },
        "state_backend": "none: positions are stored in the tables",
        "checkpoint_storage": "the tables of the sinks",
        "unaligned_checkpoints": false,
        "tolerable_failed_checkpoints": 0,
        "aligned_checkpoint_timeout": 0,
        "checkpoints_after_tasks_finish": true,
        "state_changelog_enabled": false,
        "changelog_periodic_materialization_interval": 600_000,
        "changelog_storage": "memory",
    })))
}

fn find_epoch(job: &JobView, id: &str) -> Outcome<CommitReading> {
    let number: u64 = id.parse().map_err(|_| Failure::parameter("path", "checkpointid", id))?;
    let epoch = epochs(job).into_iter().find(|epoch| epoch.epoch == number);
    epoch.ok_or_else(|| {
        let error = format!("Could not find checkpointing statistics for checkpoint {number}.");
        Failure::new(StatusCode::NOT_FOUND, error)
    })
}

fn task(epoch: &CommitReading, parallelism: usize) -> Value {
    json!({
        "id": epoch.epoch, "status": "COMPLETED", "latest_ack_timestamp": epoch.at_ms,
        "checkpointed_size": 0, "state_size": 0, "end_to_end_duration": took_ms(epoch),
        "alignment_buffered": 0, "processed_data": 0, "persisted_data": 0,
        "num_subtasks": parallelism, "num_acknowledged_subtasks": parallelism,
    })
}

/// `GET /jobs/{id}/checkpoints/details/{checkpoint}`.
pub(crate) async fn detail(
    State(app): Server,
    Path((job, id)): Path<(String, String)>,
) -> Answered {
    let job = find_job(&app, &job)?;
    let epoch = find_epoch(&job, &id)?;
    let operators = operators(&job);
    let tasks: Map<String, Value> = operators
        .iter()
        .map(|operator| (operator.id.clone(), task(&epoch, operator.parallelism)))
        .collect();
    let count = operators.iter().map(|operator| operator.parallelism).sum();
    Ok(ok(&checkpoint(&epoch, count, Value::Object(tasks))))
}

/// `GET /jobs/{id}/checkpoints/details/{checkpoint}/subtasks/{vertex}`.
pub(crate) async fn subtasks(
    State(app): Server,
    Path((job, id, vertex)): Path<(String, String, String)>,
) -> Answered {
    let job = find_job(&app, &job)?;
    let epoch = find_epoch(&job, &id)?;
    let operator = operators(&job).into_iter().find(|operator| operator.id == vertex);
    let operator = operator.ok_or_else(|| {
        Failure::new(
            StatusCode::NOT_FOUND,
            format!("There is no vertex {}.", crate::failure::excerpt(&vertex)),
        )
    })?;
    let zero = || statistics(std::iter::once(0));
    let took = took_ms(&epoch);
    let one = |index: usize| {
        json!({
            "className": "completed", "index": index, "ack_timestamp": epoch.at_ms,
            "end_to_end_duration": took, "checkpointed_size": 0, "state_size": 0,
            "checkpoint": { "sync": 0, "async": 0 },
            "alignment": { "buffered": 0, "processed": 0, "persisted": 0, "duration": 0 },
            "start_delay": 0, "unaligned_checkpoint": false, "aborted": false,
            "status": "completed",
        })
    };
    let subtasks: Vec<Value> = (0..operator.parallelism).map(one).collect();
    let mut answer = task(&epoch, operator.parallelism);
    if let Some(fields) = answer.as_object_mut() {
        fields.insert(
            "summary".to_owned(),
            json!({
                "checkpointed_size": zero(),
                "state_size": zero(),
                "end_to_end_duration": statistics(std::iter::once(took)),
                "checkpoint_duration": { "sync": zero(), "async": zero() },
                "alignment": {
                    "buffered": zero(), "processed": zero(), "persisted": zero(),
                    "duration": zero(),
                },
                "start_delay": zero(),
            }),
        );
        fields.insert("subtasks".to_owned(), Value::Array(subtasks));
    }
    Ok(ok(&answer))
}

/// `POST /jobs/{id}/checkpoints`.
pub(crate) async fn unsupported(
    State(app): Server,
    Path(id): Path<String>,
    _body: Bytes,
) -> Outcome<Response> {
    find_job(&app, &id)?;
    Err(Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "A checkpoint is made at every interval; POST to /jobs/{id}/savepoints makes one that is kept.",
    ))
}
