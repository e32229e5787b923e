//! Catalogs: where the definitions of tables and views are kept.
//!
//! A catalog holds databases, a database holds tables and views. `default_catalog` is kept in memory,
//! as Flink's; an `iceberg` catalog shows the tables of a warehouse. Temporary objects belong to the
//! session and hide permanent ones of the same name.

mod connectors;
mod durable;
mod lake;
mod like;
mod memory;
mod resolve;
mod store;

pub use connectors::Connectors;
pub(crate) use connectors::{create_sink, create_source};
pub(crate) use durable::pairs;
pub use durable::{DefinitionChange, DefinitionKey, DefinitionStorage};
pub(crate) use lake::lake_error;
pub(crate) use like::derive_like;
pub use resolve::{PlannerContext, Resolved, ResolvedColumn, ResolvedTable, ResolvedView};
pub(crate) use store::{CatalogStore, DEFAULT_CATALOG, DEFAULT_DATABASE};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use shardlake_change::LogicalType;
use shardlake_connector::Options;
use shardlake_iceberg_table::TableChange;

use crate::diagnostic::{Code, Diagnostic};

/// A column as `CREATE TABLE` defined it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDefinition {
    /// Its name.
    pub name: String,
    /// Where its values come from.
    pub kind: ColumnKind,
    /// `COMMENT`.
    pub comment: Option<String>,
}

/// Where the values of a column come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ColumnKind {
    /// It is stored in the table.
    Physical {
        /// Its type.
        data_type: LogicalType,
        /// Whether it may be NULL.
        nullable: bool,
    },
    /// The connector adds it: `METADATA [FROM 'key'] [VIRTUAL]`.
    Metadata {
        /// Its type.
        data_type: LogicalType,
        /// Whether it may be NULL.
        nullable: bool,
        /// The key if it differs from the name.
        key: Option<String>,
        /// Whether it can only be read.
        is_virtual: bool,
    },
    /// It is computed from other columns: `AS expression`.
    Computed {
        /// The expression as written.
        expression: String,
    },
}

/// A primary key, which is never enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrimaryKey {
    /// Its name if the user gave one.
    pub name: Option<String>,
    /// Its columns in their order.
    pub columns: Vec<String>,
}

impl PrimaryKey {
    /// The user's name for it, or Flink's: `PK_` and the columns.
    #[must_use]
    pub fn constraint_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("PK_{}", self.columns.join("_")))
    }
}

/// A watermark of a table. Kept and shown as Flink does; no query here needs it, because those over tables
/// that change have no state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// The column of event time.
    pub column: String,
    /// The expression as written.
    pub expression: String,
}

/// A table in a catalog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CatalogTable {
    /// Its columns in their declared order.
    pub columns: Vec<ColumnDefinition>,
    /// Its primary key.
    pub primary_key: Option<PrimaryKey>,
    /// The entries of `PARTITIONED BY`: columns, or transforms of one such as `bucket(16, id)`.
    pub partitioned_by: Vec<String>,
    /// The options of `WITH`, `connector` among them.
    #[serde(with = "pairs")]
    pub options: Options,
    /// `COMMENT`.
    pub comment: Option<String>,
    /// `WATERMARK FOR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<Watermark>,
}

/// The column of an entry of `PARTITIONED BY`: the entry itself, or what stands last in a transform.
pub(crate) fn partition_column(entry: &str) -> &str {
    let Some((_, arguments)) = entry.strip_suffix(')').and_then(|rest| rest.split_once('(')) else {
        return entry;
    };
    arguments.rsplit(',').next().unwrap_or(arguments).trim()
}

/// A view in a catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogView {
    /// The names of its columns; empty: those of the query.
    pub columns: Vec<String>,
    /// The text of its query.
    pub query: String,
    /// The catalog and database in which the names of the query are looked up.
    pub scope: (String, String),
    /// `COMMENT`.
    pub comment: Option<String>,
}

/// What a name in a database stands for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CatalogObject {
    /// A table.
    Table(CatalogTable),
    /// A view.
    View(CatalogView),
}

impl CatalogObject {
    /// Whether it is a view.
    #[must_use]
    pub const fn is_view(&self) -> bool {
        matches!(self, Self::View(_))
    }
}

/// A catalog. Names of databases and objects that it is asked for may not exist; then reads answer
/// `None`, and changes answer with a diagnostic in Flink's words.
#[async_trait]
pub(crate) trait Catalog: Send + Sync {
    /// The options with which it was created.
    fn options(&self) -> &Options;

    /// The names of its databases, sorted.
    async fn databases(&self) -> Result<Vec<String>, Diagnostic>;

    /// Makes a database that does not exist yet.
    async fn create_database(&self, database: &str, options: &Options) -> Result<(), Diagnostic>;

    /// Removes a database and, with `cascade`, all that is in it.
    async fn drop_database(&self, database: &str, cascade: bool) -> Result<(), Diagnostic>;

    /// The objects of a database by name, and whether each is a view; sorted. `None` if there is no
    /// such database.
    async fn list(&self, database: &str) -> Result<Option<Vec<(String, bool)>>, Diagnostic>;

    /// An object.
    async fn get(&self, database: &str, name: &str) -> Result<Option<CatalogObject>, Diagnostic>;

    /// Adds an object that does not exist yet.
    async fn create(
        &self,
        database: &str,
        name: &str,
        object: CatalogObject,
    ) -> Result<(), Diagnostic>;

    /// Replaces the definition of an object.
    async fn replace(
        &self,
        database: &str,
        name: &str,
        object: CatalogObject,
    ) -> Result<(), Diagnostic>;

    /// Gives an object a new name.
    async fn rename(&self, database: &str, name: &str, to: &str) -> Result<(), Diagnostic>;

    /// Whether it keeps tables themselves, not only their definitions.
    fn keeps_tables(&self) -> bool {
        false
    }

    /// Changes a table where it is kept. False if this catalog keeps definitions only: then the caller
    /// changes the definition and replaces it.
    async fn alter(
        &self,
        database: &str,
        name: &str,
        changes: &[TableChange],
    ) -> Result<bool, Diagnostic> {
        let _ = (database, name, changes);
        Ok(false)
    }

    /// Removes an object.
    async fn remove(&self, database: &str, name: &str) -> Result<(), Diagnostic>;
}
