//! The text of one value, by its type.

use std::fmt::Write as _;

use arrow::array::{Array, AsArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type,
    Int16Type, Int32Type, Int64Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use arrow::util::display::array_value_to_string;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, Days, NaiveDate, NaiveDateTime};
use serde_json::Value;
use shardlake_change::LogicalType;

use crate::session::SessionZone;

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const DIGITS_OF_NANOS: usize = 9;

/// How values become text: as Flink casts them to STRING, instants in the session's zone.
#[derive(Clone, Copy, Debug)]
pub struct CellFormat {
    zone: SessionZone,
}

impl CellFormat {
    /// Values as a session of this zone sees them.
    #[must_use]
    pub const fn new(zone: SessionZone) -> Self {
        Self { zone }
    }

    /// The text of a value; `None` for NULL.
    #[must_use]
    pub fn text(&self, data_type: &LogicalType, column: &dyn Array, row: usize) -> Option<String> {
        if row >= column.len() || column.is_null(row) {
            return None;
        }
        Some(self.known(data_type, column, row).unwrap_or_else(|| fallback(column, row)))
    }

    /// `None` if the column has not the Arrow type that belongs to its logical type.
    fn known(&self, data_type: &LogicalType, column: &dyn Array, row: usize) -> Option<String> {
        Some(match data_type {
            LogicalType::Char(length) => pad(column.as_string_opt::<i32>()?.value(row), *length),
            LogicalType::VarChar(_) | LogicalType::String => {
                column.as_string_opt::<i32>()?.value(row).to_owned()
            }
            LogicalType::Boolean => {
                if column.as_boolean_opt()?.value(row) { "TRUE" } else { "FALSE" }.to_owned()
            }
            LogicalType::Binary(_) | LogicalType::VarBinary(_) | LogicalType::Bytes => {
                hexadecimal(bytes(column, row)?)
            }
            LogicalType::Decimal { .. } => decimal(column, row)?,
            LogicalType::TinyInt => primitive::<Int8Type>(column, row)?.to_string(),
            LogicalType::SmallInt => primitive::<Int16Type>(column, row)?.to_string(),
            LogicalType::Int => primitive::<Int32Type>(column, row)?.to_string(),
            LogicalType::BigInt => primitive::<Int64Type>(column, row)?.to_string(),
            LogicalType::Float => float_text(
                f64::from(primitive::<Float32Type>(column, row)?),
                &format!("{:e}", primitive::<Float32Type>(column, row)?),
            ),
            LogicalType::Double => {
                let value = primitive::<Float64Type>(column, row)?;
                float_text(value, &format!("{value:e}"))
            }
            LogicalType::Date => date(column, row)?.format("%Y-%m-%d").to_string(),
            LogicalType::Time(precision) => time(column, row, *precision)?,
            LogicalType::Timestamp(precision) => {
                moment(&instant(column, row)?.naive_utc(), *precision, ' ')
            }
            LogicalType::TimestampLtz(precision) => {
                moment(&self.zone.local(instant(column, row)?), *precision, ' ')
            }
            LogicalType::Array(element) => {
                let values = column.as_list_opt::<i32>()?.value(row);
                format!("[{}]", self.joined(element, values.as_ref()))
            }
            LogicalType::Map(key, value) => {
                let entries = column.as_map_opt()?.value(row);
                let entry = |at| {
                    let key = self.nested(key, entries.column(0).as_ref(), at);
                    format!("{key}={}", self.nested(value, entries.column(1).as_ref(), at))
                };
                format!("{{{}}}", (0..entries.len()).map(entry).collect::<Vec<_>>().join(", "))
            }
            LogicalType::Row(fields) => {
                let columns = column.as_struct_opt()?.columns();
                let field = |((_, kind), column): (&(String, LogicalType), _)| {
                    self.nested(kind, &*std::sync::Arc::clone(column), row)
                };
                let values: Vec<String> = fields.iter().zip(columns).map(field).collect();
                format!("({})", values.join(", "))
            }
        })
    }

    fn nested(&self, data_type: &LogicalType, column: &dyn Array, row: usize) -> String {
        self.text(data_type, column, row).unwrap_or_else(|| "NULL".to_owned())
    }

