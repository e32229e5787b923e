//! The columns of batches follow those of the tables.
//!
//! A lane's batches have the declared columns and, behind them, every column that any of its tables has had.
//! Types only widen, as Iceberg can widen them: whole numbers, FLOAT to DOUBLE, the precision of DECIMAL. A
//! column that a table lacks is NULL in its rows.

use std::sync::Arc;

use shardlake_change::{Column, LogicalType, TableId};
use shardlake_mysql_wire::{SourceColumn, SourceType};

use crate::discovery::{ServerColumn, ServerTable};
use crate::error::{Error, Result};
use crate::lane::Shared;
use crate::position::LanePosition;

/// DECIMALs with more digits come as text.
const DECIMAL_DIGITS: u8 = 38;

/// The columns with which a lane begins.
pub(crate) fn begin(
    shared: &Arc<Shared>,
    position: &mut LanePosition,
    tables: &[Arc<ServerTable>],
) -> Result<Arc<Shared>> {
    if !shared.schema_change.is_some_and(|behavior| behavior.follows_columns()) {
        return Ok(Arc::clone(shared));
    }
    let mut columns = shared.shape.physical().to_vec();
    match &position.evolved {
        Some(evolved) => {
            for (name, data_type) in evolved {
                match columns.iter_mut().find(|column| column.name == *name) {
                    Some(column) => column.data_type = widened(&column.data_type, data_type),
                    None => columns.push(Column::new(name, data_type.clone())),
                }
            }
        }
        None => {
            for table in tables {
                columns = merged(shared, &columns, &table.id, &table.columns)?.unwrap_or(columns);
            }
        }
    }
    position.evolved = Some(stored(&columns));
    let shape = shared.shape.with_physical(columns);
    Ok(Arc::new(Shared { shape, ..Shared::clone(shared) }))
}

/// What batches are like when a table has these columns; `None` if they are like that already.
pub(crate) fn follow(
    shared: &Shared,
    table: &TableId,
    columns: &[ServerColumn],
) -> Result<Option<Shared>> {
    let merged = merged(shared, shared.shape.physical(), table, columns)?;
    Ok(merged
        .map(|columns| Shared { shape: shared.shape.with_physical(columns), ..shared.clone() }))
}

/// The columns of batches, for a position.
pub(crate) fn stored(columns: &[Column]) -> Vec<(String, LogicalType)> {
    columns.iter().map(|column| (column.name.clone(), column.data_type.clone())).collect()
}

fn merged(
    shared: &Shared,
    before: &[Column],
    table: &TableId,
    columns: &[ServerColumn],
) -> Result<Option<Vec<Column>>> {
    let mut merged = before.to_vec();
    for column in columns {
        // Hidden by a metadata column of that name; and a column of a type that is not known is not read.
        if shared.shape.is_metadata(&column.name) {
            continue;
        }
        let Some(data_type) = logical_type(column) else {
            tracing::warn!(table = %table, column = column.name, "a column's type is not known");
            continue;
        };
        match merged.iter_mut().find(|known| known.name == column.name) {
            None => merged.push(Column::new(&column.name, data_type)),
            Some(known) => {
                let wider = widened(&known.data_type, &data_type);
                if wider != known.data_type && shared.shape.key().contains(&known.name) {
                    return Err(key_widened(table, known, &wider));
                }
                known.data_type = wider;
            }
        }
    }
    Ok((merged != before).then_some(merged))
}

fn key_widened(table: &TableId, column: &Column, wider: &LogicalType) -> Error {
    let message = format!(
        "column '{}' of table {table} has values of type {wider} now, but it is part of the primary \
         key, whose type {} cannot be changed while its rows are indexed: declare it as {wider} in a \
         new sink table and start afresh",
        column.name, column.data_type
    );
    Error::Table { table: table.clone(), message }
}

/// A type that holds the values of both, if Iceberg can widen the first one to it; otherwise the first one.
fn widened(known: &LogicalType, new: &LogicalType) -> LogicalType {
    use LogicalType as T;
    const fn rank(data_type: &LogicalType) -> Option<u8> {
        match data_type {
            T::TinyInt => Some(1),
            T::SmallInt => Some(2),
            T::Int => Some(3),
            T::BigInt => Some(4),
            _ => None,
        }
    }
    match (known, new) {
        (T::Float, T::Double) => T::Double,
        (
            T::Decimal { precision, scale },
            T::Decimal { precision: new_precision, scale: new_scale },
        ) if scale == new_scale && new_precision > precision => new.clone(),
        (T::Timestamp(known), T::Timestamp(new)) => T::Timestamp(*known.max(new)),
        (T::TimestampLtz(known), T::TimestampLtz(new)) => T::TimestampLtz(*known.max(new)),
        (T::Time(known), T::Time(new)) => T::Time(*known.max(new)),
        _ => match (rank(known), rank(new)) {
            (Some(known_rank), Some(new_rank)) if new_rank > known_rank => new.clone(),
            _ => known.clone(),
        },
    }
}

