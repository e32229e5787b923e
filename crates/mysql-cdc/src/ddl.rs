//! Which tables a statement of the binlog touches, and what becomes of their columns.
//!
//! Rows come as row events, so only three things matter about a statement's text: whether it ends or
//! begins a transaction, whether it changes tables, and whether it is a change of rows that was logged
//! as a statement. The text is read token by token; a statement that is not understood is [`Statement::Other`].

mod columns;
mod tokens;

use shardlake_change::TableId;

pub(crate) use columns::{ColumnChange, Layout, charset_of_collation};
use tokens::Tokens;

/// What a QUERY event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Statement {
    /// `BEGIN` or `XA START`.
    Begin,
    /// `COMMIT`.
    Commit,
    /// `ROLLBACK`.
    Rollback,
    /// `XA COMMIT` of this transaction, its identifier as written.
    XaCommit(String),
    /// `XA ROLLBACK` of this transaction.
    XaRollback(String),
    /// `SAVEPOINT`, `XA END` and the like: nothing to do.
    Ignored,
    /// Tables changed or vanished, one after the other.
    Tables(Vec<TableStatement>),
    /// A whole database vanished.
    DropDatabase(String),
    /// `INSERT`, `UPDATE`, `DELETE`, `REPLACE` or `LOAD DATA` logged as a statement, on this table if it
    /// could be found.
    RowChange(Option<TableId>),
    /// Anything else.
    Other,
}

/// What happened to one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TableStatement {
    /// The table, by its name of before.
    pub(crate) table: TableId,
    /// What happened.
    pub(crate) change: TableChange,
}

/// What happened to a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TableChange {
    /// It was made.
    Created {
        /// Its columns.
        columns: Created,
        /// Nothing happened if it existed.
        unless_exists: bool,
    },
    /// Its columns changed so; `None` if that cannot be told.
    Altered(Option<Vec<ColumnChange>>),
    /// It has this name now.
    Renamed(TableId),
    /// All rows vanished without row events.
    Truncated,
    /// It vanished.
    Dropped,
}

/// The columns of a new table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Created {
    /// The statement lists them.
    Listed(Layout),
    /// As those of this table.
    Like(TableId),
    /// The statement does not tell.
    Untold,
}

impl TableStatement {
    /// Writes all names of tables in lower case, as a server does that is told to.
    pub(crate) fn lower_case(&mut self) {
        let lower = |table: &mut TableId| {
            *table = TableId::new(table.database.to_lowercase(), table.table.to_lowercase());
        };
        lower(&mut self.table);
        match &mut self.change {
            TableChange::Renamed(other)
            | TableChange::Created { columns: Created::Like(other), .. } => lower(other),
            TableChange::Created { .. }
            | TableChange::Altered(_)
            | TableChange::Truncated
            | TableChange::Dropped => {}
        }
    }

    /// The names that mean another table afterwards, or a changed one.
    pub(crate) fn names(&self) -> impl Iterator<Item = &TableId> {
        let new = match &self.change {
            TableChange::Renamed(to) => Some(to),
            TableChange::Created { .. }
            | TableChange::Altered(_)
            | TableChange::Truncated
            | TableChange::Dropped => None,
        };
        std::iter::once(&self.table).chain(new)
    }
}

