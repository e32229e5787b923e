//! From a parsed query to a DataFusion plan over resolved tables.
//!
//! All names are resolved before DataFusion plans, because catalogs answer asynchronously. Views are
//! bound in the catalog and database in which they were created.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::{Column as ColumnName, DataFusionError};
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::{
    Cast, Expr, ExprSchemable as _, LogicalPlan, LogicalPlanBuilder, TableSource,
};
use datafusion::sql::planner::{
    NullOrdering, ParserOptions, PlannerContext as SqlContext, SqlToRel,
};
use datafusion::sql::sqlparser::ast::{Expr as SqlExpr, SelectItem, SetExpr, Statement};
use shardlake_change::{Column, LogicalType};
use shardlake_connector::{ObjectName, TableDefinition};

use super::coercion::narrow_literals;
use super::error::diagnostic;
use super::lake::{follows_columns, lake_table, reads_changes};
use super::lineage::columns_of;
use super::place::{place_of_error, place_of_name};
use super::provider::QueryScope;
use super::rewrite::rewrite;
use super::table::{PlanTable, SourceTable, TypedTable};
use super::types::from_arrow;
use crate::batch::BatchSession;
use crate::catalog::{PlannerContext, Resolved, ResolvedColumn, ResolvedTable, ResolvedView};
use crate::diagnostic::{Code, Diagnostic};
use crate::statement::Query;

/// A query whose names and types are known.
#[derive(Clone)]
pub(crate) struct BoundQuery {
    /// What it computes, not optimized.
    pub(crate) plan: LogicalPlan,
    /// Its columns.
    pub(crate) columns: Vec<Column>,
    /// Its text with all that its names stand for: equal texts mean equal queries.
    pub(crate) canonical: String,
}

/// What binding does with tables of the lake.
#[derive(Clone, Copy)]
pub(crate) enum LakeAccess<'a> {
    /// They are opened, and made if they do not exist yet.
    Open,
    /// Only their declared columns are looked at.
    Declared,
    /// They are opened, but one of them is read with the places of its rows.
    Rows(&'a RowTarget),
}

/// A table whose rows are changed, and what reads it with the places of its rows.
pub(crate) struct RowTarget {
    pub(crate) name: ObjectName,
    pub(crate) rows: Arc<dyn TableProvider>,
}

/// Binds a query.
pub(crate) async fn bind(
    context: &PlannerContext,
    session: &BatchSession,
    query: &Query,
    access: LakeAccess<'_>,
) -> Result<BoundQuery, Diagnostic> {
    let rewritten = rewrite(&query.body);
    if let Some(what) = rewritten.refused {
        return Err(Diagnostic::unsupported(what));
    }
    let mut canonical = rewritten.query.to_string();
    let mut tables = BTreeMap::new();
    for relation in &rewritten.relations {
        let Some(reference) = query.reference(relation) else {
            return Err(Diagnostic::unsupported(&format!("The relation {relation}")));
        };
        let written: Vec<String> = relation
            .0
            .iter()
            .filter_map(|part| part.as_ident().map(|ident| ident.value.clone()))
            .collect();
        let written = written.join(".");
        let span = place_of_name(query, relation);
        let bound = match context.resolve(&reference).await {
            Ok(Resolved::Table(table)) => table_source(context, session, *table, access).await,
            Ok(Resolved::View(view)) => view_source(context, session, &view, access).await,
            Err(error) => Err(Diagnostic { span: None, ..error }),
        };
        let (table, meaning) = bound.map_err(|error| error.at(span))?;
        canonical.push_str(&format!("\n{written} = {meaning}"));
        tables.insert(written, table);
    }
    let statement = Statement::Query(Box::new(rewritten.query));
    let plan = to_plan(session, tables, statement)
        .map_err(|error| diagnostic(&error).at(place_of_error(query, &error)))?;
    let columns = output_columns(&plan)?;
    Ok(BoundQuery { plan, columns, canonical })
}

