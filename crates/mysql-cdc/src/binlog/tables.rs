//! The tables whose rows come: which are wanted, and how their rows are read.
//!
//! A table is bound to the number that row events name it by, for as long as its TABLE_MAP stays the
//! same. With `binlog_row_metadata=MINIMAL` the event has no column names; they are those that the
//! statements of the binlog have left ([`crate::layouts`]). Where these are not known, the columns of now are
//! taken if the binlog ahead shows that nothing changes them; otherwise the table is refused.

use std::sync::Arc;

use shardlake_change::TableId;
use shardlake_connector::SchemaChangeBehavior;
use shardlake_mysql_wire::Error as WireError;
use shardlake_mysql_wire::event::{RowsEvent, TableMap};
use shardlake_mysql_wire::rows::{Lookup, PlanCache};

use super::ahead::{Ahead, Outlook};
use crate::connection::{Connection, Target as ServerTarget, TextRow};
use crate::ddl::{Layout, TableStatement};
use crate::decode::RowPlan;
use crate::discovery;
use crate::error::{Error, Result};
use crate::lane::Shared;
use crate::layouts::Layouts;
use crate::matching::original_of;
use crate::position::BinlogOffset;
use crate::socket::StopCheck;

/// How rows of a wanted table are read.
pub(crate) struct Target {
    /// The table.
    pub(crate) table: Arc<TableId>,
    /// Its decode plan.
    pub(crate) plan: RowPlan,
}

/// What the tables of a reader are looked up with.
pub(super) struct TablesStart {
    pub(super) control: Connection,
    pub(super) shared: Arc<Shared>,
    pub(super) server: Arc<ServerTarget>,
    pub(super) stop: StopCheck,
    pub(super) lower_case: bool,
    /// The columns at the reader's place.
    pub(super) layouts: Layouts,
}

/// All tables that have come so far.
pub(super) struct Tables {
    control: Connection,
    shared: Arc<Shared>,
    server: Arc<ServerTarget>,
    stop: StopCheck,
    lower_case: bool,
    layouts: Layouts,
    /// Whether the columns are others than those that were taken last.
    layouts_changed: bool,
    ahead: Ahead,
    /// A table whose columns have been found out since this was taken last.
    learnt: Option<TableId>,
    plans: PlanCache<Target>,
}

impl Tables {
    /// Knows the columns that tables have at the reader's place.
    pub(super) fn new(start: TablesStart) -> Self {
        let TablesStart { control, shared, server, stop, lower_case, layouts } = start;
        Self {
            control,
            shared,
            server,
            stop,
            lower_case,
            layouts,
            layouts_changed: false,
            ahead: Ahead::default(),
            learnt: None,
            plans: PlanCache::new(),
        }
    }

    /// The columns at the reader's place, if they have changed since they were taken last.
    pub(super) fn take_changed_layouts(&mut self) -> Option<&Layouts> {
        std::mem::take(&mut self.layouts_changed).then_some(&self.layouts)
    }

    /// The table whose columns have been found out last, if columns are followed.
    pub(super) fn take_learnt(&mut self) -> Option<TableId> {
        self.learnt.take()
    }

    /// The columns of a table at the reader's place, if they are known.
    pub(super) fn layout(&self, id: &TableId) -> Option<Arc<Layout>> {
        self.layouts.get(id).cloned()
    }

    /// Rows are read into other columns from now on.
    pub(super) fn reshape(&mut self, shared: Arc<Shared>) {
        self.shared = shared;
        self.plans.clear();
    }

    /// Binds a table to the number of its event, which ends at this place.
    pub(super) fn bind(&mut self, map: &TableMap<'_>, at: &BinlogOffset) -> Result<()> {
        let mut plans = std::mem::take(&mut self.plans);
        let outcome = plans.observe(map, |map| self.new_target(map, at));
        self.plans = plans;
        outcome
    }

