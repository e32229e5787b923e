//! Where a sink follows the columns of its source: what statements do to batches.
//!
//! Batches get new columns between two transactions, in order with the rows. The rows of a table that is emptied or
//! goes are removed from the sink between a boundary before the statement and one behind it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use shardlake_change::{ChangeBatch, TableId};
use shardlake_connector::{RowRemoval, SchemaChangeBehavior};

use super::{BinlogReader, sender};
use crate::ddl::{TableChange, TableStatement};
use crate::error::{Error, Result};
use crate::evolution;

impl BinlogReader<'_> {
    /// Any change of columns fails the job, if the user wants it so.
    pub(super) fn refuse_change(&self, table: &TableId, change: &TableChange) -> Result<()> {
        let changes = match change {
            TableChange::Altered(changes) => changes.as_ref().is_none_or(|all| !all.is_empty()),
            TableChange::Renamed(_) | TableChange::Truncated | TableChange::Dropped => true,
            TableChange::Created { .. } => false,
        };
        if !changes || self.lane.shared.schema_change != Some(SchemaChangeBehavior::Exception) {
            return Ok(());
        }
        Err(Error::job(format!(
            "table {table} of MySQL server {} was changed at {}:{}, and 'schema.change.behavior' is \
             'exception': choose another behavior to go on",
            self.lane.target.lane(),
            self.offset.file,
            self.offset.offset
        )))
    }

    /// Batches follow the columns of a table, if they are known and the table is read.
    pub(super) fn follow_columns(&mut self, table: &TableId) -> Result<()> {
        if !self.lane.shared.follows_columns() || !self.tables.is_matched(table)? {
            return Ok(());
        }
        match self.adopt_columns(table) {
            Err(Error::Table { table, message }) => {
                self.stop_table(&table, message);
                Ok(())
            }
            outcome => outcome,
        }
    }

    pub(super) fn adopt_columns(&mut self, table: &TableId) -> Result<()> {
        let Some(layout) = self.tables.layout(table) else { return Ok(()) };
        let followed = evolution::follow(&self.lane.shared, table, &layout.columns)?;
        let Some(shared) = followed.map(Arc::new) else { return Ok(()) };
        self.assembly.cut(&mut sender(&self.lane.emitter))?;
        self.assembly.rows().reshape(Arc::clone(&shared))?;
        self.tables.reshape(Arc::clone(&shared));
        self.added = None;
        let columns = shared.shape.physical();
        let server = self.lane.target.lane();
        tracing::info!(server, table = %table, column_count = columns.len(), "columns changed");
        self.evolved = Some(evolution::stored(columns));
        let empty = RecordBatch::new_empty(Arc::clone(shared.shape.schema()));
        self.lane.shared = shared;
        self.lane.emitter.announce(ChangeBatch::inserts(empty))?;
        self.note_rows();
        Ok(())
    }

    /// Whether rows of tables that are emptied or go are removed from the sink.
    pub(super) fn removes_rows(&self) -> bool {
        self.lane.shared.schema_change.is_some_and(SchemaChangeBehavior::removes_rows)
    }

    /// What was read before a statement that removes rows is told by itself.
    pub(super) fn tell_before_removal(&mut self, statements: &[TableStatement]) -> Result<()> {
        if !self.removes_rows() {
            return Ok(());
        }
        for statement in statements {
            let removes = matches!(
                statement.change,
                TableChange::Truncated | TableChange::Dropped | TableChange::Renamed(_)
            );
            if removes && self.tables.is_matched(&statement.table)? {
                return self.tell();
            }
        }
        Ok(())
    }

    /// Has the rows of a table removed behind the statement, if that is wanted and its rows can be told.
    pub(super) fn remove_rows(&mut self, table: &TableId) -> bool {
        if !self.removes_rows() {
            return false;
        }
        match self.lane.shared.shape.rows_of(table) {
            Some(rows) => {
                self.removals.push(rows);
                true
            }
            None => {
                let server = self.lane.target.lane();
                tracing::warn!(
                    server,
                    table = %table,
                    "its rows cannot be removed: the columns database_name and table_name must be \
                     declared and selected"
                );
                false
            }
        }
    }

    /// Sends what the statement that has ended removes.
    pub(super) fn send_removals(&mut self) -> Result<()> {
        if self.removals.is_empty() {
            return Ok(());
        }
        let removal = RowRemoval { any_of: std::mem::take(&mut self.removals) };
        let batch = removal.to_batch(self.lane.shared.shape.schema());
        self.lane.emitter.alone(batch)?;
        self.tell()
    }
}
