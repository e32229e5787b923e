//! What the page asks beside Flink's REST: live numbers, tables of the lake, the log. See docs/api.md.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::stream::unfold;
use serde_json::json;

use crate::app::App;
use crate::failure::{Failure, Outcome};
use crate::parameters::query_value;
use crate::respond::{json_response, ok};
use crate::rest::last_lines;

/// How often a connection without news is told that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Lines of the log that are answered if none are asked for, and at most.
const LOG_LINES: (usize, usize) = (200, 2_000);

type Server = State<Arc<App>>;

/// The paths.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/overview", get(overview))
        .route("/api/v1/events", get(events))
        .route("/api/v1/jobs/{jobid}", get(job))
        .route("/api/v1/jobs/{jobid}/tables", get(tables))
        .route("/api/v1/logs", get(logs))
}

async fn overview(State(app): Server) -> Response {
    let text = app.live.subscribe().borrow().to_string();
    json_response(StatusCode::OK, text)
}

async fn job(State(app): Server, Path(id): Path<String>) -> Outcome<Response> {
    let job = crate::rest::find_job(&app, &id)?;
    Ok(ok(&app.live.job(&app, &job)))
}

async fn tables(State(app): Server, Path(id): Path<String>) -> Outcome<Response> {
    let job = crate::rest::find_job(&app, &id)?;
    let Ok(_permit) = app.table_reads.acquire().await else {
        return Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "The server is stopping."));
    };
    let tables = crate::tables::describe(&app.engine, &job).await;
    Ok(ok(&json!({ "tables": tables })))
}

async fn logs(State(app): Server, RawQuery(query): RawQuery) -> Outcome<Response> {
    let (usual, most) = LOG_LINES;
    let count = match query_value(query.as_deref(), "lines") {
        None => usual,
        Some(text) => text.parse().map_err(|_| Failure::parameter("query", "lines", &text))?,
    };
    let lines = last_lines(app.state_dir.clone(), count.min(most)).await;
    Ok(ok(&json!({ "lines": lines })))
}

/// The overview, each time that it is new; with `?job=ID` the job's details too.
async fn events(State(app): Server, RawQuery(query): RawQuery) -> Response {
    let Ok(permit) = Arc::clone(&app.streams).try_acquire_owned() else {
        let failure = Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "As many event streams are open as there may be: poll /api/v1/overview instead.",
        );
        return failure.into_response();
    };
    let wanted = query_value(query.as_deref(), "job");
    let news = app.live.subscribe();
    let ending = app.ending.clone();
    let state = (app, news, ending, wanted, permit, true);
    let stream =
        unfold(state, |(app, mut news, mut ending, wanted, permit, is_first)| async move {
            if !is_first {
                tokio::select! {
                    changed = news.changed() => changed.ok()?,
                    _ = ending.changed() => return None,
                }
            }
            let overview = news.borrow_and_update().to_string();
            let detail = wanted.as_deref().and_then(|id| app.engine.job(id));
            let detail = detail.map(|job| app.live.job(&app, &job).to_string());
            let data = match detail {
                Some(detail) => format!("{{\"overview\":{overview},\"job\":{detail}}}"),
                None => format!("{{\"overview\":{overview},\"job\":null}}"),
            };
            let event = Event::default().event("live").data(data);
            Some((Ok::<_, Infallible>(event), (app, news, ending, wanted, permit, false)))
        });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}
