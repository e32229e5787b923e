//! The vertices of a job: its operators.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::cluster::{TASKMANAGER, metric_list};
use super::jobs::{
    aggregate, duration, end_time, find_job, io_metrics, operators, state_counts, task_state,
};
use super::operators::OperatorReading;
use crate::app::App;
use crate::directory::{JobView, wall_clock_ms};
use crate::failure::{Failure, Outcome};
use crate::parameters::query_value;
use crate::respond::ok;

type Server = State<Arc<App>>;
type Answered = Outcome<Response>;
type TwoIds = Path<(String, String)>;

/// The job and the operator that a path names.
fn find(app: &App, job: &str, vertex: &str) -> Outcome<(JobView, OperatorReading)> {
    let job = find_job(app, job)?;
    let is_id = vertex.len() == 32 && vertex.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id {
        return Err(Failure::parameter("path", "vertexid", vertex));
    }
    let operator = operators(&job).into_iter().find(|operator| operator.id == vertex);
    let operator = operator.ok_or_else(|| {
        let error = format!(
            "org.apache.flink.runtime.rest.NotFoundException: JobVertex {vertex} not found\n"
        );
        Failure::new(StatusCode::NOT_FOUND, error)
    })?;
    Ok((job, operator))
}

/// A subtask. Counters are kept for the whole operator: the first subtask has them.
fn subtask_value(job: &JobView, operator: &OperatorReading, index: usize) -> Value {
    let state = task_state(job.status);
    let mut share = operator.clone();
    if index > 0 {
        share = OperatorReading {
            row_count: 0,
            size_bytes: 0,
            committed_row_count: 0,
            busy_ms: 0,
            blocked_ms: 0,
            ..share
        };
    }
    json!({
        "subtask": index,
        "status": state,
        "attempt": 0,
        "endpoint": "localhost",
        "start-time": job.started_at_ms,
        "end-time": end_time(job),
        "duration": duration(job),
        "metrics": io_metrics(&share, duration(job)),
        "taskmanager-id": TASKMANAGER,
        "status-duration": { state: duration(job) },
        "start_time": job.started_at_ms,
    })
}

fn distribution(values: &[u64]) -> Value {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let at = |part: usize| {
        let index = (sorted.len().saturating_sub(1)) * part / 100;
        sorted.get(index).copied().unwrap_or(0)
    };
    let sum: u64 = sorted.iter().sum();
    json!({
        "min": at(0), "max": at(100), "avg": sum / (sorted.len().max(1) as u64), "sum": sum,
        "median": at(50), "p25": at(25), "p75": at(75), "p95": at(95),
    })
}

/// The metrics of all subtasks of [`subtask_value`], each with its distribution.
fn aggregated(subtasks: &[Value]) -> Value {
    const NAMES: [&str; 7] = [
        "read-bytes",
        "write-bytes",
        "read-records",
        "write-records",
        "accumulated-backpressured-time",
        "accumulated-idle-time",
        "accumulated-busy-time",
    ];
    let of = |name: &str| {
        let values = subtasks.iter().map(|subtask| {
            subtask.get("metrics").and_then(|metrics| metrics.get(name)).and_then(Value::as_u64)
        });
        distribution(&values.map(Option::unwrap_or_default).collect::<Vec<_>>())
    };
    let metrics: Map<String, Value> =
        NAMES.iter().map(|name| ((*name).to_owned(), of(name))).collect();
    json!({ "metrics": metrics, "status-duration": {} })
}

fn subtask_values(job: &JobView, operator: &OperatorReading) -> Vec<Value> {
    (0..operator.parallelism).map(|index| subtask_value(job, operator, index)).collect()
}

/// `GET /jobs/{id}/vertices/{id}`.
pub(crate) async fn detail(State(app): Server, Path((job, vertex)): TwoIds) -> Answered {
    let (job, operator) = find(&app, &job, &vertex)?;
    let subtasks = subtask_values(&job, &operator);
    Ok(ok(&json!({
        "id": operator.id,
        "name": operator.name,
        "parallelism": operator.parallelism,
        "maxParallelism": 64,
        "now": wall_clock_ms(),
        "aggregated": aggregated(&subtasks),
        "subtasks": subtasks,
    })))
}

/// `GET …/taskmanagers`.
pub(crate) async fn taskmanagers(State(app): Server, Path((job, vertex)): TwoIds) -> Answered {
    let (job, operator) = find(&app, &job, &vertex)?;
    let subtasks = subtask_values(&job, &operator);
    let state = task_state(job.status);
    Ok(ok(&json!({
        "id": operator.id,
        "name": operator.name,
        "now": wall_clock_ms(),
        "taskmanagers": [{
            "endpoint": "localhost",
            "status": state,
            "start-time": job.started_at_ms,
            "end-time": end_time(&job),
            "duration": duration(&job),
            "metrics": io_metrics(&operator, duration(&job)),
            "status-counts": state_counts(state, operator.parallelism),
            "taskmanager-id": TASKMANAGER,
            "aggregated": aggregated(&subtasks),
        }],
    })))
}

