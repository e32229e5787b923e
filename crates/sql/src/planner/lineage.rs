//! Flink's types of a plan's columns.
//!
//! DataFusion knows Arrow types only; `VARCHAR(10)` and `STRING` are the same to it. A column that
//! reaches the output unchanged keeps the type that its table declares.

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::datasource::DefaultTableSource;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    Distinct, Expr, ExprSchemable as _, LogicalPlan, TableScan, TableSource,
};
use shardlake_change::{Column, LogicalType};
use shardlake_connector::ObjectName;

use super::table::{SourceTable, TypedTable};
use super::types::from_arrow;
use crate::functions::{CUT_MOMENT, CUT_TEXT, PAD_TEXT};

/// The columns of a plan: names, Flink types, whether they may be NULL. `None` in place of a column
/// whose Arrow type has no counterpart.
pub(crate) fn columns_of(plan: &LogicalPlan) -> Vec<Option<Column>> {
    let declared = types_of(plan);
    plan.schema()
        .fields()
        .iter()
        .zip(declared)
        .map(|(field, declared)| {
            let declared = declared.filter(|known| &known.to_arrow() == field.data_type());
            let data_type = declared.or_else(|| from_arrow(field.data_type()))?;
            let nullable = field.is_nullable();
            Some(Column { name: field.name().clone(), data_type, nullable, comment: None })
        })
        .collect()
}

/// The connector table or lake table that a scan reads.
pub(crate) fn source_table(source: &dyn TableSource) -> Option<&SourceTable> {
    source.downcast_ref::<DefaultTableSource>()?.table_provider.downcast_ref::<SourceTable>()
}

/// The name of the table that a scan reads.
pub(crate) fn table_name(source: &dyn TableSource) -> Option<&ObjectName> {
    let provider = &source.downcast_ref::<DefaultTableSource>()?.table_provider;
    match provider.downcast_ref::<SourceTable>() {
        Some(table) => Some(&table.definition.name),
        None => provider.downcast_ref::<TypedTable>().map(|table| &table.name),
    }
}

/// Calls `note` for each scan below `plan`, with the columns of the scanned table that reach one of the columns
/// `key` of the plan without being computed with.
pub(crate) fn key_origins(
    plan: &LogicalPlan,
    key: &[usize],
    note: &mut impl FnMut(&TableScan, Vec<usize>),
) {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let column = |index: &usize| match &scan.projection {
                Some(projection) => projection.get(*index).copied(),
                None => Some(*index),
            };
            note(scan, key.iter().filter_map(column).collect());
        }
        LogicalPlan::Projection(projection) => {
            let schema = projection.input.schema();
            let origin = |index: &usize| {
                projection.expr.get(*index).and_then(|expr| column_of(expr, schema))
            };
            let key: Vec<usize> = key.iter().filter_map(origin).collect();
            key_origins(&projection.input, &key, note);
        }
        LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Union(_) => {
            plan.inputs().into_iter().for_each(|input| key_origins(input, key, note));
        }
        _ => plan.inputs().into_iter().for_each(|input| key_origins(input, &[], note)),
    }
}

/// For each column of the plan, the column of the one scan below it that arrives there unchanged; `None` if rows are
/// filtered or come from several places.
pub(crate) fn origins(plan: &LogicalPlan) -> Option<Vec<Option<usize>>> {
    match plan {
        LogicalPlan::TableScan(scan) if scan.filters.is_empty() && scan.fetch.is_none() => {
            let width = scan.projected_schema.fields().len();
            Some(match &scan.projection {
                Some(projection) => projection.iter().copied().map(Some).collect(),
                None => (0..width).map(Some).collect(),
            })
        }
        LogicalPlan::SubqueryAlias(alias) => origins(&alias.input),
        LogicalPlan::Projection(projection) => {
            let input = origins(&projection.input)?;
            let schema = projection.input.schema();
            let origin =
                |expr: &Expr| column_of(expr, schema).and_then(|at| input.get(at).copied()?);
            Some(projection.expr.iter().map(origin).collect())
        }
        _ => None,
    }
}

/// The column of the input that an expression is, under another name or type at most.
fn column_of(expr: &Expr, input: &DFSchema) -> Option<usize> {
    match expr {
        Expr::Alias(alias) => column_of(&alias.expr, input),
        Expr::Cast(cast) => column_of(&cast.expr, input),
        Expr::Column(column) => input.maybe_index_of_column(column),
        _ => None,
    }
}

