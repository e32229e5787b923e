//! How the bytes of a cell lie, in rows of the binary protocol and in row events.

use crate::column::{SourceType, code, integer_bytes};
use crate::cursor::Cursor;
use crate::value::decimal::Packing;
use crate::value::temporal::{FINE_DATETIME_BYTES, FINE_TIME_BYTES, fine_bytes, fraction_bytes};

/// The layout of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// A little-endian number of so many bytes.
    Integer(u8),
    Float,
    Double,
    Decimal(Packing),
    /// Years since 1900 in a byte; 0 is year 0.
    Year,
    Date,
    Time2(u8),
    DateTime2(u8),
    Timestamp2(u8),
    OldTime,
    OldDateTime,
    OldTimestamp,
    /// The forms with so many digits of a fraction that MariaDB had before it took over MySQL's.
    FineTime(u8),
    FineDateTime(u8),
    FineTimestamp(u8),
    /// Bytes behind their length in so many bytes.
    Prefixed(u8),
    /// As [`Self::Prefixed`], and the bytes are compressed as MariaDB does it for single columns.
    Compressed(u8),
    /// So many bytes.
    Raw(u8),
    /// A little-endian number of so many bytes that names members.
    Members(u8),
    /// Bytes behind their length-encoded length.
    Counted,
    /// A date, or date and time, behind its length.
    BinaryMoment,
    /// A time behind its length.
    BinaryTime,
}

impl Wire {
    /// The layout in a row of the binary protocol.
    pub(crate) const fn of_protocol(source: &SourceType) -> Self {
        match source {
            SourceType::Integer { bytes: 3, .. } => Self::Integer(4),
            SourceType::Integer { bytes, .. } => Self::Integer(*bytes),
            SourceType::Year => Self::Integer(2),
            SourceType::Float => Self::Float,
            SourceType::Double => Self::Double,
            SourceType::Date | SourceType::DateTime { .. } | SourceType::Timestamp { .. } => {
                Self::BinaryMoment
            }
            SourceType::Time { .. } => Self::BinaryTime,
            SourceType::Decimal { .. }
            | SourceType::Bit { .. }
            | SourceType::Text(_)
            | SourceType::Binary { .. }
            | SourceType::Bytes
            | SourceType::Enum(_)
            | SourceType::Set(_)
            | SourceType::Json
            | SourceType::Geometry
            | SourceType::Vector
            | SourceType::Uuid
            | SourceType::Inet4
            | SourceType::Inet6 => Self::Counted,
        }
    }

    /// The older layouts of times, with a fraction.
    pub(crate) const fn with_fraction(self, digits: u8) -> Self {
        match self {
            Self::OldTime => Self::FineTime(digits),
            Self::OldDateTime => Self::FineDateTime(digits),
            Self::OldTimestamp => Self::FineTimestamp(digits),
            other => other,
        }
    }

    /// The layout in a row event, from a TABLE_MAP's type number and the metadata that `metadata` stands at.
    /// Returns also the type that the column really has: ENUM and SET hide in STRING.
    pub(crate) fn of_event(type_code: u8, metadata: &mut Cursor<'_>) -> Option<(Self, EventType)> {
        let plain =
            |wire| (wire, EventType { type_code, max_bytes: 0, decimal: (0, 0), fraction: 0 });
        let (wire, kind) = plain(Self::Float);
        Some(match type_code {
            code::TINY | code::SHORT | code::INT24 | code::LONG | code::LONGLONG => {
                plain(Self::Integer(integer_bytes(type_code)?))
            }
            code::FLOAT => {
                metadata.u8()?;
                (wire, kind)
            }
            code::DOUBLE => {
                metadata.u8()?;
                plain(Self::Double)
            }
            code::NEWDECIMAL => {
                let (precision, scale) = (metadata.u8()?, metadata.u8()?);
                let wire = Self::Decimal(Packing::new(precision, scale)?);
                (wire, EventType { decimal: (precision, scale), ..kind })
            }
            code::YEAR => plain(Self::Year),
            code::DATE | code::NEWDATE => plain(Self::Date),
            code::TIME => plain(Self::OldTime),
            code::DATETIME => plain(Self::OldDateTime),
            code::TIMESTAMP => plain(Self::OldTimestamp),
            code::TIME2 | code::DATETIME2 | code::TIMESTAMP2 => {
                let fraction = metadata.u8().filter(|fraction| *fraction <= 6)?;
                let wire = match type_code {
                    code::TIME2 => Self::Time2(fraction),
                    code::DATETIME2 => Self::DateTime2(fraction),
                    _ => Self::Timestamp2(fraction),
                };
                (wire, EventType { fraction, ..kind })
            }
            code::VARCHAR | code::VAR_STRING => {
                let max_bytes = u32::from(metadata.u16()?);
                (Self::of_length(max_bytes), EventType { max_bytes, ..kind })
            }
            code::VARCHAR_COMPRESSED => {
                let max_bytes = u32::from(metadata.u16()?);
                let prefix = if max_bytes > 255 { 2 } else { 1 };
                (Self::Compressed(prefix), EventType { max_bytes, ..kind })
            }
            code::BLOB_COMPRESSED => {
                let prefix = metadata.u8().filter(|prefix| (1..=4).contains(prefix))?;
                plain(Self::Compressed(prefix))
            }
            code::BIT => {
                // 64 bits are the most.
                let (bits, bytes) = (metadata.u8()?, metadata.u8()?);
                if bits > 7 || bytes > 8 {
                    return None;
                }
                let max_bytes = u32::from(bytes) * 8 + u32::from(bits);
                (Self::Raw(bytes + u8::from(bits > 0)), EventType { max_bytes, ..kind })
            }
            code::TINY_BLOB..=code::BLOB | code::JSON | code::GEOMETRY | code::VECTOR => {
                let prefix = metadata.u8().filter(|prefix| (1..=4).contains(prefix))?;
                plain(Self::Prefixed(prefix))
            }
            code::STRING | code::ENUM | code::SET => Self::of_string(metadata, kind)?,
            _ => return None,
        })
    }

