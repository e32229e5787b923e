//! How a table's schema follows the columns of what is written into it.
//!
//! Columns are added behind the others, with the next field ids, and may be NULL; types are widened where the
//! Iceberg specification allows it; a column that may be NULL now is no longer required. Nothing is ever removed.
//! Columns of the key never change: their rows are indexed by the bytes of their values.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use iceberg::spec::{
    ListType, NestedField, NestedFieldRef, PrimitiveType, Schema, TableMetadataBuilder, Type,
};

use super::arrow_primitive;
use crate::{Error, Table};

impl Table {
    /// The table as it would be with room for these columns; `None` if it has room for them. Nothing is committed.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the column that the table cannot take.
    pub fn with_room_for(&self, columns: &ArrowSchema) -> Result<Option<Self>, Error> {
        let schema = self.schema();
        let Some(evolved) = evolved(schema, self.metadata().last_column_id(), columns)? else {
            return Ok(None);
        };
        self.with_schema(&evolved).map(Some)
    }

    /// The table as it would be with this schema. Nothing is committed.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the schema does not fit the table.
    pub(crate) fn with_schema(&self, schema: &Schema) -> Result<Self, Error> {
        let built = self
            .metadata()
            .clone()
            .into_builder(Some(self.metadata_location().to_owned()))
            .add_current_schema(schema.clone())
            .and_then(TableMetadataBuilder::build)
            .map_err(|error| Error::Invalid(format!("the schema cannot be changed: {error}")))?;
        let location = self.metadata_location().to_owned();
        Self::try_new(self.name().clone(), built.metadata, location, self.storage().clone())
    }
}

/// The schema with room for these columns; `None` if it has room for them.
fn evolved(
    schema: &Schema,
    last_column_id: i32,
    columns: &ArrowSchema,
) -> Result<Option<Schema>, Error> {
    let keys: BTreeSet<i32> = schema.identifier_field_ids().collect();
    let mut fields: Vec<NestedFieldRef> = schema.as_struct().fields().to_vec();
    let mut next_id = last_column_id;
    let mut changed = false;
    for column in columns.fields() {
        match fields.iter_mut().find(|field| field.name == *column.name()) {
            Some(field) => {
                let wider = widened(field, column, keys.contains(&field.id))?;
                let optional = field.required && column.is_nullable() && !keys.contains(&field.id);
                if wider.is_none() && !optional {
                    continue;
                }
                let mut new = NestedField::clone(field);
                if let Some(wider) = wider {
                    *new.field_type = Type::Primitive(wider);
                }
                new.required &= !optional;
                *field = Arc::new(new);
            }
            None => {
                next_id += 1;
                let field_type = type_of(column, &mut next_id)?;
                let id = next_id - i32::from(matches!(field_type, Type::List(_)));
                fields.push(NestedField::optional(id, column.name(), field_type).into());
            }
        }
        changed = true;
    }
    if !changed {
        return Ok(None);
    }
    Schema::builder()
        .with_schema_id(schema.schema_id() + 1)
        .with_fields(fields)
        .with_identifier_field_ids(keys)
        .build()
        .map(Some)
        .map_err(|error| Error::Invalid(format!("the columns make no valid table: {error}")))
}

/// The wider type that a column needs, if it does.
fn widened(
    field: &NestedField,
    column: &Field,
    is_key: bool,
) -> Result<Option<PrimitiveType>, Error> {
    use PrimitiveType as P;
    let Type::Primitive(stored) = field.field_type.as_ref() else { return Ok(None) };
    let wider = match (stored, column.data_type()) {
        (P::Int, DataType::Int64) => P::Long,
        (P::Float, DataType::Float64) => P::Double,
        (P::Decimal { precision, scale }, DataType::Decimal128(new, new_scale))
            if i64::from(*new_scale) == i64::from(*scale) && u32::from(*new) > *precision =>
        {
            P::Decimal { precision: u32::from(*new), scale: *scale }
        }
        (stored, given) => {
            let fits = arrow_primitive(stored)
                .is_some_and(|known| known == *given || is_narrower(given, &known));
            return if fits { Ok(None) } else { Err(misfit(field, column)) };
        }
    };
    if is_key {
        return Err(misfit(field, column));
    }
    Ok(Some(wider))
}

