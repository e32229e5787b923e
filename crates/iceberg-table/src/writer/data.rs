//! One Parquet data file: encoding, and what its manifest entry says.
//!
//! A file is durable only after [`DataFileWriter::finish`], together with its entry in the folder,
//! which whoever closes the epoch syncs. A file that is not finished is removed when its writer is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, SchemaRef as ArrowSchemaRef};
use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, SchemaRef, Struct, StructType,
};
use parquet::arrow::ArrowWriter;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::NewFile;
use super::metrics::{self, MetricsModes};
use super::parquet_properties;
use super::partition::{Partition, Partitioner};
use super::sort::Sorter;
use super::transform::murmur3;
use crate::{Error, FileWriter, Storage, Table, properties};

/// How the data files of a table are written.
#[derive(Debug)]
pub(crate) struct FileFormat {
    pub(crate) schema: SchemaRef,
    pub(crate) arrow_schema: ArrowSchemaRef,
    /// Where data files are written.
    pub(crate) storage: Storage,
    /// The folder of data files as it is written in metadata.
    pub(crate) folder_location: String,
    /// At which size a file is closed.
    pub(crate) target_size_bytes: u64,
    /// How many bytes of encoded rows make a row group.
    pub(crate) row_group_bytes: usize,
    pub(crate) partition_spec_id: i32,
    /// Finds the partition of a row; none if the table is not partitioned.
    pub(crate) partitioner: Option<Partitioner>,
    /// The types of partition values, by partition spec.
    pub(crate) partition_types: BTreeMap<i32, StructType>,
    /// How rows are sorted in a file; none if they are not.
    pub(crate) sorter: Option<Sorter>,
    /// Whether folders are named by a hash, so that object stores spread them.
    hashes_folders: bool,
    metrics_modes: MetricsModes,
    properties: WriterProperties,
}

impl FileFormat {
    /// The format that the properties of `table` ask for.
    pub(crate) fn of_table(table: &Table) -> Result<Self, Error> {
        let all = table.metadata().properties();
        let folder_location = data_location(table);
        let metadata = table.metadata();
        let schema = Arc::clone(table.schema());
        let arrow_schema = Arc::clone(table.arrow_schema());
        Ok(Self {
            storage: table.storage().clone(),
            folder_location,
            target_size_bytes: properties::TARGET_FILE_SIZE.read(all)?,
            row_group_bytes: usize::try_from(properties::ROW_GROUP_SIZE.read(all)?)
                .unwrap_or(usize::MAX),
            partition_spec_id: metadata.default_partition_spec_id(),
            partitioner: Partitioner::try_new(metadata.default_partition_spec(), &schema)?,
            partition_types: metadata
                .partition_specs_iter()
                .filter_map(|spec| Some((spec.spec_id(), spec.partition_type(&schema).ok()?)))
                .collect(),
            sorter: Sorter::try_new(metadata.default_sort_order(), &schema, &arrow_schema)?,
            hashes_folders: properties::OBJECT_STORAGE.read(all)?,
            metrics_modes: MetricsModes::of_table(&schema, metadata.default_sort_order(), all)?,
            properties: parquet_properties::of_table(&schema, all)?,
            schema,
            arrow_schema,
        })
    }

    /// The path of a new file, relative to the folder of data files.
    pub(crate) fn relative_path(&self, partition: &Partition, name: &str) -> String {
        let partition = self.partitioner.as_ref().map(|found| found.folder(partition));
        let path = match partition {
            Some(folder) => format!("{folder}/{name}"),
            None => name.to_owned(),
        };
        if self.hashes_folders { format!("{}/{path}", hashed_folders(name)) } else { path }
    }

    /// The partition of a table that has none.
    pub(crate) fn unpartitioned(&self) -> Partition {
        Partition { spec_id: self.partition_spec_id, values: Struct::empty() }
    }
}

/// The folder of a table's data files.
pub(crate) fn data_location(table: &Table) -> String {
    match table.metadata().properties().get("write.data.path") {
        Some(path) => path.trim_end_matches('/').to_owned(),
        None => format!("{}/data", table.location()),
    }
}

