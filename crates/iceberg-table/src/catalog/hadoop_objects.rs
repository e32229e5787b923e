//! The Hadoop catalog on an object store: the same names as on a disk, and a commit is one
//! conditional write.
//!
//! Version N + 1 is an object that is written only if there is none (`If-None-Match: *`), so of two
//! writers with the same base exactly one succeeds. A store that ignores the condition would lose
//! commits: before the first one it is tried out, and refused. As on a disk, this is safe among our
//! own writers only: Iceberg's Java catalog looks first and then renames.

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::try_join;
use iceberg::spec::TableMetadataBuildResult;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::hadoop::{HINT, METADATA, check_name, descends_from, file_name, version_of_name};
use super::{Catalog, TableCreation, metadata_file};
use crate::storage::no_exclusive_writes;
use crate::{Error, Storage, Table, TableName};

/// What makes a namespace without tables visible.
const NAMESPACE_MARK: &str = ".namespace";

/// Tables found by their place in a bucket.
#[derive(Debug)]
pub(super) struct HadoopObjectCatalog {
    warehouse: String,
    storage: Storage,
    /// Set once the store has shown that it honours conditions.
    is_exclusive: OnceCell<()>,
}

impl HadoopObjectCatalog {
    pub(super) fn new(warehouse: String, storage: Storage) -> Self {
        Self { warehouse, storage, is_exclusive: OnceCell::new() }
    }

    fn namespace_location(&self, namespace: &str) -> Result<String, Error> {
        check_name("namespace", namespace)?;
        Ok(format!("{}/{namespace}", self.warehouse))
    }

    fn table_location(&self, name: &TableName) -> Result<String, Error> {
        check_name("table", &name.name)?;
        Ok(format!("{}/{}", self.namespace_location(&name.namespace)?, name.name))
    }

    /// Refuses a store on which two commits could both believe that they were first.
    async fn check_exclusive(&self) -> Result<(), Error> {
        let try_out = || async {
            let probe = format!("{}/.exclusive-{}", self.warehouse, Uuid::new_v4());
            let first = self.storage.put_if_absent(&probe, Bytes::from_static(b"first")).await?;
            let second = self.storage.put_if_absent(&probe, Bytes::from_static(b"second")).await?;
            self.storage.delete(&[probe]).await?;
            if first && !second { Ok(()) } else { Err(no_exclusive_writes(&self.warehouse)) }
        };
        self.is_exclusive.get_or_try_init(try_out).await.copied()
    }

    async fn hint(&self, table: &str) -> Option<u64> {
        let hint = self.storage.read(&format!("{table}/{METADATA}/{HINT}")).await.ok()?;
        std::str::from_utf8(&hint).ok()?.trim().parse().ok()
    }

    /// Writes the hint if it can be written: readers find the newest version without it.
    async fn write_hint(&self, table: &str, version: u64) {
        let location = format!("{table}/{METADATA}/{HINT}");
        if let Err(error) = self.storage.put(&location, version.to_string().into()).await {
            tracing::warn!(location, %error, "version hint not written");
        }
    }

    /// The object of a version; other writers may have compressed it.
    async fn version_object(&self, table: &str, version: u64) -> Result<Option<String>, Error> {
        let plain = format!("{table}/{METADATA}/{}", file_name(version));
        let packed = format!("{table}/{METADATA}/v{version}.gz.metadata.json");
        let (of_plain, of_packed) =
            try_join(self.storage.size(&plain), self.storage.size(&packed)).await?;
        Ok(of_plain.map(|_| plain).or_else(|| of_packed.map(|_| packed)))
    }

    /// The newest version of a table, with its object.
    async fn current(&self, table: &str) -> Result<Option<(u64, String)>, Error> {
        let mut newest = None;
        if let Some(version) = self.hint(table).await {
            let object = self.version_object(table, version).await?;
            newest = object.map(|object| (version, object));
        }
        if newest.is_none() {
            newest = self.newest_listed(table).await?;
        }
        while let Some((version, _)) = &newest {
            let next = version + 1;
            match self.version_object(table, next).await? {
                Some(object) => newest = Some((next, object)),
                None => break,
            }
        }
        Ok(newest)
    }

    async fn newest_listed(&self, table: &str) -> Result<Option<(u64, String)>, Error> {
        let files = self.storage.list(&format!("{table}/{METADATA}")).await?;
        let numbered = files.into_iter().filter_map(|file| {
            let version = version_of_name(file.location.rsplit('/').next()?)?;
            Some((version, file.location))
        });
        Ok(numbered.max_by_key(|(version, _)| *version))
    }

    async fn put_version(
        &self,
        table: &str,
        version: u64,
        metadata: &iceberg::spec::TableMetadata,
    ) -> Result<Option<String>, Error> {
        let location = format!("{table}/{METADATA}/{}", file_name(version));
        let bytes = serde_json::to_vec(metadata).map_err(Error::bug)?;
        let is_ours = self.storage.put_if_absent(&location, bytes.into()).await?;
        Ok(is_ours.then_some(location))
    }
}