fn is_narrower(given: &DataType, stored: &DataType) -> bool {
    use DataType as D;
    match (given, stored) {
        (D::Int8 | D::Int16, D::Int32 | D::Int64) | (D::Int32, D::Int64) => true,
        (D::Float32, D::Float64) | (D::Timestamp(..), D::Timestamp(..)) => true,
        (D::Time32(_) | D::Time64(_), D::Time64(_)) => true,
        (D::Decimal128(given, scale), D::Decimal128(stored, stored_scale)) => {
            scale == stored_scale && given <= stored
        }
        _ => false,
    }
}

fn misfit(field: &NestedField, column: &Field) -> Error {
    Error::Invalid(format!(
        "column '{}' of type {} cannot take values of type {}: write to a new table, or declare the column \
         with a wider type",
        field.name,
        field.field_type,
        column.data_type()
    ))
}

/// The type of a new column. A list's element takes the id behind the column's.
fn type_of(column: &Field, next_id: &mut i32) -> Result<Type, Error> {
    if let DataType::List(element) = column.data_type() {
        let kind = Type::Primitive(primitive(column, element.data_type())?);
        *next_id += 1;
        let element = NestedField::list_element(*next_id, kind, false);
        return Ok(Type::List(ListType::new(element.into())));
    }
    primitive(column, column.data_type()).map(Type::Primitive)
}

fn primitive(column: &Field, data_type: &DataType) -> Result<PrimitiveType, Error> {
    use DataType as D;
    use PrimitiveType as P;
    Ok(match data_type {
        D::Boolean => P::Boolean,
        D::Int8 | D::Int16 | D::Int32 => P::Int,
        D::Int64 => P::Long,
        D::Float32 => P::Float,
        D::Float64 => P::Double,
        D::Decimal128(precision, scale) if *scale >= 0 => {
            P::Decimal { precision: u32::from(*precision), scale: u32::from(scale.unsigned_abs()) }
        }
        D::Date32 => P::Date,
        D::Time32(_) | D::Time64(_) => P::Time,
        D::Timestamp(_, None) => P::Timestamp,
        D::Timestamp(_, Some(_)) => P::Timestamptz,
        D::Utf8 => P::String,
        D::Binary => P::Binary,
        D::FixedSizeBinary(length) => P::Fixed(u64::try_from(*length).unwrap_or(0)),
        other => {
            return Err(Error::Invalid(format!(
                "column '{}' of type {other} cannot be added to an Iceberg table",
                column.name()
            )));
        }
    })
}

#[cfg(test)]
mod tests {
    use shardlake_change::{Column, LogicalType, TableSchema};

    use super::*;
    use crate::schema::to_iceberg;

    fn table() -> Schema {
        let columns = vec![
            Column::new("id", LogicalType::Int).not_null(),
            Column::new("v", LogicalType::Int).not_null(),
            Column::new("d", LogicalType::Decimal { precision: 5, scale: 2 }),
            Column::new("t", LogicalType::String),
        ];
        to_iceberg(&TableSchema { columns, primary_key: vec!["id".into()] }).unwrap()
    }

    fn check(columns: &[(&str, DataType)]) -> String {
        let fields = columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), true));
        let columns = ArrowSchema::new(fields.collect::<Vec<_>>());
        match evolved(&table(), 4, &columns) {
            Ok(None) => "same".to_owned(),
            Ok(Some(schema)) => {
                let fields = schema.as_struct().fields().iter();
                let fields = fields.map(|field| {
                    let required = if field.required { "!" } else { "" };
                    format!("{} {}{required} {}", field.id, field.name, field.field_type)
                });
                fields.collect::<Vec<_>>().join(", ")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn columns_are_added_widened_and_made_optional() {
        use DataType as D;
        assert_eq!(check(&[("id", D::Int32), ("t", D::Utf8), ("d", D::Decimal128(4, 2))]), "same");
        let list = D::List(Arc::new(Field::new("item", D::Utf8, true)));
        let all = [
            ("x", D::Int16),
            ("v", D::Int64),
            ("d", D::Decimal128(9, 2)),
            ("s", list),
            ("y", D::Utf8),
        ];
        insta::assert_snapshot!(check(&all), @"1 id! int, 2 v long, 3 d decimal(9, 2), 4 t string, 5 x int, 6 s list, 8 y string");
        let error = check(&[("id", D::Int64)]);
        assert!(error.contains("'id'") && error.contains("wider type"), "{error}");
        assert!(check(&[("t", D::Int32)]).contains("'t'"));
    }
}
