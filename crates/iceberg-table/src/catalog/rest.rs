//! A client of Iceberg's REST catalog protocol.
//!
//! A commit sends the changes together with what they were based on (`assert-ref-snapshot-id` and
//! its like), and the server decides. When the outcome is not known (500, 502, 504, a broken
//! connection), the table is read back: a snapshot has one writer, so its id tells. A commit that
//! is not there is sent again under the same `Idempotency-Key` and with the same requirements, so
//! it cannot be made twice.

mod auth;
mod client;
mod sigv4;
mod vended;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use iceberg::TableUpdate;
use iceberg::spec::TableMetadataBuildResult;
use serde_json::json;
use tokio::sync::OnceCell;
use uuid::Uuid;

use self::client::{Client, Failure};
use self::vended::TableAccess;
use self::wire::{
    CommitRequest, CreateRequest, ListNamespaces, ListTables, LoadedTable, RenameRequest, WireName,
};
use super::{Catalog, TableCreation, metadata_file};
use crate::storage::pause;
use crate::{Error, Storage, Table, TableName};

/// How often a request is sent whose outcome is not known.
const ATTEMPTS: u32 = 5;

/// Tables of a catalog service.
pub struct RestCatalog {
    client: Arc<Client>,
    /// With the credentials of the options; a table may come with others.
    storage: Storage,
    with_server: OnceCell<Storage>,
}

impl fmt::Debug for RestCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RestCatalog").field("client", &self.client).finish_non_exhaustive()
    }
}

/// Whether a change is in the table.
enum Outcome {
    /// The table with it.
    Made(Box<Table>),
    /// Nobody has changed the table.
    NotMade,
    /// Others have.
    Overtaken,
}

impl RestCatalog {
    /// The catalog that these options describe. Does no I/O.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the option that is wrong, missing or not supported.
    pub fn new(options: &BTreeMap<&str, &str>, storage: Storage) -> Result<Self, Error> {
        let client = Arc::new(Client::new(options)?);
        Ok(Self { client, storage, with_server: OnceCell::new() })
    }

    fn table_path(name: &TableName) -> String {
        format!(
            "namespaces/{}/tables/{}",
            client::namespace_segment(&name.namespace),
            client::segment(&name.name)
        )
    }

    /// The catalog's storage, with what the server says about files.
    async fn storage(&self) -> Result<&Storage, Failure> {
        let overlay = || async {
            let options = self.client.options().await?;
            let options = options.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            self.storage.overlaid(options, None).map_err(Failure::Certain)
        };
        self.with_server.get_or_try_init(overlay).await
    }

    async fn table(&self, name: &TableName, loaded: LoadedTable) -> Result<Table, Error> {
        let location = loaded.metadata_location.clone().ok_or_else(|| {
            let what = format!("the answer for table {name}");
            Error::corrupt(what, "it has no metadata-location")
        })?;
        let access = TableAccess { client: Arc::clone(&self.client), path: Self::table_path(name) };
        let base = self.storage().await.map_err(Failure::into_error)?;
        let storage = vended::storage(base, &loaded, access)?;
        Table::try_new(name.clone(), loaded.metadata, location, storage)
    }

    async fn load_table(&self, name: &TableName) -> Result<Table, Failure> {
        let loaded = self.client.get(&Self::table_path(name), &[]).await?;
        self.table(name, loaded).await.map_err(Failure::Certain)
    }

    /// What came of a commit whose answer is lost.
    async fn outcome(&self, base: &Table, changes: &[TableUpdate]) -> Result<Outcome, Failure> {
        let current = self.load_table(base.name()).await?;
        let snapshot_id = changes.iter().find_map(|change| match change {
            TableUpdate::AddSnapshot { snapshot } => Some(snapshot.snapshot_id()),
            _ => None,
        });
        let has = |id| current.metadata().snapshot_by_id(id).is_some();
        if snapshot_id.is_some_and(has) {
            return Ok(Outcome::Made(Box::new(current)));
        }
        if current.metadata_location() == base.metadata_location() {
            return Ok(Outcome::NotMade);
        }
        Ok(Outcome::Overtaken)
    }

