//! What a new table is made of, and the first version of its metadata.
//!
//! Partitions and sort orders are named by column; they are bound to field ids here, so that
//! whoever declares a table needs to know nothing of ids.

use std::collections::HashMap;
use std::fmt;

use iceberg::spec::{
    FormatVersion, NullOrder, PrimitiveType, Schema, SortDirection, SortOrder, TableMetadata,
    TableMetadataBuilder, Transform, Type, UnboundPartitionSpec,
};
use shardlake_change::TableSchema;

use crate::{Error, schema};

/// What a new table is made of.
#[derive(Clone, Debug)]
pub struct TableCreation {
    /// Its columns and primary key.
    pub schema: TableSchema,
    /// Its format version, 1 to 3.
    pub format_version: u8,
    /// How its rows are divided into partitions; empty if they are not.
    pub partitioned_by: Vec<PartitionField>,
    /// How rows are sorted inside data files; empty if they are not.
    pub sorted_by: Vec<SortField>,
    /// Its properties. See [`crate::properties::from_options`] for which options become properties.
    pub properties: HashMap<String, String>,
}

impl Default for TableCreation {
    fn default() -> Self {
        Self {
            schema: TableSchema::default(),
            format_version: 2,
            partitioned_by: Vec::new(),
            sorted_by: Vec::new(),
            properties: HashMap::new(),
        }
    }
}

/// A field of a partition: a column and what is done to its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionField {
    /// The column.
    pub column: String,
    /// What is done to its values.
    pub transform: PartitionTransform,
}

/// What a partition keeps of a column's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionTransform {
    /// The value.
    Identity,
    /// Its hash modulo a number of buckets.
    Bucket(u32),
    /// Its first characters or bytes, or the multiple of a width below it.
    Truncate(u32),
    /// Its year.
    Year,
    /// Its month.
    Month,
    /// Its day.
    Day,
    /// Its hour.
    Hour,
}

/// A field of a sort order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortField {
    /// The column, and what is done to its values before they are compared.
    pub field: PartitionField,
    /// Whether greater values come first.
    pub descending: bool,
    /// Whether NULL comes before all values.
    pub nulls_first: bool,
}

impl PartitionField {
    /// A column as it is.
    pub fn identity(column: impl Into<String>) -> Self {
        Self { column: column.into(), transform: PartitionTransform::Identity }
    }

    /// Reads a field as it is written in SQL: `id`, `bucket(16, id)` or `bucket[16](id)`,
    /// `truncate(4, name)`, `year(ts)`, `month(ts)`, `day(ts)`, `hour(ts)` (or `years(ts)`, …).
    ///
    /// # Errors
    /// [`Error::Invalid`] quotes the text and lists what is possible.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let Some((head, column)) = text.strip_suffix(')').and_then(|text| text.split_once('('))
        else {
            return Ok(Self::identity(text.trim_matches('`')));
        };
        let invalid = || {
            Error::Invalid(format!(
                "'{text}' is no partition: use a column, bucket(N, column), truncate(W, column), \
                 year(column), month(column), day(column) or hour(column)"
            ))
        };
        let (name, width, column) = match head.split_once('[') {
            Some((name, width)) => (name, width.strip_suffix(']'), column),
            None => match column.split_once(',') {
                Some((width, column)) => (head, Some(width), column),
                None => (head, None, column),
            },
        };
        let width = width.map(|width| width.trim().parse::<u32>().map_err(|_| invalid()));
        let transform = match (name.trim().to_ascii_lowercase().as_str(), width.transpose()?) {
            ("identity", None) => PartitionTransform::Identity,
            ("bucket", Some(count)) if count > 0 => PartitionTransform::Bucket(count),
            ("truncate", Some(width)) if width > 0 => PartitionTransform::Truncate(width),
            ("year" | "years", None) => PartitionTransform::Year,
            ("month" | "months", None) => PartitionTransform::Month,
            ("day" | "days", None) => PartitionTransform::Day,
            ("hour" | "hours", None) => PartitionTransform::Hour,
            _ => return Err(invalid()),
        };
        let column = column.trim().trim_matches('`').to_owned();
        if column.is_empty() { Err(invalid()) } else { Ok(Self { column, transform }) }
    }

    /// The field's name in the partition spec, as other engines give it.
    fn name(&self) -> String {
        let column = &self.column;
        match self.transform {
            PartitionTransform::Identity => column.clone(),
            PartitionTransform::Bucket(_) => format!("{column}_bucket"),
            PartitionTransform::Truncate(_) => format!("{column}_trunc"),
            PartitionTransform::Year => format!("{column}_year"),
            PartitionTransform::Month => format!("{column}_month"),
            PartitionTransform::Day => format!("{column}_day"),
            PartitionTransform::Hour => format!("{column}_hour"),
        }
    }
}

