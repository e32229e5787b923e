//! What is done with each column of a source: made once, run for every row.

use std::borrow::Cow;

use flate2::read::{DeflateDecoder, ZlibDecoder};
use shardlake_change::{Column, LogicalType};

use super::ZoneOffset;
use super::builder::{BatchBuilder, ColumnBuilder, Values};
use super::convert::{self, Value};
use super::wire::{Wire, prefixed};
use crate::column::{SourceColumn, SourceType};
use crate::cursor::Cursor;
use crate::error::{Error, Problem, Result};
use crate::event::inflate_exactly;
use crate::value::address::Address;
use crate::value::decimal::{self, Packing};
use crate::value::temporal::{
    Moment, read_binary_time, read_fine_time, read_fine_timestamp, read_old_time, read_time2,
    read_timestamp2,
};

type Outcome = std::result::Result<(), Problem>;

/// What is done with one column.
#[derive(Clone, Debug)]
pub(crate) struct ColumnPlan {
    pub(crate) name: String,
    pub(crate) wire: Wire,
    /// The builder's column, or `None` if the column is passed over.
    pub(crate) target: Option<usize>,
    shortcut: Shortcut,
    pub(super) source: SourceType,
    pub(super) zone: ZoneOffset,
}

/// The common pairs of types, which need no [`Value`] in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shortcut {
    None,
    I64,
    I32,
    Double,
    /// Text in UTF-8, or bytes.
    Prefixed(u8),
    Counted,
    Decimal(Packing),
    /// DECIMAL as text, with this many digits behind the point and less than this number without its point.
    Digits(u8, i128),
    /// DATETIME of the binary protocol to a TIMESTAMP that holds all its digits.
    BinaryDateTime,
    /// TIMESTAMP of the binary protocol to a TIMESTAMP_LTZ that holds all its digits.
    BinaryInstant,
    /// DATETIME to a TIMESTAMP that holds all its digits.
    DateTime(u8),
    /// TIMESTAMP to a TIMESTAMP_LTZ that holds all its digits.
    Instant(u8),
}

/// Joins source columns with declared columns by name. Returns a plan for each source column, and which
/// declared columns have none.
pub(crate) fn bind(
    source: &[SourceColumn],
    wires: Vec<Wire>,
    declared: &[Column],
    zone: &ZoneOffset,
) -> Result<(Vec<ColumnPlan>, Vec<usize>)> {
    let mut plans = Vec::with_capacity(source.len());
    for (column, wire) in source.iter().zip(wires) {
        let target = declared.iter().position(|declared| declared.name == column.name);
        let mut shortcut = Shortcut::None;
        if let Some(declared) = target.and_then(|target| declared.get(target)) {
            check(column, wire, &declared.data_type)?;
            shortcut = find_shortcut(wire, &column.data_type, &declared.data_type);
        }
        plans.push(ColumnPlan {
            name: column.name.clone(),
            wire,
            target,
            shortcut,
            source: column.data_type.clone(),
            zone: zone.clone(),
        });
    }
    let has_source = |target: usize| plans.iter().any(|plan| plan.target == Some(target));
    let missing = (0..declared.len()).filter(|target| !has_source(*target)).collect();
    Ok((plans, missing))
}

/// The error of one cell.
#[cold]
pub(crate) fn value_error(
    plan: &ColumnPlan,
    problem: Problem,
    builder: &mut BatchBuilder,
) -> Error {
    let declared = plan.target.and_then(|target| builder.column(target));
    let declared = declared.map_or_else(|| plan.source.to_string(), |c| c.declared.to_string());
    Error::Value { column: plan.name.clone(), declared, problem }
}

/// Refuses pairs of types that no value could pass.
fn check(column: &SourceColumn, wire: Wire, declared: &LogicalType) -> Result<()> {
    let Some(hint) = unsupported(&column.data_type, wire, declared) else { return Ok(()) };
    Err(Error::Conversion {
        column: column.name.clone(),
        source_type: column.data_type.to_string(),
        declared: declared.to_string(),
        hint,
    })
}

