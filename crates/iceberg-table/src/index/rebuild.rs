//! Building the key index of a table from its files.
//!
//! Files are numbered by their sequence number, so of two rows with one key (which only another
//! writer can have made) the newer one wins, in whatever order the files are read.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{Int64Type, Schema as ArrowSchema};
use iceberg::spec::{DataContentType, DataFile, DataFileFormat, ManifestContentType};
use parking_lot::Mutex;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::schema::types::SchemaDescriptor;

use super::{KeyHash, KeyIndex, Location};
use crate::writer::{FileRegistry, KeyHasher, position_delete};
use crate::{Error, FileReader, Storage, Table, schema};

/// Rows read at a time.
const BATCH_ROWS: usize = 64 * 1024;

/// The live files of a snapshot.
struct LiveFiles {
    /// Data files, oldest first.
    data: Vec<DataFile>,
    /// Position delete files.
    deletes: Vec<DataFile>,
}

/// Lists the files of the current snapshot.
///
/// # Errors
/// [`Error::Invalid`] if there are equality deletes, which position deletes cannot follow.
async fn live_files(table: &Table) -> Result<LiveFiles, Error> {
    let mut data = Vec::new();
    let mut deletes = Vec::new();
    let manifests = match table.current_snapshot() {
        Some(snapshot) => table.manifests(snapshot).await?,
        None => Vec::new(),
    };
    for manifest in manifests {
        let is_data = manifest.content == ManifestContentType::Data;
        let (entries, _) = table.load_manifest(&manifest).await?.into_parts();
        for entry in entries.iter().filter(|entry| entry.is_alive()) {
            let file = entry.data_file().clone();
            if is_data {
                data.push((entry.sequence_number().unwrap_or(0), file));
            } else if file.content_type() == DataContentType::PositionDeletes
                && file.file_format() == DataFileFormat::Parquet
            {
                deletes.push(file);
            } else {
                return Err(Error::Invalid(format!(
                    "table {} has equality deletes or deletion vectors of another writer, which \
                     this writer does not support; compact the table with the engine that wrote them",
                    table.name()
                )));
            }
        }
    }
    data.sort_by(|(left, left_file), (right, right_file)| {
        left.cmp(right).then_with(|| left_file.file_path().cmp(right_file.file_path()))
    });
    Ok(LiveFiles { data: data.into_iter().map(|(_, file)| file).collect(), deletes })
}

/// Reads the keys of all live rows of `table` into `index`, and numbers its files. Returns rows that
/// have a newer row of the same key.
pub(crate) async fn rebuild(
    table: &Table,
    key: &KeyHasher,
    index: &KeyIndex,
    files: &FileRegistry,
) -> Result<Vec<Location>, Error> {
    let live = live_files(table).await?;
    if live.data.is_empty() {
        return Ok(Vec::new());
    }
    let started = Instant::now();
    let deleted = in_parallel(&live.deletes, |_, file| read_deletes(table.storage(), file))?;
    let mut deleted_rows: HashMap<Arc<str>, Vec<u32>> = HashMap::new();
    for (location, mut rows) in deleted.into_iter().flatten() {
        deleted_rows.entry(location).or_default().append(&mut rows);
    }
    deleted_rows.values_mut().for_each(|rows| rows.sort_unstable());
    for file in &live.data {
        files.add(file.file_path().into())?;
    }
    let reader = KeyReader::new(table, key);
    let superseded = in_parallel(&live.data, |number, file| {
        let deleted = deleted_rows.get(file.file_path()).map_or(&[][..], Vec::as_slice);
        let mut superseded = Vec::new();
        reader
            .read(file, deleted, &mut |rows| index.add_existing(number, rows, &mut superseded))?;
        Ok(superseded)
    })?;
    let superseded: Vec<Location> = superseded.into_iter().flatten().collect();
    let keys = index.len();
    let millis = started.elapsed().as_millis();
    let size_bytes = index.size_bytes();
    tracing::info!(table = %table.name(), keys, millis, size_bytes, "key index built");
    if !superseded.is_empty() {
        let count = superseded.len();
        tracing::warn!(table = %table.name(), count, "rows of other writers had existing keys");
    }
    Ok(superseded)
}

/// Applies `work` to all items on as many threads as there are cores.
fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(u32, &T) -> Result<R, Error> + Sync,
) -> Result<Vec<R>, Error> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let failure = Mutex::new(None);
    let run = || {
        while failure.lock().is_none() {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let (Some(item), Ok(number)) = (items.get(at), u32::try_from(at)) else { return };
            match work(number, item) {
                Ok(result) => results.lock().push(result),
                Err(error) => *failure.lock() = Some(error),
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(items.len().max(1));
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(run);
        }
        run();
    });
    match failure.into_inner() {
        Some(error) => Err(error),
        None => Ok(results.into_inner()),
    }
}

/// The location of a data file, and rows of it.
type RowsOfFile = (Arc<str>, Vec<u32>);

/// Takes keys with their row.
type AddKeys<'a> = dyn FnMut(&[(KeyHash, u32)]) -> Result<(), Error> + 'a;

