//! What a server keeps: definitions of its catalogs, and its jobs. `docs/formats/server-store.md`.
//!
//! An embedded database below the state directory, readable by its owner only. A change is durable when the
//! call returns. Texts in which a user may have written a secret are sealed, see [`crate::seal`].

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Row, params};
use shardlake_sql::catalog::{DefinitionChange, DefinitionKey, DefinitionStorage};
use shardlake_sql::diagnostic::{Code, Diagnostic};

use crate::seal::Seal;

/// The version of the tables; a database of a later one is refused.
const VERSION: i64 = 1;
/// The most ended jobs that are kept.
const ENDED_JOBS_MAX: i64 = 1_000;

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS definitions (
    kind INTEGER NOT NULL,
    catalog TEXT NOT NULL,
    database TEXT NOT NULL,
    object TEXT NOT NULL,
    definition TEXT NOT NULL,
    PRIMARY KEY (kind, catalog, database, object)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    submitted_ms INTEGER NOT NULL,
    statement TEXT NOT NULL,
    scope TEXT NOT NULL,
    end_wanted INTEGER NOT NULL DEFAULT 0,
    status TEXT,
    ended_ms INTEGER,
    failure TEXT
) WITHOUT ROWID;
";

/// A job as it is kept. Statement and scope may hold secrets, so there is no `Debug`.
#[derive(Clone)]
pub(crate) struct StoredJob {
    /// Its id.
    pub(crate) id: String,
    /// Its name.
    pub(crate) name: String,
    /// When it was submitted, in milliseconds since 1970.
    pub(crate) submitted_ms: u64,
    /// The statement that submits it again.
    pub(crate) statement: String,
    /// What the statement saw of its session, as JSON.
    pub(crate) scope: String,
    /// Whether a user wanted it to end.
    pub(crate) end_wanted: bool,
    /// How it ended.
    pub(crate) end: Option<StoredEnd>,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredEnd {
    /// Flink's name of its last status.
    pub(crate) status: String,
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// Why, if it failed.
    pub(crate) failure: Option<String>,
}

/// The database.
pub(crate) struct Store {
    connection: Mutex<Connection>,
    seal: Seal,
}

impl Store {
    /// Opens the database below the state directory; makes it if it is missing.
    pub(crate) fn open(state_dir: &Path) -> Result<Self, Diagnostic> {
        let path = state_dir.join("server.db");
        let seal = Seal::open(&state_dir.join("server.key"))?;
        OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(|error| {
            let message = format!("The database {} cannot be opened: {error}.", path.display());
            Diagnostic::new(Code::CatalogAccess, message)
        })?;
        let connection = Connection::open(&path).map_err(failed)?;
        connection
            .execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
            .map_err(failed)?;
        let version: i64 =
            connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
        if version > VERSION {
            let message = format!(
                "The database {} was written by a later version of Shardlake.",
                path.display()
            );
            return Err(Diagnostic::new(Code::CatalogAccess, message)
                .with_hint("Use that version, or another state directory."));
        }
        connection.execute_batch(TABLES).map_err(failed)?;
        connection.pragma_update(None, "user_version", VERSION).map_err(failed)?;
        Ok(Self { connection: Mutex::new(connection), seal })
    }

    /// Keeps a job that has been submitted.
    pub(crate) fn add_job(&self, job: &StoredJob) -> Result<(), Diagnostic> {
        let statement = self.seal.close(&job.statement)?;
        let scope = self.seal.close(&job.scope)?;
        let connection = self.connection.lock();
        connection
            .execute(
                "INSERT OR REPLACE INTO jobs (id, name, submitted_ms, statement, scope) \
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![job.id, job.name, to_signed(job.submitted_ms), statement, scope],
            )
            .map_err(failed)?;
        Ok(())
    }

