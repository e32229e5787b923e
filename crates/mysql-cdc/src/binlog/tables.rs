//! The tables whose rows come: which are wanted, and how their rows are read.
//!
//! A table is bound to the number that row events name it by, for as long as its TABLE_MAP stays the
//! same. With `binlog_row_metadata=MINIMAL` the event has no column names; they come from
//! information_schema, and are looked up again after every statement that changes the table.

use std::collections::BTreeMap;
use std::sync::Arc;

use shardlake_change::TableId;
use shardlake_mysql_wire::Error as WireError;
use shardlake_mysql_wire::event::{RowsEvent, TableMap};
use shardlake_mysql_wire::rows::{Lookup, PlanCache};

use crate::connection::{Connection, TextRow};
use crate::decode::RowPlan;
use crate::discovery::{self, ServerTable};
use crate::error::{Error, Result};
use crate::lane::Shared;

/// How rows of a wanted table are read.
pub(crate) struct Target {
    /// The table.
    pub(crate) table: Arc<TableId>,
    /// Its decode plan.
    pub(crate) plan: RowPlan,
}

/// A table by its name.
#[derive(Clone)]
enum Known {
    Unwanted,
    /// Wanted; its columns if they have been looked up, and it exists.
    Wanted(Arc<TableId>, Option<Arc<ServerTable>>),
}

/// All tables that have come so far.
pub(super) struct Tables {
    control: Connection,
    shared: Arc<Shared>,
    known: BTreeMap<TableId, Known>,
    plans: PlanCache<Target>,
}

impl Tables {
    /// Knows the tables that were found at the start, as they were then.
    pub(super) fn new(
        control: Connection,
        shared: Arc<Shared>,
        found: &[Arc<ServerTable>],
    ) -> Self {
        let known = found.iter().map(|table| {
            let wanted = Known::Wanted(Arc::clone(&table.id), Some(Arc::clone(table)));
            (TableId::clone(&table.id), wanted)
        });
        let known = known.collect();
        Self { control, shared, known, plans: PlanCache::new() }
    }

    /// The tables as they are known now, for the reader that follows after a lost connection.
    pub(super) fn into_known(self) -> Vec<Arc<ServerTable>> {
        let tables = self.known.into_values().filter_map(|known| match known {
            Known::Wanted(_, table) => table,
            Known::Unwanted => None,
        });
        tables.collect()
    }

    /// Binds a table to the number of its event.
    pub(super) fn bind(&mut self, map: &TableMap<'_>) -> Result<()> {
        let mut plans = std::mem::take(&mut self.plans);
        let outcome = plans.observe(map, |map| self.new_target(map));
        self.plans = plans;
        outcome
    }

    fn new_target(&mut self, map: &TableMap<'_>) -> Result<Option<Target>> {
        let id =
            TableId::new(String::from_utf8_lossy(map.database), String::from_utf8_lossy(map.table));
        match self.known(&id)? {
            Known::Unwanted => Ok(None),
            Known::Wanted(id, columns) => {
                let plan = self.plan(map, &id, columns)?;
                Ok(plan.map(|plan| Target { table: id, plan }))
            }
        }
    }

    /// How the rows of an event are read, or `None` if they are not wanted.
    pub(super) fn target(&mut self, rows: &RowsEvent<'_>) -> Result<Option<&Target>> {
        self.target_of(rows.table_id, rows.column_count)
    }

    fn target_of(&mut self, table_id: u64, column_count: usize) -> Result<Option<&Target>> {
        match self.plans.get(table_id) {
            Lookup::Wanted(target) => Ok(Some(target)),
            Lookup::Unwanted => Ok(None),
            // An event that only ends a statement belongs to no table.
            Lookup::Unknown if column_count == 0 => Ok(None),
            Lookup::Unknown => Err(Error::job(format!(
                "rows of an unannounced table come from MySQL server {}: reading began within a \
                 transaction; give the position of a transaction's begin",
                self.control.server()
            ))),
        }
    }
}

impl Tables {
    fn known(&mut self, id: &TableId) -> Result<Known> {
        if let Some(known) = self.known.get(id) {
            return Ok(known.clone());
        }
        let known = if self.is_matched(id)? {
            let columns = discovery::table(&mut self.control, id)?.map(Arc::new);
            Known::Wanted(Arc::new(id.clone()), columns)
        } else {
            Known::Unwanted
        };
        self.known.insert(id.clone(), known.clone());
        Ok(known)
    }