/// `None` if values of `source` can be read as `declared`, else what to do instead.
fn unsupported(source: &SourceType, wire: Wire, declared: &LogicalType) -> Option<&'static str> {
    use LogicalType as L;
    let is_integer = matches!(declared, L::TinyInt | L::SmallInt | L::Int | L::BigInt);
    let is_float = matches!(declared, L::Float | L::Double);
    let is_decimal = matches!(declared, L::Decimal { .. });
    let is_bytes = matches!(declared, L::Binary(_) | L::VarBinary(_) | L::Bytes);
    let is_text = declared.is_text();
    let is_number = is_integer || is_float || is_decimal;
    let (supported, hint) = match source {
        SourceType::Integer { .. } | SourceType::Year => {
            (is_number || is_text || *declared == L::Boolean, "")
        }
        SourceType::Bit { bits } => {
            let boolean = *bits == 1 && *declared == L::Boolean;
            (boolean || is_integer || is_decimal || is_bytes || is_text, "")
        }
        SourceType::Float | SourceType::Double => (is_float || is_decimal || is_text, ""),
        SourceType::Decimal { scale, .. } => (
            is_decimal || is_float || is_text || is_integer && *scale == 0,
            ": declare it as DECIMAL, DOUBLE or STRING",
        ),
        SourceType::Date => (is_text || *declared == L::Date, ""),
        SourceType::Time { .. } => (is_text || matches!(declared, L::Time(_)), ""),
        SourceType::DateTime { .. } => (
            is_text || matches!(declared, L::Timestamp(_)),
            ": declare it as TIMESTAMP, because a DATETIME has no time zone",
        ),
        SourceType::Timestamp { .. } => {
            (is_text || matches!(declared, L::Timestamp(_) | L::TimestampLtz(_)), "")
        }
        SourceType::Text(charset) if !charset.is_supported() => {
            (false, ": its character set is not supported, convert the column to utf8mb4")
        }
        SourceType::Text(_) | SourceType::Json => (is_text, ": declare it as STRING"),
        SourceType::Binary { .. } | SourceType::Bytes => {
            (is_bytes || is_text, ": declare it as BYTES")
        }
        SourceType::Geometry => (is_bytes || is_text, ": declare it as STRING or BYTES"),
        SourceType::Vector => {
            let is_list = matches!(declared, L::Array(element) if **element == L::Float);
            (is_bytes || is_text || is_list, ": declare it as ARRAY<FLOAT>, STRING or BYTES")
        }
        SourceType::Uuid | SourceType::Inet4 | SourceType::Inet6 => {
            (is_text, ": declare it as STRING")
        }
        SourceType::Enum(None) | SourceType::Set(None) if matches!(wire, Wire::Members(_)) => {
            (false, ": its members are unknown, set binlog_row_metadata=FULL")
        }
        SourceType::Enum(_) => (is_text, ": declare it as STRING"),
        SourceType::Set(_) => {
            let is_list = matches!(declared, L::Array(element) if element.is_text());
            (is_text || is_list, ": declare it as ARRAY<STRING> or STRING")
        }
    };
    (!supported).then_some(hint)
}

fn find_shortcut(wire: Wire, source: &SourceType, declared: &LogicalType) -> Shortcut {
    use LogicalType as L;
    match (wire, source, declared) {
        (Wire::Integer(8), SourceType::Integer { unsigned: false, .. }, L::BigInt) => Shortcut::I64,
        (Wire::Integer(4), SourceType::Integer { unsigned: false, .. }, L::Int) => Shortcut::I32,
        (Wire::Double, _, L::Double) => Shortcut::Double,
        (Wire::Prefixed(bytes), SourceType::Text(charset), _) if charset.is_utf8() => {
            Shortcut::Prefixed(bytes)
        }
        (Wire::Counted, SourceType::Text(charset), _) if charset.is_utf8() => Shortcut::Counted,
        (Wire::Prefixed(bytes), SourceType::Bytes, L::VarBinary(_) | L::Bytes) => {
            Shortcut::Prefixed(bytes)
        }
        (Wire::Counted, SourceType::Bytes, L::VarBinary(_) | L::Bytes) => Shortcut::Counted,
        (Wire::Decimal(packing), _, L::Decimal { precision, scale })
            if packing.precision <= *precision && packing.scale == *scale =>
        {
            Shortcut::Decimal(packing)
        }
        (Wire::Counted, SourceType::Decimal { .. }, L::Decimal { precision, scale }) => {
            decimal::power(*precision)
                .map_or(Shortcut::None, |limit| Shortcut::Digits(*scale, limit))
        }
        (Wire::BinaryMoment, SourceType::DateTime { fraction }, L::Timestamp(precision))
            if (*fraction..=6).contains(precision) =>
        {
            Shortcut::BinaryDateTime
        }
        (Wire::BinaryMoment, SourceType::Timestamp { fraction }, L::TimestampLtz(precision))
            if (*fraction..=6).contains(precision) =>
        {
            Shortcut::BinaryInstant
        }
        (Wire::DateTime2(fraction), _, L::Timestamp(precision))
            if (fraction..=6).contains(precision) =>
        {
            Shortcut::DateTime(fraction)
        }
        (Wire::Timestamp2(fraction), _, L::TimestampLtz(precision))
            if (fraction..=6).contains(precision) =>
        {
            Shortcut::Instant(fraction)
        }
        _ => Shortcut::None,
    }
}

