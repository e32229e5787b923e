//! The catalog in memory: Flink's `GenericInMemoryCatalog`. It lives as long as the process, or, with a
//! storage behind it, for good: then every change is stored before it is visible.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::RwLock;
use shardlake_connector::Options;

use super::durable::encode_object;
use super::{Catalog, CatalogObject, DefinitionChange, DefinitionKey, DefinitionStorage};
use crate::diagnostic::{Code, Diagnostic};

/// Databases and their objects, in memory.
pub(crate) struct MemoryCatalog {
    name: String,
    default_database: String,
    options: Options,
    databases: RwLock<BTreeMap<String, BTreeMap<String, CatalogObject>>>,
    storage: Option<Arc<dyn DefinitionStorage>>,
}

impl MemoryCatalog {
    /// A catalog with one empty database, which cannot be dropped.
    pub(crate) fn new(name: &str, default_database: &str, options: Options) -> Self {
        let databases = BTreeMap::from([(default_database.to_owned(), BTreeMap::new())]);
        Self {
            name: name.to_owned(),
            default_database: default_database.to_owned(),
            options,
            databases: RwLock::new(databases),
            storage: None,
        }
    }

    /// The same catalog, with changes stored from now on.
    pub(crate) fn stored_in(mut self, storage: Option<Arc<dyn DefinitionStorage>>) -> Self {
        self.storage = storage;
        self
    }

    /// Takes in a database that was stored.
    pub(super) fn restore_database(&self, database: &str) {
        self.databases.write().entry(database.to_owned()).or_default();
    }

    /// Takes in an object that was stored.
    pub(super) fn restore_object(&self, database: &str, name: &str, object: CatalogObject) {
        let mut databases = self.databases.write();
        databases.entry(database.to_owned()).or_default().insert(name.to_owned(), object);
    }

    /// Stores changes, which the caller makes visible afterwards.
    fn store(&self, changes: &[DefinitionChange]) -> Result<(), Diagnostic> {
        self.storage.as_ref().map_or(Ok(()), |storage| storage.apply(changes))
    }

    fn put(
        &self,
        database: &str,
        name: &str,
        object: &CatalogObject,
    ) -> Result<DefinitionChange, Diagnostic> {
        let key = DefinitionKey::object(&self.name, database, name);
        Ok(DefinitionChange::Put(key, encode_object(object)?))
    }

    fn removal(&self, database: &str, name: &str) -> DefinitionChange {
        DefinitionChange::Remove(DefinitionKey::object(&self.name, database, name))
    }

    fn change<T>(
        &self,
        database: &str,
        change: impl FnOnce(&mut BTreeMap<String, CatalogObject>) -> Result<T, Diagnostic>,
    ) -> Result<T, Diagnostic> {
        match self.databases.write().get_mut(database) {
            Some(objects) => change(objects),
            None => Err(database_not_found(&self.name, database)),
        }
    }

    fn full_name(&self, database: &str, name: &str) -> String {
        format!("{}.{database}.{name}", self.name)
    }
}

/// Flink's words for a database that is not there.
pub(super) fn database_not_found(catalog: &str, database: &str) -> Diagnostic {
    let message = format!("Database '{database}' does not exist in catalog '{catalog}'.");
    Diagnostic::new(Code::ObjectNotFound, message)
        .with_hint("SHOW DATABASES; lists the databases of the current catalog.")
}

/// Flink's words for a table or view that is there already.
pub(super) fn object_exists(name: &str) -> Diagnostic {
    let message = format!("Table (or view) {name} already exists.");
    Diagnostic::new(Code::ObjectExists, message).with_hint("Add IF NOT EXISTS, or DROP it first.")
}

#[async_trait]
impl Catalog for MemoryCatalog {
    fn options(&self) -> &Options {
        &self.options
    }

    async fn databases(&self) -> Result<Vec<String>, Diagnostic> {
        Ok(self.databases.read().keys().cloned().collect())
    }

    async fn create_database(&self, database: &str, _options: &Options) -> Result<(), Diagnostic> {
        let mut databases = self.databases.write();
        let key = DefinitionKey::database(&self.name, database);
        self.store(&[DefinitionChange::Put(key, String::new())])?;
        databases.entry(database.to_owned()).or_default();
        Ok(())
    }

    async fn drop_database(&self, database: &str, cascade: bool) -> Result<(), Diagnostic> {
        if database == self.default_database {
            let message = format!("Cannot drop the default database '{database}'.");
            return Err(Diagnostic::new(Code::SessionState, message));
        }
        let mut databases = self.databases.write();
        match databases.get(database) {
            None => Err(database_not_found(&self.name, database)),
            Some(objects) if !objects.is_empty() && !cascade => {
                Err(super::store::database_not_empty(&self.name, database))
            }
            Some(_) => {
                let key = DefinitionKey::database(&self.name, database);
                self.store(&[DefinitionChange::Remove(key)])?;
                databases.remove(database);
                Ok(())
            }
        }
    }

    async fn list(&self, database: &str) -> Result<Option<Vec<(String, bool)>>, Diagnostic> {
        let databases = self.databases.read();
        Ok(databases.get(database).map(|objects| {
            objects.iter().map(|(name, object)| (name.clone(), object.is_view())).collect()
        }))
    }

    async fn get(&self, database: &str, name: &str) -> Result<Option<CatalogObject>, Diagnostic> {
        let databases = self.databases.read();
        Ok(databases.get(database).and_then(|objects| objects.get(name)).cloned())
    }

    async fn create(
        &self,
        database: &str,
        name: &str,
        object: CatalogObject,
    ) -> Result<(), Diagnostic> {
        self.change(database, |objects| {
            if objects.contains_key(name) {
                return Err(object_exists(&self.full_name(database, name)));
            }
            self.store(&[self.put(database, name, &object)?])?;
            objects.insert(name.to_owned(), object);
            Ok(())
        })
    }

    async fn replace(
        &self,
        database: &str,
        name: &str,
        object: CatalogObject,
    ) -> Result<(), Diagnostic> {
        self.change(database, |objects| match objects.get_mut(name) {
            Some(place) => {
                self.store(&[self.put(database, name, &object)?])?;
                *place = object;
                Ok(())
            }
            None => Err(Diagnostic::table_not_found(&self.full_name(database, name))),
        })
    }

    async fn rename(&self, database: &str, name: &str, to: &str) -> Result<(), Diagnostic> {
        self.change(database, |objects| {
            if objects.contains_key(to) {
                return Err(object_exists(&self.full_name(database, to)));
            }
            let Some(object) = objects.get(name) else {
                return Err(Diagnostic::table_not_found(&self.full_name(database, name)));
            };
            self.store(&[self.removal(database, name), self.put(database, to, object)?])?;
            if let Some(object) = objects.remove(name) {
                objects.insert(to.to_owned(), object);
            }
            Ok(())
        })
    }

    async fn remove(&self, database: &str, name: &str) -> Result<(), Diagnostic> {
        self.change(database, |objects| {
            if !objects.contains_key(name) {
                return Err(Diagnostic::table_not_found(&self.full_name(database, name)));
            }
            self.store(&[self.removal(database, name)])?;
            objects.remove(name);
            Ok(())
        })
    }
}
