//! Jobs: lists, details, and their ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{OriginalUri, Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};
use shardlake_job::{JobHandle, JobStatus};
use shardlake_sql::diagnostic::Code;

use super::cluster::metric_list;
use super::operators::{OperatorReading, readings};
use crate::app::App;
use crate::directory::{JobView, wall_clock_ms};
use crate::failure::{Failure, Outcome};
use crate::parameters::query_value;
use crate::respond::{json_response, ok};

type Server = State<Arc<App>>;
type Answered = Outcome<Response>;

/// The states of a task, as Flink names them.
const TASK_STATES: [&str; 10] = [
    "CREATED",
    "SCHEDULED",
    "DEPLOYING",
    "INITIALIZING",
    "RUNNING",
    "FINISHED",
    "CANCELING",
    "CANCELED",
    "FAILED",
    "RECONCILING",
];
/// The states of a job, as Flink names them.
const JOB_STATES: [&str; 11] = [
    "INITIALIZING",
    "CREATED",
    "RUNNING",
    "FAILING",
    "FAILED",
    "CANCELLING",
    "CANCELED",
    "FINISHED",
    "RESTARTING",
    "SUSPENDED",
    "RECONCILING",
];

/// The job that a path names.
pub(crate) fn find_job(app: &App, id: &str) -> Outcome<JobView> {
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id {
        return Err(Failure::parameter("path", "jobid", id));
    }
    let id = id.to_ascii_lowercase();
    app.engine.job(&id).ok_or_else(|| {
        let error =
            format!("org.apache.flink.runtime.rest.NotFoundException: Job {id} not found\n");
        Failure::new(StatusCode::NOT_FOUND, error)
    })
}

/// The operators of a job; none for a job of an earlier process that has not been resumed.
pub(crate) fn operators(job: &JobView) -> Vec<OperatorReading> {
    job.handle.as_ref().map(readings).unwrap_or_default()
}

/// The state in which the tasks of a job are.
pub(crate) const fn task_state(status: JobStatus) -> &'static str {
    match status {
        JobStatus::Initializing => "INITIALIZING",
        JobStatus::Running => "RUNNING",
        JobStatus::Restarting => "SCHEDULED",
        JobStatus::Cancelling => "CANCELING",
        JobStatus::Canceled => "CANCELED",
        JobStatus::Finished => "FINISHED",
        JobStatus::Failed => "FAILED",
    }
}

/// How many tasks are in which state, by the names of [`TASK_STATES`].
pub(crate) fn state_counts(state: &str, count: usize) -> Value {
    let entry = |name: &&str| ((*name).to_owned(), json!(if *name == state { count } else { 0 }));
    Value::Object(TASK_STATES.iter().map(entry).collect())
}

fn task_counts(job: &JobView) -> Value {
    let count: usize = operators(job).iter().map(|operator| operator.parallelism).sum();
    let state = task_state(job.status).to_ascii_lowercase();
    let mut counts = Map::new();
    for name in TASK_STATES {
        let name = name.to_ascii_lowercase();
        let here = if name == state { count } else { 0 };
        counts.insert(name, json!(here));
    }
    counts.insert("total".to_owned(), json!(count));
    Value::Object(counts)
}

/// When a job ended as REST has it: -1 while it has not.
pub(crate) fn end_time(job: &JobView) -> Value {
    job.ended_at_ms.map_or(json!(-1), |at_ms| json!(at_ms))
}

/// How long a job has been or was there, in milliseconds.
pub(crate) fn duration(job: &JobView) -> u64 {
    job.ended_at_ms.unwrap_or_else(wall_clock_ms).saturating_sub(job.started_at_ms)
}

fn summary(job: &JobView) -> Value {
    let reached = job.handle.as_ref().map(JobHandle::reached_ms).unwrap_or_default();
    let modified = job.ended_at_ms.or_else(|| reached.get(&job.status).copied());
    json!({
        "jid": job.id,
        "name": job.name,
        "jobType": "STREAMING",
        "schedulerType": "Default",
        "start-time": job.started_at_ms,
        "end-time": end_time(job),
        "duration": duration(job),
        "state": job.status.as_str(),
        "last-modification": modified.unwrap_or(job.started_at_ms),
        "tasks": task_counts(job),
        "pending-operators": 0,
    })
}

