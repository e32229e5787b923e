//! What a partition tells about the columns that it was made from.
//!
//! A partition value is turned back into the range of column values that it stands for, so that a
//! filter is held against partitions exactly as against the bounds of a file.

use arrow::temporal_conversions::{MICROSECONDS_IN_DAY, SECONDS_IN_DAY};
use iceberg::spec::{
    Datum, FieldSummary, Literal, PartitionSpec, PrimitiveType, Schema, Struct, Transform, Type,
};

use super::bounds::{ColumnBounds, Known, is_float};
use super::value::{Unit, Value, after_prefix, after_prefix_bytes};

/// What the partition of a data file tells.
pub(crate) fn of_partition(
    spec: &PartitionSpec,
    schema: &Schema,
    partition: &Struct,
) -> Vec<ColumnBounds> {
    let fields = spec.fields().iter().zip(partition.iter());
    fields
        .filter_map(|(field, value)| {
            let source = primitive(schema, field.source_id)?;
            let result = result_type(&field.transform, &source)?;
            if matches!(field.transform, Transform::Void | Transform::Unknown) {
                return None;
            }
            let Some(value) = value else {
                // Nothing but NULL is transformed to NULL.
                return Some(
                    Tale { nulls: true, values: false, nan: false }
                        .bounds(field.source_id, Known::Range { lower: None, upper: None }),
                );
            };
            let Literal::Primitive(literal) = value else { return None };
            // A NaN as partition: nothing but NaN is in it, which no bound describes.
            let value = Value::from_iceberg(literal, &result)?;
            let known = preimage(&field.transform, &source, Some(&value), Some(&value))?;
            let tale = Tale { nulls: false, values: true, nan: false };
            Some(tale.bounds(field.source_id, known))
        })
        .collect()
}

/// What a manifest tells about the partitions of its files.
pub(crate) fn of_manifest(
    spec: &PartitionSpec,
    schema: &Schema,
    summaries: &[FieldSummary],
) -> Vec<ColumnBounds> {
    let fields = spec.fields().iter().zip(summaries);
    fields
        .filter_map(|(field, summary)| {
            let source = primitive(schema, field.source_id)?;
            let result = result_type(&field.transform, &source)?;
            let bound = |bytes: Option<&[u8]>| {
                let datum = Datum::try_from_bytes(bytes?, result.clone()).ok()?;
                Value::from_iceberg(datum.literal(), datum.data_type())
            };
            let lower = bound(summary.lower_bound.as_ref().map(|bytes| bytes.as_slice()));
            let upper = bound(summary.upper_bound.as_ref().map(|bytes| bytes.as_slice()));
            let no_bounds = summary.lower_bound.is_none() && summary.upper_bound.is_none();
            let nan = is_float(&source) && summary.contains_nan != Some(false);
            let known = preimage(&field.transform, &source, lower.as_ref(), upper.as_ref())?;
            let values = !(no_bounds && summary.contains_null) || nan;
            Some(Tale { nulls: summary.contains_null, values, nan }.bounds(field.source_id, known))
        })
        .collect()
}

struct Tale {
    nulls: bool,
    values: bool,
    nan: bool,
}

impl Tale {
    const fn bounds(&self, field_id: i32, values: Known) -> ColumnBounds {
        ColumnBounds {
            field_id,
            values,
            may_be_null: self.nulls,
            may_be_value: self.values,
            may_be_nan: self.nan,
        }
    }
}

fn primitive(schema: &Schema, field_id: i32) -> Option<PrimitiveType> {
    match schema.field_by_id(field_id)?.field_type.as_ref() {
        Type::Primitive(kind) => Some(kind.clone()),
        Type::Struct(_) | Type::List(_) | Type::Map(_) => None,
    }
}

fn result_type(transform: &Transform, source: &PrimitiveType) -> Option<PrimitiveType> {
    match transform.result_type(&Type::Primitive(source.clone())).ok()? {
        Type::Primitive(kind) => Some(kind),
        Type::Struct(_) | Type::List(_) | Type::Map(_) => None,
    }
}

