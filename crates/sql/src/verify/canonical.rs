//! The text of a value, as the source says it too. The forms are in docs/formats/verification.md.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, FixedSizeBinaryArray, Int64Array,
    StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use arrow::temporal_conversions::{date32_to_datetime, timestamp_us_to_datetime};
use sha2::{Digest, Sha256};
use shardlake_change::LogicalType;
use shardlake_connector::RowText;

use crate::diagnostic::Diagnostic;

/// The text of row `row` of a column; NULL is `None`.
pub(super) fn text(column: &ArrayRef, data_type: &LogicalType, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Boolean => if column.as_boolean().value(row) { "1" } else { "0" }.to_owned(),
        DataType::Int8 => column.as_primitive::<Int8Type>().value(row).to_string(),
        DataType::Int16 => column.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Decimal128(_, scale) => {
            decimal(column.as_primitive::<Decimal128Type>().value(row), *scale)
        }
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        DataType::Binary => hex(column.as_binary::<i32>().value(row)),
        DataType::FixedSizeBinary(_) => hex(column.as_fixed_size_binary().value(row)),
        DataType::Date32 => {
            let day = column.as_primitive::<Date32Type>().value(row);
            date32_to_datetime(day)?.format("%Y-%m-%d").to_string()
        }
        DataType::Time64(_) => {
            let time = column.as_primitive::<Time64MicrosecondType>().value(row);
            let time = timestamp_us_to_datetime(time)?.format("%H:%M:%S%.6f").to_string();
            cut(&time, 8, precision(data_type))
        }
        DataType::Timestamp(unit, zone) => {
            let micros = match unit {
                TimeUnit::Nanosecond => {
                    column.as_primitive::<TimestampNanosecondType>().value(row).div_euclid(1_000)
                }
                _ => column.as_primitive::<TimestampMicrosecondType>().value(row),
            };
            let precision = precision(data_type);
            if zone.is_some() {
                let unit = 10_i64.pow(6 - u32::from(precision));
                return Some(micros.div_euclid(unit).to_string());
            }
            let time = timestamp_us_to_datetime(micros)?.format("%Y-%m-%d %H:%M:%S%.6f");
            cut(&time.to_string(), 19, precision)
        }
        _ => return None,
    })
}

fn precision(data_type: &LogicalType) -> u8 {
    match data_type {
        LogicalType::Time(precision)
        | LogicalType::Timestamp(precision)
        | LogicalType::TimestampLtz(precision) => (*precision).min(6),
        _ => 0,
    }
}

fn cut(text: &str, whole: usize, precision: u8) -> String {
    let length = if precision == 0 { whole } else { whole + 1 + usize::from(precision) };
    text.get(..length).unwrap_or(text).to_owned()
}

fn decimal(value: i128, scale: i8) -> String {
    let scale = usize::try_from(scale).unwrap_or(0);
    let sign = if value < 0 { "-" } else { "" };
    let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

/// The hash of a row's texts: each has its length in front, so that no two rows have the same.
pub(super) fn hash<'a>(texts: impl IntoIterator<Item = &'a Option<String>>) -> u128 {
    let mut digest = Sha256::new();
    for text in texts {
        match text {
            None => digest.update(b"0"),
            Some(text) => {
                digest.update(b"1");
                digest.update(text.len().to_string().as_bytes());
                digest.update(b":");
                digest.update(text.as_bytes());
            }
        }
    }
    half(&digest.finalize().into())
}

/// The first half of a SHA-256.
fn half(digest: &[u8; 32]) -> u128 {
    digest.iter().take(16).fold(0, |hash, byte| hash << 8 | u128::from(*byte))
}

/// The bucket of a key with this hash.
pub(super) const fn bucket(key_hash: u128, count: u32) -> u32 {
    (key_hash >> 96) as u32 % count
}

