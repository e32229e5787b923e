//! The snapshot phase: existing rows, chunk by chunk, over several connections.
//!
//! One thread cuts tables into chunks, some threads read them, and the lane's thread sends them. A
//! chunk is sent only when it has been read to its end, and its boundary notes it as finished together
//! with its watermarks, so a restart reads the other chunks only.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::checks::{ChunkWatermarks, ServerFacts};
use crate::chunk::{EvenBounds, EvenFactors, KeyKind, condition, next_key_sql, quote_name};
use crate::chunk_key::ChunkKey;
use crate::connection::{Connection, Target};
use crate::decode::TableReader;
use crate::discovery::ServerTable;
use crate::error::{Error, Result};
use crate::lane::{Lane, Shared};
use crate::pace::Pace;
use crate::position::{ChunkRun, FinishedChunk, KeyRange, Watermark};
use crate::socket::StopCheck;
use crate::spill::{RowBuffer, SpillPolicy};
use crate::status::{SentRows, StatusBoard};

/// Chunks that wait to be read.
const PLANNED_CHUNKS: usize = 64;
/// Chunks that share a boundary when the readers are faster than the engine.
const CHUNKS_PER_BOUNDARY: usize = 16;
/// A table that was dropped before it could be read.
const NO_SUCH_TABLE: u16 = 1_146;

/// A chunk to be read.
struct Chunk {
    table: Arc<ServerTable>,
    run: ChunkRun,
}

/// A chunk that has been read to its end.
struct ReadChunk {
    chunk: Chunk,
    rows: RowBuffer,
    low: Watermark,
    high: Watermark,
}

/// What the threads of the snapshot phase share.
struct Crew<'a> {
    shared: &'a Shared,
    target: &'a Target,
    facts: &'a ServerFacts,
    status: &'a StatusBoard,
    stop: StopCheck,
    pace: Pace,
    spill: SpillPolicy,
}

/// Reads all rows of all tables that have not been read yet.
pub(crate) fn read_existing_rows(lane: &mut Lane) -> Result<()> {
    let cancelled = Arc::new(AtomicBool::new(false));
    let shared = Arc::clone(&lane.shared);
    let target = Arc::clone(&lane.target);
    let status = Arc::clone(&lane.status);
    let facts = lane.facts.clone();
    let reader_count = shared.options.reader_count.max(1);
    let stop = either(lane.emitter.stop_check(), Arc::clone(&cancelled));
    let crew = Crew {
        shared: &shared,
        target: &target,
        facts: &facts,
        status: &status,
        pace: Pace::new(shared.options.pace, Arc::clone(&stop)),
        stop,
        spill: SpillPolicy {
            // Each reader holds one chunk, as many wait to be sent, and one is being sent.
            memory_bytes: shared.spill.memory_bytes / (2 * reader_count + 1),
            folder: shared.spill.folder.clone(),
        },
    };
    forget_other_cuts(lane)?;
    let work = missing_chunks(lane);
    expect_chunks(lane, &work);
    let outcome = thread::scope(|scope| {
        let finished = start_crew(scope, &crew, work, reader_count)?;
        let outcome = send_chunks(lane, &finished);
        if outcome.is_err() {
            cancelled.store(true, Ordering::Relaxed);
            // Readers that wait to hand over a chunk go on and see that it is over.
            finished.into_iter().for_each(drop);
        }
        outcome
    });
    outcome?;
    if let Some(snapshot) = &mut lane.position.snapshot {
        snapshot.complete = true;
    }
    lane.emitter.boundary(&lane.position, None)
}

fn either(stop: StopCheck, cancelled: Arc<AtomicBool>) -> StopCheck {
    Arc::new(move || cancelled.load(Ordering::Relaxed) || stop())
}

/// Tables that an earlier run cut by another column are read again: its chunks mean nothing now.
fn forget_other_cuts(lane: &mut Lane) -> Result<()> {
    let Some(snapshot) = &mut lane.position.snapshot else { return Ok(()) };
    for table in &lane.tables {
        let key = lane.shared.options.chunk_keys.of(table)?.column;
        if let Some(progress) = snapshot.table_mut(&table.id).filter(|known| known.key != key) {
            key.clone_into(&mut progress.key);
            progress.finished.clear();
        }
    }
    Ok(())
}

/// For each table, what has not been read.
fn missing_chunks(lane: &Lane) -> Vec<Chunk> {
    let mut work = Vec::new();
    for table in &lane.tables {
        let progress = lane.position.snapshot.as_ref().and_then(|all| all.table(&table.id));
        let missing = match progress {
            Some(progress) => progress.missing(),
            None => vec![ChunkRun { first: 0, last: 0, keys: KeyRange::default() }],
        };
        work.extend(missing.into_iter().map(|run| Chunk { table: Arc::clone(table), run }));
    }
    work
}

