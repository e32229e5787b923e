//! `SHOW CREATE …`: definitions as the statements that would make them, in Flink's form.

use shardlake_change::LogicalType;
use shardlake_connector::{ObjectName, Options};

use crate::catalog::{
    CatalogTable, CatalogView, ColumnDefinition, ColumnKind, Watermark, partition_column,
};

/// A name in back-ticks.
pub(crate) fn quoted_identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A full name, each part in back-ticks.
pub(crate) fn quoted(name: &ObjectName) -> String {
    [&name.catalog, &name.database, &name.object].map(|part| quoted_identifier(part)).join(".")
}

fn quoted_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// `METADATA [FROM 'key'] [VIRTUAL]`.
pub(crate) fn metadata_clause(key: Option<&str>, is_virtual: bool) -> String {
    let mut clause = "METADATA".to_owned();
    if let Some(key) = key {
        clause.push_str(" FROM ");
        clause.push_str(&quoted_text(key));
    }
    if is_virtual {
        clause.push_str(" VIRTUAL");
    }
    clause
}

/// A type in the form in which Flink serializes it: `STRING` is `VARCHAR(2147483647)`.
fn serialized_type(data_type: &LogicalType) -> String {
    match data_type {
        LogicalType::String => "VARCHAR(2147483647)".to_owned(),
        LogicalType::Bytes => "VARBINARY(2147483647)".to_owned(),
        LogicalType::TimestampLtz(precision) => {
            format!("TIMESTAMP({precision}) WITH LOCAL TIME ZONE")
        }
        LogicalType::Array(element) => format!("ARRAY<{}>", serialized_type(element)),
        LogicalType::Map(key, value) => {
            format!("MAP<{}, {}>", serialized_type(key), serialized_type(value))
        }
        LogicalType::Row(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, kind)| {
                    format!("{} {}", quoted_identifier(name), serialized_type(kind))
                })
                .collect();
            format!("ROW<{}>", fields.join(", "))
        }
        LogicalType::Char(_)
        | LogicalType::VarChar(_)
        | LogicalType::Boolean
        | LogicalType::Binary(_)
        | LogicalType::VarBinary(_)
        | LogicalType::Decimal { .. }
        | LogicalType::TinyInt
        | LogicalType::SmallInt
        | LogicalType::Int
        | LogicalType::BigInt
        | LogicalType::Float
        | LogicalType::Double
        | LogicalType::Date
        | LogicalType::Time(_)
        | LogicalType::Timestamp(_) => data_type.to_string(),
    }
}

fn column(column: &ColumnDefinition, in_key: bool) -> String {
    let mut text = format!("  {} ", quoted_identifier(&column.name));
    let mut typed = |data_type: &LogicalType, nullable: bool| {
        text.push_str(&serialized_type(data_type));
        if !nullable {
            text.push_str(" NOT NULL");
        }
    };
    match &column.kind {
        ColumnKind::Physical { data_type, nullable } => typed(data_type, *nullable && !in_key),
        ColumnKind::Metadata { data_type, nullable, key, is_virtual } => {
            typed(data_type, *nullable);
            text.push(' ');
            text.push_str(&metadata_clause(key.as_deref(), *is_virtual));
        }
        ColumnKind::Computed { expression } => {
            text.push_str("AS ");
            text.push_str(expression);
        }
    }
    if let Some(comment) = &column.comment {
        text.push_str(" COMMENT ");
        text.push_str(&quoted_text(comment));
    }
    text
}

/// `WITH ( … )` with sorted keys and masked secrets; empty without options.
fn with_clause(options: &Options) -> String {
    let mut entries: Vec<String> = options
        .masked()
        .map(|(key, value)| format!("  {} = {}", quoted_text(key), quoted_text(value)))
        .collect();
    entries.sort_unstable();
    if entries.is_empty() { String::new() } else { format!("WITH (\n{}\n)\n", entries.join(",\n")) }
}

fn comment_clause(comment: Option<&str>) -> String {
    comment.map(|comment| format!("COMMENT {}\n", quoted_text(comment))).unwrap_or_default()
}

const fn temporary_clause(is_temporary: bool) -> &'static str {
    if is_temporary { "TEMPORARY " } else { "" }
}

/// `SHOW CREATE TABLE`.
pub(crate) fn create_table(name: &ObjectName, table: &CatalogTable, is_temporary: bool) -> String {
    let key = table.primary_key.as_ref();
    let in_key = |name: &String| key.is_some_and(|key| key.columns.contains(name));
    let mut elements: Vec<String> = table
        .columns
        .iter()
        .map(|definition| column(definition, in_key(&definition.name)))
        .collect();
    let list = |names: &[String]| {
        names.iter().map(|name| quoted_identifier(name)).collect::<Vec<_>>().join(", ")
    };
    if let Some(key) = key {
        elements.push(format!(
            "  CONSTRAINT {} PRIMARY KEY ({}) NOT ENFORCED",
            quoted_identifier(&key.constraint_name()),
            list(&key.columns)
        ));
    }
    if let Some(watermark) = &table.watermark {
        let Watermark { column, expression } = watermark;
        let column = quoted_identifier(column);
        let at = table.columns.len();
        elements.insert(at, format!("  WATERMARK FOR {column} AS {expression}"));
    }
    let partitions = if table.partitioned_by.is_empty() {
        String::new()
    } else {
        let entries: Vec<String> =
            table.partitioned_by.iter().map(|entry| partition(entry)).collect();
        format!("PARTITIONED BY ({})\n", entries.join(", "))
    };
    format!(
        "CREATE {}TABLE {} (\n{}\n)\n{}{partitions}{}",
        temporary_clause(is_temporary),
        quoted(name),
        elements.join(",\n"),
        comment_clause(table.comment.as_deref()),
        with_clause(&table.options)
    )
}

/// An entry of `PARTITIONED BY`, its column in back-ticks.
fn partition(entry: &str) -> String {
    let column = partition_column(entry);
    match entry.strip_suffix(&format!("{column})")) {
        Some(transform) => format!("{transform}{})", quoted_identifier(column)),
        None => quoted_identifier(entry),
    }
}

/// `SHOW CREATE VIEW`.
pub(crate) fn create_view(name: &ObjectName, view: &CatalogView, is_temporary: bool) -> String {
    let columns: Vec<String> =
        view.columns.iter().map(|name| format!("  {}", quoted_identifier(name))).collect();
    format!(
        "CREATE {}VIEW {} (\n{}\n)\n{}AS {}\n",
        temporary_clause(is_temporary),
        quoted(name),
        columns.join(",\n"),
        comment_clause(view.comment.as_deref()),
        view.query
    )
}

/// `SHOW CREATE CATALOG`.
pub(crate) fn create_catalog(name: &str, options: &Options) -> String {
    format!("CREATE CATALOG {}\n{}", quoted_identifier(name), with_clause(options))
}
