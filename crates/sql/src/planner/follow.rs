//! `INSERT INTO … SELECT *` into a sink that follows the columns of its source.

use std::sync::Arc;

use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use shardlake_change::TableSchema;

use super::lineage::source_table;
use super::streaming::transform;
use crate::diagnostic::{Code, Diagnostic};
use crate::expression::Follow;
use crate::plan::StreamNode;

/// The scan whose columns, all of them and in their order, are those of the sink.
///
/// # Errors
/// The query is another one, or its source cannot follow columns.
pub(super) fn followed_scan(plan: &LogicalPlan) -> Result<&TableScan, Diagnostic> {
    let refused = |message: &str| {
        Diagnostic::new(Code::StreamingQuery, message.to_owned()).with_hint(
            "Write SELECT * FROM one table, or leave 'schema.evolution' out of the sink.",
        )
    };
    let all = "A sink with 'schema.evolution' = 'true' takes INSERT INTO … SELECT * FROM one table, \
               without WHERE, UNION or computed columns.";
    let (scan, columns) = passed_columns(plan).ok_or_else(|| refused(all))?;
    let table = source_table(scan.source.as_ref()).ok_or_else(|| refused(all))?;
    if !columns.iter().copied().eq(0..table.definition.schema.columns.len()) {
        return Err(refused(all));
    }
    if !table.source.follows_columns() {
        let message = format!(
            "Table '{}' cannot follow the columns of its source, which a sink with 'schema.evolution' = \
             'true' needs.",
            table.definition.name
        );
        return Err(refused(&message));
    }
    Ok(scan)
}

/// For each column of a plan, the column of its only scan that it is, apart from name and type.
fn passed_columns(plan: &LogicalPlan) -> Option<(&TableScan, Vec<usize>)> {
    match plan {
        LogicalPlan::TableScan(scan) if scan.filters.is_empty() && scan.fetch.is_none() => {
            let all = || (0..scan.source.schema().fields().len()).collect();
            Some((scan, scan.projection.clone().unwrap_or_else(all)))
        }
        LogicalPlan::SubqueryAlias(alias) => passed_columns(&alias.input),
        LogicalPlan::Projection(projection) => {
            let (scan, input) = passed_columns(&projection.input)?;
            let column = |expr: &Expr| match passed(expr) {
                Expr::Column(column) => {
                    let index = projection.input.schema().maybe_index_of_column(column)?;
                    input.get(index).copied()
                }
                _ => None,
            };
            let columns: Option<Vec<usize>> = projection.expr.iter().map(column).collect();
            Some((scan, columns?))
        }
        _ => None,
    }
}

fn passed(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => passed(&alias.expr),
        Expr::Cast(cast) => passed(&cast.expr),
        other => other,
    }
}

/// The stage that hands a source's columns on.
pub(super) fn follow_stage(source: usize, scan: &TableScan, sink: &TableSchema) -> StreamNode {
    let types = scan.source.schema();
    let types = types.fields().iter().map(|field| field.data_type().clone()).collect();
    transform(
        StreamNode::Source { index: source },
        Follow::new(types, Arc::clone(&sink.to_arrow())),
    )
}
