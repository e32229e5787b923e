//! The columns of an INSERT: which query column fills which sink column, and the casts in between.

use arrow::datatypes::DataType;
use datafusion::common::{Column as ColumnName, ScalarValue};
use datafusion::logical_expr::{Cast, Expr, LogicalPlan};
use shardlake_change::{Column, LogicalType, TableSchema};
use shardlake_connector::TableDefinition;

use super::bind::{BoundQuery, project};
use crate::catalog::ResolvedTable;
use crate::diagnostic::{Code, Diagnostic};
use crate::statement::Insert;

/// The definition of a table as its sink sees it: without columns that cannot be written.
pub(super) fn sink_definition(table: &ResolvedTable) -> TableDefinition {
    let writable = table.writable_columns();
    let definition = &table.definition;
    let pick = |index: &usize| definition.schema.columns.get(*index).cloned();
    let columns: Vec<Column> = writable.iter().filter_map(pick).collect();
    let metadata =
        writable.iter().map(|index| definition.metadata.get(*index).cloned().flatten()).collect();
    let mut options = definition.options.clone();
    if table.connector.as_deref() == Some("iceberg") {
        super::lake::remove_read_options(&mut options);
    }
    TableDefinition {
        schema: TableSchema { columns, primary_key: definition.schema.primary_key.clone() },
        metadata,
        options,
        ..definition.clone()
    }
}

/// The plan whose columns are exactly those of the sink.
pub(super) fn sink_plan(
    insert: &Insert,
    sink: &TableDefinition,
    query: &BoundQuery,
) -> Result<LogicalPlan, Diagnostic> {
    let columns = &sink.schema.columns;
    let targets = target_columns(insert, columns)?;
    let filled: Vec<&Column> = targets.iter().filter_map(|index| columns.get(*index)).collect();
    check_types(sink, query, &filled)?;
    let read: Vec<(Expr, &DataType)> = query
        .plan
        .schema()
        .iter()
        .map(|(table, field)| {
            (Expr::Column(ColumnName::new(table.cloned(), field.name())), field.data_type())
        })
        .collect();
    let mut outputs = Vec::with_capacity(columns.len());
    for (index, column) in columns.iter().enumerate() {
        let position = targets.iter().position(|target| *target == index);
        let source = position.and_then(|position| read.get(position));
        let target = column.data_type.to_arrow();
        outputs.push(match source {
            Some((source, from)) => convert(source.clone(), from, target).alias(&column.name),
            None if column.nullable => null(&target)?.alias(&column.name),
            None => {
                let message = format!(
                    "SQL validation failed. Column '{}' has no default value and does not allow \
                     NULLs",
                    column.name
                );
                return Err(Diagnostic::new(Code::TypeMismatch, message)
                    .with_hint("Add the column to the column list and to the query."));
            }
        });
    }
    project(query.plan.clone(), outputs)
}

fn convert(expr: Expr, from: &DataType, target: DataType) -> Expr {
    if from == &target { expr } else { Expr::Cast(Cast::new(Box::new(expr), target)) }
}

fn null(target: &DataType) -> Result<Expr, Diagnostic> {
    let value = ScalarValue::try_from(target).map_err(|error| super::diagnostic(&error))?;
    Ok(Expr::Literal(value, None))
}

/// For each column of the query, in order, the index of the sink's column that it fills.
fn target_columns(insert: &Insert, columns: &[Column]) -> Result<Vec<usize>, Diagnostic> {
    if insert.columns.is_empty() {
        return Ok((0..columns.len()).collect());
    }
    let mut targets = Vec::with_capacity(insert.columns.len());
    for name in &insert.columns {
        let Some(index) = columns.iter().position(|column| &column.name == name) else {
            let available: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            let message = format!("SQL validation failed. Unknown target column '{name}'");
            return Err(Diagnostic::new(Code::ColumnNotFound, message)
                .with_hint(format!("Columns that can be written: {}", available.join(", "))));
        };
        if targets.contains(&index) {
            let message =
                format!("SQL validation failed. Target column '{name}' is assigned more than once");
            return Err(Diagnostic::new(Code::ColumnNotFound, message));
        }
        targets.push(index);
    }
    Ok(targets)
}

