//! A batch of changes: columns and row kinds that belong together.

use arrow::array::{Array, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use crate::{RowKind, RowKinds};

/// Why a batch of changes could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The columns and the row kinds do not have the same number of rows.
    #[error("{rows} rows have {kinds} row kinds")]
    Length {
        /// Rows in the columns.
        rows: usize,
        /// Row kinds given.
        kinds: usize,
    },
    /// Arrow refused the operation.
    #[error("arrow cannot build the batch")]
    Arrow(#[from] ArrowError),
    /// The text form of a changelog is malformed.
    #[error("line {line} of the changelog: {reason}")]
    Text {
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// Changes of one table in the order in which they happened.
///
/// Invariant: there is exactly one row kind for each row.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeBatch {
    rows: RecordBatch,
    kinds: RowKinds,
}

impl ChangeBatch {
    /// Joins columns with their row kinds.
    ///
    /// # Errors
    /// [`Error::Length`] if there is not one kind for each row.
    pub fn try_new(rows: RecordBatch, kinds: RowKinds) -> Result<Self, Error> {
        if rows.num_rows() == kinds.len() {
            Ok(Self { rows, kinds })
        } else {
            Err(Error::Length { rows: rows.num_rows(), kinds: kinds.len() })
        }
    }

    /// A batch in which every row is `+I`.
    #[must_use]
    pub fn inserts(rows: RecordBatch) -> Self {
        let kinds = RowKinds::uniform(RowKind::Insert, rows.num_rows());
        Self { rows, kinds }
    }

    /// The columns.
    #[must_use]
    pub const fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// What happened to each row.
    #[must_use]
    pub const fn kinds(&self) -> &RowKinds {
        &self.kinds
    }

    /// The columns and the kinds, taken apart.
    #[must_use]
    pub fn into_parts(self) -> (RecordBatch, RowKinds) {
        (self.rows, self.kinds)
    }

    /// The schema of the columns.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    /// How many rows there are.
    #[must_use]
    pub fn row_count(&self) -> usize {
        self.rows.num_rows()
    }

    /// The memory that the columns hold, in bytes. A slice counts the whole buffers that it keeps alive.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.rows.get_array_memory_size()
    }

    /// Rows `offset .. offset + len` without copying; both are cut at the end of the batch.
    #[must_use]
    pub fn slice(&self, offset: usize, len: usize) -> Self {
        let offset = offset.min(self.row_count());
        let len = len.min(self.row_count() - offset);
        Self { rows: self.rows.slice(offset, len), kinds: self.kinds.slice(offset, len) }
    }

    /// The named rows in the order of `rows`.
    ///
    /// # Errors
    /// [`Error::Arrow`] if an index is out of range.
    pub fn take(&self, rows: &UInt32Array) -> Result<Self, Error> {
        Self::try_new(take_record_batch(&self.rows, rows)?, self.kinds.take(rows))
    }

    /// The rows for which `mask` is true; null counts as false.
    ///
    /// # Errors
    /// [`Error::Arrow`] if the mask is shorter or longer than the batch.
    pub fn filter(&self, mask: &BooleanArray) -> Result<Self, Error> {
        let rows = filter_record_batch(&self.rows, mask)?;
        let kinds = match &self.kinds {
            RowKinds::Uniform { kind, .. } => RowKinds::uniform(*kind, rows.num_rows()),
            RowKinds::Mixed(kinds) => kinds
                .iter()
                .enumerate()
                .filter(|(row, _)| mask.is_valid(*row) && mask.value(*row))
                .map(|(_, kind)| *kind)
                .collect(),
        };
        Self::try_new(rows, kinds)
    }

    /// All batches in order, as one.
    ///
    /// # Errors
    /// [`Error::Arrow`] if a batch does not have this schema.
    pub fn concat(schema: &SchemaRef, batches: &[Self]) -> Result<Self, Error> {
        let rows = concat_batches(schema, batches.iter().map(|batch| &batch.rows))?;
        let first = batches.iter().find_map(|batch| batch.kinds.get(0));
        let uniform = first.filter(|first| {
            batches.iter().all(|batch| match &batch.kinds {
                RowKinds::Uniform { kind, len } => *len == 0 || kind == first,
                RowKinds::Mixed(_) => false,
            })
        });
        let kinds = match uniform {
            Some(kind) => RowKinds::uniform(kind, rows.num_rows()),
            None => batches.iter().flat_map(|batch| batch.kinds.iter()).collect(),
        };
        Self::try_new(rows, kinds)
    }
}
