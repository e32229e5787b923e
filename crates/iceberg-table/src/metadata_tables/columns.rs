//! Columns of metadata tables, built from the values of each row.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryArray, BinaryBuilder, BooleanArray, Int32Builder,
    Int64Builder, ListBuilder, MapBuilder, MapFieldNames, NullArray, PrimitiveArray, StringArray,
    StringBuilder, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, TimeUnit};
use datafusion::common::ScalarValue;
use iceberg::spec::{Literal, Struct, Transform, Type};

use super::MetadataColumn;
use crate::provider::scalar;
use crate::{Error, Table, schema};

/// A column of an array; it is nullable if the array has NULLs or may have some.
pub(super) fn column(name: &str, nullable: bool, array: ArrayRef) -> MetadataColumn {
    (Field::new(name, array.data_type().clone(), nullable), array)
}

pub(super) fn numbers<T: ArrowPrimitiveType>(
    name: &str,
    values: impl IntoIterator<Item = T::Native>,
) -> MetadataColumn {
    column(name, false, Arc::new(PrimitiveArray::<T>::from_iter_values(values)))
}

pub(super) fn optional_numbers<T: ArrowPrimitiveType>(
    name: &str,
    values: impl IntoIterator<Item = Option<T::Native>>,
) -> MetadataColumn {
    column(name, true, Arc::new(values.into_iter().collect::<PrimitiveArray<T>>()))
}

pub(super) fn texts<S: AsRef<str>>(
    name: &str,
    values: impl IntoIterator<Item = S>,
) -> MetadataColumn {
    column(name, false, Arc::new(StringArray::from_iter_values(values)))
}

pub(super) fn optional_texts<S: AsRef<str>>(
    name: &str,
    values: impl IntoIterator<Item = Option<S>>,
) -> MetadataColumn {
    column(name, true, Arc::new(values.into_iter().collect::<StringArray>()))
}

pub(super) fn booleans(name: &str, values: impl IntoIterator<Item = bool>) -> MetadataColumn {
    let array: BooleanArray = values.into_iter().map(Some).collect();
    column(name, false, Arc::new(array))
}

pub(super) fn optional_bytes<'a>(
    name: &str,
    values: impl IntoIterator<Item = Option<&'a [u8]>>,
) -> MetadataColumn {
    column(name, true, Arc::new(values.into_iter().collect::<BinaryArray>()))
}

/// Instants from milliseconds since 1970.
pub(super) fn instants(
    name: &str,
    nullable: bool,
    millis: impl IntoIterator<Item = Option<i64>>,
) -> MetadataColumn {
    let micros = millis.into_iter().map(|millis| millis.and_then(|ms| ms.checked_mul(1_000)));
    let array = micros.collect::<TimestampMicrosecondArray>().with_timezone("+00:00");
    debug_assert_eq!(
        array.data_type(),
        &DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
    );
    column(name, nullable, Arc::new(array))
}

fn map_names() -> MapFieldNames {
    MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() }
}

/// A map of texts, sorted by key.
pub(super) fn text_maps<'a>(
    name: &str,
    rows: impl IntoIterator<Item = &'a HashMap<String, String>>,
) -> Result<MetadataColumn, Error> {
    let mut builder =
        MapBuilder::new(Some(map_names()), StringBuilder::new(), StringBuilder::new());
    for row in rows {
        for (key, value) in row.iter().collect::<BTreeMap<_, _>>() {
            builder.keys().append_value(key);
            builder.values().append_value(value);
        }
        builder.append(true).map_err(Error::bug)?;
    }
    Ok(column(name, true, Arc::new(builder.finish())))
}

/// Counts by field id; a row without any is NULL.
pub(super) fn count_maps<'a>(
    name: &str,
    rows: impl IntoIterator<Item = &'a HashMap<i32, u64>>,
) -> Result<MetadataColumn, Error> {
    let mut builder = MapBuilder::new(Some(map_names()), Int32Builder::new(), Int64Builder::new());
    for row in rows {
        for (key, value) in sorted(row) {
            builder.keys().append_value(*key);
            builder.values().append_value(long(*value));
        }
        builder.append(!row.is_empty()).map_err(Error::bug)?;
    }
    Ok(column(name, true, Arc::new(builder.finish())))
}

/// Bytes by field id; a row without any is NULL.
pub(super) fn byte_maps(
    name: &str,
    rows: impl IntoIterator<Item = BTreeMap<i32, Vec<u8>>>,
) -> Result<MetadataColumn, Error> {
    let mut builder = MapBuilder::new(Some(map_names()), Int32Builder::new(), BinaryBuilder::new());
    for row in rows {
        for (key, value) in &row {
            builder.keys().append_value(*key);
            builder.values().append_value(value);
        }
        builder.append(!row.is_empty()).map_err(Error::bug)?;
    }
    Ok(column(name, true, Arc::new(builder.finish())))
}

