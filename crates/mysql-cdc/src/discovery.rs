//! Which tables match, and what columns they have, by information_schema.

use std::collections::BTreeMap;
use std::sync::Arc;

use shardlake_change::TableId;

use crate::chunk::{quote_name, quote_text};
use crate::connection::{Connection, TextRow};
use crate::ddl::{Layout, charset_of_collation};
use crate::error::{Error, Result};
use crate::matching::TableMatcher;

/// A column of a table as the server defines it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ServerColumn {
    /// Its name.
    pub(crate) name: String,
    /// Its type's name, such as `varchar`.
    pub(crate) data_type: String,
    /// Its type in full, such as `enum('a','b')` or `int unsigned`.
    pub(crate) column_type: String,
    /// The character set of a text column.
    pub(crate) charset: Option<String>,
}

/// A table that the source reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerTable {
    /// Its name.
    pub(crate) id: Arc<TableId>,
    /// All its columns in the order of the binlog's row images.
    pub(crate) columns: Vec<ServerColumn>,
    /// The names of the primary key's columns.
    pub(crate) primary_key: Vec<String>,
    /// The character set of text columns that are defined without one.
    pub(crate) charset: Option<String>,
    /// The server's estimate of its rows.
    pub(crate) row_estimate: u64,
}

impl ServerTable {
    /// Its columns, as the reader of the binlog follows them.
    pub(crate) fn layout(&self) -> Layout {
        Layout { columns: self.columns.clone(), charset: self.charset.clone() }
    }

    /// The name as SQL.
    pub(crate) fn quoted(&self) -> String {
        format!("{}.{}", quote_name(&self.id.database), quote_name(&self.id.table))
    }
}

/// Finds all tables that match, in the order of their names.
pub(crate) fn matching_tables(
    connection: &mut Connection,
    matcher: &TableMatcher,
) -> Result<Vec<ServerTable>> {
    let mut tables = Vec::new();
    for database in databases(connection, matcher)? {
        let names = tables_of(connection, matcher, &database)?;
        if !names.is_empty() {
            tables.extend(describe(connection, &database, &names)?);
        }
    }
    if tables.is_empty() {
        return Err(Error::job(format!(
            "No matched tables found. Please verify:\n1) The configured database(s) [{}] and \
             table(s) [{}] exist;\n2) The MySQL user has sufficient permissions to access them on \
             server {}.",
            matcher.database_text(),
            matcher.table_text(),
            connection.server()
        )));
    }
    Ok(tables)
}

/// The names of all tables that match; there may be none.
pub(crate) fn matching_names(
    connection: &mut Connection,
    matcher: &TableMatcher,
) -> Result<Vec<TableId>> {
    let mut names = Vec::new();
    for database in databases(connection, matcher)? {
        let tables = tables_of(connection, matcher, &database)?;
        names.extend(tables.into_iter().map(|(table, _)| TableId::new(&database, table)));
    }
    Ok(names)
}

/// What one table looks like now, or `None` if it does not exist.
pub(crate) fn table(connection: &mut Connection, id: &TableId) -> Result<Option<ServerTable>> {
    let mut found = describe(connection, &id.database, &[(id.table.clone(), 0)])?;
    Ok(found.pop().filter(|table| !table.columns.is_empty()))
}

fn databases(connection: &mut Connection, matcher: &TableMatcher) -> Result<Vec<String>> {
    let sql = "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA ORDER BY SCHEMA_NAME";
    let mut matched = Vec::new();
    for row in connection.query(sql, "listing databases")? {
        let name = row.text(0).to_owned();
        if matcher.matches_database(&name).map_err(|error| Error::job(error.report()))? {
            matched.push(name);
        }
    }
    Ok(matched)
}

fn tables_of(
    connection: &mut Connection,
    matcher: &TableMatcher,
    database: &str,
) -> Result<Vec<(String, u64)>> {
    let sql = format!(
        "SELECT TABLE_NAME, TABLE_ROWS FROM information_schema.TABLES WHERE TABLE_TYPE = \
         'BASE TABLE' AND TABLE_SCHEMA = {} ORDER BY TABLE_NAME",
        quote_text(database)
    );
    let mut matched = Vec::new();
    for row in connection.query(&sql, "listing tables")? {
        let id = TableId::new(database, row.text(0));
        if matcher.matches(&id).map_err(|error| Error::job(error.report()))? {
            matched.push((id.table, row.text(1).parse().unwrap_or(0)));
        }
    }
    Ok(matched)
}

fn describe(
    connection: &mut Connection,
    database: &str,
    tables: &[(String, u64)],
) -> Result<Vec<ServerTable>> {
    let condition = match tables {
        [(table, _)] => {
            format!(
                "TABLE_SCHEMA = {} AND TABLE_NAME = {}",
                quote_text(database),
                quote_text(table)
            )
        }
        _ => format!("TABLE_SCHEMA = {}", quote_text(database)),
    };
    let columns = connection.query(
        &format!(
            "SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME FROM \
             information_schema.COLUMNS WHERE {condition} ORDER BY TABLE_NAME, ORDINAL_POSITION"
        ),
        "reading the columns of tables",
    )?;
    let keys = connection.query(
        &format!(
            "SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.STATISTICS WHERE {condition} \
             AND INDEX_NAME = 'PRIMARY' ORDER BY TABLE_NAME, SEQ_IN_INDEX"
        ),
        "reading the primary keys of tables",
    )?;
    let charsets = connection.query(
        &format!(
            "SELECT TABLE_NAME, TABLE_COLLATION FROM information_schema.TABLES WHERE {condition}"
        ),
        "reading the character sets of tables",
    )?;
    let mut charsets = by_table(charsets, |row| row.get(1).map(charset_of_collation));
    let mut columns = by_table(columns, |row| ServerColumn {
        name: row.text(1).to_owned(),
        data_type: row.text(2).to_ascii_lowercase(),
        column_type: row.text(3).to_owned(),
        charset: row.get(4).map(str::to_owned),
    });
    let mut keys = by_table(keys, |row| row.text(1).to_owned());
    let described = tables.iter().map(|(name, row_estimate)| ServerTable {
        id: Arc::new(TableId::new(database, name)),
        columns: columns.remove(name).unwrap_or_default(),
        primary_key: keys.remove(name).unwrap_or_default(),
        charset: charsets.remove(name).and_then(|mut charset| charset.pop()).flatten(),
        row_estimate: *row_estimate,
    });
    Ok(described.collect())
}

fn by_table<T>(rows: Vec<TextRow>, read: impl Fn(&TextRow) -> T) -> BTreeMap<String, Vec<T>> {
    let mut by_table: BTreeMap<String, Vec<T>> = BTreeMap::new();
    for row in rows {
        by_table.entry(row.text(0).to_owned()).or_default().push(read(&row));
    }
    by_table
}

/// Warns of declared columns that no table has: they read as NULL.
pub(crate) fn warn_of_unknown_columns<'a>(
    server: &str,
    declared: impl IntoIterator<Item = &'a str>,
    tables: &[Arc<ServerTable>],
) {
    for name in declared {
        let known =
            tables.iter().any(|table| table.columns.iter().any(|column| column.name == name));
        if !known {
            tracing::warn!(server, column = name, "no table has this column, it reads as NULL");
        }
    }
}