/// The jobs, the newest first, as Flink lists them.
fn newest_first(app: &App) -> Vec<JobView> {
    let mut jobs = app.engine.job_list();
    jobs.reverse();
    jobs
}

/// `GET /jobs`.
pub(crate) async fn ids(State(app): Server) -> Response {
    let jobs = newest_first(&app);
    let jobs: Vec<Value> =
        jobs.iter().map(|job| json!({ "id": job.id, "status": job.status.as_str() })).collect();
    ok(&json!({ "jobs": jobs }))
}

/// `GET /jobs/overview`.
pub(crate) async fn overview(State(app): Server) -> Response {
    let jobs: Vec<Value> = newest_first(&app).iter().map(summary).collect();
    ok(&json!({ "jobs": jobs }))
}

/// `GET /applications/overview`: each job is an application of its own.
pub(crate) async fn applications(State(app): Server) -> Response {
    let one = |job: &JobView| {
        json!({
            "id": job.id,
            "name": format!("SingleJobApplication({})", job.name),
            "start-time": job.started_at_ms,
            "end-time": end_time(job),
            "duration": duration(job),
            "status": job.status.as_str(),
            "jobs": { job.status.as_str(): 1 },
        })
    };
    let applications: Vec<Value> = newest_first(&app).iter().map(one).collect();
    ok(&json!({ "applications": applications }))
}

/// `GET /applications/{id}`.
pub(crate) async fn application(State(app): Server, Path(id): Path<String>) -> Answered {
    let job = find_job(&app, &id)?;
    Ok(ok(&json!({
        "id": job.id,
        "name": format!("SingleJobApplication({})", job.name),
        "status": job.status.as_str(),
        "start-time": job.started_at_ms,
        "end-time": end_time(&job),
        "duration": duration(&job),
        "timestamps": timestamps(&job),
        "jobs": [summary(&job)],
    })))
}

/// `GET /applications/{id}/exceptions`.
pub(crate) async fn application_exceptions(State(app): Server, Path(id): Path<String>) -> Answered {
    find_job(&app, &id)?;
    Ok(ok(&json!({ "exceptionHistory": { "entries": [] } })))
}

fn timestamps(job: &JobView) -> Value {
    let reached = job.handle.as_ref().map(JobHandle::reached_ms).unwrap_or_default();
    let mut times: BTreeMap<&str, u64> = JOB_STATES.iter().map(|state| (*state, 0)).collect();
    times.insert("CREATED", job.started_at_ms);
    times.insert("INITIALIZING", job.started_at_ms);
    for (status, at_ms) in reached {
        times.insert(status.as_str(), at_ms);
    }
    if let Some(at_ms) = job.ended_at_ms {
        times.insert(job.status.as_str(), at_ms);
    }
    json!(times)
}

/// What an operator has done, as REST has it.
pub(crate) fn io_metrics(operator: &OperatorReading, life_ms: u64) -> Value {
    let (rows_in, rows_out) = (operator.rows_in(), operator.rows_out());
    let (bytes_in, bytes_out) =
        if rows_in > 0 { (operator.size_bytes, 0) } else { (0, operator.size_bytes) };
    let working = operator.busy_ms + operator.blocked_ms;
    json!({
        "read-bytes": bytes_in,
        "read-bytes-complete": true,
        "write-bytes": bytes_out,
        "write-bytes-complete": true,
        "read-records": rows_in,
        "read-records-complete": true,
        "write-records": rows_out,
        "write-records-complete": true,
        "accumulated-backpressured-time": operator.blocked_ms,
        "accumulated-idle-time": life_ms.saturating_sub(working),
        "accumulated-busy-time": operator.busy_ms,
    })
}