    /// STRING: two bytes of metadata hold the real type, and a length whose upper bits are hidden in the type.
    fn of_string(metadata: &mut Cursor<'_>, kind: EventType) -> Option<(Self, EventType)> {
        let (first, second) = (metadata.u8()?, metadata.u8()?);
        let (real, high) =
            if first & 0x30 == 0x30 { (first, 0) } else { (first | 0x30, first & 0x30 ^ 0x30) };
        let max_bytes = u32::from(high) << 4 | u32::from(second);
        let kind = EventType { type_code: real, max_bytes, ..kind };
        Some(match real {
            code::ENUM | code::SET => (Self::Members(second.min(8)), kind),
            code::STRING => (Self::of_length(max_bytes), kind),
            _ => return None,
        })
    }

    const fn of_length(max_bytes: u32) -> Self {
        Self::Prefixed(if max_bytes > 255 { 2 } else { 1 })
    }

    /// Passes over a cell.
    #[inline]
    pub(crate) fn skip(self, cursor: &mut Cursor<'_>) -> Option<()> {
        self.cell(cursor).map(drop)
    }

    /// The bytes of a cell, without its length.
    #[inline]
    pub(crate) fn cell<'a>(self, cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
        let len = match self {
            Self::Integer(bytes) | Self::Raw(bytes) | Self::Members(bytes) => usize::from(bytes),
            Self::Prefixed(bytes) | Self::Compressed(bytes) => return prefixed(bytes, cursor),
            Self::Counted => return cursor.lenenc_bytes(),
            Self::Decimal(packing) => usize::from(packing.bytes),
            Self::Year => 1,
            Self::Date | Self::OldTime => 3,
            Self::FineTime(fraction) => fine_bytes(&FINE_TIME_BYTES, fraction)?,
            Self::FineDateTime(fraction) => fine_bytes(&FINE_DATETIME_BYTES, fraction)?,
            Self::FineTimestamp(fraction) => 4 + fraction_bytes(fraction),
            Self::Float | Self::OldTimestamp => 4,
            Self::Double | Self::OldDateTime => 8,
            Self::Time2(fraction) => 3 + fraction_bytes(fraction),
            Self::Timestamp2(fraction) => 4 + fraction_bytes(fraction),
            Self::DateTime2(fraction) => 5 + fraction_bytes(fraction),
            Self::BinaryMoment | Self::BinaryTime => usize::from(cursor.u8()?),
        };
        cursor.take(len)
    }
}

/// Bytes behind a length of 1 to 4 bytes.
#[inline]
pub(crate) fn prefixed<'a>(bytes: u8, cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let len = match bytes {
        1 => u32::from(cursor.u8()?),
        2 => u32::from(cursor.u16()?),
        3 => cursor.u24()?,
        _ => cursor.u32()?,
    };
    cursor.take(usize::try_from(len).ok()?)
}

/// What a TABLE_MAP says of a column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventType {
    /// The real type number.
    pub(crate) type_code: u8,
    /// The longest value in bytes; for BIT the number of bits.
    pub(crate) max_bytes: u32,
    /// Precision and scale of a DECIMAL.
    pub(crate) decimal: (u8, u8),
    /// Digits of a second's fraction.
    pub(crate) fraction: u8,
}
