//! A submitted job as others hold it.
//!
//! The supervisor's thread writes the state; handles read it and pass on the user's wishes. The
//! status only moves forward to a terminal one and never leaves it.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use serde::Serialize;
use shardlake_checkpoint::Savepoint;
use shardlake_connector::{Error, LaneStatus, Options, Progress, SourceStatus, SplitStatus};
use shardlake_dataflow::{CommitReading, LastCommit};
use uuid::Uuid;

use crate::graph::{Operator, OperatorKind};
use crate::supervisor::wall_clock_ms;
use crate::{JobCounters, JobStatus};

/// A submitted job. Clones stand for the same job.
#[derive(Clone)]
pub struct JobHandle {
    pub(crate) record: Arc<JobRecord>,
}

/// What is known of a job; written by its supervisor.
pub(crate) struct JobRecord {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) started_at_ms: u64,
    pub(crate) control: shardlake_dataflow::Control,
    pub(crate) meters: shardlake_dataflow::Meters,
    pub(crate) graph: Vec<Operator>,
    pub(crate) configuration: Options,
    /// For each source what its positions belong to.
    pub(crate) sources: BTreeMap<String, String>,
    /// Where the job stood at its last commit in this process.
    pub(crate) last: LastCommit,
    /// Where it stood when its last run began.
    pub(crate) standing: Mutex<Option<Progress>>,
    pub(crate) state: Mutex<JobState>,
    pub(crate) changed: Condvar,
}

/// The part of a job's record that changes.
pub(crate) struct JobState {
    pub(crate) status: JobStatus,
    pub(crate) failure: Option<String>,
    pub(crate) ended_at_ms: Option<u64>,
    pub(crate) restarts: u64,
    /// Whether it ended because its inputs did.
    pub(crate) complete: bool,
    /// When each status was reached last, in milliseconds since 1970.
    pub(crate) reached_ms: BTreeMap<JobStatus, u64>,
    /// The last failures, the newest last.
    pub(crate) failures: VecDeque<JobFailure>,
    pub(crate) splits: Vec<(String, Arc<dyn SourceStatus>)>,
}

/// The most failures of a job that are remembered.
const FAILURES_MAX: usize = 32;

/// A failure that ended a run of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobFailure {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// The failure with all its causes.
    pub message: String,
}

impl JobRecord {
    /// Changes the state and tells those who wait for it. A terminal status stays.
    pub(crate) fn update(&self, change: impl FnOnce(&mut JobState)) {
        let mut state = self.state.lock();
        if !state.status.is_terminal() {
            let (before, restarts) = (state.status, state.restarts);
            change(&mut state);
            let status = state.status;
            if status != before || state.restarts != restarts {
                let at_ms = wall_clock_ms();
                state.reached_ms.insert(status, at_ms);
                let failed = matches!(status, JobStatus::Restarting | JobStatus::Failed);
                if let (true, Some(message)) = (failed, state.failure.clone()) {
                    state.failures.push_back(JobFailure { at_ms, message });
                    if state.failures.len() > FAILURES_MAX {
                        state.failures.pop_front();
                    }
                }
            }
        }
        self.changed.notify_all();
    }
}

