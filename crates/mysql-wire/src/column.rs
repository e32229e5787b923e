//! What a column is at its source: its name and its MySQL type, from whichever place tells of it: a result
//! set's column definition, a TABLE_MAP event, or `information_schema`.

mod declaration;

use std::fmt;
use std::sync::Arc;

use crate::charset::Charset;
use crate::cursor::Cursor;
use crate::error::{Error, Result};

/// A column of a MySQL table or result set.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub data_type: SourceType,
}

/// A type of MySQL, with what is needed to read its values.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceType {
    /// `TINYINT` (1 byte), `SMALLINT` (2), `MEDIUMINT` (3), `INT` (4), `BIGINT` (8).
    Integer {
        /// Its size: 1, 2, 3, 4 or 8.
        bytes: u8,
        /// Whether it is UNSIGNED.
        unsigned: bool,
    },
    /// `FLOAT`.
    Float,
    /// `DOUBLE`.
    Double,
    /// `DECIMAL(precision, scale)`.
    Decimal {
        /// Digits in all, at most 65.
        precision: u8,
        /// Digits behind the point.
        scale: u8,
    },
    /// `BIT(n)`.
    Bit {
        /// How many bits: 1 to 64.
        bits: u8,
    },
    /// `YEAR`.
    Year,
    /// `DATE`.
    Date,
    /// `TIME(fraction)`.
    Time {
        /// Digits of the second's fraction.
        fraction: u8,
    },
    /// `DATETIME(fraction)`.
    DateTime {
        /// Digits of the second's fraction.
        fraction: u8,
    },
    /// `TIMESTAMP(fraction)`.
    Timestamp {
        /// Digits of the second's fraction.
        fraction: u8,
    },
    /// `CHAR`, `VARCHAR` and the `TEXT`s.
    Text(Charset),
    /// `BINARY(n)`.
    Binary {
        /// How many bytes.
        length: u32,
    },
    /// `VARBINARY` and the `BLOB`s.
    Bytes,
    /// `ENUM`, with its members if they are known.
    Enum(Option<Arc<[String]>>),
    /// `SET`, with its members if they are known.
    Set(Option<Arc<[String]>>),
    /// `JSON`.
    Json,
    /// `GEOMETRY` and its subtypes.
    Geometry,
    /// `VECTOR`.
    Vector,
    /// `UUID` of MariaDB.
    Uuid,
    /// `INET4` of MariaDB.
    Inet4,
    /// `INET6` of MariaDB.
    Inet6,
}

impl SourceColumn {
    /// A column.
    pub fn new(name: impl Into<String>, data_type: SourceType) -> Self {
        Self { name: name.into(), data_type }
    }

    /// A column as `information_schema.COLUMNS` describes it by `COLUMN_NAME`, `COLUMN_TYPE` and
    /// `CHARACTER_SET_NAME`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the type is unknown.
    pub fn declared(name: &str, column_type: &str, charset: Option<&str>) -> Result<Self> {
        match declaration::parse(column_type, charset) {
            Some(data_type) => Ok(Self::new(name, data_type)),
            None => Err(Error::Unsupported(format!(
                "column `{name}` has an unknown type {column_type}"
            ))),
        }
    }

    /// Reads a column definition packet of a result set.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it is none, [`Error::Unsupported`] if the type is unknown.
    pub fn from_definition(packet: &[u8]) -> Result<Self> {
        let definition =
            Definition::parse(packet).ok_or_else(|| Error::short("column definition"))?;
        match definition.data_type() {
            Some(data_type) => Ok(Self { name: definition.name, data_type }),
            None => Err(Error::Unsupported(format!(
                "column `{}` has an unknown type with number {}",
                definition.name, definition.type_code
            ))),
        }
    }
}

