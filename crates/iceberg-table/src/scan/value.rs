//! Values that bounds, partitions and filters are compared by.
//!
//! Two values compare only if they are of one kind, so that a bound that was written before a column
//! changed its type is never compared by accident.

use std::cmp::Ordering;

use datafusion::common::ScalarValue;
use iceberg::spec::{PrimitiveLiteral, PrimitiveType};

/// A value that is not NULL.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Boolean(bool),
    /// Whole numbers of any width, days, and microseconds: see [`Unit`].
    Number(i128, Unit),
    /// A decimal: the digits, and how many of them are behind the point.
    Decimal(i128, i8),
    /// A float of either width; never NaN.
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    One,
    Day,
    TimeMicros,
    TimestampMicros,
    TimestampNanos,
}

impl Value {
    /// A literal of Iceberg; none if it is NaN or of no known form.
    pub(crate) fn from_iceberg(literal: &PrimitiveLiteral, kind: &PrimitiveType) -> Option<Self> {
        let unit = match kind {
            PrimitiveType::Int | PrimitiveType::Long => Unit::One,
            PrimitiveType::Date => Unit::Day,
            PrimitiveType::Time => Unit::TimeMicros,
            PrimitiveType::Timestamp | PrimitiveType::Timestamptz => Unit::TimestampMicros,
            PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs => Unit::TimestampNanos,
            PrimitiveType::Boolean
            | PrimitiveType::Float
            | PrimitiveType::Double
            | PrimitiveType::Decimal { .. }
            | PrimitiveType::String
            | PrimitiveType::Uuid
            | PrimitiveType::Fixed(_)
            | PrimitiveType::Binary => Unit::One,
        };
        match literal {
            PrimitiveLiteral::Boolean(value) => Some(Self::Boolean(*value)),
            PrimitiveLiteral::Int(value) => Some(Self::Number(i128::from(*value), unit)),
            PrimitiveLiteral::Long(value) => Some(Self::Number(i128::from(*value), unit)),
            PrimitiveLiteral::Float(value) => float(f64::from(value.0)),
            PrimitiveLiteral::Double(value) => float(value.0),
            PrimitiveLiteral::String(value) => Some(Self::Text(value.clone())),
            PrimitiveLiteral::Binary(value) => Some(Self::Bytes(value.clone())),
            PrimitiveLiteral::Int128(value) => match kind {
                PrimitiveType::Decimal { scale, .. } => {
                    Some(Self::Decimal(*value, i8::try_from(*scale).ok()?))
                }
                _ => None,
            },
            PrimitiveLiteral::UInt128(value) => Some(Self::Bytes(value.to_be_bytes().to_vec())),
            PrimitiveLiteral::AboveMax | PrimitiveLiteral::BelowMin => None,
        }
    }

    /// A literal of a query; none if it is NULL, NaN or of a type that no bound has.
    pub(crate) fn from_scalar(scalar: &ScalarValue) -> Option<Self> {
        let number = |value: i128| Some(Self::Number(value, Unit::One));
        match scalar {
            ScalarValue::Boolean(Some(value)) => Some(Self::Boolean(*value)),
            ScalarValue::Int8(Some(value)) => number((*value).into()),
            ScalarValue::Int16(Some(value)) => number((*value).into()),
            ScalarValue::Int32(Some(value)) => number((*value).into()),
            ScalarValue::Int64(Some(value)) => number((*value).into()),
            ScalarValue::UInt8(Some(value)) => number((*value).into()),
            ScalarValue::UInt16(Some(value)) => number((*value).into()),
            ScalarValue::UInt32(Some(value)) => number((*value).into()),
            ScalarValue::UInt64(Some(value)) => number((*value).into()),
            ScalarValue::Float32(Some(value)) => float(f64::from(*value)),
            ScalarValue::Float64(Some(value)) => float(*value),
            ScalarValue::Decimal128(Some(value), _, scale) => Some(Self::Decimal(*value, *scale)),
            ScalarValue::Utf8(Some(value))
            | ScalarValue::LargeUtf8(Some(value))
            | ScalarValue::Utf8View(Some(value)) => Some(Self::Text(value.clone())),
            ScalarValue::Binary(Some(value))
            | ScalarValue::LargeBinary(Some(value))
            | ScalarValue::BinaryView(Some(value))
            | ScalarValue::FixedSizeBinary(_, Some(value)) => Some(Self::Bytes(value.clone())),
            ScalarValue::Date32(Some(value)) => Some(Self::Number((*value).into(), Unit::Day)),
            ScalarValue::Time64Microsecond(Some(value)) => {
                Some(Self::Number((*value).into(), Unit::TimeMicros))
            }
            ScalarValue::TimestampMicrosecond(Some(value), _) => {
                Some(Self::Number((*value).into(), Unit::TimestampMicros))
            }
            ScalarValue::TimestampNanosecond(Some(value), _) => {
                Some(Self::Number((*value).into(), Unit::TimestampNanos))
            }
            _ => None,
        }
    }

