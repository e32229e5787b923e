//! Writing a table: data files, position delete files, and the delta writer that makes both from changes.

mod data;
mod delta;
mod encoder;
mod key;
mod metrics;
pub(crate) mod position_delete;
mod written;

pub(crate) use delta::FileRegistry;
pub use delta::{DeltaWriter, DeltaWriterOptions, WriterShared};
pub(crate) use key::KeyHasher;
pub use written::WrittenFiles;
