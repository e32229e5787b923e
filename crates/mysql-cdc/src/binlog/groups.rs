//! Groups of events: a transaction, or a statement that is its own transaction.

use std::collections::BTreeSet;
use std::sync::Arc;

use shardlake_change::TableId;
use shardlake_mysql_wire::event::{EventHeader, GtidEvent, Query, RowsEvent, TableMap, XaPrepare};
use shardlake_mysql_wire::gtid::Gtid;

use super::tables::table_of;
use super::{BinlogReader, sender};
use crate::ddl::{Statement, TableChange, TableStatement, read_statement};
use crate::error::{Error, Result};
use crate::matching::original_of;
use crate::position::BinlogOffset;

/// The group that is being read.
#[derive(Debug, Default)]
pub(super) struct Group {
    gtid: Option<Gtid>,
    /// When it was written, in milliseconds since 1970; 0 if unknown.
    event_ms: u64,
    /// Where it begins.
    start: u64,
    /// Its first event has been read.
    begun: bool,
    /// `BEGIN` has been read: it ends with an end of its own.
    open: bool,
    /// It is the first half of an XA transaction.
    xa: bool,
    /// Rows of it have been collected.
    has_rows: bool,
    /// Numbers of tables whose rows in it are not wanted.
    dropped: Vec<u64>,
}

impl Group {
    /// `BEGIN` or `XA START` has been read.
    pub(super) fn open(&mut self, statement: &str) {
        self.begun = true;
        self.open = true;
        self.xa =
            statement.trim_start().get(..2).is_some_and(|verb| verb.eq_ignore_ascii_case("XA"));
    }

    /// Whether it is the first half of an XA transaction.
    pub(super) const fn is_xa(&self) -> bool {
        self.xa
    }

    /// Whether a group has begun and not ended.
    pub(super) const fn is_begun(&self) -> bool {
        self.begun || self.open
    }
}

/// Whether a table has a name that gh-ost or pt-online-schema-change gives to a table beside the other one.
fn is_shadow(table: &TableId, original: &TableId) -> bool {
    table.database == original.database
        && original_of(&table.table) == Some(original.table.as_str())
}

