//! What reading a table costs after many commits, beside a copy that was written at once.
//!
//! ```text
//! read_cost WAREHOUSE COMMITS    fills db.aged by COMMITS commits of mixed changes with maintenance on, and
//!                                db.fresh with the same rows by one commit; prints sizes and times
//! ```
#![expect(clippy::print_stdout, reason = "a tool for the terminal")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::execution::context::{SessionConfig, SessionContext};
use shardlake_change::{ChangeBatch, Column, LogicalType, RowKind, RowKinds, TableSchema};
use shardlake_iceberg_table::commit::{Committer, RowDelta};
use shardlake_iceberg_table::maintenance::{
    CompactionOptions, RewriteStatistics, Throttle, file_counts, merge_position_deletes,
    plan_compaction, remove_expired,
};
use shardlake_iceberg_table::{
    AsOf, Catalog, DeltaWriter, DeltaWriterOptions, HadoopCatalog, IcebergTableProvider, Table,
    TableCreation, TableName, WriterShared,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

const BASE_ROWS: i64 = 500_000;

#[tokio::main(worker_threads = 2)]
async fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [warehouse, commits] = args.as_slice() else {
        return Err("usage: read_cost WAREHOUSE COMMITS".into());
    };
    let commits: u64 = commits.parse()?;
    let mut aged = Lake::create(warehouse, "aged").await?;
    let mut latencies = Vec::new();
    let mut rewritten = (RewriteStatistics::default(), Duration::ZERO);
    aged.base()?;
    aged.commit(1).await?;
    println!("commits  files deletes snapshots metadata_bytes planning  commit p50 / p99");
    for commit in 1..=commits {
        aged.changes(commit)?;
        latencies.push(aged.commit(commit + 1).await?);
        if commit % 10 == 0 {
            aged.maintain(&mut rewritten).await?;
        }
        if [1, 100, 1_000].contains(&commit) || commit == commits {
            report(commit, &aged, &mut latencies).await?;
        }
    }
    let (statistics, took) = rewritten;
    let megabytes = statistics.rewritten_bytes as f64 / 1e6;
    println!("compaction: {megabytes:.0} MB in, {:.0} MB/s", megabytes / took.as_secs_f64());
    let mut fresh = Lake::create(warehouse, "fresh").await?;
    fresh.copy(aged.committer.table()).await?;
    for sql in [
        "SELECT count(*) FROM t",
        "SELECT sum(id), max(name) FROM t",
        "SELECT * FROM t WHERE id = 4711",
    ] {
        let aged = best_ms(aged.committer.table(), sql).await?;
        let fresh = best_ms(fresh.committer.table(), sql).await?;
        println!("{sql}: aged {aged:.1} ms, fresh {fresh:.1} ms, {:.2}x", aged / fresh);
    }
    Ok(())
}

async fn report(commit: u64, lake: &Lake, latencies: &mut Vec<Duration>) -> Outcome<()> {
    let table = lake.committer.table();
    let size = std::fs::metadata(table.metadata_location())?.len();
    let (data, deletes) = file_counts(table).ok_or("no counts")?;
    let snapshots = table.metadata().snapshots().len();
    let planning = best_ms(table, "SELECT count(*) FROM t WHERE id < 0").await?;
    latencies.sort_unstable();
    let at =
        |share: usize| latencies.get(latencies.len() * share / 100).copied().unwrap_or_default();
    println!(
        "{commit:7} {data:6} {deletes:7} {snapshots:9} {size:14} {planning:6.1} ms  {:.1?} / {:.1?}",
        at(50),
        at(99)
    );
    latencies.clear();
    Ok(())
}

async fn best_ms(table: &Table, sql: &str) -> Outcome<f64> {
    let mut best = f64::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        let provider = IcebergTableProvider::new(table.clone(), &AsOf::Current)?;
        let context =
            SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
        context.register_table("t", Arc::new(provider))?;
        context.sql(sql).await?.collect().await?;
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(best)
}

struct Lake {
    committer: Committer,
    writer: DeltaWriter,
    schema: TableSchema,
}

