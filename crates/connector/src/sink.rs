//! What a sink must do.
//!
//! The engine calls, in this order: [`Sink::open`] once; [`OpenedSink::writer`] for each worker;
//! [`SinkWriter::write`] for the batches of an epoch and [`SinkWriter::close_epoch`] when the last has
//! been written (epochs may overlap: epoch n + 1 may be written while n is being closed or committed,
//! but closes come in order); then [`SinkCommitter::commit`] once for each epoch, in order, with the
//! results of all writers.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use shardlake_change::ChangeBatch;

use crate::{
    ChangelogMode, Error, JobPosition, KeptRequest, OptionSpec, Phase, RowReceiver,
    SchemaChangeBehavior, TableDefinition,
};

/// Makes the sinks of one connector.
pub trait SinkFactory: Send + Sync {
    /// The value of `'connector'`.
    fn connector(&self) -> &'static str;

    /// The options that it knows.
    fn options(&self) -> &'static [OptionSpec];

    /// Checks the definition and makes the sink. Does no I/O.
    ///
    /// # Errors
    /// A [`crate::Fault::Job`] that names the option or column and what to do.
    fn create(&self, table: &TableDefinition) -> Result<Arc<dyn Sink>, Error>;
}

/// Which job writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobIdentity {
    /// `pipeline.name`, by default `insert-into_<catalog.database.table>`. A resubmitted job of the
    /// same name continues.
    pub name: String,
    /// The job's id: 32 hexadecimal digits, new for each submission.
    pub id: String,
    /// Names the query and the sources that the stored position belongs to.
    pub fingerprint: String,
}

/// What the last committed epoch of this job left in the sink.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The epoch.
    pub epoch: u64,
    /// Where the sources stood.
    pub position: JobPosition,
    /// The fingerprint of the job that committed it.
    pub fingerprint: String,
}

/// A sink that this job now owns.
pub struct Claim {
    /// The sink, ready to be written.
    pub sink: Box<dyn OpenedSink>,
    /// Where the job stood, if it has written here before and the sink remembers.
    pub progress: Option<Progress>,
    /// The generation under which this run commits; greater than those of all runs before it.
    pub generation: u64,
}

/// A table that can be written.
#[async_trait]
pub trait Sink: Send + Sync {
    /// The kinds of change that it takes. A sink of [`ChangelogMode::InsertOnly`] refuses a changelog
    /// at planning.
    fn changelog_mode(&self) -> ChangelogMode;

    /// How it follows the columns of what it is filled from; `None` if its columns stay as declared.
    fn schema_change(&self) -> Option<SchemaChangeBehavior> {
        None
    }

    /// Whether it stores progress itself, so that a job resumes from it. Sinks that do not are
    /// written at least once.
    fn stores_progress(&self) -> bool;

    /// Creates or checks what is behind the table, when the statement is planned: a missing table is
    /// made, an existing one with another schema is refused, naming the column.
    async fn prepare(&self) -> Result<(), Error>;

    /// Sends committed rows, as inserts.
    ///
    /// # Errors
    /// The sink cannot be read, or never can.
    async fn kept_rows(
        &self,
        request: &KeptRequest,
        receive: &mut RowReceiver<'_>,
    ) -> Result<(), Error> {
        let _unused = (request, receive);
        Err(Error::job("this sink cannot be read back"))
    }

    /// Claims the table for this job: older generations can no longer commit. Called at each (re)start.
    async fn open(&self, job: &JobIdentity) -> Result<Claim, Error>;
}

/// A claimed sink.
pub trait OpenedSink: Send + Sync {
    /// The writer of one of `worker_count` workers. With more than one worker, rows with equal equality keys
    /// always go to the same worker.
    ///
    /// # Errors
    /// Whatever keeps the writer from starting.
    fn writer(&self, worker: usize, worker_count: usize) -> Result<Box<dyn SinkWriter>, Error>;

    /// The one committer.
    ///
    /// # Errors
    /// Whatever keeps the committer from starting.
    fn committer(&self) -> Result<Box<dyn SinkCommitter>, Error>;
}

/// What one writer made of one epoch. Small: file names and counts, never rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteResult {
    /// Changes written.
    pub row_count: u64,
    /// Bytes written.
    pub size_bytes: u64,
    /// The sink's own encoding of what there is to commit; empty if there is nothing. It is stored in
    /// checkpoint files and travels between workers, so it must be readable by a later process.
    pub committable: Vec<u8>,
}

/// Writes rows; runs on a thread of its own and may block.
pub trait SinkWriter: Send {
    /// Writes a batch of changes that belongs to `epoch`. A sink that follows columns takes batches with other
    /// columns, and without rows, too (see [`SchemaChangeBehavior`]).
    ///
    /// # Errors
    /// Whatever keeps the rows from being written; the job then restarts from the last commit.
    fn write(&mut self, epoch: u64, batch: ChangeBatch) -> Result<(), Error>;

    /// Makes everything of `epoch` (and of earlier epochs) durable and says what there is to commit.
    /// "Durable" means: after a power cut, what the result names can still be committed.
    ///
    /// # Errors
    /// As for [`SinkWriter::write`].
    fn close_epoch(&mut self, epoch: u64) -> Result<WriteResult, Error>;
}

/// What is to be committed as one unit.
#[derive(Clone, Debug)]
pub struct CommitRequest {
    /// Its epoch, and the sources' position and fingerprint to store with it.
    pub progress: Progress,
    /// Whether any source was still in its snapshot phase.
    pub phase: Phase,
    /// When the newest transaction in it was written at the source, in milliseconds since 1970.
    pub event_time_ms: Option<u64>,
    /// One result for each writer.
    pub results: Vec<WriteResult>,
    /// True if this epoch was recovered from a checkpoint file: it may have been committed already.
    pub recovered: bool,
}

/// How a commit ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitOutcome {
    /// The epoch is visible, under this name (for Iceberg, the snapshot id).
    Committed(String),
    /// There was nothing to commit.
    Empty,
    /// An earlier run had committed the epoch already.
    AlreadyCommitted,
}

/// Commits epochs; runs on a thread of its own and may block.
pub trait SinkCommitter: Send {
    /// Makes one epoch visible, with its position, atomically.
    ///
    /// # Errors
    /// [`crate::Fault::Job`] if a newer generation has taken the table; transient faults restart the job.
    fn commit(&mut self, request: &CommitRequest) -> Result<CommitOutcome, Error>;
}
