//! `DELETE` and `UPDATE` on tables of the lake.
//!
//! The rows are found by a query over the table with the places of its rows; the change is committed on
//! the version that the query saw, or the statement begins anew.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::catalog::TableProvider;
use futures::StreamExt as _;
use shardlake_change::{Column, LogicalType};
use shardlake_connector::TableDefinition;
use shardlake_iceberg_table::{
    Error as LakeError, FILE_COLUMN, POSITION_COLUMN, RowChanges, TableName,
};
use uuid::Uuid;

use super::bind::{LakeAccess, RowTarget, bind, with_arrow_types};
use super::insert::{sink_definition, sink_plan};
use super::lake::locate;
use crate::batch::{BatchQuery, BatchSession};
use crate::catalog::{PlannerContext, Resolved, ResolvedTable, lake_error};
use crate::diagnostic::{Code, Diagnostic};
use crate::print::ddl::{quoted, quoted_identifier};
use crate::statement::{Insert, RowChange, RowChangeKind, TableReference};

/// How often a statement begins anew because others commit in between.
const ATTEMPTS: u32 = 10;

/// Runs a `DELETE` or `UPDATE`, and says how many rows it has changed.
///
/// # Errors
/// The runtime mode is not batch, the table is none of the lake, a name or type is wrong, or other
/// writers commit all the time.
pub async fn change_rows(context: &PlannerContext, change: &RowChange) -> Result<u64, Diagnostic> {
    let span = change.target.name.span;
    let (statement, operation) = match change.kind {
        RowChangeKind::Delete => ("DELETE", "delete"),
        RowChangeKind::Update(_) => ("UPDATE", "update"),
    };
    check_batch(context, statement).map_err(|error| error.at(span))?;
    let table = target(context, &change.target, operation).await?;
    let text = query_text(&table, change).map_err(|error| error.at(span))?;
    let (catalog, name) = locate(&table).map_err(|error| error.at(span))?;
    for _ in 0..ATTEMPTS {
        let id = Uuid::new_v4().simple().to_string();
        let begun = RowChanges::begin(Arc::clone(&catalog), &name, &id).await;
        let mut changes = begun.map_err(|error| lake_error(&error).at(span))?;
        let found = run(context, &table, &text, change, &mut changes).await;
        found.map_err(|error| Diagnostic { span: None, ..error }.at(span))?;
        let count = changes.deleted_count();
        match changes.commit().await {
            Ok(()) => return Ok(count),
            Err(LakeError::Conflict { .. }) => {}
            Err(error) => return Err(lake_error(&error).at(span)),
        }
    }
    Err(busy(&name).at(span))
}

fn busy(name: &TableName) -> Diagnostic {
    let message = format!(
        "Other writers committed to table {name} each time the statement was about to, {ATTEMPTS} times \
         in a row; nothing was changed."
    );
    Diagnostic::new(Code::CatalogAccess, message).with_hint(
        "Run it again, or give the writing job a longer 'execution.checkpointing.interval'.",
    )
}

fn check_batch(context: &PlannerContext, statement: &str) -> Result<(), Diagnostic> {
    if context.configuration.is_batch() {
        return Ok(());
    }
    let message = format!("{statement} statement is not supported for streaming mode now.");
    Err(Diagnostic::new(Code::StreamingQuery, message)
        .with_hint("SET 'execution.runtime-mode' = 'batch';"))
}

