//! Epochs, checkpoints and restarts as pure state machines, and one store.
//!
//! The [`Coordinator`] decides when an epoch closes, [`Restarts`] what follows a failure; both take
//! the time as a parameter. A [`Checkpoint`] is what a job with several sinks writes down before it
//! commits the first of them. No thread, no clock and, [`FileStore`] aside, no I/O lives here.

mod coordinator;
mod file;
mod options;
pub mod restart;
mod savepoint;
mod store;

pub use coordinator::{Coordinator, Limits, Load, Step};
pub use file::{Checkpoint, SinkResults};
pub use options::{
    CheckpointSettings, OPTIONS, checkpoint_folder, local_path, recovery_path, savepoint_folder,
    takes_unclaimed,
};
pub use restart::{Decision, RestartPolicy, Restarts};
pub use savepoint::Savepoint;
pub use store::{CheckpointStore, FileStore};
