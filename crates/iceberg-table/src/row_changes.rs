//! Deleting and replacing single rows of a table, found by a query.
//!
//! The rows are found in one version of the table, and the change is committed on that very version: if
//! anybody has committed meanwhile, nothing is changed, and the caller finds the rows anew. So no change
//! of another writer is ever undone.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use roaring::RoaringTreemap;
use shardlake_change::ChangeBatch;

use crate::commit::progress::ROWS_CHANGED;
use crate::commit::{Committer, RowDelta};
use crate::provider::positioned::{FILE_COLUMN, POSITION_COLUMN};
use crate::scan::plan;
use crate::scan::predicate::{FieldIds, Predicate};
use crate::writer::{Partition, RegisteredFile};
use crate::{
    AsOf, Catalog, DeltaWriter, DeltaWriterOptions, Error, IcebergTableProvider, PositionedTable,
    Table, TableName, WriterShared,
};

/// The name under which statements commit.
const JOB: &str = "statement";
/// All rows of a statement belong to one epoch.
const EPOCH: u64 = 1;

/// A change of rows of one version of a table.
pub struct RowChanges {
    committer: Committer,
    writer: DeltaWriter,
    deleted: BTreeMap<String, RoaringTreemap>,
    added: u64,
}

impl RowChanges {
    /// Begins a change of the table as it is now. `statement_id` tells this statement from others.
    ///
    /// # Errors
    /// [`Error::NotFound`], or [`Error::Invalid`] if the table cannot be written.
    pub async fn begin(
        catalog: Arc<dyn Catalog>,
        name: &TableName,
        statement_id: &str,
    ) -> Result<Self, Error> {
        let committer = Committer::claim(catalog, name, JOB, statement_id).await?;
        let shared = WriterShared::appending(committer.table(), DeltaWriterOptions::default())?;
        let writer = DeltaWriter::new(shared, 0);
        Ok(Self { committer, writer, deleted: BTreeMap::new(), added: 0 })
    }

    /// The version that is changed.
    #[must_use]
    pub const fn table(&self) -> &Table {
        self.committer.table()
    }

    /// The rows of that version, with their places, in the columns as they are declared.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the column that does not fit.
    pub fn rows(&self, declared: &shardlake_change::TableSchema) -> Result<PositionedTable, Error> {
        let provider = IcebergTableProvider::new(self.table().clone(), &AsOf::Current)?;
        PositionedTable::new(provider.with_declared(declared)?)
    }

    /// Deletes the rows whose places are in the columns `_file` and `_pos` of a batch.
    ///
    /// # Errors
    /// [`Error::Bug`] if the batch has no such columns.
    pub fn delete(&mut self, places: &RecordBatch) -> Result<(), Error> {
        let column = |name: &str| {
            places.column_by_name(name).ok_or_else(|| Error::bug(format!("no column {name}")))
        };
        let files = column(FILE_COLUMN)?;
        let files = files.as_string_opt::<i32>().ok_or_else(|| Error::bug("no text"))?;
        let positions = column(POSITION_COLUMN)?;
        let positions =
            positions.as_primitive_opt::<Int64Type>().ok_or_else(|| Error::bug("no numbers"))?;
        for (file, position) in files.iter().zip(positions) {
            let (Some(file), Some(position)) = (file, position) else { continue };
            let position = u64::try_from(position).map_err(Error::bug)?;
            match self.deleted.get_mut(file) {
                Some(of_file) => of_file.insert(position),
                None => self.deleted.entry(file.to_owned()).or_default().insert(position),
            };
        }
        Ok(())
    }

    /// Adds rows; columns are found by name, others are left out.
    ///
    /// # Errors
    /// [`Error::Invalid`] names a column that is missing, or NULL where it must not be.
    pub fn add(&mut self, rows: RecordBatch) -> Result<(), Error> {
        self.added += rows.num_rows() as u64;
        self.writer.write(EPOCH, ChangeBatch::inserts(rows))
    }

    /// How many rows are deleted.
    #[must_use]
    pub fn deleted_count(&self) -> u64 {
        self.deleted.values().map(RoaringTreemap::len).sum()
    }

    /// Makes the change. Nothing is committed if it changes nothing.
    ///
    /// # Errors
    /// [`Error::Conflict`] if another writer has committed since [`RowChanges::begin`]: begin anew.
    pub async fn commit(mut self) -> Result<(), Error> {
        if self.deleted.is_empty() && self.added == 0 {
            return Ok(());
        }
        self.delete_places().await?;
        let files = self.writer.close_epoch(EPOCH)?;
        // A job that writes the table knows where its rows are; it must look anew.
        let summary = vec![(ROWS_CHANGED.to_owned(), "true".to_owned())];
        let delta = RowDelta { files, summary, ..RowDelta::default() };
        self.committer.commit_unless_changed(delta).await.map(drop)
    }

