//! Which tables a statement of the binlog touches, as far as a reader must know.
//!
//! Rows come as row events, so only three things matter about a statement's text: whether it ends or
//! begins a transaction, whether it changes tables, and whether it is a change of rows that was logged
//! as a statement. The text is read token by token; a statement that is not understood is [`Statement::Other`].

use shardlake_change::TableId;

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
    /// Tables changed or vanished.
    Tables {
        /// What happened.
        change: TableChange,
        /// To which tables.
        tables: Vec<TableId>,
    },
    /// A whole database vanished.
    DropDatabase(String),
    /// `INSERT`, `UPDATE`, `DELETE`, `REPLACE` or `LOAD DATA` logged as a statement, on this table if it
    /// could be found.
    RowChange(Option<TableId>),
    /// Anything else.
    Other,
}

/// What happened to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TableChange {
    /// Made, altered or renamed: its columns must be looked up again.
    Columns,
    /// All rows vanished without row events.
    Truncated,
    /// The table vanished.
    Dropped,
}

/// Reads a statement that ran with this default database.
pub(crate) fn read_statement(sql: &str, database: &str) -> Statement {
    let mut tokens = Tokens { rest: sql };
    let Some(first) = tokens.word() else { return Statement::Other };
    let tables_of = |change, tables: Vec<TableId>| {
        if tables.is_empty() { Statement::Other } else { Statement::Tables { change, tables } }
    };
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
            tables_of(TableChange::Truncated, tokens.tables(database))
        }
        "DROP" => read_drop(&mut tokens, database),
        "ALTER" | "CREATE" => {
            if !tokens.skip_to_table_keyword() {
                return Statement::Other;
            }
            tokens.skip_words(&["IF", "NOT", "EXISTS"]);
            let mut tables: Vec<TableId> = tokens.table(database).into_iter().collect();
            tables.extend(tokens.rename_target(database));
            tables_of(TableChange::Columns, tables)
        }
        "RENAME" => {
            if !tokens.skip_word("TABLE") && !tokens.skip_word("TABLES") {
                return Statement::Other;
            }
            tables_of(TableChange::Columns, tokens.renamed_tables(database))
        }
        "INSERT" | "REPLACE" | "UPDATE" | "DELETE" | "LOAD" => {
            Statement::RowChange(tokens.changed_table(database))
        }
        _ => Statement::Other,
    }
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
    tokens.skip_word("TEMPORARY");
    if tokens.skip_word("DATABASE") || tokens.skip_word("SCHEMA") {
        tokens.skip_words(&["IF", "EXISTS"]);
        return tokens.name().map_or(Statement::Other, Statement::DropDatabase);
    }
    if !tokens.skip_word("TABLE") && !tokens.skip_word("TABLES") {
        return Statement::Other;
    }
    tokens.skip_words(&["IF", "EXISTS"]);
    let tables = tokens.tables(database);
    if tables.is_empty() {
        return Statement::Other;
    }
    Statement::Tables { change: TableChange::Dropped, tables }
}

/// The unread rest of a statement.
struct Tokens<'a> {
    rest: &'a str,
}

