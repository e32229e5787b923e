//! Measures the upsert path: changes in, committed files out, with a key index of a given size.
//!
//!     cargo run --release --example write_speed -- KEYS UPDATES [INDEX_MB] [FORMAT_VERSION] [MODE]
//!
//! The table has seven columns. First KEYS rows are inserted, then UPDATES updates of random keys come
//! in commits of 50,000. Prints rows per CPU-second of this process, the time of commits and the peak of memory.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use futures::executor::block_on;
use shardlake_change::{ChangeBatch, Column, LogicalType, RowKind, RowKinds, TableSchema};
use shardlake_iceberg_table::commit::{Committer, RowDelta};
use shardlake_iceberg_table::{
    Catalog, DeltaWriter, DeltaWriterOptions, HadoopCatalog, TableCreation, TableName, WriterShared,
};

type Result<T> = std::result::Result<T, Box<dyn StdError>>;

const BATCH_ROWS: i64 = 8_192;
const COMMIT_ROWS: i64 = 50_000;

fn schema() -> TableSchema {
    let mut columns = vec![Column::new("id", LogicalType::BigInt).not_null()];
    let names = ["db_name", "table_name", "name", "address", "phone", "email"];
    columns.extend(names.map(|name| Column::new(name, LogicalType::String)));
    TableSchema { columns, primary_key: vec!["id".to_owned()] }
}

/// Rows with these ids; `version` makes the values differ.
fn rows(schema: &SchemaRef, ids: &[i64], version: i64) -> Result<RecordBatch> {
    let text = |f: &dyn Fn(i64) -> String| -> ArrayRef {
        Arc::new(ids.iter().map(|id| Some(f(*id))).collect::<StringArray>())
    };
    Ok(RecordBatch::try_new(
        Arc::clone(schema),
        vec![
            Arc::new(Int64Array::from_iter_values(ids.iter().copied())),
            text(&|id| format!("user_db_{}", id % 2)),
            text(&|id| format!("user_table_{}", id % 4)),
            text(&|id| format!("name {}", id.wrapping_mul(2_654_435_761) % 1_000_003)),
            text(&|id| format!("{} street of {}", id % 10_007, id % 101)),
            text(&|id| format!("+49 {}", id.wrapping_mul(7_919) % 100_000_007)),
            text(&|id| format!("{id}.{version}@example.org")),
        ],
    )?)
}

/// CPU time that this process has used.
fn cpu() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

fn peak_mb() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) / 1024)
}

struct Run {
    committer: Committer,
    writer: DeltaWriter,
    epoch: u64,
    commits: Vec<Duration>,
}

impl Run {
    fn commit(&mut self) -> Result<()> {
        let files = self.writer.close_epoch(self.epoch)?;
        let started = Instant::now();
        block_on(self.committer.commit(RowDelta { files, ..RowDelta::default() }))?;
        self.commits.push(started.elapsed());
        self.epoch += 1;
        Ok(())
    }
}

#[expect(clippy::print_stdout, reason = "the output of this program is its result")]
fn report(what: &str, rows: i64, cpu: Duration, elapsed: Duration, run: &mut Run) -> Result<()> {
    run.commits.sort();
    let at = |share: usize| {
        let last = run.commits.len().saturating_sub(1);
        run.commits.get(last * share / 100).copied().unwrap_or_default().as_secs_f64() * 1e3
    };
    let per_cpu = rows as f64 / cpu.as_secs_f64();
    let index = run.writer.shared().index();
    println!(
        "{what}: {rows} rows, {per_cpu:.0} per CPU-second, {:.0} per second, commit p50 {:.1} ms, p99 {:.1} ms, \
         index {} MB for {} keys, peak {} MB",
        rows as f64 / elapsed.as_secs_f64(),
        at(50),
        at(99),
        index.size_bytes() / 1_000_000,
        index.len(),
        peak_mb()?
    );
    run.commits.clear();
    Ok(())
}

