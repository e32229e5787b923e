//! Rows of the wire → batches of the output.
//!
//! All rows go through one builder of the declared columns, whatever table they come from: chunks of the
//! snapshot phase through the plan of their result set, row events through the plan of their table.

use std::sync::Arc;

use shardlake_change::{ChangeBatch, TableId};
use shardlake_mysql_wire::decode::{BatchBuilder, ResultSetPlan, ZoneOffset};
use shardlake_mysql_wire::event::{EventHeader, RowsEvent, TableMap};
use shardlake_mysql_wire::reply::{self, Head, RowPacket};
use shardlake_mysql_wire::rows::{RowsPlan, UpdateImages};
use shardlake_mysql_wire::{Error as WireError, SourceColumn, command};

use crate::binlog::Target;
use crate::chunk::{condition, quote_name};
use crate::chunk_key::ChunkKey;
use crate::connection::Connection;
use crate::discovery::{ServerColumn, ServerTable};
use crate::error::{Error, Result};
use crate::lane::Shared;
use crate::output::{OutputShape, Run};
use crate::pace::Pace;
use crate::position::KeyRange;
use crate::spill::RowBuffer;
use crate::status::{SentRows, StatusBoard};
use crate::transaction::Collect;
use crate::zone::ServerZone;

type WireResult<T> = std::result::Result<T, WireError>;

/// A batch of existing rows is closed when it holds about this much.
const BATCH_BYTES: usize = 3 << 19;
const BATCH_ROWS: usize = 64 * 1024;
/// The size of a batch is looked at after so many rows.
const ROWS_BETWEEN_LOOKS: usize = 512;

/// More columns than a table of MySQL can have.
const MAX_COLUMNS: u64 = 4_096;

fn zone_offset(zone: ServerZone) -> ZoneOffset {
    ZoneOffset::new(move |epoch_seconds| zone.offset_at(epoch_seconds))
}

fn source_columns(columns: &[ServerColumn]) -> WireResult<Vec<SourceColumn>> {
    columns
        .iter()
        .map(|column| {
            let charset = column.charset.as_deref();
            SourceColumn::declared(&column.name, &column.column_type, charset)
        })
        .collect()
}

/// How the rows of one TABLE_MAP are read.
pub(crate) struct RowPlan(RowsPlan);

impl RowPlan {
    /// Plans for a table whose columns are `columns`, in the order of its row images.
    pub(crate) fn new(
        map: &TableMap<'_>,
        columns: &[ServerColumn],
        shared: &Shared,
    ) -> WireResult<Self> {
        Self::hiding(map, columns, shared, &[])
    }

    /// As [`RowPlan::new`], but these columns are passed over.
    pub(crate) fn hiding(
        map: &TableMap<'_>,
        columns: &[ServerColumn],
        shared: &Shared,
        hidden: &[String],
    ) -> WireResult<Self> {
        let columns = source_columns(columns)?;
        let zone = zone_offset(shared.options.zone);
        if hidden.is_empty() {
            return RowsPlan::new(map, &columns, shared.shape.physical(), &[], &zone).map(Self);
        }
        let mut declared = shared.shape.physical().to_vec();
        for column in declared.iter_mut().filter(|column| hidden.contains(&column.name)) {
            // No column of MySQL has this name.
            column.name.clear();
        }
        RowsPlan::new(map, &columns, &declared, &[], &zone).map(Self)
    }
}

/// Collects the rows of row events of all tables.
pub(crate) struct Collector {
    shared: Arc<Shared>,
    status: Arc<StatusBoard>,
    builder: BatchBuilder,
    runs: Vec<Run>,
    /// The bytes of each run.
    run_bytes: Vec<u64>,
    size_bytes: usize,
    replaced: Replaced,
}

impl Collector {
    /// Nothing has been collected.
    pub(crate) fn new(shared: Arc<Shared>, status: Arc<StatusBoard>) -> Result<Self> {
        let builder = new_builder(&shared)?;
        Ok(Self {
            shared,
            status,
            builder,
            runs: Vec::new(),
            run_bytes: Vec::new(),
            size_bytes: 0,
            replaced: Replaced::default(),
        })
    }

    /// Rows have other columns from now on. What was collected must have been taken out.
    pub(crate) fn reshape(&mut self, shared: Arc<Shared>) -> Result<()> {
        self.builder = new_builder(&shared)?;
        self.shared = shared;
        Ok(())
    }

