//! The SQL catalog: a row of a database names the current metadata file of each table.
//!
//! Its two tables are those of Iceberg's JDBC catalog and of pyiceberg's SQL catalog, so all of
//! them can share one database. A commit is one `UPDATE … WHERE metadata_location = <the one that
//! was seen>`: the database decides which of two writers comes first. When an answer is lost, the
//! row is read back: a metadata file has one writer.

mod database;
mod postgres;
mod sqlite;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use iceberg::spec::TableMetadataBuildResult;
use tokio::sync::OnceCell;

use self::database::Database;
use super::{Catalog, TableCreation, drop, metadata_file};
use crate::storage::pause;
use crate::{Error, Storage, Table, TableName};

/// How often a statement is tried whose outcome is not known.
const ATTEMPTS: u32 = 4;

const CREATE_TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS iceberg_tables (\
     catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL, \
     table_name VARCHAR(255) NOT NULL, metadata_location VARCHAR(1000), \
     previous_metadata_location VARCHAR(1000), iceberg_type VARCHAR(5), \
     PRIMARY KEY (catalog_name, table_namespace, table_name))",
    "CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (\
     catalog_name VARCHAR(255) NOT NULL, namespace VARCHAR(255) NOT NULL, \
     property_key VARCHAR(255) NOT NULL, property_value VARCHAR(1000) NOT NULL, \
     PRIMARY KEY (catalog_name, namespace, property_key))",
];

/// Tables named by rows of an SQLite or PostgreSQL database.
pub struct SqlCatalog {
    /// The name under which its rows are kept.
    name: String,
    warehouse: Option<String>,
    storage: Storage,
    database: Database,
    layout: OnceCell<Layout>,
}

/// Which of the two layouts in use the database has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Without a column that tells tables from views.
    V0,
    V1,
}

impl fmt::Debug for SqlCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlCatalog").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How a database is reached.
#[derive(Clone, Default)]
pub struct SqlConnection {
    /// `sqlite:///path`, `postgresql://host/database`, or either with `jdbc:` in front.
    pub uri: String,
    /// The user, if the URI names none.
    pub user: Option<String>,
    /// The password, if the URI holds none.
    pub password: Option<String>,
}

impl SqlCatalog {
    /// The catalog `name` in a database. New tables go into `warehouse`, unless their namespace has
    /// a `location`. Does no I/O.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the URI is of another kind or the warehouse is no place for files.
    pub fn new(
        name: &str,
        connection: &SqlConnection,
        warehouse: Option<&str>,
        storage: Storage,
    ) -> Result<Self, Error> {
        let warehouse = warehouse.map(super::warehouse_location).transpose()?;
        let database = Database::of(connection)?;
        let name = name.to_owned();
        Ok(Self { name, warehouse, storage, database, layout: OnceCell::new() })
    }

    /// Makes the two tables if they are missing, once.
    async fn layout(&self) -> Result<Layout, Error> {
        let prepare = || async {
            const PROBE: &str = "SELECT iceberg_type FROM iceberg_tables WHERE 1 = 0";
            if self.database.query(PROBE, vec![], 1).await.is_ok() {
                return Ok(Layout::V1);
            }
            for statement in CREATE_TABLES {
                // Of two that make a table at once, PostgreSQL may refuse one.
                if self.database.execute(statement, vec![]).await.is_err() {
                    self.database.execute(statement, vec![]).await?;
                }
            }
            let has_type = self.database.query(PROBE, vec![], 1).await.is_ok();
            Ok(if has_type { Layout::V1 } else { Layout::V0 })
        };
        self.layout.get_or_try_init(prepare).await.copied()
    }

    async fn query(
        &self,
        sql: &str,
        parameters: &[&str],
        columns: usize,
    ) -> Result<Vec<Vec<String>>, Error> {
        let layout = self.layout().await?;
        let sql = filtered(sql, layout);
        self.database.query(&sql, self.parameters(parameters), columns).await
    }

    async fn execute(&self, sql: &str, parameters: &[&str]) -> Result<u64, Error> {
        let layout = self.layout().await?;
        let sql = filtered(sql, layout);
        self.database.execute(&sql, self.parameters(parameters)).await
    }

    /// The name of the catalog is the first parameter of every statement.
    fn parameters(&self, rest: &[&str]) -> Vec<String> {
        std::iter::once(self.name.as_str()).chain(rest.iter().copied()).map(str::to_owned).collect()
    }

    /// The metadata file of a table.
    async fn pointer(&self, name: &TableName) -> Result<Option<String>, Error> {
        let rows = self
            .query(
                "SELECT metadata_location FROM iceberg_tables WHERE catalog_name = $1 AND \
                 table_namespace = $2 AND table_name = $3 AND metadata_location IS NOT NULL{tables}",
                &[&name.namespace, &name.name],
                1,
            )
            .await?;
        Ok(rows.into_iter().next().and_then(|row| row.into_iter().next()))
    }

