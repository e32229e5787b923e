//! Schemas in three forms: as declared in SQL, as Iceberg keeps them, and as Arrow reads them.
//!
//! Field ids are given from 1 in Iceberg's own order (all fields of one level before those inside
//! them), so that a table made here has the ids that Flink would have given.

mod evolve;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::datatypes::{
    DataType, Field, Schema as ArrowSchema, SchemaRef as ArrowSchemaRef, TimeUnit,
};
use iceberg::spec::{
    ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, Schema, StructType, Type,
};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use shardlake_change::{Column, LogicalType, TableSchema};

use crate::{Error, Table};

/// The Iceberg schema of a declared table. Columns of the primary key become its identifier fields.
///
/// # Errors
/// [`Error::Invalid`] names the column that Iceberg cannot hold.
pub fn to_iceberg(declared: &TableSchema) -> Result<Schema, Error> {
    let mut ids = FieldIds(0);
    let columns: Vec<(i32, &Column)> =
        declared.columns.iter().map(|column| (ids.next(), column)).collect();
    let mut fields: Vec<NestedFieldRef> = Vec::with_capacity(columns.len());
    let mut identifiers = Vec::new();
    for (id, column) in columns {
        let is_key = declared.primary_key.contains(&column.name);
        let field_type = ids.assign(&column.data_type).map_err(|reason| {
            Error::Invalid(format!("column '{}' cannot be stored: {reason}", column.name))
        })?;
        if is_key {
            check_key_type(&column.name, &field_type)?;
            identifiers.push(id);
        }
        let mut field = NestedField::new(id, &column.name, field_type, is_key || !column.nullable);
        if let Some(comment) = &column.comment {
            field = field.with_doc(comment);
        }
        fields.push(field.into());
    }
    Schema::builder()
        .with_fields(fields)
        .with_identifier_field_ids(identifiers)
        .build()
        .map_err(|error| Error::Invalid(format!("the columns make no valid table: {error}")))
}

/// The field of a new column; its ids follow `last_id`, which becomes the greatest of them.
///
/// # Errors
/// [`Error::Invalid`] if Iceberg has no such type.
pub(crate) fn new_field(column: &Column, last_id: &mut i32) -> Result<NestedField, Error> {
    let mut ids = FieldIds(*last_id);
    let id = ids.next();
    let field_type = ids.assign(&column.data_type).map_err(|reason| {
        Error::Invalid(format!("column '{}' cannot be stored: {reason}", column.name))
    })?;
    *last_id = ids.0;
    let field = NestedField::new(id, &column.name, field_type, !column.nullable);
    Ok(match &column.comment {
        Some(comment) => field.with_doc(comment),
        None => field,
    })
}

pub(crate) fn check_key_type(column: &str, field_type: &Type) -> Result<(), Error> {
    match field_type {
        Type::Primitive(PrimitiveType::Float | PrimitiveType::Double)
        | Type::Struct(_)
        | Type::List(_)
        | Type::Map(_) => Err(Error::Invalid(format!(
            "column '{column}' of type {field_type} cannot be part of the primary key of an Iceberg table"
        ))),
        Type::Primitive(_) => Ok(()),
    }
}

struct FieldIds(i32);

impl FieldIds {
    const fn next(&mut self) -> i32 {
        self.0 += 1;
        self.0
    }

    fn assign(&mut self, data_type: &LogicalType) -> Result<Type, String> {
        let primitive = match data_type {
            LogicalType::Char(_) | LogicalType::VarChar(_) | LogicalType::String => {
                PrimitiveType::String
            }
            LogicalType::Boolean => PrimitiveType::Boolean,
            LogicalType::Binary(len) => PrimitiveType::Fixed(u64::from(*len)),
            LogicalType::VarBinary(_) | LogicalType::Bytes => PrimitiveType::Binary,
            LogicalType::Decimal { precision, scale } => PrimitiveType::Decimal {
                precision: u32::from(*precision),
                scale: u32::from(*scale),
            },
            LogicalType::TinyInt | LogicalType::SmallInt | LogicalType::Int => PrimitiveType::Int,
            LogicalType::BigInt => PrimitiveType::Long,
            LogicalType::Float => PrimitiveType::Float,
            LogicalType::Double => PrimitiveType::Double,
            LogicalType::Date => PrimitiveType::Date,
            LogicalType::Time(_) => PrimitiveType::Time,
            LogicalType::Timestamp(precision) if *precision <= 6 => PrimitiveType::Timestamp,
            LogicalType::TimestampLtz(precision) if *precision <= 6 => PrimitiveType::Timestamptz,
            LogicalType::Timestamp(_) => PrimitiveType::TimestampNs,
            LogicalType::TimestampLtz(_) => PrimitiveType::TimestamptzNs,
            LogicalType::Array(element) => {
                let id = self.next();
                let element = NestedField::list_element(id, self.assign(element)?, false);
                return Ok(Type::List(ListType::new(element.into())));
            }
            LogicalType::Map(key, value) => {
                let (key_id, value_id) = (self.next(), self.next());
                let key = self.assign(key)?;
                let value = self.assign(value)?;
                return Ok(Type::Map(MapType::optional(key_id, key, value_id, value)));
            }
            LogicalType::Row(fields) => {
                let ids: Vec<i32> = fields.iter().map(|_| self.next()).collect();
                let mut nested: Vec<NestedFieldRef> = Vec::with_capacity(fields.len());
                for (id, (name, kind)) in ids.into_iter().zip(fields) {
                    nested.push(NestedField::optional(id, name, self.assign(kind)?).into());
                }
                return Ok(Type::Struct(StructType::new(nested)));
            }
        };
        Ok(Type::Primitive(primitive))
    }
}

