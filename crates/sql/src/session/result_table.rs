//! The rows that statements such as `SHOW` answer with.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::Schema;
use shardlake_change::{Column, LogicalType};

use crate::diagnostic::Diagnostic;

/// How a result is best shown to a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// As a table.
    Table,
    /// The one cell as it is: `SHOW CREATE TABLE`, `EXPLAIN`.
    Text,
}

/// A small table of text.
#[derive(Clone, Debug)]
pub struct ResultTable {
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows, with the Arrow types of the columns.
    pub rows: RecordBatch,
    /// How it is best shown.
    pub layout: Layout,
}

impl ResultTable {
    /// One batch of all rows of these columns.
    ///
    /// # Errors
    /// The batches have other columns.
    pub fn whole(columns: &[Column], batches: &[RecordBatch]) -> Result<RecordBatch, Diagnostic> {
        let schema = Schema::new(columns.iter().map(Column::to_arrow).collect::<Vec<_>>());
        let schema = batches.first().map_or_else(|| Arc::new(schema), RecordBatch::schema);
        concat_batches(&schema, batches).map_err(|error| Diagnostic::internal(error.to_string()))
    }

    /// A table with one column of names.
    pub(crate) fn names(
        column: &str,
        names: impl IntoIterator<Item = String>,
    ) -> Result<Self, Diagnostic> {
        let cells: StringArray = names.into_iter().map(Some).collect();
        Self::new(vec![(column, LogicalType::String, Arc::new(cells))], Layout::Table)
    }

    /// A table with one number.
    pub(crate) fn count(column: &str, count: u64) -> Result<Self, Diagnostic> {
        let cell = Int64Array::from(vec![i64::try_from(count).unwrap_or(i64::MAX)]);
        Self::new(vec![(column, LogicalType::BigInt, Arc::new(cell))], Layout::Table)
    }

    /// A text.
    pub(crate) fn text(text: String) -> Result<Self, Diagnostic> {
        let cells = StringArray::from(vec![Some(text)]);
        Self::new(vec![("result", LogicalType::String, Arc::new(cells))], Layout::Text)
    }

    /// A column of texts.
    pub(crate) fn texts(cells: impl IntoIterator<Item = Option<String>>) -> ArrayRef {
        Arc::new(cells.into_iter().collect::<StringArray>())
    }

    /// A column of truth values.
    pub(crate) fn booleans(cells: impl IntoIterator<Item = bool>) -> ArrayRef {
        Arc::new(cells.into_iter().map(Some).collect::<BooleanArray>())
    }

    /// A table of the given columns, which all have the same length.
    pub(crate) fn new(
        columns: Vec<(&str, LogicalType, ArrayRef)>,
        layout: Layout,
    ) -> Result<Self, Diagnostic> {
        let mut described = Vec::with_capacity(columns.len());
        let mut arrays = Vec::with_capacity(columns.len());
        for (name, data_type, array) in columns {
            described.push(Column::new(name, data_type));
            arrays.push(array);
        }
        let schema = Schema::new(described.iter().map(Column::to_arrow).collect::<Vec<_>>());
        let count = arrays.first().map_or(0, |array| array.len());
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        let rows = RecordBatch::try_new_with_options(Arc::new(schema), arrays, &options)
            .map_err(|error| Diagnostic::internal(error.to_string()))?;
        Ok(Self { columns: described, rows, layout })
    }
}
