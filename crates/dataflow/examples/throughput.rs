//! How much the engine itself costs: source -> projection -> sink that forgets, in rows/s and CPU
//! nanoseconds a row.
//!
//! `cargo run --release -p shardlake-dataflow --example throughput [rows a batch] [workers]`
#![expect(clippy::print_stdout, reason = "the numbers are what the example is for")]
#![expect(clippy::expect_used, reason = "an example may stop at the first surprise")]

use std::fs;
use std::sync::Arc;
use std::thread::Builder;
use std::time::Instant;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use shardlake_change::{ChangeBatch, TableSchema};
use shardlake_checkpoint::Limits;
use shardlake_connector::{
    Boundary, ChangelogMode, Claim, CommitOutcome, CommitRequest, Error, EventReceiver,
    JobIdentity, ObjectName, OpenedSink, Options, Phase, Sink, SinkCommitter, SinkWriter,
    SourceEvent, WriteResult, event_channel,
};
use shardlake_dataflow::{Control, End, LastCommit, Meters, Run, Settings, StartPoint, run};
use shardlake_sql::plan::{JobPlan, PlannedSink, StreamNode, Transform};

/// Swaps the first two columns.
struct Projection;

impl Transform for Projection {
    fn describe(&self) -> String {
        "Projection".to_owned()
    }

    fn apply(&self, batch: &ChangeBatch) -> Result<ChangeBatch, Error> {
        let rows = batch.rows().project(&[1, 0, 2]);
        let rows = rows.map_err(|error| Error::bug("projection").caused_by(error))?;
        ChangeBatch::try_new(rows, batch.kinds().clone())
            .map_err(|error| Error::bug("projection").caused_by(error))
    }
}

/// Counts rows and forgets them.
struct Nowhere;

#[async_trait::async_trait]
impl Sink for Nowhere {
    fn changelog_mode(&self) -> ChangelogMode {
        ChangelogMode::All
    }

    fn stores_progress(&self) -> bool {
        false
    }

    async fn prepare(&self) -> Result<(), Error> {
        Ok(())
    }

    async fn open(&self, _job: &JobIdentity) -> Result<Claim, Error> {
        Ok(Claim { sink: Box::new(Self), progress: None, generation: 1 })
    }
}

impl OpenedSink for Nowhere {
    fn writer(&self, _worker: usize, _count: usize) -> Result<Box<dyn SinkWriter>, Error> {
        Ok(Box::new(Self))
    }

    fn committer(&self) -> Result<Box<dyn SinkCommitter>, Error> {
        Ok(Box::new(Self))
    }
}

impl SinkWriter for Nowhere {
    fn write(&mut self, _epoch: u64, _batch: ChangeBatch) -> Result<(), Error> {
        Ok(())
    }

    fn close_epoch(&mut self, _epoch: u64) -> Result<WriteResult, Error> {
        Ok(WriteResult { row_count: 1, ..WriteResult::default() })
    }
}

impl SinkCommitter for Nowhere {
    fn commit(&mut self, request: &CommitRequest) -> Result<CommitOutcome, Error> {
        Ok(CommitOutcome::Committed(request.progress.epoch.to_string()))
    }
}

fn batch(rows: usize) -> ChangeBatch {
    let ids: Int64Array = (0_i64..).take(rows).collect();
    let names: StringArray = (0..rows).map(|row| Some(format!("user_{row}"))).collect();
    let rows = RecordBatch::try_from_iter([
        ("id", Arc::new(ids) as _),
        ("name", Arc::new(names.clone()) as _),
        ("email", Arc::new(names) as _),
    ]);
    ChangeBatch::inserts(rows.expect("columns of one length"))
}

/// Sends one batch again and again, each as a transaction.
fn source(batch: ChangeBatch, transactions: u64) -> EventReceiver {
    let (sender, receiver) = event_channel(64);
    let reader = Builder::new().name("reader".to_owned()).spawn(move || {
        for number in 1..=transactions {
            let boundary =
                Boundary { position: number.into(), phase: Phase::Streaming, event_time_ms: None };
            let sent = sender
                .send(SourceEvent::Rows(batch.clone()))
                .and_then(|()| sender.send(SourceEvent::Boundary(boundary)));
            if sent.is_err() {
                return;
            }
        }
        let _ended = sender.send(SourceEvent::End);
    });
    let _detached = reader.expect("a thread");
    receiver
}

fn plan() -> JobPlan {
    let name = |object: &str| ObjectName {
        catalog: "c".to_owned(),
        database: "d".to_owned(),
        object: object.to_owned(),
    };
    JobPlan {
        name: "throughput".to_owned(),
        fingerprint: String::new(),
        sources: Vec::new(),
        sinks: vec![PlannedSink {
            name: name("nowhere"),
            sink: Arc::new(Nowhere),
            schema: TableSchema::default(),
            equality_key: vec![1],
            input: StreamNode::Transform {
                input: Box::new(StreamNode::Source { index: 0 }),
                transform: Arc::new(Projection),
            },
        }],
        configuration: Options::default(),
    }
}

/// CPU time of the process in clock ticks of 10 ms, user and system.
fn cpu_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let rows = arguments.next().unwrap_or(4_096_usize);
    let parallelism = arguments.next().unwrap_or(1_usize);
    let row_total: u64 = if rows >= 1_000 { 400_000_000 } else { 2_000_000 * rows as u64 };
    let transactions = row_total / rows as u64;
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let meters = Meters::new(vec!["source".to_owned()], Vec::new(), vec!["nowhere".to_owned()]);
    let (start, cpu) = (Instant::now(), cpu_ticks());
    let end = run(Run {
        plan: plan(),
        settings: Settings {
            parallelism,
            limits: Limits {
                interval_ms: 100,
                min_pause_ms: 0,
                timeout_ms: 60_000,
                size_bytes_max: 64 << 20,
                in_flight: 2,
            },
            source_bytes: 32 << 20,
            queue_bytes: 32 << 20,
        },
        start: StartPoint { epoch: 1, position: Default::default(), fingerprint: String::new() },
        source_names: vec!["source".to_owned()],
        lanes: vec![vec![("lane".to_owned(), source(batch(rows), transactions))]],
        sinks: vec![Arc::new(Nowhere)],
        sink_epochs: Vec::new(),
        store: None,
        runtime: runtime.handle().clone(),
        control: Control::default(),
        meters: meters.clone(),
        last: LastCommit::default(),
    });
    let (wall, cpu) = (start.elapsed(), cpu_ticks() - cpu);
    assert_eq!(end.expect("the run"), End::Finished);
    let written = meters.sinks().first().map_or(0, |sink| sink.row_count);
    let epochs = meters.last_commit().map_or(0, |last| last.epoch);
    assert_eq!(written, transactions * rows as u64);
    println!(
        "{rows} rows a batch, {parallelism} workers: {written} rows, {} rows/s, {:.1} CPU ns/row, \
         {:.0} CPU ns/transaction, {epochs} epochs",
        u128::from(written) * 1_000 / wall.as_millis().max(1),
        cpu as f64 * 1e7 / written as f64,
        cpu as f64 * 1e7 / transactions as f64,
    );
}