    async fn insert_pointer(&self, name: &TableName, location: &str) -> Result<u64, Error> {
        let (columns, value) = match self.layout().await? {
            Layout::V0 => ("", ""),
            Layout::V1 => (", iceberg_type", ", 'TABLE'"),
        };
        let sql = format!(
            "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, \
             metadata_location{columns}) VALUES ($1, $2, $3, $4{value}) ON CONFLICT DO NOTHING"
        );
        self.execute(&sql, &[&name.namespace, &name.name, location]).await
    }

    async fn swap_pointer(&self, base: &Table, location: &str) -> Result<u64, Error> {
        let TableName { namespace, name } = base.name();
        self.execute(
            "UPDATE iceberg_tables SET metadata_location = $5, previous_metadata_location = $4 WHERE \
             catalog_name = $1 AND table_namespace = $2 AND table_name = $3 AND \
             metadata_location = $4{tables}",
            &[namespace, name, base.metadata_location(), location],
        )
        .await
    }

    /// Makes `location` the metadata file of a table by a statement that changes one row or none.
    /// When it is not known whether it did, the row tells.
    async fn point_to<F: Future<Output = Result<u64, Error>>>(
        &self,
        name: &TableName,
        location: &str,
        statement: impl Fn() -> F,
    ) -> Result<Pointed, Error> {
        let mut is_clear = true;
        let mut attempt = 1;
        loop {
            let failure = match statement().await {
                Ok(1..) => return Ok(Pointed::Ours),
                Ok(0) if is_clear => return Ok(Pointed::Theirs { is_clear }),
                Ok(0) => None,
                Err(error) => Some(error),
            };
            is_clear = false;
            match (self.pointer(name).await, failure) {
                (Ok(Some(found)), _) if found == location => return Ok(Pointed::Ours),
                (Ok(_), None) => return Ok(Pointed::Theirs { is_clear }),
                (Ok(_) | Err(_), Some(error)) if attempt == ATTEMPTS => return Err(error),
                (Err(error), None) if attempt == ATTEMPTS => return Err(error),
                (_, failure) => {
                    let error = failure.map(|error| error.to_string());
                    tracing::debug!(table = %name, error, "trying once more");
                }
            }
            pause(Duration::from_millis(100) * 2_u32.pow(attempt)).await?;
            attempt += 1;
        }
    }

    /// The folder of a new table.
    async fn table_location(&self, name: &TableName) -> Result<String, Error> {
        let rows = self
            .query(
                "SELECT property_value FROM iceberg_namespace_properties WHERE catalog_name = $1 AND \
                 namespace = $2 AND property_key = 'location'",
                &[&name.namespace],
                1,
            )
            .await?;
        if let Some(location) = rows.into_iter().next().and_then(|row| row.into_iter().next()) {
            return Ok(format!("{}/{}", location.trim_end_matches('/'), name.name));
        }
        match &self.warehouse {
            Some(warehouse) => Ok(format!("{warehouse}/{}/{}", name.namespace, name.name)),
            None => Err(Error::Invalid(format!(
                "table {name} cannot be made: the catalog has no 'warehouse', and namespace '{}' no \
                 location",
                name.namespace
            ))),
        }
    }

