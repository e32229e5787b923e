//! What is known about rows before they are read, in DataFusion's terms.
//!
//! Bounds are marked inexact: they may be cut or, after deletes, too wide. The exception are the
//! values of identity partitions, which are exact by definition; DataFusion then replaces the column
//! by its value and does not look for it in the file, which is what Iceberg asks for when a file
//! lacks the column.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use iceberg::spec::{DataFile, Datum, Literal, PrimitiveType, Transform, Type};

use super::scalar;
use crate::Table;
use crate::scan::parquet_schema::ReadColumn;
use crate::scan::plan::ListedFile;

/// What is scanned of files.
pub(crate) struct Scanned<'a> {
    /// The columns.
    pub(crate) columns: &'a [ReadColumn],
    /// Their names and types.
    pub(crate) file_schema: &'a SchemaRef,
    /// The table.
    pub(crate) table: &'a Table,
}

impl Scanned<'_> {
    /// The statistics of a data file, as if nothing of it were deleted.
    pub(crate) fn of_file(&self, listed: &ListedFile) -> Statistics {
        let file = listed.file();
        let rows = usize::try_from(file.record_count()).unwrap_or(usize::MAX);
        let columns = self.columns.iter().zip(self.file_schema.fields()).map(|(column, field)| {
            self.identity(listed, column, field.data_type(), rows)
                .unwrap_or_else(|| column_bounds(file, column, field.data_type()))
        });
        Statistics {
            num_rows: Precision::Exact(rows),
            total_byte_size: usize::try_from(file.file_size_in_bytes())
                .map_or(Precision::Absent, Precision::Inexact),
            column_statistics: columns.collect(),
        }
    }

    /// The one value of a column in a file, if the file's partition states it.
    fn identity(
        &self,
        listed: &ListedFile,
        column: &ReadColumn,
        data_type: &DataType,
        rows: usize,
    ) -> Option<ColumnStatistics> {
        let spec = self.table.metadata().partition_spec_by_id(listed.spec_id)?;
        let (_, value) =
            spec.fields().iter().zip(listed.file().partition().iter()).find(|(field, _)| {
                field.source_id == column.field.id && field.transform == Transform::Identity
            })?;
        let Type::Primitive(kind) = column.field.field_type.as_ref() else { return None };
        // A zero of a float may have lost its sign, and NaN equals nothing.
        if matches!(kind, PrimitiveType::Float | PrimitiveType::Double) {
            return None;
        }
        let mut statistics = ColumnStatistics::new_unknown();
        match value {
            None => statistics.null_count = Precision::Exact(rows),
            Some(Literal::Primitive(literal)) => {
                let value = scalar::from_iceberg(literal, kind)?.cast_to(data_type).ok()?;
                if value.is_null() {
                    return None;
                }
                statistics.null_count = Precision::Exact(0);
                statistics.min_value = Precision::Exact(value.clone());
                statistics.max_value = Precision::Exact(value);
            }
            Some(_) => return None,
        }
        Some(statistics)
    }
}

fn column_bounds(file: &DataFile, column: &ReadColumn, data_type: &DataType) -> ColumnStatistics {
    let mut statistics = ColumnStatistics::new_unknown();
    let Type::Primitive(kind) = column.field.field_type.as_ref() else { return statistics };
    let id = column.field.id;
    if let Some(nulls) = file.null_value_counts().get(&id) {
        statistics.null_count =
            usize::try_from(*nulls).map_or(Precision::Absent, Precision::Inexact);
    }
    // Bounds do not cover NaN, which DataFusion counts as the greatest value.
    let is_float = matches!(kind, PrimitiveType::Float | PrimitiveType::Double);
    if !is_float || file.nan_value_counts().get(&id) == Some(&0) {
        let bound = |datum: Option<&Datum>| {
            scalar_bound(datum, kind, data_type).map_or(Precision::Absent, Precision::Inexact)
        };
        statistics.min_value = bound(file.lower_bounds().get(&id));
        statistics.max_value = bound(file.upper_bounds().get(&id));
    }
    statistics
}

fn scalar_bound(
    datum: Option<&Datum>,
    kind: &PrimitiveType,
    data_type: &DataType,
) -> Option<ScalarValue> {
    let datum = datum?;
    // A bound of another type than the column's (a promoted column) is only taken if it widens.
    let same = datum.data_type() == kind
        || matches!(
            (datum.data_type(), kind),
            (PrimitiveType::Int, PrimitiveType::Long)
                | (PrimitiveType::Float, PrimitiveType::Double)
        );
    if !same {
        return None;
    }
    let value = scalar::from_iceberg(datum.literal(), datum.data_type())?;
    let is_nan = match &value {
        ScalarValue::Float32(value) => value.is_some_and(f32::is_nan),
        ScalarValue::Float64(value) => value.is_some_and(f64::is_nan),
        _ => false,
    };
    if is_nan {
        return None;
    }
    let value = value.cast_to(data_type).ok()?;
    (!value.is_null()).then_some(value)
}

/// The statistics of all files together. `exact_rows` is the number of rows that are left.
pub(crate) fn of_all(
    files: &[(Arc<Statistics>, bool)],
    exact_rows: Option<usize>,
    column_count: usize,
) -> Statistics {
    let untouched = files.iter().all(|(_, has_deletes)| !has_deletes);
    let mut columns = vec![ColumnStatistics::new_unknown(); column_count];
    let mut bytes = Precision::Inexact(0);
    let mut rows = Precision::Exact(0);
    for (index, (file, _)) in files.iter().enumerate() {
        bytes = bytes.add(&file.total_byte_size);
        rows = rows.add(&file.num_rows);
        for (all, one) in columns.iter_mut().zip(&file.column_statistics) {
            if index == 0 {
                *all = one.clone();
            } else {
                all.null_count = all.null_count.add(&one.null_count);
                all.min_value = all.min_value.min(&one.min_value);
                all.max_value = all.max_value.max(&one.max_value);
            }
        }
    }
    let rows = match exact_rows {
        Some(rows) => Precision::Exact(rows),
        None => rows.to_inexact(),
    };
    let statistics =
        Statistics { num_rows: rows, total_byte_size: bytes, column_statistics: columns };
    if untouched {
        return statistics;
    }
    // The values that bounds and counts speak of may be among the deleted.
    let num_rows = statistics.num_rows;
    Statistics { num_rows, ..statistics.to_inexact() }
}
