//! A catalog in an SQLite file: for one machine, shared by its processes.

use std::path::{Path, PathBuf, absolute};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, Params, ToSql, params_from_iter};

use crate::Error;
use crate::storage::run_blocking;

/// How long a statement waits for other processes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// An SQLite file.
pub(super) struct Sqlite {
    path: PathBuf,
    connection: Arc<Mutex<Option<Connection>>>,
}

impl Sqlite {
    /// `//` and a path, as in SQLAlchemy (`sqlite:////absolute`, `sqlite:///relative`), or a path
    /// alone, as in Java.
    pub(super) fn of_uri(rest: &str) -> Result<Self, Error> {
        let path = rest.strip_prefix("///").or_else(|| rest.strip_prefix("file:")).unwrap_or(rest);
        if path.is_empty() || path.starts_with(":memory:") || path.starts_with("//") {
            return Err(Error::Invalid(
                "'uri' of an SQL catalog must name a file: sqlite:///path/of/catalog.db".to_owned(),
            ));
        }
        let path = absolute(path).map_err(|error| Error::io("find", Path::new(path), error))?;
        Ok(Self { path, connection: Arc::default() })
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let (path, connection) = (self.path.clone(), Arc::clone(&self.connection));
        let done = run_blocking(move || {
            let mut connection = connection.lock();
            let open = match &mut *connection {
                Some(open) => open,
                none => none.insert(open(&path)?),
            };
            work(open)
        });
        done.await?.map_err(|error| Error::Storage {
            action: "use the catalog",
            path: self.path.clone(),
            source: error.into(),
        })
    }

    pub(super) async fn execute(&self, sql: &str, parameters: Vec<String>) -> Result<u64, Error> {
        let sql = numbered(sql);
        self.with(move |connection| {
            connection.execute(&sql, bound(&parameters)).map(|count| count as u64)
        })
        .await
    }

    pub(super) async fn query(
        &self,
        sql: &str,
        parameters: Vec<String>,
        columns: usize,
    ) -> Result<Vec<Vec<String>>, Error> {
        let sql = numbered(sql);
        self.with(move |connection| {
            let mut statement = connection.prepare(&sql)?;
            let rows = statement.query_map(bound(&parameters), |row| {
                (0..columns).map(|column| row.get(column)).collect()
            })?;
            rows.collect()
        })
        .await
    }
}

/// SQLite numbers a parameter by its number only if it is written `?1`.
fn numbered(sql: &str) -> String {
    sql.replace('$', "?")
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

fn bound(parameters: &[String]) -> impl Params {
    params_from_iter(parameters.iter().map(|value| value as &dyn ToSql))
}
