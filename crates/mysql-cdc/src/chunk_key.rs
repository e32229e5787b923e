//! Which column a table is cut into chunks by: the first one of its primary key, or one that the user names.
//!
//! `scan.incremental.snapshot.chunk.key-column` is a column's name, for all tables, or a list such as
//! `db1.orders:customer;db[0-9]+.log_\.*:at`, as Flink CDC's pipelines write it: for each entry a regular expression
//! for databases, a dot, one for tables (in which `\.` is the dot of a regular expression), and the column.

use shardlake_change::TableId;
use shardlake_connector::Error as ConnectorError;

use crate::chunk::KeyKind;
use crate::discovery::ServerTable;
use crate::error::{Error, Result};
use crate::matching::TableMatcher;

/// The option's name.
pub(crate) const OPTION: &str = "scan.incremental.snapshot.chunk.key-column";

/// The column that a table is cut by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkKey<'a> {
    /// Its name.
    pub(crate) column: &'a str,
    /// How its values are written.
    pub(crate) kind: KeyKind,
    /// Whether the primary key begins with it: it is never NULL, and the table is sorted by it.
    pub(crate) leads_primary: bool,
}

/// The columns that the user named.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChunkKeys {
    /// For all tables.
    every: Option<String>,
    /// For tables that match.
    some: Vec<(TableMatcher, String)>,
}

impl ChunkKeys {
    /// Reads the option.
    pub(crate) fn parse(text: &str) -> std::result::Result<Self, ConnectorError> {
        let text = text.trim();
        if !text.contains(':') {
            let every = Some(text.to_owned()).filter(|column| !column.is_empty());
            return Ok(Self { every, some: Vec::new() });
        }
        let mut some = Vec::new();
        for entry in text.split(';').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (tables, column) = entry.rsplit_once(':').ok_or_else(|| invalid(entry))?;
            let (database, table) = split_at_dot(tables).ok_or_else(|| invalid(entry))?;
            let matcher = TableMatcher::new(&database, &table)?;
            some.push((matcher, column.trim().to_owned()));
        }
        Ok(Self { every: None, some })
    }

    /// The column that a table is cut by.
    pub(crate) fn of<'a>(&'a self, table: &'a ServerTable) -> Result<ChunkKey<'a>> {
        let first = table.primary_key.first().map(String::as_str);
        let column = match self.named(&table.id)? {
            Some(column) => column,
            None => first.ok_or_else(|| no_key(&table.id))?,
        };
        let found = table.columns.iter().find(|known| known.name == column);
        let kind = found.map(|column| KeyKind::of(&column.data_type)).ok_or_else(|| {
            Error::job(format!(
                "'{OPTION}' names the column {column}, which table {} does not have: name one of its \
                 columns, or give a list such as 'db.table:column;db.other:column'",
                table.id
            ))
        })?;
        Ok(ChunkKey { column, kind, leads_primary: first == Some(column) })
    }

    fn named(&self, table: &TableId) -> Result<Option<&str>> {
        for (matcher, column) in &self.some {
            if matcher.matches(table).map_err(|error| Error::job(error.report()))? {
                return Ok(Some(column));
            }
        }
        Ok(self.every.as_deref())
    }
}

/// The expressions for databases and tables: the first dot without a backslash parts them.
fn split_at_dot(text: &str) -> Option<(String, String)> {
    let dots = text.match_indices('.').map(|(at, _)| at);
    let mut parting =
        dots.filter(|at| text.get(..*at).is_some_and(|before| !before.ends_with('\\')));
    let at = parting.next()?;
    let (database, table) = (text.get(..at)?, text.get(at + 1..)?);
    let plain = |text: &str| text.trim().replace("\\.", ".");
    Some((plain(database), plain(table)))
}

fn invalid(entry: &str) -> ConnectorError {
    ConnectorError::job(format!(
        "The value of option '{OPTION}' is invalid: '{entry}' names no table and column, write for example \
         'db.orders:customer;db.log_\\.*:at'"
    ))
}

fn no_key(table: &TableId) -> Error {
    Error::job(format!(
        "'{OPTION}' is required for table without primary key when 'scan.incremental.snapshot.enabled' \
         enabled. Table {table} has no primary key: name a column of it, give it a primary key, or exclude it in \
         'table-name', for example with (?!{}$).*",
        table.table
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::discovery::ServerColumn;

    fn key(option: &str, table: &str, primary_key: &[&str]) -> String {
        let column = |name: &str, data_type: &str| ServerColumn {
            name: name.to_owned(),
            data_type: data_type.to_owned(),
            column_type: data_type.to_owned(),
            charset: None,
        };
        let table = ServerTable {
            id: Arc::new(TableId::new("db1", table)),
            columns: vec![column("id", "int"), column("at", "datetime")],
            primary_key: primary_key.iter().map(|name| (*name).to_owned()).collect(),
            charset: None,
            row_estimate: 0,
        };
        let keys = match ChunkKeys::parse(option) {
            Ok(keys) => keys,
            Err(error) => return error.report(),
        };
        match keys.of(&table) {
            Ok(key) => format!("{} {:?} {}", key.column, key.kind, key.leads_primary),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_first_column_of_the_primary_key_is_taken_unless_one_is_named() {
        assert_eq!(key("", "t", &["id"]), "id Number true");
        assert_eq!(key("at", "t", &["id"]), "at Temporal false");
        assert_eq!(key("at", "t", &[]), "at Temporal false");
        let list = "other.t:id; db[0-9]+.log_\\.*:at";
        assert_eq!(key(list, "log_1", &["id"]), "at Temporal false");
        assert_eq!(key(list, "t", &["id"]), "id Number true");
    }

    #[test]
    fn mistakes_are_named() {
        insta::assert_snapshot!(key("", "t", &[]), @"'scan.incremental.snapshot.chunk.key-column' is required for table without primary key when 'scan.incremental.snapshot.enabled' enabled. Table db1.t has no primary key: name a column of it, give it a primary key, or exclude it in 'table-name', for example with (?!t$).*");
        insta::assert_snapshot!(key("nope", "t", &[]), @"'scan.incremental.snapshot.chunk.key-column' names the column nope, which table db1.t does not have: name one of its columns, or give a list such as 'db.table:column;db.other:column'");
        insta::assert_snapshot!(key("t:at", "t", &[]), @r"The value of option 'scan.incremental.snapshot.chunk.key-column' is invalid: 't:at' names no table and column, write for example 'db.orders:customer;db.log_\.*:at'");
    }
}
