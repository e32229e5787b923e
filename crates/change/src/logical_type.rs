//! The SQL types of columns, named and printed as Flink SQL does, and their Arrow form.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};
use serde::{Deserialize, Serialize};

/// A type of Flink SQL (documentation: "Data Types").
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LogicalType {
    /// `CHAR(n)`: n characters.
    Char(u32),
    /// `VARCHAR(n)`: at most n characters.
    VarChar(u32),
    /// `STRING`: text of any length.
    String,
    /// `BOOLEAN`.
    Boolean,
    /// `BINARY(n)`: n bytes.
    Binary(u32),
    /// `VARBINARY(n)`: at most n bytes.
    VarBinary(u32),
    /// `BYTES`: bytes of any length.
    Bytes,
    /// `DECIMAL(precision, scale)`; precision is 1 to 38.
    Decimal {
        /// Digits in all.
        precision: u8,
        /// Digits behind the point.
        scale: u8,
    },
    /// `TINYINT`, 8 bits, signed.
    TinyInt,
    /// `SMALLINT`, 16 bits, signed.
    SmallInt,
    /// `INT`, 32 bits, signed.
    Int,
    /// `BIGINT`, 64 bits, signed.
    BigInt,
    /// `FLOAT`, 32 bits.
    Float,
    /// `DOUBLE`, 64 bits.
    Double,
    /// `DATE`.
    Date,
    /// `TIME(precision)`: time of day.
    Time(u8),
    /// `TIMESTAMP(precision)`: date and time without a zone.
    Timestamp(u8),
    /// `TIMESTAMP_LTZ(precision)`: an instant.
    TimestampLtz(u8),
    /// `ARRAY<element>`.
    Array(Box<LogicalType>),
    /// `MAP<key, value>`.
    Map(Box<LogicalType>, Box<LogicalType>),
    /// `ROW<name type, …>`.
    Row(Vec<(String, LogicalType)>),
}

impl LogicalType {
    /// The Arrow type of a column of this type.
    ///
    /// Text is `Utf8`, `BINARY(n)` is `FixedSizeBinary(n)`, `TIME` is `Time64(µs)`; timestamps are in
    /// microseconds up to precision 6 and in nanoseconds beyond, instants with the zone `+00:00`.
    #[must_use]
    pub fn to_arrow(&self) -> DataType {
        match self {
            Self::Char(_) | Self::VarChar(_) | Self::String => DataType::Utf8,
            Self::Boolean => DataType::Boolean,
            Self::Binary(len) => DataType::FixedSizeBinary(i32::try_from(*len).unwrap_or(i32::MAX)),
            Self::VarBinary(_) | Self::Bytes => DataType::Binary,
            Self::Decimal { precision, scale } => {
                DataType::Decimal128(*precision, i8::try_from(*scale).unwrap_or(i8::MAX))
            }
            Self::TinyInt => DataType::Int8,
            Self::SmallInt => DataType::Int16,
            Self::Int => DataType::Int32,
            Self::BigInt => DataType::Int64,
            Self::Float => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Date => DataType::Date32,
            Self::Time(_) => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp(precision) => DataType::Timestamp(unit(*precision), None),
            Self::TimestampLtz(precision) => {
                DataType::Timestamp(unit(*precision), Some("+00:00".into()))
            }
            Self::Array(element) => {
                DataType::List(Arc::new(Field::new("element", element.to_arrow(), true)))
            }
            Self::Map(key, value) => {
                let entries = vec![
                    Field::new("key", key.to_arrow(), false),
                    Field::new("value", value.to_arrow(), true),
                ];
                let entries = Field::new("key_value", DataType::Struct(entries.into()), false);
                DataType::Map(Arc::new(entries), false)
            }
            Self::Row(fields) => DataType::Struct(
                fields.iter().map(|(name, kind)| Field::new(name, kind.to_arrow(), true)).collect(),
            ),
        }
    }

    /// True for `CHAR`, `VARCHAR` and `STRING`.
    #[must_use]
    pub const fn is_text(&self) -> bool {
        matches!(self, Self::Char(_) | Self::VarChar(_) | Self::String)
    }
}

const fn unit(precision: u8) -> TimeUnit {
    if precision > 6 { TimeUnit::Nanosecond } else { TimeUnit::Microsecond }
}

impl fmt::Display for LogicalType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Char(len) => write!(f, "CHAR({len})"),
            Self::VarChar(len) => write!(f, "VARCHAR({len})"),
            Self::String => f.write_str("STRING"),
            Self::Boolean => f.write_str("BOOLEAN"),
            Self::Binary(len) => write!(f, "BINARY({len})"),
            Self::VarBinary(len) => write!(f, "VARBINARY({len})"),
            Self::Bytes => f.write_str("BYTES"),
            Self::Decimal { precision, scale } => write!(f, "DECIMAL({precision}, {scale})"),
            Self::TinyInt => f.write_str("TINYINT"),
            Self::SmallInt => f.write_str("SMALLINT"),
            Self::Int => f.write_str("INT"),
            Self::BigInt => f.write_str("BIGINT"),
            Self::Float => f.write_str("FLOAT"),
            Self::Double => f.write_str("DOUBLE"),
            Self::Date => f.write_str("DATE"),
            Self::Time(precision) => write!(f, "TIME({precision})"),
            Self::Timestamp(precision) => write!(f, "TIMESTAMP({precision})"),
            Self::TimestampLtz(precision) => write!(f, "TIMESTAMP_LTZ({precision})"),
            Self::Array(element) => write!(f, "ARRAY<{element}>"),
            Self::Map(key, value) => write!(f, "MAP<{key}, {value}>"),
            Self::Row(fields) => {
                f.write_str("ROW<")?;
                for (index, (name, kind)) in fields.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}`{}` {kind}", name.replace('`', "``"))?;
                }
                f.write_str(">")
            }
        }
    }
}