/// The Arrow schema in which a table is read and written. Each field carries its id.
///
/// # Errors
/// [`Error::Invalid`] names the column of a type that is not supported.
pub fn to_arrow(schema: &Schema) -> Result<ArrowSchemaRef, Error> {
    let fields = arrow_fields(schema.as_struct().fields())?;
    Ok(Arc::new(ArrowSchema::new(fields)))
}

fn arrow_fields(fields: &[NestedFieldRef]) -> Result<Vec<Field>, Error> {
    fields.iter().map(|field| arrow_field(field)).collect()
}

fn arrow_field(field: &NestedField) -> Result<Field, Error> {
    named_arrow_field(&field.name, field)
}

fn named_arrow_field(name: &str, field: &NestedField) -> Result<Field, Error> {
    let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), field.id.to_string())]);
    Ok(Field::new(name, arrow_type(field)?, !field.required).with_metadata(id))
}

fn arrow_type(field: &NestedField) -> Result<DataType, Error> {
    let refuse = |what: String| {
        Error::Invalid(format!("column '{}' has type {what}, which is not supported", field.name))
    };
    Ok(match field.field_type.as_ref() {
        Type::Primitive(primitive) => {
            arrow_primitive(primitive).ok_or_else(|| refuse(primitive.to_string()))?
        }
        Type::Struct(fields) => DataType::Struct(arrow_fields(fields.fields())?.into()),
        Type::List(list) => {
            DataType::List(Arc::new(named_arrow_field("element", &list.element_field)?))
        }
        Type::Map(map) => {
            let key = named_arrow_field("key", &map.key_field)?.with_nullable(false);
            let value = named_arrow_field("value", &map.value_field)?;
            let entries = Field::new("key_value", DataType::Struct(vec![key, value].into()), false);
            DataType::Map(Arc::new(entries), false)
        }
    })
}

/// The Arrow type of a primitive type of Iceberg; none if it does not fit Arrow's limits.
pub(crate) fn arrow_primitive(primitive: &PrimitiveType) -> Option<DataType> {
    Some(match primitive {
        PrimitiveType::Boolean => DataType::Boolean,
        PrimitiveType::Int => DataType::Int32,
        PrimitiveType::Long => DataType::Int64,
        PrimitiveType::Float => DataType::Float32,
        PrimitiveType::Double => DataType::Float64,
        PrimitiveType::Decimal { precision, scale } => {
            DataType::Decimal128(u8::try_from(*precision).ok()?, i8::try_from(*scale).ok()?)
        }
        PrimitiveType::Date => DataType::Date32,
        PrimitiveType::Time => DataType::Time64(TimeUnit::Microsecond),
        PrimitiveType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        PrimitiveType::Timestamptz => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
        }
        PrimitiveType::TimestampNs => DataType::Timestamp(TimeUnit::Nanosecond, None),
        PrimitiveType::TimestamptzNs => {
            DataType::Timestamp(TimeUnit::Nanosecond, Some("+00:00".into()))
        }
        PrimitiveType::String => DataType::Utf8,
        PrimitiveType::Uuid => DataType::FixedSizeBinary(16),
        PrimitiveType::Fixed(len) => DataType::FixedSizeBinary(i32::try_from(*len).ok()?),
        PrimitiveType::Binary => DataType::Binary,
    })
}

