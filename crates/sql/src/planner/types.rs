//! Type names of Flink SQL in queries, and the way back from Arrow types to Flink's.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, BinaryLength, CharacterLength, DataType as SqlType, ExactNumberInfo,
    TimezoneInfo,
};
use shardlake_change::LogicalType;

/// The longest `VARCHAR`, which is `STRING`, and `VARBINARY`, which is `BYTES`.
const LONGEST: u64 = 2_147_483_647;

/// The Flink type of an Arrow type; `None` for a type that no column of Flink has.
///
/// What Arrow does not tell (a length, a precision below the unit's) is taken as the greatest.
#[must_use]
pub fn from_arrow(data_type: &DataType) -> Option<LogicalType> {
    Some(match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => LogicalType::String,
        DataType::Boolean => LogicalType::Boolean,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => LogicalType::Bytes,
        DataType::FixedSizeBinary(len) => LogicalType::Binary(u32::try_from(*len).ok()?),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => LogicalType::Decimal {
            precision: (*precision).min(38),
            scale: u8::try_from(*scale).unwrap_or(0).min(38),
        },
        DataType::Int8 => LogicalType::TinyInt,
        DataType::Int16 | DataType::UInt8 => LogicalType::SmallInt,
        DataType::Int32 | DataType::UInt16 => LogicalType::Int,
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => LogicalType::BigInt,
        DataType::Float16 | DataType::Float32 => LogicalType::Float,
        DataType::Float64 => LogicalType::Double,
        DataType::Date32 | DataType::Date64 => LogicalType::Date,
        DataType::Time32(TimeUnit::Second) => LogicalType::Time(0),
        DataType::Time32(_) => LogicalType::Time(3),
        DataType::Time64(_) => LogicalType::Time(6),
        DataType::Timestamp(unit, None) => LogicalType::Timestamp(digits(*unit)),
        DataType::Timestamp(unit, Some(_)) => LogicalType::TimestampLtz(digits(*unit)),
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::ListView(element)
        | DataType::FixedSizeList(element, _) => {
            LogicalType::Array(Box::new(from_arrow(element.data_type())?))
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(fields) = entries.data_type() else { return None };
            let [key, value] = fields.as_ref() else { return None };
            LogicalType::Map(
                Box::new(from_arrow(key.data_type())?),
                Box::new(from_arrow(value.data_type())?),
            )
        }
        DataType::Struct(fields) => LogicalType::Row(
            fields
                .iter()
                .map(|field| Some((field.name().clone(), from_arrow(field.data_type())?)))
                .collect::<Option<_>>()?,
        ),
        DataType::Dictionary(_, value) => from_arrow(value)?,
        // A bare NULL has no type yet; it is shown as text.
        DataType::Null => LogicalType::String,
        _ => return None,
    })
}

const fn digits(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

/// The Flink type that a parsed type name stands for.
pub(crate) fn logical_type(name: &SqlType) -> Result<LogicalType> {
    Ok(match name {
        SqlType::Boolean | SqlType::Bool => LogicalType::Boolean,
        SqlType::TinyInt(_) => LogicalType::TinyInt,
        SqlType::SmallInt(_) => LogicalType::SmallInt,
        SqlType::Int(_) | SqlType::Integer(_) => LogicalType::Int,
        SqlType::BigInt(_) => LogicalType::BigInt,
        SqlType::Float(_) => LogicalType::Float,
        SqlType::Double(_) | SqlType::DoublePrecision => LogicalType::Double,
        SqlType::Decimal(info) | SqlType::Dec(info) | SqlType::Numeric(info) => decimal(info)?,
        SqlType::Char(len) | SqlType::Character(len) => match length(len.as_ref()) {
            None => LogicalType::Char(1),
            Some(len) => LogicalType::Char(len),
        },
        SqlType::Varchar(len) | SqlType::CharacterVarying(len) | SqlType::CharVarying(len) => {
            match len {
                None => LogicalType::VarChar(1),
                Some(_) => length(len.as_ref()).map_or(LogicalType::String, LogicalType::VarChar),
            }
        }
        SqlType::String(_) | SqlType::Text => LogicalType::String,
        SqlType::Binary(len) => LogicalType::Binary(bytes(len.unwrap_or(1))),
        SqlType::Varbinary(Some(BinaryLength::IntegerLength { length })) if *length < LONGEST => {
            LogicalType::VarBinary(bytes(*length))
        }
        SqlType::Varbinary(None) => LogicalType::VarBinary(1),
        SqlType::Varbinary(Some(_)) | SqlType::Bytes(_) | SqlType::Bytea => LogicalType::Bytes,
        SqlType::Date => LogicalType::Date,
        SqlType::Time(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            LogicalType::Time(fraction("TIME", *precision, 0)?)
        }
        SqlType::Timestamp(precision, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            LogicalType::Timestamp(fraction("TIMESTAMP", *precision, 6)?)
        }
        SqlType::Array(ArrayElemTypeDef::AngleBracket(element)) => {
            LogicalType::Array(Box::new(logical_type(element)?))
        }
        SqlType::Map(key, value) => {
            LogicalType::Map(Box::new(logical_type(key)?), Box::new(logical_type(value)?))
        }
        SqlType::Custom(name, modifiers) if is_instant(&name.to_string()) => {
            let precision = modifiers.first().and_then(|digits| digits.parse().ok());
            LogicalType::TimestampLtz(fraction("TIMESTAMP_LTZ", precision, 6)?)
        }
        SqlType::Custom(name, _) if name.to_string().eq_ignore_ascii_case("BYTES") => {
            LogicalType::Bytes
        }
        other => return plan_err!("The type {other} is not supported"),
    })
}

fn is_instant(name: &str) -> bool {
    name.eq_ignore_ascii_case("TIMESTAMP_LTZ")
}

fn length(len: Option<&CharacterLength>) -> Option<u32> {
    match len {
        Some(CharacterLength::IntegerLength { length, .. }) if *length < LONGEST => {
            u32::try_from(*length).ok()
        }
        _ => None,
    }
}

fn bytes(len: u64) -> u32 {
    u32::try_from(len.min(LONGEST)).unwrap_or(u32::MAX)
}

fn decimal(info: &ExactNumberInfo) -> Result<LogicalType> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => (10, 0),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    match (u8::try_from(precision), u8::try_from(scale)) {
        (Ok(precision @ 1..=38), Ok(scale)) if scale <= precision => {
            Ok(LogicalType::Decimal { precision, scale })
        }
        _ => plan_err!(
            "Decimal precision must be between 1 and 38 (both inclusive), and the scale at most the \
             precision"
        ),
    }
}

fn fraction(name: &str, precision: Option<u64>, default: u8) -> Result<u8> {
    match precision.map(u8::try_from) {
        None => Ok(default),
        Some(Ok(precision @ 0..=9)) => Ok(precision),
        Some(_) => plan_err!("{name} precision must be between 0 and 9 (both inclusive)."),
    }
}

/// Has DataFusion read type names as Flink does.
#[derive(Debug)]
pub(super) struct FlinkTypes;

impl TypePlanner for FlinkTypes {
    fn plan_type_field(&self, name: &SqlType) -> Result<Option<FieldRef>> {
        if matches!(name, SqlType::Interval { .. }) {
            return Ok(None);
        }
        let data_type = logical_type(name)?.to_arrow();
        Ok(Some(Arc::new(Field::new("", data_type, true))))
    }
}
