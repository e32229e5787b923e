//! The columns that the source delivers: those of the rows, and those that say where a row comes from.
//!
//! All tables of a source share one shape, the declared columns that the job needs.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, RecordBatch, RecordBatchOptions, StringBuilder, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{Field, Schema, SchemaRef};
use shardlake_change::{ChangeBatch, Column, LogicalType, RowKind, RowKinds, TableId};
use shardlake_connector::{Error as ConnectorError, MetadataColumn, TableDefinition};

use crate::error::{Error, Result};

/// The key of the metadata column that tells the server.
pub(crate) const SERVER_NAME: &str = "server_name";

/// What a metadata column tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metadata {
    DatabaseName,
    TableName,
    OpTs,
    RowKind,
    ServerName,
}

impl Metadata {
    const ALL: [Self; 5] =
        [Self::TableName, Self::DatabaseName, Self::OpTs, Self::RowKind, Self::ServerName];

    const fn key(self) -> &'static str {
        match self {
            Self::DatabaseName => "database_name",
            Self::TableName => "table_name",
            Self::OpTs => "op_ts",
            Self::RowKind => "row_kind",
            Self::ServerName => SERVER_NAME,
        }
    }

    const fn data_type(self) -> LogicalType {
        match self {
            Self::DatabaseName | Self::TableName | Self::RowKind | Self::ServerName => {
                LogicalType::String
            }
            Self::OpTs => LogicalType::TimestampLtz(3),
        }
    }

    fn parse(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metadata| metadata.key() == key)
    }
}

/// The metadata columns that the source offers.
pub(crate) fn metadata_columns() -> Vec<MetadataColumn> {
    let column = |metadata: Metadata| MetadataColumn {
        key: metadata.key(),
        data_type: metadata.data_type(),
        nullable: false,
    };
    Metadata::ALL.into_iter().map(column).collect()
}

/// Where one column of the output comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// A column of the rows, by its index in [`OutputShape::physical`].
    Row(usize),
    /// The place and time of the change.
    Metadata(Metadata),
}

/// The columns that a source delivers.
#[derive(Clone, Debug)]
pub(crate) struct OutputShape {
    schema: SchemaRef,
    origins: Vec<Origin>,
    physical: Vec<Column>,
    /// The columns of the primary key.
    key: Vec<String>,
    append_only: bool,
    /// The server's entry in the list, as written.
    server_name: String,
}

impl OutputShape {
    /// The shape for some of the columns of a definition.
    pub(crate) fn new(
        table: &TableDefinition,
        columns: &[usize],
        append_only: bool,
    ) -> std::result::Result<Self, ConnectorError> {
        let mut origins = Vec::new();
        let mut physical = Vec::new();
        let mut fields = Vec::new();
        for &index in columns {
            let column = table.schema.columns.get(index).ok_or_else(|| {
                ConnectorError::bug(format!("table {} has no column {index}", table.name))
            })?;
            fields.push(column.to_arrow());
            origins.push(match table.metadata_key(index) {
                None => {
                    physical.push(column.clone());
                    Origin::Row(physical.len() - 1)
                }
                Some(key) => Origin::Metadata(Metadata::parse(key).ok_or_else(|| {
                    ConnectorError::job(format!(
                        "Invalid metadata key '{key}' in column '{}' of table '{}'. The connector \
                         'mysql-cdc' offers: table_name, database_name, op_ts, row_kind, server_name.",
                        column.name, table.name
                    ))
                })?),
            });
        }
        let schema = Arc::new(Schema::new(fields));
        let key = table.schema.primary_key.clone();
        Ok(Self { schema, origins, physical, key, append_only, server_name: String::new() })
    }

    /// The shape with other columns of the rows: first those of before, by name, then new ones. Only columns of
    /// the key stay NOT NULL: others may be dropped at the source.
    pub(crate) fn with_physical(&self, physical: Vec<Column>) -> Self {
        let mut origins = self.origins.clone();
        for index in self.physical.len()..physical.len() {
            origins.push(Origin::Row(index));
        }
        let declared = self.schema.fields().iter().map(Some).chain(std::iter::repeat(None));
        let fields: Vec<Field> = origins
            .iter()
            .zip(declared)
            .filter_map(|(origin, declared)| match origin {
                Origin::Row(index) => {
                    let column = physical.get(*index)?;
                    let nullable = !self.key.contains(&column.name);
                    Some(column.to_arrow().with_nullable(nullable))
                }
                Origin::Metadata(_) => declared.map(|field| field.as_ref().clone()),
            })
            .collect();
        Self { schema: Arc::new(Schema::new(fields)), origins, physical, ..self.clone() }
    }

