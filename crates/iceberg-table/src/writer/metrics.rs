//! What a manifest says of the columns of a data file: sizes, counts and bounds.
//!
//! A bound must hold for every row of the file, so one row group without a statistic is enough to
//! drop it. Bounds of text and bytes are cut to 16 characters or bytes; an upper bound is rounded up,
//! and dropped if that is not possible. Columns inside lists and maps have no counts and no bounds.

use std::collections::HashMap;

use iceberg::spec::{Datum, PrimitiveType, Schema, Type};
use parquet::data_type::AsBytes;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;

use crate::Error;

/// How many characters or bytes of a bound are kept.
const BOUND_LENGTH: usize = 16;

/// Statistics of the columns of one file, by field id.
#[derive(Debug, Default)]
pub(crate) struct ColumnMetrics {
    pub(crate) column_sizes: HashMap<i32, u64>,
    pub(crate) value_counts: HashMap<i32, u64>,
    pub(crate) null_value_counts: HashMap<i32, u64>,
    pub(crate) lower_bounds: HashMap<i32, Datum>,
    pub(crate) upper_bounds: HashMap<i32, Datum>,
    pub(crate) split_offsets: Vec<i64>,
}

/// Reads the metrics of a file off its Parquet metadata.
pub(crate) fn of_file(metadata: &ParquetMetaData, schema: &Schema) -> Result<ColumnMetrics, Error> {
    let mut metrics = ColumnMetrics::default();
    for group in metadata.row_groups() {
        let offset = group.columns().first().map(first_offset);
        metrics.split_offsets.extend(offset);
    }
    metrics.split_offsets.sort_unstable();
    let leaves = metadata.file_metadata().schema_descr();
    for (index, leaf) in leaves.columns().iter().enumerate() {
        let info = leaf.self_type().get_basic_info();
        if !info.has_id() {
            continue;
        }
        let id = info.id();
        let chunks: Vec<&ColumnChunkMetaData> =
            metadata.row_groups().iter().map(|group| group.column(index)).collect();
        let size: i64 = chunks.iter().map(|chunk| chunk.compressed_size()).sum();
        metrics.column_sizes.insert(id, u64::try_from(size).unwrap_or(0));
        if leaf.max_rep_level() > 0 {
            continue;
        }
        let values: i64 = chunks.iter().map(|chunk| chunk.num_values()).sum();
        metrics.value_counts.insert(id, u64::try_from(values).unwrap_or(0));
        if let Some(nulls) = null_count(&chunks) {
            metrics.null_value_counts.insert(id, nulls);
        }
        let Some(Type::Primitive(primitive)) =
            schema.field_by_id(id).map(|field| field.field_type.as_ref())
        else {
            continue;
        };
        if let Some((lower, upper)) = bounds(&chunks, primitive)? {
            metrics.lower_bounds.insert(id, lower);
            metrics.upper_bounds.extend(upper.map(|upper| (id, upper)));
        }
    }
    Ok(metrics)
}

fn first_offset(chunk: &ColumnChunkMetaData) -> i64 {
    let data = chunk.data_page_offset();
    chunk.dictionary_page_offset().map_or(data, |dictionary| dictionary.min(data))
}

fn null_count(chunks: &[&ColumnChunkMetaData]) -> Option<u64> {
    chunks.iter().map(|chunk| chunk.statistics()?.null_count_opt()).sum()
}

/// The bounds of a column over all row groups; the upper one may have no short form.
fn bounds(
    chunks: &[&ColumnChunkMetaData],
    primitive: &PrimitiveType,
) -> Result<Option<(Datum, Option<Datum>)>, Error> {
    let mut range: Option<(Datum, Datum)> = None;
    for chunk in chunks {
        let Some(statistics) = chunk.statistics() else { return Ok(None) };
        let nulls = statistics.null_count_opt();
        if nulls.is_some_and(|nulls| i64::try_from(nulls) == Ok(chunk.num_values())) {
            continue;
        }
        let Some((lower, upper)) = chunk_bounds(statistics, primitive)? else { return Ok(None) };
        range = Some(match range {
            None => (lower, upper),
            Some((least, greatest)) => (
                if lower < least { lower } else { least },
                if upper > greatest { upper } else { greatest },
            ),
        });
    }
    let Some((lower, upper)) = range else { return Ok(None) };
    if lower.is_nan() || upper.is_nan() {
        return Ok(None);
    }
    Ok(Some((shorten_lower(lower)?, shorten_upper(upper)?)))
}

/// A row group's least and greatest value; none if either is not known. (A statistic that Parquet
/// marks as inexact is a valid bound: it was shortened downwards or upwards.)
fn chunk_bounds(
    statistics: &Statistics,
    primitive: &PrimitiveType,
) -> Result<Option<(Datum, Datum)>, Error> {
    let (Some(min), Some(max)) = (statistics.min_bytes_opt(), statistics.max_bytes_opt()) else {
        return Ok(None);
    };
    Ok(datum(statistics, min, primitive)?.zip(datum(statistics, max, primitive)?))
}

