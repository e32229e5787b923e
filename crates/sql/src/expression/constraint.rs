//! Keeps NULL out of NOT NULL columns of a sink, as `table.exec.sink.not-null-enforcer` says.
//!
//! Past this stage the columns of a batch have exactly the sink's Arrow schema.

use std::sync::Arc;

use arrow::array::{Array as _, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{and, is_not_null};
use arrow::datatypes::SchemaRef;
use shardlake_change::ChangeBatch;
use shardlake_connector::Error;

use super::{change_error, keep};
use crate::plan::Transform;

/// What happens to a row with NULL in a NOT NULL column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NullPolicy {
    /// The job fails.
    Error,
    /// The row is left out.
    Drop,
}

/// The NOT NULL constraints of a sink.
pub(crate) struct Constraint {
    schema: SchemaRef,
    policy: NullPolicy,
}

impl Constraint {
    /// The constraints of a sink with these columns.
    pub(crate) const fn new(schema: SchemaRef, policy: NullPolicy) -> Self {
        Self { schema, policy }
    }

    /// The names of the NOT NULL columns.
    fn names(&self) -> Vec<&str> {
        let required = self.schema.fields().iter().filter(|field| !field.is_nullable());
        required.map(|field| field.name().as_str()).collect()
    }

    /// True for the rows without NULL in a NOT NULL column; `None` if that is every row.
    fn complete(&self, batch: &ChangeBatch) -> Result<Option<BooleanArray>, Error> {
        let mut mask: Option<BooleanArray> = None;
        for (field, column) in self.schema.fields().iter().zip(batch.rows().columns()) {
            if field.is_nullable() || column.null_count() == 0 {
                continue;
            }
            if self.policy == NullPolicy::Error {
                return Err(Error::job(format!(
                    "Column '{}' is NOT NULL, however, a null value is being written into it. You \
                     can set job configuration 'table.exec.sink.not-null-enforcer'='DROP' to \
                     suppress this exception and drop such records silently.",
                    field.name()
                )));
            }
            let valid = is_not_null(column).map_err(|error| change_error(error.into()))?;
            mask = Some(match mask {
                None => valid,
                Some(mask) => and(&mask, &valid).map_err(|error| change_error(error.into()))?,
            });
        }
        Ok(mask)
    }
}

impl Transform for Constraint {
    fn describe(&self) -> String {
        let mode = match self.policy {
            NullPolicy::Error => "ERROR",
            NullPolicy::Drop => "DROP",
        };
        format!("ConstraintEnforcer[NotNullEnforcer(fields=[{}], {mode})]", self.names().join(", "))
    }

    fn apply(&self, batch: &ChangeBatch) -> Result<ChangeBatch, Error> {
        let kept = match self.complete(batch)? {
            Some(mask) => keep(batch, &mask)?,
            None => batch.clone(),
        };
        let row_count = kept.row_count();
        let (rows, kinds) = kept.into_parts();
        let options = RecordBatchOptions::new().with_row_count(Some(row_count));
        let columns = rows.columns().to_vec();
        let rows = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|error| change_error(error.into()))?;
        ChangeBatch::try_new(rows, kinds).map_err(change_error)
    }
}
