//! The columns of all tables at the place of the binlog that has been reached.
//!
//! With `binlog_row_metadata=MINIMAL` row events name no columns, so what stands in a row image is known
//! only by the statements that made and altered the table. The columns are read once, at a place where
//! they are certain, then follow the statements of the binlog, and are stored with the position: a job that
//! starts again over statements that it has not read yet still knows the columns of before.
//!
//! Invariant: the columns of a table are those at the reader's place, or `None`; never those of another
//! moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use shardlake_change::TableId;

use crate::ddl::{Created, Layout, TableChange, TableStatement};
use crate::discovery::{ServerColumn, ServerTable};
use crate::error::{Error, Result};

/// How hard stored columns are compressed.
const LEVEL: i32 = 3;
/// Stored columns that unfold to more than this are no columns.
const STORED_BYTES_MAX: usize = 1 << 28;

/// The columns of tables, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layouts {
    tables: BTreeMap<TableId, Option<Arc<Layout>>>,
}

/// The stored form, before compression.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    layouts: Vec<StoredLayout>,
    /// By database and table: the number of its layout, or null if its columns are not known.
    tables: BTreeMap<String, BTreeMap<String, Option<usize>>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredLayout {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    charset: Option<String>,
    /// Name, type and, for text, character set.
    columns: Vec<(String, String, Option<String>)>,
}

impl Layouts {
    /// The columns that have just been read.
    pub(crate) fn of_tables(tables: &[Arc<ServerTable>]) -> Self {
        let mut layouts = Self::default();
        // Shards that are alike share their columns.
        let mut known: BTreeMap<Layout, Arc<Layout>> = BTreeMap::new();
        for table in tables {
            let layout = table.layout();
            let shared = known.entry(layout).or_insert_with_key(|layout| Arc::new(layout.clone()));
            layouts.tables.insert(TableId::clone(&table.id), Some(Arc::clone(shared)));
        }
        layouts
    }

    /// The columns of a table, if they are known.
    pub(crate) fn get(&self, table: &TableId) -> Option<&Arc<Layout>> {
        self.tables.get(table)?.as_ref()
    }

    /// Whether the table is known to exist.
    pub(crate) fn contains(&self, table: &TableId) -> bool {
        self.tables.contains_key(table)
    }

    /// The tables that are known to exist.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (&TableId, Option<&Arc<Layout>>)> {
        self.tables.iter().map(|(table, layout)| (table, layout.as_ref()))
    }

    /// The columns of a table have been found out.
    pub(crate) fn learn(&mut self, table: TableId, layout: Layout) -> Arc<Layout> {
        let shared = self.tables.values().flatten().find(|known| ***known == layout);
        let shared = shared.cloned().unwrap_or_else(|| Arc::new(layout));
        self.tables.insert(table, Some(Arc::clone(&shared)));
        shared
    }

    /// Follows a statement. Tables for which `follows` is false are left out.
    pub(crate) fn apply(
        &mut self,
        statement: &TableStatement,
        follows: impl Fn(&TableId) -> Result<bool>,
    ) -> Result<()> {
        let table = &statement.table;
        match &statement.change {
            TableChange::Created { unless_exists: true, .. } if self.contains(table) => {}
            TableChange::Created { columns, .. } => {
                let layout = match columns {
                    Created::Listed(layout) => Some(Arc::new(layout.clone())),
                    Created::Like(other) => self.get(other).cloned(),
                    Created::Untold => None,
                };
                if follows(table)? {
                    self.tables.insert(table.clone(), layout);
                }
            }
            TableChange::Altered(changes) => {
                if let Some(layout) = self.tables.get_mut(table) {
                    let altered = layout.as_ref().zip(changes.as_ref());
                    let altered = altered.and_then(|(layout, changes)| layout.altered(changes));
                    *layout = altered.map(Arc::new);
                }
            }
            TableChange::Renamed(to) => {
                let layout = self.tables.remove(table).flatten();
                if follows(to)? {
                    self.tables.insert(to.clone(), layout);
                }
            }
            TableChange::Truncated => {}
            TableChange::Dropped => {
                self.tables.remove(table);
            }
        }
        Ok(())
    }

    /// All tables of a database have vanished.
    pub(crate) fn drop_database(&mut self, database: &str) {
        self.tables.retain(|table, _| table.database != database);
    }

    /// The stored form.
    pub(crate) fn encode(&self) -> Result<String> {
        let mut numbers: BTreeMap<&Layout, usize> = BTreeMap::new();
        let mut stored = Stored { layouts: Vec::new(), tables: BTreeMap::new() };
        for (table, layout) in &self.tables {
            let number = layout.as_ref().map(|layout| {
                *numbers.entry(layout).or_insert_with(|| {
                    stored.layouts.push(store(layout));
                    stored.layouts.len() - 1
                })
            });
            let tables = stored.tables.entry(table.database.clone()).or_default();
            tables.insert(table.table.clone(), number);
        }
        let failed = |error: String| Error::Bug(format!("columns cannot be stored: {error}"));
        let json = serde_json::to_vec(&stored).map_err(|error| failed(error.to_string()))?;
        let packed =
            zstd::bulk::compress(&json, LEVEL).map_err(|error| failed(error.to_string()))?;
        Ok(STANDARD.encode(packed))
    }

    /// Reads the stored form.
    pub(crate) fn decode(text: &str) -> std::result::Result<Self, String> {
        let packed = STANDARD.decode(text).map_err(|error| error.to_string())?;
        let json = zstd::bulk::decompress(&packed, STORED_BYTES_MAX);
        let json = json.map_err(|error| error.to_string())?;
        let stored: Stored = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        let layouts: Vec<Arc<Layout>> =
            stored.layouts.into_iter().map(|layout| Arc::new(restore(layout))).collect();
        let mut tables = BTreeMap::new();
        for (database, of_database) in stored.tables {
            for (name, number) in of_database {
                let layout = match number {
                    None => None,
                    Some(number) => {
                        Some(layouts.get(number).cloned().ok_or("a layout is missing")?)
                    }
                };
                tables.insert(TableId::new(database.clone(), name), layout);
            }
        }
        Ok(Self { tables })
    }
}