/// Notes how many chunks have been read, and about how many are left.
fn expect_chunks(lane: &Lane, work: &[Chunk]) {
    let chunk_size = lane.shared.options.chunk_size;
    for table in &lane.tables {
        let progress = lane.position.snapshot.as_ref().and_then(|all| all.table(&table.id));
        let finished = progress.map_or(&[][..], |progress| &progress.finished);
        let read: u64 = finished.iter().map(ChunkRun::chunk_count).sum();
        let missing = work.iter().filter(|chunk| Arc::ptr_eq(&chunk.table, table));
        let (mut closed, mut open) = (0, 0);
        for Chunk { run, .. } in missing {
            match run.keys.to {
                Some(_) => closed += run.chunk_count(),
                None => {
                    open = table.row_estimate.div_ceil(chunk_size).saturating_sub(run.first).max(1);
                }
            }
        }
        lane.status.chunks_kept(&table.id, read);
        if open > 0 {
            lane.status.chunks_expected(&table.id, closed + open);
        } else {
            lane.status.chunks_known(&table.id, read + closed);
        }
    }
}

/// Starts one thread that cuts chunks and those that read them.
fn start_crew<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    crew: &'env Crew<'env>,
    work: Vec<Chunk>,
    reader_count: usize,
) -> Result<Receiver<Result<ReadChunk>>> {
    let (plan, planned) = bounded(PLANNED_CHUNKS);
    let (finish, finished) = bounded(reader_count);
    let failed = finish.clone();
    spawn(scope, "cdc chunks", move || {
        if let Err(error) = crew.plan_chunks(work, &plan) {
            // If nobody receives, another failure came first.
            let _gone = failed.send(Err(error));
        }
    })?;
    for _ in 0..reader_count {
        let (planned, finish) = (planned.clone(), finish.clone());
        spawn(scope, "cdc reader", move || {
            if let Err(error) = crew.read_chunks(&planned, &finish) {
                let _gone = finish.send(Err(error));
            }
        })?;
    }
    Ok(finished)
}

fn spawn<'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, ()>> {
    thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, work).map_err(|source| {
        Error::Lost { server: "(none)".to_owned(), doing: "starting a thread", source }
    })
}

/// Sends what the readers hand over until all have ended.
fn send_chunks(lane: &mut Lane, finished: &Receiver<Result<ReadChunk>>) -> Result<()> {
    let mut unreported = 0;
    for message in finished {
        send_chunk(lane, message?)?;
        unreported += 1;
        if finished.is_empty() || unreported == CHUNKS_PER_BOUNDARY {
            lane.emitter.boundary(&lane.position, None)?;
            unreported = 0;
        }
    }
    Ok(())
}

fn send_chunk(lane: &mut Lane, read: ReadChunk) -> Result<()> {
    let ReadChunk { chunk, rows, low, high } = read;
    let table = &chunk.table.id;
    let sent =
        SentRows { row_count: rows.row_count(), size_bytes: rows.total_bytes(), event_ms: 0 };
    rows.drain(|batch| lane.emitter.rows(batch))?;
    lane.status.rows_sent(table, sent);
    lane.status.chunks_read(table, chunk.run.chunk_count());
    let key = lane.shared.options.chunk_keys.of(&chunk.table)?.column;
    if let Some(snapshot) = &mut lane.position.snapshot {
        snapshot.finish(FinishedChunk { table, key, run: chunk.run, low, high: high.offset });
    }
    Ok(())
}