/// The rows that a position delete file deletes, by data file.
fn read_deletes(storage: &Storage, file: &DataFile) -> Result<Vec<RowsOfFile>, Error> {
    let corrupt = |reason: &str| Error::corrupt(file.file_path(), reason.to_owned());
    let builder = open(storage, file)?;
    let ids = [position_delete::PATH_ID, position_delete::POSITION_ID];
    let mask =
        ProjectionMask::leaves(builder.parquet_schema(), leaves(builder.parquet_schema(), &ids));
    let mut by_file: Vec<RowsOfFile> = Vec::new();
    for batch in build(builder, mask, file)? {
        let batch = batch.map_err(|error| Error::corrupt(file.file_path(), error))?;
        let (Some(paths), Some(positions)) =
            (batch.column_by_name("file_path"), batch.column_by_name("pos"))
        else {
            return Err(corrupt("it has no columns file_path and pos"));
        };
        let paths = paths.as_string_opt::<i32>().ok_or_else(|| corrupt("file_path is no text"))?;
        let positions =
            positions.as_primitive_opt::<Int64Type>().ok_or_else(|| corrupt("pos is no long"))?;
        for (path, position) in paths.iter().zip(positions) {
            let (Some(path), Some(position)) = (path, position) else {
                return Err(corrupt("it has a row without a path or position"));
            };
            let row = u32::try_from(position).map_err(|_| corrupt("a position is out of range"))?;
            match by_file.last_mut().filter(|(last, _)| **last == *path) {
                Some((_, rows)) => rows.push(row),
                None => by_file.push((path.into(), vec![row])),
            }
        }
    }
    Ok(by_file)
}

/// Reads the keys of data files.
struct KeyReader {
    storage: Storage,
    /// The key's columns in the table's Arrow schema.
    schema: Arc<ArrowSchema>,
    ids: Vec<i32>,
    hasher: KeyHasher,
}

impl KeyReader {
    fn new(table: &Table, key: &KeyHasher) -> Self {
        let columns = schema::key_indices(table.schema());
        let fields = table.schema().as_struct().fields();
        let ids = columns.iter().map(|column| fields[*column].id).collect();
        let arrow = table.arrow_schema();
        let kept: Vec<_> =
            columns.iter().map(|column| Arc::clone(&arrow.fields()[*column])).collect();
        let hasher = key.with_columns((0..columns.len()).collect());
        let storage = table.storage().clone();
        Self { storage, schema: Arc::new(ArrowSchema::new(kept)), ids, hasher }
    }

    /// Hands over the keys of the rows that are not in `deleted`, which is sorted.
    fn read(&self, file: &DataFile, deleted: &[u32], add: &mut AddKeys<'_>) -> Result<(), Error> {
        let builder = open(&self.storage, file)?;
        let leaves = leaves(builder.parquet_schema(), &self.ids);
        if leaves.len() != self.ids.len() {
            return Err(Error::corrupt(
                file.file_path(),
                "it lacks a column of the key; compact the table with the engine that wrote it",
            ));
        }
        let mask = ProjectionMask::leaves(builder.parquet_schema(), leaves);
        let mut first = 0;
        let mut deleted = deleted.iter().copied().peekable();
        let mut hashes = Vec::new();
        let mut rows = Vec::new();
        for batch in build(builder, mask, file)? {
            let batch = batch.map_err(|error| Error::corrupt(file.file_path(), error))?;
            hashes.clear();
            rows.clear();
            self.hasher.hash(&self.conform(&batch, file)?, &mut hashes)?;
            for (row, hash) in (first..).zip(&hashes) {
                while deleted.next_if(|gone| *gone < row).is_some() {}
                if deleted.peek() != Some(&row) {
                    rows.push((*hash, row));
                }
            }
            first += u32::try_from(batch.num_rows()).map_err(Error::bug)?;
            add(&rows)?;
        }
        Ok(())
    }

    /// The columns in the table's order and types; a file may have been written before a type was widened.
    fn conform(&self, batch: &RecordBatch, file: &DataFile) -> Result<RecordBatch, Error> {
        let schema = batch.schema();
        let columns = self
            .ids
            .iter()
            .zip(self.schema.fields())
            .map(|(id, field)| {
                let index = schema
                    .fields()
                    .iter()
                    .position(|field| field_id(field.metadata()) == Some(*id))
                    .ok_or_else(|| Error::corrupt(file.file_path(), "it has no field ids"))?;
                cast(batch.column(index), field.data_type())
                    .map_err(|error| Error::corrupt(file.file_path(), error))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|error| Error::corrupt(file.file_path(), error))
    }
}

fn field_id(metadata: &HashMap<String, String>) -> Option<i32> {
    metadata.get(parquet::arrow::PARQUET_FIELD_ID_META_KEY)?.parse().ok()
}

/// The leaf columns with these field ids, in the order of the file.
fn leaves(schema: &SchemaDescriptor, ids: &[i32]) -> Vec<usize> {
    schema
        .columns()
        .iter()
        .enumerate()
        .filter(|(_, column)| {
            let info = column.self_type().get_basic_info();
            info.has_id() && ids.contains(&info.id())
        })
        .map(|(index, _)| index)
        .collect()
}

fn open(
    storage: &Storage,
    file: &DataFile,
) -> Result<ParquetRecordBatchReaderBuilder<FileReader>, Error> {
    ParquetRecordBatchReaderBuilder::try_new(storage.open(file.file_path())?)
        .map_err(|error| Error::corrupt(file.file_path(), error))
}

fn build(
    builder: ParquetRecordBatchReaderBuilder<FileReader>,
    mask: ProjectionMask,
    file: &DataFile,
) -> Result<ParquetRecordBatchReader, Error> {
    builder
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(|error| Error::corrupt(file.file_path(), error))
}
