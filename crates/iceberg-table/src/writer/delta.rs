//! From a changelog to data files and position deletes.
//!
//! Changes are collected in a window. At its end the key index is told, in order, where each added row
//! will be; what the index says in return is the former place of the key's row. A former place in the
//! window itself means that the row is never written (so only the last state of a key is); a former
//! place in any other file, committed or not, becomes a position delete.
//!
//! Rows of a window are numbered as if all of them were written. If some fall away, those behind them
//! move up, and the index is told a second time.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::SchemaRef;
use parking_lot::Mutex;
use shardlake_change::{ChangeBatch, RowKind, RowKinds};
use uuid::Uuid;

use super::data::FileFormat;
use super::encoder::{EncodedFile, Encoder};
use super::{KeyHasher, WrittenFiles, position_delete};
use crate::index::{Change, KeyHash, Location};
use crate::{Error, KeyIndex, Table, index, schema};

/// How many bytes a window holds before it is written.
const WINDOW_BYTES: usize = 8 * 1024 * 1024;
/// How many deletes are collected before they are written.
const DELETES_MAX: usize = 4 * 1024 * 1024;

/// How delta writers work.
#[derive(Clone, Copy, Debug)]
pub struct DeltaWriterOptions {
    /// Memory that the key index may take, in bytes.
    pub index_memory_bytes: usize,
    /// Threads that encode, for each writer.
    pub encoder_count: usize,
    /// How many rows are folded together, unless a single batch has more.
    pub window_rows: usize,
}

impl Default for DeltaWriterOptions {
    fn default() -> Self {
        Self { index_memory_bytes: 1 << 30, encoder_count: 2, window_rows: 64 * 1024 }
    }
}

/// The data files that locations in the key index refer to, by number.
#[derive(Default)]
pub(crate) struct FileRegistry(Mutex<Vec<Arc<str>>>);

impl FileRegistry {
    /// Numbers a file.
    pub(crate) fn add(&self, location: Arc<str>) -> Result<u32, Error> {
        let mut files = self.0.lock();
        let number = u32::try_from(files.len()).ok().filter(|number| *number < u32::MAX);
        files.push(location);
        number.ok_or_else(|| Error::bug("more than 2^32 data files"))
    }

    fn location(&self, number: u32) -> Result<Arc<str>, Error> {
        let files = self.0.lock();
        files.get(number as usize).map(Arc::clone).ok_or_else(|| Error::bug("an unknown data file"))
    }
}

/// What all writers of one table share: its key index and its file format. Made once for each run.
pub struct WriterShared {
    format: Arc<FileFormat>,
    key: Option<KeyHasher>,
    index: Arc<KeyIndex>,
    files: FileRegistry,
    options: DeltaWriterOptions,
    /// Rows that have a newer row of the same key, found when the index was built.
    superseded: Mutex<Vec<Location>>,
    /// Is part of the names of all files of this run.
    run: Uuid,
}

impl WriterShared {
    /// Reads what `table` holds now into a key index.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the table cannot be written (partitioned, equality deletes),
    /// [`Error::IndexMemory`], or what reading its files reports.
    pub async fn load(table: &Table, options: DeltaWriterOptions) -> Result<Arc<Self>, Error> {
        if !table.metadata().default_partition_spec().is_unpartitioned() {
            return Err(Error::Invalid(format!(
                "table {} is partitioned, which the writer does not support; \
                 write to a table without partitions",
                table.name()
            )));
        }
        let format = Arc::new(FileFormat::of_table(table)?);
        let index = KeyIndex::new(options.index_memory_bytes);
        let columns = schema::key_indices(table.schema());
        let files = FileRegistry::default();
        let mut key = None;
        let mut superseded = Vec::new();
        if !columns.is_empty() {
            let hasher = KeyHasher::try_new(&format.arrow_schema, columns, index.seed())?;
            superseded = index::rebuild(table, &hasher, &index, &files).await?;
            key = Some(hasher);
        }
        Ok(Arc::new(Self {
            format,
            key,
            index,
            files,
            options,
            superseded: Mutex::new(superseded),
            run: Uuid::new_v4(),
        }))
    }

