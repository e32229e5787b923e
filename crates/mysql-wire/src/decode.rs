//! Cells → Arrow. What a cell becomes is decided once, when a plan is made from a source column and the declared
//! column of the same name; a row is then a walk over the plan that pushes into one builder a column.
//!
//! A declared column that the source lacks reads NULL, a source column that is not declared is passed over.

mod builder;
mod convert;
mod plan;
mod wire;

use std::fmt;
use std::sync::Arc;

use shardlake_change::Column;

use crate::column::SourceColumn;
use crate::cursor::Cursor;
use crate::error::{Error, Result};

/// What becomes of a date that does not exist: `0000-00-00`, `2024-00-15`, `2024-02-30`. Text keeps it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ZeroDates {
    /// NULL, or an error if the column is NOT NULL.
    #[default]
    Null,
    /// The nearest date that exists: `0001-01-01`, `2024-01-15`, `2024-02-29`.
    Round,
    /// An error.
    Refuse,
}

pub use builder::BatchBuilder;
pub(crate) use convert::Value;
pub(crate) use plan::{ColumnPlan, bind, value_error};
pub(crate) use wire::{EventType, Wire};

/// By how many seconds the wall clock is ahead of UTC at an instant, given in seconds since 1970. Used for
/// `TIMESTAMP` columns that are declared without a zone.
#[derive(Clone)]
pub struct ZoneOffset(Arc<dyn Fn(i64) -> i64 + Send + Sync>);

impl ZoneOffset {
    /// A zone whose offset is looked up. It must not change within a quarter of an hour (counted from full hours),
    /// and never does: no zone of the time-zone database has such changes.
    pub fn new(offset_at: impl Fn(i64) -> i64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(offset_at))
    }

    /// UTC.
    #[must_use]
    pub fn utc() -> Self {
        Self::new(|_| 0)
    }

    pub(crate) fn at(&self, epoch_seconds: i64) -> i64 {
        (self.0)(epoch_seconds)
    }
}

impl fmt::Debug for ZoneOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ZoneOffset")
    }
}

/// How rows of the binary protocol become rows of a builder. The session must have `time_zone = '+00:00'` and
/// `SET NAMES utf8mb4`.
#[derive(Clone, Debug)]
pub struct ResultSetPlan {
    columns: Vec<ColumnPlan>,
    missing: Vec<usize>,
}

impl ResultSetPlan {
    /// A plan for the columns of a result set.
    ///
    /// # Errors
    /// [`Error::Conversion`] if a column cannot be read as it is declared.
    pub fn new(source: &[SourceColumn], declared: &[Column], zone: &ZoneOffset) -> Result<Self> {
        let wires = source.iter().map(|column| Wire::of_protocol(&column.data_type)).collect();
        let (columns, missing) = bind(source, wires, declared, zone)?;
        Ok(Self { columns, missing })
    }

    /// Appends a row packet as `+I`. After an error the builder's rows are lost: clear it.
    ///
    /// # Errors
    /// [`Error::Value`] if a cell does not fit its declared type, [`Error::Malformed`] if the row is damaged.
    #[inline]
    pub fn append(&self, row: &[u8], builder: &mut BatchBuilder) -> Result<()> {
        /// The bitmap's first two bits mean nothing.
        const FIRST_BIT: usize = 2;
        let mut cursor = Cursor::new(row);
        let nulls_len = (self.columns.len() + FIRST_BIT).div_ceil(8);
        let head = cursor.u8().and_then(|_| cursor.take(nulls_len));
        let nulls = head.ok_or_else(|| Error::short("binary row"))?;
        append_cells(&self.columns, nulls, FIRST_BIT, &mut cursor, builder)?;
        if !cursor.is_empty() {
            return Err(Error::malformed("binary row", "bytes follow the last column"));
        }
        builder.end_row(&self.missing, shardlake_change::RowKind::Insert);
        Ok(())
    }
}

/// Appends the cells of one row. A cell is NULL if its bit in `nulls`, counted from `first_bit`, is set.
#[inline]
pub(crate) fn append_cells(
    columns: &[ColumnPlan],
    nulls: &[u8],
    first_bit: usize,
    cursor: &mut Cursor<'_>,
    builder: &mut BatchBuilder,
) -> Result<()> {
    for (index, plan) in columns.iter().enumerate() {
        let null = is_null(nulls, first_bit + index);
        let appended = match plan.target.and_then(|target| builder.column(target)) {
            Some(column) if null => {
                column.push_null();
                Ok(())
            }
            Some(column) => plan.append(cursor, column),
            None if null => Ok(()),
            None => plan.skip(cursor),
        };
        if let Err(problem) = appended {
            return Err(value_error(plan, problem, builder));
        }
    }
    Ok(())
}

/// Whether a bit is set; bits past the end are.
#[inline]
pub(crate) fn is_null(nulls: &[u8], bit: usize) -> bool {
    nulls.get(bit / 8).is_none_or(|byte| byte >> (bit % 8) & 1 == 1)
}

#[cfg(test)]
mod tests;
