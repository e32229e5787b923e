//! The `iceberg` connector: an Iceberg table as the destination of a job, and as its source.
//!
//! [`IcebergSinkFactory`] makes a sink from a table definition, [`IcebergSourceFactory`] a source that
//! follows the table's snapshots. Everything about Iceberg itself is in
//! `shardlake-iceberg-table`; here are the options, the claim of a table by a job, and the translation
//! between the engine's contracts and the lake's.

mod committer;
mod error;
mod follow;
mod maintenance;
mod options;
mod sink;
mod source;
mod target;
mod writer;

pub use options::OPTIONS;
pub use sink::IcebergSinkFactory;
pub use source::{IcebergSourceFactory, SOURCE_OPTIONS};
pub use target::Target;