    /// The columns, as batches have them.
    pub(crate) const fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The columns of the primary key.
    pub(crate) fn key(&self) -> &[String] {
        &self.key
    }

    /// Whether a metadata column has this name.
    pub(crate) fn is_metadata(&self, name: &str) -> bool {
        self.origins
            .iter()
            .zip(self.schema.fields())
            .any(|(origin, field)| matches!(origin, Origin::Metadata(_)) && field.name() == name)
    }

    /// What the metadata columns of all rows of a table have in common; `None` if rows of other tables may
    /// have the same.
    pub(crate) fn rows_of(&self, table: &TableId) -> Option<Vec<(String, String)>> {
        let name = |wanted: Metadata| {
            let mut columns = self.origins.iter().zip(self.schema.fields());
            let found = columns.find(|(origin, _)| **origin == Origin::Metadata(wanted));
            found.map(|(_, field)| field.name().clone())
        };
        let database = (name(Metadata::DatabaseName)?, table.database.clone());
        let table = (name(Metadata::TableName)?, table.table.clone());
        let server = name(Metadata::ServerName).map(|name| (name, self.server_name.clone()));
        Some([database, table].into_iter().chain(server).collect())
    }

    /// The same columns, of the rows of one server.
    pub(crate) fn of_server(mut self, name: &str) -> Self {
        name.clone_into(&mut self.server_name);
        self
    }

    /// The place of a column that is read from rows, in the batches.
    pub(crate) fn index_of(&self, column: &str) -> Option<usize> {
        let row = self.physical.iter().position(|known| known.name == column)?;
        self.origins.iter().position(|origin| *origin == Origin::Row(row))
    }

    /// The columns that are read from rows.
    pub(crate) fn physical(&self) -> &[Column] {
        &self.physical
    }

    /// Joins the columns of rows with what is known about them.
    pub(crate) fn assemble(
        &self,
        physical: &[ArrayRef],
        kinds: RowKinds,
        runs: &[Run],
    ) -> Result<ChangeBatch> {
        let mut columns = Vec::with_capacity(self.origins.len());
        for (origin, field) in self.origins.iter().zip(self.schema.fields()) {
            let column = match origin {
                Origin::Row(index) => Arc::clone(physical.get(*index).ok_or_else(|| {
                    Error::Bug(format!("column {} was not decoded", field.name()))
                })?),
                Origin::Metadata(metadata) => {
                    let column = self.metadata_array(*metadata, &kinds, runs);
                    if column.data_type() == field.data_type() {
                        column
                    } else {
                        cast(&column, field.data_type())?
                    }
                }
            };
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(null_in_not_null(field.name(), runs));
            }
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(kinds.len()));
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?;
        let kinds =
            if self.append_only { RowKinds::uniform(RowKind::Insert, kinds.len()) } else { kinds };
        ChangeBatch::try_new(rows, kinds).map_err(|error| Error::Bug(error.to_string()))
    }

    fn metadata_array(&self, metadata: Metadata, kinds: &RowKinds, runs: &[Run]) -> ArrayRef {
        match metadata {
            Metadata::DatabaseName => repeated_text(runs, |run| &run.table.database),
            Metadata::TableName => repeated_text(runs, |run| &run.table.table),
            Metadata::ServerName => {
                let name = self.server_name.as_str();
                repeated_text(runs, |_| name)
            }
            Metadata::OpTs => {
                let values = runs.iter().flat_map(|run| {
                    std::iter::repeat_n(run.op_ts_ms.saturating_mul(1_000), run.row_count)
                });
                Arc::new(
                    TimestampMicrosecondArray::from_iter_values(values).with_timezone("+00:00"),
                )
            }
            Metadata::RowKind => {
                let mut builder = StringBuilder::with_capacity(kinds.len(), kinds.len() * 2);
                for kind in kinds.iter() {
                    builder.append_value(kind.as_str());
                }
                Arc::new(builder.finish())
            }
        }
    }
}

