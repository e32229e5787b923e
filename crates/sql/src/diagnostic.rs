//! What is told to a user whose statement cannot be run.
//!
//! Every diagnostic has a code with a page in `docs/errors/`, and says what is wrong, where, and what
//! to do. It never holds a value of a row or a password.

use std::error::Error as StdError;
use std::fmt;

use serde::Serialize;
use shardlake_connector::Error as ConnectorError;

/// What a diagnostic is about; the number has a page in `docs/errors/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// The statement is not Flink SQL.
    Syntax,
    /// The statement is Flink SQL that Shardlake cannot run yet.
    Unsupported,
    /// A catalog, database, table or view does not exist.
    ObjectNotFound,
    /// A catalog, database, table or view exists already.
    ObjectExists,
    /// A column or function does not exist, or its name is ambiguous.
    ColumnNotFound,
    /// The types of an expression, or of a query and its sink, do not fit.
    TypeMismatch,
    /// A connector refuses the options of a table.
    TableOptions,
    /// No connector has this name.
    ConnectorNotFound,
    /// The definition of a table contradicts itself.
    TableDefinition,
    /// The catalog or the lake behind it cannot be read or written.
    CatalogAccess,
    /// A value given to `SET` is not one that the key takes.
    Configuration,
    /// The statement does not fit the state of the session, such as `END` outside a statement set.
    SessionState,
    /// A query cannot run as a stream.
    StreamingQuery,
    /// The sink does not take the changes that the query produces.
    ChangelogSink,
    /// No job has this id.
    JobNotFound,
    /// A job could not be started, or has failed.
    JobFailed,
    /// Planning failed for a reason that has no code of its own.
    Planning,
    /// An invariant of Shardlake is broken.
    Internal,
}

/// All codes, in the order of their numbers.
pub const CODES: [Code; 18] = [
    Code::Syntax,
    Code::Unsupported,
    Code::ObjectNotFound,
    Code::ObjectExists,
    Code::ColumnNotFound,
    Code::TypeMismatch,
    Code::TableOptions,
    Code::ConnectorNotFound,
    Code::TableDefinition,
    Code::CatalogAccess,
    Code::Configuration,
    Code::SessionState,
    Code::StreamingQuery,
    Code::ChangelogSink,
    Code::JobNotFound,
    Code::Planning,
    Code::Internal,
    Code::JobFailed,
];

impl Code {
    /// `SL0001`, and so on.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "SL0001",
            Self::Unsupported => "SL0002",
            Self::ObjectNotFound => "SL0003",
            Self::ObjectExists => "SL0004",
            Self::ColumnNotFound => "SL0005",
            Self::TypeMismatch => "SL0006",
            Self::TableOptions => "SL0007",
            Self::ConnectorNotFound => "SL0008",
            Self::TableDefinition => "SL0009",
            Self::CatalogAccess => "SL0010",
            Self::Configuration => "SL0011",
            Self::SessionState => "SL0012",
            Self::StreamingQuery => "SL0013",
            Self::ChangelogSink => "SL0014",
            Self::JobNotFound => "SL0015",
            Self::Planning => "SL0016",
            Self::Internal => "SL0017",
            Self::JobFailed => "SL0018",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A part of a statement's text, in bytes. `end` is behind the last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The first byte.
    pub start: usize,
    /// Behind the last byte.
    pub end: usize,
}

impl Span {
    /// This part of `text`; empty if the text has no such part.
    #[must_use]
    pub fn slice<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.start..self.end.min(text.len())).unwrap_or_default()
    }
}

/// Why a statement was not run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// What it is about.
    pub code: Code,
    /// What is wrong, in Flink's words where Flink has them. May have several lines.
    pub message: String,
    /// More about the cause.
    pub detail: Option<String>,
    /// What the user can do.
    pub hint: Option<String>,
    /// Where in the statement's text it is.
    pub span: Option<Span>,
}

