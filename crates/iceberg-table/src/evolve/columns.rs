//! The columns of a table under change.

use std::collections::BTreeSet;
use std::sync::Arc;

use iceberg::spec::{NestedField, NestedFieldRef, PrimitiveType, Schema, Type};
use shardlake_change::Column;

use super::ColumnPlace;
use crate::{Error, Table, schema};

/// The columns and the key as they are after the changes so far.
pub(super) struct Columns {
    fields: Vec<NestedFieldRef>,
    key: BTreeSet<i32>,
    last_id: i32,
    is_changed: bool,
}

impl Columns {
    pub(super) fn of(table: &Table) -> Self {
        let schema = table.schema();
        Self {
            fields: schema.as_struct().fields().to_vec(),
            key: schema.identifier_field_ids().collect(),
            last_id: table.metadata().last_column_id(),
            is_changed: false,
        }
    }

    /// The schema if it has changed.
    pub(super) fn into_schema(self) -> Result<Option<Schema>, Error> {
        if !self.is_changed {
            return Ok(None);
        }
        Schema::builder()
            .with_fields(self.fields)
            .with_identifier_field_ids(self.key)
            .build()
            .map(Some)
            .map_err(|error| Error::Invalid(format!("the columns make no valid table: {error}")))
    }

    fn find(&self, name: &str) -> Result<usize, Error> {
        self.fields.iter().position(|field| field.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.fields.iter().map(|field| field.name.as_str()).collect();
            Error::Invalid(format!(
                "The column `{name}` doesn't exist; the table has: {}",
                known.join(", ")
            ))
        })
    }

    fn check_new(&self, name: &str) -> Result<(), Error> {
        if self.fields.iter().any(|field| field.name == name) {
            return Err(Error::Invalid(format!("Column `{name}` already exists in the table.")));
        }
        Ok(())
    }

    pub(super) fn add(
        &mut self,
        column: &Column,
        place: Option<&ColumnPlace>,
    ) -> Result<(), Error> {
        self.check_new(&column.name)?;
        if !column.nullable {
            return Err(Error::Invalid(format!(
                "column '{}' cannot be added as NOT NULL: existing rows have no value for it",
                column.name
            )));
        }
        let field = schema::new_field(column, &mut self.last_id)?;
        self.fields.push(field.into());
        self.is_changed = true;
        self.move_to(self.fields.len() - 1, place)
    }

    pub(super) fn modify(
        &mut self,
        column: &Column,
        place: Option<&ColumnPlace>,
    ) -> Result<(), Error> {
        let index = self.find(&column.name)?;
        let old = Arc::clone(&self.fields[index]);
        // Ids of the fields inside do not matter for the comparison.
        let wanted = schema::new_field(column, &mut 0)?;
        let field_type = if schema::same_type(&old.field_type, &wanted.field_type) {
            old.field_type.as_ref().clone()
        } else {
            widened(&old, &wanted.field_type)?
        };
        let is_key = self.key.contains(&old.id);
        if !column.nullable && !old.required {
            return Err(Error::Invalid(format!(
                "Cannot change column nullability: {}: optional -> required",
                column.name
            )));
        }
        let required = is_key || !column.nullable;
        let mut field = NestedField::new(old.id, &old.name, field_type, required);
        field.doc.clone_from(&column.comment);
        field.initial_default.clone_from(&old.initial_default);
        field.write_default.clone_from(&old.write_default);
        self.is_changed |= field != *old;
        self.fields[index] = field.into();
        self.move_to(index, place)
    }

    fn move_to(&mut self, index: usize, place: Option<&ColumnPlace>) -> Result<(), Error> {
        let target = match place {
            None => return Ok(()),
            Some(ColumnPlace::First) => 0,
            Some(ColumnPlace::After(other)) => {
                let behind = self.find(other)?;
                if behind == index {
                    return Err(Error::Invalid(format!(
                        "column '{other}' cannot be placed behind itself"
                    )));
                }
                if behind < index { behind + 1 } else { behind }
            }
        };
        if target != index {
            let field = self.fields.remove(index);
            self.fields.insert(target, field);
            self.is_changed = true;
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> Result<(), Error> {
        let index = self.find(from)?;
        if from == to {
            return Ok(());
        }
        self.check_new(to)?;
        let mut field = NestedField::clone(&self.fields[index]);
        to.clone_into(&mut field.name);
        self.fields[index] = field.into();
        self.is_changed = true;
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) -> Result<(), Error> {
        let index = self.find(name)?;
        if self.key.contains(&self.fields[index].id) {
            return Err(Error::Invalid(format!(
                "column '{name}' cannot be dropped: it is part of the primary key"
            )));
        }
        if self.fields.len() == 1 {
            return Err(Error::Invalid(format!(
                "column '{name}' cannot be dropped: it is the table's only one"
            )));
        }
        self.fields.remove(index);
        self.is_changed = true;
        Ok(())
    }

    pub(super) fn set_key(&mut self, key: &[String]) -> Result<(), Error> {
        let mut ids = BTreeSet::new();
        for name in key {
            let field = &self.fields[self.find(name)?];
            schema::check_key_type(name, &field.field_type)?;
            if !field.required {
                return Err(Error::Invalid(format!(
                    "column '{name}' cannot be part of the primary key: it may hold NULL"
                )));
            }
            ids.insert(field.id);
        }
        self.is_changed |= ids != self.key;
        self.key = ids;
        Ok(())
    }
}

/// The type `to`, if every value of the column's type is one of it, as Iceberg has it.
fn widened(column: &NestedField, to: &Type) -> Result<Type, Error> {
    let from = column.field_type.as_ref();
    let is_wider = match (from, to) {
        (Type::Primitive(from), Type::Primitive(to)) => match (from, to) {
            (PrimitiveType::Int, PrimitiveType::Long)
            | (PrimitiveType::Float, PrimitiveType::Double) => true,
            (
                PrimitiveType::Decimal { precision: old, scale: old_scale },
                PrimitiveType::Decimal { precision, scale },
            ) => scale == old_scale && precision >= old,
            _ => false,
        },
        _ => false,
    };
    if is_wider {
        return Ok(to.clone());
    }
    Err(Error::Invalid(format!(
        "Cannot change column type: {}: {} -> {}. Possible are int to long, float to double, and a \
         greater precision of a decimal",
        column.name,
        schema::type_text(from),
        schema::type_text(to)
    )))
}
