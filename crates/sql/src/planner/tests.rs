//! Planning over a source and two sinks that exist for tests only.
//!
//! Source `changes` sends every kind of change and never ends; `bounded` sends inserts and ends.
//! Sink `keep` takes every kind of change, `append` takes inserts only.

mod batch;
mod insert;
mod streaming;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use shardlake_change::{ChangeBatch, LogicalType, changelog_text, parse_changelog};
use shardlake_connector::{
    Boundary, ChangelogMode, Claim, Error, JobIdentity, MetadataColumn, OptionKind, OptionSpec,
    Phase, ReadRequest, RunningSource, Sink, SinkFactory, Source, SourceEvent, SourceFactory,
    TableDefinition, event_channel,
};

use super::*;
use crate::catalog::Connectors;
use crate::session::{Configuration, Session, StatementOutcome};

const OPTIONS: &[OptionSpec] = &[
    OptionSpec::new("rows", OptionKind::Text, "The changelog that a bounded source sends."),
    OptionSpec::new("speed", OptionKind::Integer { min: 0, max: 9 }, "Nothing."),
];

struct TestSourceFactory {
    connector: &'static str,
    bounded: bool,
}

struct TestSource {
    definition: TableDefinition,
    bounded: bool,
}

impl SourceFactory for TestSourceFactory {
    fn connector(&self) -> &'static str {
        self.connector
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn metadata_columns(&self) -> Vec<MetadataColumn> {
        ["database_name", "table_name"]
            .map(|key| MetadataColumn { key, data_type: LogicalType::String, nullable: false })
            .to_vec()
    }

    fn create(&self, table: &TableDefinition) -> Result<Arc<dyn Source>, Error> {
        table.options.validate(self.connector, OPTIONS)?;
        Ok(Arc::new(TestSource { definition: table.clone(), bounded: self.bounded }))
    }
}

impl Source for TestSource {
    fn changelog_mode(&self) -> ChangelogMode {
        if self.bounded { ChangelogMode::InsertOnly } else { ChangelogMode::All }
    }

    fn is_bounded(&self) -> bool {
        self.bounded
    }

    fn fingerprint(&self) -> String {
        "test".to_owned()
    }

    fn start(&self, request: &ReadRequest) -> Result<RunningSource, Error> {
        let schema = self.definition.schema.to_arrow();
        let rows = self.definition.options.get("rows").unwrap_or_default();
        let all = parse_changelog(&schema, rows).unwrap().into_parts().0;
        let batch = ChangeBatch::inserts(all.project(&request.columns).unwrap());
        let (sender, receiver) = event_channel(4);
        sender.send(SourceEvent::Rows(batch)).unwrap();
        let position = serde_json::Value::Null;
        let boundary = Boundary { position, phase: Phase::Streaming, event_time_ms: None };
        sender.send(SourceEvent::Boundary(boundary)).unwrap();
        sender.send(SourceEvent::End).unwrap();
        Ok(RunningSource { lanes: vec![("only".to_owned(), receiver)], status: None })
    }
}

struct TestSinkFactory {
    connector: &'static str,
    mode: ChangelogMode,
}

struct TestSink(ChangelogMode);

impl SinkFactory for TestSinkFactory {
    fn connector(&self) -> &'static str {
        self.connector
    }

    fn options(&self) -> &'static [OptionSpec] {
        OPTIONS
    }

    fn create(&self, table: &TableDefinition) -> Result<Arc<dyn Sink>, Error> {
        table.options.validate(self.connector, OPTIONS)?;
        Ok(Arc::new(TestSink(self.mode)))
    }
}

#[async_trait]
impl Sink for TestSink {
    fn changelog_mode(&self) -> ChangelogMode {
        self.0
    }

    fn stores_progress(&self) -> bool {
        false
    }