    /// The key index.
    #[must_use]
    pub const fn index(&self) -> &Arc<KeyIndex> {
        &self.index
    }
}

/// A data file that takes rows now.
struct OpenFile {
    number: u32,
    encoded: EncodedFile,
    rows: u32,
}

/// An encoder, once it is needed, and its file.
#[derive(Default)]
struct Lane {
    encoder: Option<Encoder>,
    open: Option<OpenFile>,
    /// Files whose result has not been taken.
    finishing: usize,
}

/// Turns changes of one table into files. Changes of one key must come to one writer, in order.
///
/// Epochs may overlap: each has its files of its own, which it names when it is closed.
pub struct DeltaWriter {
    shared: Arc<WriterShared>,
    worker: usize,
    epochs: BTreeMap<u64, EpochWriter>,
    /// The epoch whose window may hold rows: only one has such rows, so that the index sees changes in order.
    active: Option<u64>,
    /// Threads that wait for the next epoch.
    encoders: Vec<Encoder>,
    /// Files named so far.
    file_count: Arc<AtomicU32>,
}

impl fmt::Debug for DeltaWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeltaWriter").field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl DeltaWriter {
    /// The writer of one worker.
    #[must_use]
    pub fn new(shared: Arc<WriterShared>, worker: usize) -> Self {
        Self {
            shared,
            worker,
            epochs: BTreeMap::new(),
            active: None,
            encoders: Vec::new(),
            file_count: Arc::default(),
        }
    }

    /// What the writers of all workers share.
    #[must_use]
    pub const fn shared(&self) -> &Arc<WriterShared> {
        &self.shared
    }

    /// Takes changes that belong to `epoch`. Columns are found by name; integers are widened to the
    /// table's types.
    ///
    /// # Errors
    /// [`Error::Invalid`] names a column that is missing or NULL where it must not be; otherwise
    /// what keeps files from being written. After an error the writer is of no use.
    pub fn write(&mut self, epoch: u64, batch: ChangeBatch) -> Result<(), Error> {
        let (rows, kinds) = batch.into_parts();
        if rows.num_rows() == 0 {
            return Ok(());
        }
        if self.shared.key.is_none() && !kinds.is_insert_only() {
            return Err(Error::Invalid(
                "a table without a primary key takes inserts only; declare a primary key"
                    .to_owned(),
            ));
        }
        let rows = conform(&rows, &self.shared.format.arrow_schema)?;
        if self.active != Some(epoch) {
            self.flush_active()?;
            self.active = Some(epoch);
        }
        if self.writer(epoch).push(rows, kinds) {
            self.flush_active()?;
        }
        Ok(())
    }

    /// Makes everything written to `epoch` durable, and names the files.
    ///
    /// # Errors
    /// As for [`Self::write`].
    pub fn close_epoch(&mut self, epoch: u64) -> Result<WrittenFiles, Error> {
        if self.active == Some(epoch) {
            self.flush_active()?;
            self.active = None;
        }
        self.writer(epoch);
        let mut closed = self.epochs.remove(&epoch).ok_or_else(|| Error::bug("no epoch"))?;
        let written = closed.close();
        self.encoders.extend(closed.lanes.into_iter().filter_map(|lane| lane.encoder));
        written
    }

    fn flush_active(&mut self) -> Result<(), Error> {
        let Some(epoch) = self.active else { return Ok(()) };
        let later: BTreeSet<u32> = self
            .epochs
            .range(epoch + 1..)
            .flat_map(|(_, later)| later.files.iter().copied())
            .collect();
        match self.epochs.get_mut(&epoch) {
            Some(writer) => writer.flush_window(&later),
            None => Ok(()),
        }
    }

    /// The writer of an epoch, made if need be.
    fn writer(&mut self, epoch: u64) -> &mut EpochWriter {
        self.epochs.entry(epoch).or_insert_with(|| {
            let file_count = Arc::clone(&self.file_count);
            EpochWriter::new(Arc::clone(&self.shared), self.worker, file_count, &mut self.encoders)
        })
    }
}

