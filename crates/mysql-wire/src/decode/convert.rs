//! One value from its MySQL type into the declared type.

use shardlake_change::LogicalType;

use super::ZoneOffset;
use super::builder::{ColumnBuilder, Runs, Values};
use super::plan::ColumnPlan;
use crate::charset::Charset;
use crate::column::SourceType;
use crate::error::Problem;
use crate::value::address::{Address, write_address};
use crate::value::decimal::{self, Packing};
use crate::value::float::{write_f32, write_f64};
use crate::value::geometry::write_geometry;
use crate::value::jsonb::write_json;
use crate::value::temporal::{Moment, write_number, write_time};

type Outcome<T> = Result<T, Problem>;

const DAY_MICROS: i64 = 86_400_000_000;
const QUARTER_HOUR: i64 = 900;

/// A value as it is at the source.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Signed(i64),
    Unsigned(u64),
    Float(f32),
    Double(f64),
    /// A DECIMAL in its packed form.
    Packed(Packing, &'a [u8]),
    /// A DECIMAL as text.
    Digits(&'a [u8]),
    /// Bits, the highest first.
    Bits(&'a [u8]),
    /// A wall clock's date and time.
    Moment(Moment),
    /// Seconds and microseconds since 1970; zero is MySQL's zero date.
    Instant(i64, u32),
    /// Microseconds.
    Time(i64),
    /// Text in the column's character set.
    Text(&'a [u8]),
    Bytes(&'a [u8]),
    /// An ENUM's member, from 1; 0 is the empty string.
    Member(u64),
    /// A SET's members, one a bit.
    Members(u64),
    /// Binary JSON.
    Json(&'a [u8]),
    /// A UUID or an address, without zero bytes at its end.
    Address(Address, &'a [u8]),
}

/// Appends a value to its column.
pub(super) fn push(value: Value<'_>, plan: &ColumnPlan, column: &mut ColumnBuilder) -> Outcome<()> {
    let ColumnBuilder { values, declared, .. } = column;
    match values {
        Values::I8(values) => values.push(narrow(integer(value)?)?),
        Values::I16(values) => values.push(narrow(integer(value)?)?),
        Values::I32(_) if *declared == LogicalType::Date => return push_date(value, column),
        Values::I32(values) => values.push(narrow(integer(value)?)?),
        Values::I64(_) if *declared != LogicalType::BigInt => {
            return push_time(value, plan, column);
        }
        Values::I64(values) => values.push(narrow(integer(value)?)?),
        Values::I128(values) => {
            let LogicalType::Decimal { precision, scale } = *declared else {
                return Err(Problem::Malformed);
            };
            let number = decimal(value, scale)?;
            let limit = decimal::power(precision).ok_or(Problem::OutOfRange)?;
            if number.unsigned_abs() >= limit.unsigned_abs() {
                return Err(Problem::OutOfRange);
            }
            values.push(number);
        }
        Values::F32(values) => values.push(single(value)?),
        Values::F64(values) => values.push(double(value)?),
        Values::Bool(values) => values.push(boolean(value)?),
        Values::Text(_) => return push_text(value, plan, column),
        Values::Bytes(runs) => {
            append_bytes(value, &plan.source, &mut runs.bytes)?;
            runs.end_value()?;
        }
        Values::Fixed { bytes, width } => {
            let end = bytes.len() + *width;
            append_bytes(value, &plan.source, bytes)?;
            if bytes.len() > end {
                return Err(Problem::OutOfRange);
            }
            bytes.resize(end, 0);
        }
        Values::Floats { items, .. } => {
            let Value::Bytes(bytes) = value else { return Err(Problem::Malformed) };
            items.extend(floats(bytes)?);
            values.end_list()?;
        }
        Values::List { items, .. } => {
            push_members(value, &plan.source, items)?;
            values.end_list()?;
        }
    }
    column.end_value();
    Ok(())
}

fn narrow<T: TryFrom<i128>>(number: i128) -> Outcome<T> {
    T::try_from(number).map_err(|_| Problem::OutOfRange)
}

fn integer(value: Value<'_>) -> Outcome<i128> {
    match value {
        Value::Signed(number) => Ok(i128::from(number)),
        Value::Unsigned(number) => Ok(i128::from(number)),
        Value::Bits(bits) => Ok(i128::from(bit_number(bits)?)),
        Value::Packed(..) | Value::Digits(_) => decimal(value, 0),
        _ => Err(Problem::Malformed),
    }
}

fn bit_number(bits: &[u8]) -> Outcome<u64> {
    if bits.len() > 8 {
        return Err(Problem::Malformed);
    }
    Ok(bits.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// A number without its point, `scale` digits of it behind the point.
fn decimal(value: Value<'_>, scale: u8) -> Outcome<i128> {
    let number = match value {
        Value::Packed(packing, packed) if packing.precision <= 38 => {
            let number = packing.unscaled(packed).ok_or(Problem::Malformed)?;
            decimal::rescale(number, packing.scale, scale)
        }
        Value::Packed(packing, packed) => {
            let mut text = Vec::with_capacity(decimal::MAX_TEXT_BYTES);
            packing.write_text(packed, &mut text).ok_or(Problem::Malformed)?;
            decimal::parse(&text, scale)
        }
        Value::Digits(text) => decimal::parse(text, scale),
        // The shortest text that reads as the same number, without an exponent.
        Value::Float(number) => decimal::parse(number.to_string().as_bytes(), scale),
        Value::Double(number) => decimal::parse(number.to_string().as_bytes(), scale),
        other => decimal::rescale(integer(other)?, 0, scale),
    };
    number.ok_or(Problem::OutOfRange)
}

#[expect(clippy::cast_possible_truncation, reason = "the column is declared with less precision")]
fn single(value: Value<'_>) -> Outcome<f32> {
    match value {
        Value::Float(number) => Ok(number),
        other => double(other).map(|number| number as f32),
    }
}

#[expect(clippy::cast_precision_loss, reason = "the column is declared as a floating-point number")]
fn double(value: Value<'_>) -> Outcome<f64> {
    match value {
        Value::Float(number) => Ok(f64::from(number)),
        Value::Double(number) => Ok(number),
        Value::Signed(number) => Ok(number as f64),
        Value::Unsigned(number) => Ok(number as f64),
        Value::Digits(text) => parse_double(text),
        Value::Packed(packing, packed) => {
            let mut text = Vec::with_capacity(decimal::MAX_TEXT_BYTES);
            packing.write_text(packed, &mut text).ok_or(Problem::Malformed)?;
            parse_double(&text)
        }
        _ => Err(Problem::Malformed),
    }
}

fn parse_double(text: &[u8]) -> Outcome<f64> {
    let text = std::str::from_utf8(text).map_err(|_| Problem::Malformed)?;
    text.parse().map_err(|_| Problem::Malformed)
}

fn boolean(value: Value<'_>) -> Outcome<bool> {
    match value {
        Value::Bits(bits) => Ok(bits.iter().any(|byte| *byte != 0)),
        other => integer(other).map(|number| number != 0),
    }
}

fn push_date(value: Value<'_>, column: &mut ColumnBuilder) -> Outcome<()> {
    let Value::Moment(moment) = value else { return Err(Problem::Malformed) };
    let days = match moment.days() {
        Some(days) => days,
        None => match column.impossible(&moment)?.and_then(|moment| moment.days()) {
            Some(days) => days,
            None => return Ok(()),
        },
    };
    let Values::I32(values) = &mut column.values else { return Err(Problem::Malformed) };
    values.push(days);
    column.end_value();
    Ok(())
}

/// Times of day, wall clocks and instants.
fn push_time(value: Value<'_>, plan: &ColumnPlan, column: &mut ColumnBuilder) -> Outcome<()> {
    let (micros, precision) = match (value, &column.declared) {
        (Value::Time(micros), LogicalType::Time(precision)) => {
            if !(0..DAY_MICROS).contains(&micros) {
                return Err(Problem::OutOfRange);
            }
            (micros, *precision)
        }
        (Value::Moment(moment), LogicalType::Timestamp(precision)) => {
            let precision = *precision;
            match possible(moment, column)? {
                Some(micros) => (micros, precision),
                None => return Ok(()),
            }
        }
        (
            Value::Instant(0, 0),
            LogicalType::Timestamp(precision) | LogicalType::TimestampLtz(precision),
        ) => {
            let precision = *precision;
            match possible(Moment::default(), column)? {
                Some(micros) => (micros, precision),
                None => return Ok(()),
            }
        }
        (Value::Instant(seconds, micros), LogicalType::TimestampLtz(precision)) => {
            (seconds * 1_000_000 + i64::from(micros), *precision)
        }
        (Value::Instant(seconds, micros), LogicalType::Timestamp(precision)) => {
            let local = seconds + zone_offset(&plan.zone, &mut column.zone_memory, seconds);
            (local * 1_000_000 + i64::from(micros), *precision)
        }
        _ => return Err(Problem::Malformed),
    };
    let Values::I64(values) = &mut column.values else { return Err(Problem::Malformed) };
    values.push(match precision {
        0..=5 => micros - micros.rem_euclid(10_i64.pow(6 - u32::from(precision))),
        6 => micros,
        // Only timestamps change their unit: TIME is always in microseconds.
        _ if matches!(column.declared, LogicalType::Time(_)) => micros,
        _ => micros.checked_mul(1_000).ok_or(Problem::OutOfRange)?,
    });
    column.end_value();
    Ok(())
}

/// Microseconds since 1970, or `None` if the date does not exist and became NULL.
fn possible(moment: Moment, column: &mut ColumnBuilder) -> Outcome<Option<i64>> {
    let micros = |moment: Moment| {
        moment.seconds().map(|seconds| seconds * 1_000_000 + i64::from(moment.micros))
    };
    match micros(moment) {
        Some(micros) => Ok(Some(micros)),
        None => Ok(column.impossible(&moment)?.and_then(micros)),
    }
}

/// The zone's offset, looked up once a quarter of an hour unless it changes within.
fn zone_offset(zone: &ZoneOffset, memory: &mut (i64, i64), seconds: i64) -> i64 {
    let quarter = seconds.div_euclid(QUARTER_HOUR);
    if memory.0 == quarter {
        return memory.1;
    }
    let start = zone.at(quarter * QUARTER_HOUR);
    let end = zone.at((quarter + 1) * QUARTER_HOUR - 1);
    if start != end {
        return zone.at(seconds);
    }
    *memory = (quarter, start);
    start
}

fn append_bytes(value: Value<'_>, source: &SourceType, out: &mut Vec<u8>) -> Outcome<()> {
    match value {
        Value::Bytes(bytes) => {
            let start = out.len();
            out.extend_from_slice(bytes);
            if let SourceType::Binary { length } = source {
                // The binlog has lost the zero bytes at the end.
                let full = start + usize::try_from(*length).unwrap_or(0).min(255);
                out.resize(full.max(out.len()), 0);
            }
        }
        // As the usual tools deliver BIT: the lowest byte first.
        Value::Bits(bits) => out.extend(bits.iter().rev()),
        _ => return Err(Problem::Malformed),
    }
    Ok(())
}

fn push_text(value: Value<'_>, plan: &ColumnPlan, column: &mut ColumnBuilder) -> Outcome<()> {
    let ColumnBuilder { values, replaced_texts, zone_memory, .. } = column;
    let Values::Text(runs) = values else { return Err(Problem::Malformed) };
    let out = &mut runs.bytes;
    let fraction = match plan.source {
        SourceType::Time { fraction }
        | SourceType::DateTime { fraction }
        | SourceType::Timestamp { fraction } => fraction,
        _ => 0,
    };
    match value {
        Value::Signed(number) => {
            if number < 0 {
                out.push(b'-');
            }
            write_number(number.unsigned_abs(), 1, out);
        }
        // A YEAR has four digits.
        Value::Unsigned(number) if plan.source == SourceType::Year => write_number(number, 4, out),
        Value::Unsigned(number) => write_number(number, 1, out),
        Value::Float(number) => write_f32(number, out),
        Value::Double(number) => write_f64(number, out),
        Value::Packed(packing, packed) => {
            packing.write_text(packed, out).ok_or(Problem::Malformed)?;
        }
        Value::Digits(text) => out.extend_from_slice(text),
        Value::Bits(bits) => write_number(bit_number(bits)?, 1, out),
        Value::Moment(moment) if plan.source == SourceType::Date => moment.write_date(out),
        Value::Moment(moment) => moment.write_datetime(fraction, out),
        Value::Instant(0, 0) => Moment::default().write_datetime(fraction, out),
        Value::Instant(seconds, micros) => {
            let local = seconds + zone_offset(&plan.zone, zone_memory, seconds);
            Moment::at(local, micros).write_datetime(fraction, out);
        }
        Value::Time(micros) => write_time(micros, fraction, out),
        Value::Text(text) => {
            let charset = match plan.source {
                SourceType::Text(charset) => charset,
                _ => Charset::UTF8,
            };
            *replaced_texts += u64::from(charset.decode_into(text, out));
        }
        Value::Bytes(bytes) => match plan.source {
            SourceType::Geometry => write_geometry(bytes, out).ok_or(Problem::Malformed)?,
            SourceType::Vector => write_vector(bytes, out)?,
            _ => append_bytes(value, &plan.source, out)?,
        },
        Value::Member(_) | Value::Members(_) => {
            for_each_member(value, &plan.source, |index, member| {
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(member);
                Ok(())
            })?;
        }
        Value::Json(document) => write_json(document, out).ok_or(Problem::Malformed)?,
        Value::Address(kind, bytes) => {
            write_address(kind, bytes, out).ok_or(Problem::Malformed)?;
        }
    }
    runs.end_value()?;
    column.end_value();
    Ok(())
}

/// The numbers of a VECTOR.
fn floats(bytes: &[u8]) -> Outcome<impl Iterator<Item = f32>> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(Problem::Malformed);
    }
    Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)))
}

/// A VECTOR as a JSON array.
fn write_vector(bytes: &[u8], out: &mut Vec<u8>) -> Outcome<()> {
    out.push(b'[');
    for (index, number) in floats(bytes)?.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_f32(number, out);
    }
    out.push(b']');
    Ok(())
}

fn push_members(value: Value<'_>, source: &SourceType, items: &mut Runs) -> Outcome<()> {
    match value {
        Value::Text([]) => Ok(()),
        Value::Text(text) => {
            // No member of a SET holds a comma.
            text.split(|byte| *byte == b',').try_for_each(|member| items.push(member))
        }
        Value::Members(_) => for_each_member(value, source, |_, member| items.push(member)),
        _ => Err(Problem::Malformed),
    }
}

/// Calls `each` with the members that a number names: their place among themselves, and their text.
fn for_each_member(
    value: Value<'_>,
    source: &SourceType,
    mut each: impl FnMut(usize, &[u8]) -> Outcome<()>,
) -> Outcome<()> {
    let (SourceType::Enum(Some(members)) | SourceType::Set(Some(members))) = source else {
        return Err(Problem::Member);
    };
    match value {
        // The value of a failed insert, which prints as an empty string.
        Value::Member(0) => Ok(()),
        Value::Member(number) => {
            let index = usize::try_from(number - 1).map_err(|_| Problem::Member)?;
            each(0, members.get(index).ok_or(Problem::Member)?.as_bytes())
        }
        Value::Members(bits) => {
            let mut count = 0;
            let known = members.len().min(64);
            for bit in 0..64 {
                if bits >> bit & 1 == 1 {
                    let member = members.get(bit).filter(|_| bit < known).ok_or(Problem::Member)?;
                    each(count, member.as_bytes())?;
                    count += 1;
                }
            }
            Ok(())
        }
        _ => Err(Problem::Malformed),
    }
}