fn vertex(job: &JobView, operator: &OperatorReading) -> Value {
    let state = task_state(job.status);
    json!({
        "id": operator.id,
        "slotSharingGroupId": job.id,
        "name": operator.name,
        "maxParallelism": 64,
        "parallelism": operator.parallelism,
        "status": state,
        "start-time": job.started_at_ms,
        "end-time": end_time(job),
        "duration": duration(job),
        "tasks": state_counts(state, operator.parallelism),
        "metrics": io_metrics(operator, duration(job)),
    })
}

fn plan_value(job: &JobView, operators: &[OperatorReading]) -> Value {
    let node = |operator: &OperatorReading| {
        let mut node = json!({
            "id": operator.id,
            "operator": "",
            "parallelism": operator.parallelism,
            "operator_strategy": "",
            "description": format!("{}<br/>", escaped(&operator.name)),
            "optimizer_properties": {},
        });
        let strategy = if operator.parallelism > 1 { "HASH" } else { "FORWARD" };
        let inputs = operator.inputs.iter().enumerate().map(|(number, input)| {
            json!({
                "id": input, "num": number, "exchange": "pipelined_bounded",
                "ship_strategy": strategy,
            })
        });
        let inputs: Vec<Value> = inputs.collect();
        if let (false, Some(fields)) = (inputs.is_empty(), node.as_object_mut()) {
            fields.insert("inputs".to_owned(), Value::Array(inputs));
        }
        node
    };
    let nodes: Vec<Value> = operators.iter().rev().map(node).collect();
    json!({ "jid": job.id, "name": job.name, "type": "STREAMING", "nodes": nodes })
}

/// Clients show descriptions as HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// `GET /jobs/{id}`.
pub(crate) async fn detail(State(app): Server, Path(id): Path<String>) -> Answered {
    let job = find_job(&app, &id)?;
    let operators = operators(&job);
    let tasks = operators.iter().map(|operator| operator.parallelism).sum();
    let vertices: Vec<Value> = operators.iter().map(|operator| vertex(&job, operator)).collect();
    Ok(ok(&json!({
        "jid": job.id,
        "application-id": job.id,
        "name": job.name,
        "isStoppable": !job.status.is_terminal(),
        "state": job.status.as_str(),
        "job-type": "STREAMING",
        "schedulerType": "Default",
        "start-time": job.started_at_ms,
        "end-time": end_time(&job),
        "duration": duration(&job),
        "maxParallelism": -1,
        "now": wall_clock_ms(),
        "timestamps": timestamps(&job),
        "vertices": vertices,
        "status-counts": state_counts(task_state(job.status), tasks),
        "plan": plan_value(&job, &operators),
        "pending-operators": 0,
    })))
}

/// `GET /jobs/{id}/plan`.
pub(crate) async fn plan(State(app): Server, Path(id): Path<String>) -> Answered {
    let job = find_job(&app, &id)?;
    Ok(ok(&json!({ "plan": plan_value(&job, &operators(&job)) })))
}

/// `GET /jobs/{id}/status`.
pub(crate) async fn status(State(app): Server, Path(id): Path<String>) -> Answered {
    Ok(ok(&json!({ "status": find_job(&app, &id)?.status.as_str() })))
}

/// `GET /jobs/{id}/config`.
pub(crate) async fn config(State(app): Server, Path(id): Path<String>) -> Answered {
    let job = find_job(&app, &id)?;
    let options = job.handle.as_ref().map(|job| job.configuration().clone()).unwrap_or_default();
    let user: Map<String, Value> =
        options.masked().map(|(key, value)| (key.to_owned(), json!(value))).collect();
    let parallelism = operators(&job).first().map_or(1, |operator| operator.parallelism);
    let strategy = options.get("restart-strategy.type").unwrap_or("exponential-delay");
    Ok(ok(&json!({
        "jid": job.id,
        "name": job.name,
        "execution-config": {
            "restart-strategy": strategy,
            "job-parallelism": parallelism,
            "object-reuse-mode": false,
            "user-config": user,
        },
    })))
}

