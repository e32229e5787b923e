//! From the text of one statement to a [`Statement`].
//!
//! Statements are parsed here, by recursive descent over `sqlparser`'s tokens; queries inside them are
//! parsed by `sqlparser` itself. A statement of Flink SQL that Shardlake cannot run is refused by name.

mod alter;
mod create;
mod data_type;
mod dml;
mod maintenance;
mod query;
mod settings;
mod show;

use std::collections::BTreeMap;

use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::tokenizer::Token;
use shardlake_change::LogicalType;
use shardlake_connector::Options;

use crate::diagnostic::{Diagnostic, Span};
use crate::dialect::{Lexeme, tokenize};
use crate::statement::{Drop, ExplainTarget, Name, ObjectKind, Query, Statement, StopJob};

/// Parses one statement. A semicolon at its end is allowed.
///
/// # Errors
/// The text is no statement of Flink SQL, or one that is not supported.
pub fn parse_statement(text: &str) -> Result<Statement, Diagnostic> {
    if let Some(statement) = settings::parse(text)? {
        return Ok(statement);
    }
    let mut parser = StatementParser::new(text)?;
    let statement = parser.statement()?;
    parser.end_of_statement()?;
    Ok(statement)
}

/// Parses a query that stands alone, such as the text of a view.
///
/// # Errors
/// The text is no query.
pub fn parse_query(text: &str) -> Result<Query, Diagnostic> {
    let mut parser = StatementParser::new(text)?;
    let query = parser.query()?;
    parser.end_of_statement()?;
    Ok(query)
}

/// Parses an expression, such as that of a computed column.
///
/// # Errors
/// The text is no expression.
pub fn parse_expression(text: &str) -> Result<Expr, Diagnostic> {
    let mut parser = StatementParser::new(text)?;
    let (_, expression) = parser.expression()?;
    parser.end_of_statement()?;
    Ok(expression)
}

/// Parses the name of a type, as in `CREATE TABLE`.
///
/// # Errors
/// The text is no type, or one that is not supported.
pub fn parse_logical_type(text: &str) -> Result<LogicalType, Diagnostic> {
    let mut parser = StatementParser::new(text)?;
    let data_type = parser.data_type()?;
    parser.end_of_statement()?;
    Ok(data_type)
}

/// Reads tokens one after the other.
struct StatementParser<'a> {
    text: &'a str,
    tokens: Vec<Lexeme>,
    next: usize,
    /// Names that were made for tables with hints.
    generated: usize,
    /// How deep in a type the parser is.
    depth: usize,
}

/// What a token is called in a message.
fn shown(lexeme: Option<&Lexeme>, text: &str) -> String {
    match lexeme {
        Some(lexeme) => {
            format!("\"{}\"", lexeme.span.slice(text))
        }
        None => "\"<EOF>\"".to_owned(),
    }
}

impl<'a> StatementParser<'a> {
    fn new(text: &'a str) -> Result<Self, Diagnostic> {
        Ok(Self { text, tokens: tokenize(text)?, next: 0, generated: 0, depth: 0 })
    }

    fn peek(&self) -> Option<&Lexeme> {
        self.tokens.get(self.next)
    }

    fn peek_nth(&self, ahead: usize) -> Option<&Lexeme> {
        self.tokens.get(self.next + ahead)
    }

    /// The place of the next token, or the end of the text.
    fn span(&self) -> Span {
        let end = self.text.trim_end().len();
        self.peek().map_or(Span { start: end, end }, |lexeme| lexeme.span)
    }

    /// The place behind the last token that was read.
    fn end_of_last(&self) -> usize {
        let last = self.next.checked_sub(1).and_then(|last| self.tokens.get(last));
        last.map_or(0, |lexeme| lexeme.span.end)
    }

    fn is_keyword(&self, ahead: usize, keyword: &str) -> bool {
        self.peek_nth(ahead).is_some_and(|lexeme| lexeme.is_keyword(keyword))
    }

