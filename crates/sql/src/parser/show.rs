//! `SHOW …` and `DESCRIBE …`.

use super::StatementParser;
use crate::diagnostic::Diagnostic;
use crate::statement::{Name, Pattern, Show, Statement};

/// `SHOW` statements of Flink that are refused by name.
const REFUSED: [&str; 5] = ["PARTITIONS", "PROCEDURES", "MODELS", "MATERIALIZED", "CONNECTIONS"];

impl StatementParser<'_> {
    pub(super) fn show(&mut self) -> Result<Statement, Diagnostic> {
        let start = self.next;
        self.expect("SHOW")?;
        if self.accept(&["CREATE"]) {
            return self.show_create(start).map(Statement::Show);
        }
        if self.accept(&["CURRENT", "CATALOG"]) {
            return Ok(Statement::Show(Show::CurrentCatalog));
        }
        if self.accept(&["CURRENT", "DATABASE"]) {
            return Ok(Statement::Show(Show::CurrentDatabase));
        }
        if self.accept(&["SPLITS"]) {
            self.expect("FOR")?;
            self.expect("JOB")?;
            return self.string().map(Statement::ShowSplits);
        }
        for what in REFUSED {
            if self.accept(&[what]) {
                return Err(self.unsupported(&format!("SHOW {what}"), start));
            }
        }
        self.show_list().map(Statement::Show)
    }

    fn show_list(&mut self) -> Result<Show, Diagnostic> {
        if self.accept(&["CATALOGS"]) {
            return self.pattern().map(Show::Catalogs);
        }
        if self.accept(&["DATABASES"]) {
            return Ok(Show::Databases { from: self.from()?, pattern: self.pattern()? });
        }
        if self.accept(&["TABLES"]) {
            return Ok(Show::Tables { from: self.from()?, pattern: self.pattern()? });
        }
        if self.accept(&["VIEWS"]) {
            return Ok(Show::Views { from: self.from()?, pattern: self.pattern()? });
        }
        if self.accept(&["COLUMNS"]) {
            let Some(table) = self.from()? else {
                return Err(self.unexpected("FROM or IN"));
            };
            return Ok(Show::Columns { table, pattern: self.pattern()? });
        }
        if self.accept(&["FUNCTIONS"]) {
            return Ok(Show::Functions { user: false, pattern: self.pattern()? });
        }
        if self.accept(&["USER", "FUNCTIONS"]) {
            return Ok(Show::Functions { user: true, pattern: self.pattern()? });
        }
        if self.accept(&["FULL", "MODULES"]) {
            return Ok(Show::Modules { full: true });
        }
        if self.accept(&["MODULES"]) {
            return Ok(Show::Modules { full: false });
        }
        if self.accept(&["JARS"]) {
            return Ok(Show::Jars);
        }
        if self.accept(&["JOBS"]) {
            return Ok(Show::Jobs);
        }
        Err(self.unexpected(
            "CATALOGS, DATABASES, TABLES, VIEWS, COLUMNS, FUNCTIONS, MODULES, JARS, JOBS, SPLITS, \
             CREATE or CURRENT",
        ))
    }

    fn show_create(&mut self, start: usize) -> Result<Show, Diagnostic> {
        if self.accept(&["TABLE"]) {
            return self.name().map(Show::CreateTable);
        }
        if self.accept(&["VIEW"]) {
            return self.name().map(Show::CreateView);
        }
        if self.accept(&["CATALOG"]) {
            return self.name().map(Show::CreateCatalog);
        }
        for what in ["FUNCTION", "MODEL", "MATERIALIZED"] {
            if self.accept(&[what]) {
                return Err(self.unsupported(&format!("SHOW CREATE {what}"), start));
            }
        }
        Err(self.unexpected("TABLE, VIEW or CATALOG"))
    }

    fn from(&mut self) -> Result<Option<Name>, Diagnostic> {
        if self.accept(&["FROM"]) || self.accept(&["IN"]) {
            self.name().map(Some)
        } else {
            Ok(None)
        }
    }

    fn pattern(&mut self) -> Result<Option<Pattern>, Diagnostic> {
        let negated = self.accept(&["NOT"]);
        let case_insensitive = if self.accept(&["LIKE"]) {
            false
        } else if self.accept(&["ILIKE"]) {
            true
        } else if negated {
            return Err(self.unexpected("LIKE or ILIKE"));
        } else {
            return Ok(None);
        };
        Ok(Some(Pattern { text: self.string()?, negated, case_insensitive }))
    }

    pub(super) fn describe(&mut self) -> Result<Statement, Diagnostic> {
        let start = self.next;
        self.next += 1;
        if self.accept(&["JOB"]) {
            return self.string().map(Statement::DescribeJob);
        }
        for what in ["CATALOG", "DATABASE", "FUNCTION", "MODEL"] {
            if self.is_keyword(0, what) && self.peek_nth(1).is_some_and(super::is_word) {
                return Err(self.unsupported(&format!("DESCRIBE {what}"), start));
            }
        }
        self.accept(&["TABLE"]);
        self.accept(&["EXTENDED"]);
        self.name().map(Statement::Describe)
    }
}