/// `GET /jobs/{id}/exceptions`.
pub(crate) async fn exceptions(
    State(app): Server,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Answered {
    let job = find_job(&app, &id)?;
    let most = query_value(query.as_deref(), "maxExceptions");
    let most = match most.as_deref().map(str::parse::<usize>) {
        None => 20,
        Some(Ok(most)) => most,
        Some(Err(_)) => {
            return Err(Failure::parameter("query", "maxExceptions", &most.unwrap_or_default()));
        }
    };
    let mut failures: Vec<(u64, String)> = match &job.handle {
        Some(handle) => {
            handle.failures().into_iter().map(|failure| (failure.at_ms, failure.message)).collect()
        }
        None => {
            let at_ms = job.ended_at_ms.unwrap_or_else(wall_clock_ms);
            job.failure.iter().map(|failure| (at_ms, failure.clone())).collect()
        }
    };
    failures.reverse();
    let truncated = failures.len() > most;
    failures.truncate(most);
    let entry = |(at_ms, message): &(u64, String)| {
        json!({
            "exceptionName": "JobFailure",
            "stacktrace": message,
            "timestamp": at_ms,
            "failureLabels": {},
            "taskName": null,
            "endpoint": null,
            "taskManagerId": null,
            "concurrentExceptions": [],
        })
    };
    let entries: Vec<Value> = failures.iter().map(entry).collect();
    Ok(ok(&json!({ "exceptionHistory": { "entries": entries, "truncated": truncated } })))
}

/// `GET /jobs/{id}/execution-result`.
pub(crate) async fn execution_result(State(app): Server, Path(id): Path<String>) -> Answered {
    let job = find_job(&app, &id)?;
    if !job.status.is_terminal() {
        return Ok(ok(&json!({ "status": { "id": "IN_PROGRESS" } })));
    }
    Ok(ok(&json!({
        "status": { "id": "COMPLETED" },
        "job-execution-result": {
            "id": job.id,
            "application-status": match job.status {
                JobStatus::Finished => "SUCCEEDED",
                JobStatus::Canceled => "CANCELED",
                _ => "FAILED",
            },
            "accumulator-results": {},
            "net-runtime": duration(&job),
            "failure-cause": job.failure.as_ref().map(|failure| json!({
                "class": "JobFailure", "stack-trace": failure,
            })),
        },
    })))
}

/// `GET /jobs/{id}/accumulators`.
pub(crate) async fn accumulators(State(app): Server, Path(id): Path<String>) -> Answered {
    find_job(&app, &id)?;
    Ok(ok(&json!({
        "job-accumulators": [],
        "user-task-accumulators": [],
        "serialized-user-task-accumulators": {},
    })))
}

/// The metrics of a job, by Flink's names.
fn metric_values(job: &JobView) -> BTreeMap<&'static str, f64> {
    #[expect(clippy::cast_precision_loss, reason = "metrics are shown, not computed with")]
    let number = |value: u64| value as f64;
    let is_in = |status: JobStatus| if job.status == status { number(duration(job)) } else { 0.0 };
    let handle = job.handle.as_ref();
    let epochs = handle.map(JobHandle::epochs).unwrap_or_default();
    let last = epochs.last();
    let count = handle.map_or(0, JobHandle::epoch_count);
    let restarts = handle.map_or(0, |job| job.counters().restarts);
    BTreeMap::from([
        ("numRestarts", number(restarts)),
        ("fullRestarts", number(restarts)),
        ("numRescales", 0.0),
        ("numberOfCompletedCheckpoints", number(count)),
        ("numberOfFailedCheckpoints", number(restarts)),
        ("numberOfInProgressCheckpoints", 0.0),
        ("totalNumberOfCheckpoints", number(count + restarts)),
        (
            "lastCheckpointDuration",
            last.map_or(0.0, |e| number(e.at_ms.saturating_sub(e.closed_at_ms))),
        ),
        ("lastCheckpointSize", last.map_or(0.0, |e| number(e.size_bytes))),
        ("lastCheckpointFullSize", last.map_or(0.0, |e| number(e.size_bytes))),
        ("lastCheckpointProcessedData", last.map_or(0.0, |e| number(e.row_count))),
        ("lastCheckpointPersistedData", 0.0),
        ("lastCheckpointCompletedTimestamp", last.map_or(0.0, |e| number(e.at_ms))),
        ("lastCompletedCheckpointId", last.map_or(0.0, |e| number(e.epoch))),
        ("uptime", is_in(JobStatus::Running)),
        ("runningTime", is_in(JobStatus::Running)),
        ("restartingTime", is_in(JobStatus::Restarting)),
        ("initializingTime", is_in(JobStatus::Initializing)),
        ("cancellingTime", is_in(JobStatus::Cancelling)),
        ("downtime", is_in(JobStatus::Restarting)),
        ("createdTime", 0.0),
        ("deployingTime", 0.0),
        ("failingTime", 0.0),
    ])
}