    /// All namespaces that are named anywhere.
    async fn all_namespaces(&self) -> Result<Vec<String>, Error> {
        let rows = self
            .query(
                "SELECT table_namespace FROM iceberg_tables WHERE catalog_name = $1 UNION \
                 SELECT namespace FROM iceberg_namespace_properties WHERE catalog_name = $1",
                &[],
                1,
            )
            .await?;
        let mut names: Vec<String> = rows.into_iter().flatten().collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

/// Whose metadata file a row names.
enum Pointed {
    Ours,
    /// Clear if it is certain that it has never been ours.
    Theirs {
        is_clear: bool,
    },
}

/// Leaves views out where the database tells them from tables.
fn filtered(sql: &str, layout: Layout) -> String {
    let filter = match layout {
        Layout::V0 => "",
        Layout::V1 => " AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL)",
    };
    sql.replace("{tables}", filter)
}

#[async_trait]
impl Catalog for SqlCatalog {
    async fn list_namespaces(&self) -> Result<Vec<String>, Error> {
        self.all_namespaces().await
    }

    async fn create_namespace(&self, namespace: &str) -> Result<(), Error> {
        super::check_namespace(namespace)?;
        if self.namespace_exists(namespace).await? {
            return Ok(());
        }
        self.execute(
            "INSERT INTO iceberg_namespace_properties (catalog_name, namespace, property_key, \
             property_value) VALUES ($1, $2, 'exists', 'true') ON CONFLICT DO NOTHING",
            &[namespace],
        )
        .await?;
        Ok(())
    }

    async fn namespace_exists(&self, namespace: &str) -> Result<bool, Error> {
        let below = format!("{namespace}.");
        let all = self.all_namespaces().await?;
        Ok(all.iter().any(|found| found == namespace || found.starts_with(&below)))
    }

    async fn drop_namespace(&self, namespace: &str) -> Result<(), Error> {
        if !self.list_tables(namespace).await?.is_empty() {
            return Err(super::namespace_not_empty(namespace));
        }
        self.execute(
            "DELETE FROM iceberg_namespace_properties WHERE catalog_name = $1 AND namespace = $2",
            &[namespace],
        )
        .await?;
        Ok(())
    }

    async fn list_tables(&self, namespace: &str) -> Result<Vec<TableName>, Error> {
        if !self.namespace_exists(namespace).await? {
            return Err(super::no_namespace(namespace));
        }
        let rows = self
            .query(
                "SELECT table_name FROM iceberg_tables WHERE catalog_name = $1 AND \
                 table_namespace = $2{tables}",
                &[namespace],
                1,
            )
            .await?;
        let mut tables: Vec<TableName> =
            rows.into_iter().flatten().map(|name| TableName::new(namespace, name)).collect();
        tables.sort_unstable();
        Ok(tables)
    }

    async fn table_exists(&self, name: &TableName) -> Result<bool, Error> {
        Ok(self.pointer(name).await?.is_some())
    }

    async fn load(&self, name: &TableName) -> Result<Table, Error> {
        match self.pointer(name).await? {
            Some(location) => metadata_file::load(&self.storage, name, &location).await,
            None => Err(super::no_table(name)),
        }
    }

    async fn create(&self, name: &TableName, creation: &TableCreation) -> Result<Table, Error> {
        super::check_namespace(&name.namespace)?;
        if self.pointer(name).await?.is_some() {
            return Err(Error::AlreadyExists(name.clone()));
        }
        let location = self.table_location(name).await?;
        let metadata = creation.metadata(&location)?;
        self.create_namespace(&name.namespace).await?;
        let path = metadata_file::write_numbered(&self.storage, None, &metadata).await?;
        match self.point_to(name, &path, || self.insert_pointer(name, &path)).await? {
            Pointed::Ours => Table::try_new(name.clone(), metadata, path, self.storage.clone()),
            Pointed::Theirs { is_clear } => {
                metadata_file::give_up(&self.storage, &path, is_clear).await;
                Err(Error::AlreadyExists(name.clone()))
            }
        }
    }

    async fn rename(&self, name: &TableName, to: &TableName) -> Result<(), Error> {
        super::check_namespace(&to.namespace)?;
        if !self.namespace_exists(&to.namespace).await? {
            return Err(super::no_namespace(&to.namespace));
        }
        if self.pointer(to).await?.is_some() {
            return Err(Error::AlreadyExists(to.clone()));
        }
        let renamed = self
            .execute(
                "UPDATE iceberg_tables SET table_namespace = $4, table_name = $5 WHERE \
                 catalog_name = $1 AND table_namespace = $2 AND table_name = $3{tables}",
                &[&name.namespace, &name.name, &to.namespace, &to.name],
            )
            .await?;
        if renamed == 0 { Err(super::no_table(name)) } else { Ok(()) }
    }

    async fn purge(&self, name: &TableName) -> Result<(), Error> {
        let table = self.load(name).await?;
        let removed = self
            .execute(
                "DELETE FROM iceberg_tables WHERE catalog_name = $1 AND table_namespace = $2 AND \
                 table_name = $3{tables}",
                &[&name.namespace, &name.name],
            )
            .await?;
        if removed == 0 {
            return Err(super::no_table(name));
        }
        drop::remove_files(&table).await
    }

    async fn publish(&self, base: &Table, new: TableMetadataBuildResult) -> Result<Table, Error> {
        let TableMetadataBuildResult { metadata, expired_metadata_logs, .. } = new;
        let name = base.name();
        let path =
            metadata_file::write_numbered(&self.storage, Some(base.metadata_location()), &metadata)
                .await?;
        match self.point_to(name, &path, || self.swap_pointer(base, &path)).await? {
            Pointed::Ours => {}
            Pointed::Theirs { is_clear } => {
                metadata_file::give_up(&self.storage, &path, is_clear).await;
                if self.pointer(name).await?.is_none() {
                    return Err(super::no_table(name));
                }
                let version = metadata_file::number(&path);
                return Err(Error::Conflict { table: name.clone(), version });
            }
        }
        metadata_file::remove_old(&self.storage, &metadata, &expired_metadata_logs).await?;
        Table::try_new(name.clone(), metadata, path, base.storage().clone())
    }
}

#[cfg(test)]
mod tests;