    /// How two values of one kind compare; none if they are of different kinds.
    pub(crate) fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Boolean(left), Self::Boolean(right)) => Some(left.cmp(right)),
            (Self::Number(left, unit), Self::Number(right, other)) if unit == other => {
                Some(left.cmp(right))
            }
            (Self::Decimal(left, scale), Self::Decimal(right, other)) => {
                let common = (*scale).max(*other);
                Some(rescaled(*left, *scale, common)?.cmp(&rescaled(*right, *other, common)?))
            }
            (Self::Float(left), Self::Float(right)) => left.partial_cmp(right),
            (Self::Text(left), Self::Text(right)) => Some(left.cmp(right)),
            (Self::Bytes(left), Self::Bytes(right)) => Some(left.cmp(right)),
            _ => None,
        }
    }

    /// Whether it is zero of a float, whose sign some writers of bounds lose.
    pub(crate) fn is_float_zero(&self) -> bool {
        matches!(self, Self::Float(value) if value.abs() == 0.0)
    }
}

fn float(value: f64) -> Option<Value> {
    (!value.is_nan()).then_some(Value::Float(value))
}

fn rescaled(digits: i128, from: i8, to: i8) -> Option<i128> {
    let shift = u32::try_from(i32::from(to) - i32::from(from)).ok()?;
    digits.checked_mul(10_i128.checked_pow(shift)?)
}

/// The least text that is greater than every text that starts with `prefix`; none if there is none.
pub(crate) fn after_prefix(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

/// The least byte string that is greater than every one that starts with `prefix`.
pub(crate) fn after_prefix_bytes(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = prefix.to_vec();
    while let Some(last) = bytes.pop() {
        if let Some(next) = last.checked_add(1) {
            bytes.push(next);
            return Some(bytes);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_different_kinds_do_not_compare() {
        let number = Value::Number(5, Unit::One);
        assert_eq!(number.compare(&Value::Number(5, Unit::Day)), None);
        assert_eq!(number.compare(&Value::Float(5.0)), None);
        assert_eq!(number.compare(&Value::Number(6, Unit::One)), Some(Ordering::Less));
    }

    #[test]
    fn decimals_compare_across_scales_and_give_up_at_overflow() {
        let left = Value::Decimal(150, 2);
        assert_eq!(left.compare(&Value::Decimal(15, 1)), Some(Ordering::Equal));
        assert_eq!(left.compare(&Value::Decimal(1_501, 3)), Some(Ordering::Less));
        assert_eq!(Value::Decimal(i128::MAX, 0).compare(&left), None);
    }

    #[test]
    fn the_text_after_a_prefix_skips_characters_that_cannot_be_raised() {
        assert_eq!(after_prefix("abc").as_deref(), Some("abd"));
        assert_eq!(after_prefix("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(after_prefix("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(after_prefix("\u{10ffff}"), None);
        assert_eq!(after_prefix_bytes(&[1, 255]), Some(vec![2]));
        assert_eq!(after_prefix_bytes(&[255]), None);
    }
}
