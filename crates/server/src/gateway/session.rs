//! The sessions of the gateway.
//!
//! A session that nobody uses is closed after a while, and so is everything it runs. Their number and
//! the number of operations of each are bounded, so that clients that forget to close cost nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use parking_lot::Mutex;
use shardlake_sql::diagnostic::{Code, Diagnostic};
use shardlake_sql::print::CellFormat;
use shardlake_sql::session::Configuration;
use tokio::sync::Mutex as AsyncMutex;
use uuid::Uuid;

use super::operation::{Operation, Status};
use crate::engine::EngineSession;
use crate::failure::{Failure, Outcome};

/// What bounds the sessions of a gateway.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionLimits {
    /// The most sessions at a time: `sql-gateway.session.max-num`.
    pub(crate) sessions_max: usize,
    /// How long a session is kept that nobody uses: `sql-gateway.session.idle-timeout`; zero for ever.
    pub(crate) idle_timeout: Duration,
    /// The most operations that a session keeps.
    pub(crate) operations_max: usize,
}

/// All sessions.
pub(crate) struct Sessions {
    limits: SessionLimits,
    clock: Instant,
    sessions: Mutex<IndexMap<Uuid, Arc<GatewaySession>>>,
}

/// A session of a client.
pub(crate) struct GatewaySession {
    pub(crate) handle: Uuid,
    /// What runs its statements, one after the other.
    engine: AsyncMutex<EngineSession>,
    /// The configuration as the last statement left it.
    configuration: Mutex<Configuration>,
    operations: Mutex<IndexMap<Uuid, Arc<Operation>>>,
    operations_max: usize,
    used_at_ms: AtomicU64,
}

/// A statement and how it is run.
pub(crate) struct Request {
    pub(crate) statement: String,
    pub(crate) settings: Vec<(String, String)>,
    /// How long it may take; as long as it likes if not given.
    pub(crate) timeout: Option<Duration>,
}

impl Sessions {
    pub(crate) fn new(limits: SessionLimits) -> Self {
        Self { limits, clock: Instant::now(), sessions: Mutex::default() }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// How many sessions there are.
    pub(crate) fn count(&self) -> usize {
        self.sessions.lock().len()
    }

    /// How many operations all sessions keep.
    pub(crate) fn operation_count(&self) -> usize {
        self.sessions.lock().values().map(|session| session.operations.lock().len()).sum()
    }

    /// Opens a session.
    pub(crate) fn open(&self, engine: EngineSession) -> Outcome<Uuid> {
        let handle = Uuid::new_v4();
        let session = GatewaySession {
            handle,
            configuration: Mutex::new(engine.session().configuration().clone()),
            engine: AsyncMutex::new(engine),
            operations: Mutex::default(),
            operations_max: self.limits.operations_max,
            used_at_ms: AtomicU64::new(self.now_ms()),
        };
        let mut sessions = self.sessions.lock();
        if sessions.len() >= self.limits.sessions_max {
            let cause = format!(
                "Failed to create session, the count of active sessions exceeds the max count: {}",
                self.limits.sessions_max
            );
            return Err(Failure::gateway("openSession", &cause));
        }
        sessions.insert(handle, Arc::new(session));
        Ok(handle)
    }

    /// The session of this handle, which is in use now.
    pub(crate) fn get(&self, handle: Uuid) -> Option<Arc<GatewaySession>> {
        let session = self.sessions.lock().get(&handle).map(Arc::clone)?;
        session.used_at_ms.store(self.now_ms(), Ordering::Relaxed);
        Some(session)
    }

    /// Closes a session and everything in it.
    pub(crate) fn close(&self, handle: Uuid) -> bool {
        let session = self.sessions.lock().shift_remove(&handle);
        session.map(|session| session.close()).is_some()
    }

    /// Closes the sessions that nobody has used for too long.
    pub(crate) fn close_idle(&self) {
        let timeout_ms = u64::try_from(self.limits.idle_timeout.as_millis()).unwrap_or(u64::MAX);
        if timeout_ms == 0 {
            return;
        }
        let now_ms = self.now_ms();
        let is_idle = |session: &GatewaySession| {
            let used_at_ms = session.used_at_ms.load(Ordering::Relaxed);
            now_ms.saturating_sub(used_at_ms) > timeout_ms && !session.is_busy()
        };
        let mut idle = Vec::new();
        self.sessions.lock().retain(|_, session| {
            let keep = !is_idle(session);
            if !keep {
                idle.push(Arc::clone(session));
            }
            keep
        });
        for session in idle {
            tracing::info!(session = %session.handle, "closing idle session");
            session.close();
        }
    }

    /// Closes all sessions.
    pub(crate) fn close_all(&self) {
        let sessions = std::mem::take(&mut *self.sessions.lock());
        for session in sessions.values() {
            session.close();
        }
    }
}

impl GatewaySession {
    /// What is set in the session.
    pub(crate) fn configuration(&self) -> Configuration {
        self.configuration.lock().clone()
    }

