//! The life cycle of jobs: submit, supervise, restart, stop.
//!
//! A job is a plan that runs on threads of its own under a supervisor. The supervisor claims the
//! sinks, finds out where the job stood, starts the sources there and runs the dataflow; when a run
//! fails it asks `checkpoint::restart` what to do. Whatever ends the process, a resubmitted job of
//! the same name continues from what its sinks have committed.

mod attempt;
mod error;
mod folder;
mod graph;
mod handle;
mod jobs;
mod kept;
mod meters;
mod options;
mod recovery;
mod status;
mod supervisor;

pub use error::Error;
pub use graph::{Operator, OperatorKind};
pub use handle::{JobFailure, JobHandle};
pub use jobs::{Environment, Jobs, Submission, Submitted};
pub use options::options;
pub use shardlake_dataflow::{CommitReading, TableCounters};
pub use status::{JobCounters, JobStatus};
