//! `/metrics` in Prometheus' text format, and the probes. Names and labels are stable; docs/metrics.md lists them.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use shardlake_job::{JobHandle, JobStatus, OperatorKind};

use crate::app::App;
use crate::live::{freshness_ms, lag_ms};
use crate::respond::json_response;
use crate::rest::{OperatorReading, ProcessReading, readings};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Answers by the first digit of their status.
#[derive(Default)]
pub(crate) struct Requests([AtomicU64; 6]);

impl Requests {
    /// Counts an answer.
    pub(crate) fn count(&self, status: StatusCode) {
        if let Some(counter) = self.0.get(usize::from(status.as_u16() / 100)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A page of metrics under way.
#[derive(Default)]
struct Page(String);

type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    /// Begins a metric.
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, labels: Labels<'_>, value: f64) {
        self.0.push_str(name);
        for (index, (key, text)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{key}=\"{text}\"");
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// A metric with one value.
    fn single(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.metric(name, kind, help);
        self.value(name, &[], value);
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has floating-point numbers only")]
const fn number(value: u64) -> f64 {
    value as f64
}

fn seconds(ms: u64) -> f64 {
    number(ms) / 1_000.0
}

/// `GET /metrics`.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let mut page = Page::default();
    process_metrics(&mut page, &app);
    let jobs: Vec<JobHandle> = app
        .engine
        .job_list()
        .into_iter()
        .filter(|job| !job.is_query && !job.status.is_terminal())
        .filter_map(|job| job.handle)
        .collect();
    job_metrics(&mut page, &jobs);
    operator_metrics(&mut page, &jobs);
    lane_metrics(&mut page, &jobs);
    ([(header::CONTENT_TYPE, TEXT)], page.0).into_response()
}

fn process_metrics(page: &mut Page, app: &App) {
    let process = ProcessReading::take();
    page.metric("shardlake_build_info", "gauge", "The version that runs.");
    page.value("shardlake_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    page.single(
        "shardlake_process_resident_bytes",
        "gauge",
        "Memory that the process holds.",
        number(process.resident_bytes),
    );
    page.single(
        "shardlake_process_cpu_seconds_total",
        "counter",
        "Processor time that the process has taken.",
        process.cpu.as_secs_f64(),
    );
    page.single(
        "shardlake_process_threads",
        "gauge",
        "Threads of the process.",
        number(process.thread_count),
    );
    page.single(
        "shardlake_process_open_files",
        "gauge",
        "Open files and sockets of the process.",
        number(process.file_count),
    );
    page.single(
        "shardlake_sessions",
        "gauge",
        "Open sessions of the SQL gateway.",
        number(app.sessions.count() as u64),
    );
    page.single(
        "shardlake_operations",
        "gauge",
        "Operations that the sessions keep.",
        number(app.sessions.operation_count() as u64),
    );
    page.metric(
        "shardlake_http_requests_total",
        "counter",
        "Answers, by the class of their status.",
    );
    for (class, counter) in
        ["0xx", "1xx", "2xx", "3xx", "4xx", "5xx"].iter().zip(&app.requests.0).skip(2)
    {
        let count = number(counter.load(Ordering::Relaxed));
        page.value("shardlake_http_requests_total", &[("class", class)], count);
    }
    page.metric(
        "shardlake_jobs",
        "gauge",
        "Jobs that are known, by status; queries are not counted.",
    );
    let jobs = app.engine.job_list();
    for status in [
        JobStatus::Initializing,
        JobStatus::Running,
        JobStatus::Restarting,
        JobStatus::Cancelling,
        JobStatus::Canceled,
        JobStatus::Finished,
        JobStatus::Failed,
    ] {
        let count = jobs.iter().filter(|job| !job.is_query && job.status == status).count();
        page.value("shardlake_jobs", &[("status", status.as_str())], number(count as u64));
    }
}

/// The name, help and reading of a gauge or counter of a job.
type JobMetric = (&'static str, &'static str, &'static str, fn(&JobHandle) -> Option<f64>);

const JOB_METRICS: [JobMetric; 8] = [
    ("shardlake_job_up", "gauge", "1 while rows flow, else 0.", |job| {
        Some(if job.status() == JobStatus::Running { 1.0 } else { 0.0 })
    }),
    ("shardlake_job_restarts_total", "counter", "Restarts after a failure.", |job| {
        Some(number(job.counters().restarts))
    }),
    (
        "shardlake_job_checkpoints_total",
        "counter",
        "Epochs that became visible since the process started the job.",
        |job| Some(number(job.epoch_count())),
    ),
    (
        "shardlake_job_last_checkpoint_seconds",
        "gauge",
        "From the end of the last epoch to its commit.",
        |job| job.epochs().last().map(|e| seconds(e.at_ms.saturating_sub(e.closed_at_ms))),
    ),
    (
        "shardlake_job_last_checkpoint_bytes",
        "gauge",
        "Size of the files of the last epoch.",
        |job| job.epochs().last().map(|e| number(e.size_bytes)),
    ),
    (
        "shardlake_job_last_commit_timestamp_seconds",
        "gauge",
        "When the last epoch was committed, in seconds since 1970.",
        |job| job.counters().last_commit_ms.map(seconds),
    ),
    (
        "shardlake_job_freshness_seconds",
        "gauge",
        "How old the newest change of the last epoch was when it became visible.",
        |job| freshness_ms(job).map(seconds),
    ),
    (
        "shardlake_job_lag_seconds",
        "gauge",
        "How far the slowest server of the job is behind.",
        |job| lag_ms(job).map(seconds),
    ),
];

fn job_metrics(page: &mut Page, jobs: &[JobHandle]) {
    for (name, kind, help, read) in JOB_METRICS {
        page.metric(name, kind, help);
        for job in jobs {
            if let Some(value) = read(job) {
                page.value(name, &[("job_id", job.id()), ("job_name", job.name())], value);
            }
        }
    }
}

type OperatorMetric = (&'static str, &'static str, fn(&OperatorReading) -> Option<f64>);

const OPERATOR_METRICS: [OperatorMetric; 5] = [
    ("shardlake_operator_rows_total", "Changes that the operator took in or read.", |operator| {
        Some(number(operator.row_count))
    }),
    (
        "shardlake_operator_bytes_total",
        "For a source bytes that it read, for a sink bytes that it committed.",
        |operator| (operator.kind != OperatorKind::Transform).then(|| number(operator.size_bytes)),
    ),
    ("shardlake_operator_busy_seconds_total", "How long the operator has worked.", |operator| {
        Some(seconds(operator.busy_ms))
    }),
    (
        "shardlake_operator_blocked_seconds_total",
        "How long the operator waited for those that follow it.",
        |operator| Some(seconds(operator.blocked_ms)),
    ),
    ("shardlake_sink_committed_rows_total", "Changes that the sink has committed.", |operator| {
        (operator.kind == OperatorKind::Sink).then(|| number(operator.committed_row_count))
    }),
];

fn operator_metrics(page: &mut Page, jobs: &[JobHandle]) {
    let operators: Vec<(&JobHandle, Vec<OperatorReading>)> =
        jobs.iter().map(|job| (job, readings(job))).collect();
    for (name, help, read) in OPERATOR_METRICS {
        page.metric(name, "counter", help);
        for (job, operators) in &operators {
            for operator in operators {
                let Some(value) = read(operator) else { continue };
                let labels = [
                    ("job_id", job.id()),
                    ("job_name", job.name()),
                    ("operator_id", operator.id.as_str()),
                    ("operator", operator.name.as_str()),
                ];
                page.value(name, &labels, value);
            }
        }
    }
}

type Lane = shardlake_connector::LaneStatus;
type LaneMetric = (&'static str, &'static str, &'static str, fn(&Lane) -> Option<f64>);

const LANE_METRICS: [LaneMetric; 10] = [
    ("shardlake_lane_rows_total", "counter", "Changes that the server sent.", |lane| {
        Some(number(lane.rows))
    }),
    ("shardlake_lane_bytes_total", "counter", "Bytes of these changes.", |lane| {
        Some(number(lane.size_bytes))
    }),
    ("shardlake_lane_splits", "gauge", "Tables that are read.", |lane| {
        Some(number(lane.split_count))
    }),
    (
        "shardlake_lane_chunks_read",
        "gauge",
        "Chunks of the snapshot phase that are read.",
        |lane| lane.chunks.map(|chunks| number(chunks.read)),
    ),
    ("shardlake_lane_chunks_total", "gauge", "Chunks of the snapshot phase in all.", |lane| {
        lane.chunks.map(|chunks| number(chunks.total))
    }),
    ("shardlake_lane_lag_seconds", "gauge", "How far the job is behind the server.", |lane| {
        lane.lag_ms.map(seconds)
    }),
    ("shardlake_lane_lag_bytes", "gauge", "Bytes of the log that are still to be read.", |lane| {
        lane.lag_bytes.map(number)
    }),
    (
        "shardlake_lane_last_event_timestamp_seconds",
        "gauge",
        "When the newest transaction was written at the server, in seconds since 1970.",
        |lane| lane.last_event_ms.map(seconds),
    ),
    ("shardlake_lane_retries_total", "counter", "How often the server was lost.", |lane| {
        Some(number(lane.retries))
    }),
    (
        "shardlake_lane_errors_skipped_total",
        "counter",
        "Changes or values that were passed over by a documented policy.",
        |lane| Some(number(lane.errors_skipped)),
    ),
];

fn lane_metrics(page: &mut Page, jobs: &[JobHandle]) {
    let lanes: Vec<(&JobHandle, Vec<(String, Lane)>)> =
        jobs.iter().map(|job| (job, job.lanes())).collect();
    for (name, kind, help, read) in LANE_METRICS {
        page.metric(name, kind, help);
        for (job, lanes) in &lanes {
            for (source, lane) in lanes {
                let Some(value) = read(lane) else { continue };
                let labels = [
                    ("job_id", job.id()),
                    ("job_name", job.name()),
                    ("source", source.as_str()),
                    ("server", lane.lane.as_str()),
                ];
                page.value(name, &labels, value);
            }
        }
    }
}

/// `GET /healthz`: the process answers.
pub(crate) async fn health() -> Response {
    json_response(StatusCode::OK, r#"{"status":"ok"}"#)
}

/// `GET /readyz`: what is kept can be reached, and the server is not stopping.
pub(crate) async fn readiness(State(app): State<Arc<App>>) -> Response {
    let reason = match app.engine.check() {
        Err(failure) => Some(failure.message),
        Ok(()) if *app.ending.borrow() => Some("The server is stopping.".to_owned()),
        Ok(()) => None,
    };
    match reason {
        None => json_response(StatusCode::OK, r#"{"status":"ready"}"#),
        Some(reason) => {
            let body = json!({ "status": "not ready", "reason": reason });
            json_response(StatusCode::SERVICE_UNAVAILABLE, body.to_string())
        }
    }
}
