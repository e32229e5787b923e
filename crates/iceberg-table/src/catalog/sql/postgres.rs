//! A catalog in a PostgreSQL database.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio_postgres::config::SslMode;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Error as PostgresError, NoTls};

use super::SqlConnection;
use crate::Error;
use crate::storage::run_on_network;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A PostgreSQL database.
pub(super) struct Postgres {
    config: Config,
    /// Host and database, for messages.
    shown: String,
    /// None until it is used, and after a failure.
    client: Arc<Mutex<Option<Client>>>,
}

impl Postgres {
    pub(super) fn of_uri(rest: &str, connection: &SqlConnection) -> Result<Self, Error> {
        // Its own words would show parts of the URI.
        let mut config = Config::from_str(&format!("postgresql:{rest}")).map_err(|_| {
            Error::Invalid(
                "'uri' of an SQL catalog is no valid address: write \
                 postgresql://host:5432/database"
                    .to_owned(),
            )
        })?;
        if !matches!(config.get_ssl_mode(), SslMode::Disable | SslMode::Prefer) {
            return Err(Error::Invalid(
                "'uri' of an SQL catalog asks for TLS (sslmode), which is not supported; use a tunnel, \
                 or a REST catalog"
                    .to_owned(),
            ));
        }
        if config.get_password().is_some() {
            return Err(Error::Invalid(
                "'uri' of an SQL catalog holds a password, which would be shown; use 'jdbc.password'"
                    .to_owned(),
            ));
        }
        config.ssl_mode(SslMode::Disable);
        if let Some(user) = &connection.user {
            config.user(user);
        }
        if let Some(password) = &connection.password {
            config.password(password);
        }
        config.connect_timeout(CONNECT_TIMEOUT).application_name("shardlake");
        let host = rest.trim_start_matches('/').split('?').next().unwrap_or_default();
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let shown = format!("postgresql://{host}");
        Ok(Self { config, shown, client: Arc::default() })
    }

    async fn with<T, F>(
        &self,
        work: impl FnOnce(Connected) -> F + Send + 'static,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        F: Future<Output = (Connected, Result<T, PostgresError>)> + Send,
    {
        let (config, shared) = (self.config.clone(), Arc::clone(&self.client));
        let done = run_on_network(async move {
            let mut shared = shared.lock().await;
            let client = match shared.take().filter(|client| !client.is_closed()) {
                Some(client) => client,
                None => connect(&config).await.map_err(Failure::Database)?,
            };
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, work(Connected(client))).await;
            let (Connected(client), result) = answer.map_err(|_| Failure::NoAnswer)?;
            // A connection that failed is not used again.
            if result.is_ok() || !client.is_closed() {
                *shared = Some(client);
            }
            result.map_err(Failure::Database)
        });
        done.await?.map_err(|failure: Failure| Error::Storage {
            action: "use the catalog",
            path: self.shown.as_str().into(),
            source: failure.into(),
        })
    }

    pub(super) async fn execute(&self, sql: &str, parameters: Vec<String>) -> Result<u64, Error> {
        let sql = sql.to_owned();
        self.with(move |Connected(client)| async move {
            let result = client.execute(&sql, &bound(&parameters)).await;
            (Connected(client), result)
        })
        .await
    }

    pub(super) async fn query(
        &self,
        sql: &str,
        parameters: Vec<String>,
        columns: usize,
    ) -> Result<Vec<Vec<String>>, Error> {
        let sql = sql.to_owned();
        self.with(move |Connected(client)| async move {
            let rows = client.query(&sql, &bound(&parameters)).await;
            let rows = rows.and_then(|rows| {
                rows.iter()
                    .map(|row| (0..columns).map(|column| row.try_get(column)).collect())
                    .collect()
            });
            (Connected(client), rows)
        })
        .await
    }
}

/// A client on its way through a piece of work.
struct Connected(Client);

/// What went wrong with a database.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the database refused")]
    Database(#[source] PostgresError),
    #[error("the database did not answer within {} s", ANSWER_TIMEOUT.as_secs())]
    NoAnswer,
}

async fn connect(config: &Config) -> Result<Client, PostgresError> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to the catalog ended");
        }
    });
    Ok(client)
}

fn bound(parameters: &[String]) -> Vec<&(dyn ToSql + Sync)> {
    parameters.iter().map(|value| value as &(dyn ToSql + Sync)).collect()
}
