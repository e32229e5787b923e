//! The cluster: one process, which is JobManager and TaskManager in one.

use std::collections::BTreeMap;
use std::env::consts;
use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use shardlake_connector::Options;
use shardlake_job::JobStatus;

use super::jobs::aggregate;
use super::process::{self, ProcessReading};
use crate::app::App;
use crate::directory::wall_clock_ms;
use crate::failure::{Failure, Outcome};
use crate::parameters::query_value;
use crate::respond::ok;

/// The id of the only TaskManager.
pub(crate) const TASKMANAGER: &str = "shardlake-0";

type Server = State<Arc<App>>;

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The workers of all jobs that run.
fn used_slots(app: &App) -> usize {
    let running = app.engine.job_list();
    let running = running.iter().filter(|job| !job.status.is_terminal());
    let handles = running.filter_map(|job| job.handle.as_ref());
    handles.map(|job| job.graph().first().map_or(1, |operator| operator.parallelism)).sum()
}

/// `GET /overview`.
pub(crate) async fn overview(State(app): Server) -> Response {
    let jobs = app.engine.job_list();
    let count =
        |wanted: fn(JobStatus) -> bool| jobs.iter().filter(|job| wanted(job.status)).count();
    let used = used_slots(&app);
    ok(&json!({
        "taskmanagers": 1,
        "slots-total": cores().max(used),
        "slots-available": cores().max(used) - used,
        "jobs-running": count(|status| !status.is_terminal()),
        "jobs-finished": count(|status| status == JobStatus::Finished),
        "jobs-cancelled": count(|status| status == JobStatus::Canceled),
        "jobs-failed": count(|status| status == JobStatus::Failed),
        "flink-version": app.flink_version,
        "flink-commit": env!("CARGO_PKG_VERSION"),
    }))
}

/// `GET /config`.
pub(crate) async fn config(State(app): Server) -> Response {
    ok(&json!({
        "refresh-interval": 3000,
        "timezone-name": "Coordinated Universal Time",
        "timezone-offset": 0,
        "flink-version": app.flink_version,
        "flink-revision": format!("shardlake {}", env!("CARGO_PKG_VERSION")),
        "features": {
            "web-submit": false, "web-cancel": true, "web-rescale": false, "web-history": false,
        },
    }))
}

/// `DELETE /cluster`.
pub(crate) async fn refuse_shutdown() -> Failure {
    Failure::new(
        StatusCode::FORBIDDEN,
        "The server is not shut down over HTTP: send it SIGTERM, and its jobs commit and stop.",
    )
}

/// `GET /datasets`.
pub(crate) async fn datasets() -> Response {
    ok(&json!({ "dataSets": [] }))
}

/// `GET /jars`.
pub(crate) async fn jars(State(app): Server) -> Response {
    ok(&json!({ "address": format!("http://{}", app.address), "files": [] }))
}

/// `GET /jobmanager/config`.
pub(crate) async fn jobmanager_config(State(app): Server) -> Response {
    let options: Options = app.settings.iter().cloned().collect();
    let entries: Vec<Value> =
        options.masked().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    ok(&Value::Array(entries))
}

/// `GET /jobmanager/environment`.
pub(crate) async fn environment() -> Response {
    ok(&json!({
        "jvm": {
            "version": format!("Shardlake {} (no JVM)", env!("CARGO_PKG_VERSION")),
            "arch": consts::ARCH,
            "options": [],
        },
        "classpath": [],
    }))
}

fn hardware() -> (Value, ProcessReading) {
    let reading = ProcessReading::take();
    let hardware = json!({
        "cpuCores": cores(),
        "physicalMemory": reading.machine_bytes,
        "freeMemory": reading.machine_bytes.saturating_sub(reading.resident_bytes),
        "managedMemory": 0,
    });
    (hardware, reading)
}

fn taskmanager_value(app: &App) -> Value {
    let used = used_slots(app);
    let total = cores().max(used);
    let (hardware, reading) = hardware();
    let resource = |slots: usize| {
        json!({
            "cpuCores": slots, "taskHeapMemory": 0, "taskOffHeapMemory": 0, "managedMemory": 0,
            "networkMemory": 0, "extendedResources": {},
        })
    };
    let tasks: usize = app
        .engine
        .job_list()
        .iter()
        .filter(|job| !job.status.is_terminal())
        .filter_map(|job| job.handle.as_ref())
        .map(|job| job.graph().len())
        .sum();
    json!({
        "id": TASKMANAGER,
        "path": format!("shardlake://{}", app.address),
        "dataPort": 0,
        "jmxPort": -1,
        "timeSinceLastHeartbeat": wall_clock_ms(),
        "slotsNumber": total,
        "freeSlots": total - used,
        "assignedTasks": tasks,
        "totalResource": resource(total),
        "freeResource": resource(total - used),
        "hardware": hardware,
        "memoryConfiguration": {
            "frameworkHeap": 0, "taskHeap": 0, "frameworkOffHeap": 0, "taskOffHeap": 0,
            "networkMemory": 0, "managedMemory": 0, "jvmMetaspace": 0, "jvmOverhead": 0,
            "totalFlinkMemory": reading.resident_bytes,
            "totalProcessMemory": reading.resident_bytes,
        },
    })
}

