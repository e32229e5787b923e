//! The usual stage of a test: one MySQL, one warehouse, a job and a second client that reads the lake.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use shardlake_testkit::{Error, MysqlServer, ServerOptions};
use tempfile::TempDir;

use crate::{Client, Job};

/// Lets some time pass.
pub fn pause(duration: Duration) {
    let deadline = Instant::now() + duration;
    while let Some(rest) = deadline.checked_duration_since(Instant::now()).filter(|d| !d.is_zero())
    {
        thread::park_timeout(rest);
    }
}

/// Asks again until the answer is yes, and fails with the last thing seen when it takes longer than the patience.
pub fn wait_until<T: std::fmt::Debug>(
    what: &str,
    patience: Duration,
    mut ask: impl FnMut() -> Result<(bool, T)>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        let (done, seen) = ask()?;
        if done {
            return Ok(seen);
        }
        if Instant::now() > deadline {
            bail!("{what}: not within {patience:?}; last seen: {seen:?}");
        }
        pause(Duration::from_millis(50));
    }
}

/// A MySQL server, a folder for everything else, and the statements that connect the two.
#[derive(Debug)]
pub struct Scene {
    /// The server.
    pub server: MysqlServer,
    folder: TempDir,
}

impl Scene {
    /// Starts a server.
    pub fn start(options: ServerOptions) -> Result<Self, Error> {
        let server = MysqlServer::start(options)?;
        let folder = tempfile::Builder::new().prefix("shardlake-e2e-").tempdir();
        let folder = folder
            .map_err(|source| Error::Io { action: "make the test's folder".to_owned(), source })?;
        Ok(Self { server, folder })
    }

    /// The test's own folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The warehouse's folder.
    #[must_use]
    pub fn warehouse(&self) -> PathBuf {
        self.folder().join("warehouse")
    }

    /// A table's folder in the warehouse.
    #[must_use]
    pub fn table(&self, name: &str) -> PathBuf {
        self.warehouse().join("default_database").join(name)
    }

    /// The options of a `mysql-cdc` table, with a user and the two patterns.
    #[must_use]
    pub fn source_options(
        &self,
        user: &str,
        password: &str,
        databases: &str,
        tables: &str,
    ) -> String {
        format!(
            "'connector' = 'mysql-cdc', 'hostname' = '{}', 'port' = '{}', 'username' = '{}', \
             'password' = '{}', 'database-name' = '{}', 'table-name' = '{}'",
            self.server.host(),
            self.server.port(),
            quoted(user),
            quoted(password),
            quoted(databases),
            quoted(tables)
        )
    }

    /// The options of an `iceberg` table in the test's warehouse.
    #[must_use]
    pub fn lake_options(&self) -> String {
        format!(
            "'connector' = 'iceberg', 'catalog-name' = 'lake', 'catalog-type' = 'hadoop', \
             'warehouse' = 'file://{}', 'format-version' = '2'",
            self.warehouse().display()
        )
    }

    /// A client whose state directory has this name in the test's folder.
    #[must_use]
    pub fn client(&self, name: &str) -> Client {
        Client::new(&self.folder().join("state").join(name))
    }

    /// Writes a script and starts it; the client's name is also the name of script and log.
    pub fn job(&self, name: &str, script: &str) -> Result<Job> {
        let path = self.folder().join(format!("{name}.sql"));
        fs::write(&path, script).context("writing the script")?;
        Job::start(&self.client(name), &path, &self.folder().join(format!("{name}.log")))
    }

    /// Waits until a query of the lake returns these rows (`a|b|NULL`), in any order.
    pub fn await_rows(
        &self,
        job: &mut Job,
        setup: &str,
        query: &str,
        expected: &[&str],
    ) -> Result<()> {
        let mut wanted: Vec<String> = expected.iter().map(|row| (*row).to_owned()).collect();
        wanted.sort_unstable();
        let what = format!("{query} becomes {wanted:?}");
        wait_until(&what, Duration::from_secs(60), || {
            job.ensure_running()?;
            let mut rows = self.client("reader").select(setup, query)?;
            rows.sort_unstable();
            Ok((rows == wanted, rows))
        })?;
        Ok(())
    }
}

fn quoted(text: &str) -> String {
    text.replace('\'', "''")
}
