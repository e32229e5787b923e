//! The vocabulary of Shardlake: what a change is, and how its columns are described.
//!
//! The one currency between stages is a [`ChangeBatch`]: an Arrow `RecordBatch` plus one [`RowKind`]
//! a row. Columns are described by a [`TableSchema`] of [`LogicalType`]s, named as Flink SQL names
//! them. This crate does no I/O and knows no connector.

mod batch;
mod identifier;
mod kind;
mod logical_type;
mod schema;
mod text;

pub use batch::{ChangeBatch, Error};
pub use identifier::{ShardId, TableId};
pub use kind::{RowKind, RowKinds};
pub use logical_type::LogicalType;
pub use schema::{Column, TableSchema};
pub use text::{changelog_text, parse_changelog};