/// The column values whose transformed values lie between `lower` and `upper`.
fn preimage(
    transform: &Transform,
    source: &PrimitiveType,
    lower: Option<&Value>,
    upper: Option<&Value>,
) -> Option<Known> {
    let range = |lower, upper| Some(Known::Range { lower, upper });
    match transform {
        Transform::Identity => range(lower.cloned(), upper.cloned()),
        Transform::Truncate(width) => {
            range(lower.cloned(), upper.and_then(|upper| last_truncated(upper, *width)))
        }
        Transform::Bucket(count) => match (lower, upper) {
            (Some(Value::Number(lower, _)), Some(Value::Number(upper, _))) => {
                Some(Known::Buckets { count: *count, lower: *lower, upper: *upper })
            }
            _ => None,
        },
        Transform::Year | Transform::Month | Transform::Day | Transform::Hour => {
            // Old writers rounded times before 1970 toward it: such a partition may also hold
            // values of the unit before.
            let lower = lower.and_then(|lower| match lower {
                Value::Number(number, _) if *number <= 0 => {
                    start(transform, source, number.checked_sub(1)?)
                }
                Value::Number(number, _) => start(transform, source, *number),
                _ => None,
            });
            let upper = upper.and_then(|upper| match upper {
                Value::Number(number, _) => {
                    before(start(transform, source, number.checked_add(1)?)?)
                }
                _ => None,
            });
            range(lower, upper)
        }
        Transform::Void | Transform::Unknown => None,
    }
}

/// The greatest value that is truncated to `value`, or more.
fn last_truncated(value: &Value, width: u32) -> Option<Value> {
    let above = i128::from(width).checked_sub(1)?;
    match value {
        Value::Number(number, unit) => Some(Value::Number(number.checked_add(above)?, *unit)),
        Value::Decimal(digits, scale) => Some(Value::Decimal(digits.checked_add(above)?, *scale)),
        Value::Text(prefix) => after_prefix(prefix).map(Value::Text),
        Value::Bytes(prefix) => after_prefix_bytes(prefix).map(Value::Bytes),
        Value::Boolean(_) | Value::Float(_) => None,
    }
}

/// The first value of a year, month, day or hour, counted from 1970.
fn start(transform: &Transform, source: &PrimitiveType, number: i128) -> Option<Value> {
    const SECONDS_IN_HOUR: i128 = 3_600;
    let seconds_in_day = i128::from(SECONDS_IN_DAY);
    let seconds = match transform {
        Transform::Year => first_day(number.checked_mul(12)?)?.checked_mul(seconds_in_day)?,
        Transform::Month => first_day(number)?.checked_mul(seconds_in_day)?,
        Transform::Day => number.checked_mul(seconds_in_day)?,
        Transform::Hour => number.checked_mul(SECONDS_IN_HOUR)?,
        _ => return None,
    };
    match source {
        PrimitiveType::Date => Some(Value::Number(seconds.div_euclid(seconds_in_day), Unit::Day)),
        PrimitiveType::Timestamp | PrimitiveType::Timestamptz => {
            let micros = i128::from(MICROSECONDS_IN_DAY / SECONDS_IN_DAY);
            Some(Value::Number(seconds.checked_mul(micros)?, Unit::TimestampMicros))
        }
        PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs => {
            Some(Value::Number(seconds.checked_mul(1_000_000_000)?, Unit::TimestampNanos))
        }
        _ => None,
    }
}

fn before(value: Value) -> Option<Value> {
    match value {
        Value::Number(number, unit) => Some(Value::Number(number.checked_sub(1)?, unit)),
        other => Some(other),
    }
}

/// The first day of a month, both counted from January 1970 (proleptic Gregorian calendar).
fn first_day(month: i128) -> Option<i128> {
    // Days from civil, after Howard Hinnant: the year starts in March, so the leap day is its last.
    let year = month.div_euclid(12).checked_add(1970)?;
    let month = month.rem_euclid(12);
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * month + 2) / 5;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era.checked_mul(146_097)?.checked_add(day_of_era)?.checked_sub(719_468)
}

#[cfg(test)]
mod tests;
