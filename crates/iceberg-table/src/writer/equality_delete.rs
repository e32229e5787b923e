//! Equality delete files: the keys whose older rows are gone.
//!
//! A key deletes only rows of older snapshots than its own, so rows of one epoch are deleted by position.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema as ArrowSchema, SchemaRef as ArrowSchemaRef};
use iceberg::spec::{DataContentType, DataFileBuilder, DataFileFormat};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::NewFile;
use super::data::{FileFormat, FileTarget, parquet_error};
use super::metrics::{self, MetricsModes};
use crate::{Error, schema};

/// The columns of the key.
pub(crate) struct KeyColumns {
    columns: Vec<usize>,
    ids: Vec<i32>,
    schema: ArrowSchemaRef,
}

impl KeyColumns {
    pub(crate) fn of(format: &FileFormat) -> Self {
        let columns = schema::key_indices(&format.schema);
        let fields = format.schema.as_struct().fields();
        let ids = columns.iter().map(|column| fields[*column].id).collect();
        let arrow = &format.arrow_schema;
        let kept: Vec<_> =
            columns.iter().map(|column| Arc::clone(&arrow.fields()[*column])).collect();
        Self { columns, ids, schema: Arc::new(ArrowSchema::new(kept)) }
    }

    /// The columns of the key of rows of the table.
    pub(crate) fn project(&self, rows: &RecordBatch) -> Result<RecordBatch, Error> {
        rows.project(&self.columns).map_err(Error::bug)
    }
}

/// Writes one delete file with these keys, which are of the target's partition.
pub(crate) fn write(
    format: &FileFormat,
    target: &FileTarget,
    key: &KeyColumns,
    keys: &[RecordBatch],
) -> Result<NewFile, Error> {
    let location = format!("{}/{}", format.folder_location, target.path);
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let options = ArrowWriterOptions::new()
        .with_properties(properties)
        .with_schema_root("table".to_owned())
        .with_skip_arrow_metadata(true);
    let file = format.storage.create(&location)?;
    let mut writer = ArrowWriter::try_new_with_options(file, Arc::clone(&key.schema), options)
        .map_err(|error| parquet_error(&location, error))?;
    let mut row_count = 0;
    for keys in keys {
        row_count += keys.num_rows() as u64;
        writer.write(keys).map_err(|error| parquet_error(&location, error))?;
    }
    let parquet = writer.finish().map_err(|error| parquet_error(&location, error))?;
    let size_bytes = writer.inner_mut().finish()?;
    let columns = metrics::of_file(&parquet, &format.schema, &MetricsModes::full())?;
    let mut builder = DataFileBuilder::default();
    columns.fill(&mut builder);
    let file = builder
        .content(DataContentType::EqualityDeletes)
        .file_path(location)
        .file_format(DataFileFormat::Parquet)
        .partition_spec_id(target.partition.spec_id)
        .partition(target.partition.values.clone())
        .record_count(row_count)
        .file_size_in_bytes(size_bytes)
        .equality_ids(Some(key.ids.clone()))
        .build()
        .map_err(Error::bug)?;
    Ok(NewFile { spec_id: target.partition.spec_id, file })
}
