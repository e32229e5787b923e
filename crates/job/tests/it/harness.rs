//! What the tests share: plans, rows, and waiting.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use shardlake_change::{ChangeBatch, Column, LogicalType, TableSchema, parse_changelog};
use shardlake_connector::{Error, ObjectName, Options, Sink};
use shardlake_job::{Environment, JobHandle, JobStatus, Jobs};
use shardlake_sql::plan::{JobPlan, PlannedSink, PlannedSource, StreamNode, Transform};
use shardlake_testkit::{MemorySink, ScriptSource, Transaction};

/// Far longer than anything takes; only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap()
});

pub(crate) fn jobs(state_dir: &Path) -> Jobs {
    let runtime = RUNTIME.handle().clone();
    Jobs::new(Environment { state_dir: state_dir.to_owned(), runtime })
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
    ]))
}

pub(crate) fn batch(text: &str) -> ChangeBatch {
    parse_changelog(&schema(), text).unwrap()
}

/// Transaction `number` of a lane: so many batches of so many rows, every row with the lane's id.
pub(crate) fn transaction(lane: i64, number: usize, batches: usize, rows: usize) -> Transaction {
    let batch_text = |batch: usize| -> String {
        let row = |row: usize| format!("+U {lane} | t{number} b{batch} r{row}\n");
        (0..rows).map(row).collect()
    };
    (0..batches).map(|number| batch(&batch_text(number))).collect()
}

fn name(object: &str) -> ObjectName {
    ObjectName { catalog: "c".to_owned(), database: "d".to_owned(), object: object.to_owned() }
}

/// A plan in the making.
pub(crate) struct Plan(JobPlan);

impl Plan {
    /// A job that reads these sources and writes all their rows into one sink. Restarts follow at
    /// once, and an epoch closes after each transaction.
    pub(crate) fn new(sources: &[&ScriptSource], sink: &MemorySink) -> Self {
        let sources: Vec<PlannedSource> = sources
            .iter()
            .enumerate()
            .map(|(index, source)| PlannedSource {
                name: name(&format!("source{index}")),
                source: Arc::new((*source).clone()),
                kept: None,
                schema_change: None,
                key_columns: None,
                columns: vec![0, 1],
            })
            .collect();
        let inputs = (0..sources.len()).map(|index| StreamNode::Source { index }).collect();
        let mut plan = Self(JobPlan {
            name: "job".to_owned(),
            fingerprint: "query".to_owned(),
            sources,
            sinks: Vec::new(),
            configuration: Options::default(),
        });
        plan.add_sink(sink, StreamNode::Union { inputs });
        plan.set("execution.checkpointing.interval", "1 h")
            .set("shardlake.epoch.max-size", "1")
            .set("restart-strategy.type", "fixed-delay")
            .set("restart-strategy.fixed-delay.attempts", "1000")
            .set("restart-strategy.fixed-delay.delay", "1 ms")
    }

    fn add_sink(&mut self, sink: &MemorySink, input: StreamNode) {
        let columns = vec![
            Column::new("id", LogicalType::BigInt).not_null(),
            Column::new("name", LogicalType::String),
        ];
        let index = self.0.sinks.len();
        self.0.sinks.push(PlannedSink {
            name: name(&format!("sink{index}")),
            sink: Arc::new(sink.clone()) as Arc<dyn Sink>,
            schema: TableSchema { columns, primary_key: vec!["id".to_owned()] },
            equality_key: vec![0],
            input,
        });
    }

    /// Writes all rows of the first source into one more sink.
    pub(crate) fn and_sink(mut self, sink: &MemorySink) -> Self {
        self.add_sink(sink, StreamNode::Source { index: 0 });
        self
    }

    pub(crate) fn set(mut self, key: &str, value: &str) -> Self {
        self.0.configuration.set(key, value);
        self
    }

    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.0.name);
        self
    }

    pub(crate) fn fingerprint(mut self, fingerprint: &str) -> Self {
        fingerprint.clone_into(&mut self.0.fingerprint);
        self
    }

    /// Has this applied to each batch on its way to the first sink.
    pub(crate) fn transform(
        mut self,
        apply: impl Fn(&ChangeBatch) -> Result<ChangeBatch, Error> + Send + Sync + 'static,
    ) -> Self {
        let sink = &mut self.0.sinks[0];
        let input = std::mem::replace(&mut sink.input, StreamNode::Union { inputs: Vec::new() });
        sink.input =
            StreamNode::Transform { input: Box::new(input), transform: Arc::new(Closure(apply)) };
        self
    }

    pub(crate) fn build(self) -> JobPlan {
        self.0
    }
}

struct Closure<F>(F);

impl<F: Fn(&ChangeBatch) -> Result<ChangeBatch, Error> + Send + Sync> Transform for Closure<F> {
    fn describe(&self) -> String {
        "Closure".to_owned()
    }

    fn apply(&self, batch: &ChangeBatch) -> Result<ChangeBatch, Error> {
        (self.0)(batch)
    }
}

/// Submits a job.
pub(crate) fn submit(jobs: &Jobs, plan: Plan) -> JobHandle {
    jobs.submit(plan.build()).unwrap().job
}

/// Waits until the job has ended, and checks how.
pub(crate) fn ends(job: &JobHandle, status: JobStatus) {
    let ended = job.wait_for(HANG);
    assert_eq!(ended, status, "failure: {:?}", job.failure());
}

/// Waits until something holds.
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < HANG, "never: {what}");
        park_timeout(Duration::from_millis(1));
    }
}

/// The lines of a lane, in order.
pub(crate) fn lines_of(text: &str, lane: i64) -> Vec<String> {
    let prefix = format!("+U {lane} | ");
    text.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
}

/// The lines of a lane as it should be after so many transactions.
pub(crate) fn expected(transactions: usize, batches: usize, rows: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for transaction in 0..transactions {
        for batch in 0..batches {
            lines.extend((0..rows).map(|row| format!("t{transaction} b{batch} r{row}")));
        }
    }
    lines
}

/// A source with transactions of three rows in two batches on each of its lanes.
pub(crate) fn filled(
    source: ScriptSource,
    lanes: &[(&str, i64)],
    transactions: usize,
) -> ScriptSource {
    for (lane, id) in lanes {
        for number in 0..transactions {
            source.push(lane, transaction(*id, number, 2, 3));
        }
    }
    source
}
