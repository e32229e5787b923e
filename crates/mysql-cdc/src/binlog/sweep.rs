//! Rows that the sink has and the server has no more, after a binlog was purged: they are deleted.
//!
//! The binlog that would have told of their end is gone. When all rows of a table have been read again, the
//! committed rows of the table are read back from the sink, and the server is asked for each by the sink's
//! equality key; those that it does not have are sent as deletes.
//!
//! Why that is right at any place of the binlog between two transactions: the server's answer shows every
//! transaction up to there. A row that it lacks is gone there, and whatever is inserted later comes with the
//! events that follow. A row that it has stays. A row that is deleted between that place and the answer is
//! deleted twice, which is harmless. Rows that were sent and not committed are no concern, because a sweep is
//! only decided on at a start, when there are none.

use arrow::array::ArrayRef;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use shardlake_change::{ChangeBatch, RowKind, RowKinds, TableId};

use super::{BinlogReader, sender};
use crate::chunk::{KeyKind, quote_name};
use crate::connection::Connection;
use crate::discovery::{self, ServerTable};
use crate::error::{Error, Result};
use crate::lane::Shared;
use crate::status::SentRows;

/// Rows that one statement asks for.
const ROWS_PER_STATEMENT: usize = 200;
/// Seconds for which the server is asked to wait until transactions are visible.
const VISIBLE_SECONDS: u32 = 600;

/// Checks that rows of a table can be asked for by what the sink has of them.
pub(crate) fn check_key(shared: &Shared, table: &ServerTable) -> Result<()> {
    key_columns(shared, table).map(drop)
}

/// A column of the sink's equality key.
struct KeyColumn {
    name: String,
    kind: KeyKind,
    /// Its place in the batches of the source.
    index: usize,
}

fn key_columns(shared: &Shared, table: &ServerTable) -> Result<Vec<KeyColumn>> {
    let refused = |reason: &str| {
        Error::job(format!(
            "'scan.purged-binlog' = 'resnapshot' cannot read table {} again: {reason}; set it to 'fail' and \
             start afresh into a new table",
            table.id
        ))
    };
    let kept = shared.kept.as_ref();
    let kept = kept.ok_or_else(|| Error::Bug("there is no way back to the sink".to_owned()))?;
    let key = kept.key().iter().map(|name| {
        let column = table.columns.iter().find(|column| column.name == *name);
        let column = column.ok_or_else(|| {
            refused(&format!("it lacks the column {name}, which is in the sink's primary key"))
        })?;
        let kind = KeyKind::of(&column.data_type);
        let is_date = column.data_type == "date";
        if kind == KeyKind::Uncut || (kind == KeyKind::Temporal && !is_date) {
            return Err(refused(&format!(
                "the type of {name}, which is in the sink's primary key, is not supported"
            )));
        }
        let index = shared.shape.index_of(name);
        let index = index.ok_or_else(|| missing(&table.id))?;
        Ok(KeyColumn { name: name.clone(), kind, index })
    });
    key.collect()
}