    fn joined(&self, element: &LogicalType, values: &dyn Array) -> String {
        let values: Vec<String> =
            (0..values.len()).map(|at| self.nested(element, values, at)).collect();
        values.join(", ")
    }

    /// Appends a value as JSON: numbers, decimals among them, with all their digits; bytes in base64;
    /// dates and times as ISO 8601 writes them, instants in UTC.
    pub fn write_json(
        &self,
        out: &mut String,
        data_type: &LogicalType,
        column: &dyn Array,
        row: usize,
    ) {
        if row >= column.len() || column.is_null(row) {
            out.push_str("null");
        } else if self.write_known_json(out, data_type, column, row).is_none() {
            push_json_text(out, &fallback(column, row));
        }
    }

    fn write_known_json(
        &self,
        out: &mut String,
        data_type: &LogicalType,
        column: &dyn Array,
        row: usize,
    ) -> Option<()> {
        match data_type {
            LogicalType::Boolean => {
                out.push_str(if column.as_boolean_opt()?.value(row) { "true" } else { "false" });
            }
            LogicalType::TinyInt
            | LogicalType::SmallInt
            | LogicalType::Int
            | LogicalType::BigInt
            | LogicalType::Decimal { .. } => out.push_str(&self.known(data_type, column, row)?),
            LogicalType::Float => {
                let value = primitive::<Float32Type>(column, row)?;
                push_json_float(out, f64::from(value), &format!("{value:?}"));
            }
            LogicalType::Double => {
                let value = primitive::<Float64Type>(column, row)?;
                push_json_float(out, value, &format!("{value:?}"));
            }
            LogicalType::Binary(_) | LogicalType::VarBinary(_) | LogicalType::Bytes => {
                push_json_text(out, &BASE64.encode(bytes(column, row)?));
            }
            LogicalType::Timestamp(precision) => {
                push_json_text(out, &moment(&instant(column, row)?.naive_utc(), *precision, 'T'));
            }
            LogicalType::TimestampLtz(precision) => {
                let text = moment(&instant(column, row)?.naive_utc(), *precision, 'T');
                push_json_text(out, &format!("{text}Z"));
            }
            LogicalType::Char(_)
            | LogicalType::VarChar(_)
            | LogicalType::String
            | LogicalType::Date
            | LogicalType::Time(_) => push_json_text(out, &self.known(data_type, column, row)?),
            LogicalType::Array(element) => {
                let values = column.as_list_opt::<i32>()?.value(row);
                out.push('[');
                for at in 0..values.len() {
                    push_comma(out, at);
                    self.write_json(out, element, values.as_ref(), at);
                }
                out.push(']');
            }
            LogicalType::Map(key, value) => {
                let entries = column.as_map_opt()?.value(row);
                out.push('{');
                for at in 0..entries.len() {
                    push_comma(out, at);
                    push_json_text(out, &self.nested(key, entries.column(0).as_ref(), at));
                    out.push(':');
                    self.write_json(out, value, entries.column(1).as_ref(), at);
                }
                out.push('}');
            }
            LogicalType::Row(fields) => {
                let columns = column.as_struct_opt()?.columns();
                out.push('{');
                for (at, ((name, kind), column)) in fields.iter().zip(columns).enumerate() {
                    push_comma(out, at);
                    push_json_text(out, name);
                    out.push(':');
                    self.write_json(out, kind, column.as_ref(), row);
                }
                out.push('}');
            }
        }
        Some(())
    }
}

/// Appends a text as a JSON string.
pub(crate) fn push_json_text(out: &mut String, text: &str) {
    out.push_str(&Value::from(text).to_string());
}

fn push_comma(out: &mut String, at: usize) {
    if at > 0 {
        out.push(',');
    }
}

/// JSON has no NaN and no infinity: those are strings.
fn push_json_float(out: &mut String, value: f64, text: &str) {
    if value.is_finite() {
        out.push_str(text);
    } else {
        push_json_text(out, &float_text(value, ""));
    }
}

fn fallback(column: &dyn Array, row: usize) -> String {
    array_value_to_string(column, row).unwrap_or_default()
}

fn primitive<T: ArrowPrimitiveType>(column: &dyn Array, row: usize) -> Option<T::Native> {
    column.as_primitive_opt::<T>().map(|column: &PrimitiveArray<T>| column.value(row))
}