impl Crew<'_> {
    /// Cuts the tables into chunks.
    fn plan_chunks(&self, work: Vec<Chunk>, plan: &Sender<Chunk>) -> Result<()> {
        let mut connection = Connection::open(self.target, Arc::clone(&self.stop))?;
        for Chunk { table, run } in work {
            if run.keys.to.is_some() {
                self.send_planned(plan, &table, run)?;
            } else {
                self.cut(&mut connection, &table, run, plan)?;
            }
        }
        Ok(())
    }

    /// Cuts the rest of a table from the beginning of `open` on.
    fn cut(
        &self,
        connection: &mut Connection,
        table: &Arc<ServerTable>,
        open: ChunkRun,
        plan: &Sender<Chunk>,
    ) -> Result<()> {
        let mut bounds = self.bounds(connection, table, &open)?;
        let mut number = open.first;
        let mut from = open.keys.from;
        loop {
            let to = match bounds.next(connection) {
                Err(Error::Refused { code: NO_SUCH_TABLE, .. }) => None,
                other => other?,
            };
            let last = to.is_none();
            let keys = KeyRange { from, to: to.clone() };
            self.send_planned(plan, table, ChunkRun { first: number, last: number, keys })?;
            if last {
                self.status.chunks_known(&table.id, number + 1);
                return Ok(());
            }
            from = to;
            number += 1;
        }
    }

    fn send_planned(
        &self,
        plan: &Sender<Chunk>,
        table: &Arc<ServerTable>,
        run: ChunkRun,
    ) -> Result<()> {
        // All readers have ended only if one of them reported a failure.
        plan.send(Chunk { table: Arc::clone(table), run }).map_err(|_| Error::Ended)
    }

    /// Decides how a table is cut from a key on.
    fn bounds(
        &self,
        connection: &mut Connection,
        table: &ServerTable,
        open: &ChunkRun,
    ) -> Result<Bounds> {
        let from = open.keys.from.clone();
        let key = self.shared.options.chunk_keys.of(table)?;
        let chunk_size = self.shared.options.chunk_size;
        if key.kind == KeyKind::Uncut {
            return Ok(Bounds::None);
        }
        // What an earlier run has read is not in the range any more.
        let row_count = table.row_estimate.saturating_sub(open.first.saturating_mul(chunk_size));
        if key.kind.is_number() && row_count > chunk_size {
            let quoted = quote_name(key.column);
            let rest = KeyRange { from: from.clone(), to: None };
            let sql = format!(
                "SELECT MIN({quoted}), MAX({quoted}) FROM {} WHERE {}",
                table.quoted(),
                condition(&key, &rest)
            );
            let rows = connection.query(&sql, "looking for the least and greatest key")?;
            let even = rows.first().and_then(|row| {
                let factors = EvenFactors {
                    lower: self.shared.options.factor_lower,
                    upper: self.shared.options.factor_upper,
                };
                EvenBounds::plan(row.get(0)?, row.get(1)?, row_count, chunk_size, factors)
            });
            if let Some(even) = even {
                return Ok(Bounds::Even(even));
            }
        }
        let ask = AskedBounds {
            table: table.quoted(),
            column: key.column.to_owned(),
            kind: key.kind,
            leads_primary: key.leads_primary,
            from,
            chunk_size,
        };
        Ok(Bounds::Asked(ask))
    }

    /// Reads chunks until none is planned any more.
    fn read_chunks(
        &self,
        planned: &Receiver<Chunk>,
        finish: &Sender<Result<ReadChunk>>,
    ) -> Result<()> {
        let mut connection = Connection::open(self.target, Arc::clone(&self.stop))?;
        let mut watermarks = ChunkWatermarks::new(self.facts, &mut connection)?;
        let mut reader: Option<TableReader<'_>> = None;
        for chunk in planned {
            if (self.stop)() {
                return Err(Error::Ended);
            }
            if reader.as_ref().is_none_or(|reader| !Arc::ptr_eq(reader.table(), &chunk.table)) {
                reader = Some(TableReader::new(&chunk.table, self.shared)?);
            }
            let mut rows = RowBuffer::new(self.spill.clone());
            watermarks.open(&mut connection)?;
            if let Some(reader) = &mut reader {
                let outcome =
                    reader.read(&mut connection, &chunk.run.keys, (&mut rows, &self.pace));
                forgive_dropped_table(&chunk.table, outcome)?;
                self.status.values_replaced(&chunk.table.id, reader.take_replaced());
            }
            let (low, high) = watermarks.close(&mut connection)?;
            if finish.send(Ok(ReadChunk { chunk, rows, low, high })).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// A table that was dropped in the meantime has no rows.
fn forgive_dropped_table(table: &ServerTable, outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(Error::Refused { code: NO_SUCH_TABLE, .. }) => {
            tracing::warn!(table = %table.id, "table was dropped before its rows could be read");
            Ok(())
        }
        other => other,
    }
}

/// Where a table is cut.
enum Bounds {
    /// Nowhere.
    None,
    /// At computed keys.
    Even(EvenBounds),
    /// At keys that the server finds.
    Asked(AskedBounds),
}

struct AskedBounds {
    table: String,
    column: String,
    kind: KeyKind,
    leads_primary: bool,
    from: Option<String>,
    chunk_size: u64,
}

impl Bounds {
    /// The next key at which to cut, if there is one.
    fn next(&mut self, connection: &mut Connection) -> Result<Option<String>> {
        match self {
            Self::None => Ok(None),
            Self::Even(even) => Ok(even.next()),
            Self::Asked(ask) => {
                let (kind, leads_primary) = (ask.kind, ask.leads_primary);
                let key = ChunkKey { column: &ask.column, kind, leads_primary };
                let sql = next_key_sql(&ask.table, &key, ask.from.as_deref(), ask.chunk_size);
                let rows = connection.query(&sql, "cutting a table into chunks")?;
                let next = rows.first().and_then(|row| row.get(0)).map(str::to_owned);
                ask.from.clone_from(&next);
                Ok(next)
            }
        }
    }
}
