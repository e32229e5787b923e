//! Position delete files of format 2: which rows of which data files are gone.
//!
//! Rows are sorted by path, then position, as the specification asks. The bounds of the path are
//! exact and whole, so that a reader can tell which data files a delete file may touch.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef as ArrowSchemaRef};
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, NestedField, PrimitiveType,
    Schema, Type,
};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::data::{FileFormat, parquet_error};
use super::metrics;
use crate::Error;

/// The reserved id of the column of paths.
pub(crate) const PATH_ID: i32 = 2_147_483_546;
/// The reserved id of the column of positions.
pub(crate) const POSITION_ID: i32 = 2_147_483_545;
/// How many rows are encoded at a time.
const CHUNK_ROWS: usize = 64 * 1024;

/// The schema of position delete files.
pub(crate) fn schema() -> Result<Schema, Error> {
    let text = Type::Primitive(PrimitiveType::String);
    let long = Type::Primitive(PrimitiveType::Long);
    Schema::builder()
        .with_fields([
            NestedField::required(PATH_ID, "file_path", text).into(),
            NestedField::required(POSITION_ID, "pos", long).into(),
        ])
        .build()
        .map_err(Error::bug)
}

fn arrow_schema() -> ArrowSchemaRef {
    let id = |id: i32| HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
    Arc::new(ArrowSchema::new(vec![
        Field::new("file_path", DataType::Utf8, false).with_metadata(id(PATH_ID)),
        Field::new("pos", DataType::Int64, false).with_metadata(id(POSITION_ID)),
    ]))
}

/// Writes one delete file named `name`. `deletes` holds, for each data file, its location and the
/// rows that are gone; both are sorted, and no list of rows is empty.
pub(crate) fn write(
    format: &FileFormat,
    name: &str,
    deletes: &[(Arc<str>, Vec<u32>)],
) -> Result<DataFile, Error> {
    let (Some((first, _)), Some((last, _))) = (deletes.first(), deletes.last()) else {
        return Err(Error::bug("a delete file without deletes"));
    };
    let path = format!("{}/{name}", format.folder_location);
    let file = format.storage.create(&path)?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_truncate_length(None)
        .set_column_index_truncate_length(None)
        .build();
    let options = ArrowWriterOptions::new()
        .with_properties(properties)
        .with_schema_root("table".to_owned())
        .with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(file, arrow_schema(), options)
        .map_err(|error| parquet_error(&path, error))?;
    let mut row_count = 0;
    for (location, rows) in deletes {
        for rows in rows.chunks(CHUNK_ROWS) {
            row_count += rows.len() as u64;
            let batch = batch(location, rows)?;
            writer.write(&batch).map_err(|error| parquet_error(&path, error))?;
        }
    }
    let parquet = writer.finish().map_err(|error| parquet_error(&path, error))?;
    let size = writer.inner_mut().finish()?;
    let mut columns = metrics::of_file(&parquet, &schema()?)?;
    columns.lower_bounds.insert(PATH_ID, Datum::string(first));
    columns.upper_bounds.insert(PATH_ID, Datum::string(last));
    DataFileBuilder::default()
        .content(DataContentType::PositionDeletes)
        .file_path(path)
        .file_format(DataFileFormat::Parquet)
        .partition_spec_id(format.partition_spec_id)
        .record_count(row_count)
        .file_size_in_bytes(size)
        .column_sizes(columns.column_sizes)
        .value_counts(columns.value_counts)
        .null_value_counts(columns.null_value_counts)
        .lower_bounds(columns.lower_bounds)
        .upper_bounds(columns.upper_bounds)
        .split_offsets(Some(columns.split_offsets))
        .referenced_data_file((deletes.len() == 1).then(|| first.to_string()))
        .build()
        .map_err(Error::bug)
}

fn batch(location: &str, rows: &[u32]) -> Result<RecordBatch, Error> {
    let paths: ArrayRef =
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(location, rows.len())));
    let positions: ArrayRef =
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| i64::from(*row))));
    RecordBatch::try_new(arrow_schema(), vec![paths, positions]).map_err(Error::bug)
}