/// `CHAR(n)` is padded with blanks.
fn pad(text: &str, length: u32) -> String {
    let missing = usize::try_from(length).unwrap_or(0).saturating_sub(text.chars().count());
    format!("{text}{}", " ".repeat(missing))
}

fn bytes(column: &dyn Array, row: usize) -> Option<&[u8]> {
    match column.data_type() {
        DataType::FixedSizeBinary(_) => column.as_fixed_size_binary_opt().map(|c| c.value(row)),
        _ => column.as_binary_opt::<i32>().map(|column| column.value(row)),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2 + 3);
    text.push_str("x'");
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\'');
    text
}

fn decimal(column: &dyn Array, row: usize) -> Option<String> {
    let column = column.as_primitive_opt::<Decimal128Type>()?;
    let scale = usize::try_from(column.scale()).ok()?;
    let value = column.value(row);
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at_checked(digits.len() - scale)?;
    let sign = if value < 0 { "-" } else { "" };
    let point = if scale == 0 { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction}"))
}

/// Java's `Double.toString`, from the shortest digits in Rust's form `1.25e-7`.
fn float_text(value: f64, shortest: &str) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    if value != 0.0 && !(-3..7).contains(&exponent) {
        let (first, rest) = digits.split_at_checked(1).unwrap_or(("0", ""));
        let rest = if rest.is_empty() { "0" } else { rest };
        return format!("{sign}{first}.{rest}E{exponent}");
    }
    if exponent < 0 {
        let zeros = usize::try_from(-exponent - 1).unwrap_or(0);
        return format!("{sign}0.{}{digits}", "0".repeat(zeros));
    }
    let whole_len = usize::try_from(exponent).unwrap_or(0) + 1;
    let padded = format!("{digits:0<whole_len$}");
    let (whole, fraction) = padded.split_at_checked(whole_len).unwrap_or((&padded, ""));
    format!("{sign}{whole}.{}", if fraction.is_empty() { "0" } else { fraction })
}

fn date(column: &dyn Array, row: usize) -> Option<NaiveDate> {
    let days = i64::from(primitive::<Date32Type>(column, row)?);
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
    let distance = Days::new(days.unsigned_abs());
    if days < 0 { epoch.checked_sub_days(distance) } else { epoch.checked_add_days(distance) }
}

fn time(column: &dyn Array, row: usize, precision: u8) -> Option<String> {
    let micros = primitive::<Time64MicrosecondType>(column, row)?;
    let time = DateTime::from_timestamp_micros(micros)?.naive_utc();
    Some(format!("{}{}", time.format("%H:%M:%S"), fraction(&time, precision)))
}

fn instant(column: &dyn Array, row: usize) -> Option<DateTime<chrono::Utc>> {
    let DataType::Timestamp(unit, _) = column.data_type() else {
        return None;
    };
    match unit {
        TimeUnit::Second => {
            DateTime::from_timestamp(primitive::<TimestampSecondType>(column, row)?, 0)
        }
        TimeUnit::Millisecond => {
            DateTime::from_timestamp_millis(primitive::<TimestampMillisecondType>(column, row)?)
        }
        TimeUnit::Microsecond => {
            DateTime::from_timestamp_micros(primitive::<TimestampMicrosecondType>(column, row)?)
        }
        TimeUnit::Nanosecond => {
            let nanos = primitive::<TimestampNanosecondType>(column, row)?;
            let rest = u32::try_from(nanos.rem_euclid(NANOS_PER_SECOND)).ok()?;
            DateTime::from_timestamp(nanos.div_euclid(NANOS_PER_SECOND), rest)
        }
    }
}

fn moment(moment: &NaiveDateTime, precision: u8, separator: char) -> String {
    let date = moment.format("%Y-%m-%d");
    format!("{date}{separator}{}{}", moment.format("%H:%M:%S"), fraction(moment, precision))
}

/// The fraction of a second: at least `precision` digits, and more if the value has more.
fn fraction(moment: &NaiveDateTime, precision: u8) -> String {
    let digits = moment.format("%9f").to_string();
    let wanted = usize::from(precision).min(DIGITS_OF_NANOS);
    let needed = digits.trim_end_matches('0').len().max(wanted);
    match digits.get(..needed) {
        Some("") | None => String::new(),
        Some(digits) => format!(".{digits}"),
    }
}

#[cfg(test)]
mod tests;
