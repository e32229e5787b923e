//! Which rows of data files are deleted by position.
//!
//! Each delete file is read once for a scan, and kept in the cache, since it never changes. The rows
//! of one data file may be named by several delete files; the union counts.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use iceberg::spec::{DataFileFormat, SnapshotRef};
use parquet::arrow::arrow_reader::{
    ArrowReaderBuilder, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::arrow::{PARQUET_FIELD_ID_META_KEY, ProjectionMask};
use roaring::RoaringTreemap;

use super::plan::{
    CONCURRENT_FILES, DELETE_FILE_PATH_ID, DELETE_POSITION_ID, ListedFile, PlannedFile,
    in_snapshot, unsupported_deletes,
};
use super::{FileCache, deletion_vector};
use crate::{Cause, Error, Storage, Table};

/// The deleted positions of each data file that has any.
pub(crate) type DeletedPositions = HashMap<String, RoaringTreemap>;

/// Loads the deletion vectors and position deletes of planned files.
///
/// # Errors
/// [`Error::NotFound`] or [`Error::Corrupt`] name the delete file.
pub(crate) async fn load(
    table: &Table,
    snapshot: &SnapshotRef,
    files: &[PlannedFile],
) -> Result<DeletedPositions, Error> {
    let mut wanted: BTreeMap<(&str, Option<i64>), ListedFile> = BTreeMap::new();
    for file in files {
        for deletes in file.deletion_vector.iter().chain(&file.position_deletes) {
            wanted.insert((deletes.path(), deletes.file().content_offset()), deletes.clone());
        }
    }
    let loaded: HashMap<(String, Option<i64>), Arc<PositionsByFile>> =
        stream::iter(wanted.into_values().collect::<Vec<_>>())
            .map(|deletes| {
                let (table, snapshot) = (table.clone(), SnapshotRef::clone(snapshot));
                async move {
                    let key = (deletes.path().to_owned(), deletes.file().content_offset());
                    Ok::<_, Error>((key, load_one(table, snapshot, deletes).await?))
                }
            })
            .buffer_unordered(CONCURRENT_FILES)
            .try_collect()
            .await?;
    let mut positions = DeletedPositions::new();
    for file in files {
        let path = file.listed.path();
        for deletes in file.deletion_vector.iter().chain(&file.position_deletes) {
            let key = (deletes.path().to_owned(), deletes.file().content_offset());
            if let Some(of_file) = loaded.get(&key).and_then(|loaded| loaded.get(path)) {
                *positions.entry(path.to_owned()).or_default() |= of_file;
            }
        }
    }
    Ok(positions)
}

/// The rows of a file that are left, as a selection.
pub(crate) fn remaining_rows(deleted: &RoaringTreemap, row_count: u64) -> RowSelection {
    let count = |rows: u64| usize::try_from(rows).unwrap_or(usize::MAX);
    let mut selectors: Vec<RowSelector> = Vec::new();
    let mut next = 0;
    for position in deleted.iter().take_while(|position| *position < row_count) {
        if position > next {
            selectors.push(RowSelector::select(count(position - next)));
        }
        match selectors.last_mut() {
            Some(last) if last.skip => last.row_count += 1,
            _ => selectors.push(RowSelector::skip(1)),
        }
        next = position + 1;
    }
    if next < row_count {
        selectors.push(RowSelector::select(count(row_count - next)));
    }
    RowSelection::from(selectors)
}

type PositionsByFile = HashMap<String, RoaringTreemap>;

async fn load_one(
    table: Table,
    snapshot: SnapshotRef,
    deletes: ListedFile,
) -> Result<Arc<PositionsByFile>, Error> {
    const VECTOR: &str = "deletion vector";
    const POSITIONS: &str = "position deletes";
    let path = deletes.path().to_owned();
    let file = deletes.file();
    // One Puffin file holds many vectors, so the offset is what tells them apart.
    let (what, key) = match file.content_offset() {
        Some(offset) if file.file_format() == DataFileFormat::Puffin => {
            (VECTOR, u64::try_from(offset).unwrap_or_default())
        }
        _ => (POSITIONS, file.file_size_in_bytes()),
    };
    if let Some(cached) = FileCache::global().get(&path, key, what) {
        return Ok(cached);
    }
    let task = tokio::spawn({
        let (storage, deletes) = (table.storage().clone(), deletes.clone());
        async move { read_one(&storage, &deletes).await }
    });
    let positions = task
        .await
        .map_err(Error::bug)?
        .map_err(|error| in_snapshot(error, &table, &snapshot, &path))?;
    let size = positions
        .iter()
        .map(|(path, positions)| 200 + path.len() + positions.serialized_size())
        .sum();
    let positions = Arc::new(positions);
    FileCache::global().put(&path, key, what, (Arc::clone(&positions), size));
    Ok(positions)
}

async fn read_one(storage: &Storage, deletes: &ListedFile) -> Result<PositionsByFile, Error> {
    match deletes.file().file_format() {
        DataFileFormat::Puffin => read_vector(storage, deletes).await,
        DataFileFormat::Parquet => {
            let path = deletes.path();
            let bytes = storage.read(path).await?;
            read_positions(bytes).map_err(|cause| Error::corrupt(path, cause))
        }
        DataFileFormat::Avro | DataFileFormat::Orc => Err(unsupported_deletes(deletes)),
    }
}

async fn read_vector(storage: &Storage, deletes: &ListedFile) -> Result<PositionsByFile, Error> {
    let (path, file) = (deletes.path(), deletes.file());
    let place = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
    let (Some(offset), Some(length), Some(data_file)) = (
        place(file.content_offset()),
        place(file.content_size_in_bytes()),
        file.referenced_data_file(),
    ) else {
        return Err(Error::corrupt(path, "the manifest does not say where the deletion vector is"));
    };
    let end =
        offset.checked_add(length).filter(|end| *end <= file.file_size_in_bytes()).ok_or_else(
            || Error::corrupt(path, "the deletion vector would lie behind the file's end"),
        )?;
    let blob = storage.read_range(path, offset..end).await?;
    let positions =
        deletion_vector::decode(&blob).map_err(|reason| Error::corrupt(path, reason))?;
    Ok(HashMap::from([(data_file, positions)]))
}

fn read_positions(bytes: Bytes) -> Result<PositionsByFile, Cause> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let path_column = column_index(&builder, DELETE_FILE_PATH_ID, "file_path")?;
    let position_column = column_index(&builder, DELETE_POSITION_ID, "pos")?;
    let mask = ProjectionMask::roots(builder.parquet_schema(), [path_column, position_column]);
    let (path_column, position_column) =
        if path_column < position_column { (0, 1) } else { (1, 0) };
    let mut found = PositionsByFile::new();
    for batch in builder.with_projection(mask).build()? {
        let batch: RecordBatch = batch?;
        let paths: ArrayRef = cast(batch.column(path_column), &DataType::Utf8)?;
        let positions: ArrayRef = cast(batch.column(position_column), &DataType::Int64)?;
        if paths.null_count() + positions.null_count() > 0 {
            return Err("it has a NULL where a path or a position should be".into());
        }
        let paths = paths.as_string::<i32>();
        let positions = positions.as_primitive::<Int64Type>().values();
        // Rows are sorted by path, so there are few runs of equal paths.
        let mut start = 0;
        while start < paths.len() {
            let path = paths.value(start);
            let run = (start..paths.len()).take_while(|row| paths.value(*row) == path).count();
            let rows = positions.iter().skip(start).take(run).map(|position| {
                u64::try_from(*position).map_err(|_| Cause::from("it has a negative position"))
            });
            let of_file = found.entry(path.to_owned()).or_default();
            for row in rows {
                of_file.insert(row?);
            }
            start += run;
        }
    }
    Ok(found)
}