/// Updates of random keys, both images of each. The rows are made beforehand, so that making them does
/// not count.
fn update_batches(schema: &SchemaRef, keys: i64, updates: i64) -> Result<Vec<RecordBatch>> {
    let mut state = 1_u64;
    let mut batches = Vec::new();
    for version in 0..updates / (BATCH_ROWS / 2) {
        let ids: Vec<i64> = (0..BATCH_ROWS / 2)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                i64::try_from((state >> 33) % keys.unsigned_abs()).unwrap_or(0)
            })
            .flat_map(|id| [id, id])
            .collect();
        batches.push(rows(schema, &ids, version)?);
    }
    Ok(batches)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |at: usize, usual: i64| -> Result<i64> {
        Ok(arguments.get(at).map(|text| text.parse()).transpose()?.unwrap_or(usual))
    };
    let (keys, updates, index_mb) = (number(0, 1_000_000)?, number(1, 500_000)?, number(2, 1_024)?);
    let mode = arguments.get(4).map(|text| text.parse()).transpose()?;
    let format_version = u8::try_from(number(3, 2)?)?;
    let dir = env::temp_dir().join(format!("write-speed-{}", std::process::id()));
    let catalog: Arc<dyn Catalog> =
        Arc::new(HadoopCatalog::new(dir.to_str().ok_or("the path is not UTF-8")?)?);
    let name = TableName::new("db", "users");
    let declared = schema();
    let arrow = declared.to_arrow();
    let creation = TableCreation { schema: declared, format_version, ..TableCreation::default() };
    block_on(catalog.create(&name, &creation))?;
    let committer = block_on(Committer::claim(Arc::clone(&catalog), &name, "speed", "1"))?;
    let options = DeltaWriterOptions {
        index_memory_bytes: usize::try_from(index_mb)? << 20,
        delete_mode: mode,
        ..DeltaWriterOptions::default()
    };
    let shared = block_on(WriterShared::load(committer.table(), options))?;
    let mut run =
        Run { committer, writer: DeltaWriter::new(shared, 0), epoch: 1, commits: Vec::new() };

    let mut used = Duration::ZERO;
    let started = Instant::now();
    for first in (0..keys).step_by(usize::try_from(BATCH_ROWS)?) {
        let ids: Vec<i64> = (first..keys.min(first + BATCH_ROWS)).collect();
        let batch = ChangeBatch::inserts(rows(&arrow, &ids, 0)?);
        let before = cpu()?;
        run.writer.write(run.epoch, batch)?;
        used += cpu()?.saturating_sub(before);
        if (first / BATCH_ROWS) % 128 == 127 {
            run.commit()?;
        }
    }
    run.commit()?;
    report("insert", keys, cpu()?, started.elapsed(), &mut run)?;

    let batches = update_batches(&arrow, keys, updates)?;
    let pairs = [RowKind::UpdateBefore, RowKind::UpdateAfter];
    let (before, started) = (cpu()?, Instant::now());
    let mut count = 0;
    let mut in_epoch = 0;
    for batch in batches {
        let changes = i64::try_from(batch.num_rows() / 2)?;
        let kinds: Vec<RowKind> = pairs.iter().copied().cycle().take(batch.num_rows()).collect();
        run.writer.write(run.epoch, ChangeBatch::try_new(batch, RowKinds::Mixed(kinds))?)?;
        count += changes;
        in_epoch += changes;
        if in_epoch >= COMMIT_ROWS {
            in_epoch = 0;
            run.commit()?;
        }
    }
    run.commit()?;
    report("update", count, cpu()?.saturating_sub(before), started.elapsed(), &mut run)?;

    drop(run);
    let committer = block_on(Committer::claim(catalog, &name, "speed", "2"))?;
    let (before, started) = (cpu()?, Instant::now());
    let shared = block_on(WriterShared::load(committer.table(), options))?;
    let writer = DeltaWriter::new(shared, 0);
    let mut run = Run { committer, writer, epoch: 1, commits: Vec::new() };
    report("rebuild", keys, cpu()?.saturating_sub(before), started.elapsed(), &mut run)?;
    fs::remove_dir_all(&dir)?;
    Ok(())
}
