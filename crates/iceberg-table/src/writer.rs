//! Writing a table: data files, delete files, and the delta writer that makes both from changes.

mod data;
mod delta;
mod encoder;
mod epoch;
mod equality_delete;
mod files;
mod fold;
mod key;
mod metrics;
mod mode;
mod parquet_properties;
pub(crate) mod partition;
pub(crate) mod position_delete;
pub(crate) mod puffin;
mod shared;
mod sort;
mod transform;
mod written;

pub(crate) use data::data_location;
pub(crate) use data::{DataFileWriter, FileFormat, FileTarget};
pub use delta::DeltaWriter;
pub(crate) use files::{FileRegistry, RegisteredFile};
pub(crate) use key::KeyHasher;
pub use mode::DeleteMode;
pub(crate) use partition::Partition;
pub use shared::{DeltaWriterOptions, WriterShared};
pub use written::WrittenFiles;
pub(crate) use written::{NewFile, RowDeletes};