/// Type numbers of the protocol and the binlog.
pub(crate) mod code {
    pub(crate) const DECIMAL: u8 = 0;
    pub(crate) const TINY: u8 = 1;
    pub(crate) const SHORT: u8 = 2;
    pub(crate) const LONG: u8 = 3;
    pub(crate) const FLOAT: u8 = 4;
    pub(crate) const DOUBLE: u8 = 5;
    pub(crate) const TIMESTAMP: u8 = 7;
    pub(crate) const LONGLONG: u8 = 8;
    pub(crate) const INT24: u8 = 9;
    pub(crate) const DATE: u8 = 10;
    pub(crate) const TIME: u8 = 11;
    pub(crate) const DATETIME: u8 = 12;
    pub(crate) const YEAR: u8 = 13;
    pub(crate) const NEWDATE: u8 = 14;
    pub(crate) const VARCHAR: u8 = 15;
    pub(crate) const BIT: u8 = 16;
    pub(crate) const TIMESTAMP2: u8 = 17;
    pub(crate) const DATETIME2: u8 = 18;
    pub(crate) const TIME2: u8 = 19;
    pub(crate) const BLOB_COMPRESSED: u8 = 140;
    pub(crate) const VARCHAR_COMPRESSED: u8 = 141;
    pub(crate) const VECTOR: u8 = 242;
    pub(crate) const JSON: u8 = 245;
    pub(crate) const NEWDECIMAL: u8 = 246;
    pub(crate) const ENUM: u8 = 247;
    pub(crate) const SET: u8 = 248;
    pub(crate) const TINY_BLOB: u8 = 249;
    pub(crate) const BLOB: u8 = 252;
    pub(crate) const VAR_STRING: u8 = 253;
    pub(crate) const STRING: u8 = 254;
    pub(crate) const GEOMETRY: u8 = 255;
}

/// A column definition of a result set.
struct Definition {
    name: String,
    collation: u16,
    length: u32,
    type_code: u8,
    flags: u16,
    decimals: u8,
}

impl Definition {
    const UNSIGNED: u16 = 0x20;
    const ENUM: u16 = 0x100;
    const SET: u16 = 0x800;

    fn parse(packet: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(packet);
        // Catalogue, database, table and the table's own name.
        for _ in 0..4 {
            cursor.lenenc_bytes()?;
        }
        let name = String::from_utf8_lossy(cursor.lenenc_bytes()?).into_owned();
        cursor.lenenc_bytes()?;
        cursor.lenenc()?;
        Some(Self {
            name,
            collation: cursor.u16()?,
            length: cursor.u32()?,
            type_code: cursor.u8()?,
            flags: cursor.u16()?,
            decimals: cursor.u8()?,
        })
    }

    fn data_type(&self) -> Option<SourceType> {
        let unsigned = self.flags & Self::UNSIGNED != 0;
        let charset = Charset::of_collation(self.collation);
        // Expressions without a fixed number of digits report 31.
        let fraction = if self.decimals > 6 { 6 } else { self.decimals };
        Some(match self.type_code {
            code::TINY | code::SHORT | code::INT24 | code::LONG | code::LONGLONG => {
                SourceType::Integer { bytes: integer_bytes(self.type_code)?, unsigned }
            }
            code::FLOAT => SourceType::Float,
            code::DOUBLE => SourceType::Double,
            code::DECIMAL | code::NEWDECIMAL => {
                let marks = u32::from(self.decimals > 0) + u32::from(!unsigned);
                let precision = self.length.saturating_sub(marks).clamp(1, 65);
                SourceType::Decimal {
                    precision: u8::try_from(precision).ok()?,
                    scale: self.decimals,
                }
            }
            code::BIT => SourceType::Bit { bits: u8::try_from(self.length.min(64)).ok()? },
            code::YEAR => SourceType::Year,
            code::DATE | code::NEWDATE => SourceType::Date,
            code::TIME => SourceType::Time { fraction },
            code::DATETIME => SourceType::DateTime { fraction },
            code::TIMESTAMP => SourceType::Timestamp { fraction },
            code::JSON => SourceType::Json,
            code::GEOMETRY => SourceType::Geometry,
            code::VECTOR => SourceType::Vector,
            _ if self.flags & Self::ENUM != 0 => SourceType::Enum(None),
            _ if self.flags & Self::SET != 0 => SourceType::Set(None),
            code::STRING if charset.is_binary() => SourceType::Binary { length: self.length },
            code::VARCHAR | code::TINY_BLOB..=code::VAR_STRING if charset.is_binary() => {
                SourceType::Bytes
            }
            code::STRING | code::VARCHAR | code::TINY_BLOB..=code::VAR_STRING => {
                SourceType::Text(charset)
            }
            _ => return None,
        })
    }
}

