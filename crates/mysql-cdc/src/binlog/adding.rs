//! Tables that came with rows while the binlog is followed: their rows are read between transactions.
//!
//! One chunk at a time is read on a connection of its own, where no transaction is open, and is sent at
//! once. It shows at least every transaction that has been read so far, and everything that it shows beyond
//! that is applied again by the events that follow: they carry full rows, in order, so the last one wins.
//! The position notes the key from which the table is still to be read.
//!
//! Invariant: a chunk's read view contains every transaction up to the reader's place. With GTIDs MySQL
//! is asked to wait for them; without, the chunk is read with shared locks, for which transactions that are in
//! the binlog and not yet visible are waited for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use shardlake_change::TableId;

use super::{BinlogReader, sender};
use crate::chunk::{KeyKind, next_key_sql};
use crate::connection::Connection;
use crate::decode::TableReader;
use crate::discovery::{self, ServerTable};
use crate::error::{Error, Result};
use crate::pace::Pace;
use crate::position::KeyRange;
use crate::spill::RowBuffer;
use crate::status::SentRows;

/// How long chunks are read before the binlog is looked at again.
const SLICE: Duration = Duration::from_millis(700);
/// While the binlog has much to say, one chunk is read so often.
const BUSY_INTERVAL: Duration = Duration::from_millis(200);
/// Seconds for which the server is asked to wait until transactions are visible.
const VISIBLE_SECONDS: u32 = 10;
/// A table, or a column of it, is not there any more.
const NO_SUCH_TABLE: u16 = 1_146;
const NO_SUCH_COLUMN: u16 = 1_054;

/// The table that is being read.
pub(super) struct Added {
    connection: Connection,
    table: Arc<ServerTable>,
    pace: Pace,
}

/// What reading a chunk came to.
enum Chunk {
    /// Its rows, and the key at which the next one begins.
    Rows(Box<RowBuffer>, Option<String>),
    /// The table is not there, or not as it was.
    Changed,
    /// The server has not come so far yet.
    TooEarly,
}

