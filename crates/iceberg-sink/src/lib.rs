//! The `iceberg` sink: an Iceberg table as the destination of a job.
//!
//! [`IcebergSinkFactory`] makes a sink from a table definition. Everything about Iceberg itself is in
//! `shardlake-iceberg-table`; here are the options, the claim of a table by a job, and the translation
//! between the engine's contracts and the lake's.

mod committer;
mod error;
mod follow;
mod maintenance;
mod options;
mod sink;
mod target;
mod writer;

pub use options::OPTIONS;
pub use sink::IcebergSinkFactory;
pub use target::Target;
