//! Where tables are found by name, and how a new version of a table becomes its current one.

mod branch;
mod creation;
mod drop;
mod hadoop;
mod hadoop_objects;
mod metadata_file;
pub(crate) mod options;
mod rest;
mod sql;

use std::sync::Arc;

use async_trait::async_trait;
pub use branch::BranchCatalog;
pub use creation::{PartitionField, PartitionTransform, SortField, TableCreation};
pub use hadoop::HadoopCatalog;
use hadoop_objects::HadoopObjectCatalog;
use iceberg::spec::TableMetadataBuildResult;
pub use options::{catalog_option_keys, is_catalog_option, open_catalog};
pub use rest::RestCatalog;
pub use sql::{SqlCatalog, SqlConnection};

use crate::{Error, Storage, Table, TableName};

/// A collection of tables. The one operation that matters is [`Catalog::publish`], an atomic
/// compare-and-swap of a table's metadata.
///
/// The methods of catalogs on a local file system block for as long as the disk takes.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// The namespaces, sorted.
    async fn list_namespaces(&self) -> Result<Vec<String>, Error>;

    /// Makes a namespace; one that exists is left as it is.
    async fn create_namespace(&self, namespace: &str) -> Result<(), Error>;

    /// Whether there is such a namespace.
    async fn namespace_exists(&self, namespace: &str) -> Result<bool, Error>;

    /// Removes a namespace that has no tables; one that is not there is no failure.
    async fn drop_namespace(&self, namespace: &str) -> Result<(), Error> {
        Err(Error::Invalid(format!("this catalog cannot drop the namespace '{namespace}'")))
    }

    /// The tables of a namespace, sorted. [`Error::NotFound`] if there is no such namespace.
    async fn list_tables(&self, namespace: &str) -> Result<Vec<TableName>, Error>;

    /// Whether there is such a table.
    async fn table_exists(&self, name: &TableName) -> Result<bool, Error>;

    /// The newest version of a table. [`Error::NotFound`] if there is none.
    async fn load(&self, name: &TableName) -> Result<Table, Error>;

    /// Makes an empty table, and its namespace if that is missing. [`Error::AlreadyExists`] if
    /// there is such a table.
    async fn create(&self, name: &TableName, creation: &TableCreation) -> Result<Table, Error>;

    /// Gives a table another name. [`Error::NotFound`] if there is none of the old one,
    /// [`Error::AlreadyExists`] if there is one of the new, [`Error::Invalid`] if the catalog
    /// cannot do it.
    async fn rename(&self, name: &TableName, to: &TableName) -> Result<(), Error> {
        Err(Error::Invalid(format!("this catalog cannot rename table {name} to {to}")))
    }

    /// Removes a table together with all of its files. There is no way back.
    async fn purge(&self, name: &TableName) -> Result<(), Error>;

    /// Makes `new` the version that follows `base`, durably. [`Error::Conflict`] if another writer
    /// made that version first.
    async fn publish(&self, base: &Table, new: TableMetadataBuildResult) -> Result<Table, Error>;
}

fn no_table(name: &TableName) -> Error {
    Error::NotFound(format!("there is no table {name}"))
}

fn no_namespace(namespace: &str) -> Error {
    Error::NotFound(format!("there is no namespace '{namespace}'"))
}

fn namespace_not_empty(namespace: &str) -> Error {
    Error::Invalid(format!("namespace '{namespace}' is not empty; drop its tables first"))
}

/// Namespaces of several levels are written with dots between them.
fn check_namespace(namespace: &str) -> Result<(), Error> {
    if namespace.split('.').any(str::is_empty) {
        return Err(Error::Invalid(format!("the namespace name '{namespace}' has an empty part")));
    }
    Ok(())
}

/// The Hadoop catalog in a warehouse.
fn open_hadoop(warehouse: &str, storage: Storage) -> Result<Arc<dyn Catalog>, Error> {
    if warehouse.contains("://") && !warehouse.starts_with("file:") {
        let location = warehouse_location(warehouse)?;
        // Refuses other kinds of storage by name, before anything is planned.
        storage.check(&location)?;
        return Ok(Arc::new(HadoopObjectCatalog::new(location, storage)));
    }
    Ok(Arc::new(HadoopCatalog::new(warehouse)?))
}

/// The folder that a user's `warehouse` names, as it is written in metadata.
fn warehouse_location(warehouse: &str) -> Result<String, Error> {
    if warehouse.contains("://") && !warehouse.starts_with("file:") {
        return Ok(warehouse.trim_end_matches('/').to_owned());
    }
    let path = hadoop::warehouse_path(warehouse)?;
    Ok(hadoop::utf8(&path)?.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests;