/// Reads a statement that ran with this default database.
pub(crate) fn read_statement(sql: &str, database: &str) -> Statement {
    let mut tokens = Tokens::new(sql);
    let Some(first) = tokens.word() else { return Statement::Other };
    match first.as_str() {
        "BEGIN" => Statement::Begin,
        "START" => Statement::Begin,
        "COMMIT" => Statement::Commit,
        "ROLLBACK" => match tokens.word().as_deref() {
            Some("TO") => Statement::Ignored,
            _ => Statement::Rollback,
        },
        "SAVEPOINT" | "RELEASE" => Statement::Ignored,
        "XA" => read_xa(&mut tokens),
        "TRUNCATE" => {
            tokens.skip_word("TABLE");
            each(&TableChange::Truncated, tokens.tables(database))
        }
        "DROP" => read_drop(&mut tokens, database),
        "CREATE" => read_create(&mut tokens, database),
        "ALTER" => read_alter(&mut tokens, database),
        "RENAME" => {
            if !tokens.skip_word("TABLE") && !tokens.skip_word("TABLES") {
                return Statement::Other;
            }
            tokens.skip_phrase(&["IF", "EXISTS"]);
            let renames = tokens.renames(database).into_iter();
            of_tables(renames.map(|(table, to)| renamed(table, to)).collect())
        }
        "INSERT" | "REPLACE" | "UPDATE" | "DELETE" | "LOAD" => {
            Statement::RowChange(tokens.changed_table(database))
        }
        _ => Statement::Other,
    }
}

fn of_tables(statements: Vec<TableStatement>) -> Statement {
    if statements.is_empty() { Statement::Other } else { Statement::Tables(statements) }
}

/// The same change of several tables.
fn each(change: &TableChange, tables: Vec<TableId>) -> Statement {
    let statement = |table| TableStatement { table, change: change.clone() };
    of_tables(tables.into_iter().map(statement).collect())
}

const fn renamed(table: TableId, to: TableId) -> TableStatement {
    TableStatement { table, change: TableChange::Renamed(to) }
}

fn read_xa(tokens: &mut Tokens<'_>) -> Statement {
    match tokens.word().as_deref() {
        Some("START" | "BEGIN") => Statement::Begin,
        Some("COMMIT") => Statement::XaCommit(tokens.xa_identifier()),
        Some("ROLLBACK") => Statement::XaRollback(tokens.xa_identifier()),
        _ => Statement::Ignored,
    }
}

fn read_drop(tokens: &mut Tokens<'_>, database: &str) -> Statement {
    // A temporary table hides another one of its name, and has no rows in the binlog.
    if tokens.skip_word("TEMPORARY") {
        return Statement::Other;
    }
    if tokens.skip_word("DATABASE") || tokens.skip_word("SCHEMA") {
        tokens.skip_words(&["IF", "EXISTS"]);
        return tokens.name().map_or(Statement::Other, Statement::DropDatabase);
    }
    if !tokens.skip_word("TABLE") && !tokens.skip_word("TABLES") {
        return Statement::Other;
    }
    tokens.skip_words(&["IF", "EXISTS"]);
    each(&TableChange::Dropped, tokens.tables(database))
}

fn read_create(tokens: &mut Tokens<'_>, database: &str) -> Statement {
    tokens.skip_phrase(&["OR", "REPLACE"]);
    if !tokens.skip_word("TABLE") {
        return Statement::Other;
    }
    let unless_exists = tokens.skip_phrase(&["IF", "NOT", "EXISTS"]);
    let Some(table) = tokens.table(database) else { return Statement::Other };
    let like = {
        let mut ahead = tokens.clone();
        ahead.skip_char('(');
        ahead.skip_word("LIKE").then(|| ahead.table(database)).flatten()
    };
    let columns = match like {
        Some(other) => Created::Like(other),
        None => columns::read_created(tokens).map_or(Created::Untold, Created::Listed),
    };
    of_tables(vec![TableStatement {
        table,
        change: TableChange::Created { columns, unless_exists },
    }])
}

