//! What a manifest says of the columns of a data file: sizes, counts and bounds.
//!
//! A bound must hold for every row of the file, so one row group without a statistic is enough to
//! drop it. Bounds of text and bytes are cut to 16 characters or bytes, unless the table's properties
//! `write.metadata.metrics.*` say otherwise; an upper bound is rounded up, and dropped if that is not
//! possible. Columns inside lists and maps have no counts and no bounds.

use std::collections::HashMap;
use std::slice;

use iceberg::spec::{
    DataFileBuilder, Datum, NestedFieldRef, PrimitiveType, Schema, SortOrder, Type,
};
use parquet::data_type::AsBytes;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::statistics::Statistics;

use crate::{Error, properties};

/// How many characters or bytes of a bound are kept, unless it is said.
const BOUND_LENGTH: usize = 16;
const DEFAULT: &str = "write.metadata.metrics.default";
const OF_COLUMN: &str = "write.metadata.metrics.column.";

/// How much a manifest says about a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricsMode {
    /// Its size only.
    None,
    /// Its counts as well.
    Counts,
    /// Its bounds as well, cut to so many characters or bytes.
    Truncate(usize),
    /// Its bounds as they are.
    Full,
}

impl MetricsMode {
    fn parse(key: &str, text: &str) -> Result<Self, Error> {
        let lower = text.trim().to_ascii_lowercase();
        let width = lower.strip_prefix("truncate(").and_then(|rest| rest.strip_suffix(')'));
        match (lower.as_str(), width) {
            ("none", _) => Ok(Self::None),
            ("counts", _) => Ok(Self::Counts),
            ("full", _) => Ok(Self::Full),
            (_, Some(width)) => match width.trim().parse() {
                Ok(width) if width > 0 => Ok(Self::Truncate(width)),
                Ok(_) | Err(_) => Err(Self::invalid(key, text)),
            },
            _ => Err(Self::invalid(key, text)),
        }
    }

    fn invalid(key: &str, text: &str) -> Error {
        Error::Invalid(format!(
            "table property '{key}' is '{text}'; supported are none, counts, truncate(N) and full"
        ))
    }
}

/// How much manifests say about each column of a table.
#[derive(Clone, Debug)]
pub(crate) struct MetricsModes {
    by_id: HashMap<i32, MetricsMode>,
    default: MetricsMode,
}

impl MetricsModes {
    /// Every column by its bounds as they are.
    pub(crate) fn full() -> Self {
        Self { by_id: HashMap::new(), default: MetricsMode::Full }
    }

    /// What the properties of a table ask for. Columns that the table is sorted by have bounds in any case.
    pub(crate) fn of_table(
        schema: &Schema,
        order: &SortOrder,
        all: &HashMap<String, String>,
    ) -> Result<Self, Error> {
        let given = all.get(DEFAULT).map(|text| MetricsMode::parse(DEFAULT, text)).transpose()?;
        let default = given.unwrap_or(MetricsMode::Truncate(BOUND_LENGTH));
        let mut by_id = HashMap::new();
        let limit = properties::METRICS_COLUMNS_MAX.read(all)?;
        if given.is_none() {
            let mut leaves = Vec::new();
            push_leaves(schema.as_struct().fields(), &mut leaves);
            by_id.extend(leaves.into_iter().skip(limit).map(|id| (id, MetricsMode::None)));
        }
        for field in &order.fields {
            let mode = by_id.get(&field.source_id).copied().unwrap_or(default);
            if matches!(mode, MetricsMode::None | MetricsMode::Counts) {
                by_id.insert(field.source_id, MetricsMode::Truncate(BOUND_LENGTH));
            }
        }
        for (key, text) in all {
            let Some(column) = key.strip_prefix(OF_COLUMN) else { continue };
            let mode = MetricsMode::parse(key, text)?;
            // A column that was dropped or renamed since is not the writer's concern.
            if let Some(id) = schema.field_id_by_name(column) {
                by_id.insert(id, mode);
            }
        }
        Ok(Self { by_id, default })
    }

    fn of(&self, id: i32) -> MetricsMode {
        self.by_id.get(&id).copied().unwrap_or(self.default)
    }

    /// Whether a column has counts.
    pub(crate) fn counts(&self, id: i32) -> bool {
        self.of(id) != MetricsMode::None
    }

    /// How many characters or bytes of a column's bounds are kept; none if it has no bounds.
    fn bound_length(&self, id: i32) -> Option<usize> {
        match self.of(id) {
            MetricsMode::None | MetricsMode::Counts => None,
            MetricsMode::Truncate(length) => Some(length),
            MetricsMode::Full => Some(usize::MAX),
        }
    }
}

/// The ids of the columns that hold values, in the order of the schema.
fn push_leaves(fields: &[NestedFieldRef], leaves: &mut Vec<i32>) {
    for field in fields {
        match field.field_type.as_ref() {
            Type::Primitive(_) => leaves.push(field.id),
            Type::Struct(inner) => push_leaves(inner.fields(), leaves),
            Type::List(list) => {
                push_leaves(slice::from_ref(&list.element_field), leaves);
            }
            Type::Map(map) => {
                push_leaves(slice::from_ref(&map.key_field), leaves);
                push_leaves(slice::from_ref(&map.value_field), leaves);
            }
        }
    }
}