/// `GET /jobs/{id}/metrics`.
pub(crate) async fn metrics(
    State(app): Server,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Answered {
    let values = metric_values(&find_job(&app, &id)?);
    let values = values.into_iter().map(|(name, value)| (name.to_owned(), value.to_string()));
    Ok(ok(&metric_list(values, query.as_deref())))
}

/// `GET /jobs/metrics`: over all jobs that run, or those that the query names.
pub(crate) async fn all_metrics(State(app): Server, RawQuery(query): RawQuery) -> Response {
    let query = query.as_deref();
    let wanted = query_value(query, "jobs");
    let is_wanted = |job: &JobView| match &wanted {
        Some(ids) => ids.split(',').any(|id| id == job.id),
        None => !job.status.is_terminal(),
    };
    let jobs = app.engine.job_list().into_iter().filter(is_wanted);
    let all: Vec<BTreeMap<&str, f64>> = jobs.map(|job| metric_values(&job)).collect();
    let names: Vec<&str> =
        all.first().map(|first| first.keys().copied().collect()).unwrap_or_default();
    let Some(asked) = query_value(query, "get") else {
        let names: Vec<Value> = names.iter().map(|name| json!({ "id": name })).collect();
        return ok(&Value::Array(names));
    };
    let asked = asked.split(',').filter(|name| names.contains(name));
    let entries: Vec<Value> = asked
        .map(|name| {
            let values: Vec<f64> = all.iter().filter_map(|one| one.get(name).copied()).collect();
            aggregate(name, &values)
        })
        .collect();
    ok(&Value::Array(entries))
}

/// A metric over several jobs or subtasks.
pub(crate) fn aggregate(name: &str, values: &[f64]) -> Value {
    let sum: f64 = values.iter().sum();
    #[expect(clippy::cast_precision_loss, reason = "a handful of values")]
    let count = values.len().max(1) as f64;
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let finite = |value: f64| if value.is_finite() { value } else { 0.0 };
    json!({
        "id": name, "min": finite(least), "max": finite(most), "avg": sum / count, "sum": sum,
        "skew": 0.0,
    })
}

/// `PATCH /jobs/{id}?mode=cancel`.
pub(crate) async fn cancel(
    State(app): Server,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Answered {
    let job = find_job(&app, &id)?;
    match query_value(query.as_deref(), "mode").as_deref() {
        None | Some("cancel") => {}
        Some("stop") => {
            return Err(Failure::new(
                StatusCode::PERMANENT_REDIRECT,
                "The termination mode \"stop\" has been removed: POST to /jobs/{id}/stop.",
            ));
        }
        Some(other) => return Err(Failure::parameter("query", "mode", other)),
    }
    match app.engine.cancel_job(&job.id) {
        Ok(()) => Ok(json_response(StatusCode::ACCEPTED, "{}")),
        Err(failure) if failure.code == Code::Planning => {
            Err(Failure::new(StatusCode::CONFLICT, failure.message))
        }
        Err(failure) => Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, failure.message)),
    }
}

/// `PATCH /jobs/{id}/rescaling`.
pub(crate) async fn unsupported_rescaling(OriginalUri(uri): OriginalUri, _body: Bytes) -> Failure {
    let message = format!(
        "{}: rescaling a running job is not supported. Stop it with a savepoint and submit it \
         again with another 'parallelism.default'.",
        uri.path()
    );
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, message)
}