fn read_alter(tokens: &mut Tokens<'_>, database: &str) -> Statement {
    tokens.skip_words(&["ONLINE", "OFFLINE", "IGNORE"]);
    if !tokens.skip_word("TABLE") {
        return Statement::Other;
    }
    tokens.skip_phrase(&["IF", "EXISTS"]);
    let Some(table) = tokens.table(database) else { return Statement::Other };
    let mut new_name = None;
    let changes = columns::read_altered(tokens, |tokens| new_name = tokens.table(database));
    let new_name = new_name.map(|to| renamed(table.clone(), to));
    let altered = TableStatement { table, change: TableChange::Altered(changes) };
    of_tables(std::iter::once(altered).chain(new_name).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(sql: &str) -> String {
        match read_statement(sql, "db") {
            Statement::Tables(statements) => {
                let one = |statement: &TableStatement| {
                    let what = match &statement.change {
                        TableChange::Created { columns: Created::Like(like), .. } => {
                            format!("Like {like}")
                        }
                        TableChange::Created { .. } => "Created".to_owned(),
                        TableChange::Altered(_) => "Altered".to_owned(),
                        TableChange::Renamed(to) => format!("Renamed {to}"),
                        other => format!("{other:?}"),
                    };
                    format!("{}: {what}", statement.table)
                };
                statements.iter().map(one).collect::<Vec<_>>().join("; ")
            }
            Statement::RowChange(table) => {
                format!("RowChange {}", table.map_or("?".to_owned(), |table| table.to_string()))
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn statements_are_told_apart() {
        for (sql, expected) in [
            ("BEGIN", "Begin"),
            ("COMMIT", "Commit"),
            ("ROLLBACK", "Rollback"),
            ("ROLLBACK TO `a`", "Ignored"),
            ("SAVEPOINT `a`", "Ignored"),
            ("XA START X'61',X'',1", "Begin"),
            ("XA END X'61',X'',1", "Ignored"),
            ("XA COMMIT X'61',X'',1", "XaCommit(\"x'61',x'',1\")"),
            ("XA ROLLBACK X'61', X'', 1", "XaRollback(\"x'61',x'',1\")"),
            ("TRUNCATE TABLE t", "db.t: Truncated"),
            ("truncate `a b`.`c``d`", "a b.c`d: Truncated"),
            (
                "DROP TABLE IF EXISTS `a`,`x`.`b` /* generated by server */",
                "db.a: Dropped; x.b: Dropped",
            ),
            ("DROP DATABASE IF EXISTS `shop`", "DropDatabase(\"shop\")"),
            ("DROP INDEX i ON t", "Other"),
            ("CREATE TABLE IF NOT EXISTS t (id INT)", "db.t: Created"),
            ("CREATE TABLE t LIKE x.u", "db.t: Like x.u"),
            ("CREATE TABLE t (LIKE `u`)", "db.t: Like db.u"),
            ("CREATE TEMPORARY TABLE t (id INT)", "Other"),
            ("DROP /*!40005 TEMPORARY */ TABLE IF EXISTS `t`", "Other"),
            ("CREATE DATABASE x", "Other"),
            ("/* c */ ALTER TABLE t ADD COLUMN rename_me INT", "db.t: Altered"),
            ("ALTER TABLE t ADD c INT, RENAME TO x.u", "db.t: Altered; db.t: Renamed x.u"),
            ("ALTER TABLE t RENAME COLUMN a TO b", "db.t: Altered"),
            ("ALTER TABLE t RENAME AS u, ORDER BY a, b", "db.t: Altered; db.t: Renamed db.u"),
            ("ALTER TABLE t COMMENT 'rename to z'", "db.t: Altered"),
            ("RENAME TABLE a TO b, x.c TO d", "db.a: Renamed db.b; x.c: Renamed db.d"),
            ("/*!40000 ALTER TABLE t DISABLE KEYS */", "db.t: Altered"),
            ("INSERT IGNORE INTO t VALUES (1)", "RowChange db.t"),
            ("DELETE FROM `x`.t", "RowChange x.t"),
            ("UPDATE LOW_PRIORITY t SET a = 1", "RowChange db.t"),
            ("LOAD DATA INFILE 'x' INTO TABLE t", "RowChange db.t"),
            ("GRANT SELECT ON *.* TO u", "Other"),
            ("", "Other"),
        ] {
            assert_eq!(check(sql), expected, "{sql}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(sql in "(ALTER TABLE |DROP TABLE |RENAME TABLE |XA |)[ -~`'\"/*#é]{0,60}") {
            let _statement = read_statement(&sql, "db");
        }
    }
}
