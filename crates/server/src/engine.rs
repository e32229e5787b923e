//! The engine of a process: its catalogs and jobs, and sessions that use them.
//!
//! One engine serves many sessions. Sessions share the engine's catalogs and jobs; settings, the
//! current database and temporary tables are each session's own. The client's embedded mode is an
//! engine with a single session.

use std::sync::Arc;
use std::time::Duration;

use shardlake_change::Column;
use shardlake_job::{Environment, Error as JobError, JobHandle, JobStatus, Jobs};
use shardlake_sql::batch::BatchQuery;
use shardlake_sql::catalog::Connectors;
use shardlake_sql::diagnostic::{Code, Diagnostic};
use shardlake_sql::plan::JobPlan;
use shardlake_sql::planner::{PlannedQuery, StreamingQuery};
use shardlake_sql::print;
use shardlake_sql::session::{Configuration, ResultTable, Session, StatementOutcome};
use shardlake_sql::statement::StopJob;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::collect::{CollectSink, Delivery, send_batches};

/// Batches of a result that wait for the client.
const RESULT_BATCHES: usize = 16;
/// How often the end of a job is looked for that somebody waits for.
const POLL: Duration = Duration::from_millis(20);

/// The catalogs and jobs of a process.
pub struct Engine {
    /// Every session is made beside this one, which runs nothing itself.
    root: Session,
    jobs: Arc<Jobs>,
}

/// A session of an engine.
pub struct EngineSession {
    session: Session,
    engine: Arc<Engine>,
}

/// What is shown for a statement.
pub enum Answer {
    /// It is done; lines for the user.
    Done(Vec<String>),
    /// A job was submitted.
    Submitted {
        /// Its id.
        job: String,
        /// Lines for the user.
        lines: Vec<String>,
    },
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
pub struct QueryResult {
    /// The columns.
    pub columns: Vec<Column>,
    /// Whether rows carry an `op`: the runtime mode is streaming.
    pub shows_op: bool,
    receiver: Receiver<Delivery>,
    job: Option<JobHandle>,
}

impl QueryResult {
    /// A result whose rows somebody else sends.
    #[must_use]
    pub const fn new(columns: Vec<Column>, shows_op: bool, receiver: Receiver<Delivery>) -> Self {
        Self { columns, shows_op, receiver, job: None }
    }

    /// The next batch; `None` at the end.
    pub async fn next(&mut self) -> Option<Delivery> {
        self.receiver.recv().await
    }

    /// The next batch if there is one now.
    pub fn try_next(&mut self) -> Option<Delivery> {
        self.receiver.try_recv().ok()
    }

    /// The id of the job that computes the rows, if it is a job.
    #[must_use]
    pub fn job_id(&self) -> Option<&str> {
        self.job.as_ref().map(JobHandle::id)
    }
}

impl Drop for QueryResult {
    fn drop(&mut self) {
        if let Some(job) = &self.job {
            job.cancel();
            // The job may wait for room in the channel.
            self.receiver.close();
        }
    }
}

impl Engine {
    /// An engine whose catalogs live as long as the process.
    #[must_use]
    pub fn in_memory(connectors: Connectors, environment: Environment) -> Arc<Self> {
        let root = Session::new(connectors, Configuration::default());
        Arc::new(Self { root, jobs: Arc::new(Jobs::new(environment)) })
    }

    /// A new session.
    #[must_use]
    pub fn session(self: &Arc<Self>, configuration: Configuration) -> EngineSession {
        EngineSession { session: self.root.beside(configuration), engine: Arc::clone(self) }
    }

    /// The jobs that were submitted.
    #[must_use]
    pub const fn jobs(&self) -> &Arc<Jobs> {
        &self.jobs
    }

    async fn start_streaming(
        &self,
        query: StreamingQuery,
        sender: Sender<Delivery>,
    ) -> Result<JobHandle, Diagnostic> {
        let mut plan = query.into_job(CollectSink::new(sender.clone()))?;
        // Many sessions may run queries at a time.
        plan.name = format!("{}-{}", plan.name, Uuid::new_v4().simple());
        let job = self.submit(plan).await?.job;
        let watched = job.clone();
        tokio::spawn(async move {
            if ended(&watched).await == JobStatus::Failed {
                // Nobody may be listening any more; then there is nobody to tell.
                sender.send(Err(job_failed(&watched))).await.unwrap_or_default();
            }
        });
        Ok(job)
    }

    async fn submit(&self, plan: JobPlan) -> Result<shardlake_job::Submitted, Diagnostic> {
        let jobs = Arc::clone(&self.jobs);
        let submitted = spawn_blocking(move || jobs.submit(plan)).await;
        match submitted {
            Ok(submitted) => submitted.map_err(|error| job_error(&error)),
            Err(_) => Err(Diagnostic::internal("submitting the job panicked")),
        }
    }