fn check_types(
    sink: &TableDefinition,
    query: &BoundQuery,
    filled: &[&Column],
) -> Result<(), Diagnostic> {
    if query.columns.len() != filled.len() {
        return Err(mismatch(sink, query, filled, "Different number of columns."));
    }
    for (position, (from, to)) in query.columns.iter().zip(filled).enumerate() {
        let untyped = query
            .plan
            .schema()
            .fields()
            .get(position)
            .is_some_and(|field| field.data_type() == &DataType::Null);
        if !untyped && !is_implicit(&from.data_type, &to.data_type) {
            let cause =
                format!("Incompatible types for sink column '{}' at position {position}.", to.name);
            return Err(mismatch(sink, query, filled, &cause));
        }
    }
    Ok(())
}

fn mismatch(
    sink: &TableDefinition,
    query: &BoundQuery,
    filled: &[&Column],
    cause: &str,
) -> Diagnostic {
    let message = format!(
        "Column types of query result and sink for '{}' do not match.\nCause: {cause}\n\n\
         Query schema: {}\nSink schema:  {}",
        sink.name,
        schema_text(query.columns.iter()),
        schema_text(filled.iter().copied()),
    );
    Diagnostic::new(Code::TypeMismatch, message)
        .with_hint("CAST the columns of the query to the types of the sink.")
}

fn schema_text<'a>(columns: impl Iterator<Item = &'a Column>) -> String {
    let columns: Vec<String> = columns
        .map(|column| {
            let not_null = if column.nullable { "" } else { " NOT NULL" };
            format!("{}: {}{not_null}", column.name, column.data_type)
        })
        .collect();
    format!("[{}]", columns.join(", "))
}

/// Whether values of one type go into a column of another without a CAST: Flink's
/// `LogicalTypeCasts.supportsImplicitCast`.
fn is_implicit(from: &LogicalType, to: &LogicalType) -> bool {
    use LogicalType as T;
    match to {
        T::Char(_) => matches!(from, T::Char(_)),
        T::VarChar(_) | T::String => from.is_text(),
        T::Boolean => from == &T::Boolean,
        T::Binary(_) => matches!(from, T::Binary(_)),
        T::VarBinary(_) | T::Bytes => matches!(from, T::Binary(_) | T::VarBinary(_) | T::Bytes),
        T::Decimal { .. } | T::Double => is_number(from),
        T::TinyInt => from == &T::TinyInt,
        T::SmallInt => matches!(from, T::TinyInt | T::SmallInt),
        T::Int => matches!(from, T::TinyInt | T::SmallInt | T::Int),
        T::BigInt => matches!(from, T::TinyInt | T::SmallInt | T::Int | T::BigInt),
        T::Float => is_number(from) && from != &T::Double,
        T::Date => matches!(from, T::Date | T::Timestamp(_)),
        T::Time(_) => matches!(from, T::Time(_) | T::Timestamp(_)),
        T::Timestamp(_) => matches!(from, T::Timestamp(_)),
        T::TimestampLtz(_) => matches!(from, T::TimestampLtz(_)),
        T::Array(to) => matches!(from, T::Array(from) if is_implicit(from, to)),
        T::Map(to_key, to_value) => matches!(
            from,
            T::Map(key, value) if is_implicit(key, to_key) && is_implicit(value, to_value)
        ),
        T::Row(to) => match from {
            T::Row(from) => {
                from.len() == to.len()
                    && from.iter().zip(to).all(|((_, from), (_, to))| is_implicit(from, to))
            }
            _ => false,
        },
    }
}

const fn is_number(data_type: &LogicalType) -> bool {
    use LogicalType as T;
    matches!(
        data_type,
        T::TinyInt | T::SmallInt | T::Int | T::BigInt | T::Float | T::Double | T::Decimal { .. }
    )
}
