//! The engine of a process: its catalogs and jobs, and sessions that use them.
//!
//! One engine serves many sessions. Sessions share the engine's catalogs and jobs; settings, the
//! current database and temporary tables are each session's own. The client's embedded mode is an
//! engine with a single session.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use shardlake_change::Column;
use shardlake_checkpoint::savepoint_folder;
use shardlake_connector::{Error as ConnectorError, Options};
use shardlake_job::{Environment, Error as JobError, JobHandle, JobStatus, Jobs};
use shardlake_sql::batch::BatchQuery;
use shardlake_sql::catalog::{Connectors, DefinitionStorage};
use shardlake_sql::diagnostic::{Code, Diagnostic};
use shardlake_sql::plan::JobPlan;
use shardlake_sql::planner::{PlannedQuery, StreamingQuery};
use shardlake_sql::print;
use shardlake_sql::session::{
    Configuration, FrozenSession, ResultTable, Session, StatementOutcome,
};
use shardlake_sql::statement::StopJob;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::spawn_blocking;

use crate::collect::{CollectSink, Delivery, send_batches};
use crate::directory::{JobDirectory, JobView};
use crate::guard::defines;
use crate::secrecy::hide_secrets;
use crate::store::Store;

/// Batches of a result that wait for the client.
const RESULT_BATCHES: usize = 16;
/// How often the end of a job is looked for that somebody waits for.
const POLL: Duration = Duration::from_millis(20);

/// The catalogs and jobs of a process.
pub struct Engine {
    /// Every session is made beside this one, which runs nothing itself.
    root: Session,
    connectors: Connectors,
    jobs: Arc<Jobs>,
    directory: Arc<JobDirectory>,
    store: Option<Arc<Store>>,
}

/// A session of an engine.
pub struct EngineSession {
    session: Session,
    engine: Arc<Engine>,
    /// The texts of the inserts since `BEGIN STATEMENT SET`.
    inserts: Vec<String>,
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
    /// An engine whose catalogs and jobs live as long as the process.
    #[must_use]
    pub fn in_memory(connectors: Connectors, environment: Environment) -> Arc<Self> {
        let root = Session::new(connectors.clone(), Configuration::default());
        Self::over(root, connectors, environment, None)
    }

    /// An engine whose catalogs and jobs are kept below the state folder. Jobs that had not ended are
    /// resumed, in the background.
    ///
    /// # Errors
    /// What was kept cannot be read.
    pub fn durable(
        connectors: Connectors,
        environment: Environment,
    ) -> Result<Arc<Self>, Diagnostic> {
        let store = Arc::new(Store::open(&environment.state_dir)?);
        let definitions: Arc<dyn DefinitionStorage> = Arc::<Store>::clone(&store);
        let root = Session::durable(connectors.clone(), Configuration::default(), definitions)?;
        let engine = Self::over(root, connectors, environment, Some(store));
        engine.directory.resume_all(&engine.connectors)?;
        Ok(engine)
    }

    fn over(
        root: Session,
        connectors: Connectors,
        environment: Environment,
        store: Option<Arc<Store>>,
    ) -> Arc<Self> {
        let jobs = Arc::new(Jobs::new(environment));
        let directory = Arc::new(JobDirectory::new(Arc::clone(&jobs), store.clone()));
        Arc::new(Self { root, connectors, jobs, directory, store })
    }

    /// A new session.
    #[must_use]
    pub fn session(self: &Arc<Self>, configuration: Configuration) -> EngineSession {
        let session = self.root.beside(configuration);
        EngineSession { session, engine: Arc::clone(self), inserts: Vec::new() }
    }

    /// All jobs that are known, in the order of their submission.
    #[must_use]
    pub fn job_list(&self) -> Vec<JobView> {
        self.directory.list()
    }

    /// The job of this id.
    #[must_use]
    pub fn job(&self, id: &str) -> Option<JobView> {
        self.directory.get(id)
    }

    /// The statement that submitted a job, with secrets hidden.
    #[must_use]
    pub fn job_statement(&self, id: &str) -> Option<String> {
        self.directory.statement(id).map(|statement| hide_secrets(&statement))
    }

    /// A session in which the names of a job's statement stand for what they stood for.
    ///
    /// # Errors
    /// The job is not kept, or what it saw cannot be used any more.
    pub(crate) fn session_of_job(self: &Arc<Self>, id: &str) -> Result<EngineSession, Diagnostic> {
        let scope = self.directory.scope(id).ok_or_else(|| {
            Diagnostic::new(Code::JobNotFound, format!("What job {id} saw is not kept."))
        })?;
        let session = Session::thaw(&scope, self.connectors.clone())?;
        Ok(EngineSession { session, engine: Arc::clone(self), inserts: Vec::new() })
    }

    /// Whether what is kept can be reached.
    ///
    /// # Errors
    /// It cannot.
    pub fn check(&self) -> Result<(), Diagnostic> {
        self.store.as_ref().map_or(Ok(()), |store| store.check())
    }