    /// The names that complete a statement.
    pub(crate) async fn object_names(&self) -> (String, Vec<String>) {
        let engine = self.engine.lock().await;
        let session = engine.session();
        let place = format!("{}.{}", session.current_catalog(), session.current_database());
        (place, session.object_names().await)
    }

    /// Whether a statement is being run.
    fn is_busy(&self) -> bool {
        self.operations.lock().values().any(|operation| !operation.status().is_terminal())
    }

    /// An operation by its handle.
    pub(crate) fn operation(&self, handle: Uuid) -> Option<Arc<Operation>> {
        self.operations.lock().get(&handle).map(Arc::clone)
    }

    /// Ends and forgets an operation.
    pub(crate) fn close_operation(&self, handle: Uuid) -> bool {
        let operation = self.operations.lock().shift_remove(&handle);
        operation.map(|operation| operation.close()).is_some()
    }

    fn close(&self) {
        let operations = std::mem::take(&mut *self.operations.lock());
        for operation in operations.values() {
            operation.close();
        }
    }

    /// Submits a statement; it is run when those before it are done.
    pub(crate) fn submit(self: &Arc<Self>, request: Request) -> Outcome<Uuid> {
        let operation = Arc::new(Operation::new());
        let handle = operation.handle;
        {
            let mut operations = self.operations.lock();
            if operations.len() >= self.operations_max {
                operations.retain(|_, operation| !operation.is_spent());
            }
            if operations.len() >= self.operations_max {
                let cause = format!(
                    "The session has {} operations, as many as it may have: close some.",
                    self.operations_max
                );
                return Err(Failure::gateway("executeStatement", &cause));
            }
            operations.insert(handle, Arc::clone(&operation));
        }
        let session = Arc::clone(self);
        let running = Arc::clone(&operation);
        let task = tokio::spawn(async move { session.run(&running, request).await });
        operation.set_task(task.abort_handle());
        Ok(handle)
    }

    async fn run(&self, operation: &Operation, request: Request) {
        let timeout = request.timeout;
        let work = self.execute(operation, &request);
        let outcome = match timeout {
            None => work.await,
            Some(timeout) => match tokio::time::timeout(timeout, work).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    let message = format!(
                        "The statement took longer than the {} ms that it was given.",
                        timeout.as_millis()
                    );
                    let failure = Diagnostic::new(Code::SessionState, message);
                    return operation.fail(Status::Timeout, failure);
                }
            },
        };
        if let Err(failure) = outcome {
            operation.fail(Status::Error, failure);
        }
    }

    async fn execute(&self, operation: &Operation, request: &Request) -> Result<(), Diagnostic> {
        let mut engine = self.engine.lock().await;
        operation.advance(Status::Running);
        let answer = engine.execute_with(&request.statement, &request.settings).await;
        let configuration = engine.session().configuration();
        self.configuration.lock().clone_from(configuration);
        let cells = CellFormat::new(configuration.time_zone());
        drop(engine);
        operation.finish(answer?, cells).await
    }
}
