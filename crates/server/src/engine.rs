//! The engine inside the client's own process: a session, and the jobs that it submits.

use std::sync::Arc;

use anyhow::Result;
use futures::StreamExt;
use shardlake_builtin::{BlackholeFactory, DatagenFactory, PrintFactory};
use shardlake_change::{ChangeBatch, Column};
use shardlake_iceberg_sink::IcebergSinkFactory;
use shardlake_job::{Environment, Error as JobError, JobHandle, JobStatus, Jobs};
use shardlake_mysql_cdc::MysqlCdcFactory;
use shardlake_sql::batch::BatchQuery;
use shardlake_sql::catalog::Connectors;
use shardlake_sql::diagnostic::{Code, Diagnostic};
use shardlake_sql::plan::JobPlan;
use shardlake_sql::planner::{PlannedQuery, StreamingQuery};
use shardlake_sql::print;
use shardlake_sql::session::{Configuration, ResultTable, Session, StatementOutcome};
use shardlake_sql::statement::StopJob;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::block_in_place;

use crate::collect::{CollectSink, Delivery};
use crate::state_dir::StateDir;

/// Batches of a result that wait for the client.
const RESULT_BATCHES: usize = 16;

/// A session with its jobs.
pub(crate) struct Engine {
    session: Session,
    jobs: Arc<Jobs>,
    _state_dir: StateDir,
}

/// What the client shows for a statement.
pub(crate) enum Answer {
    /// Lines for the user.
    Lines(Vec<String>),
    /// A small table.
    Table(ResultTable),
    /// The rows of a query.
    Rows(QueryResult),
    /// The help.
    Help,
    /// The screen is to be cleared.
    Clear,
    /// The client is to end.
    Quit,
}

/// The rows of a query as they come. Dropping it ends the query.
pub(crate) struct QueryResult {
    /// The columns.
    pub(crate) columns: Vec<Column>,
    /// Whether rows carry an `op`: the runtime mode is streaming.
    pub(crate) shows_op: bool,
    receiver: Receiver<Delivery>,
    job: Option<JobHandle>,
}

impl QueryResult {
    /// The next batch; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Delivery> {
        self.receiver.recv().await
    }

    /// The next batch if there is one now.
    pub(crate) fn try_next(&mut self) -> Option<Delivery> {
        self.receiver.try_recv().ok()
    }
}

impl Drop for QueryResult {
    fn drop(&mut self) {
        if let Some(job) = &self.job {
            job.cancel();
            self.receiver.close();
            let _status = block_in_place(|| job.wait());
        }
    }
}

impl Engine {
    /// An engine that keeps its state below `state_dir`.
    pub(crate) fn new(state_dir: StateDir, configuration: Configuration) -> Self {
        let environment =
            Environment { state_dir: state_dir.path().to_owned(), runtime: Handle::current() };
        Self {
            session: Session::new(connectors(), configuration),
            jobs: Arc::new(Jobs::new(environment)),
            _state_dir: state_dir,
        }
    }

    /// The session, for completion and settings.
    pub(crate) const fn session(&self) -> &Session {
        &self.session
    }

