//! The jobs as they are now: rates over the last seconds, and a short history for pictures.
//!
//! A task samples the counters of every job once a second; nobody who asks causes work of his own.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};
use shardlake_job::{JobHandle, OperatorKind};
use tokio::sync::watch;

use crate::app::App;
use crate::directory::{JobView, wall_clock_ms};
use crate::rest::{OperatorReading, readings};

/// How often counters are sampled.
const INTERVAL: Duration = Duration::from_secs(1);
/// Samples over which rates are computed.
const RATE_SAMPLES: usize = 3;
/// Points of the history.
const HISTORY_POINTS: usize = 300;

/// Samples of all jobs.
pub(crate) struct Live {
    tracks: Mutex<BTreeMap<String, Track>>,
    /// The overview as JSON text, new with every sample.
    overview: watch::Sender<Arc<str>>,
}

#[derive(Default)]
struct Track {
    samples: VecDeque<Sample>,
    history: VecDeque<Point>,
}

struct Sample {
    at: Instant,
    operators: Vec<OperatorReading>,
}

/// One point of a job's history.
#[derive(Clone, Copy, Debug)]
struct Point {
    at_ms: u64,
    rows_in: f64,
    rows_out: f64,
    bytes_in: f64,
    lag_ms: Option<u64>,
    freshness_ms: Option<u64>,
}

/// What an operator does in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Rate {
    rows: f64,
    bytes: f64,
    busy: f64,
    blocked: f64,
}

impl Live {
    pub(crate) fn new() -> Self {
        let (overview, _) = watch::channel(Arc::from("{}"));
        Self { tracks: Mutex::default(), overview }
    }

    /// The overview, and the news of it.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<str>> {
        self.overview.subscribe()
    }

    /// The shares of its time in which an operator works and is held up, each from 0 to 1.
    pub(crate) fn shares(&self, job: &str, operator: &str) -> Option<(f64, f64)> {
        let rate = self.rate(job, operator)?;
        Some((rate.busy, rate.blocked))
    }

    /// The rows of an operator in a second.
    pub(crate) fn rows_per_second(&self, job: &str, operator: &str) -> Option<f64> {
        Some(self.rate(job, operator)?.rows)
    }

    fn rate(&self, job: &str, operator: &str) -> Option<Rate> {
        self.tracks.lock().get(job)?.rate(operator)
    }

    fn sample(&self, jobs: &[JobView]) {
        let mut tracks = self.tracks.lock();
        tracks.retain(|id, _| jobs.iter().any(|job| job.id == *id));
        for job in jobs {
            let Some(handle) = job.handle.as_ref().filter(|_| !job.status.is_terminal()) else {
                if let Some(track) = tracks.get_mut(&job.id) {
                    track.samples.clear();
                }
                continue;
            };
            tracks.entry(job.id.clone()).or_default().take(handle);
        }
    }

    /// Everything that is known of a job, for the page.
    pub(crate) fn job(&self, app: &App, job: &JobView) -> Value {
        let mut value = self.summary(job);
        let Some(fields) = value.as_object_mut() else { return value };
        let Some(handle) = &job.handle else {
            fields.insert("statement".to_owned(), json!(app.engine.job_statement(&job.id)));
            return value;
        };
        let splits = handle.splits();
        let split_count = splits.len();
        let splits: Vec<Value> = splits.iter().take(SPLITS_MAX).map(split).collect();
        let epochs = handle.epochs();
        let options: Vec<Value> = handle
            .configuration()
            .masked()
            .map(|(key, value)| json!({ "key": key, "value": value }))
            .collect();
        let more = json!({
            "statement": app.engine.job_statement(&job.id),
            "configuration": options,
            "failures": handle.failures(),
            "splits": splits,
            "split_count": split_count,
            "checkpoints": epochs,
            "checkpoint_count": handle.epoch_count(),
            "history": self.history(&job.id),
        });
        if let Value::Object(more) = more {
            fields.extend(more);
        }
        value
    }

    fn history(&self, job: &str) -> Vec<Value> {
        let tracks = self.tracks.lock();
        let points = tracks.get(job).map(|track| &track.history);
        let value = |point: &Point| {
            json!({
                "at_ms": point.at_ms, "rows_in": point.rows_in, "rows_out": point.rows_out,
                "bytes_in": point.bytes_in, "lag_ms": point.lag_ms,
                "freshness_ms": point.freshness_ms,
            })
        };
        points.into_iter().flatten().map(value).collect()
    }

    fn summary(&self, job: &JobView) -> Value {
        let mut value = json!({
            "id": job.id,
            "name": job.name,
            "status": job.status.as_str(),
            "is_query": job.is_query,
            "started_at_ms": job.started_at_ms,
            "ended_at_ms": job.ended_at_ms,
            "failure": job.failure,
        });
        let (Some(handle), Some(fields)) = (&job.handle, value.as_object_mut()) else {
            return value;
        };
        let counters = handle.counters();
        let operators = readings(handle);
        let tracks = self.tracks.lock();
        let track = tracks.get(&job.id);
        let rate = |operator: &OperatorReading| {
            track.and_then(|track| track.rate(&operator.id)).unwrap_or_default()
        };
        let point = track.and_then(|track| track.history.back().copied());
        let point = point.filter(|_| !job.status.is_terminal());
        let operators: Vec<Value> =
            operators.iter().map(|operator| operator_value(operator, rate(operator))).collect();
        let lanes: Vec<Value> = handle.lanes().iter().map(lane).collect();
        let more = json!({
            "restarts": counters.restarts,
            "rows_per_second": point.map_or(0.0, |point| point.rows_in),
            "committed_rows_per_second": point.map_or(0.0, |point| point.rows_out),
            "bytes_per_second": point.map_or(0.0, |point| point.bytes_in),
            "row_count": counters.sources.iter().map(|source| source.row_count).sum::<u64>(),
            "committed_row_count":
                counters.sinks.iter().map(|sink| sink.committed_row_count).sum::<u64>(),
            "lag_ms": lag_ms(handle),
            "freshness_ms": freshness_ms(handle),
            "last_epoch": counters.last_epoch,
            "last_commit_ms": counters.last_commit_ms,
            "last_event_time_ms": counters.last_event_time_ms,
            "operators": operators,
            "lanes": lanes,
        });
        if let Value::Object(more) = more {
            fields.extend(more);
        }
        value
    }
}

