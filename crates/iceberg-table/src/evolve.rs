//! Changing what a table is: its columns, properties, branches and tags. Rows stay as they are.
//!
//! Columns are known by field id, so a renamed column keeps its values and a new column with an old
//! name has none of them. All changes of one call become one version of the table, or none does.

mod columns;
mod references;

use iceberg::spec::{Schema, TableMetadata, TableMetadataBuilder};
use shardlake_change::Column;

use self::columns::Columns;
pub use self::references::{Existing, ReferenceChange, ReferenceKind, Retention};
use crate::{Catalog, Error, Table, TableName};

/// How often a change is tried when other writers commit in between.
const ATTEMPTS: u32 = 20;

/// Where a column goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnPlace {
    /// Before all others.
    First,
    /// Behind this column.
    After(String),
}

/// A change of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum TableChange {
    /// A new column, behind all others unless a place is given. Existing rows have NULL in it.
    AddColumn {
        /// The column.
        column: Column,
        /// Where it goes.
        place: Option<ColumnPlace>,
    },
    /// Another type, nullability or comment of a column, and possibly another place.
    ModifyColumn {
        /// The column as it is to be.
        column: Column,
        /// Where it goes; none leaves it where it is.
        place: Option<ColumnPlace>,
    },
    /// Another name of a column.
    RenameColumn {
        /// Its name.
        from: String,
        /// Its new name.
        to: String,
    },
    /// A column goes, with its values.
    DropColumn(String),
    /// Other identifier fields; none of them may hold NULL.
    SetPrimaryKey(Vec<String>),
    /// A property.
    SetProperty(String, String),
    /// A property goes.
    RemoveProperty(String),
    /// A change of a branch or tag.
    Reference(ReferenceChange),
}

/// Applies changes to a table, in their order, as one new version.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Invalid`] names the column, property or reference and why it cannot be
/// changed so, or what publishing reports.
pub async fn alter(
    catalog: &dyn Catalog,
    name: &TableName,
    changes: &[TableChange],
) -> Result<Table, Error> {
    for _ in 0..ATTEMPTS {
        let table = catalog.load(name).await?;
        let built = changed(&table, changes)?
            .build()
            .map_err(|error| Error::Invalid(format!("table {name} cannot be changed: {error}")))?;
        match catalog.publish(&table, built).await {
            Err(Error::Conflict { .. }) => {}
            other => return other,
        }
    }
    Err(Error::Storage {
        action: "change",
        path: name.to_string().into(),
        source: format!("other writers committed first {ATTEMPTS} times in a row").into(),
    })
}

fn changed(table: &Table, changes: &[TableChange]) -> Result<TableMetadataBuilder, Error> {
    let metadata = table.metadata();
    let location = Some(table.metadata_location().to_owned());
    let mut builder = metadata.clone().into_builder(location);
    let mut columns = Columns::of(table);
    for change in changes {
        builder = match change {
            TableChange::AddColumn { column, place } => {
                columns.add(column, place.as_ref())?;
                builder
            }
            TableChange::ModifyColumn { column, place } => {
                columns.modify(column, place.as_ref())?;
                builder
            }
            TableChange::RenameColumn { from, to } => {
                columns.rename(from, to)?;
                builder
            }
            TableChange::DropColumn(column) => {
                columns.remove(column)?;
                builder
            }
            TableChange::SetPrimaryKey(key) => {
                columns.set_key(key)?;
                builder
            }
            TableChange::SetProperty(key, value) => builder
                .set_properties([(key.clone(), value.clone())].into_iter().collect())
                .map_err(|error| Error::Invalid(error.to_string()))?,
            TableChange::RemoveProperty(key) => builder
                .remove_properties(std::slice::from_ref(key))
                .map_err(|error| Error::Invalid(error.to_string()))?,
            TableChange::Reference(change) => change.apply(table, builder)?,
        };
    }
    match columns.into_schema()? {
        None => Ok(builder),
        Some(schema) => with_schema(metadata, builder, schema),
    }
}

fn with_schema(
    metadata: &TableMetadata,
    builder: TableMetadataBuilder,
    schema: Schema,
) -> Result<TableMetadataBuilder, Error> {
    // What the table is partitioned or sorted by must stay, or its specs would mean nothing.
    let spec = metadata.default_partition_spec();
    let sources = spec.fields().iter().map(|field| field.source_id);
    let sorted = metadata.default_sort_order().fields.iter().map(|field| field.source_id);
    for id in sources.chain(sorted) {
        if schema.field_by_id(id).is_none() {
            let name = metadata.current_schema().name_by_field_id(id).unwrap_or_default();
            return Err(Error::Invalid(format!(
                "column '{name}' cannot be dropped: the table is partitioned or sorted by it"
            )));
        }
    }
    builder
        .add_current_schema(schema)
        .map_err(|error| Error::Invalid(format!("the columns make no valid table: {error}")))
}

#[cfg(test)]
mod tests;