/// The share of its time in which an operator waited for those that follow it, from 0 to 1.
fn blocked_share(app: &App, job: &JobView, operator: &OperatorReading) -> (f64, f64) {
    app.live.shares(&job.id, &operator.id).unwrap_or((0.0, 0.0))
}

fn level(share: f64) -> &'static str {
    match share {
        share if share <= 0.1 => "ok",
        share if share <= 0.5 => "low",
        _ => "high",
    }
}

/// `GET …/backpressure`.
pub(crate) async fn backpressure(State(app): Server, Path((job, vertex)): TwoIds) -> Answered {
    let (job, operator) = find(&app, &job, &vertex)?;
    let (busy, blocked) = blocked_share(&app, &job, &operator);
    let level = level(blocked);
    let one = |index: usize| {
        json!({
            "subtask": index,
            "backpressureLevel": level,
            "ratio": blocked,
            "idleRatio": (1.0 - busy - blocked).max(0.0),
            "busyRatio": busy,
            "backpressure-level": level,
        })
    };
    let subtasks: Vec<Value> = (0..operator.parallelism).map(one).collect();
    Ok(ok(&json!({
        "status": "ok",
        "backpressureLevel": level,
        "end-timestamp": wall_clock_ms(),
        "subtasks": subtasks,
        "backpressure-level": level,
    })))
}

/// The metrics of an operator, by Flink's names.
fn metric_values(
    app: &App,
    job: &JobView,
    operator: &OperatorReading,
) -> BTreeMap<&'static str, f64> {
    #[expect(clippy::cast_precision_loss, reason = "metrics are shown, not computed with")]
    let number = |value: u64| value as f64;
    let (busy, blocked) = blocked_share(app, job, operator);
    let per_second = app.live.rows_per_second(&job.id, &operator.id).unwrap_or(0.0);
    let is_source = operator.rows_in() == 0 && operator.rows_out() > 0;
    let (rate_in, rate_out) = if is_source { (0.0, per_second) } else { (per_second, 0.0) };
    let (bytes_in, bytes_out) =
        if is_source { (0, operator.size_bytes) } else { (operator.size_bytes, 0) };
    BTreeMap::from([
        ("numRecordsIn", number(operator.rows_in())),
        ("numRecordsOut", number(operator.rows_out())),
        ("numRecordsInPerSecond", rate_in),
        ("numRecordsOutPerSecond", rate_out),
        ("numBytesIn", number(bytes_in)),
        ("numBytesOut", number(bytes_out)),
        ("accumulateBusyTimeMs", number(operator.busy_ms)),
        ("accumulateBackPressuredTimeMs", number(operator.blocked_ms)),
        ("busyTimeMsPerSecond", busy * 1000.0),
        ("backPressuredTimeMsPerSecond", blocked * 1000.0),
        ("softBackPressuredTimeMsPerSecond", blocked * 1000.0),
        ("hardBackPressuredTimeMsPerSecond", 0.0),
        ("idleTimeMsPerSecond", (1.0 - busy - blocked).max(0.0) * 1000.0),
    ])
}

/// `GET …/metrics`: names have the subtask's number in front.
pub(crate) async fn metrics(
    State(app): Server,
    Path((job, vertex)): TwoIds,
    RawQuery(query): RawQuery,
) -> Answered {
    let (job, operator) = find(&app, &job, &vertex)?;
    let values = metric_values(&app, &job, &operator);
    let named = (0..operator.parallelism).flat_map(|index| {
        values.iter().map(move |(name, value)| (format!("{index}.{name}"), value.to_string()))
    });
    Ok(ok(&metric_list(named, query.as_deref())))
}

