//! How far a running source is, for `SHOW SPLITS`, the web page and metrics.
//!
//! Everything here is a picture of one moment, taken without any I/O, so it may be asked for at any time and as
//! often as one likes. Nothing here decides anything, and nothing here holds a cell's value or a password.

/// What a reader is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReadPhase {
    /// Has not reached its server yet.
    #[default]
    Starting,
    /// Reads existing rows, or reads the changes that were made meanwhile.
    Snapshot,
    /// Follows the changes.
    Binlog,
    /// Lost its server and waits before it connects again.
    Retrying,
    /// Has come to the end of a bounded source.
    Finished,
    /// Has given up.
    Failed,
}

impl ReadPhase {
    /// The phase as users see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Snapshot => "snapshot",
            Self::Binlog => "binlog",
            Self::Retrying => "retrying",
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }
}

/// Chunks of the snapshot phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkCount {
    /// Chunks whose rows have been sent.
    pub read: u64,
    /// Chunks in all.
    pub total: u64,
    /// Whether `total` is an estimate, because a table is still being cut.
    pub estimated: bool,
}

impl ChunkCount {
    /// Chunks that are still to be read.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.total.saturating_sub(self.read)
    }
}

/// One split of a source (for MySQL: one table of one server) and how far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitStatus {
    /// The lane that reads it.
    pub lane: String,
    /// The split, for example `db.table`.
    pub split: String,
    /// What is being done for it.
    pub phase: ReadPhase,
    /// Its chunks, if it is or was read in chunks since the job started.
    pub chunks: Option<ChunkCount>,
    /// Changes sent since the job started; an update counts as two.
    pub rows: u64,
    /// About how many bytes these took.
    pub size_bytes: u64,
    /// When its newest change was written at the source, in milliseconds since 1970.
    pub last_event_ms: Option<u64>,
    /// Starts at 1 and grows by one with each change of its columns since the job started.
    pub schema_version: u64,
    /// Changes or values that were passed over or replaced, by a documented policy.
    pub errors_skipped: u64,
}

/// One lane of a source (for MySQL: one server) and how far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneStatus {
    /// The lane, for example `host:port`.
    pub lane: String,
    /// What its reader is doing.
    pub phase: ReadPhase,
    /// Its splits.
    pub split_count: u64,
    /// The chunks of all its splits, if any is or was read in chunks.
    pub chunks: Option<ChunkCount>,
    /// Changes sent since the job started; an update counts as two.
    pub rows: u64,
    /// About how many bytes these took.
    pub size_bytes: u64,
    /// The last position that was told to the engine, for people.
    pub position: Option<String>,
    /// How far behind the source the lane is, in milliseconds: 0 when there is nothing more to read, otherwise
    /// the age of the last transaction that was read. `None` until the lane follows the changes.
    pub lag_ms: Option<u64>,
    /// How many bytes of the source's log are still to be read, as of the last measurement.
    pub lag_bytes: Option<u64>,
    /// When the newest transaction that was read was written at the source, in milliseconds since 1970.
    pub last_event_ms: Option<u64>,
    /// Changes or values that were passed over or replaced, by a documented policy.
    pub errors_skipped: u64,
    /// How often the lane has lost its server, or failed to reach it, since the job started.
    pub retries: u64,
    /// Why, the last time.
    pub last_error: Option<String>,
}

/// A live view on a running source.
pub trait SourceStatus: Send + Sync {
    /// The splits as they stand, in the order of their names within each lane.
    fn splits(&self) -> Vec<SplitStatus>;

    /// The lanes as they stand.
    fn lanes(&self) -> Vec<LaneStatus>;
}
