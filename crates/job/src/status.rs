//! What can be seen of a job from outside.

use std::fmt;

use serde::Serialize;
use shardlake_dataflow::TableCounters;

/// Where a job stands in its life. The names are Flink's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobStatus {
    /// Submitted; sinks are being claimed and sources connected.
    Initializing,
    /// Rows flow.
    Running,
    /// A failure ended a run; the next one starts after a pause.
    Restarting,
    /// The job was asked to end at once and is ending.
    Cancelling,
    /// Ended on request, at once: what was not committed is read again by a resubmitted job.
    Canceled,
    /// Ended by itself or after a stop: everything is committed.
    Finished,
    /// Ended by a failure.
    Failed,
}

impl JobStatus {
    /// Flink's name for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initializing => "INITIALIZING",
            Self::Running => "RUNNING",
            Self::Restarting => "RESTARTING",
            Self::Cancelling => "CANCELLING",
            Self::Canceled => "CANCELED",
            Self::Finished => "FINISHED",
            Self::Failed => "FAILED",
        }
    }

    /// Whether the job has ended for good.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Canceled | Self::Finished | Self::Failed)
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A job's counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct JobCounters {
    /// One entry for each source of the plan.
    pub sources: Vec<TableCounters>,
    /// One entry for each chain of transformations, in the order of the graph.
    pub transforms: Vec<TableCounters>,
    /// One entry for each sink of the plan.
    pub sinks: Vec<TableCounters>,
    /// The last epoch that was committed.
    pub last_epoch: Option<u64>,
    /// When it was committed, in milliseconds since 1970.
    pub last_commit_ms: Option<u64>,
    /// When the newest change in it was written at its source, in milliseconds since 1970.
    pub last_event_time_ms: Option<u64>,
    /// How often the job was started again after a failure.
    pub restarts: u64,
}
