//! A bounded query as a source of a job: `INSERT INTO … VALUES`, or a query over the lake.
//!
//! All of its rows are one transaction: a sink commits them together or not at all. Its position says
//! only whether they have been sent.

use std::sync::Arc;

use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use futures::StreamExt as _;
use serde_json::json;
use shardlake_change::ChangeBatch;
use shardlake_connector::{
    Boundary, ChangelogMode, Error, EventSender, Phase, ReadRequest, ReceiverGone, RunningSource,
    Source, SourceEvent, event_channel,
};

use super::error::diagnostic;
use crate::batch::BatchSession;

/// The one lane.
const LANE: &str = "query";

/// Events between the query and the engine.
const CHANNEL_EVENTS: usize = 4;

/// A query that is run once.
pub(super) struct QuerySource {
    session: Arc<BatchSession>,
    plan: LogicalPlan,
}

impl QuerySource {
    pub(super) const fn new(session: Arc<BatchSession>, plan: LogicalPlan) -> Self {
        Self { session, plan }
    }
}

impl Source for QuerySource {
    fn changelog_mode(&self) -> ChangelogMode {
        ChangelogMode::InsertOnly
    }

    fn is_bounded(&self) -> bool {
        true
    }

    /// The job's fingerprint holds the query itself.
    fn fingerprint(&self) -> String {
        LANE.to_owned()
    }

    fn start(&self, request: &ReadRequest) -> Result<RunningSource, Error> {
        let (sender, receiver) = event_channel(CHANNEL_EVENTS);
        let sent = request
            .position
            .as_ref()
            .and_then(|lanes| lanes.get(LANE))
            .is_some_and(|position| position == &json!({ "finished": true }));
        let session = Arc::clone(&self.session);
        let plan = self.plan.clone();
        let columns = request.columns.clone();
        std::thread::Builder::new()
            .name("query-source".to_owned())
            .spawn(move || {
                let end = if sent { Ok(()) } else { run(&session, &plan, &columns, &sender) };
                // Whether the engine has gone does not matter any more.
                let _: Result<(), ReceiverGone> = match end {
                    Ok(()) => finish(&sender),
                    Err(Stop::Failed(error)) => sender.send(SourceEvent::Failed(error)),
                    Err(Stop::ReceiverGone) => Err(ReceiverGone),
                };
            })
            .map_err(|error| {
                Error::transient("cannot start a thread for a query").caused_by(error)
            })?;
        Ok(RunningSource { lanes: vec![(LANE.to_owned(), receiver)], status: None })
    }
}

/// Why the query did not run to its end.
enum Stop {
    Failed(Error),
    ReceiverGone,
}

fn finish(sender: &EventSender) -> Result<(), ReceiverGone> {
    sender.send(SourceEvent::Boundary(Boundary {
        position: json!({ "finished": true }),
        phase: Phase::Streaming,
        event_time_ms: None,
    }))?;
    sender.send(SourceEvent::End)
}

fn run(
    session: &BatchSession,
    plan: &LogicalPlan,
    columns: &[usize],
    sender: &EventSender,
) -> Result<(), Stop> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("query")
        .enable_all()
        .build()
        .map_err(|error| {
            Stop::Failed(Error::transient("cannot start threads for a query").caused_by(error))
        })?;
    runtime.block_on(async {
        let mut stream = open(session, plan).await.map_err(Stop::Failed)?;
        while let Some(batch) = stream.next().await {
            let batch = batch
                .and_then(|batch| Ok(batch.project(columns)?))
                .map_err(|error| Stop::Failed(query_error(&error)))?;
            let rows = SourceEvent::Rows(ChangeBatch::inserts(batch));
            sender.send(rows).map_err(|_| Stop::ReceiverGone)?;
        }
        Ok(())
    })
}

async fn open(
    session: &BatchSession,
    plan: &LogicalPlan,
) -> Result<SendableRecordBatchStream, Error> {
    let state = session.state();
    let physical = state.create_physical_plan(plan).await.map_err(|error| query_error(&error))?;
    execute_stream(physical, state.task_ctx()).map_err(|error| query_error(&error))
}

fn query_error(error: &datafusion::error::DataFusionError) -> Error {
    Error::job(diagnostic(error).message)
}
