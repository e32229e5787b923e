//! The databases that can hold a catalog. Statements are the same in all of them; parameters are
//! `$1`, `$2`, … in the order of their first use, and all values are texts.

use super::SqlConnection;
use super::postgres::Postgres;
use super::sqlite::Sqlite;
use crate::Error;

pub(super) enum Database {
    Sqlite(Sqlite),
    Postgres(Box<Postgres>),
}

impl Database {
    /// Reads a URI of Java, of SQLAlchemy, or a plain one. No message shows it: it may hold a
    /// password.
    pub(super) fn of(connection: &SqlConnection) -> Result<Self, Error> {
        let uri = connection.uri.strip_prefix("jdbc:").unwrap_or(&connection.uri);
        let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
        // SQLAlchemy's `postgresql+psycopg2`.
        match scheme.split('+').next().unwrap_or_default() {
            "sqlite" => Sqlite::of_uri(rest).map(Self::Sqlite),
            "postgresql" | "postgres" => {
                Postgres::of_uri(rest, connection).map(|found| Self::Postgres(Box::new(found)))
            }
            other => Err(Error::Invalid(format!(
                "'uri' of an SQL catalog begins with '{other}:', which is not supported; use \
                 sqlite:///path/of/catalog.db or postgresql://host:5432/database"
            ))),
        }
    }

    /// Runs a statement and returns how many rows it changed.
    pub(super) async fn execute(&self, sql: &str, parameters: Vec<String>) -> Result<u64, Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.execute(sql, parameters).await,
            Self::Postgres(postgres) => postgres.execute(sql, parameters).await,
        }
    }

    /// The rows of a query: so many columns, none of them null.
    pub(super) async fn query(
        &self,
        sql: &str,
        parameters: Vec<String>,
        columns: usize,
    ) -> Result<Vec<Vec<String>>, Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.query(sql, parameters, columns).await,
            Self::Postgres(postgres) => postgres.query(sql, parameters, columns).await,
        }
    }
}