    /// Whether the next tokens are these keywords.
    fn looking_at(&self, keywords: &[&str]) -> bool {
        keywords.iter().enumerate().all(|(ahead, keyword)| self.is_keyword(ahead, keyword))
    }

    /// Reads these keywords if they are next.
    fn accept(&mut self, keywords: &[&str]) -> bool {
        let found = self.looking_at(keywords);
        if found {
            self.next += keywords.len();
        }
        found
    }

    /// Reads keywords, given as `"IF EXISTS"`, that must be next.
    fn expect(&mut self, keywords: &str) -> Result<(), Diagnostic> {
        for keyword in keywords.split(' ') {
            if !self.accept(&[keyword]) {
                return Err(self.unexpected(keyword));
            }
        }
        Ok(())
    }

    fn accept_token(&mut self, token: &Token) -> bool {
        let found = self.peek().is_some_and(|lexeme| lexeme.token.token == *token);
        if found {
            self.next += 1;
        }
        found
    }

    fn expect_token(&mut self, token: &Token) -> Result<(), Diagnostic> {
        if self.accept_token(token) { Ok(()) } else { Err(self.unexpected(&token.to_string())) }
    }

    /// "Encountered x, was expecting y" at the next token.
    fn unexpected(&self, expected: &str) -> Diagnostic {
        let found = shown(self.peek(), self.text);
        Diagnostic::syntax(format!("Encountered {found}. Was expecting: {expected}."))
            .at(self.span())
    }

    /// A statement or clause that is refused by name, marked from token `from` on.
    fn unsupported(&self, what: &str, from: usize) -> Diagnostic {
        let start = self.tokens.get(from).map_or_else(|| self.span(), |lexeme| lexeme.span);
        let end = self.end_of_last().max(start.end);
        Diagnostic::unsupported(what).at(Span { start: start.start, end })
    }

    /// An identifier, with or without back-ticks.
    fn identifier(&mut self) -> Result<String, Diagnostic> {
        match self.peek().map(|lexeme| lexeme.token.token.clone()) {
            Some(Token::Word(word)) => {
                self.next += 1;
                Ok(word.value)
            }
            _ => Err(self.unexpected("an identifier")),
        }
    }

    /// `a`, `a.b` or `a.b.c`.
    fn name(&mut self) -> Result<Name, Diagnostic> {
        let start = self.span().start;
        let mut parts = vec![self.identifier()?];
        while self.accept_token(&Token::Period) {
            parts.push(self.identifier()?);
        }
        Ok(Name { parts, span: Span { start, end: self.end_of_last() } })
    }

    /// A string in single quotes.
    fn string(&mut self) -> Result<String, Diagnostic> {
        match self.peek().map(|lexeme| lexeme.token.token.clone()) {
            Some(Token::SingleQuotedString(text) | Token::UnicodeStringLiteral(text)) => {
                self.next += 1;
                Ok(text)
            }
            _ => Err(self.unexpected("a string in single quotes")),
        }
    }

    fn optional_string(&mut self, keyword: &str) -> Result<Option<String>, Diagnostic> {
        if self.accept(&[keyword]) { self.string().map(Some) } else { Ok(None) }
    }