impl ColumnPlan {
    /// Whether the column is a JSON document in its binary form.
    pub(crate) const fn is_json(&self) -> bool {
        matches!((&self.source, self.wire), (SourceType::Json, Wire::Prefixed(4)))
    }

    /// Passes over a cell.
    #[inline]
    pub(crate) fn skip(&self, cursor: &mut Cursor<'_>) -> Outcome {
        self.wire.skip(cursor).ok_or(Problem::Short)
    }

    /// Reads a cell into its column.
    #[inline]
    pub(crate) fn append(&self, cursor: &mut Cursor<'_>, column: &mut ColumnBuilder) -> Outcome {
        match (self.shortcut, &mut column.values) {
            (Shortcut::I64, Values::I64(values)) => {
                values.push(i64::from_le_bytes(cursor.array().ok_or(Problem::Short)?));
            }
            (Shortcut::I32, Values::I32(values)) => {
                values.push(i32::from_le_bytes(cursor.array().ok_or(Problem::Short)?));
            }
            (Shortcut::Double, Values::F64(values)) => {
                values.push(f64::from_le_bytes(cursor.array().ok_or(Problem::Short)?));
            }
            (Shortcut::Prefixed(bytes), Values::Text(runs) | Values::Bytes(runs)) => {
                runs.push(prefixed(bytes, cursor).ok_or(Problem::Short)?)?;
            }
            (Shortcut::Counted, Values::Text(runs) | Values::Bytes(runs)) => {
                runs.push(cursor.lenenc_bytes().ok_or(Problem::Short)?)?;
            }
            (Shortcut::Decimal(packing), Values::I128(values)) => {
                let packed = cursor.take(usize::from(packing.bytes)).ok_or(Problem::Short)?;
                values.push(packing.unscaled(packed).ok_or(Problem::Malformed)?);
            }
            (Shortcut::Digits(scale, limit), Values::I128(values)) => {
                let text = cursor.lenenc_bytes().ok_or(Problem::Short)?;
                let number = decimal::parse(text, scale).ok_or(Problem::OutOfRange)?;
                if number.unsigned_abs() >= limit.unsigned_abs() {
                    return Err(Problem::OutOfRange);
                }
                values.push(number);
            }
            (Shortcut::BinaryDateTime | Shortcut::BinaryInstant, Values::I64(values)) => {
                let moment = Moment::read_binary(cursor).ok_or(Problem::Short)?;
                let Some(seconds) = moment.seconds() else {
                    let zero = match self.shortcut {
                        Shortcut::BinaryDateTime => Value::Moment(moment),
                        _ => Value::Instant(0, 0),
                    };
                    return convert::push(zero, self, column);
                };
                values.push(seconds * 1_000_000 + i64::from(moment.micros));
            }
            (Shortcut::DateTime(fraction), Values::I64(values)) => {
                let moment = Moment::read_datetime2(cursor, fraction).ok_or(Problem::Short)?;
                let Some(seconds) = moment.seconds() else {
                    return convert::push(Value::Moment(moment), self, column);
                };
                values.push(seconds * 1_000_000 + i64::from(moment.micros));
            }
            (Shortcut::Instant(fraction), Values::I64(values)) => {
                let (seconds, micros) = read_timestamp2(cursor, fraction).ok_or(Problem::Short)?;
                if seconds == 0 && micros == 0 {
                    return convert::push(Value::Instant(0, 0), self, column);
                }
                values.push(seconds * 1_000_000 + i64::from(micros));
            }
            _ => return self.append_any(cursor, column),
        }
        column.end_value();
        Ok(())
    }

    #[inline(never)]
    fn append_any(&self, cursor: &mut Cursor<'_>, column: &mut ColumnBuilder) -> Outcome {
        if let Wire::Compressed(bytes) = self.wire {
            let packed = prefixed(bytes, cursor).ok_or(Problem::Short)?;
            let plain = inflate_column(packed).ok_or(Problem::Malformed)?;
            return convert::push(self.read_bytes(&plain), self, column);
        }
        let value = self.read(cursor).ok_or(Problem::Short)?;
        convert::push(value, self, column)
    }