    async fn commit(
        &self,
        base: &Table,
        request: &CommitRequest<'_>,
        changes: &[TableUpdate],
    ) -> Result<Table, Error> {
        let name = base.name();
        let conflict = || Error::Conflict {
            table: name.clone(),
            version: metadata_file::number(base.metadata_location()) + 1,
        };
        let key = Uuid::now_v7().to_string();
        let mut attempt = 1;
        loop {
            let sent: Result<LoadedTable, Failure> =
                self.client.post(&Self::table_path(name), request, &key).await;
            let failure = match sent {
                Ok(loaded) => {
                    let location = loaded.metadata_location.unwrap_or_default();
                    let storage = base.storage().clone();
                    return Table::try_new(name.clone(), loaded.metadata, location, storage);
                }
                Err(Failure::Certain(Error::Conflict { .. })) if attempt == 1 => {
                    return Err(conflict());
                }
                // After a lost answer a conflict may be one with ourselves.
                Err(Failure::Certain(Error::Conflict { .. })) => conflict(),
                Err(Failure::Certain(error)) => return Err(error),
                Err(Failure::Unknown(error)) => error,
            };
            match self.outcome(base, changes).await {
                Ok(Outcome::Made(table)) => return Ok(*table),
                Ok(Outcome::Overtaken) => return Err(conflict()),
                Ok(Outcome::NotMade) | Err(Failure::Unknown(_)) if attempt < ATTEMPTS => {}
                Ok(Outcome::NotMade) | Err(Failure::Unknown(_)) => return Err(failure),
                Err(Failure::Certain(error)) => return Err(error),
            }
            tracing::debug!(table = %name, error = %failure, "sending the commit once more");
            pause(Duration::from_millis(100) * 2_u32.pow(attempt)).await?;
            attempt += 1;
        }
    }

    async fn list<T: serde::de::DeserializeOwned + wire::Page>(
        &self,
        path: &str,
    ) -> Result<Vec<T::Item>, Error> {
        let mut items = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let query: Vec<(&str, &str)> =
                token.iter().map(|token| ("pageToken", token.as_str())).collect();
            let page: T = self.client.get(path, &query).await.map_err(Failure::into_error)?;
            let (found, next) = page.into_parts();
            items.extend(found);
            match next.filter(|next| !next.is_empty()) {
                // A server that repeats itself would be asked forever.
                Some(next) if Some(&next) != token.as_ref() => token = Some(next),
                _ => return Ok(items),
            }
        }
    }
}

