//! All catalogs of a session, and its temporary objects. The catalogs may be shared by many sessions
//! and be stored; temporary objects are the session's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use indexmap::IndexMap;
use parking_lot::RwLock;
use shardlake_connector::{ObjectName, Options};
use shardlake_iceberg_table::TableChange;

use super::durable::{decode_object, decode_options, encode_options};
use super::lake::LakeCatalog;
use super::memory::{MemoryCatalog, object_exists};
use super::{Catalog, CatalogObject, DefinitionChange, DefinitionKey, DefinitionStorage};
use crate::diagnostic::{Code, Diagnostic};

/// The catalog that each session has.
pub(crate) const DEFAULT_CATALOG: &str = "default_catalog";
/// The database that `default_catalog` has.
pub(crate) const DEFAULT_DATABASE: &str = "default_database";

/// The types of catalogs that `CREATE CATALOG` can make.
const CATALOG_TYPES: [&str; 2] = ["generic_in_memory", "iceberg"];

/// Catalogs by name, and temporary objects by their full names.
///
/// Locks are held only to look something up, never while a catalog works.
pub(crate) struct CatalogStore {
    catalogs: Arc<RwLock<IndexMap<String, Arc<dyn Catalog>>>>,
    temporary: RwLock<BTreeMap<ObjectName, CatalogObject>>,
    storage: Option<Arc<dyn DefinitionStorage>>,
}

/// Flink's words for a database that is not empty.
pub(super) fn database_not_empty(catalog: &str, database: &str) -> Diagnostic {
    let message = format!("Database {database} in catalog {catalog} is not empty.");
    Diagnostic::new(Code::SessionState, message)
        .with_hint("DROP DATABASE … CASCADE drops its tables as well.")
}

fn catalog_not_found(name: &str) -> Diagnostic {
    Diagnostic::new(Code::ObjectNotFound, format!("A catalog with name [{name}] does not exist."))
        .with_hint("SHOW CATALOGS; lists them.")
}

fn default_catalog() -> MemoryCatalog {
    let options = [("type".to_owned(), "generic_in_memory".to_owned())].into_iter().collect();
    MemoryCatalog::new(DEFAULT_CATALOG, DEFAULT_DATABASE, options)
}

/// A catalog that has just been opened.
enum Opened {
    Memory(MemoryCatalog),
    Lake(Arc<dyn Catalog>),
}

/// Opens the catalog that these options describe.
fn open_catalog(name: &str, options: Options) -> Result<Opened, Diagnostic> {
    match options.get("type") {
        Some("iceberg") => Ok(Opened::Lake(Arc::new(LakeCatalog::open(name, options)?))),
        Some("generic_in_memory") => {
            let database = options.get("default-database").unwrap_or("default").to_owned();
            Ok(Opened::Memory(MemoryCatalog::new(name, &database, options)))
        }
        Some(other) => {
            let message = format!(
                "Unable to create catalog '{name}'.\n\nCould not find any factory for identifier \
                 '{other}'.\n\nAvailable factory identifiers are:\n\n{}",
                CATALOG_TYPES.join("\n")
            );
            Err(Diagnostic::new(Code::ConnectorNotFound, message))
        }
        None => {
            let message = "Catalog options do not contain an option key 'type' for discovering a \
                           catalog.";
            Err(Diagnostic::new(Code::TableOptions, message)
                .with_hint(format!("'type' can be: {}", CATALOG_TYPES.join(", "))))
        }
    }
}

impl CatalogStore {
    /// A store that has `default_catalog.default_database` only.
    pub(crate) fn new() -> Self {
        Self::with_default(default_catalog(), None)
    }

    fn with_default(default: MemoryCatalog, storage: Option<Arc<dyn DefinitionStorage>>) -> Self {
        let default: Arc<dyn Catalog> = Arc::new(default);
        let catalogs = IndexMap::from([(DEFAULT_CATALOG.to_owned(), default)]);
        Self { catalogs: Arc::new(RwLock::new(catalogs)), temporary: RwLock::default(), storage }
    }