impl Diagnostic {
    /// A diagnostic without detail, hint and place.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), detail: None, hint: None, span: None }
    }

    /// The same diagnostic with more about its cause.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same diagnostic with what the user can do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same diagnostic with its place; a place that is known already stays.
    #[must_use]
    pub fn at(mut self, span: impl Into<Option<Span>>) -> Self {
        self.span = self.span.or_else(|| span.into());
        self
    }

    /// The statement cannot be parsed.
    pub fn syntax(message: impl Into<String>) -> Self {
        Self::new(Code::Syntax, format!("SQL parse failed. {}", message.into()))
    }

    /// Flink has it, Shardlake does not (yet). `what` fits "… is not supported yet."
    #[must_use]
    pub fn unsupported(what: &str) -> Self {
        Self::new(Code::Unsupported, format!("{what} is not supported yet."))
    }

    /// Flink's words for a table or view that is not there.
    #[must_use]
    pub fn table_not_found(name: &str) -> Self {
        let message = format!("Table with identifier '{name}' does not exist.");
        Self::new(Code::ObjectNotFound, message)
            .with_hint("SHOW TABLES; lists the tables of the current database.")
    }

    /// A table that a query names and that is not there.
    #[must_use]
    pub fn object_not_found(name: &str) -> Self {
        let message = format!("SQL validation failed. Object '{name}' not found");
        Self::new(Code::ObjectNotFound, message)
            .with_hint("SHOW TABLES; lists the tables of the current database.")
    }

    /// A column that is not there. `available` are the names that could have been meant.
    #[must_use]
    pub fn column_not_found(name: &str, available: &[String]) -> Self {
        let message = format!("SQL validation failed. Column '{name}' not found in any table");
        let diagnostic = Self::new(Code::ColumnNotFound, message);
        if available.is_empty() {
            return diagnostic;
        }
        diagnostic.with_hint(format!("Available columns: {}", available.join(", ")))
    }

    /// Something that a connector found wrong when a table was used.
    #[must_use]
    pub fn connector(error: &ConnectorError) -> Self {
        Self::new(Code::TableOptions, error.report())
    }

    /// The definition of a table contradicts itself.
    pub fn table_definition(message: impl Into<String>) -> Self {
        Self::new(Code::TableDefinition, message)
    }

    /// Planning failed for a reason without a code of its own.
    pub fn planning(message: impl Into<String>) -> Self {
        Self::new(Code::Planning, message)
    }

    /// A broken invariant.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Code::Internal, message)
            .with_hint("This is a bug in Shardlake; please report it.")
    }

    /// Line and column of the place, both from 1, in the text that the span belongs to. Columns
    /// count characters.
    #[must_use]
    pub fn line_and_column(&self, text: &str) -> Option<(usize, usize)> {
        let start = self.span?.start.min(text.len());
        let before = text.get(..start)?;
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Some((line, column))
    }

    /// The line of `text` at which the place begins, and under it a caret line; empty without a place.
    #[must_use]
    pub fn excerpt(&self, text: &str) -> String {
        let (Some(span), Some((line, column))) = (self.span, self.line_and_column(text)) else {
            return String::new();
        };
        let Some(source) = text.lines().nth(line - 1) else {
            return String::new();
        };
        let marked = span.slice(text).lines().next().unwrap_or_default().chars().count().max(1);
        let indent: String =
            source.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        format!("{source}\n{indent}{}", "^".repeat(marked))
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Diagnostic {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_found_by_line_column_and_caret() {
        let text = "SELECT a,\n\tnöpe FROM t";
        let start = text.find("nöpe").unwrap();
        let diagnostic = Diagnostic::column_not_found("nöpe", &["a".into(), "b".into()])
            .at(Span { start, end: start + "nöpe".len() });
        assert_eq!(diagnostic.line_and_column(text), Some((2, 2)));
        assert_eq!(diagnostic.excerpt(text), "\tnöpe FROM t\n\t^^^^");
        assert_eq!(diagnostic.hint.as_deref(), Some("Available columns: a, b"));
    }

    #[test]
    fn codes_count_up_and_each_has_a_page() {
        for (index, code) in CODES.iter().enumerate() {
            assert_eq!(code.as_str(), format!("SL{:04}", index + 1));
            let page = format!("{}/../../docs/errors/{code}.md", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(&page).unwrap_or_default();
            assert!(text.starts_with(&format!("# {code}: ")), "docs/errors/{code}.md is missing");
        }
    }
}
