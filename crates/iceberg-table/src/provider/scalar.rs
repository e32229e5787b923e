//! Literals of Iceberg as values of Arrow.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use iceberg::spec::{PrimitiveLiteral, PrimitiveType};

use crate::schema;

/// The value in the type that a column of this type has; none if it has none.
pub(crate) fn from_iceberg(
    literal: &PrimitiveLiteral,
    kind: &PrimitiveType,
) -> Option<ScalarValue> {
    let data_type = schema::arrow_primitive(kind)?;
    let scalar = match literal {
        PrimitiveLiteral::Boolean(value) => ScalarValue::Boolean(Some(*value)),
        PrimitiveLiteral::Int(value) => match data_type {
            DataType::Date32 => ScalarValue::Date32(Some(*value)),
            _ => ScalarValue::Int32(Some(*value)),
        },
        PrimitiveLiteral::Long(value) => match &data_type {
            DataType::Time64(_) => ScalarValue::Time64Microsecond(Some(*value)),
            DataType::Timestamp(unit, zone) => {
                use arrow::datatypes::TimeUnit;
                match unit {
                    TimeUnit::Nanosecond => {
                        ScalarValue::TimestampNanosecond(Some(*value), zone.clone())
                    }
                    TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond => {
                        ScalarValue::TimestampMicrosecond(Some(*value), zone.clone())
                    }
                }
            }
            _ => ScalarValue::Int64(Some(*value)),
        },
        PrimitiveLiteral::Float(value) => ScalarValue::Float32(Some(value.0)),
        PrimitiveLiteral::Double(value) => ScalarValue::Float64(Some(value.0)),
        PrimitiveLiteral::String(value) => ScalarValue::Utf8(Some(value.clone())),
        PrimitiveLiteral::Binary(value) => match data_type {
            DataType::FixedSizeBinary(length) => {
                ScalarValue::FixedSizeBinary(length, Some(value.clone()))
            }
            _ => ScalarValue::Binary(Some(value.clone())),
        },
        PrimitiveLiteral::Int128(value) => match data_type {
            DataType::Decimal128(precision, scale) => {
                ScalarValue::Decimal128(Some(*value), precision, scale)
            }
            _ => return None,
        },
        PrimitiveLiteral::UInt128(value) => {
            ScalarValue::FixedSizeBinary(16, Some(value.to_be_bytes().to_vec()))
        }
        PrimitiveLiteral::AboveMax | PrimitiveLiteral::BelowMin => return None,
    };
    Some(scalar)
}
