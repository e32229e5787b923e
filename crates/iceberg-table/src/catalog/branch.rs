//! A catalog whose tables are seen and written on one branch.
//!
//! A branch that a table does not have begins, with its first commit, at the current snapshot of the main branch.

use std::sync::Arc;

use async_trait::async_trait;
use iceberg::spec::TableMetadataBuildResult;

use super::{Catalog, TableCreation};
use crate::{Error, Table, TableName};

/// Another catalog, seen on one branch.
pub struct BranchCatalog {
    catalog: Arc<dyn Catalog>,
    branch: Arc<str>,
}

impl BranchCatalog {
    /// The tables of `catalog` on `branch`.
    pub fn new(catalog: Arc<dyn Catalog>, branch: &str) -> Self {
        Self { catalog, branch: branch.into() }
    }

    fn on_branch(&self, table: Table) -> Table {
        table.on_branch(Arc::clone(&self.branch))
    }
}

#[async_trait]
impl Catalog for BranchCatalog {
    async fn list_namespaces(&self) -> Result<Vec<String>, Error> {
        self.catalog.list_namespaces().await
    }

    async fn create_namespace(&self, namespace: &str) -> Result<(), Error> {
        self.catalog.create_namespace(namespace).await
    }

    async fn namespace_exists(&self, namespace: &str) -> Result<bool, Error> {
        self.catalog.namespace_exists(namespace).await
    }

    async fn drop_namespace(&self, namespace: &str) -> Result<(), Error> {
        self.catalog.drop_namespace(namespace).await
    }

    async fn list_tables(&self, namespace: &str) -> Result<Vec<TableName>, Error> {
        self.catalog.list_tables(namespace).await
    }

    async fn table_exists(&self, name: &TableName) -> Result<bool, Error> {
        self.catalog.table_exists(name).await
    }

    async fn load(&self, name: &TableName) -> Result<Table, Error> {
        self.catalog.load(name).await.map(|table| self.on_branch(table))
    }

    async fn create(&self, name: &TableName, creation: &TableCreation) -> Result<Table, Error> {
        self.catalog.create(name, creation).await.map(|table| self.on_branch(table))
    }

    async fn rename(&self, name: &TableName, to: &TableName) -> Result<(), Error> {
        self.catalog.rename(name, to).await
    }

    async fn purge(&self, name: &TableName) -> Result<(), Error> {
        self.catalog.purge(name).await
    }

    async fn publish(&self, base: &Table, new: TableMetadataBuildResult) -> Result<Table, Error> {
        self.catalog.publish(base, new).await.map(|table| self.on_branch(table))
    }
}