    /// Tells the writer the places of the deleted rows, with the partitions of their files.
    async fn delete_places(&mut self) -> Result<(), Error> {
        if self.deleted.is_empty() {
            return Ok(());
        }
        let table = self.committer.table().clone();
        let everything = Predicate::from_filters(&[], &FieldIds::default());
        let snapshot = table.current_snapshot().cloned();
        let plan = plan::plan(&table, snapshot, table.schema(), &everything).await?;
        for planned in plan.files {
            let listed = planned.listed;
            let Some(positions) = self.deleted.remove(listed.path()) else { continue };
            let partition =
                Partition { spec_id: listed.spec_id, values: listed.file().partition().clone() };
            let file =
                RegisteredFile { location: listed.path().into(), partition: Arc::new(partition) };
            let rows: Vec<u32> = positions
                .into_iter()
                .map(|position| u32::try_from(position).map_err(Error::bug))
                .collect::<Result<_, _>>()?;
            self.writer.delete_rows(EPOCH, file, rows)?;
        }
        match self.deleted.keys().next() {
            None => Ok(()),
            Some(file) => Err(Error::bug(format!("data file {file} is not in the table"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::execution::context::SessionContext;
    use shardlake_change::{Column, LogicalType, TableSchema};

    use super::*;
    use crate::testing::{Lake, Run};

    fn declared() -> TableSchema {
        TableSchema {
            columns: vec![
                Column::new("id", LogicalType::BigInt).not_null(),
                Column::new("name", LogicalType::String),
            ],
            primary_key: vec!["id".to_owned()],
        }
    }

    async fn run(changes: &RowChanges, sql: &str) -> Vec<RecordBatch> {
        let context = SessionContext::new();
        context.register_table("t", Arc::new(changes.rows(&declared()).unwrap())).unwrap();
        context.sql(sql).await.unwrap().collect().await.unwrap()
    }

    async fn begin(lake: &Lake) -> RowChanges {
        RowChanges::begin(Arc::clone(&lake.catalog), &lake.name, "id").await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn rows_are_deleted_and_replaced_where_they_are() {
        let lake = Lake::new();
        let mut job = Run::start(&lake, DeltaWriterOptions::default());
        job.epoch(1, "+I 1 | a\n+I 2 | b\n+I 3 | c");
        job.epoch(2, "-U 2 | b\n+U 2 | b2\n+I 4 | d");
        let mut changes = begin(&lake).await;
        // Places are those of the files, deleted rows counted.
        let places = run(&changes, "SELECT id, _pos FROM t ORDER BY id").await;
        let places = pretty_format_batches(&places).unwrap().to_string();
        insta::assert_snapshot!(places, @r"
        +----+------+
        | id | _pos |
        +----+------+
        | 1  | 0    |
        | 2  | 0    |
        | 3  | 2    |
        | 4  | 1    |
        +----+------+
        ");
        let sql = "SELECT id, upper(name) AS name, _file, _pos FROM t WHERE id >= 2 AND id < 4";
        for batch in run(&changes, sql).await {
            changes.delete(&batch).unwrap();
            changes.add(batch).unwrap();
        }
        for batch in run(&changes, "SELECT _pos, _file FROM t WHERE name = 'a'").await {
            changes.delete(&batch).unwrap();
        }
        assert_eq!(changes.deleted_count(), 3);
        changes.commit().await.unwrap();
        assert_eq!(lake.rows(), ["2 | B2", "3 | C", "4 | d"]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_change_on_an_old_version_is_refused() {
        let lake = Lake::new();
        let mut job = Run::start(&lake, DeltaWriterOptions::default());
        job.epoch(1, "+I 1 | a");
        let mut changes = begin(&lake).await;
        for batch in run(&changes, "SELECT _file, _pos FROM t").await {
            changes.delete(&batch).unwrap();
        }
        job.epoch(2, "-U 1 | a\n+U 1 | b");
        assert!(matches!(changes.commit().await, Err(Error::Conflict { .. })));
        assert_eq!(lake.rows(), ["1 | b"]);
        let untouched = begin(&lake).await;
        untouched.commit().await.unwrap();
    }
}