#[async_trait]
impl Catalog for HadoopObjectCatalog {
    async fn list_namespaces(&self) -> Result<Vec<String>, Error> {
        let mut namespaces = Vec::new();
        for name in self.storage.list_folders(&self.warehouse).await? {
            if self.storage.has_files(&format!("{}/{name}", self.warehouse)).await? {
                namespaces.push(name);
            }
        }
        Ok(namespaces)
    }

    async fn create_namespace(&self, namespace: &str) -> Result<(), Error> {
        let location = self.namespace_location(namespace)?;
        self.storage.put(&format!("{location}/{NAMESPACE_MARK}"), Bytes::new()).await
    }

    async fn namespace_exists(&self, namespace: &str) -> Result<bool, Error> {
        self.storage.has_files(&self.namespace_location(namespace)?).await
    }

    async fn drop_namespace(&self, namespace: &str) -> Result<(), Error> {
        if !self.namespace_exists(namespace).await? {
            return Ok(());
        }
        if !self.list_tables(namespace).await?.is_empty() {
            return Err(super::namespace_not_empty(namespace));
        }
        let location = self.namespace_location(namespace)?;
        self.storage.delete(&[format!("{location}/{NAMESPACE_MARK}")]).await
    }

    async fn list_tables(&self, namespace: &str) -> Result<Vec<TableName>, Error> {
        if !self.namespace_exists(namespace).await? {
            return Err(super::no_namespace(namespace));
        }
        let location = self.namespace_location(namespace)?;
        let mut tables = Vec::new();
        for name in self.storage.list_folders(&location).await? {
            if self.current(&format!("{location}/{name}")).await?.is_some() {
                tables.push(TableName::new(namespace, name));
            }
        }
        Ok(tables)
    }

    async fn table_exists(&self, name: &TableName) -> Result<bool, Error> {
        Ok(self.current(&self.table_location(name)?).await?.is_some())
    }

    async fn load(&self, name: &TableName) -> Result<Table, Error> {
        match self.current(&self.table_location(name)?).await? {
            Some((_, object)) => metadata_file::load(&self.storage, name, &object).await,
            None => Err(super::no_table(name)),
        }
    }

    async fn create(&self, name: &TableName, creation: &TableCreation) -> Result<Table, Error> {
        let location = self.table_location(name)?;
        if self.current(&location).await?.is_some() {
            return Err(Error::AlreadyExists(name.clone()));
        }
        let metadata = creation.metadata(&location)?;
        self.check_exclusive().await?;
        let Some(object) = self.put_version(&location, 1, &metadata).await? else {
            return Err(Error::AlreadyExists(name.clone()));
        };
        self.write_hint(&location, 1).await;
        Table::try_new(name.clone(), metadata, object, self.storage.clone())
    }

    async fn rename(&self, _name: &TableName, _to: &TableName) -> Result<(), Error> {
        Err(Error::Invalid("Cannot rename Hadoop tables".to_owned()))
    }

    async fn purge(&self, name: &TableName) -> Result<(), Error> {
        let location = self.table_location(name)?;
        if self.current(&location).await?.is_none() {
            return Err(super::no_table(name));
        }
        // First what makes it a table, so that nobody sees half of one for long.
        let files = self.storage.list(&location).await?;
        let files = files.into_iter().map(|file| file.location);
        let (metadata, rest): (Vec<_>, Vec<_>) = files.partition(|location| {
            let name = location.rsplit('/').next().unwrap_or_default();
            version_of_name(name).is_some() || name == HINT
        });
        self.storage.delete(&metadata).await?;
        self.storage.delete(&rest).await
    }

    async fn publish(&self, base: &Table, new: TableMetadataBuildResult) -> Result<Table, Error> {
        let TableMetadataBuildResult { metadata, expired_metadata_logs, .. } = new;
        let name = base.name();
        let table = self.table_location(name)?;
        let object = base.metadata_location().rsplit('/').next().unwrap_or_default();
        let version = version_of_name(object).ok_or_else(|| {
            Error::bug(format!("{} is no version of a table", base.metadata_location()))
        })?;
        self.check_exclusive().await?;
        let next = version + 1;
        let conflict = || Error::Conflict { table: name.clone(), version: next };
        // Versions long gone may have been deleted: the condition alone does not stop a writer that
        // slept.
        if self.current(&table).await?.is_none_or(|(current, _)| current != version) {
            return Err(conflict());
        }
        let Some(object) = self.put_version(&table, next, &metadata).await? else {
            return Err(conflict());
        };
        if self.hint(&table).await.is_some_and(|hint| hint > next) {
            // Either others have gone on from it already, or it was made in the place of a version
            // that had been deleted; then nobody has seen it.
            let newest = self.load(name).await?;
            if !descends_from(newest.metadata(), &metadata, &object) {
                self.storage.delete(&[object]).await?;
                return Err(conflict());
            }
        }
        self.write_hint(&table, next).await;
        metadata_file::remove_old(&self.storage, &metadata, &expired_metadata_logs).await?;
        Table::try_new(name.clone(), metadata, object, self.storage.clone())
    }
}

#[cfg(test)]
mod tests;
