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
use iceberg::spec::{DataContentType, DataFile, DataFileFormat};
use parking_lot::Mutex;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::schema::types::SchemaDescriptor;

use super::{KeyHash, KeyIndex, Location};
use crate::scan::deletion_vector;
use crate::writer::partition::Partition;
use crate::writer::{FileRegistry, KeyHasher, NewFile, RegisteredFile, position_delete};
use crate::{Error, FileReader, Storage, Table, schema};

/// Rows read at a time.
const BATCH_ROWS: usize = 64 * 1024;

/// A live file of a snapshot.
struct LiveFile {
    file: DataFile,
    spec_id: i32,
    sequence_number: i64,
}

/// The live files of a snapshot.
#[derive(Default)]
struct LiveFiles {
    /// Data files, oldest first.
    data: Vec<LiveFile>,
    /// Position delete files and deletion vectors.
    position_deletes: Vec<LiveFile>,
    equality_deletes: Vec<LiveFile>,
}

/// Lists the files of the current snapshot.
async fn live_files(table: &Table) -> Result<LiveFiles, Error> {
    let mut live = LiveFiles::default();
    let manifests = match table.current_snapshot() {
        Some(snapshot) => table.manifests(snapshot).await?,
        None => Vec::new(),
    };
    for manifest in manifests {
        let (entries, _) = table.load_manifest(&manifest).await?.into_parts();
        for entry in entries.iter().filter(|entry| entry.is_alive()) {
            let files = match entry.content_type() {
                DataContentType::Data => &mut live.data,
                DataContentType::PositionDeletes => &mut live.position_deletes,
                DataContentType::EqualityDeletes => &mut live.equality_deletes,
            };
            files.push(LiveFile {
                file: entry.data_file().clone(),
                spec_id: manifest.partition_spec_id,
                sequence_number: entry.sequence_number().unwrap_or(0),
            });
        }
    }
    live.data.sort_by(|left, right| {
        left.sequence_number
            .cmp(&right.sequence_number)
            .then_with(|| left.file.file_path().cmp(right.file.file_path()))
    });
    Ok(live)
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
    let deleted =
        in_parallel(&live.position_deletes, |_, live| read_deletes(table.storage(), &live.file))?;
    let mut deleted_rows: HashMap<Arc<str>, Vec<u32>> = HashMap::new();
    for (location, mut rows) in deleted.into_iter().flatten() {
        deleted_rows.entry(location).or_default().append(&mut rows);
    }
    deleted_rows.values_mut().for_each(|rows| rows.sort_unstable());
    let reader = KeyReader::new(table, key);
    let deleted_keys = DeletedKeys::read(table, &reader, &live.equality_deletes)?;
    let mut known: HashMap<Partition, Arc<Partition>> = HashMap::new();
    for LiveFile { file, spec_id, .. } in &live.data {
        let partition = Partition { spec_id: *spec_id, values: file.partition().clone() };
        let partition = known.entry(partition.clone()).or_insert_with(|| Arc::new(partition));
        let partition = Arc::clone(partition);
        files.add(RegisteredFile { location: file.file_path().into(), partition })?;
    }
    let superseded = in_parallel(&live.data, |number, live| {
        let deleted = deleted_rows.get(live.file.file_path()).map_or(&[][..], Vec::as_slice);
        let deleted_keys = deleted_keys.of(live);
        let mut superseded = Vec::new();
        reader.read(&live.file, deleted, &mut |rows| {
            if deleted_keys.is_empty() {
                return index.add_existing(number, rows, &mut superseded);
            }
            let is_live = |(key, _): &&(KeyHash, u32)| !deleted_keys.delete(*key, live);
            let rows: Vec<(KeyHash, u32)> = rows.iter().filter(is_live).copied().collect();
            index.add_existing(number, &rows, &mut superseded)
        })?;
        Ok(superseded)
    })?;
    let superseded: Vec<Location> = superseded.into_iter().flatten().collect();
    let keys = index.len();
    let elapsed = started.elapsed();
    let millis = elapsed.as_millis();
    let rows: u64 = live.data.iter().map(|live| live.file.record_count()).sum();
    let rows_per_second = u128::from(rows) * 1_000 / millis.max(1);
    let size_bytes = index.size_bytes();
    tracing::info!(
        table = %table.name(), keys, rows, millis, rows_per_second, size_bytes, "key index built"
    );
    if !superseded.is_empty() {
        let count = superseded.len();
        tracing::warn!(table = %table.name(), count, "rows of other writers had existing keys");
    }
    Ok(superseded)
}

/// Takes the keys of data files that another writer committed into `index`, and numbers the files. Returns
/// rows whose key was there already.
pub(crate) fn absorb(
    table: &Table,
    key: &KeyHasher,
    index: &KeyIndex,
    (files, foreign): (&FileRegistry, &[NewFile]),
) -> Result<Vec<Location>, Error> {
    let reader = KeyReader::new(table, key);
    let mut superseded = Vec::new();
    for NewFile { spec_id, file } in foreign {
        let partition = Partition { spec_id: *spec_id, values: file.partition().clone() };
        let partition = Arc::new(partition);
        let number = files.add(RegisteredFile { location: file.file_path().into(), partition })?;
        reader.read(file, &[], &mut |rows| index.add_foreign(number, rows, &mut superseded))?;
    }
    Ok(superseded)
}

