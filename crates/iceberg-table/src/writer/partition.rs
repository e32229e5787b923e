//! Which partition a row belongs to, and the folder of its files.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type,
    Time64MicrosecondType, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
};
use arrow::row::{RowConverter, SortField};
use iceberg::spec::{
    Literal, PartitionSpec, PrimitiveLiteral, PrimitiveType, Schema, Struct, Transform, Type,
};
use indexmap::IndexMap;
use xxhash_rust::xxh3::xxh3_64;

use super::transform::{civil, transform};
use crate::{Error, schema};

/// How long the name of a partition's folder may be; file systems end at 255 bytes.
const FOLDER_NAME_MAX: usize = 200;

/// One partition of a table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Partition {
    /// The partition spec.
    pub(crate) spec_id: i32,
    /// A value for each field of the spec.
    pub(crate) values: Struct,
}

/// Finds the partitions of rows, by one partition spec.
#[derive(Debug)]
pub(crate) struct Partitioner {
    spec_id: i32,
    fields: Vec<Field>,
    converter: RowConverter,
}

#[derive(Debug)]
struct Field {
    name: String,
    /// The column in the table's Arrow schema.
    column: usize,
    transform: Transform,
    result: PrimitiveType,
}

/// The partitions that rows were found to be in, in the order of their first rows.
pub(crate) type Partitions = IndexMap<Box<[u8]>, Arc<Partition>>;

impl Partitioner {
    /// For tables with this schema; none if the spec has no fields.
    pub(crate) fn try_new(spec: &PartitionSpec, schema: &Schema) -> Result<Option<Self>, Error> {
        if spec.is_unpartitioned() {
            return Ok(None);
        }
        let mut fields = Vec::new();
        let mut sort_fields = Vec::new();
        for field in spec.fields() {
            let columns = schema.as_struct().fields();
            let column = columns.iter().position(|column| column.id == field.source_id);
            let column = column.ok_or_else(|| {
                Error::Invalid(format!(
                    "the table is partitioned by '{}', which is made of a column inside another or \
                     of one that is gone; such a table cannot be written",
                    field.name
                ))
            })?;
            let result = field.transform.result_type(&columns[column].field_type);
            let result = match result.map_err(Error::bug)? {
                Type::Primitive(result) => result,
                Type::Struct(_) | Type::List(_) | Type::Map(_) => {
                    return Err(Error::bug("a partition value that is no primitive"));
                }
            };
            let arrow = schema::arrow_primitive(&result).ok_or_else(|| Error::bug("no type"))?;
            // Days are dates to Iceberg's types, but plain numbers to the transform.
            let arrow = match field.transform {
                Transform::Day => DataType::Int32,
                _ => arrow,
            };
            sort_fields.push(SortField::new(arrow));
            let (name, transform) = (field.name.clone(), field.transform);
            fields.push(Field { name, column, transform, result });
        }
        let converter = RowConverter::new(sort_fields).map_err(Error::bug)?;
        Ok(Some(Self { spec_id: spec.spec_id(), fields, converter }))
    }

    /// The columns of the table that partitions are made of.
    pub(crate) fn columns(&self) -> impl Iterator<Item = usize> {
        self.fields.iter().map(|field| field.column)
    }

    /// Appends, for each row, the number of its partition in `known`, which is extended.
    pub(crate) fn number(
        &self,
        rows: &RecordBatch,
        known: &mut Partitions,
        numbers: &mut Vec<u32>,
    ) -> Result<(), Error> {
        let columns = self
            .fields
            .iter()
            .map(|field| transform(field.transform, rows.column(field.column)))
            .collect::<Result<Vec<_>, Error>>()?;
        let keys = self.converter.convert_columns(&columns).map_err(Error::bug)?;
        numbers.reserve(rows.num_rows());
        let mut last: Option<(&[u8], u32)> = None;
        for row in 0..rows.num_rows() {
            let key = keys.row(row).data();
            let number = match last {
                Some((last, number)) if last == key => number,
                _ => match known.get_index_of(key) {
                    Some(number) => u32::try_from(number).map_err(Error::bug)?,
                    None => {
                        let number = u32::try_from(known.len()).map_err(Error::bug)?;
                        known.insert(key.into(), Arc::new(self.partition(&columns, row)?));
                        number
                    }
                },
            };
            last = Some((key, number));
            numbers.push(number);
        }
        Ok(())
    }

    fn partition(&self, columns: &[ArrayRef], row: usize) -> Result<Partition, Error> {
        let values = columns
            .iter()
            .zip(&self.fields)
            .map(|(column, field)| literal(column, row, &field.result))
            .collect::<Result<Vec<_>, Error>>()?;
        Ok(Partition { spec_id: self.spec_id, values: Struct::from_iter(values) })
    }