/// The most splits of a job that are answered at a time.
const SPLITS_MAX: usize = 2_000;

/// How far the job is behind its sources: the greatest lag of a lane.
pub(crate) fn lag_ms(job: &JobHandle) -> Option<u64> {
    job.lanes().iter().filter_map(|(_, lane)| lane.lag_ms).max()
}

/// How old the newest change of the last commit was when it became visible.
pub(crate) fn freshness_ms(job: &JobHandle) -> Option<u64> {
    let counters = job.counters();
    Some(counters.last_commit_ms?.saturating_sub(counters.last_event_time_ms?))
}

fn operator_value(operator: &OperatorReading, rate: Rate) -> Value {
    json!({
        "id": operator.id,
        "kind": operator.kind,
        "name": operator.name,
        "parallelism": operator.parallelism,
        "inputs": operator.inputs,
        "row_count": operator.row_count,
        "size_bytes": operator.size_bytes,
        "committed_row_count": operator.committed_row_count,
        "rows_per_second": rate.rows,
        "bytes_per_second": rate.bytes,
        "busy_share": rate.busy,
        "blocked_share": rate.blocked,
    })
}

fn lane((source, lane): &(String, shardlake_connector::LaneStatus)) -> Value {
    json!({
        "source": source,
        "lane": lane.lane,
        "phase": lane.phase.as_str(),
        "split_count": lane.split_count,
        "chunks_read": lane.chunks.map(|chunks| chunks.read),
        "chunks_total": lane.chunks.map(|chunks| chunks.total),
        "chunks_estimated": lane.chunks.map(|chunks| chunks.estimated),
        "row_count": lane.rows,
        "size_bytes": lane.size_bytes,
        "position": lane.position,
        "lag_ms": lane.lag_ms,
        "lag_bytes": lane.lag_bytes,
        "last_event_ms": lane.last_event_ms,
        "errors_skipped": lane.errors_skipped,
        "retries": lane.retries,
        "last_error": lane.last_error,
    })
}

