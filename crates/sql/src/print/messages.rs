//! What the client says, in the words of Flink's client.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::TimestampMicrosecondArray;
use shardlake_change::LogicalType;

use crate::diagnostic::Diagnostic;
use crate::session::{Layout, ResultTable};

/// A statement without a result is done.
pub const EXECUTE_SUCCEEDED: &str = "[INFO] Execute statement succeeded.";
/// A job is about to be submitted.
pub const SUBMITTING: &str = "[INFO] Submitting SQL update statement to the cluster...";
/// A job that the client waited for has finished.
pub const JOB_FINISHED: &str = "[INFO] Complete execution of the SQL update statement.";

/// What `HELP;` prints.
pub const HELP: &str = "\
The following commands are available:

HELP                    Prints the available commands.
QUIT/EXIT               Quits the SQL CLI client.
CLEAR                   Clears the current terminal.
SET                     Sets a session configuration property. Syntax: \"SET '<key>'='<value>';\". Use \"SET;\" for listing all properties.
RESET                   Resets a session configuration property. Syntax: \"RESET '<key>';\". Use \"RESET;\" for reset all session properties.
CREATE                  Creates a table, view, database or catalog.
DROP                    Drops a table, view, database or catalog.
ALTER TABLE             Changes the options or the name of a table.
USE                     Chooses the current database; USE CATALOG the current catalog.
SHOW                    Lists catalogs, databases, tables, views, columns, functions or jobs; SHOW CREATE TABLE shows a definition.
DESCRIBE                Describes the columns of a table or view.
INSERT INTO             Inserts the results of a SQL SELECT query into a declared table sink.
SELECT                  Executes a SQL SELECT query.
EXPLAIN                 Describes the execution plan of a query or an INSERT.
BEGIN STATEMENT SET     Begins a statement set. Syntax: \"BEGIN STATEMENT SET;\"
END                     Ends a statement set. Syntax: \"END;\"
STOP JOB                Stops a job. Syntax: \"STOP JOB '<id>' [WITH SAVEPOINT] [WITH DRAIN];\"

Hint: Make sure that a statement ends with \";\" for finalizing (multi-line) statements.";

/// A job has been submitted.
#[must_use]
pub fn job_submitted(id: &str) -> String {
    format!(
        "[INFO] SQL update statement has been successfully submitted to the cluster:\nJob ID: {id}\n"
    )
}

/// Something that the user should know.
#[must_use]
pub fn warning_text(warning: &str) -> String {
    format!("[WARN] {warning}")
}

/// A statement failed: why, where in `statement`, and what to do.
#[must_use]
pub fn error_text(diagnostic: &Diagnostic, statement: &str) -> String {
    let mut text = format!(
        "[ERROR] Could not execute SQL statement. Reason:\n{}: {}",
        diagnostic.code,
        diagnostic.message.trim_end()
    );
    let mut add = |part: std::fmt::Arguments<'_>| {
        text.push('\n');
        // Writing to a string cannot fail.
        let _ = text.write_fmt(part);
    };
    if let Some((line, column)) = diagnostic.line_and_column(statement) {
        add(format_args!("At line {line}, column {column}:"));
        add(format_args!("{}", diagnostic.excerpt(statement)));
    }
    if let Some(detail) = &diagnostic.detail {
        add(format_args!("{detail}"));
    }
    if let Some(hint) = &diagnostic.hint {
        add(format_args!("Hint: {hint}"));
    }
    text
}

/// A job in `SHOW JOBS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its state, for example `RUNNING`.
    pub status: String,
    /// When it was submitted, in milliseconds since 1970.
    pub start_time_ms: u64,
}

/// The answer to `SHOW JOBS` and `DESCRIBE JOB`.
///
/// # Errors
/// A broken invariant.
pub fn jobs_table(jobs: &[JobRow]) -> Result<ResultTable, Diagnostic> {
    let text = |of: fn(&JobRow) -> &String| {
        ResultTable::texts(jobs.iter().map(|job| Some(of(job).clone())))
    };
    let micros = |job: &JobRow| i64::try_from(job.start_time_ms.saturating_mul(1000)).ok();
    let times: TimestampMicrosecondArray = jobs.iter().map(micros).collect();
    let times = Arc::new(times.with_timezone("+00:00"));
    ResultTable::new(
        vec![
            ("job id", LogicalType::String, text(|job| &job.id)),
            ("job name", LogicalType::String, text(|job| &job.name)),
            ("status", LogicalType::String, text(|job| &job.status)),
            ("start time", LogicalType::TimestampLtz(3), times),
        ],
        Layout::Table,
    )
}

/// A table of one text, as the gateway answers for a statement that has nothing to show.
///
/// # Errors
/// A broken invariant.
pub fn text_table(column: &str, text: &str) -> Result<ResultTable, Diagnostic> {
    ResultTable::names(column, [text.to_owned()])
}

/// The answer to `STOP JOB … WITH SAVEPOINT`.
///
/// # Errors
/// A broken invariant.
pub fn savepoint_table(path: String) -> Result<ResultTable, Diagnostic> {
    ResultTable::names("savepoint path", [path])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Span;

    #[test]
    fn errors_show_the_place() {
        let statement = "SELECT *\nFROM nosuch";
        let error =
            Diagnostic::object_not_found("nosuch").at(Span { start: 14, end: statement.len() });
        insta::assert_snapshot!(error_text(&error, statement), @"
        [ERROR] Could not execute SQL statement. Reason:
        SL0003: SQL validation failed. Object 'nosuch' not found
        At line 2, column 6:
        FROM nosuch
             ^^^^^^
        Hint: SHOW TABLES; lists the tables of the current database.
        ");
    }

    #[test]
    fn jobs_are_listed_in_flinks_columns() {
        let job = JobRow {
            id: "ac39457f80291f05cebc2b6a53a8fcfa".to_owned(),
            name: "insert-into_default_catalog.default_database.bh".to_owned(),
            status: "RUNNING".to_owned(),
            start_time_ms: 1_704_067_200_123,
        };
        let table = jobs_table(&[job]).unwrap();
        let zone = crate::session::SessionZone::Named(chrono_tz::Tz::UTC);
        let text = crate::print::Tableau::batch(
            &table.columns,
            &[table.rows],
            crate::print::CellFormat::new(zone),
            30,
        );
        insta::assert_snapshot!(text, @"
        +--------------------------------+--------------------------------+---------+-------------------------+
        |                         job id |                       job name |  status |              start time |
        +--------------------------------+--------------------------------+---------+-------------------------+
        | ac39457f80291f05cebc2b6a53a... | insert-into_default_catalog... | RUNNING | 2024-01-01 00:00:00.123 |
        +--------------------------------+--------------------------------+---------+-------------------------+
        ");
    }
}