/// Whether something is there, by the failure to find it.
fn found<T>(result: Result<T, Error>) -> Result<bool, Error> {
    match result {
        Ok(_) => Ok(true),
        Err(Error::NotFound(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

#[async_trait]
impl Catalog for RestCatalog {
    async fn list_namespaces(&self) -> Result<Vec<String>, Error> {
        let names = self.list::<ListNamespaces>("namespaces").await?;
        let mut names: Vec<String> = names.into_iter().map(|levels| levels.join(".")).collect();
        names.sort_unstable();
        Ok(names)
    }

    async fn create_namespace(&self, namespace: &str) -> Result<(), Error> {
        super::check_namespace(namespace)?;
        let body = json!({"namespace": wire::levels(namespace), "properties": {}});
        let key = Uuid::now_v7().to_string();
        match self.client.post_ignoring("namespaces", &body, &key).await {
            Err(Failure::Certain(Error::Conflict { .. })) => Ok(()),
            Err(Failure::Unknown(error)) => {
                if self.namespace_exists(namespace).await? {
                    Ok(())
                } else {
                    Err(error)
                }
            }
            Err(Failure::Certain(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    async fn namespace_exists(&self, namespace: &str) -> Result<bool, Error> {
        if super::check_namespace(namespace).is_err() {
            return Ok(false);
        }
        let path = format!("namespaces/{}", client::namespace_segment(namespace));
        let answer = self.client.get::<serde_json::Value>(&path, &[]).await;
        found(answer.map_err(Failure::into_error))
    }

    async fn drop_namespace(&self, namespace: &str) -> Result<(), Error> {
        let path = format!("namespaces/{}", client::namespace_segment(namespace));
        match self.client.delete(&path, &[]).await {
            Err(Failure::Certain(Error::NotFound(_))) => Ok(()),
            Err(Failure::Certain(Error::Conflict { .. })) => {
                Err(super::namespace_not_empty(namespace))
            }
            other => other.map_err(Failure::into_error),
        }
    }

    async fn list_tables(&self, namespace: &str) -> Result<Vec<TableName>, Error> {
        let path = format!("namespaces/{}/tables", client::namespace_segment(namespace));
        let found = match self.list::<ListTables>(&path).await {
            Err(Error::NotFound(_)) => return Err(super::no_namespace(namespace)),
            other => other?,
        };
        // Some servers list what is not there.
        if found.is_empty() && !self.namespace_exists(namespace).await? {
            return Err(super::no_namespace(namespace));
        }
        let mut tables: Vec<TableName> =
            found.into_iter().map(|found| TableName::new(namespace, found.name)).collect();
        tables.sort_unstable();
        Ok(tables)
    }

    async fn table_exists(&self, name: &TableName) -> Result<bool, Error> {
        found(self.load(name).await)
    }

    async fn load(&self, name: &TableName) -> Result<Table, Error> {
        super::check_namespace(&name.namespace).map_err(|_| super::no_table(name))?;
        match self.load_table(name).await.map_err(Failure::into_error) {
            Err(Error::NotFound(_)) => Err(super::no_table(name)),
            other => other,
        }
    }

    async fn create(&self, name: &TableName, creation: &TableCreation) -> Result<Table, Error> {
        super::check_namespace(&name.namespace)?;
        if self.table_exists(name).await? {
            return Err(Error::AlreadyExists(name.clone()));
        }
        if !self.namespace_exists(&name.namespace).await? {
            self.create_namespace(&name.namespace).await?;
        }
        // The server chooses the folder.
        let metadata = creation.metadata("/")?;
        let request = CreateRequest::of(name, &metadata, &creation.properties);
        let path = format!("namespaces/{}/tables", client::namespace_segment(&name.namespace));
        let key = Uuid::now_v7().to_string();
        match self.client.post(&path, &request, &key).await {
            Ok(loaded) => self.table(name, loaded).await,
            Err(Failure::Certain(Error::Conflict { .. })) => {
                Err(Error::AlreadyExists(name.clone()))
            }
            Err(Failure::Certain(error)) => Err(error),
            // The answer is lost. A table that is there now was not there before; whoever made it,
            // it is to be opened.
            Err(Failure::Unknown(error)) => match self.load(name).await {
                Err(Error::NotFound(_)) => Err(error),
                other => other,
            },
        }
    }

    async fn rename(&self, name: &TableName, to: &TableName) -> Result<(), Error> {
        super::check_namespace(&to.namespace)?;
        let request = RenameRequest { source: WireName::of(name), destination: WireName::of(to) };
        let key = Uuid::now_v7().to_string();
        match self.client.post_ignoring("tables/rename", &request, &key).await {
            Err(Failure::Certain(Error::NotFound(_))) => {
                if self.table_exists(name).await? {
                    return Err(super::no_namespace(&to.namespace));
                }
                Err(super::no_table(name))
            }
            Err(Failure::Certain(Error::Conflict { .. })) => Err(Error::AlreadyExists(to.clone())),
            Err(Failure::Unknown(error)) => {
                let moved = self.table_exists(to).await? && !self.table_exists(name).await?;
                if moved { Ok(()) } else { Err(error) }
            }
            other => other.map_err(Failure::into_error),
        }
    }

    async fn purge(&self, name: &TableName) -> Result<(), Error> {
        let path = Self::table_path(name);
        match self.client.delete(&path, &[("purgeRequested", "true")]).await {
            Err(Failure::Certain(Error::NotFound(_))) => Err(super::no_table(name)),
            Err(Failure::Unknown(error)) => {
                if self.table_exists(name).await? {
                    Err(error)
                } else {
                    Ok(())
                }
            }
            other => other.map_err(Failure::into_error),
        }
    }

    async fn publish(&self, base: &Table, new: TableMetadataBuildResult) -> Result<Table, Error> {
        let TableMetadataBuildResult { changes, .. } = new;
        if changes.is_empty() {
            return Ok(base.clone());
        }
        let request = CommitRequest::of(base, &changes);
        self.commit(base, &request, &changes).await
    }
}

#[cfg(test)]
mod tests;