/// The columns of a plan, each with Flink's type.
pub(super) fn output_columns(plan: &LogicalPlan) -> Result<Vec<Column>, Diagnostic> {
    columns_of(plan)
        .into_iter()
        .zip(plan.schema().fields())
        .map(|(column, field)| {
            column.ok_or_else(|| {
                let what = format!("Column '{}' of type {}", field.name(), field.data_type());
                Diagnostic::unsupported(&what).with_hint("CAST it to a type of Flink.")
            })
        })
        .collect()
}

/// How DataFusion is to read identifiers, numbers and NULLs.
fn parser_options() -> ParserOptions {
    ParserOptions::new()
        .with_enable_ident_normalization(false)
        .with_parse_float_as_decimal(true)
        .with_map_string_types_to_utf8view(false)
        .with_collect_spans(true)
        .with_default_null_ordering(NullOrdering::NullsMin)
}

fn to_plan(
    session: &BatchSession,
    tables: BTreeMap<String, Arc<dyn TableSource>>,
    statement: Statement,
) -> Result<LogicalPlan, DataFusionError> {
    let scope = QueryScope::new(Arc::clone(&session.functions), session.options(), tables);
    let planner = SqlToRel::new_with_options(&scope, parser_options());
    planner.sql_statement_to_plan(statement).and_then(narrow_literals)
}

type Bound = (Arc<dyn TableSource>, String);

/// Binds a view, boxed because views may use views.
fn view_source<'a>(
    context: &'a PlannerContext,
    session: &'a BatchSession,
    view: &'a ResolvedView,
    access: LakeAccess<'a>,
) -> futures::future::BoxFuture<'a, Result<Bound, Diagnostic>> {
    Box::pin(async move {
        let scope = context.in_scope(&view.scope);
        // Places in a view's query are not places of the statement.
        let bound = bind(&scope, session, &view.query, access)
            .await
            .map_err(|error| Diagnostic { span: None, ..error })?;
        let plan = renamed(bound.plan, &view.columns, &view.name.to_string())?;
        let table: Arc<dyn TableSource> = Arc::new(PlanTable::new(plan));
        Ok((table, format!("({}; columns {:?})", bound.canonical, view.columns)))
    })
}

/// The plan with its columns called by these names, if there are any.
fn renamed(plan: LogicalPlan, names: &[String], view: &str) -> Result<LogicalPlan, Diagnostic> {
    if names.is_empty() {
        return Ok(plan);
    }
    if names.len() != plan.schema().fields().len() {
        let message = format!(
            "View '{view}' names {} columns, but its query has {}.",
            names.len(),
            plan.schema().fields().len()
        );
        return Err(Diagnostic::new(Code::TableDefinition, message));
    }
    let columns: Vec<Expr> = plan
        .schema()
        .iter()
        .zip(names)
        .map(|((table, field), name)| {
            Expr::Column(ColumnName::new(table.cloned(), field.name())).alias(name)
        })
        .collect();
    project(plan, columns)
}

/// The plan and a projection on top.
pub(super) fn project(plan: LogicalPlan, columns: Vec<Expr>) -> Result<LogicalPlan, Diagnostic> {
    LogicalPlanBuilder::from(plan)
        .project(columns)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|error| diagnostic(&error))
}