    /// Notes that a user wants a job to end, so that it is not resumed.
    pub(crate) fn want_end(&self, id: &str) -> Result<(), Diagnostic> {
        let connection = self.connection.lock();
        connection.execute("UPDATE jobs SET end_wanted = 1 WHERE id = ?1", [id]).map_err(failed)?;
        Ok(())
    }

    /// Notes how a job ended, and forgets the oldest ended ones.
    pub(crate) fn end_job(&self, id: &str, end: &StoredEnd) -> Result<(), Diagnostic> {
        let connection = self.connection.lock();
        connection
            .execute(
                "UPDATE jobs SET status = ?2, ended_ms = ?3, failure = ?4 WHERE id = ?1",
                params![id, end.status, to_signed(end.at_ms), end.failure],
            )
            .map_err(failed)?;
        connection
            .execute(
                "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE ended_ms IS NOT NULL \
                 ORDER BY ended_ms DESC LIMIT -1 OFFSET ?1)",
                [ENDED_JOBS_MAX],
            )
            .map_err(failed)?;
        Ok(())
    }

    /// All jobs, in the order of their submission.
    pub(crate) fn jobs(&self) -> Result<Vec<StoredJob>, Diagnostic> {
        const SELECT: &str = "SELECT id, name, submitted_ms, statement, scope, end_wanted, status, \
                              ended_ms, failure FROM jobs ORDER BY submitted_ms, id";
        let connection = self.connection.lock();
        let mut query = connection.prepare_cached(SELECT).map_err(failed)?;
        let rows = query.query_map([], job_of_row).map_err(failed)?;
        let mut jobs = Vec::new();
        for row in rows {
            let mut job = row.map_err(failed)?;
            job.statement = self.seal.read(&job.statement)?;
            job.scope = self.seal.read(&job.scope)?;
            jobs.push(job);
        }
        Ok(jobs)
    }

    /// Whether the database answers.
    pub(crate) fn check(&self) -> Result<(), Diagnostic> {
        let connection = self.connection.lock();
        let found = connection.query_row("SELECT 1", [], |_| Ok(())).optional();
        found.map(|_| ()).map_err(failed)
    }
}

fn job_of_row(row: &Row<'_>) -> rusqlite::Result<StoredJob> {
    let status: Option<String> = row.get(6)?;
    let ended_ms: Option<i64> = row.get(7)?;
    let failure = row.get(8)?;
    Ok(StoredJob {
        id: row.get(0)?,
        name: row.get(1)?,
        submitted_ms: to_unsigned(row.get(2)?),
        statement: row.get(3)?,
        scope: row.get(4)?,
        end_wanted: row.get(5)?,
        end: status.zip(ended_ms).map(|(status, at_ms)| StoredEnd {
            status,
            at_ms: to_unsigned(at_ms),
            failure,
        }),
    })
}

fn to_signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn to_unsigned(ms: i64) -> u64 {
    u64::try_from(ms).unwrap_or(0)
}

/// The database refused. Its messages name tables and columns, never values.
#[expect(clippy::needless_pass_by_value, reason = "it is the function of a map_err")]
fn failed(error: rusqlite::Error) -> Diagnostic {
    let message = format!("The server's database cannot be used: {error}.");
    Diagnostic::new(Code::CatalogAccess, message)
}

/// The kind of a definition, which orders what contains before what is contained, and its names.
fn columns(key: &DefinitionKey) -> (i64, &str, &str, &str) {
    let database = key.database.as_deref();
    let object = key.object.as_deref();
    let kind = i64::from(database.is_some()) + i64::from(object.is_some());
    (kind, &key.catalog, database.unwrap_or_default(), object.unwrap_or_default())
}

impl DefinitionStorage for Store {
    fn load(&self) -> Result<Vec<(DefinitionKey, String)>, Diagnostic> {
        const SELECT: &str = "SELECT kind, catalog, database, object, definition FROM definitions \
                              ORDER BY kind, catalog, database, object";
        let connection = self.connection.lock();
        let mut query = connection.prepare(SELECT).map_err(failed)?;
        let rows = query
            .query_map([], |row| {
                let kind: i64 = row.get(0)?;
                let key = DefinitionKey {
                    catalog: row.get(1)?,
                    database: if kind > 0 { Some(row.get(2)?) } else { None },
                    object: if kind > 1 { Some(row.get(3)?) } else { None },
                };
                Ok((key, row.get::<_, String>(4)?))
            })
            .map_err(failed)?;
        let mut definitions = Vec::new();
        for row in rows {
            let (key, sealed) = row.map_err(failed)?;
            definitions.push((key, self.seal.read(&sealed)?));
        }
        Ok(definitions)
    }