    /// The jobs that were submitted.
    pub(crate) const fn jobs(&self) -> &Arc<Jobs> {
        &self.jobs
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// Why it was not run.
    pub(crate) async fn execute(&mut self, text: &str) -> Result<Answer, Diagnostic> {
        match self.session.execute(text).await? {
            StatementOutcome::Done { warning } => {
                let mut lines: Vec<String> =
                    warning.map(|warning| print::warning_text(&warning)).into_iter().collect();
                lines.push(print::EXECUTE_SUCCEEDED.to_owned());
                Ok(Answer::Lines(lines))
            }
            StatementOutcome::Table(table) => Ok(Answer::Table(table)),
            StatementOutcome::Query(query) => self.start_query(*query).map(Answer::Rows),
            StatementOutcome::SubmitJob(plan) => self.submit(*plan).map(Answer::Lines),
            StatementOutcome::ShowJobs => jobs_table(&self.jobs.list()).map(Answer::Table),
            StatementOutcome::DescribeJob(id) => {
                jobs_table(&[self.find_job(&id)?]).map(Answer::Table)
            }
            StatementOutcome::ShowSplits(id) => {
                let job = self.find_job(&id)?;
                print::splits_table(&job.lanes(), &job.splits()).map(Answer::Table)
            }
            StatementOutcome::StopJob(stop) => self.stop_job(&stop).map(Answer::Lines),
            StatementOutcome::Help => Ok(Answer::Help),
            StatementOutcome::Clear => Ok(Answer::Clear),
            StatementOutcome::Quit => Ok(Answer::Quit),
        }
    }

    fn submit(&self, plan: JobPlan) -> Result<Vec<String>, Diagnostic> {
        let submitted =
            block_in_place(|| self.jobs.submit(plan)).map_err(|error| job_error(&error))?;
        let mut lines = vec![print::SUBMITTING.to_owned()];
        lines.extend(submitted.notices.iter().map(|notice| format!("[INFO] {notice}")));
        if !self.session.configuration().is_true("table.dml-sync") {
            lines.push(print::job_submitted(submitted.job.id()));
            return Ok(lines);
        }
        match block_in_place(|| submitted.job.wait()) {
            JobStatus::Failed => Err(failed(&submitted.job)),
            _ => {
                lines.push(print::JOB_FINISHED.to_owned());
                Ok(lines)
            }
        }
    }

    fn start_query(&self, query: PlannedQuery) -> Result<QueryResult, Diagnostic> {
        let shows_op = !self.session.configuration().is_batch();
        let columns = query.schema().columns.clone();
        let (sender, receiver) = channel(RESULT_BATCHES);
        match query {
            PlannedQuery::Batch(query) => {
                tokio::spawn(run_batch(query, sender));
                Ok(QueryResult { columns, shows_op, receiver, job: None })
            }
            PlannedQuery::Streaming(query) => {
                let job = Some(self.start_streaming(query, sender)?);
                Ok(QueryResult { columns, shows_op, receiver, job })
            }
        }
    }

    fn start_streaming(
        &self,
        query: StreamingQuery,
        sender: Sender<Delivery>,
    ) -> Result<JobHandle, Diagnostic> {
        let plan = query.into_job(CollectSink::new(sender.clone()))?;
        let submitted =
            block_in_place(|| self.jobs.submit(plan)).map_err(|error| job_error(&error))?;
        let job = submitted.job.clone();
        tokio::task::spawn_blocking(move || {
            if job.wait() == JobStatus::Failed {
                // Nobody may be listening any more; then there is nobody to tell.
                sender.blocking_send(Err(failed(&job))).unwrap_or_default();
            }
        });
        Ok(submitted.job)
    }

    fn find_job(&self, id: &str) -> Result<JobHandle, Diagnostic> {
        self.jobs.get(id).ok_or_else(|| {
            Diagnostic::new(Code::JobNotFound, format!("Job {id} could not be found."))
                .with_hint("SHOW JOBS; lists the jobs of this process.")
        })
    }

    fn stop_job(&self, stop: &StopJob) -> Result<Vec<String>, Diagnostic> {
        if stop.savepoint {
            return Err(Diagnostic::unsupported("STOP JOB … WITH SAVEPOINT").with_hint(
                "STOP JOB '<id>'; commits what was read and ends the job; submitting the same \
                 statement again goes on from there.",
            ));
        }
        let job = self.find_job(&stop.id)?;
        if job.status().is_terminal() {
            return Err(Diagnostic::new(
                Code::Planning,
                format!("Job {} has already ended: {}.", stop.id, job.status().as_str()),
            ));
        }
        job.stop();
        match block_in_place(|| job.wait()) {
            JobStatus::Failed => Err(failed(&job)),
            _ => Ok(vec!["[INFO] The specified job is stopped.".to_owned()]),
        }
    }
}

/// Every connector of this program.
fn connectors() -> Connectors {
    Connectors::default()
        .with_source(Arc::new(MysqlCdcFactory))
        .with_source(Arc::new(DatagenFactory))
        .with_sink(Arc::new(IcebergSinkFactory))
        .with_sink(Arc::new(PrintFactory))
        .with_sink(Arc::new(BlackholeFactory))
}

async fn run_batch(query: BatchQuery, sender: Sender<Delivery>) {
    let mut stream = match query.execute().await {
        Ok(stream) => stream,
        // Nobody may be listening any more; then there is nobody to tell.
        Err(error) => return sender.send(Err(error)).await.unwrap_or_default(),
    };
    while let Some(batch) = stream.next().await {
        let delivery = batch.map(ChangeBatch::inserts).map_err(|error| BatchQuery::error(&error));
        let failed = delivery.is_err();
        if sender.send(delivery).await.is_err() || failed {
            return;
        }
    }
}

fn jobs_table(jobs: &[JobHandle]) -> Result<ResultTable, Diagnostic> {
    let rows: Vec<print::JobRow> = jobs
        .iter()
        .map(|job| print::JobRow {
            id: job.id().to_owned(),
            name: job.name().to_owned(),
            status: job.status().as_str().to_owned(),
            start_time_ms: job.started_at_ms(),
        })
        .collect();
    print::jobs_table(&rows)
}

/// What the user is told when a job could not be submitted.
fn job_error(error: &JobError) -> Diagnostic {
    let message = match error {
        JobError::Connector(error) => error.report(),
        JobError::AlreadyRunning { .. } => error.to_string(),
        JobError::StateFolder { source, .. } => format!("{error}: {source}"),
    };
    Diagnostic::new(Code::JobFailed, message)
}

/// What the user is told when a job has failed.
pub(crate) fn failed(job: &JobHandle) -> Diagnostic {
    let reason = job.failure().unwrap_or_else(|| "no reason is known".to_owned());
    Diagnostic::new(
        Code::JobFailed,
        format!("The job {} ({}) failed: {reason}", job.id(), job.name()),
    )
}