    fn find_job(&self, id: &str) -> Result<JobHandle, Diagnostic> {
        self.jobs.get(id).ok_or_else(|| {
            Diagnostic::new(Code::JobNotFound, format!("Job {id} could not be found."))
                .with_hint("SHOW JOBS; lists the jobs of this process.")
        })
    }

    async fn stop_job(&self, stop: &StopJob) -> Result<Answer, Diagnostic> {
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
        match ended(&job).await {
            JobStatus::Failed => Err(job_failed(&job)),
            _ => Ok(Answer::Done(vec!["[INFO] The specified job is stopped.".to_owned()])),
        }
    }
}

impl EngineSession {
    /// The session, for completion and settings.
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// The engine.
    #[must_use]
    pub const fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Runs one statement.
    ///
    /// # Errors
    /// Why it was not run.
    pub async fn execute(&mut self, text: &str) -> Result<Answer, Diagnostic> {
        match self.session.execute(text).await? {
            StatementOutcome::Done { warning } => {
                let mut lines: Vec<String> =
                    warning.map(|warning| print::warning_text(&warning)).into_iter().collect();
                lines.push(print::EXECUTE_SUCCEEDED.to_owned());
                Ok(Answer::Done(lines))
            }
            StatementOutcome::Table(table) => Ok(Answer::Table(table)),
            StatementOutcome::Query(query) => self.start_query(*query).await.map(Answer::Rows),
            StatementOutcome::SubmitJob { plan, .. } => self.submit(*plan).await,
            StatementOutcome::ShowJobs => jobs_table(&self.engine.jobs.list()).map(Answer::Table),
            StatementOutcome::DescribeJob(id) => {
                jobs_table(&[self.engine.find_job(&id)?]).map(Answer::Table)
            }
            StatementOutcome::ShowSplits(id) => {
                let job = self.engine.find_job(&id)?;
                print::splits_table(&job.lanes(), &job.splits()).map(Answer::Table)
            }
            StatementOutcome::StopJob(stop) => self.engine.stop_job(&stop).await,
            StatementOutcome::Help => Ok(Answer::Help),
            StatementOutcome::Clear => Ok(Answer::Clear),
            StatementOutcome::Quit => Ok(Answer::Quit),
        }
    }

    /// Runs one statement with settings that hold for it only. What the statement itself sets stays.
    ///
    /// # Errors
    /// Why it was not run, or a setting that is not possible.
    pub async fn execute_with(
        &mut self,
        text: &str,
        settings: &[(String, String)],
    ) -> Result<Answer, Diagnostic> {
        if settings.is_empty() {
            return self.execute(text).await;
        }
        let mut during = self.session.configuration().clone();
        for (key, value) in settings {
            during.set(key, value)?;
        }
        let before = self.session.replace_configuration(during.clone());
        let answer = self.execute(text).await;
        if *self.session.configuration() == during {
            self.session.replace_configuration(before);
        }
        answer
    }

    async fn submit(&self, plan: JobPlan) -> Result<Answer, Diagnostic> {
        let submitted = self.engine.submit(plan).await?;
        let job = submitted.job.id().to_owned();
        let mut lines = vec![print::SUBMITTING.to_owned()];
        lines.extend(submitted.notices.iter().map(|notice| format!("[INFO] {notice}")));
        if !self.session.configuration().is_true("table.dml-sync") {
            lines.push(print::job_submitted(&job));
            return Ok(Answer::Submitted { job, lines });
        }
        match ended(&submitted.job).await {
            JobStatus::Failed => Err(job_failed(&submitted.job)),
            _ => {
                lines.push(print::JOB_FINISHED.to_owned());
                Ok(Answer::Submitted { job, lines })
            }
        }
    }

    async fn start_query(&self, query: PlannedQuery) -> Result<QueryResult, Diagnostic> {
        let shows_op = !self.session.configuration().is_batch();
        let columns = query.schema().columns.clone();
        let (sender, receiver) = channel(RESULT_BATCHES);
        let job = match query {
            PlannedQuery::Batch(query) => {
                start_batch(query, sender);
                None
            }
            PlannedQuery::Streaming(query) => {
                Some(self.engine.start_streaming(query, sender).await?)
            }
        };
        Ok(QueryResult { columns, shows_op, receiver, job })
    }
}

fn start_batch(query: BatchQuery, sender: Sender<Delivery>) {
    tokio::spawn(send_batches(query, sender));
}

/// Waits for the end of a job without a thread.
async fn ended(job: &JobHandle) -> JobStatus {
    loop {
        let status = job.status();
        if status.is_terminal() {
            return status;
        }
        tokio::time::sleep(POLL).await;
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
#[must_use]
pub fn job_failed(job: &JobHandle) -> Diagnostic {
    let reason = job.failure().unwrap_or_else(|| "no reason is known".to_owned());
    Diagnostic::new(
        Code::JobFailed,
        format!("The job {} ({}) failed: {reason}", job.id(), job.name()),
    )
}
