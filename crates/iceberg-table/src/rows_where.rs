//! Rows of a table by the values of text columns, for a writer that has to remove them.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::logical_expr::{Expr, col, lit};
use datafusion::prelude::SessionContext;
use futures::StreamExt;

use crate::{AsOf, Error, IcebergTableProvider, Table};

/// Hands over all rows of the current snapshot that have all the values of one of these lists of columns and
/// values.
///
/// # Errors
/// What reading the table reports, and what `receive` returns.
pub async fn rows_where(
    table: &Table,
    any_of: &[Vec<(String, String)>],
    receive: &mut (dyn FnMut(RecordBatch) -> Result<(), Error> + Send),
) -> Result<(), Error> {
    let all = |values: &Vec<(String, String)>| {
        let equals = |(name, value): &(String, String)| {
            col(format!("\"{}\"", name.replace('"', "\"\""))).eq(lit(value.clone()))
        };
        values.iter().map(equals).reduce(Expr::and)
    };
    let Some(condition) = any_of.iter().filter_map(all).reduce(Expr::or) else { return Ok(()) };
    let failed = |error: datafusion::error::DataFusionError| Error::Storage {
        action: "read rows of",
        path: table.name().to_string().into(),
        source: error.into(),
    };
    let provider = IcebergTableProvider::new(table.clone(), &AsOf::Current)?;
    let rows = SessionContext::new()
        .read_table(Arc::new(provider))
        .and_then(|rows| rows.filter(condition))
        .map_err(failed)?;
    let mut rows = rows.execute_stream().await.map_err(failed)?;
    while let Some(batch) = rows.next().await {
        receive(batch.map_err(failed)?)?;
    }
    Ok(())
}
