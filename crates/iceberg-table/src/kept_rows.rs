//! Some rows of a table's current state, for a job that reads back what it has written.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, ident, lit};
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt as _;

use crate::{AsOf, Error, IcebergTableProvider, Table};

/// Sends the rows that hold these texts in these columns to `receive`, until it returns false. One batch after
/// the other is read, so memory does not depend on how many rows there are.
///
/// # Errors
/// A column is not there, or a file cannot be read.
pub async fn read_rows(
    table: Table,
    columns: &[String],
    equal: &[(String, String)],
    receive: &mut (dyn FnMut(RecordBatch) -> bool + Send),
) -> Result<(), Error> {
    let name = table.name().to_string();
    let failed = |error| failed(&name, error);
    let provider = IcebergTableProvider::new(table, &AsOf::Current)?;
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    let mut frame = context.read_table(Arc::new(provider)).map_err(failed)?;
    for (column, text) in equal {
        frame = frame.filter(ident(column).eq(lit(text.as_str()))).map_err(failed)?;
    }
    let columns: Vec<Expr> = columns.iter().map(ident).collect();
    let mut rows = frame.select(columns).map_err(failed)?.execute_stream().await.map_err(failed)?;
    while let Some(batch) = rows.next().await {
        if !receive(batch.map_err(failed)?) {
            return Ok(());
        }
    }
    Ok(())
}

/// A failure of the scan; what failed in this crate stays what it is.
fn failed(table: &str, error: DataFusionError) -> Error {
    match error {
        DataFusionError::External(cause) => match cause.downcast::<Error>() {
            Ok(own) => *own,
            Err(source) => Error::Storage { action: "read rows of", path: table.into(), source },
        },
        error => {
            Error::Storage { action: "read rows of", path: table.into(), source: error.into() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_the_lake_stays_what_it_is() {
        let own = Error::Invalid("no such column".to_owned());
        let error = failed("d.t", DataFusionError::External(Box::new(own)));
        assert_eq!(error.to_string(), "no such column");
        let error = failed("d.t", DataFusionError::Internal("x".to_owned()));
        assert_eq!(error.to_string(), "cannot read rows of d.t");
    }
}
