//! Position delete files of format 2: which rows of which data files are gone.
//!
//! Rows are sorted by path, then position, as the specification asks. The bounds of the path are
//! exact and whole, so that a reader can tell which data files a delete file may touch.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef as ArrowSchemaRef};
use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, Datum, NestedField, PrimitiveType, Schema,
    Type,
};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use roaring::RoaringBitmap;

use super::NewFile;
use super::data::{FileFormat, FileTarget, parquet_error};
use super::metrics::{self, MetricsModes};
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

/// Writes one delete file. `deletes` holds, for each data file, its location and the rows that are
/// gone; it is sorted by location, all files are of the target's partition, and none has no rows.
pub(crate) fn write(
    format: &FileFormat,
    target: &FileTarget,
    deletes: &[(Arc<str>, RoaringBitmap)],
) -> Result<NewFile, Error> {
    let (Some((first, _)), Some((last, _))) = (deletes.first(), deletes.last()) else {
        return Err(Error::bug("a delete file without deletes"));
    };
    let path = format!("{}/{}", format.folder_location, target.path);
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
        row_count += rows.len();
        let mut rows = rows.iter().peekable();
        while rows.peek().is_some() {
            let batch = batch(location, rows.by_ref().take(CHUNK_ROWS).collect())?;
            writer.write(&batch).map_err(|error| parquet_error(&path, error))?;
        }
    }
    let parquet = writer.finish().map_err(|error| parquet_error(&path, error))?;
    let size = writer.inner_mut().finish()?;
    let mut columns = metrics::of_file(&parquet, &schema()?, &MetricsModes::full())?;
    columns.lower_bounds.insert(PATH_ID, Datum::string(first));
    columns.upper_bounds.insert(PATH_ID, Datum::string(last));
    let mut builder = DataFileBuilder::default();
    columns.fill(&mut builder);
    let file = builder
        .content(DataContentType::PositionDeletes)
        .file_path(path)
        .file_format(DataFileFormat::Parquet)
        .partition_spec_id(target.partition.spec_id)
        .partition(target.partition.values.clone())
        .record_count(row_count)
        .file_size_in_bytes(size)
        .referenced_data_file((deletes.len() == 1).then(|| first.to_string()))
        .build()
        .map_err(Error::bug)?;
    Ok(NewFile { spec_id: target.partition.spec_id, file })
}

fn batch(location: &str, rows: Vec<u32>) -> Result<RecordBatch, Error> {
    let paths: ArrayRef =
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(location, rows.len())));
    let positions: ArrayRef =
        Arc::new(Int64Array::from_iter_values(rows.into_iter().map(i64::from)));
    RecordBatch::try_new(arrow_schema(), vec![paths, positions]).map_err(Error::bug)
}
