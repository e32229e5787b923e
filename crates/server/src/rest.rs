//! The JobManager's REST: what Flink's dashboard and clients ask, answered from our jobs.
//!
//! Shapes are those of Flink 2.3. What has no meaning here (slots, heap, managed memory) has an honest
//! number of the same kind or zero; docs/api.md says which.

mod checkpoints;
mod cluster;
mod jobs;
mod logs;
mod operators;
mod process;
mod savepoints;
mod vertices;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::app::App;

pub(crate) use jobs::find_job;
pub(crate) use logs::last_lines;
pub(crate) use operators::{OperatorReading, readings};
pub(crate) use process::ProcessReading;
pub(crate) use savepoints::Triggers;

/// All paths of one version.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new().merge(cluster_routes()).merge(job_routes()).merge(vertex_routes())
}

fn cluster_routes() -> Router<Arc<App>> {
    let manager = "/taskmanagers/{taskmanagerid}";
    Router::new()
        .route("/overview", get(cluster::overview))
        .route("/config", get(cluster::config))
        .route("/cluster", get(cluster::overview).delete(cluster::refuse_shutdown))
        .route("/datasets", get(cluster::datasets))
        .route("/jars", get(cluster::jars))
        .route("/jobmanager/config", get(cluster::jobmanager_config))
        .route("/jobmanager/environment", get(cluster::environment))
        .route("/jobmanager/metrics", get(cluster::metrics))
        .route("/jobmanager/thread-dump", get(cluster::threads))
        .route("/jobmanager/logs", get(logs::list))
        .route("/jobmanager/logs/{name}", get(logs::named))
        .route("/jobmanager/log", get(logs::current))
        .route("/jobmanager/stdout", get(logs::stdout))
        .route("/taskmanagers", get(cluster::taskmanagers))
        .route("/taskmanagers/metrics", get(cluster::metrics_over_managers))
        .route(manager, get(cluster::taskmanager))
        .route(&format!("{manager}/metrics"), get(cluster::metrics))
        .route(&format!("{manager}/thread-dump"), get(cluster::threads))
        .route(&format!("{manager}/logs"), get(logs::list))
        .route(&format!("{manager}/logs/{{name}}"), get(logs::named_of_manager))
        .route(&format!("{manager}/log"), get(logs::current))
        .route(&format!("{manager}/stdout"), get(logs::stdout))
        .route("/applications/overview", get(jobs::applications))
        .route("/applications/{jobid}", get(jobs::application))
        .route("/applications/{jobid}/exceptions", get(jobs::application_exceptions))
        .route("/applications/{jobid}/jobmanager/config", get(cluster::jobmanager_config))
}

fn job_routes() -> Router<Arc<App>> {
    let job = "/jobs/{jobid}";
    let at = |rest: &str| format!("{job}{rest}");
    Router::new()
        .route("/jobs", get(jobs::ids))
        .route("/savepoint-disposal", post(savepoints::dispose))
        .route("/savepoint-disposal/{triggerid}", get(savepoints::disposal))
        .route("/jobs/overview", get(jobs::overview))
        .route("/jobs/metrics", get(jobs::all_metrics))
        .route(job, get(jobs::detail).patch(jobs::cancel))
        .route(&at("/stop"), post(savepoints::stop))
        .route(&at("/savepoints"), post(savepoints::trigger))
        .route(&at("/savepoints/{triggerid}"), get(savepoints::status))
        .route(&at("/status"), get(jobs::status))
        .route(&at("/plan"), get(jobs::plan))
        .route(&at("/config"), get(jobs::config))
        .route(&at("/exceptions"), get(jobs::exceptions))
        .route(&at("/execution-result"), get(jobs::execution_result))
        .route(&at("/accumulators"), get(jobs::accumulators))
        .route(&at("/metrics"), get(jobs::metrics))
        .route(&at("/jobmanager/config"), get(cluster::jobmanager_config))
        .route(&at("/checkpoints"), get(checkpoints::history).post(checkpoints::unsupported))
        .route(&at("/checkpoints/config"), get(checkpoints::config))
        .route(&at("/checkpoints/details/{checkpointid}"), get(checkpoints::detail))
        .route(
            &at("/checkpoints/details/{checkpointid}/subtasks/{vertexid}"),
            get(checkpoints::subtasks),
        )
        .route(
            &at("/rescaling"),
            post(jobs::unsupported_rescaling).patch(jobs::unsupported_rescaling),
        )
}

fn vertex_routes() -> Router<Arc<App>> {
    let vertex = "/jobs/{jobid}/vertices/{vertexid}";
    let at = |rest: &str| format!("{vertex}{rest}");
    Router::new()
        .route(vertex, get(vertices::detail))
        .route(&at("/accumulators"), get(vertices::accumulators))
        .route(&at("/backpressure"), get(vertices::backpressure))
        .route(&at("/flamegraph"), get(vertices::flamegraph))
        .route(&at("/metrics"), get(vertices::metrics))
        .route(&at("/subtasktimes"), get(vertices::times))
        .route(&at("/taskmanagers"), get(vertices::taskmanagers))
        .route(&at("/watermarks"), get(vertices::watermarks))
        .route(&at("/subtasks/accumulators"), get(vertices::subtask_accumulators))
        .route(&at("/subtasks/metrics"), get(vertices::subtask_metrics))
        .route(&at("/subtasks/{subtaskindex}"), get(vertices::subtask))
        .route(&at("/subtasks/{subtaskindex}/attempts/{attempt}"), get(vertices::attempt))
        .route(
            &at("/subtasks/{subtaskindex}/attempts/{attempt}/accumulators"),
            get(vertices::attempt_accumulators),
        )
        .route(&at("/subtasks/{subtaskindex}/metrics"), get(vertices::one_subtask_metrics))
}
