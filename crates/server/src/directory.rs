//! All jobs that a server knows: those that run, those that wait to be resumed, and those that have ended.
//!
//! A job that was submitted is kept in the store until it ends for good. When the server starts, every
//! job that has not ended is planned again from its statement and what the statement saw, and goes
//! on from its last commit, under the id that it had. A job that cannot be resumed yet, because its
//! catalog or its sink cannot be reached, is tried again and again; nothing but a user gives it up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indexmap::IndexMap;
use parking_lot::Mutex;
use shardlake_job::{JobHandle, JobStatus, Jobs, Submission};
use shardlake_sql::catalog::Connectors;
use shardlake_sql::diagnostic::{Code, Diagnostic};
use shardlake_sql::plan::JobPlan;
use shardlake_sql::session::{FrozenSession, Session, StatementOutcome};
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use crate::engine::{ended, job_error};
use crate::store::{Store, StoredEnd, StoredJob};

/// How long a job that cannot be resumed waits: first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The jobs of a server, or of a client's own engine, which has no store.
pub(crate) struct JobDirectory {
    jobs: Arc<Jobs>,
    store: Option<Arc<Store>>,
    /// Those that are kept, in the order of their submission.
    known: Mutex<IndexMap<String, Known>>,
    stopping: AtomicBool,
}

struct Known {
    job: StoredJob,
    state: State,
}

enum State {
    /// It was started in this process.
    Started,
    /// It waits to be resumed; why it could not be so far.
    Waiting(Option<String>),
    /// It has ended.
    Ended(StoredEnd),
}

/// A job as others see it.
#[derive(Clone)]
pub struct JobView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub status: JobStatus,
    /// When it was submitted, in milliseconds since 1970.
    pub started_at_ms: u64,
    /// When it ended, in milliseconds since 1970.
    pub ended_at_ms: Option<u64>,
    /// The last failure.
    pub failure: Option<String>,
    /// The job, if it was started in this process.
    pub handle: Option<JobHandle>,
    /// Whether it serves a query and is not kept.
    pub is_query: bool,
}

impl JobView {
    fn of(handle: &JobHandle, is_query: bool) -> Self {
        Self {
            id: handle.id().to_owned(),
            name: handle.name().to_owned(),
            status: handle.status(),
            started_at_ms: handle.started_at_ms(),
            ended_at_ms: handle.ended_at_ms(),
            failure: handle.failure(),
            handle: Some(handle.clone()),
            is_query,
        }
    }
}

impl JobDirectory {
    pub(crate) fn new(jobs: Arc<Jobs>, store: Option<Arc<Store>>) -> Self {
        let known = Mutex::default();
        Self { jobs, store, known, stopping: AtomicBool::new(false) }
    }

    /// All jobs, in the order of their submission.
    pub(crate) fn list(&self) -> Vec<JobView> {
        let handles = self.jobs.list();
        let known = self.known.lock();
        let mut views: Vec<JobView> = known
            .values()
            .map(|known| {
                let handle = handles.iter().find(|handle| handle.id() == known.job.id);
                view(known, handle)
            })
            .collect();
        let queries = handles.iter().filter(|handle| !known.contains_key(handle.id()));
        let is_query = self.store.is_some();
        views.extend(queries.map(|handle| JobView::of(handle, is_query)));
        views.sort_by_key(|view| view.started_at_ms);
        views
    }

    /// The job of this id.
    pub(crate) fn get(&self, id: &str) -> Option<JobView> {
        let handle = self.jobs.get(id);
        match (self.known.lock().get(id), handle) {
            (Some(known), handle) => Some(view(known, handle.as_ref())),
            (None, Some(handle)) => Some(JobView::of(&handle, self.store.is_some())),
            (None, None) => None,
        }
    }

    /// The statement that submitted a job.
    pub(crate) fn statement(&self, id: &str) -> Option<String> {
        self.known.lock().get(id).map(|known| known.job.statement.clone())
    }