/// Writes the files of one epoch.
struct EpochWriter {
    shared: Arc<WriterShared>,
    worker: usize,
    lanes: Vec<Lane>,
    /// The numbers of its data files.
    files: Vec<u32>,
    window: Vec<(RecordBatch, RowKinds)>,
    window_rows: usize,
    window_bytes: usize,
    deletes: Vec<Location>,
    written: WrittenFiles,
    rows_sent: u64,
    file_count: Arc<AtomicU32>,
}

impl EpochWriter {
    fn new(
        shared: Arc<WriterShared>,
        worker: usize,
        file_count: Arc<AtomicU32>,
        encoders: &mut Vec<Encoder>,
    ) -> Self {
        let lanes = (0..shared.options.encoder_count.max(1))
            .map(|_| Lane { encoder: encoders.pop(), ..Lane::default() })
            .collect();
        let deletes = std::mem::take(&mut *shared.superseded.lock());
        Self {
            shared,
            worker,
            lanes,
            files: Vec::new(),
            window: Vec::new(),
            window_rows: 0,
            window_bytes: 0,
            deletes,
            written: WrittenFiles::default(),
            rows_sent: 0,
            file_count,
        }
    }

    /// Adds changes to the window. True if it is full.
    fn push(&mut self, rows: RecordBatch, kinds: RowKinds) -> bool {
        self.window_rows += rows.num_rows();
        self.window_bytes += rows
            .columns()
            .iter()
            .map(|column| column.to_data().get_slice_memory_size().unwrap_or(0))
            .sum::<usize>();
        self.window.push((rows, kinds));
        self.window_rows >= self.shared.options.window_rows || self.window_bytes >= WINDOW_BYTES
    }

    fn close(&mut self) -> Result<WrittenFiles, Error> {
        for lane in 0..self.lanes.len() {
            self.finish_file(lane)?;
        }
        for lane in &mut self.lanes {
            let Some(encoder) = &lane.encoder else { continue };
            while lane.finishing > 0 {
                lane.finishing -= 1;
                self.written.data.push(encoder.result()?);
            }
        }
        self.flush_deletes()?;
        let written = std::mem::take(&mut self.written);
        let row_count: u64 = written.data.iter().map(|file| file.record_count()).sum();
        assert_eq!(row_count, self.rows_sent, "the files must hold the rows that were sent");
        if !written.is_empty() {
            let format = &self.shared.format;
            format.storage.sync_folder(&format.folder_location)?;
        }
        Ok(written)
    }

    /// Writes the window. `later` are the files of later epochs.
    fn flush_window(&mut self, later: &BTreeSet<u32>) -> Result<(), Error> {
        let window = std::mem::take(&mut self.window);
        let window_rows = std::mem::take(&mut self.window_rows);
        self.window_bytes = 0;
        if window_rows == 0 {
            return Ok(());
        }
        let lane = self.choose_lane();
        let (file, base) = self.open_file(lane, window_rows)?;
        let rows = match &self.shared.key {
            None => window.into_iter().map(|(rows, _)| rows).collect(),
            Some(key) => {
                let folded = fold(&window, key, &self.shared.index, file, base)?;
                if folded.deletes.iter().any(|delete| later.contains(&delete.file)) {
                    return Err(self.out_of_order());
                }
                self.deletes.extend_from_slice(&folded.deletes);
                keep_rows(window, &folded)?
            }
        };
        if self.deletes.len() >= DELETES_MAX {
            self.flush_deletes()?;
        }
        self.send(lane, rows)
    }

    /// The first encoder that is not busy, so that small epochs make one file; if all are, the first.
    fn choose_lane(&self) -> usize {
        self.lanes
            .iter()
            .position(|lane| !lane.encoder.as_ref().is_some_and(Encoder::is_busy))
            .unwrap_or(0)
    }