    /// Appends the rows of an event.
    pub(crate) fn append(
        &mut self,
        target: &Target,
        rows: &RowsEvent<'_>,
        header: &EventHeader,
    ) -> WireResult<()> {
        let row_count = target.plan.0.append(rows, &mut self.builder, UpdateImages::Both)?;
        // The event's size is close to that of its values.
        self.size_bytes += usize::try_from(header.size).unwrap_or(0);
        let op_ts_ms = i64::from(header.timestamp) * 1_000;
        match self.runs.last_mut() {
            Some(run) if Arc::ptr_eq(&run.table, &target.table) && run.op_ts_ms == op_ts_ms => {
                run.row_count += row_count;
                if let Some(bytes) = self.run_bytes.last_mut() {
                    *bytes += u64::from(header.size);
                }
            }
            _ => {
                self.runs.push(Run { table: Arc::clone(&target.table), op_ts_ms, row_count });
                self.run_bytes.push(u64::from(header.size));
            }
        }
        Ok(())
    }
}

impl Collect for Collector {
    fn row_count(&self) -> usize {
        self.builder.row_count()
    }

    fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    fn finish(&mut self) -> Result<ChangeBatch> {
        self.size_bytes = 0;
        let runs = std::mem::take(&mut self.runs);
        for (run, size_bytes) in runs.iter().zip(std::mem::take(&mut self.run_bytes)) {
            let row_count = u64::try_from(run.row_count).unwrap_or(0);
            let event_ms = u64::try_from(run.op_ts_ms).unwrap_or(0);
            self.status.rows_sent(&run.table, SentRows { row_count, size_bytes, event_ms });
        }
        self.replaced.note(&self.builder, &self.status, &runs);
        finish(&mut self.builder, &self.shared.shape, &runs)
    }
}

fn new_builder(shared: &Shared) -> Result<BatchBuilder> {
    let builder = BatchBuilder::new(shared.shape.physical());
    let builder = builder.map_err(|error| Error::job(error.to_string()))?;
    Ok(builder.with_zero_dates(shared.options.jdbc.zero_dates))
}

/// Values that could not be read as they are, since it was last asked.
#[derive(Debug, Default)]
struct Replaced {
    counted: u64,
    warned: bool,
}

impl Replaced {
    /// Notes what was replaced in the rows of a batch, for the tables of the batch.
    fn note(&mut self, builder: &BatchBuilder, status: &StatusBoard, runs: &[Run]) {
        let (dates, texts) = (builder.zero_date_count(), builder.replaced_text_count());
        let new = (dates + texts).saturating_sub(self.counted);
        self.counted = dates + texts;
        let Some(run) = runs.last().filter(|_| new > 0) else { return };
        status.values_replaced(&run.table, new);
        if !self.warned {
            self.warned = true;
            tracing::warn!(
                tables = names(runs),
                zero_dates = dates,
                texts,
                "values do not exist in their declared type, and were read as NULL, as the nearest \
                 date or with '?' for what is no text; further ones are counted only"
            );
        }
    }
}

fn finish(builder: &mut BatchBuilder, shape: &OutputShape, runs: &[Run]) -> Result<ChangeBatch> {
    let batch = builder
        .finish()
        .map_err(|error| Error::Job(format!("{error} (in a row of {})", names(runs))))?;
    let (rows, kinds) = batch.into_parts();
    shape.assemble(rows.columns(), kinds, runs)
}

fn names(runs: &[Run]) -> String {
    let mut names: Vec<String> = runs.iter().map(|run| run.table.to_string()).collect();
    names.sort_unstable();
    names.dedup();
    names.truncate(5);
    names.join(" or ")
}

/// Reads chunks of one table.
pub(crate) struct TableReader<'a> {
    table: Arc<ServerTable>,
    shared: &'a Shared,
    /// The statement up to its condition.
    select: String,
    /// What stands behind the condition.
    suffix: &'static str,
    builder: BatchBuilder,
    zone: ZoneOffset,
    replaced: u64,
}

impl<'a> TableReader<'a> {
    /// Prepares to read a table.
    ///
    /// # Errors
    /// If a column cannot be read as it is declared.
    pub(crate) fn new(table: &Arc<ServerTable>, shared: &'a Shared) -> Result<Self> {
        let declared = shared.shape.physical();
        let zone = zone_offset(shared.options.zone);
        let wanted: Vec<ServerColumn> = table
            .columns
            .iter()
            .filter(|column| declared.iter().any(|wanted| wanted.name == column.name))
            .cloned()
            .collect();
        source_columns(&wanted)
            .and_then(|columns| ResultSetPlan::new(&columns, declared, &zone))
            .map_err(|error| Error::job(format!("table {}: {error}", table.id)))?;
        let mut names: Vec<String> = wanted.iter().map(|column| quote_name(&column.name)).collect();
        if names.is_empty() {
            // Rows without any wanted column still count.
            names.push(quote_name(shared.options.chunk_keys.of(table)?.column));
        }
        let key = shared.options.chunk_keys.of(table);
        let index = match key {
            Ok(ChunkKey { leads_primary: true, .. }) => " FORCE INDEX (PRIMARY)",
            Ok(_) | Err(_) => "",
        };
        let select = format!("SELECT {} FROM {}{index} WHERE ", names.join(", "), table.quoted());
        let builder = new_builder(shared)?;
        let table = Arc::clone(table);
        Ok(Self { table, shared, select, suffix: "", builder, zone, replaced: 0 })
    }

