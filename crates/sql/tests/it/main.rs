//! Runs the scripts in `tests/slt`, each in a session of its own.
//!
//! A row of a result is one line, its cells joined by ` | `. To write the answers of this build into
//! `tables.slt`: `SHARDLAKE_SLT_OVERRIDE=tables cargo test -p shardlake-sql --test it`; then read the
//! difference.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use async_trait::async_trait;
use futures::TryStreamExt;
use shardlake_builtin::{BlackholeFactory, DatagenFactory, PrintFactory};
use shardlake_change::Column;
use shardlake_iceberg_sink::{IcebergSinkFactory, IcebergSourceFactory};
use shardlake_sql::batch::BatchQuery;
use shardlake_sql::catalog::Connectors;
use shardlake_sql::diagnostic::Diagnostic;
use shardlake_sql::planner::PlannedQuery;
use shardlake_sql::print::CellFormat;
use shardlake_sql::session::{Configuration, Layout, ResultTable, Session, StatementOutcome};
use sqllogictest::{
    AsyncDB, DBOutput, DefaultColumnType, Runner, default_column_validator, default_normalizer,
    default_validator,
};

type Rows = DBOutput<DefaultColumnType>;

/// A diagnostic as a script shows it: code and message, and the marked part of the statement.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

impl Refused {
    fn new(diagnostic: &Diagnostic, statement: &str) -> Self {
        let marked = diagnostic.span.map(|span| format!(" [{}]", span.slice(statement)));
        Self(format!("{} {}{}", diagnostic.code, diagnostic.message, marked.unwrap_or_default()))
    }
}

/// A session as a database of sqllogictest.
struct Embedded(Session);

impl Embedded {
    fn new() -> Result<Self, Diagnostic> {
        let connectors = Connectors::default()
            .with_source(Arc::new(DatagenFactory))
            .with_source(Arc::new(IcebergSourceFactory))
            .with_sink(Arc::new(IcebergSinkFactory))
            .with_sink(Arc::new(PrintFactory))
            .with_sink(Arc::new(BlackholeFactory));
        let zone = ("table.local-time-zone".to_owned(), "UTC".to_owned());
        Ok(Self(Session::new(connectors, Configuration::new([zone])?)))
    }

    fn format(&self) -> CellFormat {
        CellFormat::new(self.0.configuration().time_zone())
    }

    fn table(&self, table: &ResultTable) -> Rows {
        let lines = lines(self.format(), &table.columns, std::slice::from_ref(&table.rows));
        if table.layout == Layout::Table {
            return rows(lines);
        }
        rows(lines.iter().flat_map(|text| text.lines().map(str::to_owned)).collect())
    }

    async fn execute(&mut self, sql: &str) -> Result<Rows, Diagnostic> {
        let line = match self.0.execute(sql).await? {
            StatementOutcome::Done { warning: None } => return Ok(DBOutput::StatementComplete(0)),
            StatementOutcome::Done { warning: Some(warning) } => format!("[WARN] {warning}"),
            StatementOutcome::Table(table) => return Ok(self.table(&table)),
            StatementOutcome::Query(query) => match *query {
                PlannedQuery::Batch(query) => return self.batch(&query).await,
                PlannedQuery::Streaming(_) => "[STREAM]".to_owned(),
            },
            StatementOutcome::SubmitJob { plan, .. } => {
                let sinks: Vec<String> =
                    plan.sinks.iter().map(|sink| sink.name.to_string()).collect();
                format!(
                    "[JOB] {}: {} source(s) to {}",
                    plan.name,
                    plan.sources.len(),
                    sinks.join(", ")
                )
            }
            StatementOutcome::ShowJobs => "[SHOW JOBS]".to_owned(),
            StatementOutcome::DescribeJob(id) => format!("[DESCRIBE JOB] {id}"),
            StatementOutcome::ShowSplits(id) => format!("[SHOW SPLITS] {id}"),
            StatementOutcome::StopJob(stop) => format!("[STOP JOB] {stop:?}"),
            StatementOutcome::Help => "[HELP]".to_owned(),
            StatementOutcome::Clear => "[CLEAR]".to_owned(),
            StatementOutcome::Quit => "[QUIT]".to_owned(),
        };
        Ok(rows(vec![line]))
    }

    async fn batch(&self, query: &BatchQuery) -> Result<Rows, Diagnostic> {
        let batches: Vec<RecordBatch> = query
            .execute()
            .await?
            .try_collect()
            .await
            .map_err(|error| BatchQuery::error(&error))?;
        Ok(rows(lines(self.format(), &query.schema().columns, &batches)))
    }
}

fn lines(format: CellFormat, columns: &[Column], batches: &[RecordBatch]) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let cell = |(column, array): (&Column, &Arc<dyn arrow::array::Array>)| {
                let text = format.text(&column.data_type, array.as_ref(), row);
                text.unwrap_or_else(|| "<NULL>".to_owned())
            };
            let cells: Vec<String> = columns.iter().zip(batch.columns()).map(cell).collect();
            lines.push(cells.join(" | "));
        }
    }
    lines
}

fn rows(lines: Vec<String>) -> Rows {
    let rows = lines.into_iter().map(|line| vec![line]).collect();
    DBOutput::Rows { types: vec![DefaultColumnType::Text], rows }
}

#[async_trait]
impl AsyncDB for Embedded {
    type Error = Refused;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<Rows, Refused> {
        self.execute(sql).await.map_err(|diagnostic| Refused::new(&diagnostic, sql))
    }

    async fn shutdown(&mut self) {}
}

async fn run_script(path: &Path) -> Result<(), Box<dyn Error>> {
    let mut runner =
        Runner::new(|| async { Embedded::new().map_err(|error| Refused::new(&error, "")) });
    let wanted = std::env::var_os("SHARDLAKE_SLT_OVERRIDE");
    if wanted.is_some_and(|names| {
        names.to_string_lossy().split(',').any(|name| Some(name.as_ref()) == path.file_stem())
    }) {
        return runner
            .update_test_file(
                path,
                " ",
                default_validator,
                default_normalizer,
                default_column_validator,
            )
            .await;
    }
    Ok(runner.run_file_async(path).await?)
}

#[tokio::test]
async fn scripts() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/slt");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "slt"));
    paths.sort();
    assert!(paths.len() >= 5, "scripts are missing in {}", folder.display());
    let mut failures = Vec::new();
    for path in paths {
        if let Err(error) = run_script(&path).await {
            failures.push(format!("{}: {error}", path.display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