    /// `(item, item, …)`, at least one.
    fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, Diagnostic>,
    ) -> Result<Vec<T>, Diagnostic> {
        self.expect_token(&Token::LParen)?;
        let mut items = vec![item(self)?];
        while self.accept_token(&Token::Comma) {
            items.push(item(self)?);
        }
        self.expect_token(&Token::RParen)?;
        Ok(items)
    }

    /// `('key' = 'value', …)`; may be empty.
    fn options(&mut self) -> Result<Options, Diagnostic> {
        if self.peek_nth(1).is_some_and(|lexeme| lexeme.token.token == Token::RParen) {
            self.expect_token(&Token::LParen)?;
            self.expect_token(&Token::RParen)?;
            return Ok(Options::default());
        }
        let entries = self.list(|parser| {
            let span = parser.span();
            let key = parser.string()?;
            parser.expect_token(&Token::Eq)?;
            Ok((key, parser.string()?, span))
        })?;
        let mut options = Options::default();
        let mut seen = BTreeMap::new();
        for (key, value, span) in entries {
            if seen.insert(key.clone(), ()).is_some() {
                return Err(Diagnostic::syntax(format!("Option '{key}' is given twice.")).at(span));
            }
            options.set(key, value);
        }
        Ok(options)
    }

    fn with_options(&mut self) -> Result<Options, Diagnostic> {
        if self.accept(&["WITH"]) { self.options() } else { Ok(Options::default()) }
    }

    fn end_of_statement(&mut self) -> Result<(), Diagnostic> {
        let more = |parser: &Self| parser.peek().is_some();
        if self.accept_token(&Token::SemiColon) && more(self) {
            return Err(Diagnostic::syntax("only single statement supported").at(self.span()));
        }
        if more(self) { Err(self.unexpected("the end of the statement")) } else { Ok(()) }
    }

    fn statement(&mut self) -> Result<Statement, Diagnostic> {
        let Some(first) = self.peek() else {
            return Err(self.unexpected("a statement"));
        };
        if first.token.token == Token::LParen {
            return self.query().map(Statement::Query);
        }
        let keyword = match &first.token.token {
            Token::Word(word) => word.value.to_ascii_uppercase(),
            _ => String::new(),
        };
        match keyword.as_str() {
            "SELECT" | "WITH" | "VALUES" => self.query().map(Statement::Query),
            "CREATE" => self.create(),
            "DROP" => self.drop_object(),
            "ALTER" => match self.maintenance()? {
                Some(statement) => Ok(statement),
                None => self.alter(),
            },
            "CALL" => self.call(),
            "USE" => self.use_object(),
            "SHOW" => self.show(),
            "DESCRIBE" | "DESC" => self.describe(),
            "EXPLAIN" => self.explain(),
            "INSERT" => self.insert().map(Statement::Insert),
            "EXECUTE" => self.execute(),
            "BEGIN" => {
                self.next += 1;
                self.expect("STATEMENT SET")?;
                Ok(Statement::BeginStatementSet)
            }
            "DELETE" => self.delete(),
            "UPDATE" => self.update(),
            "VERIFY" => self.verify(),
            "STOP" => self.stop_job(),
            "END" => self.word(Statement::EndStatementSet),
            "HELP" => self.word(Statement::Help),
            "CLEAR" => self.word(Statement::Clear),
            "QUIT" | "EXIT" => self.word(Statement::Quit),
            other => Err(self.no_statement(other)),
        }
    }

    fn word(&mut self, statement: Statement) -> Result<Statement, Diagnostic> {
        self.next += 1;
        Ok(statement)
    }

    /// Statements that Flink has and Shardlake has not, and everything else.
    fn no_statement(&self, keyword: &str) -> Diagnostic {
        let known = match keyword {
            "ADD" | "REMOVE" => "ADD JAR / REMOVE JAR",
            "LOAD" | "UNLOAD" => "LOAD MODULE / UNLOAD MODULE",
            "TRUNCATE" => "TRUNCATE TABLE",
            "ANALYZE" => "ANALYZE TABLE",
            "COMPILE" => "COMPILE PLAN",
            _ => {
                return Diagnostic::syntax("Non-query expression encountered in illegal context")
                    .with_hint("HELP; lists the statements.")
                    .at(self.span());
            }
        };
        self.unsupported(known, self.next)
    }

    fn drop_object(&mut self) -> Result<Statement, Diagnostic> {
        let start = self.next;
        self.expect("DROP")?;
        let temporary = self.accept(&["TEMPORARY"]);
        let kind = if self.accept(&["TABLE"]) {
            ObjectKind::Table
        } else if self.accept(&["VIEW"]) {
            ObjectKind::View
        } else if self.accept(&["DATABASE"]) {
            ObjectKind::Database
        } else if self.accept(&["CATALOG"]) {
            ObjectKind::Catalog
        } else {
            for what in ["FUNCTION", "SYSTEM", "MODEL", "MATERIALIZED", "CONNECTION"] {
                if self.accept(&[what]) {
                    return Err(self.unsupported(&format!("DROP {what}"), start));
                }
            }
            return Err(self.unexpected("TABLE, VIEW, DATABASE or CATALOG"));
        };
        let if_exists = self.accept(&["IF", "EXISTS"]);
        let name = self.name()?;
        let cascade = kind == ObjectKind::Database && self.accept(&["CASCADE"]);
        if kind == ObjectKind::Database && !cascade {
            self.accept(&["RESTRICT"]);
        }
        Ok(Statement::Drop(Drop { kind, name, temporary, if_exists, cascade }))
    }

    fn use_object(&mut self) -> Result<Statement, Diagnostic> {
        let start = self.next;
        self.expect("USE")?;
        if self.is_keyword(1, "MODULES") || self.looking_at(&["MODULES"]) {
            return Err(self.unsupported("USE MODULES", start));
        }
        if self.is_keyword(0, "CATALOG") && self.peek_nth(1).is_some_and(is_word) {
            self.next += 1;
            return self.name().map(Statement::UseCatalog);
        }
        self.name().map(Statement::UseDatabase)
    }

    /// `EXECUTE [INSERT …]`, `EXECUTE STATEMENT SET BEGIN … END`.
    fn execute(&mut self) -> Result<Statement, Diagnostic> {
        let start = self.next;
        self.expect("EXECUTE")?;
        if self.accept(&["STATEMENT"]) {
            self.expect("SET BEGIN")?;
            return self.statement_set().map(Statement::StatementSet);
        }
        if self.looking_at(&["INSERT"]) {
            return self.insert().map(Statement::Insert);
        }
        if self.looking_at(&["SELECT"]) || self.looking_at(&["WITH"]) {
            return self.query().map(Statement::Query);
        }
        if self.accept(&["PLAN"]) || self.accept(&["IMMEDIATE"]) {
            return Err(self.unsupported("EXECUTE PLAN", start));
        }
        Err(self.unexpected("INSERT or STATEMENT SET BEGIN"))
    }

    fn stop_job(&mut self) -> Result<Statement, Diagnostic> {
        self.expect("STOP JOB")?;
        let id = self.string()?;
        let mut stop = StopJob { id, savepoint: false, drain: false };
        while self.accept(&["WITH"]) {
            if self.accept(&["SAVEPOINT"]) {
                stop.savepoint = true;
            } else {
                self.expect("DRAIN")?;
                stop.drain = true;
            }
        }
        if stop.drain && !stop.savepoint {
            return Err(Diagnostic::syntax("WITH DRAIN could only be used after WITH SAVEPOINT.")
                .at(self.span()));
        }
        Ok(Statement::StopJob(stop))
    }

    fn explain(&mut self) -> Result<Statement, Diagnostic> {
        self.expect("EXPLAIN")?;
        let details = self.explain_details()?;
        if details.is_empty() {
            self.accept(&["PLAN", "FOR"]);
        }
        let target = if self.accept(&["STATEMENT"]) {
            self.expect("SET BEGIN")?;
            ExplainTarget::Inserts(self.statement_set()?)
        } else if self.looking_at(&["INSERT"]) {
            ExplainTarget::Inserts(vec![self.insert()?])
        } else {
            ExplainTarget::Query(self.query()?)
        };
        Ok(Statement::Explain(crate::statement::Explain { details, target }))
    }
}

fn is_word(lexeme: &Lexeme) -> bool {
    matches!(lexeme.token.token, Token::Word(_))
}

#[cfg(test)]
mod tests;