    /// Waits for the locks of transactions that have not ended, so that all that are in the binlog are seen.
    pub(crate) const fn lock_rows(&mut self) {
        self.suffix = " LOCK IN SHARE MODE";
    }

    /// The table.
    pub(crate) const fn table(&self) -> &Arc<ServerTable> {
        &self.table
    }

    /// How many values were replaced since it was last asked.
    pub(crate) fn take_replaced(&mut self) -> u64 {
        let all = self.builder.zero_date_count() + self.builder.replaced_text_count();
        all.saturating_sub(std::mem::replace(&mut self.replaced, all))
    }

    /// Reads the rows of a chunk.
    pub(crate) fn read(
        &mut self,
        connection: &mut Connection,
        keys: &KeyRange,
        (rows, pace): (&mut RowBuffer, &Pace),
    ) -> Result<()> {
        let key = self.shared.options.chunk_keys.of(&self.table)?;
        let sql = format!("{}{}{}", self.select, condition(&key, keys), self.suffix);
        let server = connection.server().to_owned();
        let id = Arc::clone(&self.table.id);
        let failed = |error| unreadable(&server, &id, error);
        let packets = connection.packets();
        packets.send_command(&command::statement_prepare(&sql)).map_err(failed)?;
        let statement = packets.next().and_then(reply::parse_prepared).map_err(failed)?;
        for _ in 0..statement.parameter_count + statement.column_count {
            packets.next().map_err(failed)?;
        }
        let execute = command::statement_execute(statement.statement_id, &[]);
        packets.send_command(&execute).map_err(failed)?;
        let head = packets.next().and_then(reply::parse_head).map_err(failed)?;
        let Head::Columns(count) = head else {
            return Err(Error::Bug("a SELECT has no columns".to_owned()));
        };
        if count > MAX_COLUMNS {
            return Err(Error::job(format!("table {} has {count} columns", self.table.id)));
        }
        let mut columns = Vec::new();
        for _ in 0..count {
            let definition = packets.next().and_then(SourceColumn::from_definition);
            columns.push(definition.map_err(failed)?);
        }
        let plan = ResultSetPlan::new(&columns, self.shared.shape.physical(), &self.zone)
            .map_err(failed)?;
        let (mut rows_until_look, mut bytes_since_look) = (ROWS_BETWEEN_LOOKS, 0);
        while let RowPacket::Row(row) =
            packets.next().and_then(reply::parse_binary_row).map_err(failed)?
        {
            plan.append(row, &mut self.builder).map_err(failed)?;
            bytes_since_look += row.len();
            rows_until_look -= 1;
            if rows_until_look == 0 {
                rows_until_look = ROWS_BETWEEN_LOOKS;
                pace.keep(ROWS_BETWEEN_LOOKS as u64, std::mem::take(&mut bytes_since_look) as u64)?;
                if self.builder.row_count() >= BATCH_ROWS
                    || self.builder.size_bytes() >= BATCH_BYTES
                {
                    rows.push(self.finish()?)?;
                }
            }
        }
        packets.send_command(&command::statement_close(statement.statement_id)).map_err(failed)?;
        pace.keep((ROWS_BETWEEN_LOOKS - rows_until_look) as u64, bytes_since_look as u64)?;
        if self.builder.row_count() > 0 {
            rows.push(self.finish()?)?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<ChangeBatch> {
        let row_count = self.builder.row_count();
        let run = Run { table: Arc::clone(&self.table.id), op_ts_ms: 0, row_count };
        finish(&mut self.builder, &self.shared.shape, &[run])
    }
}

/// What went wrong while rows of a table were read.
fn unreadable(server: &str, table: &TableId, error: WireError) -> Error {
    match error {
        WireError::Io(_) | WireError::Server(_) => Error::wire(server, "reading rows", error),
        source => Error::Unreadable {
            server: server.to_owned(),
            doing: format!("reading rows of table {table}"),
            source: Box::new(source),
        },
    }
}