    /// The folder of a partition's files, relative to that of all data, as other engines name it.
    pub(crate) fn folder(&self, partition: &Partition) -> String {
        let mut path = String::new();
        for (field, value) in self.fields.iter().zip(partition.values.iter()) {
            if !path.is_empty() {
                path.push('/');
            }
            let mut name = escaped(&field.name);
            name.push('=');
            name.push_str(&escaped(&human(field.transform, &field.result, value)));
            if name.len() > FOLDER_NAME_MAX {
                let hash = xxh3_64(name.as_bytes());
                name.truncate(FOLDER_NAME_MAX - 20);
                let _infallible = write!(name, "~{hash:016x}");
            }
            path.push_str(&name);
        }
        path
    }
}

fn literal(column: &ArrayRef, row: usize, kind: &PrimitiveType) -> Result<Option<Literal>, Error> {
    if column.is_null(row) {
        return Ok(None);
    }
    let long = |value: i64| Literal::Primitive(PrimitiveLiteral::Long(value));
    Ok(Some(match column.data_type() {
        DataType::Boolean => Literal::bool(column.as_boolean().value(row)),
        DataType::Int32 => Literal::int(column.as_primitive::<Int32Type>().value(row)),
        DataType::Date32 => Literal::int(column.as_primitive::<Date32Type>().value(row)),
        DataType::Int64 => long(column.as_primitive::<Int64Type>().value(row)),
        DataType::Time64(TimeUnit::Microsecond) => {
            long(column.as_primitive::<Time64MicrosecondType>().value(row))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            long(column.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            long(column.as_primitive::<TimestampNanosecondType>().value(row))
        }
        DataType::Float32 => Literal::float(column.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => Literal::double(column.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, _) => {
            Literal::decimal(column.as_primitive::<Decimal128Type>().value(row))
        }
        DataType::Utf8 => Literal::string(column.as_string::<i32>().value(row)),
        DataType::Binary => Literal::binary(column.as_binary::<i32>().value(row).to_vec()),
        DataType::FixedSizeBinary(_) => {
            let bytes = column.as_fixed_size_binary().value(row);
            match (kind, <[u8; 16]>::try_from(bytes)) {
                (PrimitiveType::Uuid, Ok(bytes)) => {
                    Literal::Primitive(PrimitiveLiteral::UInt128(u128::from_be_bytes(bytes)))
                }
                _ => Literal::fixed(bytes.to_vec()),
            }
        }
        other => return Err(Error::bug(format!("a partition value of type {other}"))),
    }))
}

/// A partition value as text. It only names a folder: readers take values from manifests.
fn human(transform: Transform, kind: &PrimitiveType, value: Option<&Literal>) -> String {
    let Some(Literal::Primitive(value)) = value else { return "null".to_owned() };
    match (transform, value) {
        (Transform::Year, PrimitiveLiteral::Int(year)) => format!("{:04}", i64::from(*year) + 1970),
        (Transform::Month, PrimitiveLiteral::Int(month)) => {
            let month = i64::from(*month);
            format!("{:04}-{:02}", 1970 + month.div_euclid(12), month.rem_euclid(12) + 1)
        }
        (Transform::Day, PrimitiveLiteral::Int(day)) => date(i64::from(*day)),
        (Transform::Hour, PrimitiveLiteral::Int(hour)) => {
            let hour = i64::from(*hour);
            format!("{}-{:02}", date(hour.div_euclid(24)), hour.rem_euclid(24))
        }
        (_, PrimitiveLiteral::Boolean(value)) => value.to_string(),
        (_, PrimitiveLiteral::Int(day)) if *kind == PrimitiveType::Date => date(i64::from(*day)),
        (_, PrimitiveLiteral::Int(value)) => value.to_string(),
        (_, PrimitiveLiteral::Long(value)) => match kind {
            PrimitiveType::Time => time_of_day(*value, 1_000_000, 6),
            PrimitiveType::Timestamp => date_time(*value, 1_000_000, 6),
            PrimitiveType::Timestamptz => date_time(*value, 1_000_000, 6) + "+00:00",
            PrimitiveType::TimestampNs => date_time(*value, 1_000_000_000, 9),
            PrimitiveType::TimestamptzNs => date_time(*value, 1_000_000_000, 9) + "+00:00",
            _ => value.to_string(),
        },
        (_, PrimitiveLiteral::Float(value)) => value.to_string(),
        (_, PrimitiveLiteral::Double(value)) => value.to_string(),
        (_, PrimitiveLiteral::String(value)) => value.clone(),
        (_, PrimitiveLiteral::UInt128(value)) => uuid::Uuid::from_u128(*value).to_string(),
        (_, PrimitiveLiteral::Int128(value)) => decimal(*value, kind),
        (_, PrimitiveLiteral::Binary(bytes)) => {
            bytes.iter().fold(String::new(), |mut text, byte| {
                let _infallible = write!(text, "{byte:02x}");
                text
            })
        }
        (_, PrimitiveLiteral::AboveMax | PrimitiveLiteral::BelowMin) => "null".to_owned(),
    }
}

fn decimal(value: i128, kind: &PrimitiveType) -> String {
    let scale = match kind {
        PrimitiveType::Decimal { scale, .. } => *scale as usize,
        _ => 0,
    };
    let sign = if value < 0 { "-" } else { "" };
    let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

fn date(day: i64) -> String {
    let (year, month, day) = civil(day);
    format!("{year:04}-{month:02}-{day:02}")
}

fn time_of_day(time: i64, per_second: i64, digits: usize) -> String {
    let (seconds, fraction) = (time.div_euclid(per_second), time.rem_euclid(per_second));
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if fraction == 0 {
        return format!("{hour:02}:{minute:02}:{second:02}");
    }
    format!("{hour:02}:{minute:02}:{second:02}.{fraction:0digits$}")
}

fn date_time(time: i64, per_second: i64, digits: usize) -> String {
    let per_day = per_second * 86_400;
    let time_of_day = time_of_day(time.rem_euclid(per_day), per_second, digits);
    format!("{}T{time_of_day}", date(time.div_euclid(per_day)))
}

/// Text in the form of a URL's query, as other engines write it into paths.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            other => {
                let _infallible = write!(escaped, "%{other:02X}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray};

    use super::*;
    use crate::{PartitionField, TableCreation};
    use shardlake_change::{Column, LogicalType, TableSchema};

    fn partitioner(fields: &[&str]) -> (Partitioner, Arc<arrow::datatypes::Schema>) {
        let columns = vec![
            Column::new("id", LogicalType::BigInt),
            Column::new("the name", LogicalType::String),
            Column::new("ts", LogicalType::Timestamp(6)),
        ];
        let creation = TableCreation {
            schema: TableSchema { columns, primary_key: vec![] },
            partitioned_by: fields
                .iter()
                .map(|text| PartitionField::parse(text).unwrap())
                .collect(),
            ..TableCreation::default()
        };
        let metadata = creation.metadata("/t").unwrap();
        let schema = metadata.current_schema();
        let partitioner = Partitioner::try_new(metadata.default_partition_spec(), schema).unwrap();
        (partitioner.unwrap(), schema::to_arrow(schema).unwrap())
    }

    #[test]
    fn rows_are_numbered_by_partition_and_folders_are_named_as_others_name_them() {
        let fields = ["the name", "day(ts)", "bucket(4, id)", "truncate(10, id)"];
        let (partitioner, schema) = partitioner(&fields);
        let long = "x/ü".repeat(100);
        let batch = RecordBatch::try_new(
            schema,
            vec![
                Arc::new(Int64Array::from(vec![Some(34), Some(34), None, Some(-1)])),
                Arc::new(StringArray::from(vec![
                    Some("a b/c=d"),
                    Some("a b/c=d"),
                    None,
                    Some(&long),
                ])),
                Arc::new(TimestampMicrosecondArray::from(vec![
                    Some(1_510_871_468_000_000),
                    Some(1_510_871_469_000_000),
                    None,
                    Some(-1),
                ])),
            ],
        )
        .unwrap();
        let (mut known, mut numbers) = (Partitions::new(), Vec::new());
        partitioner.number(&batch, &mut known, &mut numbers).unwrap();
        partitioner.number(&batch.slice(2, 1), &mut known, &mut numbers).unwrap();
        assert_eq!(numbers, [0, 0, 1, 2, 1]);
        let folders: Vec<String> =
            known.values().map(|partition| partitioner.folder(partition)).collect();
        assert_eq!(folders[0], "the+name=a+b%2Fc%3Dd/ts_day=2017-11-16/id_bucket=3/id_trunc=30");
        assert_eq!(folders[1], "the+name=null/ts_day=null/id_bucket=null/id_trunc=null");
        assert!(folders[2].ends_with("/ts_day=1969-12-31/id_bucket=0/id_trunc=-10"));
        assert!(folders[2].split('/').all(|name| name.len() <= FOLDER_NAME_MAX));
    }

    #[test]
    fn values_are_readable_in_paths() {
        let check = |kind: PrimitiveType, value: PrimitiveLiteral, text: &str| {
            let value = Literal::Primitive(value);
            assert_eq!(human(Transform::Identity, &kind, Some(&value)), text);
        };
        check(PrimitiveType::Date, PrimitiveLiteral::Int(-1), "1969-12-31");
        check(PrimitiveType::Time, PrimitiveLiteral::Long(3_600_000_001), "01:00:00.000001");
        check(PrimitiveType::Timestamptz, PrimitiveLiteral::Long(0), "1970-01-01T00:00:00+00:00");
        let decimal = PrimitiveType::Decimal { precision: 9, scale: 2 };
        check(decimal, PrimitiveLiteral::Int128(-5), "-0.05");
        check(PrimitiveType::Binary, PrimitiveLiteral::Binary(vec![0, 255]), "00ff");
    }
}