/// `GET /taskmanagers`.
pub(crate) async fn taskmanagers(State(app): Server) -> Response {
    ok(&json!({ "taskmanagers": [taskmanager_value(&app)] }))
}

/// `GET /taskmanagers/{id}`.
pub(crate) async fn taskmanager(State(app): Server, Path(id): Path<String>) -> Outcome<Response> {
    if id != TASKMANAGER {
        let cause = format!("Could not find TaskExecutor {}.", crate::failure::excerpt(&id));
        return Err(Failure::new(StatusCode::NOT_FOUND, cause));
    }
    let mut value = taskmanager_value(&app);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("allocatedSlots".to_owned(), json!([]));
        fields.insert(
            "metrics".to_owned(),
            json!({
                "heapUsed": 0, "heapCommitted": 0, "heapMax": 0, "nonHeapUsed": 0,
                "nonHeapCommitted": 0, "nonHeapMax": 0, "directCount": 0, "directUsed": 0,
                "directMax": 0, "mappedCount": 0, "mappedUsed": 0, "mappedMax": 0,
                "nettyShuffleMemorySegmentsAvailable": 0, "nettyShuffleMemorySegmentsUsed": 0,
                "nettyShuffleMemorySegmentsTotal": 0, "nettyShuffleMemoryAvailable": 0,
                "nettyShuffleMemoryUsed": 0, "nettyShuffleMemoryTotal": 0, "garbageCollectors": [],
            }),
        );
    }
    Ok(ok(&value))
}

/// `GET /jobmanager/metrics` and those of the TaskManager: the names, or the values of those that are asked for.
pub(crate) async fn metrics(State(app): Server, RawQuery(query): RawQuery) -> Response {
    let values = metric_values(&app);
    let values = values.into_iter().map(|(name, value)| (name.to_owned(), value.to_string()));
    ok(&metric_list(values, query.as_deref()))
}

/// `GET /taskmanagers/metrics`: over all TaskManagers.
pub(crate) async fn metrics_over_managers(
    State(app): Server,
    RawQuery(query): RawQuery,
) -> Response {
    let values = metric_values(&app);
    let Some(asked) = query_value(query.as_deref(), "get") else {
        let names: Vec<Value> = values.keys().map(|name| json!({ "id": name })).collect();
        return ok(&Value::Array(names));
    };
    #[expect(clippy::cast_precision_loss, reason = "metrics are shown, not computed with")]
    let entry = |name: &str| Some(aggregate(name, &[*values.get(name)? as f64]));
    ok(&Value::Array(asked.split(',').filter_map(entry).collect()))
}

fn metric_values(app: &App) -> BTreeMap<&'static str, u64> {
    let reading = ProcessReading::take();
    let jobs = app.engine.job_list();
    let running = jobs.iter().filter(|job| !job.status.is_terminal()).count();
    let used = used_slots(app);
    let total = cores().max(used);
    BTreeMap::from([
        ("Status.JVM.Memory.Heap.Used", reading.resident_bytes),
        ("Status.JVM.Memory.Heap.Committed", reading.resident_bytes),
        ("Status.JVM.Memory.Heap.Max", reading.machine_bytes),
        ("Status.JVM.Memory.NonHeap.Used", 0),
        ("Status.JVM.Memory.Metaspace.Used", 0),
        ("Status.JVM.Memory.Metaspace.Max", 0),
        ("Status.JVM.CPU.Time", u64::try_from(reading.cpu.as_nanos()).unwrap_or(0)),
        ("Status.JVM.Threads.Count", reading.thread_count),
        ("Status.JVM.FileDescriptor.Open", reading.file_count),
        ("Status.Flink.Memory.Managed.Used", 0),
        ("Status.Flink.Memory.Managed.Total", 0),
        ("Status.Shuffle.Netty.UsedMemory", 0),
        ("Status.Shuffle.Netty.TotalMemory", 0),
        ("numRegisteredTaskManagers", 1),
        ("numRunningJobs", running as u64),
        ("taskSlotsAvailable", (total - used) as u64),
        ("taskSlotsTotal", total as u64),
    ])
}

/// The names of metrics, or the values of those that the query asks for.
pub(crate) fn metric_list(
    values: impl Iterator<Item = (String, String)>,
    query: Option<&str>,
) -> Value {
    let asked = query_value(query, "get");
    let entries = values.filter_map(|(name, value)| match &asked {
        None => Some(json!({ "id": name })),
        Some(asked) => asked
            .split(',')
            .any(|wanted| wanted == name)
            .then(|| json!({ "id": name, "value": value })),
    });
    Value::Array(entries.collect())
}

/// `GET …/thread-dump`.
pub(crate) async fn threads() -> Response {
    let entry = |(name, state): (String, String)| {
        json!({
            "threadName": name,
            "stringifiedThreadInfo": format!("\"{name}\" {state}\n\n"),
        })
    };
    let threads: Vec<Value> = process::threads().into_iter().map(entry).collect();
    ok(&json!({ "threadInfos": threads }))
}
