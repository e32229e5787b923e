//! Which Iceberg table a table definition stands for.

use std::sync::Arc;

use shardlake_connector::{Error, OptionSpec, SchemaChangeBehavior, TableDefinition};
use shardlake_iceberg_table::{
    Catalog, Error as LakeError, PartitionField, SortField, Table, TableCreation, TableName,
    open_catalog, properties, schema,
};

use crate::error::from_lake;
use crate::options::{CATALOG_DATABASE, CATALOG_NAME, CATALOG_TABLE, FORMAT_VERSION, SORT_ORDER};

/// An Iceberg table in its catalog, as a table definition names it. It may not exist yet.
#[derive(Clone)]
pub struct Target {
    /// The catalog.
    pub catalog: Arc<dyn Catalog>,
    /// The table in it.
    pub name: TableName,
    /// What it is made of if it has to be made.
    pub creation: TableCreation,
    /// Whether its columns follow those of a source, so that it may have more than are declared.
    pub follows_columns: bool,
}

impl Target {
    /// Reads the options that name the table. Does no I/O.
    ///
    /// # Errors
    /// A [`shardlake_connector::Fault::Job`] that names the option or column and what to do.
    pub fn of_definition(table: &TableDefinition) -> Result<Self, Error> {
        let options = &table.options;
        let given = |spec: &OptionSpec| options.text(spec).filter(|text| !text.is_empty());
        let catalog_name = given(&CATALOG_NAME).ok_or_else(|| {
            Error::job(format!(
                "Invalid catalog name: null. Set {} create table option.",
                CATALOG_NAME.key
            ))
        })?;
        check_columns(table)?;
        let namespace = given(&CATALOG_DATABASE).unwrap_or(&table.name.database);
        let name = given(&CATALOG_TABLE).unwrap_or(&table.name.object);
        let creation = creation(table)?;
        // What Iceberg does not have is refused before anything is made.
        creation.check().map_err(from_lake)?;
        Ok(Self {
            catalog: open_catalog(catalog_name, options.iter()).map_err(from_lake)?,
            name: TableName::new(namespace, name),
            creation,
            follows_columns: SchemaChangeBehavior::of_options(options)?
                .is_some_and(SchemaChangeBehavior::follows_columns),
        })
    }

    /// The table, made if it does not exist, checked against the declared columns if it does.
    ///
    /// # Errors
    /// As the catalog reports; a [`shardlake_connector::Fault::Job`] naming the column that differs.
    pub async fn prepare(&self) -> Result<Table, Error> {
        let table = match self.catalog.load(&self.name).await {
            Err(LakeError::NotFound(_)) => {
                match self.catalog.create(&self.name, &self.creation).await {
                    // Another process was faster.
                    Err(LakeError::AlreadyExists(_)) => self.catalog.load(&self.name).await,
                    created => created,
                }
            }
            loaded => loaded,
        }
        .map_err(from_lake)?;
        let fits = if self.follows_columns {
            schema::check_fits(&table, &self.creation.schema)
        } else {
            schema::check_matches(table.schema(), &self.creation.schema)
        };
        fits.map_err(|error| {
            Error::job(format!("Iceberg table {} does not fit its declaration", self.name))
                .caused_by(error)
        })?;
        Ok(table)
    }
}

fn check_columns(table: &TableDefinition) -> Result<(), Error> {
    for (index, column) in table.schema.columns.iter().enumerate() {
        if table.metadata_key(index).is_some() {
            return Err(Error::job(format!(
                "column '{}' is a metadata column, which the iceberg connector does not have; \
                 declare it as a physical column",
                column.name
            )));
        }
    }
    Ok(())
}

/// What the table is made of if it has to be made.
fn creation(table: &TableDefinition) -> Result<TableCreation, Error> {
    let options = &table.options;
    let version = options.integer(&FORMAT_VERSION)?.unwrap_or(2);
    let partitioned_by = table
        .partitioned_by
        .iter()
        .map(|text| PartitionField::parse(text))
        .collect::<Result<Vec<_>, _>>()
        .map_err(from_lake)?;
    let sorted_by = SortField::parse_list(options.text(&SORT_ORDER).unwrap_or_default());
    Ok(TableCreation {
        schema: table.schema.clone(),
        format_version: u8::try_from(version).unwrap_or(u8::MAX),
        partitioned_by,
        sorted_by: sorted_by.map_err(from_lake)?,
        properties: properties::from_options(options.iter()),
    })
}