    /// Has all jobs commit what they have read, and end. A durable engine resumes them when it is made
    /// again.
    pub async fn shut_down(&self) {
        self.directory.stopping();
        let jobs = Arc::clone(&self.jobs);
        if spawn_blocking(move || jobs.stop_all()).await.is_err() {
            tracing::error!("stopping the jobs panicked");
        }
        self.directory.note_ends();
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
        let plan = query.into_job(CollectSink::new(sender.clone()))?;
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

    fn find_job(&self, id: &str) -> Result<JobView, Diagnostic> {
        self.directory.get(id).ok_or_else(|| {
            Diagnostic::new(Code::JobNotFound, format!("Job {id} could not be found."))
                .with_hint("SHOW JOBS; lists the jobs that are known.")
        })
    }

    /// The job that can be stopped; `None` if it waited to be resumed and is given up now.
    fn end_wanted(&self, id: &str) -> Result<Option<JobHandle>, Diagnostic> {
        let job = self.find_job(id)?;
        if job.status.is_terminal() {
            return Err(Diagnostic::new(
                Code::Planning,
                format!("Job {id} has already ended: {}.", job.status.as_str()),
            ));
        }
        self.directory.want_end(id)?;
        if job.handle.is_none() {
            self.directory.give_up(id);
        }
        Ok(job.handle)
    }

    /// Ends a job at once. Does not wait.
    ///
    /// # Errors
    /// There is no such job, or it has ended.
    pub fn cancel_job(&self, id: &str) -> Result<(), Diagnostic> {
        if let Some(job) = self.end_wanted(id)? {
            job.cancel();
        }
        Ok(())
    }

    async fn stop_job(
        self: &Arc<Self>,
        stop: &StopJob,
        options: &Options,
    ) -> Result<Answer, Diagnostic> {
        if stop.savepoint {
            let chosen = savepoint_folder(options).map_err(|error| connector_error(&error))?;
            let folder = self.savepoint_folder(&stop.id, chosen)?;
            let path = self.stop_with_savepoint(&stop.id, &folder).await?;
            return print::savepoint_table(path).map(Answer::Table);
        }
        self.stop_and_wait(&stop.id).await?;
        Ok(Answer::Done(vec!["[INFO] The specified job is stopped.".to_owned()]))
    }

    /// Has a job commit what it has read, and waits for its end.
    async fn stop_and_wait(&self, id: &str) -> Result<Option<JobHandle>, Diagnostic> {
        let Some(job) = self.end_wanted(id)? else { return Ok(None) };
        job.stop();
        match ended(&job).await {
            JobStatus::Failed => Err(job_failed(&job)),
            _ => Ok(Some(job)),
        }
    }

    /// Where a savepoint of a job goes: to the folder that was asked for, or to the one that the job's
    /// settings name.
    ///
    /// # Errors
    /// There is no such job, or no folder is known.
    pub(crate) fn savepoint_folder(
        &self,
        id: &str,
        asked: Option<PathBuf>,
    ) -> Result<PathBuf, Diagnostic> {
        let job = self.find_job(id)?;
        if let Some(folder) = asked {
            return Ok(folder);
        }
        let settings = job.handle.as_ref().map(|job| savepoint_folder(job.configuration()));
        let folder = settings.transpose().map_err(|error| connector_error(&error))?.flatten();
        folder.ok_or_else(|| {
            let message = "No savepoint directory configured. You can either specify a directory \
                           while cancelling via -s :targetDirectory or configure a cluster-wide \
                           default via key 'execution.checkpointing.savepoint-dir'.";
            Diagnostic::new(Code::Configuration, message)
                .with_hint("SET 'execution.checkpointing.savepoint-dir' = 'file:///folder';")
        })
    }

    /// Writes a savepoint of a job that goes on; answers with its place.
    pub(crate) async fn savepoint(
        self: &Arc<Self>,
        id: &str,
        folder: &Path,
    ) -> Result<String, Diagnostic> {
        let job = self.find_job(id)?.handle.ok_or_else(|| {
            Diagnostic::new(Code::Planning, format!("Job {id} has not been resumed yet."))
        })?;
        write_savepoint(job, folder.to_owned()).await
    }

    /// Has a job commit what it has read, and writes a savepoint when it has ended; answers with its place.
    pub(crate) async fn stop_with_savepoint(
        self: &Arc<Self>,
        id: &str,
        folder: &Path,
    ) -> Result<String, Diagnostic> {
        // A job is not stopped for a savepoint that cannot be written.
        let wanted = folder.to_owned();
        let made = spawn_blocking(move || std::fs::create_dir_all(wanted)).await;
        if let Ok(Err(error)) = made {
            let message = format!("The folder {} cannot be made: {error}.", folder.display());
            return Err(Diagnostic::new(Code::Configuration, message));
        }
        let job = self.stop_and_wait(id).await?.ok_or_else(|| {
            Diagnostic::new(Code::Planning, format!("Job {id} had not been resumed yet."))
        })?;
        write_savepoint(job, folder.to_owned()).await
    }
}

async fn write_savepoint(job: JobHandle, folder: PathBuf) -> Result<String, Diagnostic> {
    let written = spawn_blocking(move || job.savepoint(&folder)).await;
    let written = written.map_err(|_| Diagnostic::internal("writing the savepoint panicked"))?;
    let path = written.map_err(|error| connector_error(&error))?;
    Ok(format!("file:{}", path.display()))
}

fn connector_error(error: &ConnectorError) -> Diagnostic {
    Diagnostic::new(Code::JobFailed, error.report())
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
        let in_set = self.session.in_statement_set();
        let outcome = self.session.execute(text).await?;
        let statement = self.note_statement(text, in_set);
        match outcome {
            StatementOutcome::Done { warning } => {
                let mut lines: Vec<String> =
                    warning.map(|warning| print::warning_text(&warning)).into_iter().collect();
                lines.push(print::EXECUTE_SUCCEEDED.to_owned());
                Ok(Answer::Done(lines))
            }
            StatementOutcome::Table(table) => Ok(Answer::Table(table)),
            StatementOutcome::Query(query) => self.start_query(*query).await.map(Answer::Rows),
            StatementOutcome::SubmitJob { plan, scope } => {
                // What also made a table is not run again; the INSERT in it is.
                let statement = if defines(text) { scope.statement() } else { statement };
                self.submit(*plan, statement, &scope).await
            }
            StatementOutcome::ShowJobs => jobs_table(&self.engine.job_list()).map(Answer::Table),
            StatementOutcome::DescribeJob(id) => {
                jobs_table(&[self.engine.find_job(&id)?]).map(Answer::Table)
            }
            StatementOutcome::ShowSplits(id) => {
                let job = self.engine.find_job(&id)?.handle;
                let (lanes, splits) =
                    job.map(|job| (job.lanes(), job.splits())).unwrap_or_default();
                print::splits_table(&lanes, &splits).map(Answer::Table)
            }
            StatementOutcome::StopJob(stop) => {
                let options = self.session.configuration().explicit();
                self.engine.stop_job(&stop, &options).await
            }
            StatementOutcome::Help => Ok(Answer::Help),
            StatementOutcome::Clear => Ok(Answer::Clear),
            StatementOutcome::Quit => Ok(Answer::Quit),
        }
    }