    /// A store with everything that was stored, which stores every change.
    pub(crate) fn durable(storage: Arc<dyn DefinitionStorage>) -> Result<Self, Diagnostic> {
        let mut memory: BTreeMap<String, MemoryCatalog> = BTreeMap::new();
        let mut lakes: IndexMap<String, Arc<dyn Catalog>> = IndexMap::new();
        memory.insert(DEFAULT_CATALOG.to_owned(), default_catalog());
        for (key, text) in storage.load()? {
            match (&key.database, &key.object) {
                (None, _) => match open_catalog(&key.catalog, decode_options(&text)?) {
                    Ok(Opened::Memory(catalog)) => {
                        memory.insert(key.catalog, catalog);
                    }
                    Ok(Opened::Lake(lake)) => {
                        lakes.insert(key.catalog, lake);
                    }
                    // The others can be used; this one is kept for a version that can open it.
                    Err(error) => {
                        tracing::error!(catalog = key.catalog, %error, "cannot open stored catalog");
                    }
                },
                (Some(database), None) => {
                    if let Some(catalog) = memory.get(&key.catalog) {
                        catalog.restore_database(database);
                    }
                }
                (Some(database), Some(object)) => {
                    if let Some(catalog) = memory.get(&key.catalog) {
                        catalog.restore_object(database, object, decode_object(&text)?);
                    }
                }
            }
        }
        let default = memory.remove(DEFAULT_CATALOG).unwrap_or_else(default_catalog);
        let default = default.stored_in(Some(Arc::clone(&storage)));
        let store = Self::with_default(default, Some(Arc::clone(&storage)));
        let mut catalogs = store.catalogs.write();
        for (name, catalog) in memory {
            catalogs.insert(name, Arc::new(catalog.stored_in(Some(Arc::clone(&storage)))));
        }
        catalogs.extend(lakes);
        drop(catalogs);
        Ok(store)
    }

    /// A store over the same catalogs, with temporary objects of its own.
    pub(crate) fn sharing(&self) -> Self {
        Self {
            catalogs: Arc::clone(&self.catalogs),
            temporary: RwLock::default(),
            storage: self.storage.clone(),
        }
    }

    /// Whether the catalogs are stored, and shared by the sessions of a server.
    pub(crate) const fn is_durable(&self) -> bool {
        self.storage.is_some()
    }

    /// The names of all catalogs, sorted.
    pub(crate) fn catalog_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.catalogs.read().keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// A catalog by its name.
    pub(crate) fn catalog(&self, name: &str) -> Result<Arc<dyn Catalog>, Diagnostic> {
        self.catalogs.read().get(name).map(Arc::clone).ok_or_else(|| catalog_not_found(name))
    }

    /// The database that is current after `USE CATALOG`.
    pub(crate) fn default_database(&self, catalog: &str) -> Result<String, Diagnostic> {
        let found = self.catalog(catalog)?;
        let default = if catalog == DEFAULT_CATALOG { DEFAULT_DATABASE } else { "default" };
        Ok(found.options().get("default-database").unwrap_or(default).to_owned())
    }

    /// `CREATE CATALOG`.
    pub(crate) fn create_catalog(&self, name: &str, options: Options) -> Result<(), Diagnostic> {
        let existing = self.catalogs.read().get(name).map(Arc::clone);
        if let Some(existing) = existing {
            if self.is_durable() && *existing.options() == options {
                return Ok(());
            }
            let message = format!("Catalog {name} already exists.");
            return Err(Diagnostic::new(Code::ObjectExists, message));
        }
        let stored = encode_options(&options)?;
        let catalog: Arc<dyn Catalog> = match open_catalog(name, options)? {
            Opened::Memory(catalog) => Arc::new(catalog.stored_in(self.storage.clone())),
            Opened::Lake(lake) => lake,
        };
        if let Some(storage) = &self.storage {
            storage.apply(&[DefinitionChange::Put(DefinitionKey::catalog(name), stored)])?;
        }
        self.catalogs.write().insert(name.to_owned(), catalog);
        Ok(())
    }

    /// `DROP CATALOG`. What is in it stays where it is stored.
    pub(crate) fn drop_catalog(&self, name: &str) -> Result<(), Diagnostic> {
        self.temporary.write().retain(|object, _| object.catalog != name);
        let mut catalogs = self.catalogs.write();
        if !catalogs.contains_key(name) {
            return Err(catalog_not_found(name));
        }
        if let Some(storage) = &self.storage {
            storage.apply(&[DefinitionChange::Remove(DefinitionKey::catalog(name))])?;
        }
        catalogs.shift_remove(name);
        Ok(())
    }