fn split((source, split): &(String, shardlake_connector::SplitStatus)) -> Value {
    json!({
        "source": source,
        "lane": split.lane,
        "split": split.split,
        "phase": split.phase.as_str(),
        "chunks_read": split.chunks.map(|chunks| chunks.read),
        "chunks_total": split.chunks.map(|chunks| chunks.total),
        "chunks_estimated": split.chunks.map(|chunks| chunks.estimated),
        "row_count": split.rows,
        "size_bytes": split.size_bytes,
        "last_event_ms": split.last_event_ms,
        "schema_version": split.schema_version,
        "errors_skipped": split.errors_skipped,
    })
}

impl Track {
    fn take(&mut self, job: &JobHandle) {
        self.samples.push_back(Sample { at: Instant::now(), operators: readings(job) });
        if self.samples.len() > RATE_SAMPLES + 1 {
            self.samples.pop_front();
        }
        let (mut rows_in, mut rows_out, mut bytes_in) = (0.0, 0.0, 0.0);
        if let Some(sample) = self.samples.back() {
            for operator in &sample.operators {
                let rate = self.rate(&operator.id).unwrap_or_default();
                match operator.kind {
                    OperatorKind::Source => {
                        rows_in += rate.rows;
                        bytes_in += rate.bytes;
                    }
                    OperatorKind::Sink => rows_out += rate.rows,
                    OperatorKind::Transform => {}
                }
            }
        }
        self.history.push_back(Point {
            at_ms: wall_clock_ms(),
            rows_in,
            rows_out,
            bytes_in,
            lag_ms: lag_ms(job),
            freshness_ms: freshness_ms(job),
        });
        if self.history.len() > HISTORY_POINTS {
            self.history.pop_front();
        }
    }

    fn rate(&self, operator: &str) -> Option<Rate> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let seconds = last.at.duration_since(first.at).as_secs_f64();
        if seconds <= 0.0 {
            return None;
        }
        let find = |sample: &Sample| {
            sample.operators.iter().find(|reading| reading.id == operator).cloned()
        };
        let (before, after) = (find(first)?, find(last)?);
        #[expect(clippy::cast_precision_loss, reason = "rates are shown, not computed with")]
        let grown = |before: u64, after: u64| after.saturating_sub(before) as f64 / seconds;
        #[expect(clippy::cast_precision_loss, reason = "a number of threads")]
        let threads = after.parallelism.max(1) as f64;
        Some(Rate {
            rows: grown(before.row_count, after.row_count),
            bytes: grown(before.size_bytes, after.size_bytes),
            busy: (grown(before.busy_ms, after.busy_ms) / 1_000.0 / threads).min(1.0),
            blocked: (grown(before.blocked_ms, after.blocked_ms) / 1_000.0 / threads).min(1.0),
        })
    }
}

/// Samples until the server ends.
pub(crate) async fn sample_for_ever(app: Arc<App>, mut ending: watch::Receiver<bool>) {
    loop {
        let jobs = app.engine.job_list();
        app.live.sample(&jobs);
        let overview = overview(&app, &jobs).to_string();
        app.live.overview.send_replace(Arc::from(overview));
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = ending.changed() => return,
        }
    }
}

/// The overview for the page.
fn overview(app: &App, jobs: &[JobView]) -> Value {
    let process = crate::rest::ProcessReading::take();
    let jobs: Vec<Value> = jobs.iter().rev().map(|job| app.live.summary(job)).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "now_ms": wall_clock_ms(),
        "started_at_ms": app.started_at_ms,
        "sessions": app.sessions.count(),
        "operations": app.sessions.operation_count(),
        "process": {
            "resident_bytes": process.resident_bytes,
            "peak_bytes": process.peak_bytes,
            "machine_bytes": process.machine_bytes,
            "cpu_seconds": process.cpu.as_secs_f64(),
            "threads": process.thread_count,
        },
        "jobs": jobs,
    })
}