async fn table_source(
    context: &PlannerContext,
    session: &BatchSession,
    table: ResolvedTable,
    access: LakeAccess<'_>,
) -> Result<Bound, Diagnostic> {
    let definition = &table.definition;
    if let LakeAccess::Rows(target) = access
        && target.name == table.name
        && table.metadata_table.is_none()
    {
        let types = definition.schema.columns.iter().map(|column| column.data_type.clone());
        let types = types.chain([LogicalType::String, LogicalType::BigInt]).collect();
        let rows = TypedTable::new(table.name.clone(), Arc::clone(&target.rows), types);
        return Ok((provider_as_source(Arc::new(rows)), String::new()));
    }
    let changes = reads_changes(&definition.options) && table.metadata_table.is_none();
    let lake = table.connector.as_deref() == Some("iceberg") && !changes;
    let (scan, origin) =
        if lake && matches!(access, LakeAccess::Declared) && table.metadata_table.is_none() {
            (declared_table(definition), "lake".to_owned())
        } else if lake {
            let (provider, types) = lake_table(context, &table).await?;
            let table: Arc<TypedTable> =
                Arc::new(TypedTable::new(table.name.clone(), provider, types));
            (provider_as_source(table), "lake".to_owned())
        } else {
            if let Some(kind) = &table.metadata_table {
                let name = format!("{}${kind}", definition.name);
                return Err(Diagnostic::object_not_found(&name)
                    .with_hint("Only tables of connector 'iceberg' have metadata tables."));
            }
            let source = create_source(context, &table)?;
            let origin = source.fingerprint();
            let table = SourceTable::new(definition.clone(), source);
            (provider_as_source(Arc::new(table)), origin)
        };
    let meaning = meaning(&table, &origin);
    // A table that follows the columns of a source shows all that it has.
    let follows = lake && !matches!(access, LakeAccess::Declared) && follows_columns(&table)?;
    if table.metadata_table.is_some() || follows {
        return Ok((scan, meaning));
    }
    let plan = with_declared_columns(session, &table, scan)?;
    Ok((plan, meaning))
}

/// A table without rows that has the declared columns.
fn declared_table(definition: &TableDefinition) -> Arc<dyn TableSource> {
    let empty = Arc::new(EmptyTable::new(definition.schema.to_arrow()));
    let types = definition.schema.columns.iter().map(|column| column.data_type.clone());
    provider_as_source(Arc::new(TypedTable::new(definition.name.clone(), empty, types.collect())))
}

fn create_source(
    context: &PlannerContext,
    table: &ResolvedTable,
) -> Result<Arc<dyn shardlake_connector::Source>, Diagnostic> {
    let factory = context.connectors.source(&table.name, table.connector.as_deref())?;
    check_metadata_columns(&table.definition, &factory.metadata_columns())?;
    crate::catalog::create_source(factory.as_ref(), &table.definition)
}

fn check_metadata_columns(
    definition: &TableDefinition,
    offered: &[shardlake_connector::MetadataColumn],
) -> Result<(), Diagnostic> {
    for (column, key) in definition.schema.columns.iter().zip(&definition.metadata) {
        let Some(key) = key else { continue };
        if !offered.iter().any(|candidate| candidate.key == key) {
            let mut keys: Vec<&str> = offered.iter().map(|candidate| candidate.key).collect();
            keys.sort_unstable();
            let message = format!(
                "Invalid metadata key '{key}' in column '{}' of table '{}'. The table source \
                 supports the following metadata keys for reading:\n{}",
                column.name,
                definition.name,
                keys.join("\n")
            );
            return Err(Diagnostic::table_definition(message));
        }
    }
    Ok(())
}

/// What a table stands for, without options: they may hold secrets.
fn meaning(table: &ResolvedTable, origin: &str) -> String {
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| match column {
            ResolvedColumn::Stored { index, .. } => {
                let stored = table.definition.schema.columns.get(*index);
                let key = table.definition.metadata_key(*index).unwrap_or_default();
                stored.map_or_else(String::new, |column| {
                    format!("{} {} {key}", column.name, column.data_type)
                })
            }
            ResolvedColumn::Computed { name, expression } => format!("{name} AS {expression}"),
        })
        .collect();
    let connector = table.connector.as_deref().unwrap_or_default();
    format!("{} [{connector} {origin}] ({})", table.name, columns.join(", "))
}

/// Casts what a table delivers to the declared types, and adds computed columns, in declared order.
fn with_declared_columns(
    session: &BatchSession,
    table: &ResolvedTable,
    scan: Arc<dyn TableSource>,
) -> Result<Arc<dyn TableSource>, Diagnostic> {
    let computed = table.columns.iter().any(|c| matches!(c, ResolvedColumn::Computed { .. }));
    let stored = scan.schema();
    let declared = table.definition.schema.to_arrow();
    let same_types = stored.fields().len() == declared.fields().len()
        && stored
            .fields()
            .iter()
            .zip(declared.fields())
            .all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type());
    if !computed && same_types {
        return Ok(scan);
    }
    let plan = LogicalPlanBuilder::scan(table.name.object.as_str(), scan, None)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|error| diagnostic(&error))?;
    let mut columns = Vec::with_capacity(table.columns.len());
    for column in &table.columns {
        columns.push(match column {
            ResolvedColumn::Stored { .. } => {
                let name = table.column_name(column);
                let read = Expr::Column(ColumnName::new(None::<&str>, name));
                let target = declared.field_with_name(name).map(|field| field.data_type().clone());
                cast_to(read, &plan, target.ok(), name)?
            }
            ResolvedColumn::Computed { name, expression } => {
                computed_column(session, &plan, name, expression)?
            }
        });
    }
    Ok(Arc::new(PlanTable::new(project(plan, columns)?)))
}