/// The column that these texts stand for, in the Arrow form of its type.
pub(super) fn parse(
    texts: &[&RowText],
    at: usize,
    data_type: &LogicalType,
) -> Result<ArrayRef, Diagnostic> {
    let cells = || texts.iter().map(move |row| row.get(at).cloned().flatten());
    let wrong = |error: String| Diagnostic::internal(format!("a text of the source: {error}"));
    let target = data_type.to_arrow();
    let array: ArrayRef = match (data_type, &target) {
        (LogicalType::Boolean, _) => {
            Arc::new(cells().map(|cell| cell.map(|cell| cell == "1")).collect::<BooleanArray>())
        }
        (_, DataType::Binary) => {
            let bytes: Vec<Option<Vec<u8>>> =
                cells().map(|cell| cell.and_then(|cell| from_hex(&cell))).collect();
            Arc::new(bytes.iter().map(Option::as_deref).collect::<BinaryArray>())
        }
        (_, DataType::FixedSizeBinary(length)) => {
            let bytes = cells().map(|cell| cell.and_then(|cell| from_hex(&cell)));
            let array = FixedSizeBinaryArray::try_from_sparse_iter_with_size(bytes, *length);
            Arc::new(array.map_err(|error| wrong(error.to_string()))?)
        }
        (LogicalType::TimestampLtz(_), _) => {
            let unit = 10_i64.pow(6 - u32::from(precision(data_type)));
            let micros = cells().map(|cell| Some(cell?.parse::<i64>().ok()? * unit));
            let micros: ArrayRef = Arc::new(micros.collect::<Int64Array>());
            cast(&micros, &target).map_err(|error| wrong(error.to_string()))?
        }
        _ => {
            let texts: ArrayRef = Arc::new(cells().collect::<StringArray>());
            cast(&texts, &target).map_err(|error| wrong(error.to_string()))?
        }
    };
    Ok(array)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_back_to_the_same_values() {
        for (data_type, texts) in [
            (LogicalType::Boolean, ["1", "0"]),
            (LogicalType::TinyInt, ["-7", "0"]),
            (LogicalType::BigInt, ["-9223372036854775808", "5"]),
            (LogicalType::Decimal { precision: 20, scale: 2 }, ["-0.05", "123456.70"]),
            (LogicalType::String, ["", "ü'"]),
            (LogicalType::Bytes, ["", "00FF"]),
            (LogicalType::Binary(2), ["00FF", "1234"]),
            (LogicalType::Date, ["1969-12-31", "2024-02-29"]),
            (LogicalType::Time(3), ["00:00:00.000", "23:59:59.999"]),
            (LogicalType::Time(0), ["00:00:00", "23:59:59"]),
            (
                LogicalType::Timestamp(6),
                ["1969-12-31 23:59:59.999999", "2024-02-29 00:00:00.000001"],
            ),
            (LogicalType::Timestamp(0), ["1000-01-01 00:00:00", "9999-12-31 23:59:59"]),
            (LogicalType::TimestampLtz(3), ["-1", "1709164800123"]),
        ] {
            let rows: Vec<RowText> = texts
                .iter()
                .map(|text| vec![Some((*text).to_owned())])
                .chain([vec![None]])
                .collect();
            let rows: Vec<&RowText> = rows.iter().collect();
            let array = parse(&rows, 0, &data_type).unwrap();
            let printed: Vec<Option<String>> =
                (0..3).map(|row| text(&array, &data_type, row)).collect();
            let expected = [Some(texts[0].to_owned()), Some(texts[1].to_owned()), None];
            assert_eq!(printed, expected, "{data_type}");
        }
    }

    #[test]
    fn rows_that_differ_only_in_where_a_column_ends_have_other_hashes() {
        let row = |texts: &[Option<&str>]| -> RowText {
            texts.iter().map(|text| text.map(str::to_owned)).collect()
        };
        let hashes = [
            row(&[Some("ab"), Some("c")]),
            row(&[Some("a"), Some("bc")]),
            row(&[None, Some("abc")]),
            row(&[Some(""), Some("abc")]),
        ]
        .map(|row| hash(&row));
        for (index, one) in hashes.iter().enumerate() {
            assert!(!hashes[index + 1..].contains(one));
        }
        // What MySQL computes: SELECT LEFT(SHA2('12:ab11:c', 256), 32).
        assert_eq!(hashes[0], half(&Sha256::digest("12:ab11:c").into()));
    }
}