impl Tokens<'_> {
    /// Skips blanks and comments; the content of `/*!40000 … */` is part of the statement.
    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest.trim_start();
            self.rest = rest;
            if let Some(comment) = rest.strip_prefix("/*!") {
                self.rest = comment.trim_start_matches(|c: char| c.is_ascii_digit());
            } else if let Some(after) = rest.strip_prefix("*/") {
                self.rest = after;
            } else if let Some(comment) = rest.strip_prefix("/*") {
                self.rest = comment.split_once("*/").map_or("", |(_, after)| after);
            } else if rest.starts_with("-- ") || rest.starts_with('#') {
                self.rest = rest.split_once('\n').map_or("", |(_, after)| after);
            } else {
                return;
            }
        }
    }

    /// The next keyword or bare name in upper case, if one is next.
    fn word(&mut self) -> Option<String> {
        self.skip_blanks();
        let end = self
            .rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end)?;
        if word.is_empty() {
            return None;
        }
        self.rest = rest;
        Some(word.to_uppercase())
    }

    /// Skips the keyword if it is next.
    fn skip_word(&mut self, keyword: &str) -> bool {
        let before = self.rest;
        if self.word().is_some_and(|word| word == keyword) {
            return true;
        }
        self.rest = before;
        false
    }

    fn skip_words(&mut self, keywords: &[&str]) {
        for keyword in keywords {
            self.skip_word(keyword);
        }
    }

    fn skip_char(&mut self, expected: char) -> bool {
        self.skip_blanks();
        match self.rest.strip_prefix(expected) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Skips to behind the keyword TABLE, over words such as TEMPORARY only.
    fn skip_to_table_keyword(&mut self) -> bool {
        self.skip_words(&["OR", "REPLACE", "ONLINE", "OFFLINE", "IGNORE", "TEMPORARY"]);
        self.skip_word("TABLE")
    }

    /// A name, bare or quoted.
    fn name(&mut self) -> Option<String> {
        self.skip_blanks();
        for quote in ['`', '"'] {
            let Some(mut rest) = self.rest.strip_prefix(quote) else { continue };
            let mut name = String::new();
            loop {
                let (part, after) = rest.split_once(quote)?;
                name.push_str(part);
                match after.strip_prefix(quote) {
                    Some(more) => {
                        name.push(quote);
                        rest = more;
                    }
                    None => {
                        self.rest = after;
                        return Some(name);
                    }
                }
            }
        }
        let end = self
            .rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
            .unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        (!name.is_empty()).then(|| name.to_owned())
    }

    fn table(&mut self, database: &str) -> Option<TableId> {
        let first = self.name()?;
        if self.rest.trim_start().starts_with('.') {
            self.skip_char('.');
            return Some(TableId::new(first, self.name()?));
        }
        Some(TableId::new(database, first))
    }

    /// Names separated by commas.
    fn tables(&mut self, database: &str) -> Vec<TableId> {
        let mut tables = Vec::new();
        while let Some(table) = self.table(database) {
            tables.push(table);
            if !self.skip_char(',') {
                break;
            }
        }
        tables
    }

    /// Both names of each pair of `a TO b, c TO d`.
    fn renamed_tables(&mut self, database: &str) -> Vec<TableId> {
        let mut tables = Vec::new();
        while let Some(table) = self.table(database) {
            tables.push(table);
            if self.skip_word("TO") || self.skip_word("AS") || self.skip_char(',') {
                continue;
            }
            break;
        }
        tables
    }

    /// The new name of `ALTER TABLE … RENAME [TO|AS] name`, which need not be the first action.
    fn rename_target(&mut self, database: &str) -> Option<TableId> {
        loop {
            self.skip_blanks();
            let c = self.rest.chars().next()?;
            if c == '\'' {
                let rest = self.rest.get(1..)?;
                self.rest = rest.split_once('\'').map_or("", |(_, after)| after);
            } else if c == '`' || c == '"' {
                self.name()?;
            } else if c.is_alphanumeric() || c == '_' || c == '$' {
                if self.word()? != "RENAME" {
                    continue;
                }
                let before = self.rest;
                if matches!(self.word().as_deref(), Some("COLUMN" | "INDEX" | "KEY")) {
                    continue;
                }
                self.rest = before;
                self.skip_words(&["TO", "AS"]);
                return self.table(database);
            } else {
                self.rest = self.rest.get(c.len_utf8()..)?;
            }
        }
    }

    /// The table of a statement that changes rows, after its verb.
    fn changed_table(&mut self, database: &str) -> Option<TableId> {
        const MODIFIERS: [&str; 14] = [
            "LOW_PRIORITY",
            "DELAYED",
            "HIGH_PRIORITY",
            "QUICK",
            "IGNORE",
            "INTO",
            "FROM",
            "DATA",
            "LOCAL",
            "CONCURRENT",
            "XML",
            "INFILE",
            "TABLE",
            "REPLACE",
        ];
        loop {
            if self.skip_char('\'') {
                let rest = self.rest;
                self.rest = rest.split_once('\'').map_or("", |(_, after)| after);
                continue;
            }
            if !MODIFIERS.iter().any(|modifier| self.skip_word(modifier)) {
                return self.table(database);
            }
        }
    }

    /// What identifies an XA transaction, without blanks and with the parts that may be left out.
    fn xa_identifier(&mut self) -> String {
        self.skip_blanks();
        let text = self.rest.trim_end_matches(';').trim();
        let text = text.strip_suffix("ONE PHASE").unwrap_or(text);
        text.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(sql: &str) -> String {
        match read_statement(sql, "db") {
            Statement::Tables { change, tables } => {
                let names: Vec<String> = tables.iter().map(ToString::to_string).collect();
                format!("{change:?} {}", names.join(" "))
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
            ("TRUNCATE TABLE t", "Truncated db.t"),
            ("truncate `a b`.`c``d`", "Truncated a b.c`d"),
            ("DROP TABLE IF EXISTS `a`,`x`.`b` /* generated by server */", "Dropped db.a x.b"),
            ("DROP DATABASE IF EXISTS `shop`", "DropDatabase(\"shop\")"),
            ("DROP INDEX i ON t", "Other"),
            ("CREATE TABLE IF NOT EXISTS t (id INT)", "Columns db.t"),
            ("CREATE DATABASE x", "Other"),
            ("/* c */ ALTER TABLE t ADD COLUMN rename_me INT", "Columns db.t"),
            ("ALTER TABLE t ADD c INT, RENAME TO x.u", "Columns db.t x.u"),
            ("ALTER TABLE t RENAME COLUMN a TO b", "Columns db.t"),
            ("ALTER TABLE t COMMENT 'rename to z'", "Columns db.t"),
            ("RENAME TABLE a TO b, x.c TO d", "Columns db.a db.b x.c db.d"),
            ("/*!40000 ALTER TABLE t DISABLE KEYS */", "Columns db.t"),
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
