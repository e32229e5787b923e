//! Reading data files to rewrite them: every row with its number, in the columns of today's table.
//!
//! Columns are found by field id (see [`ReadSchema`]), widened to the table's types, and filled with
//! their initial default where a file lacks them, as the scan does it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, filter_record_batch};
use arrow::datatypes::{FieldRef, SchemaRef as ArrowSchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::nested_struct::cast_column;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::StreamExt;
use iceberg::spec::{Literal, NestedFieldRef, Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::async_reader::{
    AsyncFileReader, ParquetRecordBatchStream, ParquetRecordBatchStreamBuilder,
};
use roaring::RoaringTreemap;

use crate::provider::scalar;
use crate::scan::equality_deletes::EqualityDeletes;
use crate::scan::parquet_schema::{ReadColumn, ReadSchema};
use crate::scan::plan::PlannedFile;
use crate::scan::reader::{DataFileOpener, Location};
use crate::{Error, Table};

/// Rows read at a time.
const BATCH_ROWS: usize = 8 * 1024;

/// Reads data files of one table.
pub(crate) struct SourceReader {
    opener: DataFileOpener,
    fields: Vec<NestedFieldRef>,
    schema: ArrowSchemaRef,
    /// Equality deletes, and for each of their columns where it is in the table.
    equality: Arc<EqualityDeletes>,
    keys: Vec<usize>,
}

impl SourceReader {
    /// A reader for files of `table` that `equality` applies to.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an equality delete compares a column that the table has no more.
    pub(crate) fn try_new(
        table: &Table,
        snapshot_id: i64,
        equality: Arc<EqualityDeletes>,
    ) -> Result<Self, Error> {
        let fields = table.schema().as_struct().fields().to_vec();
        let columns: Vec<ReadColumn> = fields
            .iter()
            .map(|field| ReadColumn { name: field.name.clone(), field: Arc::clone(field) })
            .collect();
        let keys = equality
            .columns
            .iter()
            .map(|key| {
                fields.iter().position(|field| field.id == key.field.id).ok_or_else(|| {
                    Error::Invalid(format!(
                        "table {} has equality deletes by column '{}', which was dropped; compact \
                         it with the engine that wrote them",
                        table.name(),
                        key.field.name
                    ))
                })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let read_schema = ReadSchema::try_new(&columns, table.metadata().properties())?;
        let opener = DataFileOpener {
            storage: table.storage().clone(),
            schema: Arc::new(read_schema),
            table: table.name().clone(),
            snapshot_id,
        };
        Ok(Self { opener, fields, schema: Arc::clone(table.arrow_schema()), equality, keys })
    }

    /// Opens a file. `deleted` are its rows that are deleted by position, `group` is its group of
    /// equality deletes.
    ///
    /// # Errors
    /// [`Error::Storage`] or [`Error::Corrupt`], naming the file.
    pub(crate) async fn open(
        &self,
        planned: &PlannedFile,
        deleted: RoaringTreemap,
        group: Option<usize>,
    ) -> Result<SourceFile<'_>, Error> {
        let listed = &planned.listed;
        let path = listed.path();
        let corrupt = |error| Error::corrupt(path, error);
        let file = PartitionedFile::new(path, listed.file().file_size_in_bytes())
            .with_extension(Location(Arc::from(path)));
        let reader: Box<dyn AsyncFileReader> = self
            .opener
            .create_reader(0, file, None, &ExecutionPlanMetricsSet::new())
            .map_err(|error| Error::corrupt(path, error))?;
        let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(corrupt)?;
        let roots: Vec<usize> = builder
            .schema()
            .fields()
            .iter()
            .enumerate()
            .filter(|(_, field)| self.fields.iter().any(|wanted| wanted.name == *field.name()))
            .map(|(index, _)| index)
            .collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        let stream = builder
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|error| Error::corrupt(path, error))?;
        Ok(SourceFile { reader: self, path: path.to_owned(), stream, deleted, group, next_row: 0 })
    }
}

/// A data file that is being read.
pub(crate) struct SourceFile<'a> {
    reader: &'a SourceReader,
    path: String,
    stream: ParquetRecordBatchStream<Box<dyn AsyncFileReader>>,
    deleted: RoaringTreemap,
    group: Option<usize>,
    next_row: u64,
}

impl SourceFile<'_> {
    /// The next rows that are not deleted; none at the end.
    ///
    /// # Errors
    /// [`Error::Corrupt`], naming the file.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        let Some(batch) = self.stream.next().await else { return Ok(None) };
        let batch = batch.map_err(|error| Error::corrupt(&self.path, error))?;
        let conformed = self.conform(&batch)?;
        let mask = self.remaining(&conformed)?;
        self.next_row += batch.num_rows() as u64;
        match mask {
            None => Ok(Some(conformed)),
            Some(mask) => {
                let kept = filter_record_batch(&conformed, &mask);
                kept.map(Some).map_err(|error| Error::corrupt(&self.path, error))
            }
        }
    }

    /// How many rows were read, and which of them were deleted.
    pub(crate) fn finish(self) -> (u64, RoaringTreemap) {
        (self.next_row, self.deleted)
    }

    /// Which rows of a batch are left; none if all are. Notes those that an equality delete removes.
    fn remaining(&mut self, batch: &RecordBatch) -> Result<Option<BooleanArray>, Error> {
        let count = batch.num_rows();
        let rows = self.next_row..self.next_row + count as u64;
        if let Some(group) = self.group {
            let keys: Vec<ArrayRef> =
                self.reader.keys.iter().map(|index| Arc::clone(batch.column(*index))).collect();
            let remaining = self
                .reader
                .equality
                .remaining(group, &keys, count)
                .map_err(|error| Error::corrupt(&self.path, error))?;
            for (row, remains) in rows.clone().zip(remaining) {
                if !remains {
                    self.deleted.insert(row);
                }
            }
        }
        let before = rows.start.checked_sub(1).map_or(0, |last| self.deleted.rank(last));
        let until = rows.end.checked_sub(1).map_or(0, |last| self.deleted.rank(last));
        if before == until {
            return Ok(None);
        }
        Ok(Some(rows.map(|row| Some(!self.deleted.contains(row))).collect()))
    }

    /// The columns of the table.
    fn conform(&self, batch: &RecordBatch) -> Result<RecordBatch, Error> {
        let corrupt = |error| Error::corrupt(&self.path, error);
        let count = batch.num_rows();
        let columns = self
            .reader
            .fields
            .iter()
            .zip(self.reader.schema.fields())
            .map(|(field, arrow)| match batch.column_by_name(&field.name) {
                Some(column) if column.data_type() == arrow.data_type() => Ok(Arc::clone(column)),
                Some(column) => cast_column(column, arrow.data_type(), &CastOptions::default())
                    .map_err(|error| Error::corrupt(&self.path, error)),
                None => missing(field, arrow, count),
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        RecordBatch::try_new_with_options(Arc::clone(&self.reader.schema), columns, &options)
            .map_err(corrupt)
    }
}

/// A column that a file does not have.
fn missing(field: &NestedFieldRef, arrow: &FieldRef, row_count: usize) -> Result<ArrayRef, Error> {
    let default = match (&field.initial_default, field.field_type.as_ref()) {
        (Some(Literal::Primitive(literal)), Type::Primitive(kind)) => {
            scalar::from_iceberg(literal, kind)
        }
        _ => None,
    };
    let value = match default {
        Some(value) => value.cast_to(arrow.data_type()).map_err(Error::bug)?,
        None => ScalarValue::try_from(arrow.data_type()).map_err(Error::bug)?,
    };
    value.to_array_of_size(row_count).map_err(Error::bug)
}