pub(crate) const fn integer_bytes(type_code: u8) -> Option<u8> {
    match type_code {
        code::TINY => Some(1),
        code::SHORT => Some(2),
        code::INT24 => Some(3),
        code::LONG => Some(4),
        code::LONGLONG => Some(8),
        _ => None,
    }
}

impl fmt::Display for SourceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timed = |f: &mut fmt::Formatter<'_>, name: &str, fraction: u8| match fraction {
            0 => f.write_str(name),
            _ => write!(f, "{name}({fraction})"),
        };
        match self {
            Self::Integer { bytes, unsigned } => {
                let name = match bytes {
                    1 => "TINYINT",
                    2 => "SMALLINT",
                    3 => "MEDIUMINT",
                    4 => "INT",
                    _ => "BIGINT",
                };
                write!(f, "{name}{}", if *unsigned { " UNSIGNED" } else { "" })
            }
            Self::Float => f.write_str("FLOAT"),
            Self::Double => f.write_str("DOUBLE"),
            Self::Decimal { precision, scale } => write!(f, "DECIMAL({precision}, {scale})"),
            Self::Bit { bits } => write!(f, "BIT({bits})"),
            Self::Year => f.write_str("YEAR"),
            Self::Date => f.write_str("DATE"),
            Self::Time { fraction } => timed(f, "TIME", *fraction),
            Self::DateTime { fraction } => timed(f, "DATETIME", *fraction),
            Self::Timestamp { fraction } => timed(f, "TIMESTAMP", *fraction),
            Self::Text(charset) => write!(f, "text in {}", charset.name()),
            Self::Binary { length } => write!(f, "BINARY({length})"),
            Self::Bytes => f.write_str("VARBINARY or BLOB"),
            Self::Enum(_) => f.write_str("ENUM"),
            Self::Set(_) => f.write_str("SET"),
            Self::Json => f.write_str("JSON"),
            Self::Geometry => f.write_str("GEOMETRY"),
            Self::Vector => f.write_str("VECTOR"),
            Self::Uuid => f.write_str("UUID"),
            Self::Inet4 => f.write_str("INET4"),
            Self::Inet6 => f.write_str("INET6"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The type that a column definition packet gives.
    fn defined(collation: u16, length: u32, type_code: u8, flags: u16, decimals: u8) -> String {
        let mut packet = b"\x03def\x04shop\x01o\x06orders\x01c\x04real\x0c".to_vec();
        packet.extend(collation.to_le_bytes());
        packet.extend(length.to_le_bytes());
        packet.push(type_code);
        packet.extend(flags.to_le_bytes());
        packet.extend([decimals, 0, 0]);
        let column = SourceColumn::from_definition(&packet).unwrap();
        assert_eq!(column.name, "c");
        column.data_type.to_string()
    }

    #[test]
    fn result_set_columns_have_their_types() {
        for (expected, collation, length, type_code, flags, decimals) in [
            ("DECIMAL(12, 2)", 63, 14, code::NEWDECIMAL, 0, 2),
            ("DECIMAL(12, 0)", 63, 12, code::NEWDECIMAL, Definition::UNSIGNED, 0),
            ("BIGINT UNSIGNED", 63, 20, code::LONGLONG, Definition::UNSIGNED, 0),
            ("MEDIUMINT", 63, 9, code::INT24, 0, 0),
            ("text in utf8mb4", 255, 400, code::VAR_STRING, 0, 0),
            ("text in utf8mb4", 45, 400, code::BLOB, 0x10, 0),
            ("VARBINARY or BLOB", 63, 400, code::BLOB, 0x90, 0),
            ("BINARY(9)", 63, 9, code::STRING, 0x80, 0),
            ("ENUM", 255, 4, code::STRING, Definition::ENUM, 0),
            ("SET", 255, 4, code::STRING, Definition::SET, 0),
            ("DATETIME(6)", 63, 26, code::DATETIME, 0x80, 6),
            ("TIME", 63, 10, code::TIME, 0x80, 0),
            ("BIT(12)", 63, 12, code::BIT, Definition::UNSIGNED, 0),
            ("JSON", 63, u32::MAX, code::JSON, 0x90, 0),
        ] {
            assert_eq!(defined(collation, length, type_code, flags, decimals), expected);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_definition_or_an_error(bytes: Vec<u8>) {
            drop(SourceColumn::from_definition(&bytes));
        }
    }
}
