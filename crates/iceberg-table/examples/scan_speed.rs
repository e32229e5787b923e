//! How fast a table is read.
//!
//! ```text
//! scan_speed make WAREHOUSE ROWS          fills db.big with ROWS rows of ten columns
//! scan_speed upserts WAREHOUSE COMMITS    fills db.small by COMMITS commits of 100 upserts, half of them updates
//! scan_speed query WAREHOUSE TABLE SQL    runs SQL, in which the table is `t`, five times in one process
//! ```
#![expect(clippy::print_stdout, reason = "a tool for the terminal")]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    ArrayRef, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::SchemaRef;
use arrow::util::pretty::pretty_format_batches;
use datafusion::execution::context::{SessionConfig, SessionContext};
use shardlake_change::{ChangeBatch, Column, LogicalType, RowKind, RowKinds, TableSchema};
use shardlake_iceberg_table::commit::{Committer, RowDelta};
use shardlake_iceberg_table::{
    AsOf, Catalog, DeltaWriter, DeltaWriterOptions, HadoopCatalog, IcebergTableProvider,
    TableCreation, TableName, WriterShared,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

#[tokio::main(worker_threads = 2)]
async fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["make", warehouse, rows] => make(warehouse, rows.parse()?).await,
        ["upserts", warehouse, commits] => upserts(warehouse, commits.parse()?).await,
        ["query", warehouse, table, sql] => query(warehouse, table, sql).await,
        _ => Err("usage: scan_speed make|upserts|query WAREHOUSE …; see its source".into()),
    }
}

fn schema(primary_key: &[&str]) -> TableSchema {
    let mut columns = vec![Column::new("id", LogicalType::BigInt).not_null()];
    for name in ["a", "b", "c"] {
        columns.push(Column::new(name, LogicalType::Int));
    }
    for name in ["x", "y", "z"] {
        columns.push(Column::new(name, LogicalType::String));
    }
    columns.push(Column::new("d", LogicalType::Double));
    columns.push(Column::new("e", LogicalType::Decimal { precision: 10, scale: 2 }));
    columns.push(Column::new("at", LogicalType::Timestamp(6)));
    let primary_key = primary_key.iter().map(|name| (*name).to_owned()).collect();
    TableSchema { columns, primary_key }
}

/// Rows with these ids. All other values follow from the id.
fn rows(schema: &SchemaRef, ids: &[i64]) -> Outcome<RecordBatch> {
    // A multiplicative hash spreads the ids.
    let spread = |id: i64| id.wrapping_mul(0x5851_F42D_4C95_7F2D).unsigned_abs() >> 16;
    let ints = |shift: u32, modulo: u64| -> Outcome<ArrayRef> {
        let values: Result<Vec<i32>, _> =
            ids.iter().map(|id| i32::try_from((spread(*id) >> shift) % modulo)).collect();
        Ok(Arc::new(Int32Array::from(values?)))
    };
    let texts = |shift: u32| -> ArrayRef {
        let values = ids.iter().map(|id| format!("value-{:016x}", spread(*id) >> shift));
        Arc::new(StringArray::from_iter_values(values))
    };
    let small: Vec<i32> =
        ids.iter().map(|id| i32::try_from(spread(*id) % 1_000_000)).collect::<Result<_, _>>()?;
    let decimals = Decimal128Array::from_iter_values(small.iter().map(|v| i128::from(*v)));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(ids.to_vec())),
        ints(0, 100)?,
        ints(7, 10_000)?,
        ints(13, 1_000_000)?,
        texts(0),
        texts(24),
        texts(44),
        Arc::new(Float64Array::from_iter_values(small.iter().map(|v| f64::from(*v) / 7.0))),
        Arc::new(decimals.with_precision_and_scale(10, 2)?),
        Arc::new(TimestampMicrosecondArray::from_iter_values(
            ids.iter().map(|id| 1_700_000_000_000_000 + id * 1_000_000),
        )),
    ];
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

async fn create(
    warehouse: &str,
    name: &TableName,
    schema: &TableSchema,
) -> Outcome<(Committer, DeltaWriter)> {
    let catalog: Arc<dyn Catalog> = Arc::new(HadoopCatalog::new(warehouse)?);
    let creation = TableCreation { schema: schema.clone(), ..TableCreation::default() };
    let table = catalog.create(name, &creation).await?;
    let shared = WriterShared::load(&table, DeltaWriterOptions::default()).await?;
    let committer = Committer::claim(catalog, name, "speed", "speed").await?;
    Ok((committer, DeltaWriter::new(shared, 0)))
}

async fn make(warehouse: &str, count: i64) -> Outcome<()> {
    let declared = schema(&[]);
    let (mut committer, mut writer) =
        create(warehouse, &TableName::new("db", "big"), &declared).await?;
    let arrow = declared.to_arrow();
    for start in (0..count).step_by(8_192) {
        let ids: Vec<i64> = (start..count.min(start + 8_192)).collect();
        writer.write(1, ChangeBatch::inserts(rows(&arrow, &ids)?))?;
    }
    let files = writer.close_epoch(1)?;
    committer.commit(RowDelta { files, ..RowDelta::default() }).await?;
    Ok(())
}

async fn upserts(warehouse: &str, commits: i64) -> Outcome<()> {
    let declared = schema(&["id"]);
    let (mut committer, mut writer) =
        create(warehouse, &TableName::new("db", "small"), &declared).await?;
    let arrow = declared.to_arrow();
    for commit in 0..commits {
        let epoch = u64::try_from(commit)? + 1;
        // The first half repeats the second half of the commit before.
        let ids: Vec<i64> = (commit * 50..commit * 50 + 100).collect();
        let kinds = RowKinds::uniform(RowKind::UpdateAfter, ids.len());
        writer.write(epoch, ChangeBatch::try_new(rows(&arrow, &ids)?, kinds)?)?;
        let files = writer.close_epoch(epoch)?;
        committer.commit(RowDelta { files, ..RowDelta::default() }).await?;
    }
    Ok(())
}

async fn query(warehouse: &str, table: &str, sql: &str) -> Outcome<()> {
    let catalog = HadoopCatalog::new(warehouse)?;
    for run in 0..5 {
        let start = Instant::now();
        let loaded = catalog.load(&TableName::new("db", table)).await?;
        let provider = IcebergTableProvider::new(loaded, &AsOf::Current)?;
        let config = SessionConfig::new().with_target_partitions(2);
        let context = SessionContext::new_with_config(config);
        context.register_table("t", Arc::new(provider))?;
        let plan = context.sql(sql).await?.create_physical_plan().await?;
        let planned = start.elapsed();
        let batches = datafusion::physical_plan::collect(plan, context.task_ctx()).await?;
        println!("run {run}: {:?} (planned in {planned:?})", start.elapsed());
        if run == 4 {
            println!("{}", pretty_format_batches(&batches)?);
        }
    }
    Ok(())
}