    /// Plans how rows are read, or `None` if their columns can no longer be known.
    fn plan(
        &mut self,
        map: &TableMap<'_>,
        id: &Arc<TableId>,
        columns: Option<Arc<ServerTable>>,
    ) -> Result<Option<RowPlan>> {
        if let Some(table) = &columns
            && let Ok(plan) = RowPlan::new(map, &table.columns, &self.shared)
        {
            return Ok(Some(plan));
        }
        let found = discovery::table(&mut self.control, id)?.map(Arc::new);
        let Some(table) = &found else {
            tracing::warn!(
                server = self.control.server(),
                table = %id,
                "the table no longer exists, changes from before it was dropped are passed over"
            );
            return Ok(None);
        };
        let plan = RowPlan::new(map, &table.columns, &self.shared);
        self.known.insert(TableId::clone(id), Known::Wanted(Arc::clone(id), found.clone()));
        match plan {
            Ok(plan) => Ok(Some(plan)),
            Err(error) => match self.plan_of_the_past(map, table) {
                Some(plan) => {
                    tracing::warn!(
                        server = self.control.server(),
                        table = %id,
                        "changes from before the table was altered are read as if its newest \
                         columns had been appended; binlog_row_metadata=FULL would tell"
                    );
                    Ok(Some(plan))
                }
                None => Err(self.unreadable_table(id, error)),
            },
        }
    }

    /// A plan for rows from before columns were appended to the table.
    fn plan_of_the_past(&self, map: &TableMap<'_>, table: &ServerTable) -> Option<RowPlan> {
        let past = table.columns.get(..map.column_count())?;
        if past.len() == table.columns.len() {
            return None;
        }
        RowPlan::new(map, past, &self.shared).ok()
    }

    /// Whether the source reads the table.
    pub(super) fn is_matched(&self, id: &TableId) -> Result<bool> {
        self.shared.matcher.matches(id).map_err(|error| Error::job(error.report()))
    }

    /// Whether the source reads tables of the database.
    pub(super) fn is_matched_database(&self, database: &str) -> Result<bool> {
        let matched = self.shared.matcher.matches_database(database);
        matched.map_err(|error| Error::job(error.report()))
    }

    /// The table has changed: its columns must be looked up again.
    pub(super) fn forget(&mut self, id: &TableId) {
        self.known.remove(id);
        self.plans.clear();
    }

    /// Tables have vanished.
    pub(super) fn forget_all(&mut self) {
        self.known.clear();
        self.plans.clear();
    }

    /// Another file of the binlog is read: numbers may mean other tables there.
    pub(super) fn forget_bindings(&mut self) {
        self.plans.clear();
    }

    /// The server's binlog files, the oldest first.
    pub(super) fn binlog_files(&mut self) -> Result<Vec<String>> {
        let rows = self.control.query("SHOW BINARY LOGS", "listing binlog files")?;
        Ok(rows.iter().map(|row| row.text(0).to_owned()).collect())
    }

    /// The server's binlog files with their sizes in bytes, the oldest first.
    pub(super) fn binlog_sizes(&mut self) -> Result<Vec<(String, u64)>> {
        let rows = self.control.query("SHOW BINARY LOGS", "listing binlog files")?;
        let file = |row: &TextRow| (row.text(0).to_owned(), row.text(1).parse().unwrap_or(0));
        Ok(rows.iter().map(file).collect())
    }

    /// Rows come in parts only, if they are wanted.
    pub(super) fn refuse_partial_rows(&mut self, table_id: u64) -> Result<()> {
        let server = self.control.server().to_owned();
        match self.target_of(table_id, 1)? {
            None => Ok(()),
            Some(target) => Err(Error::job(format!(
                "changes of table {} on MySQL server {server} come without all of their JSON \
                 values: set binlog_row_value_options='' for every session that writes",
                target.table,
            ))),
        }
    }

    /// Part of the stream cannot be read.
    pub(super) fn unreadable(&self, error: WireError) -> Error {
        Error::wire(self.control.server(), "reading its binlog", error)
    }

    /// Rows of a table cannot be read.
    pub(super) fn unreadable_table(&self, table: &TableId, error: WireError) -> Error {
        Error::Unreadable {
            server: self.control.server().to_owned(),
            doing: format!("reading changes of table {table}"),
            source: Box::new(error),
        }
    }
}
