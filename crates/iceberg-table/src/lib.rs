//! The lake: Iceberg tables in a catalog, their writers, their commits, and their scan.
//!
//! `iceberg` is used for the format only (schemas, manifests, metadata); its Arrow types never meet
//! ours. Nothing outside this crate names `iceberg` or `parquet`.

mod catalog;
mod changelog;
pub mod commit;
mod error;
mod evolve;
mod index;
mod kept_rows;
pub mod maintenance;
mod metadata_tables;
pub mod properties;
mod provider;
mod row_changes;
mod rows_where;
mod scan;
pub mod schema;
mod storage;
mod table;
#[cfg(test)]
mod testing;
mod time_travel;
mod writer;

pub use catalog::{
    BranchCatalog, Catalog, HadoopCatalog, PartitionField, PartitionTransform, RestCatalog,
    SortField, SqlCatalog, SqlConnection, TableCreation, catalog_option_keys, is_catalog_option,
    open_catalog,
};
pub use changelog::{
    ChangeStream, ChangelogReader, ChangelogStart, ExistingRows, StartingPoint, snapshots_after,
};
pub use error::{Cause, Error};
pub use evolve::{
    ColumnPlace, Existing, ReferenceChange, ReferenceKind, Retention, TableChange, alter,
};
pub use index::KeyIndex;
pub use kept_rows::read_rows;
pub use metadata_tables::MetadataTable;
pub use provider::IcebergTableProvider;
pub use provider::positioned::{FILE_COLUMN, POSITION_COLUMN, PositionedTable};
pub use row_changes::RowChanges;
pub use rows_where::rows_where;
pub use storage::{FileReader, FileWriter, Storage, StoredFile};
pub use table::{Table, TableName};
pub use time_travel::{AsOf, SourcePosition, source_positions};
pub use writer::{DeleteMode, DeltaWriter, DeltaWriterOptions, WriterShared, WrittenFiles};
