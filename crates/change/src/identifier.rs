//! Names of MySQL tables, and of tables on one of several servers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A table of a MySQL server. Prints as `database.table`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableId {
    /// MySQL's database (schema).
    pub database: String,
    /// The table's name in it.
    pub table: String,
}

impl TableId {
    /// Names a table.
    pub fn new(database: impl Into<String>, table: impl Into<String>) -> Self {
        Self { database: database.into(), table: table.into() }
    }
}

impl fmt::Display for TableId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

/// One shard: a table on one server. Prints as `host:port/database.table`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId {
    /// The server as the user wrote it, with its port.
    pub server: String,
    /// The table on it.
    pub table: TableId,
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.server, self.table)
    }
}