/// Keys that equality deletes delete, with the greatest sequence number of a delete.
#[derive(Default)]
struct DeletedKeys {
    /// By partition; those of specs without fields are of the whole table.
    of_partition: HashMap<Partition, HashMap<KeyHash, i64>>,
    of_table: HashMap<KeyHash, i64>,
}

impl DeletedKeys {
    fn read(table: &Table, reader: &KeyReader, deletes: &[LiveFile]) -> Result<Self, Error> {
        let mut deleted = Self::default();
        let read = in_parallel(deletes, |number, live| {
            let mut ids = live.file.equality_ids().unwrap_or_default();
            ids.sort_unstable();
            let mut of_key = reader.ids.clone();
            of_key.sort_unstable();
            if ids != of_key {
                return Err(Error::Invalid(format!(
                    "table {} has equality deletes by other columns than its primary key ({}); \
                     compact it with the engine that wrote them",
                    table.name(),
                    live.file.file_path()
                )));
            }
            let mut keys = Vec::new();
            reader.read(&live.file, &[], &mut |rows| {
                keys.extend(rows.iter().map(|(key, _)| *key));
                Ok(())
            })?;
            Ok((number, keys))
        })?;
        for (number, keys) in read {
            let live = &deletes[number as usize];
            let spec = table.metadata().partition_spec_by_id(live.spec_id);
            let of = if spec.is_none_or(|spec| spec.is_unpartitioned()) {
                &mut deleted.of_table
            } else {
                deleted.of_partition.entry(live.partition()).or_default()
            };
            for key in keys {
                let newest = of.entry(key).or_insert(live.sequence_number);
                *newest = live.sequence_number.max(*newest);
            }
        }
        Ok(deleted)
    }

    fn of(&self, data: &LiveFile) -> DeletedKeysOfFile<'_> {
        DeletedKeysOfFile {
            of_table: &self.of_table,
            of_partition: self.of_partition.get(&data.partition()),
        }
    }
}

struct DeletedKeysOfFile<'a> {
    of_table: &'a HashMap<KeyHash, i64>,
    of_partition: Option<&'a HashMap<KeyHash, i64>>,
}

impl DeletedKeysOfFile<'_> {
    fn is_empty(&self) -> bool {
        self.of_table.is_empty() && self.of_partition.is_none_or(HashMap::is_empty)
    }

    /// Whether a row with this key is deleted in a data file.
    fn delete(&self, key: KeyHash, data: &LiveFile) -> bool {
        let is_newer = |number: Option<&i64>| number.is_some_and(|n| *n > data.sequence_number);
        is_newer(self.of_table.get(&key))
            || is_newer(self.of_partition.and_then(|keys| keys.get(&key)))
    }
}

impl LiveFile {
    fn partition(&self) -> Partition {
        Partition { spec_id: self.spec_id, values: self.file.partition().clone() }
    }
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
pub(crate) type RowsOfFile = (Arc<str>, Vec<u32>);

/// Takes keys with their row.
type AddKeys<'a> = dyn FnMut(&[(KeyHash, u32)]) -> Result<(), Error> + 'a;

/// The rows that a position delete file deletes, by data file.
pub(crate) fn read_deletes(storage: &Storage, file: &DataFile) -> Result<Vec<RowsOfFile>, Error> {
    let corrupt = |reason: &str| Error::corrupt(file.file_path(), reason.to_owned());
    match file.file_format() {
        DataFileFormat::Parquet => {}
        DataFileFormat::Puffin => {
            let location = file
                .referenced_data_file()
                .ok_or_else(|| corrupt("a deletion vector names no data file"))?;
            let rows = deletion_vector::read(storage, file)?;
            let rows = rows.iter().map(u32::try_from).collect::<Result<_, _>>();
            return Ok(vec![(
                location.into(),
                rows.map_err(|_| corrupt("a position is too large"))?,
            )]);
        }
        DataFileFormat::Avro | DataFileFormat::Orc => {
            return Err(Error::Invalid(format!(
                "delete file {} is in format {}; only Parquet and Puffin are supported",
                file.file_path(),
                file.file_format()
            )));
        }
    }
    let (builder, reader) = open(storage, file)?;
    let ids = [position_delete::PATH_ID, position_delete::POSITION_ID];
    let mask =
        ProjectionMask::leaves(builder.parquet_schema(), leaves(builder.parquet_schema(), &ids));
    let mut by_file: Vec<RowsOfFile> = Vec::new();
    for batch in build(builder, mask, file)? {
        let batch = batch.map_err(|error| reader.explain(error))?;
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
        let (builder, reader) = open(&self.storage, file)?;
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
            let batch = batch.map_err(|error| reader.explain(error))?;
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

/// The reader tells what a failure of the builder was, see [`FileReader::explain`].
fn open(
    storage: &Storage,
    file: &DataFile,
) -> Result<(ParquetRecordBatchReaderBuilder<FileReader>, FileReader), Error> {
    let reader = storage.open(file.file_path())?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(reader.clone());
    Ok((builder.map_err(|error| reader.explain(error))?, reader))
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