    /// What the statement of a job saw of its session.
    pub(crate) fn scope(&self, id: &str) -> Option<FrozenSession> {
        let known = self.known.lock();
        serde_json::from_str(&known.get(id)?.job.scope).ok()
    }

    /// Whether a job of this name waits to be resumed.
    pub(crate) fn waiting(&self, name: &str) -> Option<String> {
        let known = self.known.lock();
        let mut jobs = known.values();
        let waits =
            |known: &&Known| known.job.name == name && matches!(known.state, State::Waiting(_));
        jobs.find(waits).map(|known| known.job.id.clone())
    }

    /// Keeps a job that has been started, so that it is resumed whatever happens to the process.
    pub(crate) fn keep(
        self: &Arc<Self>,
        job: &JobHandle,
        statement: String,
        scope: &FrozenSession,
    ) -> Result<(), Diagnostic> {
        let Some(store) = &self.store else { return Ok(()) };
        let scope = serde_json::to_string(scope);
        let stored = StoredJob {
            id: job.id().to_owned(),
            name: job.name().to_owned(),
            submitted_ms: job.started_at_ms(),
            statement,
            scope: scope.map_err(|error| Diagnostic::internal(error.to_string()))?,
            end_wanted: false,
            end: None,
        };
        store.add_job(&stored)?;
        self.started(stored, job.clone());
        Ok(())
    }

    fn started(self: &Arc<Self>, job: StoredJob, handle: JobHandle) {
        let known = Known { job, state: State::Started };
        self.known.lock().insert(handle.id().to_owned(), known);
        let directory = Arc::clone(self);
        tokio::spawn(async move {
            ended(&handle).await;
            directory.note_end_of(&handle);
        });
    }

    /// Notes the end of a job, unless it only stops with the server and is to go on with it.
    fn note_end_of(&self, job: &JobHandle) {
        if self.stopping.load(Ordering::SeqCst) && !job.is_complete() {
            return;
        }
        let is_started = |known: &Known| matches!(known.state, State::Started);
        let is_open = self.known.lock().get(job.id()).is_some_and(is_started);
        if is_open {
            let end = StoredEnd {
                status: job.status().as_str().to_owned(),
                at_ms: job.ended_at_ms().unwrap_or_else(wall_clock_ms),
                failure: job.failure(),
            };
            self.note_end(job.id(), end);
        }
    }

    /// Notes the ends of all jobs that have ended by now.
    pub(crate) fn note_ends(&self) {
        for job in self.jobs.list().iter().filter(|job| job.status().is_terminal()) {
            self.note_end_of(job);
        }
    }

    fn note_end(&self, id: &str, end: StoredEnd) {
        if let Some(Err(failure)) = self.store.as_ref().map(|store| store.end_job(id, &end)) {
            error!(job = id, error = failure.message, "cannot note the end of the job");
        }
        if let Some(known) = self.known.lock().get_mut(id) {
            known.state = State::Ended(end);
        }
    }

    /// A user wants the job to end; from now on it is not resumed.
    pub(crate) fn want_end(&self, id: &str) -> Result<(), Diagnostic> {
        self.store.as_ref().map_or(Ok(()), |store| store.want_end(id))
    }

    /// Gives up a job that waits to be resumed; false if it does not wait.
    pub(crate) fn give_up(&self, id: &str) -> bool {
        let waits = |known: &Known| matches!(known.state, State::Waiting(_));
        let waits = self.known.lock().get(id).is_some_and(waits);
        if waits {
            self.note_end(
                id,
                StoredEnd {
                    status: JobStatus::Canceled.as_str().to_owned(),
                    at_ms: wall_clock_ms(),
                    failure: None,
                },
            );
        }
        waits
    }