impl fmt::Display for PartitionField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = &self.column;
        match self.transform {
            PartitionTransform::Identity => f.write_str(column),
            PartitionTransform::Bucket(count) => write!(f, "bucket({count}, {column})"),
            PartitionTransform::Truncate(width) => write!(f, "truncate({width}, {column})"),
            PartitionTransform::Year => write!(f, "year({column})"),
            PartitionTransform::Month => write!(f, "month({column})"),
            PartitionTransform::Day => write!(f, "day({column})"),
            PartitionTransform::Hour => write!(f, "hour({column})"),
        }
    }
}

impl SortField {
    /// Reads a list such as `day(ts) DESC NULLS LAST, id`. Ascending order has NULL first,
    /// descending order last, unless it is said.
    ///
    /// # Errors
    /// [`Error::Invalid`] quotes the part that cannot be read.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, Error> {
        split_outside_parentheses(text).map(Self::parse).collect()
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let invalid = || {
            Error::Invalid(format!(
                "'{}' is no sort field: use a column or a partition transform of one, then ASC or \
                 DESC, then NULLS FIRST or NULLS LAST",
                text.trim()
            ))
        };
        let end = text.rfind(')').map_or(0, |at| at + 1);
        let (head, tail) = text.split_at(end);
        let mut words = tail.split_whitespace();
        let field = if head.is_empty() { words.next().ok_or_else(invalid)? } else { head };
        let rest: Vec<String> = words.map(str::to_ascii_lowercase).collect();
        let mut rest = rest.iter().map(String::as_str).peekable();
        let descending = match rest.peek() {
            Some(&"desc") => rest.next().is_some(),
            Some(&"asc") => rest.next().is_none(),
            Some(_) | None => false,
        };
        let nulls_first = match (rest.next(), rest.next(), rest.next()) {
            (None, None, None) => !descending,
            (Some("nulls"), Some("first"), None) => true,
            (Some("nulls"), Some("last"), None) => false,
            _ => return Err(invalid()),
        };
        Ok(Self { field: PartitionField::parse(field)?, descending, nulls_first })
    }
}

fn split_outside_parentheses(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .filter(|part| !part.trim().is_empty())
}

impl TableCreation {
    /// Checks that such a table can be made; does no I/O.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the column that does not fit.
    pub fn check(&self) -> Result<(), Error> {
        self.metadata("/").map(drop)
    }

    /// The metadata of the empty table at `location`.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the column that does not fit.
    pub(crate) fn metadata(&self, location: &str) -> Result<TableMetadata, Error> {
        let version = match self.format_version {
            1 => FormatVersion::V1,
            2 => FormatVersion::V2,
            3 => FormatVersion::V3,
            other => {
                return Err(Error::Invalid(format!(
                    "format version {other} is not supported; use 1, 2 or 3"
                )));
            }
        };
        let schema = schema::to_iceberg(&self.schema)?;
        if version < FormatVersion::V3 {
            check_types(&schema)?;
        }
        let spec = self.partition_spec(&schema)?;
        let order = self.sort_order(&schema)?;
        let properties = self.properties.clone();
        let location = location.to_owned();
        TableMetadataBuilder::new(schema, spec, order, location, version, properties)
            .and_then(TableMetadataBuilder::build)
            .map(|built| built.metadata)
            .map_err(|error| Error::Invalid(format!("the table cannot be created: {error}")))
    }

    fn partition_spec(&self, schema: &Schema) -> Result<UnboundPartitionSpec, Error> {
        let mut builder = UnboundPartitionSpec::builder();
        for field in &self.partitioned_by {
            let (source, transform) = bind(schema, field, "partition")?;
            builder =
                builder.add_partition_field(source, field.name(), transform).map_err(|error| {
                    Error::Invalid(format!("the table cannot be partitioned by {field}: {error}"))
                })?;
        }
        Ok(builder.build())
    }

    fn sort_order(&self, schema: &Schema) -> Result<SortOrder, Error> {
        if self.sorted_by.is_empty() {
            return Ok(SortOrder::unsorted_order());
        }
        let mut builder = SortOrder::builder();
        builder.with_order_id(1);
        for sort in &self.sorted_by {
            let (source_id, transform) = bind(schema, &sort.field, "sort")?;
            builder.with_sort_field(iceberg::spec::SortField {
                source_id,
                transform,
                direction: if sort.descending {
                    SortDirection::Descending
                } else {
                    SortDirection::Ascending
                },
                null_order: if sort.nulls_first { NullOrder::First } else { NullOrder::Last },
            });
        }
        builder
            .build(schema)
            .map_err(|error| Error::Invalid(format!("the table cannot be sorted: {error}")))
    }
}

/// The field id and transform that `field` means in `schema`.
fn bind(schema: &Schema, field: &PartitionField, what: &str) -> Result<(i32, Transform), Error> {
    let Some(source) = schema.as_struct().field_by_name(&field.column) else {
        return Err(Error::Invalid(format!(
            "the table has no column '{}' to {what} by; name one of its columns",
            field.column
        )));
    };
    let transform = match field.transform {
        PartitionTransform::Identity => Transform::Identity,
        PartitionTransform::Bucket(count) => Transform::Bucket(count),
        PartitionTransform::Truncate(width) => Transform::Truncate(width),
        PartitionTransform::Year => Transform::Year,
        PartitionTransform::Month => Transform::Month,
        PartitionTransform::Day => Transform::Day,
        PartitionTransform::Hour => Transform::Hour,
    };
    transform.result_type(&source.field_type).map_err(|_| {
        Error::Invalid(format!(
            "the table cannot be divided or sorted by {field}: column '{}' has type {}",
            field.column,
            schema::type_text(&source.field_type)
        ))
    })?;
    if !source.field_type.is_primitive() {
        return Err(Error::Invalid(format!(
            "column '{}' of type {} cannot be used to {what} by",
            field.column,
            schema::type_text(&source.field_type)
        )));
    }
    Ok((source.id, transform))
}

