//! One Parquet data file: encoding, and what its manifest entry says.
//!
//! A file is durable only after [`DataFileWriter::finish`], together with its entry in the folder,
//! which whoever closes the epoch syncs. A file that is not finished is removed when its writer is dropped.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef as ArrowSchemaRef};
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::metrics;
use crate::{Error, FileWriter, Storage, Table, properties};

/// How the data files of a table are written.
#[derive(Clone, Debug)]
pub(crate) struct FileFormat {
    pub(crate) schema: SchemaRef,
    pub(crate) arrow_schema: ArrowSchemaRef,
    /// Where data files are written.
    pub(crate) storage: Storage,
    /// The folder of data files as it is written in metadata.
    pub(crate) folder_location: String,
    /// At which size a file is closed.
    pub(crate) target_size_bytes: u64,
    pub(crate) partition_spec_id: i32,
    properties: WriterProperties,
}

impl FileFormat {
    /// The format that the properties of `table` ask for.
    pub(crate) fn of_table(table: &Table) -> Result<Self, Error> {
        let all = table.metadata().properties();
        let folder_location = match all.get("write.data.path") {
            Some(path) => path.trim_end_matches('/').to_owned(),
            None => format!("{}/data", table.location()),
        };
        let group_size = properties::ROW_GROUP_SIZE.read(all)?;
        let group_size = usize::try_from(group_size).unwrap_or(usize::MAX).max(1);
        let properties = WriterProperties::builder()
            .set_compression(compression(all)?)
            // Measured: with zstd, dictionaries cost more time than they save space.
            .set_dictionary_enabled(properties::DICTIONARY.read(all)?)
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_max_row_group_bytes(Some(group_size))
            .set_created_by(concat!("shardlake ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        Ok(Self {
            schema: Arc::clone(table.schema()),
            arrow_schema: Arc::clone(table.arrow_schema()),
            storage: table.storage().clone(),
            folder_location,
            target_size_bytes: properties::TARGET_FILE_SIZE.read(all)?,
            partition_spec_id: table.metadata().default_partition_spec_id(),
            properties,
        })
    }
}

fn compression(all: &HashMap<String, String>) -> Result<Compression, Error> {
    let codec = all.get("write.parquet.compression-codec").map_or("zstd", String::as_str);
    match codec.to_ascii_lowercase().as_str() {
        "zstd" => {
            let level = properties::COMPRESSION_LEVEL.read(all)?;
            ZstdLevel::try_new(level).map(Compression::ZSTD).map_err(|_| {
                Error::Invalid(format!(
                    "table property '{}' is {level}, which is no level of zstd",
                    properties::COMPRESSION_LEVEL.key
                ))
            })
        }
        "snappy" => Ok(Compression::SNAPPY),
        "none" | "uncompressed" => Ok(Compression::UNCOMPRESSED),
        _ => Err(Error::Invalid(format!(
            "table property 'write.parquet.compression-codec' is '{codec}'; \
             supported are zstd, snappy and uncompressed"
        ))),
    }
}

/// Writes one data file.
pub(crate) struct DataFileWriter {
    format: Arc<FileFormat>,
    location: String,
    /// None once the file is finished.
    writer: Option<ArrowWriter<FileWriter>>,
    /// Top-level columns that may hold NaN, with their field id and how many they held.
    nan_counts: Vec<(usize, i32, u64)>,
    row_count: u64,
}

impl DataFileWriter {
    /// Makes the file `name` in the table's data folder.
    pub(crate) fn create(format: Arc<FileFormat>, name: &str) -> Result<Self, Error> {
        let location = format!("{}/{name}", format.folder_location);
        let file = format.storage.create(&location)?;
        let options = ArrowWriterOptions::new()
            .with_properties(format.properties.clone())
            .with_schema_root("table".to_owned())
            .with_skip_arrow_metadata(true);
        let schema = Arc::clone(&format.arrow_schema);
        let writer = ArrowWriter::try_new_with_options(file, schema, options)
            .map_err(|error| parquet_error(&location, error))?;
        let nan_counts = float_columns(&format.arrow_schema);
        Ok(Self { format, location, writer: Some(writer), nan_counts, row_count: 0 })
    }

    /// Appends rows.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<(), Error> {
        let Some(writer) = &mut self.writer else {
            return Err(Error::bug("rows for a data file that is finished"));
        };
        writer.write(rows).map_err(|error| parquet_error(&self.location, error))?;
        for (column, _, count) in &mut self.nan_counts {
            *count += nan_count(rows.column(*column));
        }
        self.row_count += rows.num_rows() as u64;
        Ok(())
    }

    /// About how large the file would be if it were finished now.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.writer
            .as_ref()
            .map_or(0, |writer| (writer.bytes_written() + writer.in_progress_size()) as u64)
    }

    /// Ends the file and waits until its content is on disk.
    pub(crate) fn finish(mut self) -> Result<DataFile, Error> {
        let Some(mut writer) = self.writer.take() else {
            return Err(Error::bug("a data file is finished twice"));
        };
        self.finish_writer(&mut writer)
    }

    fn finish_writer(&self, writer: &mut ArrowWriter<FileWriter>) -> Result<DataFile, Error> {
        let parquet = writer.finish().map_err(|error| parquet_error(&self.location, error))?;
        let size_bytes = writer.inner_mut().finish()?;
        let columns = metrics::of_file(&parquet, &self.format.schema)?;
        let nan_counts = self.nan_counts.iter().map(|(_, id, count)| (*id, *count)).collect();
        DataFileBuilder::default()
            .content(DataContentType::Data)
            .file_path(self.location.clone())
            .file_format(DataFileFormat::Parquet)
            .partition_spec_id(self.format.partition_spec_id)
            .record_count(self.row_count)
            .file_size_in_bytes(size_bytes)
            .column_sizes(columns.column_sizes)
            .value_counts(columns.value_counts)
            .null_value_counts(columns.null_value_counts)
            .nan_value_counts(nan_counts)
            .lower_bounds(columns.lower_bounds)
            .upper_bounds(columns.upper_bounds)
            .split_offsets(Some(columns.split_offsets))
            .build()
            .map_err(Error::bug)
    }
}

/// A failure of the Parquet writer; a failure to write bytes is one of storage.
pub(crate) fn parquet_error(location: &str, error: ParquetError) -> Error {
    match error {
        ParquetError::External(source) => {
            Error::Storage { action: "write", path: location.into(), source }
        }
        other => Error::bug(format!("parquet cannot write the rows: {other}")),
    }
}

fn float_columns(schema: &ArrowSchemaRef) -> Vec<(usize, i32, u64)> {
    schema
        .fields()
        .iter()
        .enumerate()
        .filter(|(_, field)| matches!(field.data_type(), DataType::Float32 | DataType::Float64))
        .filter_map(|(index, field)| {
            let id = field.metadata().get(PARQUET_FIELD_ID_META_KEY)?.parse().ok()?;
            Some((index, id, 0))
        })
        .collect()
}

fn nan_count(column: &dyn Array) -> u64 {
    let count = match column.data_type() {
        DataType::Float32 => {
            column.as_primitive::<Float32Type>().iter().flatten().filter(|v| v.is_nan()).count()
        }
        DataType::Float64 => {
            column.as_primitive::<Float64Type>().iter().flatten().filter(|v| v.is_nan()).count()
        }
        _ => 0,
    };
    count as u64
}