    /// Notes a statement that was run; answers with the one statement that submits the same again.
    fn note_statement(&mut self, text: &str, was_in_set: bool) -> String {
        let text = text.trim().trim_end_matches(';');
        match (was_in_set, self.session.in_statement_set()) {
            (true, true) => self.inserts.push(text.to_owned()),
            (true, false) => {
                let inserts = std::mem::take(&mut self.inserts).join("\n;\n");
                return format!("EXECUTE STATEMENT SET BEGIN\n{inserts}\n;\nEND");
            }
            (false, _) => self.inserts.clear(),
        }
        text.to_owned()
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

    async fn submit(
        &self,
        plan: JobPlan,
        statement: String,
        scope: &FrozenSession,
    ) -> Result<Answer, Diagnostic> {
        let is_exclusive = plan.sinks.iter().any(|sink| sink.sink.stores_progress());
        if let Some(id) = self.engine.directory.waiting(&plan.name).filter(|_| is_exclusive) {
            return Err(job_error(&JobError::AlreadyRunning { name: plan.name, id }));
        }
        // In a task of its own: a client that goes away in between leaves no job that nobody keeps.
        let (engine, scope) = (Arc::clone(&self.engine), scope.clone());
        let kept = tokio::spawn(async move {
            let submitted = engine.submit(plan).await?;
            match engine.directory.keep(&submitted.job, statement, &scope) {
                Ok(()) => Ok(submitted),
                Err(failure) => {
                    submitted.job.cancel();
                    Err(failure)
                }
            }
        });
        let submitted =
            kept.await.map_err(|_| Diagnostic::internal("submitting the job panicked"))??;
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
pub(crate) async fn ended(job: &JobHandle) -> JobStatus {
    loop {
        let status = job.status();
        if status.is_terminal() {
            return status;
        }
        tokio::time::sleep(POLL).await;
    }
}

fn jobs_table(jobs: &[JobView]) -> Result<ResultTable, Diagnostic> {
    let rows: Vec<print::JobRow> = jobs
        .iter()
        .map(|job| print::JobRow {
            id: job.id.clone(),
            name: job.name.clone(),
            status: job.status.as_str().to_owned(),
            start_time_ms: job.started_at_ms,
        })
        .collect();
    print::jobs_table(&rows)
}

/// What the user is told when a job could not be submitted.
pub(crate) fn job_error(error: &JobError) -> Diagnostic {
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