/// The expression cast to a type if it has another one, under a name.
pub(super) fn cast_to(
    expr: Expr,
    input: &LogicalPlan,
    target: Option<arrow::datatypes::DataType>,
    name: &str,
) -> Result<Expr, Diagnostic> {
    let from = expr.get_type(input.schema()).map_err(|error| diagnostic(&error))?;
    Ok(match target {
        Some(target) if target != from => Expr::Cast(Cast::new(Box::new(expr), target)).alias(name),
        _ => expr.alias(name),
    })
}

/// The computed columns of a table, without its source.
pub(super) fn computed_columns(
    session: &BatchSession,
    table: &ResolvedTable,
) -> Result<Vec<Column>, Diagnostic> {
    let computed: Vec<&str> = table
        .columns
        .iter()
        .filter(|column| matches!(column, ResolvedColumn::Computed { .. }))
        .map(|column| table.column_name(column))
        .collect();
    if computed.is_empty() {
        return Ok(Vec::new());
    }
    let source = with_declared_columns(session, table, declared_table(&table.definition))?;
    let plan = source.get_logical_plan().map(std::borrow::Cow::into_owned);
    let Some(plan) = plan else { return Err(Diagnostic::internal("no computed column")) };
    let columns = output_columns(&plan)?;
    Ok(columns.into_iter().filter(|column| computed.contains(&column.name.as_str())).collect())
}

fn computed_column(
    session: &BatchSession,
    input: &LogicalPlan,
    name: &str,
    expression: &str,
) -> Result<Expr, Diagnostic> {
    let parsed = parse_expression(expression)?;
    let scope = QueryScope::new(Arc::clone(&session.functions), session.options(), BTreeMap::new());
    let planner = SqlToRel::new_with_options(&scope, parser_options());
    let planned = planner
        .sql_to_expr(parsed, input.schema(), &mut SqlContext::new())
        .map_err(|error| diagnostic(&error).with_detail(format!("In computed column '{name}'.")))?;
    Ok(planned.alias(name))
}

/// The expression of a computed column; it is parsed as the one column of a query.
fn parse_expression(text: &str) -> Result<SqlExpr, Diagnostic> {
    let query = crate::parser::parse_query(&format!("SELECT {text}"))
        .map_err(|error| Diagnostic { span: None, ..error })?;
    let body = rewrite(&query.body).query.body;
    if let SetExpr::Select(select) = *body
        && let Some(SelectItem::ExprWithAlias { expr, .. } | SelectItem::UnnamedExpr(expr)) =
            select.projection.into_iter().next()
    {
        return Ok(expr);
    }
    Err(Diagnostic::syntax(format!("'{text}' is no expression")))
}

/// Has every column carry the one Arrow form of its Flink type.
pub(super) fn with_arrow_types(plan: LogicalPlan) -> Result<LogicalPlan, Diagnostic> {
    let usual = plan.schema().fields().iter().all(|field| {
        from_arrow(field.data_type()).is_some_and(|known| &known.to_arrow() == field.data_type())
    });
    if usual {
        return Ok(plan);
    }
    let mut columns = Vec::new();
    for (table, field) in plan.schema().iter() {
        let read = Expr::Column(ColumnName::new(table.cloned(), field.name()));
        let target = from_arrow(field.data_type()).map(|known| known.to_arrow());
        columns.push(cast_to(read, &plan, target, field.name())?);
    }
    project(plan, columns)
}