    fn new_target(&mut self, map: &TableMap<'_>, at: &BinlogOffset) -> Result<Option<Target>> {
        let id = table_of(map);
        if !self.is_matched(&id)? {
            return Ok(None);
        }
        self.shared.fleet.claim(self.control.server(), [&id])?;
        let plan = self.plan(map, &id, at)?;
        Ok(plan.map(|plan| Target { table: Arc::new(id), plan }))
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

/// The table that an event names.
pub(super) fn table_of(map: &TableMap<'_>) -> TableId {
    TableId::new(String::from_utf8_lossy(map.database), String::from_utf8_lossy(map.table))
}

impl Tables {
    /// Plans how rows are read, or `None` if the table has vanished and its columns with it.
    fn plan(
        &mut self,
        map: &TableMap<'_>,
        id: &TableId,
        at: &BinlogOffset,
    ) -> Result<Option<RowPlan>> {
        let metadata = map.metadata().map_err(|error| self.unreadable(error))?;
        if let Some(layout) = self.layouts.get(id) {
            let layout = Arc::clone(layout);
            match self.row_plan(map, &layout, id) {
                Ok(plan) => return Ok(Some(plan)),
                // The columns are others than those that the statements of the binlog have left.
                Err(WireError::Unsupported(_)) if metadata.names.is_none() => {}
                Err(error) => return Err(self.unreadable_table(id, error)),
            }
        } else if metadata.names.is_some()
            && !self.shared.follows_columns()
            && let Ok(plan) = RowPlan::new(map, &[], &self.shared)
        {
            return Ok(Some(plan));
        }
        let Some(layout) = self.find_out(id, at)? else {
            tracing::warn!(
                server = self.control.server(),
                table = %id,
                "the table no longer exists, changes from before it was dropped are passed over"
            );
            return Ok(None);
        };
        match self.row_plan(map, &layout, id) {
            Ok(plan) => Ok(Some(plan)),
            Err(WireError::Unsupported(_)) if metadata.names.is_none() => {
                Err(self.refuse_table(id, at))
            }
            Err(error) => Err(self.unreadable_table(id, error)),
        }
    }

    /// Plans how rows of these columns are read. Where what cannot be applied is passed over, a column whose type does
    /// not fit any more is NULL.
    fn row_plan(
        &self,
        map: &TableMap<'_>,
        layout: &Layout,
        id: &TableId,
    ) -> std::result::Result<RowPlan, WireError> {
        let mut hidden = Vec::new();
        loop {
            match RowPlan::hiding(map, &layout.columns, &self.shared, &hidden) {
                Err(WireError::Conversion { column, source_type, .. })
                    if self.shared.schema_change == Some(SchemaChangeBehavior::TryEvolve)
                        && !hidden.contains(&column) =>
                {
                    let server = self.control.server();
                    tracing::warn!(
                        server, table = %id, column, source_type,
                        "the type of a column does not fit any more, it is NULL from now on"
                    );
                    hidden.push(column);
                }
                outcome => return outcome,
            }
        }
    }

    /// The columns of a table at this place, or `None` if the table does not exist any more.
    ///
    /// # Errors
    /// [`Error::Table`] if they cannot be known.
    fn find_out(&mut self, id: &TableId, at: &BinlogOffset) -> Result<Option<Arc<Layout>>> {
        let Some(found) = discovery::table(&mut self.control, id)? else { return Ok(None) };
        // Offsets past 4 GB cannot be named to the server, so nobody can look from there.
        if at.file.is_empty() || u32::try_from(at.offset).is_err() {
            return Err(self.refuse_table(id, at));
        }
        let outlook =
            Outlook { target: &self.server, stop: &self.stop, lower_case: self.lower_case };
        if self.ahead.changes(&outlook, id, at)? {
            return Err(self.refuse_table(id, at));
        }
        self.layouts_changed = true;
        self.learnt = self.shared.follows_columns().then(|| id.clone());
        Ok(Some(self.layouts.learn(id.clone(), found.layout())))
    }

    /// Whether the source reads the table.
    pub(super) fn is_matched(&self, id: &TableId) -> Result<bool> {
        self.shared.matcher.matches(id).map_err(|error| Error::job(error.report()))
    }

    /// Whether the table is known to exist.
    pub(super) fn contains(&self, id: &TableId) -> bool {
        self.layouts.contains(id)
    }

    /// Whether the table has been put aside for one that replaces it.
    pub(super) fn was_parked(&self, id: &TableId) -> bool {
        let parked = |table: &TableId| {
            table.database == id.database
                && original_of(&table.table) == Some(id.table.as_str())
                && (table.table.ends_with("_del") || table.table.ends_with("_old"))
        };
        self.layouts.tables().any(|(table, _)| parked(table))
    }

    /// The tables of a database that are known to exist.
    pub(super) fn of_database(&self, database: &str) -> Vec<TableId> {
        let tables = self.layouts.tables().map(|(table, _)| table);
        tables.filter(|table| table.database == database).cloned().collect()
    }

    /// Whether the server writes the names of tables in lower case.
    pub(super) const fn is_lower_case(&self) -> bool {
        self.lower_case
    }

    /// Columns follow a statement.
    pub(super) fn follow(&mut self, statement: &TableStatement) -> Result<()> {
        let matcher = &self.shared.matcher;
        let follows =
            |table: &TableId| matcher.follows(table).map_err(|error| Error::job(error.report()));
        self.layouts.apply(statement, follows)?;
        self.layouts_changed = true;
        self.plans.clear();
        Ok(())
    }

    /// All tables of a database have vanished.
    pub(super) fn drop_database(&mut self, database: &str) {
        self.layouts.drop_database(database);
        self.layouts_changed = true;
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

    /// The columns of a table's rows cannot be known.
    fn refuse_table(&self, table: &TableId, at: &BinlogOffset) -> Error {
        let message = format!(
            "changes of table {table} at {}:{} of MySQL server {} cannot be read: the table was altered \
             again later, and with binlog_row_metadata=MINIMAL nothing tells the columns that it had \
             there. Set binlog_row_metadata=FULL on the server (SET PERSIST) and read the table anew",
            at.file,
            at.offset,
            self.control.server()
        );
        Error::Table { table: table.clone(), message }
    }

    /// Part of the stream cannot be read.
    pub(super) fn unreadable(&self, error: WireError) -> Error {
        Error::wire(self.control.server(), "reading its binlog", error)
    }

    /// Rows of a table cannot be read.
    pub(super) fn unreadable_table(&self, table: &TableId, error: WireError) -> Error {
        if matches!(error, WireError::Conversion { .. }) && self.shared.schema_change.is_some() {
            let message = format!(
                "the columns of table {table} on MySQL server {} have changed so that they do not fit \
                 those of the sink any more ({error}): change them back or choose \
                 'schema.change.behavior' = 'try_evolve', and start the job again; the table is then \
                 read anew",
                self.control.server()
            );
            return Error::Table { table: table.clone(), message };
        }
        Error::Unreadable {
            server: self.control.server().to_owned(),
            doing: format!("reading changes of table {table}"),
            source: Box::new(error),
        }
    }
}