impl BinlogReader<'_> {
    /// A group begins. One that never ended was cut off by a crash of the server, and did not happen.
    pub(super) fn begin_group(&mut self, event: &GtidEvent, start: u64) -> Result<()> {
        if self.group.has_rows {
            self.assembly.rollback(&mut sender(&self.lane.emitter))?;
        }
        self.group = Group {
            gtid: event.gtid,
            event_ms: event.immediate_commit_us / 1_000,
            start,
            begun: true,
            open: event.opens_transaction,
            xa: event.prepares_xa,
            ..Group::default()
        };
        Ok(())
    }

    /// The transaction has ended and happened.
    pub(super) fn end_group(&mut self, header: &EventHeader) -> Result<()> {
        self.assembly.commit(&mut sender(&self.lane.emitter))?;
        if self.group.has_rows {
            self.note_rows();
        }
        self.close_group(header);
        Ok(())
    }

    /// The group's events have all been read.
    fn close_group(&mut self, header: &EventHeader) {
        if let (Some(executed), Some(gtid)) = (&mut self.executed, &self.group.gtid) {
            executed.add(gtid);
        }
        let written = match self.group.event_ms {
            0 => u64::from(header.timestamp) * 1_000,
            known => known,
        };
        self.report.event_time_ms = Some(written);
        self.ended.clone_from(&self.offset);
        self.report.moved = true;
        self.group = Group::default();
    }

    /// The transaction has ended and did not happen.
    fn abandon_group(&mut self, header: &EventHeader) -> Result<()> {
        self.assembly.rollback(&mut sender(&self.lane.emitter))?;
        self.close_group(header);
        Ok(())
    }

    /// Binds the table of the rows that follow, if they are wanted. Those that are not may have columns that nobody
    /// knows any more.
    pub(super) fn table_map(&mut self, map: &TableMap<'_>, header: &EventHeader) -> Result<()> {
        self.group.dropped.retain(|table_id| *table_id != map.table_id);
        if self.drops(map, header) {
            self.group.dropped.push(map.table_id);
            return Ok(());
        }
        let bound = self.tables.bind(map, &self.offset).and_then(|()| {
            // Batches may have to follow columns that have just been found out.
            match self.tables.take_learnt() {
                Some(table) => {
                    self.adopt_columns(&table)?;
                    self.tables.bind(map, &self.offset)
                }
                None => Ok(()),
            }
        });
        match bound {
            Err(Error::Table { table, message }) => {
                self.stop_table(&table, message);
                self.group.dropped.push(map.table_id);
                Ok(())
            }
            outcome => outcome,
        }
    }

    fn drops(&self, map: &TableMap<'_>, header: &EventHeader) -> bool {
        if u64::from(header.timestamp) * 1_000 < self.since_ms {
            return true;
        }
        let table = table_of(map);
        if self.lane.position.stop_reason(&table).is_some() {
            return true;
        }
        // Whether an XA transaction is visible to a chunk is decided by its second half.
        let Some(filter) = self.filter.as_ref().filter(|_| !self.group.xa) else { return false };
        !filter.keeps(&table, self.group.gtid.as_ref(), &self.offset)
    }

    /// Collects the rows of an event, if they are wanted.
    pub(super) fn rows(&mut self, rows: &RowsEvent<'_>, header: &EventHeader) -> Result<()> {
        if self.group.dropped.contains(&rows.table_id) {
            return Ok(());
        }
        let Some(target) = self.tables.target(rows)? else { return Ok(()) };
        if let Err(error) = self.assembly.rows().append(target, rows, header) {
            let table = Arc::clone(&target.table);
            return Err(self.tables.unreadable_table(&table, error));
        }
        self.group.has_rows = true;
        let before = self.assembly.ended_rows();
        self.assembly.appended(&mut sender(&self.lane.emitter))?;
        if before > 0 && self.assembly.ended_rows() == 0 {
            self.note_rows();
        }
        Ok(())
    }

    pub(super) fn query(&mut self, query: &Query<'_>, header: &EventHeader) -> Result<()> {
        if query.is_begin() {
            self.group.open("BEGIN");
            return Ok(());
        }
        let text = query.text();
        match read_statement(&text, &query.database_text()) {
            Statement::Begin => {
                self.group.open(&text);
                return Ok(());
            }
            Statement::Commit => return self.end_group(header),
            Statement::Rollback => return self.abandon_group(header),
            Statement::XaCommit(id) => return self.xa_commit(&id, header),
            Statement::XaRollback(id) => return self.xa_rollback(&id, header),
            Statement::Ignored => return Ok(()),
            Statement::RowChange(table) => {
                let names = match &table {
                    Some(table) => self.tables.is_matched(table)?.then(|| table.to_string()),
                    None => Some("a table that could not be told".to_owned()),
                };
                if let Some(name) = names {
                    return Err(self.refuse_statement(&name));
                }
            }
            Statement::Tables(statements) => self.follow_statements(statements)?,
            Statement::DropDatabase(database) => {
                let tables = self.tables.of_database(&database);
                if !tables.is_empty() && self.removes_rows() {
                    self.tell()?;
                }
                for table in tables {
                    if self.tables.is_matched(&table)? {
                        self.leave(&table, &TableChange::Dropped)?;
                    }
                }
                self.tables.drop_database(&database);
            }
            Statement::Other => {}
        }
        // A statement outside of BEGIN is a group by itself; CREATE TABLE … SELECT is within one.
        if self.group.open {
            return Ok(());
        }
        self.end_group(header)?;
        self.send_removals()
    }

    /// Tables and their columns follow what the statements of one event do.
    fn follow_statements(&mut self, statements: Vec<TableStatement>) -> Result<()> {
        if self.is_before_known_columns() {
            return Ok(());
        }
        let mut statements = statements;
        if self.tables.is_lower_case() {
            statements.iter_mut().for_each(TableStatement::lower_case);
        }
        let continued = self.continued_tables(&statements);
        self.tell_before_removal(&statements)?;
        for statement in &statements {
            let TableStatement { table, change } = statement;
            if self.tables.is_matched(table)? {
                self.refuse_change(table, change)?;
                self.leave(table, change)?;
            }
            self.tables.follow(statement)?;
            for name in statement.names() {
                self.follow_columns(name)?;
            }
            let new = match change {
                TableChange::Renamed(to) => Some(to),
                TableChange::Created { .. } => Some(table),
                TableChange::Altered(_) | TableChange::Truncated | TableChange::Dropped => None,
            };
            if let Some(new) = new
                && self.tables.is_matched(new)?
            {
                self.lane.shared.fleet.claim(self.lane.target.lane(), [new])?;
            }
            if let TableChange::Renamed(to) = change
                && self.tables.is_matched(to)?
                && !continued.contains(to)
            {
                self.add_table(to);
            }
        }
        Ok(())
    }

    /// Tables that another one takes the place of which gh-ost or pt-online-schema-change has filled with the same
    /// rows: nothing of them has to be read.
    fn continued_tables(&self, statements: &[TableStatement]) -> BTreeSet<TableId> {
        let renames = statements.iter().filter_map(|statement| match &statement.change {
            TableChange::Renamed(to) => Some((&statement.table, to)),
            TableChange::Created { .. }
            | TableChange::Altered(_)
            | TableChange::Truncated
            | TableChange::Dropped => None,
        });
        let moves_away = |table: &TableId| {
            renames.clone().any(|(from, to)| from == table && is_shadow(to, table))
        };
        let takes_place = renames.clone().filter(|(from, to)| {
            is_shadow(from, to)
                && (moves_away(to) || self.tables.contains(to) || self.tables.was_parked(to))
        });
        takes_place.map(|(_, to)| to.clone()).collect()
    }

    /// What becomes of the rows of a table that is read when this happens to it.
    fn leave(&mut self, table: &TableId, change: &TableChange) -> Result<()> {
        match change {
            TableChange::Created { .. } => Ok(()),
            TableChange::Altered(_) => {
                self.lane.status.columns_changed(table);
                Ok(())
            }
            // It waits under this name until the one that replaces it has its name.
            TableChange::Renamed(to) if is_shadow(to, table) => self.end_added(table),
            TableChange::Renamed(_) | TableChange::Dropped => {
                if !self.remove_rows(table) {
                    self.warn_of_kept_rows(change, table);
                }
                self.end_added(table)
            }
            TableChange::Truncated => {
                if !self.remove_rows(table) {
                    self.warn_of_kept_rows(change, table);
                }
                Ok(())
            }
        }
    }

    /// Without GTIDs reading begins some time before the place at which the columns were read.
    fn is_before_known_columns(&self) -> bool {
        let snapshot = self.lane.position.snapshot.as_ref();
        snapshot.is_some_and(|snapshot| {
            snapshot.start.gtid_set.is_none() && self.offset <= snapshot.start.offset
        })
    }

    /// One table cannot be read on: the others go on without it.
    pub(super) fn stop_table(&mut self, table: &TableId, message: String) {
        let server = self.lane.target.lane();
        tracing::error!(server, table = %table, error = message, "a table cannot be read on");
        self.lane.status.table_failed(table);
        self.lane.position.stop_table(table, message);
        self.report.moved = true;
    }

    /// Rows vanished from a table without row events. They stay in the sink.
    fn warn_of_kept_rows(&self, change: &TableChange, table: &TableId) {
        let what = match change {
            TableChange::Created { .. } | TableChange::Altered(_) => return,
            TableChange::Renamed(_) => "a table was renamed, its rows stay under its former name",
            TableChange::Truncated => "a table was truncated, its rows stay in the sink",
            TableChange::Dropped => "a table was dropped, its rows stay in the sink",
        };
        self.lane.status.passed_over(table);
        tracing::warn!(server = self.lane.target.lane(), table = %table, "{what}");
    }

    pub(super) fn refuse_statement(&self, table: &str) -> Error {
        Error::job(format!(
            "Received DML on {table} of MySQL server {} for processing, binlog probably contains \
             events generated with statement or mixed based replication format. Set \
             binlog_format=ROW for every session that writes, and start afresh into a new table.",
            self.lane.target.lane()
        ))
    }

    /// The first half of an XA transaction has ended: its rows wait for the decision.
    pub(super) fn xa_prepare(
        &mut self,
        prepare: &XaPrepare<'_>,
        header: &EventHeader,
    ) -> Result<()> {
        if prepare.one_phase {
            return self.end_group(header);
        }
        let id = prepare.identifier().to_ascii_lowercase();
        let rows = self.assembly.take_open(&mut sender(&self.lane.emitter))?;
        let start = BinlogOffset { file: self.offset.file.clone(), offset: self.group.start };
        self.lane.position.prepared.insert(id.clone(), start);
        self.lane.prepared.insert(id, rows);
        self.close_group(header);
        Ok(())
    }

    fn xa_commit(&mut self, id: &str, header: &EventHeader) -> Result<()> {
        if !self.lane.prepared.contains(id) {
            self.find_prepared(id)?;
        }
        self.lane.position.prepared.remove(id);
        if let Some(rows) = self.lane.prepared.remove(id).filter(|rows| !rows.is_empty()) {
            self.assembly.flush(&mut sender(&self.lane.emitter))?;
            rows.drain(sender(&self.lane.emitter))?;
            self.note_rows();
        }
        self.end_group(header)
    }

    fn xa_rollback(&mut self, id: &str, header: &EventHeader) -> Result<()> {
        self.lane.position.prepared.remove(id);
        drop(self.lane.prepared.remove(id));
        self.end_group(header)
    }
}