    /// From now on, jobs that stop are to go on when the server starts again.
    pub(crate) fn stopping(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// Resumes every job that has not ended.
    pub(crate) fn resume_all(self: &Arc<Self>, connectors: &Connectors) -> Result<(), Diagnostic> {
        let Some(store) = &self.store else { return Ok(()) };
        for job in store.jobs()? {
            let id = job.id.clone();
            let state = match (&job.end, job.end_wanted) {
                (Some(end), _) => State::Ended(end.clone()),
                (None, _) => State::Waiting(None),
            };
            let (is_waiting, end_wanted) = (job.end.is_none(), job.end_wanted);
            self.known.lock().insert(id.clone(), Known { job, state });
            if end_wanted && is_waiting {
                self.give_up(&id);
            } else if is_waiting {
                let (directory, connectors) = (Arc::clone(self), connectors.clone());
                tokio::spawn(async move { directory.resume(&id, &connectors).await });
            }
        }
        Ok(())
    }

    /// Tries until the job runs, or somebody gives it up.
    async fn resume(self: &Arc<Self>, id: &str, connectors: &Connectors) {
        let (mut pause, longest) = PAUSES;
        while let Some(job) = self.waiting_job(id) {
            match self.start_again(&job, connectors).await {
                Ok(handle) => {
                    info!(job = job.name, id, "resuming job");
                    return self.started(job, handle);
                }
                Err(failure) => {
                    warn!(job = job.name, id, error = failure.message, "cannot resume job yet");
                    if let Some(known) = self.known.lock().get_mut(id)
                        && let State::Waiting(reason) = &mut known.state
                    {
                        *reason = Some(failure.message);
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    fn waiting_job(&self, id: &str) -> Option<StoredJob> {
        let known = self.known.lock();
        let job = known.get(id).filter(|known| matches!(known.state, State::Waiting(_)))?;
        (!self.stopping.load(Ordering::SeqCst)).then(|| job.job.clone())
    }

    async fn start_again(
        &self,
        job: &StoredJob,
        connectors: &Connectors,
    ) -> Result<JobHandle, Diagnostic> {
        let plan = plan_again(job, connectors).await?;
        let submission = Submission { id: job.id.clone(), at_ms: job.submitted_ms };
        let jobs = Arc::clone(&self.jobs);
        let submitted = spawn_blocking(move || jobs.resubmit(plan, &submission)).await;
        let submitted =
            submitted.map_err(|_| Diagnostic::internal("submitting the job panicked"))?;
        Ok(submitted.map_err(|error| job_error(&error))?.job)
    }
}

async fn plan_again(job: &StoredJob, connectors: &Connectors) -> Result<JobPlan, Diagnostic> {
    let scope: FrozenSession = serde_json::from_str(&job.scope).map_err(|_| {
        Diagnostic::new(Code::CatalogAccess, "What was stored of the job cannot be read.")
    })?;
    let mut session = Session::thaw(&scope, connectors.clone())?;
    match session.execute(&job.statement).await? {
        StatementOutcome::SubmitJob { plan, .. } => Ok(*plan),
        _ => Err(Diagnostic::internal("the job's statement no longer submits a job")),
    }
}

fn view(known: &Known, handle: Option<&JobHandle>) -> JobView {
    if let Some(handle) = handle {
        return JobView::of(handle, false);
    }
    let (status, ended_at_ms, failure) = match &known.state {
        State::Started => (JobStatus::Initializing, None, None),
        State::Waiting(failure) => (JobStatus::Restarting, None, failure.clone()),
        State::Ended(end) => {
            let status = [JobStatus::Canceled, JobStatus::Finished, JobStatus::Failed];
            let status = status.into_iter().find(|status| status.as_str() == end.status);
            (status.unwrap_or(JobStatus::Failed), Some(end.at_ms), end.failure.clone())
        }
    };
    JobView {
        id: known.job.id.clone(),
        name: known.job.name.clone(),
        status,
        started_at_ms: known.job.submitted_ms,
        ended_at_ms,
        failure,
        handle: None,
        is_query: false,
    }
}

/// Milliseconds since 1970.
pub(crate) fn wall_clock_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