pub(super) fn int_lists(
    name: &str,
    rows: impl IntoIterator<Item = Option<Vec<i32>>>,
) -> MetadataColumn {
    let element = Field::new("element", DataType::Int32, true);
    let mut builder = ListBuilder::new(Int32Builder::new()).with_field(element);
    for row in rows {
        match row {
            Some(values) => builder.append_value(values.into_iter().map(Some)),
            None => builder.append_null(),
        }
    }
    column(name, true, Arc::new(builder.finish()))
}

pub(super) fn long_lists<'a>(
    name: &str,
    rows: impl IntoIterator<Item = Option<&'a [i64]>>,
) -> MetadataColumn {
    let element = Field::new("element", DataType::Int64, true);
    let mut builder = ListBuilder::new(Int64Builder::new()).with_field(element);
    for row in rows {
        match row {
            Some(values) => builder.append_value(values.iter().copied().map(Some)),
            None => builder.append_null(),
        }
    }
    column(name, true, Arc::new(builder.finish()))
}

fn sorted<K: Ord + Hash, V>(map: &HashMap<K, V>) -> BTreeMap<&K, &V> {
    map.iter().collect()
}

/// A count as SQL has it.
pub(super) fn long(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The fields of all partition specs of a table: a partition of any of them is a row of these.
pub(super) struct PartitionFields {
    fields: Vec<PartitionField>,
    /// For each spec: the fields in the order of the spec's partitions.
    specs: HashMap<i32, Vec<i32>>,
}

struct PartitionField {
    id: i32,
    name: String,
    data_type: DataType,
    kind: iceberg::spec::PrimitiveType,
}

impl PartitionFields {
    pub(super) fn of(table: &Table) -> Self {
        let metadata = table.metadata();
        let mut specs: Vec<_> = metadata.partition_specs_iter().collect();
        // The newest names count.
        specs.sort_by_key(|spec| std::cmp::Reverse(spec.spec_id()));
        let mut fields: Vec<PartitionField> = Vec::new();
        let mut ids = HashMap::new();
        for spec in specs {
            ids.insert(spec.spec_id(), spec.fields().iter().map(|field| field.field_id).collect());
            for field in spec.fields() {
                if field.transform == Transform::Void
                    || fields.iter().any(|known| known.id == field.field_id)
                {
                    continue;
                }
                let source = metadata.schemas_iter().find_map(|s| s.field_by_id(field.source_id));
                let Some(source) = source else { continue };
                let Ok(Type::Primitive(kind)) = field.transform.result_type(&source.field_type)
                else {
                    continue;
                };
                let Some(data_type) = schema::arrow_primitive(&kind) else { continue };
                let (id, name) = (field.field_id, field.name.clone());
                fields.push(PartitionField { id, name, data_type, kind });
            }
        }
        fields.sort_by_key(|field| field.id);
        Self { fields, specs: ids }
    }

    /// Whether no spec partitions the table.
    pub(super) const fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Partitions as a column of structs.
    pub(super) fn column(
        &self,
        name: &str,
        rows: &[(i32, &Struct)],
    ) -> Result<MetadataColumn, Error> {
        let mut fields: Vec<FieldRef> = Vec::new();
        let mut arrays: Vec<ArrayRef> = Vec::new();
        for field in &self.fields {
            let null = ScalarValue::try_from(&field.data_type).map_err(Error::bug)?;
            let values = rows.iter().map(|(spec_id, partition)| {
                self.value(*spec_id, partition, field).unwrap_or_else(|| null.clone())
            });
            let array = if rows.is_empty() {
                arrow::array::new_empty_array(&field.data_type)
            } else {
                ScalarValue::iter_to_array(values).map_err(Error::bug)?
            };
            fields.push(Arc::new(Field::new(&field.name, field.data_type.clone(), true)));
            arrays.push(array);
        }
        if fields.is_empty() {
            return Ok(column(name, true, Arc::new(NullArray::new(rows.len()))));
        }
        let array = StructArray::try_new(Fields::from(fields), arrays, None).map_err(Error::bug)?;
        Ok(column(name, false, Arc::new(array)))
    }

    fn value(
        &self,
        spec_id: i32,
        partition: &Struct,
        field: &PartitionField,
    ) -> Option<ScalarValue> {
        let ids = self.specs.get(&spec_id)?;
        let place = ids.iter().position(|id| *id == field.id)?;
        match partition.fields().get(place)?.as_ref()? {
            Literal::Primitive(literal) => {
                scalar::from_iceberg(literal, &field.kind)?.cast_to(&field.data_type).ok()
            }
            Literal::Struct(_) | Literal::List(_) | Literal::Map(_) => None,
        }
    }
}