impl BinlogReader<'_> {
    /// Deletes what is gone, when all tables have been read again.
    pub(super) fn sweep(&mut self) -> Result<()> {
        if self.lane.position.sweeping.is_empty()
            || !self.lane.position.adding.is_empty()
            || self.group.is_begun()
        {
            return Ok(());
        }
        let stop = self.lane.emitter.stop_check();
        let mut connection = Connection::open(&self.lane.target, stop)?;
        self.wait_until_visible(&mut connection)?;
        while let Some(id) = self.lane.position.next_swept() {
            let deleted = match discovery::table(&mut connection, &id)? {
                Some(table) => self.sweep_table(&mut connection, &table)?,
                // As with every table that is dropped, its rows stay.
                None => 0,
            };
            let server = self.lane.target.lane();
            tracing::info!(server, table = %id, row_count = deleted, "deleted rows that are gone");
            self.lane.position.end_sweep(&id);
            self.report.moved = true;
            self.tell()?;
        }
        Ok(())
    }

    fn wait_until_visible(&self, connection: &mut Connection) -> Result<()> {
        let Some(executed) = self.executed.as_ref().filter(|_| !self.lane.facts.mariadb) else {
            return Ok(());
        };
        let sql = format!("SELECT WAIT_FOR_EXECUTED_GTID_SET('{executed}', {VISIBLE_SECONDS})");
        connection.query(&sql, "waiting for transactions to be visible").map(drop)
    }

    /// Sends deletes for the rows of a table that the sink has and the server has not; how many they are.
    fn sweep_table(&mut self, connection: &mut Connection, table: &ServerTable) -> Result<u64> {
        self.assembly.flush(&mut sender(&self.lane.emitter))?;
        let key = key_columns(&self.lane.shared, table)?;
        let kept = self.lane.shared.kept.as_ref();
        let kept = kept.ok_or_else(|| Error::Bug("there is no way back to the sink".to_owned()))?;
        // Without GTIDs, transactions that are in the binlog and not yet visible are waited for.
        let lock = if self.executed.is_none() { " LOCK IN SHARE MODE" } else { "" };
        let (mut failure, mut deleted) = (None, 0);
        let emitter = &self.lane.emitter;
        let mut compare = |batch: ChangeBatch| {
            let gone = gone_rows(connection, table, &key, (&batch, lock));
            let sent = gone.and_then(|gone| {
                deleted += u64::try_from(gone.row_count()).unwrap_or(0);
                emitter.rows(gone)
            });
            failure = sent.err();
            failure.is_none()
        };
        let outcome = kept.read(&table.id, &mut compare);
        if let Some(error) = failure {
            return Err(error);
        }
        outcome.map_err(|error| Error::Source { fault: error.fault(), message: error.report() })?;
        self.note_rows();
        let sent = SentRows { row_count: deleted, ..SentRows::default() };
        self.lane.status.rows_sent(&table.id, sent);
        Ok(deleted)
    }
}

/// Deletes for those rows that the server does not have.
fn gone_rows(
    connection: &mut Connection,
    table: &ServerTable,
    key: &[KeyColumn],
    (batch, lock): (&ChangeBatch, &str),
) -> Result<ChangeBatch> {
    let options = FormatOptions::default();
    let columns: Vec<&ArrayRef> = key
        .iter()
        .map(|column| batch.rows().columns().get(column.index))
        .collect::<Option<_>>()
        .ok_or_else(|| missing(&table.id))?;
    let texts: Vec<_> = columns
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
        .collect::<std::result::Result<_, _>>()?;
    let mut gone = Vec::new();
    let rows: Vec<usize> = (0..batch.row_count()).collect();
    for rows in rows.chunks(ROWS_PER_STATEMENT) {
        let mut selects = Vec::with_capacity(rows.len());
        for row in rows {
            let conditions: Vec<String> = key
                .iter()
                .zip(&texts)
                .map(|(column, texts)| {
                    column.kind.equals(&quote_name(&column.name), &texts.value(*row).to_string())
                })
                .collect();
            let (name, condition) = (table.quoted(), conditions.join(" AND "));
            selects.push(format!("(SELECT {row} FROM {name} WHERE {condition}{lock})"));
        }
        let answer = connection.query(&selects.join(" UNION ALL "), "looking for rows")?;
        let mut found: Vec<usize> =
            answer.iter().filter_map(|row| row.text(0).parse().ok()).collect();
        found.sort_unstable();
        gone.extend(rows.iter().filter(|row| found.binary_search(row).is_err()).copied());
    }
    deletes(batch, &gone)
}

fn missing(table: &TableId) -> Error {
    Error::Bug(format!("rows of {table} that were read back lack a column of their key"))
}

/// Some rows of a batch, as deletes.
fn deletes(batch: &ChangeBatch, rows: &[usize]) -> Result<ChangeBatch> {
    let wanted: Vec<u32> = rows.iter().filter_map(|row| u32::try_from(*row).ok()).collect();
    let wanted = arrow::array::UInt32Array::from(wanted);
    let taken = batch.take(&wanted).map_err(|error| Error::Bug(error.to_string()))?;
    let (rows, kinds) = taken.into_parts();
    let kinds = RowKinds::uniform(RowKind::Delete, kinds.len());
    ChangeBatch::try_new(rows, kinds).map_err(|error| Error::Bug(error.to_string()))
}