/// A value as Parquet's statistics hold it, as Iceberg's.
fn datum(
    statistics: &Statistics,
    value: &[u8],
    primitive: &PrimitiveType,
) -> Result<Option<Datum>, Error> {
    let is_decimal = matches!(primitive, PrimitiveType::Decimal { .. });
    let is_integer = matches!(statistics, Statistics::Int32(_) | Statistics::Int64(_));
    let result = if is_decimal && is_integer {
        // Parquet keeps small decimals as little-endian integers, Iceberg as big-endian bytes.
        let reversed: Vec<u8> = value.iter().rev().copied().collect();
        Datum::try_from_bytes(&reversed, primitive.clone())
    } else if matches!(primitive, PrimitiveType::String) && std::str::from_utf8(value).is_err() {
        return Ok(None);
    } else {
        Datum::try_from_bytes(value.as_bytes(), primitive.clone())
    };
    result.map(Some).map_err(Error::bug)
}

fn shorten_lower(bound: Datum) -> Result<Datum, Error> {
    match bound.data_type() {
        PrimitiveType::String => {
            let text = text_of(&bound)?;
            Ok(Datum::string(text.chars().take(BOUND_LENGTH).collect::<String>()))
        }
        PrimitiveType::Binary | PrimitiveType::Fixed(_) => {
            let kind = bound.data_type().clone();
            let bytes = bound.to_bytes().map_err(Error::bug)?;
            let kept = bytes.len().min(BOUND_LENGTH);
            Datum::try_from_bytes(&bytes[..kept], kind).map_err(Error::bug)
        }
        _ => Ok(bound),
    }
}

fn shorten_upper(bound: Datum) -> Result<Option<Datum>, Error> {
    match bound.data_type() {
        PrimitiveType::String => Ok(text_above(&text_of(&bound)?).map(Datum::string)),
        PrimitiveType::Binary | PrimitiveType::Fixed(_) => {
            let kind = bound.data_type().clone();
            let bytes = bound.to_bytes().map_err(Error::bug)?;
            bytes_above(&bytes)
                .map(|above| Datum::try_from_bytes(&above, kind).map_err(Error::bug))
                .transpose()
        }
        _ => Ok(Some(bound)),
    }
}

fn text_of(bound: &Datum) -> Result<String, Error> {
    String::from_utf8(bound.to_bytes().map_err(Error::bug)?.into_vec()).map_err(Error::bug)
}

/// A short text that is not less than `text` in the order of its bytes.
fn text_above(text: &str) -> Option<String> {
    let mut kept: Vec<char> = text.chars().take(BOUND_LENGTH).collect();
    if text.chars().nth(BOUND_LENGTH).is_none() {
        return Some(text.to_owned());
    }
    while let Some(last) = kept.pop() {
        if let Some(next) = next_char(last) {
            kept.push(next);
            return Some(kept.into_iter().collect());
        }
    }
    None
}

/// The next character in the order of code points, which is the order of UTF-8.
fn next_char(c: char) -> Option<char> {
    match c {
        '\u{D7FF}' => Some('\u{E000}'),
        c => char::from_u32(u32::from(c) + 1),
    }
}

/// A short byte string that is not less than `bytes`.
fn bytes_above(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() <= BOUND_LENGTH {
        return Some(bytes.to_vec());
    }
    let mut kept = bytes[..BOUND_LENGTH].to_vec();
    while let Some(last) = kept.pop() {
        if let Some(next) = last.checked_add(1) {
            kept.push(next);
            return Some(kept);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upper_bound_is_rounded_up_or_dropped() {
        let check = |text: &str, above: Option<&str>| {
            assert_eq!(text_above(text).as_deref(), above, "{text}");
            assert!(above.is_none_or(|above| above >= text));
        };
        check("short", Some("short"));
        check("exactly16letters", Some("exactly16letters"));
        check("exactly16letters!", Some("exactly16lettert"));
        check(&"ü".repeat(17), Some(&format!("{}ý", "ü".repeat(15))));
        check(&"\u{10FFFF}".repeat(17), None);
        check(&format!("a{}", "\u{10FFFF}".repeat(17)), Some("b"));
        check(
            &format!("{}\u{D7FF}x", "a".repeat(15)),
            Some(&format!("{}\u{E000}", "a".repeat(15))),
        );
    }

    #[test]
    fn an_upper_bound_of_bytes_is_rounded_up_or_dropped() {
        assert_eq!(bytes_above(&[1; 16]), Some(vec![1; 16]));
        assert_eq!(bytes_above(&[255; 17]), None);
        let mut long = vec![255; 20];
        long[0] = 7;
        assert_eq!(bytes_above(&long), Some(vec![8]));
    }
}
