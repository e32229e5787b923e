//! What a table knows about itself, as tables: `t$snapshots`, `t$files` and others.
//!
//! Columns have the names and types that Iceberg's documentation gives them (Spark, "Inspecting
//! tables"); `readable_metrics` is left out. Tables about files speak of the snapshot that is asked
//! for, the others of the whole table.

mod columns;
mod files;
mod history;
mod manifests;
mod partitions;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;

use crate::scan::plan::{self, Entries};
use crate::{AsOf, Error, Table};

/// A kind of metadata table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MetadataTable {
    /// `$history`: which snapshot became current when.
    History,
    /// `$metadata_log_entries`: the files of the metadata.
    MetadataLogEntries,
    /// `$snapshots`: the snapshots that are kept.
    Snapshots,
    /// `$refs`: branches and tags.
    Refs,
    /// `$manifests`: the manifests of a snapshot.
    Manifests,
    /// `$entries`: the entries of the manifests of a snapshot, removed files among them.
    Entries,
    /// `$files`: the files of a snapshot.
    Files,
    /// `$data_files`: the data files of a snapshot.
    DataFiles,
    /// `$delete_files`: the delete files of a snapshot.
    DeleteFiles,
    /// `$partitions`: the partitions of a snapshot.
    Partitions,
}

impl MetadataTable {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::History,
        Self::MetadataLogEntries,
        Self::Snapshots,
        Self::Refs,
        Self::Manifests,
        Self::Entries,
        Self::Files,
        Self::DataFiles,
        Self::DeleteFiles,
        Self::Partitions,
    ];

    /// The name behind the `$`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::History => "history",
            Self::MetadataLogEntries => "metadata_log_entries",
            Self::Snapshots => "snapshots",
            Self::Refs => "refs",
            Self::Manifests => "manifests",
            Self::Entries => "entries",
            Self::Files => "files",
            Self::DataFiles => "data_files",
            Self::DeleteFiles => "delete_files",
            Self::Partitions => "partitions",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The rows of this metadata table, read now.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such state of the table; [`Error::Storage`] or
    /// [`Error::Corrupt`] name a manifest that cannot be read.
    pub async fn load(self, table: &Table, as_of: &AsOf) -> Result<Arc<dyn TableProvider>, Error> {
        let columns = match self {
            Self::History => history::history(table),
            Self::MetadataLogEntries => history::metadata_log_entries(table),
            Self::Snapshots => history::snapshots(table)?,
            Self::Refs => history::refs(table)?,
            Self::Manifests => manifests::manifests(table, as_of).await?,
            Self::Entries => files::entries(table, &all_entries(table, as_of).await?)?,
            Self::Files => files::files(table, &all_entries(table, as_of).await?, |_| true)?,
            Self::DataFiles => {
                files::files(table, &all_entries(table, as_of).await?, |is_data| is_data)?
            }
            Self::DeleteFiles => {
                files::files(table, &all_entries(table, as_of).await?, |is_data| !is_data)?
            }
            Self::Partitions => partitions::partitions(table, &all_entries(table, as_of).await?)?,
        };
        let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays).map_err(Error::bug)?;
        let provider = MemTable::try_new(schema, vec![vec![batch]]).map_err(Error::bug)?;
        Ok(Arc::new(provider))
    }
}

/// A column of a metadata table.
type MetadataColumn = (Field, ArrayRef);

/// The entries of a snapshot with the partition spec of each manifest.
async fn all_entries(table: &Table, as_of: &AsOf) -> Result<Vec<(i32, Entries)>, Error> {
    let Some(snapshot) = as_of.snapshot(table)? else { return Ok(Vec::new()) };
    let manifests = plan::manifest_list(table, &snapshot).await?;
    let loaded = plan::load_manifests(table, &snapshot, manifests.to_vec()).await?;
    Ok(loaded.into_iter().map(|(manifest, list)| (manifest.partition_spec_id, list)).collect())
}

#[cfg(test)]
mod tests;
