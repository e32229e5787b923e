//! Tables of the lake: found by the options of their definition, read by the lake's own provider.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use shardlake_change::LogicalType;

use crate::catalog::ResolvedTable;
use crate::diagnostic::Diagnostic;

/// What reads a table of connector `iceberg` or one of its metadata tables, and its column types.
#[expect(clippy::unused_async, reason = "reading the lake's metadata waits")]
pub(super) async fn lake_table(
    table: &ResolvedTable,
) -> Result<(Arc<dyn TableProvider>, Vec<LogicalType>), Diagnostic> {
    Err(Diagnostic::unsupported(&format!("Reading the Iceberg table '{}'", table.name)))
}