impl JobHandle {
    /// The job's id: 32 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.record.id
    }

    /// The job's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// Where the job stands.
    #[must_use]
    pub fn status(&self) -> JobStatus {
        self.record.state.lock().status
    }

    /// When the job was submitted, in milliseconds since 1970.
    #[must_use]
    pub fn started_at_ms(&self) -> u64 {
        self.record.started_at_ms
    }

    /// When the job reached its terminal status, in milliseconds since 1970.
    #[must_use]
    pub fn ended_at_ms(&self) -> Option<u64> {
        self.record.state.lock().ended_at_ms
    }

    /// Whether the job ended by itself: its inputs ended, and everything is committed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.record.state.lock().complete
    }

    /// The last failure with all its causes: why the job failed, or why it was restarted last.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.record.state.lock().failure.clone()
    }

    /// The last failures, the oldest first.
    #[must_use]
    pub fn failures(&self) -> Vec<JobFailure> {
        self.record.state.lock().failures.iter().cloned().collect()
    }

    /// When each status was reached last, in milliseconds since 1970.
    #[must_use]
    pub fn reached_ms(&self) -> BTreeMap<JobStatus, u64> {
        self.record.state.lock().reached_ms.clone()
    }

    /// The operators, each after those whose rows it takes.
    #[must_use]
    pub fn graph(&self) -> &[Operator] {
        &self.record.graph
    }

    /// What was set in the session that submitted the job. Values may be secret.
    #[must_use]
    pub fn configuration(&self) -> &Options {
        &self.record.configuration
    }

    /// The last epochs that became visible, the oldest first; for users, checkpoints.
    #[must_use]
    pub fn epochs(&self) -> Vec<CommitReading> {
        self.record.meters.epochs()
    }

    /// How many epochs became visible since the job was started in this process.
    #[must_use]
    pub fn epoch_count(&self) -> u64 {
        self.record.meters.epoch_count()
    }

    /// What has gone through the job so far.
    #[must_use]
    pub fn counters(&self) -> JobCounters {
        let restarts = self.record.state.lock().restarts;
        crate::meters::counters(&self.record.meters, restarts)
    }

    /// How far the splits of the sources are, as `(source table, split)`.
    #[must_use]
    pub fn splits(&self) -> Vec<(String, SplitStatus)> {
        let sources = self.record.state.lock().splits.clone();
        sources
            .into_iter()
            .flat_map(|(name, source)| {
                source.splits().into_iter().map(move |split| (name.clone(), split))
            })
            .collect()
    }

    /// How far the lanes of the sources are, as `(source table, lane)`.
    #[must_use]
    pub fn lanes(&self) -> Vec<(String, LaneStatus)> {
        let sources = self.record.state.lock().splits.clone();
        sources
            .into_iter()
            .flat_map(|(name, source)| {
                source.lanes().into_iter().map(move |lane| (name.clone(), lane))
            })
            .collect()
    }

    /// Writes a savepoint below a local folder: where the job stood at its last commit. Answers with the
    /// savepoint's own folder. A job that has ended can be asked too.
    ///
    /// # Errors
    /// The job has committed nothing yet, or the folder cannot be written.
    pub fn savepoint(&self, folder: &Path) -> Result<PathBuf, Error> {
        let last = self.record.last.lock().clone();
        let progress = last.or_else(|| self.record.standing.lock().clone());
        let progress = progress.ok_or_else(|| {
            Error::transient(format!(
                "job '{}' has committed nothing yet, so there is nothing to save; try again after \
                 its first commit",
                self.record.name
            ))
        })?;
        let sinks = self.record.graph.iter().filter(|operator| operator.kind == OperatorKind::Sink);
        let sinks = sinks.filter_map(|operator| operator.table.as_ref()).map(ToString::to_string);
        let savepoint = Savepoint {
            job_name: self.record.name.clone(),
            job_id: self.record.id.clone(),
            created_at_ms: wall_clock_ms(),
            progress,
            sources: self.record.sources.clone(),
            sinks: sinks.collect(),
        };
        savepoint.write(folder, Uuid::new_v4().as_u64_pair().0)
    }

    /// Asks the job to end gracefully: what its sources have sent is committed, then it is
    /// [`JobStatus::Finished`]. Does not wait.
    pub fn stop(&self) {
        self.record.control.stop();
    }

    /// Asks the job to end at once, without a last commit. Does not wait.
    pub fn cancel(&self) {
        self.record.update(|state| state.status = JobStatus::Cancelling);
        self.record.control.cancel();
    }

    /// Waits until the job has ended, and says how.
    #[must_use]
    pub fn wait(&self) -> JobStatus {
        let mut state = self.record.state.lock();
        while !state.status.is_terminal() {
            self.record.changed.wait(&mut state);
        }
        state.status
    }

    /// Waits at most `timeout` for the job to end; its status then.
    #[must_use]
    pub fn wait_for(&self, timeout: Duration) -> JobStatus {
        let mut state = self.record.state.lock();
        let _ended = self.record.changed.wait_while_for(
            &mut state,
            |state| !state.status.is_terminal(),
            timeout,
        );
        state.status
    }
}