/// Checks that an existing table has exactly the declared columns (in any order) and key.
///
/// # Errors
/// [`Error::Invalid`] names the first column that differs, with both types.
pub fn check_matches(table: &Schema, declared: &TableSchema) -> Result<(), Error> {
    let wanted = to_iceberg(declared)?;
    for field in wanted.as_struct().fields() {
        let name = &field.name;
        let Some(existing) = table.as_struct().field_by_name(name) else {
            return Err(Error::Invalid(format!(
                "column '{name}' is declared but the Iceberg table has no such column; \
                 remove it from the declaration or write to another table"
            )));
        };
        if !same_type(&existing.field_type, &field.field_type) {
            return Err(Error::Invalid(format!(
                "column '{name}' is declared as {}, but the Iceberg table has it as {}",
                type_text(&field.field_type),
                type_text(&existing.field_type)
            )));
        }
        if existing.required && !field.required {
            return Err(Error::Invalid(format!(
                "column '{name}' may be NULL as declared, but is required in the Iceberg table; \
                 declare it NOT NULL"
            )));
        }
    }
    for field in table.as_struct().fields() {
        if declared.index_of(&field.name).is_none() {
            return Err(Error::Invalid(format!(
                "the Iceberg table has column '{}', which is not declared; declare it as {}",
                field.name,
                type_text(&field.field_type)
            )));
        }
    }
    check_key(table, declared)
}

/// Checks that a table whose columns follow those of a source can take the declared ones, and has their key.
/// It may have more columns, and wider ones.
///
/// # Errors
/// [`Error::Invalid`] names the first column that does not fit.
pub fn check_fits(table: &Table, declared: &TableSchema) -> Result<(), Error> {
    table.with_room_for(&declared.to_arrow())?;
    check_key(table.schema(), declared)
}

fn check_key(table: &Schema, declared: &TableSchema) -> Result<(), Error> {
    let existing: BTreeSet<&str> =
        table.identifier_field_ids().filter_map(|id| table.name_by_field_id(id)).collect();
    let wanted: BTreeSet<&str> = declared.primary_key.iter().map(String::as_str).collect();
    if existing == wanted {
        return Ok(());
    }
    let list = |names: &BTreeSet<&str>| {
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.iter().copied().collect::<Vec<_>>().join(", ")
        }
    };
    Err(Error::Invalid(format!(
        "the declared primary key ({}) differs from the identifier fields of the Iceberg table ({})",
        list(&wanted),
        list(&existing)
    )))
}

/// The identifier fields of a schema as indices of its columns, in column order.
#[must_use]
pub fn key_indices(schema: &Schema) -> Vec<usize> {
    let ids: BTreeSet<i32> = schema.identifier_field_ids().collect();
    schema
        .as_struct()
        .fields()
        .iter()
        .enumerate()
        .filter(|(_, field)| ids.contains(&field.id))
        .map(|(index, _)| index)
        .collect()
}

/// Whether two types are equal when field ids, comments and nullability inside are left out.
pub(crate) fn same_type(left: &Type, right: &Type) -> bool {
    match (left, right) {
        (Type::Primitive(left), Type::Primitive(right)) => left == right,
        (Type::List(left), Type::List(right)) => {
            same_type(&left.element_field.field_type, &right.element_field.field_type)
        }
        (Type::Map(left), Type::Map(right)) => {
            same_type(&left.key_field.field_type, &right.key_field.field_type)
                && same_type(&left.value_field.field_type, &right.value_field.field_type)
        }
        (Type::Struct(left), Type::Struct(right)) => {
            left.fields().len() == right.fields().len()
                && left.fields().iter().zip(right.fields()).all(|(left, right)| {
                    left.name == right.name && same_type(&left.field_type, &right.field_type)
                })
        }
        (Type::Primitive(_) | Type::List(_) | Type::Map(_) | Type::Struct(_), _) => false,
    }
}

/// A type as the Iceberg specification writes it, without field ids.
pub(crate) fn type_text(field_type: &Type) -> String {
    match field_type {
        Type::Primitive(primitive) => primitive.to_string(),
        Type::List(list) => format!("list<{}>", type_text(&list.element_field.field_type)),
        Type::Map(map) => format!(
            "map<{}, {}>",
            type_text(&map.key_field.field_type),
            type_text(&map.value_field.field_type)
        ),
        Type::Struct(fields) => {
            let fields: Vec<String> = fields
                .fields()
                .iter()
                .map(|field| format!("{}: {}", field.name, type_text(&field.field_type)))
                .collect();
            format!("struct<{}>", fields.join(", "))
        }
    }
}

#[cfg(test)]
mod tests;
