//! A table as a user defined it, handed to a connector.

use std::fmt;

use serde::{Deserialize, Serialize};
use shardlake_change::{LogicalType, TableSchema};

use crate::Options;

/// The full name of a table, view or function. Prints as `catalog.database.object`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectName {
    /// The catalog, `default_catalog` unless the user chose another.
    pub catalog: String,
    /// The database, `default_database` unless the user chose another.
    pub database: String,
    /// The object.
    pub object: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.catalog, self.database, self.object)
    }
}

/// A table as `CREATE TABLE` defined it, options of hints already merged in. Computed columns are
/// not here: the planner computes them.
#[derive(Clone, Debug, PartialEq)]
pub struct TableDefinition {
    /// The table's full name.
    pub name: ObjectName,
    /// Physical and metadata columns in their declared order, and the primary key.
    pub schema: TableSchema,
    /// For each column of `schema`: the metadata key that it reads, or `None` if it is physical.
    pub metadata: Vec<Option<String>>,
    /// The options of the `WITH` clause, without `connector`.
    pub options: Options,
    /// The columns of `PARTITIONED BY`.
    pub partitioned_by: Vec<String>,
    /// The table's comment.
    pub comment: Option<String>,
}

impl TableDefinition {
    /// The metadata key of column `index`, if it is a metadata column.
    #[must_use]
    pub fn metadata_key(&self, index: usize) -> Option<&str> {
        self.metadata.get(index).and_then(|key| key.as_deref())
    }
}

/// A metadata column that a source offers.
#[derive(Clone, Debug, PartialEq)]
pub struct MetadataColumn {
    /// The key of `METADATA FROM 'key'`.
    pub key: &'static str,
    /// The type in which the source delivers it; a declared type must be castable from it.
    pub data_type: LogicalType,
    /// Whether it may be NULL.
    pub nullable: bool,
}
