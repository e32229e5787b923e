//! From a snapshot to the files that must be read and the rows of them that are deleted.
//!
//! The order of things: [`predicate`] turns the query's filters into a form that knows field ids;
//! [`plan`] walks manifests and picks data files, each with the delete files that apply to it;
//! [`position_deletes`] and [`equality_deletes`] load those; [`reader`] opens the data files.
//!
//! Invariant: leaving something out (a manifest, a file) needs proof that no row of it can match;
//! whatever is unknown (a missing bound, an unknown transform, NaN) is read.

mod bounds;
mod cache;
pub(crate) mod deletion_vector;
pub(crate) mod equality_deletes;
pub(crate) mod parquet_schema;
mod partition;
pub(crate) mod plan;
pub(crate) mod position_deletes;
pub(crate) mod predicate;
pub(crate) mod reader;
pub(crate) mod value;

pub(crate) use cache::FileCache;
#[cfg(test)]
pub(crate) use deletion_vector::encode as deletion_vector_blob;