    /// An object; a temporary one before a permanent one.
    pub(crate) async fn get(&self, name: &ObjectName) -> Result<Option<CatalogObject>, Diagnostic> {
        if let Some(object) = self.temporary.read().get(name) {
            return Ok(Some(object.clone()));
        }
        match self.catalog(&name.catalog) {
            Ok(catalog) => catalog.get(&name.database, &name.object).await,
            Err(_) => Ok(None),
        }
    }

    /// Puts an object in the place of whatever has its name, for this session only.
    pub(crate) fn overlay(&self, name: ObjectName, object: CatalogObject) {
        self.temporary.write().insert(name, object);
    }

    /// Whether a temporary object has this name.
    pub(crate) fn is_temporary(&self, name: &ObjectName) -> bool {
        self.temporary.read().contains_key(name)
    }

    /// The objects of a database, temporary ones included, and whether each is a view; sorted.
    pub(crate) async fn list(
        &self,
        catalog: &str,
        database: &str,
    ) -> Result<Vec<(String, bool)>, Diagnostic> {
        let permanent = self.catalog(catalog)?.list(database).await?;
        let permanent =
            permanent.ok_or_else(|| super::memory::database_not_found(catalog, database))?;
        let mut objects: BTreeMap<String, bool> = permanent.into_iter().collect();
        for (name, object) in self.temporary.read().iter() {
            if name.catalog == catalog && name.database == database {
                objects.insert(name.object.clone(), object.is_view());
            }
        }
        Ok(objects.into_iter().collect())
    }

    /// Adds a permanent object.
    pub(crate) async fn create(
        &self,
        name: &ObjectName,
        object: CatalogObject,
    ) -> Result<(), Diagnostic> {
        self.catalog(&name.catalog)?.create(&name.database, &name.object, object).await
    }

    /// Adds a temporary object.
    pub(crate) fn create_temporary(
        &self,
        name: ObjectName,
        object: CatalogObject,
    ) -> Result<(), Diagnostic> {
        let mut temporary = self.temporary.write();
        if temporary.contains_key(&name) {
            return Err(object_exists(&name.to_string()));
        }
        temporary.insert(name, object);
        Ok(())
    }

    /// Replaces an object's definition where it is.
    pub(crate) async fn replace(
        &self,
        name: &ObjectName,
        object: CatalogObject,
    ) -> Result<(), Diagnostic> {
        if let Some(place) = self.temporary.write().get_mut(name) {
            *place = object;
            return Ok(());
        }
        self.catalog(&name.catalog)?.replace(&name.database, &name.object, object).await
    }

    /// Whether the catalog of this name keeps the tables themselves, not only their definitions.
    pub(crate) fn keeps_tables(&self, name: &ObjectName) -> Result<bool, Diagnostic> {
        Ok(!self.is_temporary(name) && self.catalog(&name.catalog)?.keeps_tables())
    }

    /// Changes a table where it is kept; false if only its definition is to be changed.
    pub(crate) async fn alter(
        &self,
        name: &ObjectName,
        changes: &[TableChange],
    ) -> Result<bool, Diagnostic> {
        if self.is_temporary(name) {
            return Ok(false);
        }
        self.catalog(&name.catalog)?.alter(&name.database, &name.object, changes).await
    }

    /// Gives an object a new name in its database.
    pub(crate) async fn rename(&self, name: &ObjectName, to: &str) -> Result<(), Diagnostic> {
        let new_name = ObjectName { object: to.to_owned(), ..name.clone() };
        if self.rename_temporary(name, new_name)? {
            return Ok(());
        }
        self.catalog(&name.catalog)?.rename(&name.database, &name.object, to).await
    }

    fn rename_temporary(&self, name: &ObjectName, to: ObjectName) -> Result<bool, Diagnostic> {
        let mut temporary = self.temporary.write();
        if temporary.contains_key(name) && temporary.contains_key(&to) {
            return Err(object_exists(&to.to_string()));
        }
        let Some(object) = temporary.remove(name) else {
            return Ok(false);
        };
        temporary.insert(to, object);
        Ok(true)
    }

    /// Removes a permanent object.
    pub(crate) async fn remove(&self, name: &ObjectName) -> Result<(), Diagnostic> {
        self.catalog(&name.catalog)?.remove(&name.database, &name.object).await
    }

    /// Removes a temporary object; false if there is none of this name.
    pub(crate) fn drop_temporary(&self, name: &ObjectName) -> bool {
        self.temporary.write().remove(name).is_some()
    }
}