/// Refuses types that only format version 3 has.
fn check_types(schema: &Schema) -> Result<(), Error> {
    for field in schema.as_struct().fields() {
        if has_nanoseconds(&field.field_type) {
            return Err(Error::Invalid(format!(
                "column '{}' has a timestamp with nanoseconds, which needs format version 3; declare \
                 a precision of at most 6 or set 'format-version' = '3'",
                field.name
            )));
        }
    }
    Ok(())
}

fn has_nanoseconds(field_type: &Type) -> bool {
    match field_type {
        Type::Primitive(kind) => {
            matches!(kind, PrimitiveType::TimestampNs | PrimitiveType::TimestamptzNs)
        }
        Type::Struct(fields) => {
            fields.fields().iter().any(|field| has_nanoseconds(&field.field_type))
        }
        Type::List(list) => has_nanoseconds(&list.element_field.field_type),
        Type::Map(map) => {
            has_nanoseconds(&map.key_field.field_type)
                || has_nanoseconds(&map.value_field.field_type)
        }
    }
}

#[cfg(test)]
mod tests {
    use shardlake_change::{Column, LogicalType};

    use super::*;

    #[test]
    fn partitions_are_read_in_the_spellings_of_flink_and_spark() {
        let check = |text: &str, printed: &str| {
            assert_eq!(PartitionField::parse(text).unwrap().to_string(), printed);
        };
        check("id", "id");
        check("`my id`", "my id");
        check("bucket[16](id)", "bucket(16, id)");
        check("BUCKET( 16 , id )", "bucket(16, id)");
        check("truncate(4, name)", "truncate(4, name)");
        check("days(ts)", "day(ts)");
        check("hour(ts)", "hour(ts)");
        let error = PartitionField::parse("bucket(id)").unwrap_err().to_string();
        assert!(error.starts_with("'bucket(id)' is no partition: use a column"), "{error}");
    }

    #[test]
    fn sort_fields_are_read_with_their_defaults() {
        let fields = SortField::parse_list("bucket(4, id), name DESC, ts asc nulls last").unwrap();
        let text: Vec<String> = fields
            .iter()
            .map(|sort| format!("{} {} {}", sort.field, sort.descending, sort.nulls_first))
            .collect();
        assert_eq!(text, ["bucket(4, id) false true", "name true false", "ts false false"]);
        assert!(SortField::parse_list("name upwards").is_err());
    }

    fn creation() -> TableCreation {
        let columns = vec![
            Column::new("id", LogicalType::BigInt).not_null(),
            Column::new("ts", LogicalType::Timestamp(6)),
        ];
        let schema = TableSchema { columns, primary_key: vec!["id".to_owned()] };
        TableCreation { schema, ..TableCreation::default() }
    }

    #[test]
    fn partitions_and_order_are_bound_to_field_ids() {
        let mut creation = creation();
        creation.partitioned_by =
            vec![PartitionField::parse("day(ts)").unwrap(), PartitionField::identity("id")];
        creation.sorted_by = SortField::parse_list("id desc").unwrap();
        creation.format_version = 3;
        let metadata = creation.metadata("/lake/db/t").unwrap();
        assert_eq!(metadata.format_version(), FormatVersion::V3);
        let spec = metadata.default_partition_spec();
        let fields: Vec<String> = spec
            .fields()
            .iter()
            .map(|field| format!("{} {} {}", field.source_id, field.name, field.transform))
            .collect();
        assert_eq!(fields, ["2 ts_day day", "1 id identity"]);
        assert_eq!(metadata.default_sort_order().fields[0].source_id, 1);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let mut wrong = creation();
        wrong.partitioned_by = vec![PartitionField::identity("nowhere")];
        let error = wrong.metadata("/t").unwrap_err().to_string();
        assert_eq!(
            error,
            "the table has no column 'nowhere' to partition by; name one of its columns"
        );
        wrong.partitioned_by = vec![PartitionField::parse("day(id)").unwrap()];
        let error = wrong.metadata("/t").unwrap_err().to_string();
        assert!(error.contains("by day(id): column 'id' has type long"), "{error}");
        let mut nanos = creation();
        nanos.schema.columns[1].data_type = LogicalType::Timestamp(9);
        let error = nanos.metadata("/t").unwrap_err().to_string();
        assert!(error.contains("column 'ts'") && error.contains("'format-version' = '3'"));
        nanos.format_version = 3;
        nanos.metadata("/t").unwrap();
    }
}