    /// The lane's file with room for `rows` more rows: its number, and how many rows it has.
    fn open_file(&mut self, lane: usize, rows: usize) -> Result<(u32, u32), Error> {
        let target = self.shared.format.target_size_bytes;
        let is_full = self.lanes[lane].open.as_ref().is_some_and(|open| {
            open.encoded.size_bytes() >= target || open.rows as usize + rows >= u32::MAX as usize
        });
        if is_full {
            self.finish_file(lane)?;
        }
        if let Some(open) = &self.lanes[lane].open {
            return Ok((open.number, open.rows));
        }
        let name: Arc<str> = self.next_name(lane).into();
        let location = format!("{}/{name}", self.shared.format.folder_location);
        let number = self.shared.files.add(location.into())?;
        self.files.push(number);
        self.lanes[lane].open = Some(OpenFile { number, encoded: EncodedFile::new(name), rows: 0 });
        Ok((number, 0))
    }

    fn send(&mut self, lane: usize, rows: Vec<RecordBatch>) -> Result<(), Error> {
        let count: usize = rows.iter().map(RecordBatch::num_rows).sum();
        if count == 0 {
            return Ok(());
        }
        let lane = &mut self.lanes[lane];
        let encoder = match &lane.encoder {
            Some(encoder) => encoder,
            None => lane.encoder.insert(Encoder::start(Arc::clone(&self.shared.format))?),
        };
        let open = lane.open.as_mut().ok_or_else(|| Error::bug("no open data file"))?;
        encoder.write(&open.encoded, rows)?;
        open.rows += u32::try_from(count).map_err(Error::bug)?;
        self.rows_sent += count as u64;
        Ok(())
    }

    fn finish_file(&mut self, lane: usize) -> Result<(), Error> {
        let lane = &mut self.lanes[lane];
        if let (Some(open), Some(encoder)) = (lane.open.take(), &lane.encoder)
            && open.rows > 0
        {
            encoder.finish()?;
            lane.finishing += 1;
        }
        Ok(())
    }

    fn flush_deletes(&mut self) -> Result<(), Error> {
        if self.deletes.is_empty() {
            return Ok(());
        }
        let mut by_number: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for delete in std::mem::take(&mut self.deletes) {
            by_number.entry(delete.file).or_default().push(delete.row);
        }
        let mut by_file = Vec::with_capacity(by_number.len());
        for (number, mut rows) in by_number {
            rows.sort_unstable();
            rows.dedup();
            by_file.push((self.shared.files.location(number)?, rows));
        }
        by_file.sort_unstable();
        let name = self.next_name(0);
        let file = position_delete::write(&self.shared.format, &name, &by_file)?;
        self.written.deletes.push(file);
        Ok(())
    }

    /// A file name as Flink gives it: worker, attempt (here the encoder), run, and a counter.
    fn next_name(&self, lane: usize) -> String {
        let count = self.file_count.fetch_add(1, Ordering::Relaxed) + 1;
        format!("{:05}-{lane}-{}-{count:05}.parquet", self.worker, self.shared.run)
    }

    fn out_of_order(&self) -> Error {
        Error::Storage {
            action: "write",
            path: self.shared.format.folder_location.as_str().into(),
            source: "changes of one key came from two sources in the wrong order of epochs; \
                     they are in order after a restart from the last commit"
                .into(),
        }
    }
}

/// The rows with the columns and types of the table.
fn conform(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Error> {
    let given = rows.schema();
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            let name = field.name();
            let (index, _) = given
                .column_with_name(name)
                .ok_or_else(|| Error::Invalid(format!("column '{name}' is not delivered")))?;
            let column = rows.column(index);
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(Error::Invalid(format!(
                    "column '{name}' is NOT NULL, but a row has NULL in it"
                )));
            }
            if column.data_type() == field.data_type() {
                return Ok(Arc::clone(column));
            }
            cast(column, field.data_type()).map_err(|error| {
                Error::Invalid(format!("column '{name}' cannot be stored: {error}"))
            })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(Error::bug)
}