    fn apply(&self, changes: &[DefinitionChange]) -> Result<(), Diagnostic> {
        let mut connection = self.connection.lock();
        let transaction = connection.transaction().map_err(failed)?;
        for change in changes {
            match change {
                DefinitionChange::Put(key, text) => {
                    let (kind, catalog, database, object) = columns(key);
                    let sealed = self.seal.close(text)?;
                    transaction
                        .execute(
                            "INSERT OR REPLACE INTO definitions VALUES (?1, ?2, ?3, ?4, ?5)",
                            params![kind, catalog, database, object, sealed],
                        )
                        .map_err(failed)?;
                }
                DefinitionChange::Remove(key) => {
                    let (kind, catalog, database, object) = columns(key);
                    transaction
                        .execute(
                            "DELETE FROM definitions WHERE kind >= ?1 AND catalog = ?2 \
                             AND (?1 < 1 OR database = ?3) AND (?1 < 2 OR object = ?4)",
                            params![kind, catalog, database, object],
                        )
                        .map_err(failed)?;
                }
            }
        }
        transaction.commit().map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn job(id: &str) -> StoredJob {
        StoredJob {
            id: id.to_owned(),
            name: format!("job {id}"),
            submitted_ms: 7,
            statement: "INSERT INTO a SELECT * FROM b /*+ OPTIONS('password'='hunter2') */".into(),
            scope: "{\"password\":\"hunter3\"}".to_owned(),
            end_wanted: false,
            end: None,
        }
    }

    #[test]
    fn jobs_survive_and_secrets_cannot_be_read_from_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.add_job(&job("1")).unwrap();
        store.add_job(&job("2")).unwrap();
        store.want_end("2").unwrap();
        let end = StoredEnd { status: "FINISHED".to_owned(), at_ms: 9, failure: None };
        store.end_job("1", &end).unwrap();
        drop(store);
        let jobs = Store::open(folder.path()).unwrap().jobs().unwrap();
        assert_eq!(jobs[0].end, Some(end));
        assert_eq!((jobs[1].end_wanted, jobs[1].end.clone()), (true, None));
        assert!(jobs[1].statement.contains("hunter2"));
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(6).any(|window| window == b"hunter");
            assert!(!found, "{}", path.display());
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", path.display());
        }
    }

    #[test]
    fn definitions_are_removed_with_what_contains_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let put = |key| DefinitionChange::Put(key, "x".to_owned());
        let table = DefinitionKey::object("c", "d", "t");
        let kept = DefinitionKey::object("c", "e", "t");
        store
            .apply(&[
                put(table),
                put(DefinitionKey::database("c", "d")),
                put(DefinitionKey::catalog("c")),
                put(kept.clone()),
            ])
            .unwrap();
        let keys = |store: &Store| {
            store.load().unwrap().into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        assert_eq!(keys(&store).first(), Some(&DefinitionKey::catalog("c")));
        store.apply(&[DefinitionChange::Remove(DefinitionKey::database("c", "d"))]).unwrap();
        assert_eq!(keys(&store), [DefinitionKey::catalog("c"), kept]);
        store.apply(&[DefinitionChange::Remove(DefinitionKey::catalog("c"))]).unwrap();
        assert!(keys(&store).is_empty());
    }
}
