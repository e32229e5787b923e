//! How Parquet files are encoded, from the properties of a table.

use std::collections::HashMap;

use iceberg::spec::{Schema, Type};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::{Error, properties};

const CODEC: &str = "write.parquet.compression-codec";
const BLOOM: &str = "write.parquet.bloom-filter-enabled.column.";
const BLOOM_FPP: &str = "write.parquet.bloom-filter-fpp.column.";
const BLOOM_NDV: &str = "write.parquet.bloom-filter-ndv.column.";

/// The properties of data files.
pub(crate) fn of_table(
    schema: &Schema,
    all: &HashMap<String, String>,
) -> Result<WriterProperties, Error> {
    let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX).max(1);
    let mut builder = WriterProperties::builder()
        .set_compression(compression(all)?)
        // Measured: with zstd, dictionaries cost more time than they save space.
        .set_dictionary_enabled(properties::DICTIONARY.read(all)?)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_bytes(Some(size(properties::ROW_GROUP_SIZE.read(all)?)))
        .set_data_page_size_limit(size(properties::PAGE_SIZE.read(all)?))
        .set_data_page_row_count_limit(size(properties::PAGE_ROWS.read(all)?))
        .set_dictionary_page_size_limit(size(properties::DICTIONARY_SIZE.read(all)?))
        .set_created_by(concat!("shardlake ", env!("CARGO_PKG_VERSION")).to_owned());
    for (key, value) in sorted(all) {
        if let Some(column) = key.strip_prefix(BLOOM) {
            if parsed::<bool>(key, value)? {
                builder = builder.set_column_bloom_filter_enabled(path(schema, key, column)?, true);
            }
        } else if let Some(column) = key.strip_prefix(BLOOM_FPP) {
            let path = path(schema, key, column)?;
            let chance: f64 = parsed(key, value)?;
            if !(chance > 0.0 && chance < 1.0) {
                return Err(Error::Invalid(format!(
                    "table property '{key}' is {value}; it must lie between 0 and 1"
                )));
            }
            builder = builder.set_column_bloom_filter_fpp(path, chance);
        } else if let Some(column) = key.strip_prefix(BLOOM_NDV) {
            let path = path(schema, key, column)?;
            builder = builder.set_column_bloom_filter_max_ndv(path, parsed(key, value)?);
        }
    }
    Ok(builder.build())
}

fn sorted(all: &HashMap<String, String>) -> Vec<(&String, &String)> {
    let mut sorted: Vec<_> = all.iter().collect();
    // Setting a detail of a filter enables the filter: whether there is one is said last.
    sorted.sort_by_key(|(key, _)| (key.starts_with(BLOOM), key.as_str()));
    sorted
}

fn parsed<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, Error> {
    value.trim().parse().map_err(|_| {
        Error::Invalid(format!("could not parse value '{value}' of table property '{key}'"))
    })
}

/// The column of a property in a Parquet file.
fn path(schema: &Schema, key: &str, column: &str) -> Result<ColumnPath, Error> {
    let field = schema.field_by_name(column).ok_or_else(|| {
        Error::Invalid(format!("table property '{key}' names no column of the table"))
    })?;
    match field.field_type.as_ref() {
        Type::Primitive(_) => Ok(ColumnPath::new(column.split('.').map(str::to_owned).collect())),
        Type::Struct(_) | Type::List(_) | Type::Map(_) => Err(Error::Invalid(format!(
            "table property '{key}' names column '{column}', which holds other columns"
        ))),
    }
}

fn compression(all: &HashMap<String, String>) -> Result<Compression, Error> {
    let codec = all.get(CODEC).map_or("zstd", String::as_str);
    let level = properties::COMPRESSION_LEVEL.read(all)?;
    match codec.to_ascii_lowercase().as_str() {
        "zstd" => ZstdLevel::try_new(level).map(Compression::ZSTD).map_err(|_| {
            Error::Invalid(format!(
                "table property '{}' is {level}, which is no level of zstd",
                properties::COMPRESSION_LEVEL.key
            ))
        }),
        "snappy" => Ok(Compression::SNAPPY),
        "none" | "uncompressed" => Ok(Compression::UNCOMPRESSED),
        _ => Err(Error::Invalid(format!(
            "table property '{CODEC}' is '{codec}'; supported are zstd, snappy and \
             uncompressed"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use iceberg::spec::{NestedField, PrimitiveType};

    use super::*;

    fn schema() -> Schema {
        let long = Type::Primitive(PrimitiveType::Long);
        Schema::builder()
            .with_fields([
                NestedField::required(1, "id", long.clone()).into(),
                NestedField::optional(2, "other", long).into(),
            ])
            .build()
            .unwrap()
    }

    fn properties(pairs: &[(&str, &str)]) -> Result<WriterProperties, Error> {
        let all = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        of_table(&schema(), &all)
    }

    #[test]
    fn bloom_filters_are_those_of_the_named_columns() {
        let written = properties(&[
            ("write.parquet.bloom-filter-enabled.column.id", "true"),
            ("write.parquet.bloom-filter-fpp.column.id", "0.001"),
            ("write.parquet.bloom-filter-enabled.column.other", "false"),
        ])
        .unwrap();
        let of = |name: &str| written.bloom_filter_properties(&ColumnPath::from(name));
        assert!((of("id").unwrap().fpp() - 0.001).abs() < 1e-9);
        assert!(of("other").is_none());
    }

    #[test]
    fn what_cannot_be_is_named_by_its_property() {
        let error = |pairs: &[(&str, &str)]| properties(pairs).unwrap_err().to_string();
        assert_eq!(
            error(&[("write.parquet.bloom-filter-enabled.column.x", "true")]),
            "table property 'write.parquet.bloom-filter-enabled.column.x' names no column of the table"
        );
        assert!(error(&[("write.parquet.compression-codec", "lzo")]).contains("'lzo'; supported"));
        let wrong = [("write.parquet.compression-level", "99")];
        assert!(error(&wrong).ends_with("is 99, which is no level of zstd"));
        let snappy = properties(&[("write.parquet.compression-codec", "Snappy")]).unwrap();
        assert_eq!(snappy.compression(&ColumnPath::from("id")), Compression::SNAPPY);
    }
}