/// The type of Flink SQL for a column, as Flink CDC maps it, without lengths of texts.
fn logical_type(column: &ServerColumn) -> Option<LogicalType> {
    use LogicalType as T;
    let charset = column.charset.as_deref();
    let source = SourceColumn::declared(&column.name, &column.column_type, charset).ok()?;
    let is_boolean = column.column_type.to_ascii_lowercase().starts_with("tinyint(1)");
    Some(match source.data_type {
        SourceType::Integer { unsigned: false, .. } if is_boolean => T::Boolean,
        SourceType::Integer { bytes, unsigned } => match (bytes, unsigned) {
            (1, false) => T::TinyInt,
            (1, true) | (2, false) => T::SmallInt,
            (2, true) | (3, _) | (4, false) => T::Int,
            (4, true) | (8, false) => T::BigInt,
            _ => T::Decimal { precision: 20, scale: 0 },
        },
        SourceType::Float => T::Float,
        SourceType::Double => T::Double,
        SourceType::Decimal { precision, scale } if precision <= DECIMAL_DIGITS => {
            T::Decimal { precision, scale }
        }
        SourceType::Bit { bits: 1 } => T::Boolean,
        SourceType::Year => T::Int,
        SourceType::Date => T::Date,
        SourceType::Time { fraction } => T::Time(fraction),
        SourceType::DateTime { fraction } => T::Timestamp(fraction),
        SourceType::Timestamp { fraction } => T::TimestampLtz(fraction),
        SourceType::Bit { .. }
        | SourceType::Binary { .. }
        | SourceType::Bytes
        | SourceType::Vector => T::Bytes,
        SourceType::Set(_) => T::Array(Box::new(T::String)),
        SourceType::Decimal { .. }
        | SourceType::Text(_)
        | SourceType::Enum(_)
        | SourceType::Json
        | SourceType::Geometry
        | SourceType::Uuid
        | SourceType::Inet4
        | SourceType::Inet6 => T::String,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(column_type: &str) -> ServerColumn {
        ServerColumn {
            name: "c".to_owned(),
            data_type: String::new(),
            column_type: column_type.to_owned(),
            charset: None,
        }
    }

    #[test]
    fn types_are_those_of_flink_cdc() {
        for (column_type, expected) in [
            ("tinyint(1)", "BOOLEAN"),
            ("tinyint", "TINYINT"),
            ("tinyint unsigned", "SMALLINT"),
            ("mediumint unsigned", "INT"),
            ("int unsigned", "BIGINT"),
            ("bigint unsigned", "DECIMAL(20, 0)"),
            ("decimal(38,5)", "DECIMAL(38, 5)"),
            ("decimal(65,5)", "STRING"),
            ("datetime(3)", "TIMESTAMP(3)"),
            ("timestamp", "TIMESTAMP_LTZ(0)"),
            ("enum('a','b')", "STRING"),
            ("set('a','b')", "ARRAY<STRING>"),
            ("varbinary(9)", "BYTES"),
            ("varchar(9)", "STRING"),
        ] {
            assert_eq!(logical_type(&column(column_type)).unwrap().to_string(), expected);
        }
        assert_eq!(logical_type(&column("hyperloglog")), None);
    }

    #[test]
    fn types_only_widen_as_iceberg_can() {
        use LogicalType as T;
        let decimal = |precision, scale| T::Decimal { precision, scale };
        for (known, new, expected) in [
            (T::Int, T::BigInt, T::BigInt),
            (T::BigInt, T::Int, T::BigInt),
            (T::Float, T::Double, T::Double),
            (decimal(10, 2), decimal(12, 2), decimal(12, 2)),
            (decimal(10, 2), decimal(12, 3), decimal(10, 2)),
            (decimal(20, 0), T::BigInt, decimal(20, 0)),
            (T::Int, T::String, T::Int),
            (T::String, T::Int, T::String),
            (T::Timestamp(0), T::Timestamp(6), T::Timestamp(6)),
        ] {
            assert_eq!(widened(&known, &new), expected);
        }
    }
}
