//! XA transactions between their two halves.
//!
//! Their rows are in the binlog where they were prepared; whether they happened is told later. The rows wait in
//! the lane. A job that starts again reads them again from where the position says that they begin.

use std::collections::BTreeMap;
use std::sync::Arc;

use shardlake_mysql_wire::event::{Event, EventBody, Query};

use super::BinlogReader;
use super::groups::Group;
use crate::ddl::{Statement, read_statement};
use crate::dump::{Dump, DumpFrom};
use crate::error::{Error, Result};
use crate::position::BinlogOffset;
use crate::spill::RowBuffer;

/// The rows of prepared transactions by their identifiers.
#[derive(Default)]
pub(crate) struct Prepared(BTreeMap<String, RowBuffer>);

impl Prepared {
    pub(super) fn contains(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    pub(super) fn insert(&mut self, id: String, rows: RowBuffer) {
        self.0.insert(id, rows);
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<RowBuffer> {
        self.0.remove(id)
    }
}

impl BinlogReader<'_> {
    /// Reads the rows of transactions again that an earlier run of the job left prepared.
    pub(super) fn recover_prepared(&mut self) -> Result<()> {
        let missing: Vec<(String, BinlogOffset)> = self
            .lane
            .position
            .prepared
            .iter()
            .filter(|(id, _)| !self.lane.prepared.contains(id))
            .map(|(id, start)| (id.clone(), start.clone()))
            .collect();
        for (id, start) in missing {
            if !self.read_until_prepared(&id, start.clone())? {
                return Err(Error::job(format!(
                    "the rows of a prepared XA transaction, which began at {}:{} of MySQL server {}, \
                     are no longer in the binlog: start afresh into a new table",
                    start.file,
                    start.offset,
                    self.lane.target.lane()
                )));
            }
        }
        Ok(())
    }

    /// Looks for a transaction that was prepared before reading began, from the newest file back.
    pub(super) fn find_prepared(&mut self, id: &str) -> Result<()> {
        let current = self.offset.file.clone();
        let mut files = self.tables.binlog_files()?;
        files.reverse();
        let older = files.into_iter().skip_while(|file| *file != current);
        for file in older {
            if self.read_until_prepared(id, BinlogOffset { file, offset: 4 })? {
                return Ok(());
            }
        }
        Err(Error::job(format!(
            "an XA transaction ended on MySQL server {}, but the binlog in which it was prepared has \
             been purged: start afresh into a new table, and keep binlogs longer than XA transactions",
            self.lane.target.lane()
        )))
    }

    /// Reads from an offset until a transaction is prepared; true if it was. Nothing else is sent or noted.
    fn read_until_prepared(&mut self, id: &str, start: BinlogOffset) -> Result<bool> {
        // What has ended must not be mixed with what is read again.
        self.assembly.flush(&mut super::sender(&self.lane.emitter))?;
        let saved = (
            std::mem::replace(&mut self.offset, start.clone()),
            std::mem::replace(&mut self.ended, start.clone()),
            self.executed.take(),
            std::mem::take(&mut self.group),
            self.filter.take(),
        );
        self.tables.forget_bindings();
        let outcome = self.scan_for(id, start);
        (self.offset, self.ended, self.executed, self.group, self.filter) = saved;
        self.tables.forget_bindings();
        outcome
    }

    fn scan_for(&mut self, id: &str, start: BinlogOffset) -> Result<bool> {
        let target = Arc::clone(&self.lane.target);
        let stop = self.lane.emitter.stop_check();
        let mut dump = Dump::read_to_end(&target, stop, &DumpFrom::Offset(start))?;
        while let Some(event) = dump.next()? {
            self.take_prepared_only(&event, id)?;
            if self.lane.prepared.contains(id) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes an event, but nothing of any other transaction.
    fn take_prepared_only(&mut self, event: &Event<'_>, id: &str) -> Result<()> {
        let before = self.offset.offset;
        self.track(&event.header);
        match &event.body {
            EventBody::Gtid(gtid) => return self.begin_group(gtid, before),
            EventBody::Query(query) => return self.query_prepared_only(query),
            EventBody::TableMap(map) if self.group.is_xa() => {
                return self.table_map(map, &event.header);
            }
            EventBody::Rows(rows) if self.group.is_xa() => return self.rows(rows, &event.header),
            EventBody::XaPrepare(prepare) => {
                if !prepare.one_phase && prepare.identifier().to_ascii_lowercase() == id {
                    return self.xa_prepare(prepare, &event.header);
                }
                self.assembly.rollback(&mut super::sender(&self.lane.emitter))?;
                self.group = Group::default();
            }
            EventBody::Payload(payload) => {
                let mut events = payload.events().map_err(|error| self.tables.unreadable(error))?;
                while let Some(inner) =
                    events.next().map_err(|error| self.tables.unreadable(error))?
                {
                    self.take_prepared_only(&inner, id)?;
                }
            }
            EventBody::Rotate(rotate) => {
                rotate.file.clone_into(&mut self.offset.file);
                self.offset.offset = rotate.position;
            }
            _ => {}
        }
        Ok(())
    }

    fn query_prepared_only(&mut self, query: &Query<'_>) -> Result<()> {
        let text = query.text();
        if read_statement(&text, "") == Statement::Begin {
            self.group.open(&text);
        }
        Ok(())
    }
}
