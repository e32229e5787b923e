//! A submitted job as others hold it.
//!
//! The supervisor's thread writes the state; handles read it and pass on the user's wishes. The
//! status only moves forward to a terminal one and never leaves it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use shardlake_connector::{LaneStatus, SourceStatus, SplitStatus};

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
    pub(crate) state: Mutex<JobState>,
    pub(crate) changed: Condvar,
}

/// The part of a job's record that changes.
pub(crate) struct JobState {
    pub(crate) status: JobStatus,
    pub(crate) failure: Option<String>,
    pub(crate) ended_at_ms: Option<u64>,
    pub(crate) restarts: u64,
    pub(crate) splits: Vec<(String, Arc<dyn SourceStatus>)>,
}

impl JobRecord {
    /// Changes the state and tells those who wait for it. A terminal status stays.
    pub(crate) fn update(&self, change: impl FnOnce(&mut JobState)) {
        let mut state = self.state.lock();
        if !state.status.is_terminal() {
            change(&mut state);
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

    /// The last failure with all its causes: why the job failed, or why it was restarted last.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        self.record.state.lock().failure.clone()
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