/// The declared type of each column where it is known; as long as the plan's schema.
pub(crate) fn types_of(plan: &LogicalPlan) -> Vec<Option<LogicalType>> {
    let width = plan.schema().fields().len();
    let types = match plan {
        LogicalPlan::TableScan(scan) => scan_types(scan),
        LogicalPlan::Projection(projection) => {
            let input = types_of(&projection.input);
            let schema = projection.input.schema();
            projection.expr.iter().map(|expr| type_of(expr, schema, &input)).collect()
        }
        LogicalPlan::SubqueryAlias(alias) => types_of(&alias.input),
        LogicalPlan::Filter(filter) => types_of(&filter.input),
        LogicalPlan::Sort(sort) => types_of(&sort.input),
        LogicalPlan::Limit(limit) => types_of(&limit.input),
        LogicalPlan::Distinct(Distinct::All(input)) => types_of(input),
        LogicalPlan::Union(union) => union_types(union.inputs.iter().map(|input| types_of(input))),
        LogicalPlan::Aggregate(aggregate) => {
            let input = types_of(&aggregate.input);
            let schema = aggregate.input.schema();
            let mut types: Vec<_> =
                aggregate.group_expr.iter().map(|expr| type_of(expr, schema, &input)).collect();
            types.extend(aggregate.aggr_expr.iter().map(|_| None));
            types
        }
        LogicalPlan::Window(window) => types_of(&window.input),
        LogicalPlan::Join(join) => {
            types_of(&join.left).into_iter().chain(types_of(&join.right)).collect()
        }
        LogicalPlan::Values(values) => (0..width)
            .map(|column| {
                let cells = values.values.iter().map(|row| row.get(column));
                text_type(cells.map(|cell| cell.map(literal_length)))
            })
            .collect(),
        _ => Vec::new(),
    };
    let mut types: Vec<Option<LogicalType>> = types;
    types.resize(width, None);
    types
}

fn scan_types(scan: &TableScan) -> Vec<Option<LogicalType>> {
    let Some(source) = scan.source.downcast_ref::<DefaultTableSource>() else {
        return Vec::new();
    };
    let provider = &source.table_provider;
    let types: Vec<LogicalType> = if let Some(table) = provider.downcast_ref::<SourceTable>() {
        let columns = &table.definition.schema.columns;
        columns.iter().map(|column| column.data_type.clone()).collect()
    } else if let Some(table) = provider.downcast_ref::<TypedTable>() {
        table.types.clone()
    } else {
        return Vec::new();
    };
    match &scan.projection {
        None => types.into_iter().map(Some).collect(),
        Some(columns) => columns.iter().map(|column| types.get(*column).cloned()).collect(),
    }
}

fn union_types(
    mut inputs: impl Iterator<Item = Vec<Option<LogicalType>>>,
) -> Vec<Option<LogicalType>> {
    let Some(mut types) = inputs.next() else { return Vec::new() };
    for input in inputs {
        for (index, known) in types.iter_mut().enumerate() {
            if input.get(index) != Some(known) {
                *known = None;
            }
        }
    }
    types
}

/// The declared type of an expression that hands a column or a constant through.
pub(crate) fn type_of(
    expr: &Expr,
    schema: &DFSchema,
    input: &[Option<LogicalType>],
) -> Option<LogicalType> {
    match expr {
        Expr::Column(column) => {
            let index = schema.maybe_index_of_column(column)?;
            input.get(index)?.clone()
        }
        Expr::Alias(alias) => type_of(&alias.expr, schema, input),
        Expr::Literal(..) => text_type(std::iter::once(Some(literal_length(expr)))),
        Expr::ScalarFunction(call) => function_type(call, schema),
        _ => None,
    }
}

/// The type of a call whose Arrow type does not tell a length or a precision.
fn function_type(call: &ScalarFunction, schema: &DFSchema) -> Option<LogicalType> {
    let size = || match call.args.get(1) {
        Some(Expr::Literal(ScalarValue::Int32(Some(size)), _)) => u32::try_from(*size).ok(),
        _ => None,
    };
    match call.name() {
        CUT_TEXT => size().map(LogicalType::VarChar),
        PAD_TEXT => size().map(LogicalType::Char),
        CUT_MOMENT => {
            let digits = u8::try_from(size()?).ok()?;
            match from_arrow(&call.args.first()?.get_type(schema).ok()?)? {
                LogicalType::Time(_) => Some(LogicalType::Time(digits)),
                LogicalType::Timestamp(_) => Some(LogicalType::Timestamp(digits)),
                LogicalType::TimestampLtz(_) => Some(LogicalType::TimestampLtz(digits)),
                _ => None,
            }
        }
        "to_timestamp" | "localtimestamp" => Some(LogicalType::Timestamp(3)),
        "to_timestamp_ltz" | "current_timestamp" | "now" | "current_row_timestamp" | "proctime" => {
            Some(LogicalType::TimestampLtz(3))
        }
        "localtime" | "current_time" => Some(LogicalType::Time(0)),
        _ => None,
    }
}

/// The characters of a text constant; `None` for anything else.
fn literal_length(expr: &Expr) -> Option<u32> {
    match expr {
        Expr::Alias(alias) => literal_length(&alias.expr),
        Expr::Literal(ScalarValue::Utf8(Some(text)), _) => {
            u32::try_from(text.chars().count()).ok().filter(|len| *len > 0)
        }
        _ => None,
    }
}

/// `CHAR(n)` for text constants of one length, `VARCHAR(n)` for several.
fn text_type(lengths: impl Iterator<Item = Option<Option<u32>>>) -> Option<LogicalType> {
    let lengths: Vec<u32> = lengths.map(Option::flatten).collect::<Option<_>>()?;
    let (least, most) = (*lengths.iter().min()?, *lengths.iter().max()?);
    Some(if least == most { LogicalType::Char(most) } else { LogicalType::VarChar(most) })
}