impl Lake {
    async fn create(warehouse: &str, name: &str) -> Outcome<Self> {
        let columns = vec![
            Column::new("id", LogicalType::BigInt).not_null(),
            Column::new("name", LogicalType::String),
            Column::new("amount", LogicalType::BigInt),
        ];
        let schema = TableSchema { columns, primary_key: vec!["id".to_owned()] };
        let catalog: Arc<dyn Catalog> = Arc::new(HadoopCatalog::new(warehouse)?);
        let name = TableName::new("db", name);
        let creation = TableCreation { schema: schema.clone(), ..TableCreation::default() };
        catalog.create(&name, &creation).await?;
        let mut committer = Committer::claim(catalog, &name, "cost", "cost").await?;
        let shared = WriterShared::load(committer.table(), DeltaWriterOptions::default()).await?;
        committer.follow(shared.relocations());
        Ok(Self { committer, writer: DeltaWriter::new(shared, 0), schema })
    }

    fn write(&mut self, epoch: u64, ids: Vec<i64>, version: u64, kind: RowKind) -> Outcome<()> {
        let names =
            ids.iter().map(|id| format!("name {:x} {version}", id.wrapping_mul(2_654_435_761)));
        let amounts: Vec<i64> = ids.iter().map(|id| id.wrapping_mul(7_919) % 1_000_003).collect();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(ids.clone())),
            Arc::new(StringArray::from_iter_values(names)),
            Arc::new(Int64Array::from(amounts)),
        ];
        let rows = RecordBatch::try_new(self.schema.to_arrow(), columns)?;
        let kinds = RowKinds::uniform(kind, rows.num_rows());
        Ok(self.writer.write(epoch, ChangeBatch::try_new(rows, kinds)?)?)
    }

    fn base(&mut self) -> Outcome<()> {
        for start in (0..BASE_ROWS).step_by(8_192) {
            self.write(1, (start..BASE_ROWS.min(start + 8_192)).collect(), 0, RowKind::Insert)?;
        }
        Ok(())
    }

    /// 50 new rows, 40 updates and 10 deletes anywhere.
    fn changes(&mut self, commit: u64) -> Outcome<()> {
        let epoch = commit + 1;
        let first = BASE_ROWS + i64::try_from(commit)? * 50;
        self.write(epoch, (first..first + 50).collect(), commit, RowKind::Insert)?;
        let spread = |number: u64| {
            let hash = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20;
            i64::try_from(hash % first.unsigned_abs()).unwrap_or(0)
        };
        let updated = (0..40).map(|number| spread(commit * 50 + number)).collect();
        self.write(epoch, updated, commit, RowKind::UpdateAfter)?;
        let deleted = (40..50).map(|number| spread(commit * 50 + number)).collect();
        self.write(epoch, deleted, commit, RowKind::Delete)
    }

    async fn commit(&mut self, epoch: u64) -> Outcome<Duration> {
        let files = self.writer.close_epoch(epoch)?;
        let start = Instant::now();
        self.committer.commit(RowDelta { files, ..RowDelta::default() }).await?;
        Ok(start.elapsed())
    }

    async fn maintain(&mut self, done: &mut (RewriteStatistics, Duration)) -> Outcome<()> {
        let options = CompactionOptions::default();
        let start = Instant::now();
        if let Some(mut plan) = plan_compaction(self.committer.table(), &options).await? {
            while let Some(rewritten) = plan.rewrite_next(&mut Throttle::none()).await? {
                self.committer.commit_rewrite(&rewritten).await?;
                done.0.add(&rewritten.statistics);
                done.1 += start.elapsed();
            }
        }
        if let Some(merged) = merge_position_deletes(self.committer.table(), 10).await? {
            self.committer.commit_rewrite(&merged).await?;
        }
        let expired = self.committer.take_expired();
        remove_expired(self.committer.table(), &expired).await?;
        Ok(())
    }

    async fn copy(&mut self, from: &Table) -> Outcome<()> {
        let provider = IcebergTableProvider::new(from.clone(), &AsOf::Current)?;
        let context = SessionContext::new();
        context.register_table("t", Arc::new(provider))?;
        for batch in context.sql("SELECT * FROM t").await?.collect().await? {
            self.writer.write(1, ChangeBatch::inserts(batch))?;
        }
        self.commit(1).await.map(drop)
    }
}
