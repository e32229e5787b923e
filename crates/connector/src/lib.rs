//! The contracts between the engine and its connectors.
//!
//! A connector declares its options ([`OptionSpec`]), makes a [`Source`] or a [`Sink`] from a
//! [`TableDefinition`], and reports every failure as an [`Error`] with a [`Fault`] class. The engine
//! never looks into a position or a write result: both are the connector's own.

mod comparison;
mod definition;
mod events;
mod fault;
mod kept;
mod options;
mod references;
mod schema_change;
mod sink;
mod source;
mod status;

pub use comparison::{BucketSum, ComparableSource, ComparedColumns, KeyedHash, RowText};
pub use definition::{MetadataColumn, ObjectName, TableDefinition};
pub use events::{
    Boundary, EventReceiver, EventSender, Phase, ReceiverGone, SourceEvent, event_channel,
};
pub use fault::{Error, Fault};
pub use kept::{KeptRequest, KeptRows, RowReceiver};
pub use options::{OptionKind, OptionSpec, Options, parse_duration_ms, parse_size_bytes};
pub use schema_change::{RowRemoval, SchemaChangeBehavior};
pub use sink::{
    Claim, CommitOutcome, CommitRequest, JobIdentity, OpenedSink, Progress, Sink, SinkCommitter,
    SinkFactory, SinkWriter, WriteResult,
};
pub use source::{ChangelogMode, JobPosition, ReadRequest, RunningSource, Source, SourceFactory};
pub use status::{ChunkCount, LaneStatus, ReadPhase, SourceStatus, SplitStatus};
