//! What the binlog has ahead of the reader.
//!
//! The columns that a table has now are those at the reader's place only if no statement in between
//! changes the table. The binlog tells, up to its end.

use std::collections::BTreeMap;
use std::sync::Arc;

use shardlake_change::TableId;
use shardlake_mysql_wire::event::EventBody;

use crate::connection::Target;
use crate::ddl::{Statement, TableChange, TableStatement, read_statement};
use crate::dump::{Dump, DumpFrom};
use crate::error::Result;
use crate::position::BinlogOffset;
use crate::socket::StopCheck;

/// Where tables and databases are changed last, as far as the binlog has been looked through.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// The stretch that has been looked through.
    from: BinlogOffset,
    to: BinlogOffset,
    tables: BTreeMap<TableId, BinlogOffset>,
    databases: BTreeMap<String, BinlogOffset>,
}

/// A server, as far as it takes to look ahead.
pub(crate) struct Outlook<'a> {
    /// The server.
    pub(crate) target: &'a Target,
    /// Whether the reader shall end.
    pub(crate) stop: &'a StopCheck,
    /// Whether the server writes the names of tables in lower case.
    pub(crate) lower_case: bool,
}

impl Ahead {
    /// Whether the table's columns are changed between this place and the end of the binlog.
    pub(crate) fn changes(
        &mut self,
        outlook: &Outlook<'_>,
        table: &TableId,
        at: &BinlogOffset,
    ) -> Result<bool> {
        if *at < self.from || *at > self.to {
            *self = Self { from: at.clone(), to: at.clone(), ..Self::default() };
        }
        self.look(outlook, &DumpFrom::Offset(self.to.clone()))?;
        let later = |place: Option<&BinlogOffset>| place.is_some_and(|place| place > at);
        Ok(later(self.tables.get(table)) || later(self.databases.get(&table.database)))
    }

    /// Whether any of these tables is changed between a beginning and the end of the binlog.
    pub(crate) fn changes_any(
        outlook: &Outlook<'_>,
        mut is_wanted: impl FnMut(&TableId) -> Result<bool>,
        from: &DumpFrom,
    ) -> Result<bool> {
        let mut ahead = Self::default();
        ahead.look(outlook, from)?;
        for table in ahead.tables.keys() {
            if is_wanted(table)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn look(&mut self, outlook: &Outlook<'_>, from: &DumpFrom) -> Result<()> {
        let mut dump = Dump::read_to_end(outlook.target, Arc::clone(outlook.stop), from)?;
        while let Some(event) = dump.next()? {
            match &event.body {
                EventBody::Rotate(rotate) => {
                    rotate.file.clone_into(&mut self.to.file);
                    self.to.offset = rotate.position;
                    continue;
                }
                _ if event.header.is_artificial() || event.header.end_position == 0 => continue,
                _ => self.to.offset = u64::from(event.header.end_position),
            }
            let EventBody::Query(query) = &event.body else { continue };
            if query.is_begin() {
                continue;
            }
            match read_statement(&query.text(), &query.database_text()) {
                Statement::Tables(statements) => {
                    for mut statement in statements {
                        if outlook.lower_case {
                            statement.lower_case();
                        }
                        self.note(&statement);
                    }
                }
                Statement::DropDatabase(database) => {
                    self.databases.insert(database, self.to.clone());
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn note(&mut self, statement: &TableStatement) {
        let is_neutral = match &statement.change {
            TableChange::Altered(Some(changes)) => changes.is_empty(),
            TableChange::Truncated => true,
            TableChange::Altered(None)
            | TableChange::Created { .. }
            | TableChange::Renamed(_)
            | TableChange::Dropped => false,
        };
        if !is_neutral {
            for table in statement.names() {
                self.tables.insert(table.clone(), self.to.clone());
            }
        }
    }
}