/// The root column that has this field id, or this name if the file has no ids.
pub(crate) fn column_index<T>(
    builder: &ArrowReaderBuilder<T>,
    id: i32,
    name: &str,
) -> Result<usize, Cause> {
    let fields = builder.schema().fields();
    let id_text = id.to_string();
    let by_id = fields
        .iter()
        .position(|field| field.metadata().get(PARQUET_FIELD_ID_META_KEY) == Some(&id_text));
    by_id
        .or_else(|| fields.iter().position(|field| field.name() == name))
        .ok_or_else(|| format!("it has no column '{name}' (field id {id})").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(deleted: &[u64], rows: u64) -> String {
        let selection = remaining_rows(&deleted.iter().copied().collect(), rows);
        selection
            .iter()
            .map(|part| format!("{}{}", if part.skip { '-' } else { '+' }, part.row_count))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn rows_that_are_left_cover_the_whole_file() {
        assert_eq!(selection(&[], 5), "+5");
        assert_eq!(selection(&[0, 1, 3], 5), "-2 +1 -1 +1");
        assert_eq!(selection(&[4], 5), "+4 -1");
        assert_eq!(selection(&[0, 1, 2], 3), "-3");
        // Positions behind the end of the file delete nothing.
        assert_eq!(selection(&[1, 7, u64::MAX], 3), "+1 -1 +1");
    }
}