/// Statistics of the columns of one file, by field id.
#[derive(Debug, Default)]
pub(crate) struct ColumnMetrics {
    pub(crate) column_sizes: HashMap<i32, u64>,
    pub(crate) value_counts: HashMap<i32, u64>,
    pub(crate) null_value_counts: HashMap<i32, u64>,
    pub(crate) nan_value_counts: HashMap<i32, u64>,
    pub(crate) lower_bounds: HashMap<i32, Datum>,
    pub(crate) upper_bounds: HashMap<i32, Datum>,
    pub(crate) split_offsets: Vec<i64>,
}

impl ColumnMetrics {
    /// Enters the metrics into the entry of a file.
    pub(crate) fn fill(self, builder: &mut DataFileBuilder) {
        builder
            .column_sizes(self.column_sizes)
            .value_counts(self.value_counts)
            .null_value_counts(self.null_value_counts)
            .nan_value_counts(self.nan_value_counts)
            .lower_bounds(self.lower_bounds)
            .upper_bounds(self.upper_bounds)
            .split_offsets(Some(self.split_offsets));
    }
}

/// Reads the metrics of a file off its Parquet metadata.
pub(crate) fn of_file(
    metadata: &ParquetMetaData,
    schema: &Schema,
    modes: &MetricsModes,
) -> Result<ColumnMetrics, Error> {
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
        if leaf.max_rep_level() > 0 || !modes.counts(id) {
            continue;
        }
        let values: i64 = chunks.iter().map(|chunk| chunk.num_values()).sum();
        metrics.value_counts.insert(id, u64::try_from(values).unwrap_or(0));
        if let Some(nulls) = null_count(&chunks) {
            metrics.null_value_counts.insert(id, nulls);
        }
        let field_type = schema.field_by_id(id).map(|field| field.field_type.as_ref());
        let (Some(Type::Primitive(primitive)), Some(length)) = (field_type, modes.bound_length(id))
        else {
            continue;
        };
        if let Some((lower, upper)) = bounds(&chunks, primitive, length)? {
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
    length: usize,
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
    Ok(Some((shorten_lower(lower, length)?, shorten_upper(upper, length)?)))
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

fn shorten_lower(bound: Datum, length: usize) -> Result<Datum, Error> {
    match bound.data_type() {
        PrimitiveType::String => {
            let text = text_of(&bound)?;
            Ok(Datum::string(text.chars().take(length).collect::<String>()))
        }
        PrimitiveType::Binary | PrimitiveType::Fixed(_) => {
            let kind = bound.data_type().clone();
            let bytes = bound.to_bytes().map_err(Error::bug)?;
            let kept = bytes.len().min(length);
            Datum::try_from_bytes(&bytes[..kept], kind).map_err(Error::bug)
        }
        _ => Ok(bound),
    }
}

fn shorten_upper(bound: Datum, length: usize) -> Result<Option<Datum>, Error> {
    match bound.data_type() {
        PrimitiveType::String => Ok(text_above(&text_of(&bound)?, length).map(Datum::string)),
        PrimitiveType::Binary | PrimitiveType::Fixed(_) => {
            let kind = bound.data_type().clone();
            let bytes = bound.to_bytes().map_err(Error::bug)?;
            bytes_above(&bytes, length)
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
fn text_above(text: &str, length: usize) -> Option<String> {
    let mut kept: Vec<char> = text.chars().take(length).collect();
    if text.chars().nth(length).is_none() {
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
fn bytes_above(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    if bytes.len() <= length {
        return Some(bytes.to_vec());
    }
    let mut kept = bytes[..length].to_vec();
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
            assert_eq!(text_above(text, BOUND_LENGTH).as_deref(), above, "{text}");
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
    fn modes_are_those_of_the_properties() {
        let long = Type::Primitive(PrimitiveType::Long);
        let fields = (1..=5).map(|id| {
            iceberg::spec::NestedField::optional(id, format!("c{id}"), long.clone()).into()
        });
        let schema = Schema::builder().with_fields(fields).build().unwrap();
        let modes = |pairs: &[(&str, &str)]| {
            let all = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let modes = MetricsModes::of_table(&schema, &SortOrder::unsorted_order(), &all)?;
            Ok::<_, Error>((1..=5).map(|id| modes.of(id)).collect::<Vec<_>>())
        };
        let usual = MetricsMode::Truncate(16);
        assert_eq!(modes(&[]).unwrap(), [usual; 5]);
        let inferred = ("write.metadata.metrics.max-inferred-column-defaults", "2");
        let (none, full) = (MetricsMode::None, MetricsMode::Full);
        let column = ("write.metadata.metrics.column.c4", "Full");
        assert_eq!(modes(&[inferred, column]).unwrap(), [usual, usual, none, full, none]);
        let counts = ("write.metadata.metrics.default", "counts");
        assert_eq!(modes(&[counts, inferred]).unwrap(), [MetricsMode::Counts; 5]);
        let error = modes(&[("write.metadata.metrics.default", "some")]).unwrap_err().to_string();
        assert!(error.contains("is 'some'; supported are none, counts"), "{error}");
    }

    #[test]
    fn an_upper_bound_of_bytes_is_rounded_up_or_dropped() {
        assert_eq!(bytes_above(&[1; 16], BOUND_LENGTH), Some(vec![1; 16]));
        assert_eq!(bytes_above(&[255; 17], BOUND_LENGTH), None);
        let mut long = vec![255; 20];
        long[0] = 7;
        assert_eq!(bytes_above(&long, BOUND_LENGTH), Some(vec![8]));
    }
}