/// Folders from 20 bits of a name's hash, as other engines lay them out for object stores.
fn hashed_folders(name: &str) -> String {
    let bits = format!("{:020b}", murmur3(name.as_bytes()) & 0xf_ffff);
    let mut folders = String::with_capacity(24);
    for (at, bit) in bits.chars().enumerate() {
        if matches!(at, 4 | 8 | 12) {
            folders.push('/');
        }
        folders.push(bit);
    }
    folders
}

/// A data file to be written.
#[derive(Clone, Debug)]
pub(crate) struct FileTarget {
    /// Its path in the folder of data files.
    pub(crate) path: Arc<str>,
    pub(crate) partition: Arc<Partition>,
}

/// Writes one data file.
pub(crate) struct DataFileWriter {
    format: Arc<FileFormat>,
    target: FileTarget,
    location: String,
    /// None once the file is finished.
    writer: Option<ArrowWriter<FileWriter>>,
    /// Top-level columns that may hold NaN, with their field id and how many they held.
    nan_counts: Vec<(usize, i32, u64)>,
    row_count: u64,
}

impl DataFileWriter {
    /// Makes the file, and its folder if that is missing.
    pub(crate) fn create(format: Arc<FileFormat>, target: FileTarget) -> Result<Self, Error> {
        let location = format!("{}/{}", format.folder_location, target.path);
        let file = format.storage.create(&location)?;
        let options = ArrowWriterOptions::new()
            .with_properties(format.properties.clone())
            .with_schema_root("table".to_owned())
            .with_skip_arrow_metadata(true);
        let schema = Arc::clone(&format.arrow_schema);
        let writer = ArrowWriter::try_new_with_options(file, schema, options)
            .map_err(|error| parquet_error(&location, error))?;
        let nan_counts = float_columns(&format.arrow_schema);
        Ok(Self { format, target, location, writer: Some(writer), nan_counts, row_count: 0 })
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

    /// How many bytes of rows are held in memory.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.writer.as_ref().map_or(0, ArrowWriter::in_progress_size)
    }

    /// Ends the row group, so that nothing is held in memory.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        match &mut self.writer {
            Some(writer) => writer.flush().map_err(|error| parquet_error(&self.location, error)),
            None => Ok(()),
        }
    }

    /// Ends the file and waits until its content is on disk. `is_sorted` says whether its rows are in
    /// the table's sort order.
    pub(crate) fn finish(mut self, is_sorted: bool) -> Result<NewFile, Error> {
        let Some(mut writer) = self.writer.take() else {
            return Err(Error::bug("a data file is finished twice"));
        };
        self.finish_writer(&mut writer, is_sorted)
    }

    fn finish_writer(
        &self,
        writer: &mut ArrowWriter<FileWriter>,
        is_sorted: bool,
    ) -> Result<NewFile, Error> {
        let format = &self.format;
        let parquet = writer.finish().map_err(|error| parquet_error(&self.location, error))?;
        let size_bytes = writer.inner_mut().finish()?;
        let mut columns = metrics::of_file(&parquet, &format.schema, &format.metrics_modes)?;
        let nan_counts = self.nan_counts.iter().map(|(_, id, count)| (*id, *count));
        columns.nan_value_counts =
            nan_counts.filter(|(id, _)| format.metrics_modes.counts(*id)).collect();
        let partition = &self.target.partition;
        let mut builder = DataFileBuilder::default();
        columns.fill(&mut builder);
        if let Some(sorter) = format.sorter.as_ref().filter(|_| is_sorted) {
            builder.sort_order_id(sorter.order_id());
        }
        let file = builder
            .content(DataContentType::Data)
            .file_path(self.location.clone())
            .file_format(DataFileFormat::Parquet)
            .partition_spec_id(partition.spec_id)
            .partition(partition.values.clone())
            .record_count(self.row_count)
            .file_size_in_bytes(size_bytes)
            .build()
            .map_err(Error::bug)?;
        Ok(NewFile { spec_id: partition.spec_id, file })
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