    async fn prepare(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn open(&self, _: &JobIdentity) -> Result<Claim, Error> {
        Err(Error::bug("sinks of these tests are not opened"))
    }
}

/// A session in which `statements` have been run.
async fn session(statements: &str) -> Session {
    let connectors = Connectors::default()
        .with_source(Arc::new(TestSourceFactory { connector: "changes", bounded: false }))
        .with_source(Arc::new(TestSourceFactory { connector: "bounded", bounded: true }))
        .with_sink(Arc::new(TestSinkFactory { connector: "keep", mode: ChangelogMode::All }))
        .with_sink(Arc::new(TestSinkFactory {
            connector: "append",
            mode: ChangelogMode::InsertOnly,
        }));
    let settings = [("table.local-time-zone".to_owned(), "UTC".to_owned())];
    let mut session = Session::new(connectors, Configuration::new(settings).unwrap());
    for statement in statements.split(';').filter(|statement| !statement.trim().is_empty()) {
        if let Err(error) = session.execute(statement).await {
            panic!("{statement}: {error}");
        }
    }
    session
}

/// The tables that most tests use.
const TABLES: &str = "
    CREATE TABLE users (
        db STRING METADATA FROM 'database_name' VIRTUAL,
        id DECIMAL(20, 0) NOT NULL, name STRING, age INT, born TIMESTAMP(3),
        PRIMARY KEY (id) NOT ENFORCED
    ) WITH ('connector' = 'changes');
    CREATE TABLE sink (id DECIMAL(20, 0) NOT NULL, name STRING, PRIMARY KEY (id) NOT ENFORCED)
        WITH ('connector' = 'keep');
    CREATE TABLE log (id DECIMAL(20, 0), name STRING) WITH ('connector' = 'append');
";

/// What a user is told, with the hint on a line of its own.
fn told(error: &Diagnostic) -> String {
    match &error.hint {
        Some(hint) => format!("{error}\n-- {hint}"),
        None => error.to_string(),
    }
}

/// What comes out of a stage, given what each source sends.
fn run(node: &StreamNode, inputs: &[Vec<ChangeBatch>]) -> Result<Vec<ChangeBatch>, Error> {
    match node {
        StreamNode::Source { index } => Ok(inputs[*index].clone()),
        StreamNode::Transform { input, transform } => {
            run(input, inputs)?.iter().map(|batch| transform.apply(batch)).collect()
        }
        StreamNode::Union { inputs: nodes } => {
            let parts: Result<Vec<Vec<ChangeBatch>>, Error> =
                nodes.iter().map(|node| run(node, inputs)).collect();
            Ok(parts?.concat())
        }
    }
}

/// The job of the INSERTs, or what the user is told instead.
async fn job(session: &mut Session, sql: &str) -> Result<JobPlan, String> {
    match session.execute(sql).await {
        Ok(StatementOutcome::SubmitJob { plan, .. }) => Ok(*plan),
        Ok(_) => panic!("{sql} is no job"),
        Err(error) => Err(told(&error)),
    }
}

/// What the sinks of a job receive when its tables send these changelogs, given with the columns that
/// the job reads.
fn sent(job: &JobPlan, changelogs: &BTreeMap<&str, &str>) -> Result<String, Error> {
    let inputs: Vec<Vec<ChangeBatch>> = job
        .sources
        .iter()
        .map(|source| {
            let Some(text) = changelogs.get(source.name.object.as_str()) else {
                let request = ReadRequest {
                    columns: source.columns.clone(),
                    kept: None,
                    key_columns: None,
                    position: None,
                    memory_bytes: 1 << 20,
                    schema_change: None,
                    spill_dir: std::env::temp_dir(),
                };
                return drain(source.source.start(&request).unwrap());
            };
            let all = parse_changelog(&test_schema(source), text).unwrap();
            let (rows, kinds) = all.into_parts();
            let rows = rows.project(&source.columns).unwrap();
            vec![ChangeBatch::try_new(rows, kinds).unwrap()]
        })
        .collect();
    let mut text = String::new();
    for sink in &job.sinks {
        if job.sinks.len() > 1 {
            text.push_str(&format!("{}:\n", sink.name.object));
        }
        let batches = run(&sink.input, &inputs)?;
        for batch in &batches {
            assert_eq!(batch.schema(), sink.schema.to_arrow());
        }
        text.push_str(&changelog_text(&batches).unwrap());
    }
    Ok(text)
}

fn drain(running: RunningSource) -> Vec<ChangeBatch> {
    let mut batches = Vec::new();
    for (_, lane) in running.lanes {
        loop {
            match lane.next() {
                SourceEvent::Rows(batch) | SourceEvent::Alone(batch) => batches.push(batch),
                SourceEvent::Boundary(_) => {}
                SourceEvent::End => break,
                SourceEvent::Failed(error) => panic!("{}", error.report()),
            }
        }
    }
    batches
}

/// All columns of table `users` or of its copies; the tests' sources do not tell.
fn test_schema(source: &crate::plan::PlannedSource) -> arrow::datatypes::SchemaRef {
    let columns = match source.name.object.as_str() {
        "wide" => vec![
            Column::new("a", LogicalType::Int),
            Column::new("b", LogicalType::String),
            Column::new("c", LogicalType::Boolean),
        ],
        _ => vec![
            Column::new("db", LogicalType::String),
            Column::new("id", LogicalType::Decimal { precision: 20, scale: 0 }),
            Column::new("name", LogicalType::String),
            Column::new("age", LogicalType::Int),
            Column::new("born", LogicalType::Timestamp(3)),
        ],
    };
    TableSchema { columns, primary_key: Vec::new() }.to_arrow()
}