/// The table of the lake that a statement changes.
async fn target(
    context: &PlannerContext,
    reference: &TableReference,
    operation: &str,
) -> Result<Box<ResolvedTable>, Diagnostic> {
    let span = reference.name.span;
    let refuse = |name: String| {
        let message = format!(
            "Can't perform {operation} operation of the table {name} because the corresponding dynamic \
             table sink has not yet implemented it."
        );
        Diagnostic::new(Code::Unsupported, message)
            .with_hint("Only tables of connector 'iceberg' take it.")
            .at(span)
    };
    if reference.time_travel.is_some() {
        let message = format!("Time travel is not possible on the target of {operation}.");
        return Err(Diagnostic::syntax(message).at(span));
    }
    match context.resolve(reference).await? {
        Resolved::Table(table)
            if table.connector.as_deref() == Some("iceberg") && table.metadata_table.is_none() =>
        {
            Ok(table)
        }
        Resolved::Table(table) => Err(refuse(table.name.to_string())),
        Resolved::View(view) => Err(refuse(view.name.to_string())),
    }
}

/// The query that finds the rows, with their new values and their places.
fn query_text(table: &ResolvedTable, change: &RowChange) -> Result<String, Diagnostic> {
    let mut columns: Vec<String> = Vec::new();
    if let RowChangeKind::Update(assignments) = &change.kind {
        let schema = &sink_definition(table).schema;
        if let Some((unknown, _)) =
            assignments.iter().find(|(column, _)| schema.index_of(column).is_none())
        {
            let known: Vec<&str> = schema.columns.iter().map(|c| c.name.as_str()).collect();
            let message = format!("SQL validation failed. Unknown target column '{unknown}'");
            return Err(Diagnostic::new(Code::ColumnNotFound, message)
                .with_hint(format!("Columns that can be written: {}", known.join(", "))));
        }
        for column in &schema.columns {
            let name = quoted_identifier(&column.name);
            let value = assignments.iter().find(|(assigned, _)| *assigned == column.name);
            columns.push(match value {
                Some((_, expression)) => format!("({expression}) AS {name}"),
                None => name,
            });
        }
    }
    columns.extend([FILE_COLUMN, POSITION_COLUMN].map(quoted_identifier));
    let condition = change.condition.as_ref();
    let condition = condition.map(|text| format!(" WHERE {text}")).unwrap_or_default();
    let alias = quoted_identifier(&table.name.object);
    let name = quoted(&table.name);
    Ok(format!("SELECT {} FROM {name} AS {alias}{condition}", columns.join(", ")))
}

async fn run(
    context: &PlannerContext,
    table: &ResolvedTable,
    text: &str,
    change: &RowChange,
    changes: &mut RowChanges,
) -> Result<(), Diagnostic> {
    let session = Arc::new(BatchSession::new(&context.configuration)?);
    let provider = changes.rows(&table.definition.schema).map_err(|error| lake_error(&error))?;
    let rows: Arc<dyn TableProvider> = Arc::new(provider);
    let target = RowTarget { name: table.name.clone(), rows };
    let query = crate::parser::parse_query(text)?;
    let bound = bind(context, &session, &query, LakeAccess::Rows(&target)).await?;
    let is_update = matches!(change.kind, RowChangeKind::Update(_));
    let plan = if is_update {
        let insert = Insert { target: change.target.clone(), columns: Vec::new(), query };
        sink_plan(&insert, &with_places(&sink_definition(table)), &bound)?
    } else {
        bound.plan
    };
    let query = BatchQuery::new(session, with_arrow_types(plan)?, Vec::new());
    let mut batches = query.execute().await?;
    while let Some(batch) = batches.next().await {
        let batch: RecordBatch = batch.map_err(|error| BatchQuery::error(&error))?;
        changes.delete(&batch).map_err(|error| lake_error(&error))?;
        if is_update {
            changes.add(batch).map_err(|error| lake_error(&error))?;
        }
    }
    Ok(())
}

/// The definition with the columns of the rows' places.
fn with_places(definition: &TableDefinition) -> TableDefinition {
    let mut definition = definition.clone();
    let places = [(FILE_COLUMN, LogicalType::String), (POSITION_COLUMN, LogicalType::BigInt)];
    for (name, data_type) in places {
        definition.schema.columns.push(Column::new(name, data_type));
        definition.metadata.push(None);
    }
    definition
}