/// `GET …/subtasks/{index}/metrics`.
pub(crate) async fn one_subtask_metrics(
    State(app): Server,
    Path((job, vertex, index)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
) -> Answered {
    let (job, operator) = find(&app, &job, &vertex)?;
    subtask_index(&operator, &index)?;
    let values = metric_values(&app, &job, &operator).into_iter();
    let values = values.map(|(name, value)| (name.to_owned(), value.to_string()));
    Ok(ok(&metric_list(values, query.as_deref())))
}

/// `GET …/subtasks/metrics`: over all subtasks.
pub(crate) async fn subtask_metrics(
    State(app): Server,
    Path((job, vertex)): TwoIds,
    RawQuery(query): RawQuery,
) -> Answered {
    let (job, operator) = find(&app, &job, &vertex)?;
    let values = metric_values(&app, &job, &operator);
    let Some(asked) = query_value(query.as_deref(), "get") else {
        let names: Vec<Value> = values.keys().map(|name| json!({ "id": name })).collect();
        return Ok(ok(&Value::Array(names)));
    };
    let entries = asked.split(',').filter_map(|name| {
        let value = values.get(name)?;
        Some(aggregate(name, &[*value]))
    });
    Ok(ok(&Value::Array(entries.collect())))
}

/// `GET …/subtasktimes`.
pub(crate) async fn times(State(app): Server, Path((job, vertex)): TwoIds) -> Answered {
    let (job, operator) = find(&app, &job, &vertex)?;
    let state = task_state(job.status);
    let stamps = {
        let mut stamps = state_counts("", 0);
        if let Some(stamps) = stamps.as_object_mut() {
            stamps.insert("CREATED".to_owned(), json!(job.started_at_ms));
            stamps.insert(state.to_owned(), json!(job.ended_at_ms.unwrap_or(job.started_at_ms)));
        }
        stamps
    };
    let one = |index: usize| {
        json!({
            "subtask": index, "endpoint": "localhost", "duration": duration(&job),
            "timestamps": stamps,
        })
    };
    let subtasks: Vec<Value> = (0..operator.parallelism).map(one).collect();
    Ok(ok(&json!({
        "id": operator.id, "name": operator.name, "now": wall_clock_ms(), "subtasks": subtasks,
    })))
}

/// `GET …/watermarks`.
pub(crate) async fn watermarks(State(app): Server, Path((job, vertex)): TwoIds) -> Answered {
    find(&app, &job, &vertex)?;
    Ok(ok(&json!([])))
}

/// `GET …/flamegraph`: none is ever ready.
pub(crate) async fn flamegraph(State(app): Server, Path((job, vertex)): TwoIds) -> Answered {
    find(&app, &job, &vertex)?;
    Ok(ok(&json!({ "endTimestamp": -2 })))
}

/// `GET …/accumulators`.
pub(crate) async fn accumulators(State(app): Server, Path((job, vertex)): TwoIds) -> Answered {
    let (_, operator) = find(&app, &job, &vertex)?;
    Ok(ok(&json!({ "id": operator.id, "user-accumulators": [] })))
}

/// `GET …/subtasks/accumulators`.
pub(crate) async fn subtask_accumulators(
    State(app): Server,
    Path((job, vertex)): TwoIds,
) -> Answered {
    let (_, operator) = find(&app, &job, &vertex)?;
    let one = |index: usize| {
        let none: [Value; 0] = [];
        json!({
            "subtask": index, "attempt": 0, "endpoint": "localhost", "user-accumulators": none,
        })
    };
    let subtasks: Vec<Value> = (0..operator.parallelism).map(one).collect();
    Ok(ok(&json!({
        "id": operator.id, "parallelism": operator.parallelism, "subtasks": subtasks,
    })))
}

fn subtask_index(operator: &OperatorReading, text: &str) -> Outcome<usize> {
    let index: usize =
        text.parse().map_err(|_| Failure::parameter("path", "subtaskindex", text))?;
    if index >= operator.parallelism {
        let error = format!(
            "org.apache.flink.runtime.rest.handler.RestHandlerException: Invalid subtask index for \
             vertex {}\n",
            operator.id
        );
        return Err(Failure::new(StatusCode::NOT_FOUND, error));
    }
    Ok(index)
}

/// `GET …/subtasks/{index}`.
pub(crate) async fn subtask(
    State(app): Server,
    Path((job, vertex, index)): Path<(String, String, String)>,
) -> Answered {
    let (job, operator) = find(&app, &job, &vertex)?;
    let index = subtask_index(&operator, &index)?;
    Ok(ok(&subtask_value(&job, &operator, index)))
}

/// `GET …/subtasks/{index}/attempts/{attempt}`.
pub(crate) async fn attempt(
    State(app): Server,
    Path((job, vertex, index, attempt)): Path<(String, String, String, String)>,
) -> Answered {
    let (job, operator) = find(&app, &job, &vertex)?;
    let index = subtask_index(&operator, &index)?;
    first_attempt(&attempt)?;
    Ok(ok(&subtask_value(&job, &operator, index)))
}

/// `GET …/subtasks/{index}/attempts/{attempt}/accumulators`.
pub(crate) async fn attempt_accumulators(
    State(app): Server,
    Path((job, vertex, index, attempt)): Path<(String, String, String, String)>,
) -> Answered {
    let (_, operator) = find(&app, &job, &vertex)?;
    let index = subtask_index(&operator, &index)?;
    let attempt = first_attempt(&attempt)?;
    let id = format!("{}_{index}_{attempt}", operator.id);
    Ok(ok(&json!({ "subtask": index, "attempt": attempt, "id": id, "user-accumulators": [] })))
}

fn first_attempt(text: &str) -> Outcome<u64> {
    match text.parse() {
        Ok(0) => Ok(0),
        Ok(_) => Err(Failure::new(StatusCode::NOT_FOUND, "There is no such attempt.")),
        Err(_) => Err(Failure::parameter("path", "attempt", text)),
    }
}