/// What became of the rows of a window.
struct Folded {
    /// For each added row, in order, whether a later change of the window replaced or deleted it.
    is_gone: Vec<bool>,
    /// Rows outside the window that are gone.
    deletes: Vec<Location>,
}

/// Applies the changes of a window to the index; its added rows are put behind row `base` of `file`.
fn fold(
    window: &[(RecordBatch, RowKinds)],
    key: &KeyHasher,
    index: &KeyIndex,
    file: u32,
    base: u32,
) -> Result<Folded, Error> {
    let mut changes = Vec::new();
    let mut hashes = Vec::new();
    let mut next = base;
    for (rows, kinds) in window {
        hashes.clear();
        key.hash(rows, &mut hashes)?;
        push_changes(&hashes, kinds, &mut next, &mut changes);
    }
    let mut former = Vec::new();
    index.apply(file, &changes, &mut former)?;

    let mut is_gone = vec![false; (next - base) as usize];
    let mut deletes = Vec::new();
    for location in former.iter().flatten() {
        if location.file == file && location.row >= base {
            is_gone[(location.row - base) as usize] = true;
        } else {
            deletes.push(*location);
        }
    }
    let moved = moved_rows(&changes, &is_gone, base);
    if !moved.is_empty() {
        index.apply(file, &moved, &mut former)?;
    }
    Ok(Folded { is_gone, deletes })
}

/// The changes of the index that a batch makes. `next` is the number of the next added row.
fn push_changes(
    hashes: &[KeyHash],
    kinds: &RowKinds,
    next: &mut u32,
    changes: &mut Vec<(KeyHash, Change)>,
) {
    changes.reserve(hashes.len());
    for (row, (hash, kind)) in hashes.iter().zip(kinds.iter()).enumerate() {
        let change = match kind {
            RowKind::Insert | RowKind::UpdateAfter => {
                *next += 1;
                Change::Put(*next - 1)
            }
            // The addition that follows replaces the row anyway.
            RowKind::UpdateBefore
                if hashes.get(row + 1) == Some(hash)
                    && kinds.get(row + 1) == Some(RowKind::UpdateAfter) =>
            {
                continue;
            }
            RowKind::UpdateBefore | RowKind::Delete => Change::Remove,
        };
        changes.push((*hash, change));
    }
}

/// The added rows that stay, and move up because rows before them are gone.
fn moved_rows(
    changes: &[(KeyHash, Change)],
    is_gone: &[bool],
    base: u32,
) -> Vec<(KeyHash, Change)> {
    let mut moved = Vec::new();
    let mut gone_before = 0;
    for (hash, change) in changes {
        let Change::Put(row) = change else { continue };
        if is_gone[(row - base) as usize] {
            gone_before += 1;
        } else if gone_before > 0 {
            moved.push((*hash, Change::Put(row - gone_before)));
        }
    }
    moved
}

/// The added rows of a window that are not gone.
fn keep_rows(
    window: Vec<(RecordBatch, RowKinds)>,
    folded: &Folded,
) -> Result<Vec<RecordBatch>, Error> {
    let is_complete = !folded.is_gone.contains(&true);
    let mut is_gone = folded.is_gone.iter();
    let mut kept = Vec::with_capacity(window.len());
    for (rows, kinds) in window {
        if is_complete && kinds.is_insert_only() {
            is_gone.by_ref().take(rows.num_rows()).for_each(drop);
            kept.push(rows);
            continue;
        }
        let mask: BooleanArray = kinds
            .iter()
            .map(|kind| Some(kind.is_addition() && is_gone.next() == Some(&false)))
            .collect();
        kept.push(filter_record_batch(&rows, &mask).map_err(Error::bug)?);
    }
    Ok(kept)
}

#[cfg(test)]
mod tests;
