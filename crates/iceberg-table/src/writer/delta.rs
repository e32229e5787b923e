//! From a changelog to data files and position deletes.
//!
//! Changes are collected in a window. At its end the key index is told, in order, where each added row
//! will be; what the index says in return is the former place of the key's row. A former place in the
//! window itself means that the row is never written (so only the last state of a key is); a former
//! place in any other file, committed or not, becomes a position delete.
//!
//! Rows of a window are numbered as if all of them were written. If some fall away, those behind them
//! move up, and the index is told a second time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use parking_lot::Mutex;
use shardlake_change::{ChangeBatch, RowKind, RowKinds};
use uuid::Uuid;

use super::data::FileFormat;
use super::encoder::{EncodedFile, Encoder};
use super::{KeyHasher, WrittenFiles, position_delete};
use crate::index::{Change, KeyHash, Location};
use crate::{Error, KeyIndex, Table, index, schema, storage};

/// How many rows a window holds at most, unless a single batch is larger.
const WINDOW_ROWS: usize = 64 * 1024;
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
}

impl Default for DeltaWriterOptions {
    fn default() -> Self {
        Self { index_memory_bytes: 1 << 30, encoder_count: 2 }
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
pub struct DeltaWriter {
    shared: Arc<WriterShared>,
    worker: usize,
    lanes: Vec<Lane>,
    window: Vec<(RecordBatch, RowKinds)>,
    window_rows: usize,
    window_bytes: usize,
    deletes: Vec<Location>,
    written: WrittenFiles,
    rows_sent: u64,
    file_count: u32,
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
        let mut lanes = Vec::new();
        lanes.resize_with(shared.options.encoder_count.max(1), Lane::default);
        let deletes =
            if worker == 0 { std::mem::take(&mut *shared.superseded.lock()) } else { Vec::new() };
        Self {
            shared,
            worker,
            lanes,
            window: Vec::new(),
            window_rows: 0,
            window_bytes: 0,
            deletes,
            written: WrittenFiles::default(),
            rows_sent: 0,
            file_count: 0,
        }
    }

    /// Takes changes. Columns are found by name; integers are widened to the table's types.
    ///
    /// # Errors
    /// [`Error::Invalid`] names a column that is missing or NULL where it must not be; otherwise
    /// what keeps files from being written. After an error the writer is of no use.
    pub fn write(&mut self, batch: ChangeBatch) -> Result<(), Error> {
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
        let rows = self.conform(&rows)?;
        self.window_rows += rows.num_rows();
        self.window_bytes += rows
            .columns()
            .iter()
            .map(|column| column.to_data().get_slice_memory_size().unwrap_or(0))
            .sum::<usize>();
        self.window.push((rows, kinds));
        if self.window_rows >= WINDOW_ROWS || self.window_bytes >= WINDOW_BYTES {
            self.flush_window()?;
        }
        Ok(())
    }

    /// Makes everything written since the last close durable, and names the files.
    ///
    /// # Errors
    /// As for [`Self::write`].
    pub fn close_epoch(&mut self) -> Result<WrittenFiles, Error> {
        self.flush_window()?;
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
        assert_eq!(row_count, std::mem::take(&mut self.rows_sent), "files must hold the rows sent");
        if !written.is_empty() {
            storage::sync_dir(&self.shared.format.folder)?;
        }
        Ok(written)
    }

    /// The rows with the columns and types of the table.
    fn conform(&self, rows: &RecordBatch) -> Result<RecordBatch, Error> {
        let schema = &self.shared.format.arrow_schema;
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

    fn flush_window(&mut self) -> Result<(), Error> {
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
            None => {
                storage::create_dirs(&self.shared.format.folder)?;
                lane.encoder.insert(Encoder::start(Arc::clone(&self.shared.format))?)
            }
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
        storage::create_dirs(&self.shared.format.folder)?;
        let name = self.next_name(0);
        let file = position_delete::write(&self.shared.format, &name, &by_file)?;
        self.written.deletes.push(file);
        Ok(())
    }

    /// A file name as Flink gives it: worker, attempt (here the encoder), run, and a counter.
    fn next_name(&mut self, lane: usize) -> String {
        self.file_count += 1;
        format!("{:05}-{lane}-{}-{:05}.parquet", self.worker, self.shared.run, self.file_count)
    }
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