fn store(layout: &Layout) -> StoredLayout {
    let column = |column: &ServerColumn| {
        (column.name.clone(), column.column_type.clone(), column.charset.clone())
    };
    StoredLayout {
        charset: layout.charset.clone(),
        columns: layout.columns.iter().map(column).collect(),
    }
}

fn restore(stored: StoredLayout) -> Layout {
    let column = |(name, column_type, charset): (String, String, Option<String>)| {
        let end = column_type.find(|c: char| !c.is_ascii_alphanumeric());
        let word = column_type.split_at_checked(end.unwrap_or(column_type.len()));
        let data_type = word.map_or_else(String::new, |(word, _)| word.to_ascii_lowercase());
        ServerColumn { name, data_type, column_type, charset }
    };
    Layout { charset: stored.charset, columns: stored.columns.into_iter().map(column).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ddl::{Statement, read_statement};

    fn follow(layouts: &mut Layouts, sql: &str) {
        match read_statement(sql, "d") {
            Statement::Tables(statements) => {
                for statement in &statements {
                    layouts.apply(statement, |table| Ok(table.table != "out")).unwrap();
                }
            }
            Statement::DropDatabase(database) => layouts.drop_database(&database),
            other => panic!("{other:?}"),
        }
    }

    fn text(layouts: &Layouts) -> String {
        let tables = layouts.tables().map(|(table, layout)| {
            let columns = layout.map_or("?".to_owned(), |layout| {
                let names: Vec<&str> = layout.columns.iter().map(|c| c.name.as_str()).collect();
                names.join(",")
            });
            format!("{}({columns})", table.table)
        });
        tables.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn columns_follow_the_statements() {
        let mut layouts = Layouts::default();
        for (sql, expected) in [
            ("CREATE TABLE a (x INT, y TEXT)", "a(x,y)"),
            ("CREATE TABLE IF NOT EXISTS a (z INT)", "a(x,y)"),
            ("CREATE TABLE _a_gho LIKE a", "_a_gho(x,y) a(x,y)"),
            ("ALTER TABLE _a_gho ADD z INT FIRST", "_a_gho(z,x,y) a(x,y)"),
            ("RENAME TABLE a TO _a_del, _a_gho TO a", "_a_del(x,y) a(z,x,y)"),
            ("DROP TABLE _a_del", "a(z,x,y)"),
            ("ALTER TABLE a ORDER BY x", "a(?)"),
            ("ALTER TABLE a ADD b INT", "a(?)"),
            ("CREATE TABLE b LIKE a", "a(?) b(?)"),
            ("DROP TABLE a, b", ""),
            ("CREATE TABLE a (x INT)", "a(x)"),
            ("ALTER TABLE a ADD y INT, RENAME TO c", "c(x,y)"),
            ("TRUNCATE c", "c(x,y)"),
            ("CREATE TABLE out (x INT)", "c(x,y)"),
            ("RENAME TABLE out TO b", "b(?) c(x,y)"),
            ("RENAME TABLE c TO out", "b(?)"),
            ("DROP DATABASE d", ""),
        ] {
            follow(&mut layouts, sql);
            assert_eq!(text(&layouts), expected, "{sql}");
        }
    }

    #[test]
    fn a_thousand_shards_are_stored_in_few_bytes() {
        let mut layouts = Layouts::default();
        for number in 0..1_024 {
            follow(
                &mut layouts,
                &format!(
                    "CREATE TABLE t_{number} (id INT, n ENUM('a','b'), v VARCHAR(9) CHARSET gbk)"
                ),
            );
        }
        follow(&mut layouts, "CREATE TABLE other (a INT)");
        follow(&mut layouts, "ALTER TABLE t_5 ORDER BY id");
        let text = layouts.encode().unwrap();
        assert!(text.len() < 6_000, "{}", text.len());
        assert_eq!(Layouts::decode(&text).unwrap(), layouts);
        for damaged in ["", "AAAA", "not base64!", text.get(..text.len() / 2).unwrap()] {
            Layouts::decode(damaged).unwrap_err();
        }
    }
}