impl BinlogReader<'_> {
    /// Has the rows of a table read that came with rows.
    pub(super) fn add_table(&mut self, table: &TableId) {
        if self.lane.shared.options.startup.reads_existing_rows() {
            let server = self.lane.target.lane();
            tracing::info!(server, table = %table, "a table came, its existing rows are read");
            self.lane.position.add_table(table);
        }
    }

    /// Reads rows of added tables for a while, if there are such tables.
    pub(super) fn read_added(&mut self, has_buffered: bool) -> Result<()> {
        if self.lane.position.adding.is_empty() || self.group.is_begun() {
            return Ok(());
        }
        if has_buffered && self.report.last_chunk.elapsed() < BUSY_INTERVAL {
            return Ok(());
        }
        let began = Instant::now();
        while let Some((table, from)) = self.lane.position.next_added() {
            self.read_added_chunk(&table, from)?;
            self.report.last_chunk = Instant::now();
            if has_buffered || began.elapsed() >= SLICE {
                break;
            }
        }
        Ok(())
    }

    fn read_added_chunk(&mut self, id: &TableId, from: Option<String>) -> Result<()> {
        let mut added = match self.added.take().filter(|added| *added.table.id == *id) {
            Some(added) => added,
            None => match self.open_added(id)? {
                Some(added) => added,
                None => return self.end_added(id),
            },
        };
        match self.added_chunk(&mut added, from) {
            Ok(Chunk::Rows(rows, next)) => {
                self.send_added(&added, *rows, next)?;
                self.added = Some(added);
                Ok(())
            }
            // It is looked at again.
            Ok(Chunk::Changed) => Ok(()),
            Ok(Chunk::TooEarly) => {
                self.added = Some(added);
                Ok(())
            }
            // What keeps one table from being read is no concern of the others.
            Err(Error::Job(message)) => {
                self.stop_table(id, message);
                self.end_added(id)
            }
            Err(error) => Err(error),
        }
    }

    /// Looks at a table; `None` if it is not there.
    fn open_added(&mut self, id: &TableId) -> Result<Option<Added>> {
        let stop = self.lane.emitter.stop_check();
        let mut connection = Connection::open(&self.lane.target, stop)?;
        let table = discovery::table(&mut connection, id)?;
        if let Some(table) = &table {
            let chunks = table.row_estimate.div_ceil(self.lane.shared.options.chunk_size.max(1));
            self.lane.status.chunks_expected(&table.id, chunks.max(1));
        } else {
            let server = self.lane.target.lane();
            tracing::warn!(server, table = %id, "table was dropped before its rows could be read");
        }
        let pace = Pace::new(self.lane.shared.options.pace, self.lane.emitter.stop_check());
        Ok(table.map(|table| Added { connection, table: Arc::new(table), pace }))
    }

    fn added_chunk(&self, added: &mut Added, from: Option<String>) -> Result<Chunk> {
        let Added { connection, table, pace } = added;
        // MariaDB cannot wait for its own transactions: there the rows' locks tell.
        let waits_by_set = self.executed.as_ref().filter(|_| !self.lane.facts.mariadb);
        if let Some(executed) = waits_by_set {
            let sql = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{executed}', {VISIBLE_SECONDS})");
            let rows = connection.query(&sql, "waiting for transactions to be visible")?;
            if rows.first().is_none_or(|row| row.text(0) != "0") {
                return Ok(Chunk::TooEarly);
            }
        }
        let options = &self.lane.shared.options;
        let (key, size) = (options.chunk_keys.of(table)?, options.chunk_size);
        let chunk = || -> Result<(RowBuffer, Option<String>)> {
            let to = match key.kind {
                KeyKind::Uncut => None,
                _ => {
                    let sql = next_key_sql(&table.quoted(), &key, from.as_deref(), size);
                    let rows = connection.query(&sql, "cutting a table into chunks")?;
                    rows.first().and_then(|row| row.get(0)).map(str::to_owned)
                }
            };
            let mut rows = RowBuffer::new(self.lane.shared.spill.clone());
            let mut reader = TableReader::new(table, &self.lane.shared)?;
            if waits_by_set.is_none() {
                reader.lock_rows();
            }
            let keys = KeyRange { from, to: to.clone() };
            reader.read(connection, &keys, (&mut rows, pace))?;
            Ok((rows, to))
        };
        match { chunk }() {
            Ok((rows, next)) => Ok(Chunk::Rows(Box::new(rows), next)),
            Err(Error::Refused { code: NO_SUCH_TABLE | NO_SUCH_COLUMN, .. }) => Ok(Chunk::Changed),
            Err(error) => Err(error),
        }
    }

    /// Sends a chunk behind everything that has been read, and notes it.
    fn send_added(&mut self, added: &Added, rows: RowBuffer, next: Option<String>) -> Result<()> {
        let id = &added.table.id;
        self.assembly.flush(&mut sender(&self.lane.emitter))?;
        let (row_count, size_bytes) = (rows.row_count(), rows.total_bytes());
        rows.drain(sender(&self.lane.emitter))?;
        self.lane.status.rows_sent(id, SentRows { row_count, size_bytes, event_ms: 0 });
        self.lane.status.chunks_read(id, 1);
        match next {
            Some(next) => self.lane.position.added_up_to(id, next),
            None => {
                self.end_added(id)?;
                self.lane.status.chunks_known(id, 0);
                tracing::info!(server = self.lane.target.lane(), table = %id, "read a new table");
            }
        }
        self.note_rows();
        self.tell()
    }

    /// No more rows of a table are to be read.
    pub(super) fn end_added(&mut self, id: &TableId) -> Result<()> {
        self.lane.position.end_added(id);
        self.added = None;
        self.report.moved = true;
        Ok(())
    }
}