    /// Reads a cell as it is at the source.
    pub(crate) fn read<'a>(&self, cursor: &mut Cursor<'a>) -> Option<Value<'a>> {
        Some(match self.wire {
            Wire::Integer(bytes) => {
                let raw = cursor.uint(usize::from(bytes))?;
                if matches!(self.source, SourceType::Integer { unsigned: false, .. }) {
                    Value::Signed(sign_extend(raw, bytes))
                } else {
                    Value::Unsigned(raw)
                }
            }
            Wire::Year => {
                let year = u64::from(cursor.u8()?);
                Value::Unsigned(if year == 0 { 0 } else { 1_900 + year })
            }
            Wire::Float => Value::Float(f32::from_le_bytes(cursor.array()?)),
            Wire::Double => Value::Double(f64::from_le_bytes(cursor.array()?)),
            Wire::Decimal(packing) => {
                Value::Packed(packing, cursor.take(usize::from(packing.bytes))?)
            }
            Wire::Date => Value::Moment(Moment::read_date(cursor)?),
            Wire::DateTime2(fraction) => Value::Moment(Moment::read_datetime2(cursor, fraction)?),
            Wire::OldDateTime => Value::Moment(Moment::read_old_datetime(cursor)?),
            Wire::Timestamp2(fraction) => {
                let (seconds, micros) = read_timestamp2(cursor, fraction)?;
                Value::Instant(seconds, micros)
            }
            Wire::OldTimestamp => Value::Instant(i64::from(cursor.u32()?), 0),
            Wire::FineTimestamp(fraction) => {
                let (seconds, micros) = read_fine_timestamp(cursor, fraction)?;
                Value::Instant(seconds, micros)
            }
            Wire::FineDateTime(fraction) => {
                Value::Moment(Moment::read_fine_datetime(cursor, fraction)?)
            }
            Wire::FineTime(fraction) => Value::Time(read_fine_time(cursor, fraction)?),
            Wire::Time2(fraction) => Value::Time(read_time2(cursor, fraction)?),
            Wire::OldTime => Value::Time(read_old_time(cursor)?),
            Wire::BinaryTime => Value::Time(read_binary_time(cursor)?),
            Wire::BinaryMoment => {
                let moment = Moment::read_binary(cursor)?;
                match self.source {
                    // The session's zone is UTC; a zero date has no seconds.
                    SourceType::Timestamp { .. } => match moment.seconds() {
                        Some(seconds) => Value::Instant(seconds, moment.micros),
                        None => Value::Instant(0, 0),
                    },
                    _ => Value::Moment(moment),
                }
            }
            Wire::Members(bytes) => {
                let number = cursor.uint(usize::from(bytes))?;
                match self.source {
                    SourceType::Set(_) => Value::Members(number),
                    _ => Value::Member(number),
                }
            }
            Wire::Prefixed(_) | Wire::Compressed(_) | Wire::Raw(_) | Wire::Counted => {
                self.read_bytes(self.wire.cell(cursor)?)
            }
        })
    }

    fn read_bytes<'a>(&self, bytes: &'a [u8]) -> Value<'a> {
        match self.source {
            SourceType::Bit { .. } => Value::Bits(bytes),
            SourceType::Decimal { .. } => Value::Digits(bytes),
            SourceType::Json if !matches!(self.wire, Wire::Counted) => Value::Json(bytes),
            SourceType::Binary { .. }
            | SourceType::Bytes
            | SourceType::Geometry
            | SourceType::Vector => Value::Bytes(bytes),
            // Result sets hold their text.
            _ if matches!(self.wire, Wire::Counted) => Value::Text(bytes),
            SourceType::Uuid => Value::Address(Address::Uuid, bytes),
            SourceType::Inet4 => Value::Address(Address::Inet4, bytes),
            SourceType::Inet6 => Value::Address(Address::Inet6, bytes),
            _ => Value::Text(bytes),
        }
    }
}

/// Inflates a cell of a `COMPRESSED` column of MariaDB. Its first byte holds the method in the upper half, then a bit
/// that says that zlib's frame is missing, then how many bytes the length has, whose highest byte comes first.
fn inflate_column(packed: &[u8]) -> Option<Cow<'_, [u8]>> {
    const ZLIB: u8 = 8;
    let mut cursor = Cursor::new(packed);
    let Some(head) = cursor.u8() else { return Some(Cow::Borrowed(packed)) };
    match head >> 4 {
        0 => Some(Cow::Borrowed(cursor.rest())),
        ZLIB => {
            let length = cursor.take(usize::from(head & 7))?;
            let length =
                length.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
            let stream = cursor.rest();
            let inflated = if head & 8 == 0 {
                inflate_exactly(ZlibDecoder::new(stream), length, stream.len())
            } else {
                inflate_exactly(DeflateDecoder::new(stream), length, stream.len())
            };
            inflated.map(Cow::Owned)
        }
        _ => None,
    }
}

#[expect(clippy::cast_possible_wrap, reason = "the sign bit is what is wanted")]
const fn sign_extend(raw: u64, bytes: u8) -> i64 {
    let shift = 64 - 8 * bytes as u32;
    (raw << shift) as i64 >> shift
}