fn null_in_not_null(column: &str, runs: &[Run]) -> Error {
    let mut tables: Vec<String> = runs.iter().map(|run| run.table.to_string()).collect();
    tables.sort_unstable();
    tables.dedup();
    tables.truncate(5);
    Error::job(format!(
        "column '{column}' is declared NOT NULL, but it is NULL or missing in a row of {}: declare \
         it without NOT NULL",
        tables.join(" or ")
    ))
}

/// Rows that follow each other and come from the same table at the same time.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Their table.
    pub(crate) table: Arc<TableId>,
    /// When they changed, in milliseconds since 1970; 0 in the snapshot phase.
    pub(crate) op_ts_ms: i64,
    /// How many they are.
    pub(crate) row_count: usize,
}

fn repeated_text<'a>(runs: &'a [Run], text: impl Fn(&'a Run) -> &'a str) -> ArrayRef {
    let row_count: usize = runs.iter().map(|run| run.row_count).sum();
    let size_bytes: usize = runs.iter().map(|run| run.row_count * text(run).len()).sum();
    let mut builder = StringBuilder::with_capacity(row_count, size_bytes);
    for run in runs {
        for _ in 0..run.row_count {
            builder.append_value(text(run));
        }
    }
    Arc::new(builder.finish())
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use shardlake_change::{TableSchema, changelog_text};
    use shardlake_connector::{ObjectName, Options};

    use super::*;

    fn definition(nullable: bool) -> TableDefinition {
        let id = Column { nullable, ..Column::new("id", LogicalType::BigInt) };
        let columns = vec![
            Column::new("db_name", LogicalType::String),
            Column::new("t", LogicalType::String).not_null(),
            id,
            Column::new("ts", LogicalType::TimestampLtz(3)),
            Column::new("kind", LogicalType::String),
            Column::new("server", LogicalType::String).not_null(),
        ];
        let keys = [
            Some("database_name"),
            Some("table_name"),
            None,
            Some("op_ts"),
            Some("row_kind"),
            Some("server_name"),
        ];
        TableDefinition {
            name: ObjectName { catalog: "c".into(), database: "d".into(), object: "t".into() },
            schema: TableSchema { columns, primary_key: vec!["id".into()] },
            metadata: keys.map(|key| key.map(str::to_owned)).to_vec(),
            options: Options::default(),
            partitioned_by: Vec::new(),
            comment: None,
        }
    }

    fn assembled(columns: &[usize], append_only: bool, ids: Vec<Option<i64>>) -> Result<String> {
        let shape = OutputShape::new(&definition(false), columns, append_only).unwrap();
        let shape = shape.of_server("db-1");
        let table = |name: &str| Arc::new(TableId::new("db", name));
        let runs = [
            Run { table: table("a"), op_ts_ms: 0, row_count: 1 },
            Run { table: table("b"), op_ts_ms: 1_500, row_count: ids.len() - 1 },
        ];
        let kinds = [RowKind::Insert, RowKind::UpdateBefore, RowKind::UpdateAfter];
        let kinds = kinds.into_iter().take(ids.len()).collect();
        let batch = shape.assemble(&[Arc::new(Int64Array::from(ids))], kinds, &runs)?;
        Ok(changelog_text(&[batch]).unwrap())
    }

    #[test]
    fn metadata_stands_beside_the_rows() {
        let ids = || vec![Some(1), Some(2), Some(3)];
        insta::assert_snapshot!(assembled(&[0, 1, 2, 3, 4, 5], false, ids()).unwrap(), @"
        +I db | a | 1 | 1970-01-01T00:00:00Z | +I | db-1
        -U db | b | 2 | 1970-01-01T00:00:01.500Z | -U | db-1
        +U db | b | 3 | 1970-01-01T00:00:01.500Z | +U | db-1
        ");
        insta::assert_snapshot!(assembled(&[2, 4], true, ids()).unwrap(), @"
        +I 1 | +I
        +I 2 | -U
        +I 3 | +U
        ");
    }

    #[test]
    fn a_null_in_a_not_null_column_names_column_and_table() {
        let error = assembled(&[2], false, vec![None, Some(1)]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "column 'id' is declared NOT NULL, but it is NULL or missing in a row of db.a or db.b: \
             declare it without NOT NULL"
        );
    }

    #[test]
    fn a_job_may_need_no_column_at_all() {
        let shape = OutputShape::new(&definition(true), &[], false).unwrap();
        let batch = shape.assemble(&[], RowKinds::uniform(RowKind::Delete, 2), &[]).unwrap();
        assert_eq!(batch.row_count(), 2);
    }
}
