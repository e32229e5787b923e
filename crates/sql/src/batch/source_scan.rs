//! Reading a bounded source to its end, for a batch query.
//!
//! The source's lanes are read by threads of their own, which hand the rows on through a bounded
//! channel. When the query needs no more rows the channel closes, the threads let go of their lanes,
//! and the source's readers end.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result, exec_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use shardlake_connector::{
    EventReceiver, ReadRequest, RunningSource, Source, SourceEvent, TableDefinition,
};
use tokio::sync::mpsc::Sender;
use uuid::Uuid;

/// Batches between the source and the query.
const CHANNEL_BATCHES: usize = 4;

/// Memory that the source may hold.
const SOURCE_MEMORY_BYTES: usize = 64 << 20;

/// A plan that reads these columns of a source until it ends.
pub(crate) fn scan_source(
    definition: &TableDefinition,
    source: &Arc<dyn Source>,
    columns: Vec<usize>,
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = Arc::new(definition.schema.to_arrow().project(&columns)?);
    // A batch without columns would not know how many rows it has: one column is read and left out.
    let columns = if columns.is_empty() { vec![0] } else { columns };
    let scan = SourceScan {
        table: definition.name.to_string(),
        source: Arc::clone(source),
        columns,
        schema: Arc::clone(&schema),
    };
    let partitions: Vec<Arc<dyn PartitionStream>> = vec![Arc::new(scan)];
    Ok(Arc::new(StreamingTableExec::try_new(schema, partitions, None, None, false, limit)?))
}

struct SourceScan {
    table: String,
    source: Arc<dyn Source>,
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl fmt::Debug for SourceScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SourceScan({})", self.table)
    }
}

impl PartitionStream for SourceScan {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder =
            RecordBatchReceiverStream::builder(Arc::clone(&self.schema), CHANNEL_BATCHES);
        let sender = builder.tx();
        let (source, columns) = (Arc::clone(&self.source), self.columns.clone());
        let schema = Arc::clone(&self.schema);
        builder.spawn_blocking(move || {
            let spill = SpillDir::new();
            let request = ReadRequest {
                columns,
                kept: None,
                key_columns: None,
                position: None,
                memory_bytes: SOURCE_MEMORY_BYTES,
                schema_change: None,
                spill_dir: spill.0.clone(),
            };
            let running = source.start(&request).map_err(connector_error)?;
            drain(running, &schema, &sender)
        });
        builder.build()
    }
}

/// A folder for what the source spills, removed at the end.
struct SpillDir(PathBuf);

impl SpillDir {
    /// Names a folder that nobody else uses; a source makes it when it needs it.
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("shardlake-query-{}", Uuid::new_v4().simple())))
    }
}

impl Drop for SpillDir {
    fn drop(&mut self) {
        // The folder may not exist, and what stays behind in the temporary folder does no harm.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn connector_error(error: shardlake_connector::Error) -> DataFusionError {
    DataFusionError::Execution(error.report())
}

type Output = Sender<Result<RecordBatch>>;

/// Reads all lanes at the same time, each on a thread, until all have ended or one has failed.
fn drain(running: RunningSource, schema: &SchemaRef, sender: &Output) -> Result<()> {
    std::thread::scope(|scope| {
        let lanes: Vec<_> = running
            .lanes
            .into_iter()
            .map(|(name, lane)| scope.spawn(move || drain_lane(&name, &lane, schema, sender)))
            .collect();
        let ends = lanes.into_iter().map(|lane| match lane.join() {
            Ok(end) => end,
            Err(_) => exec_err!("the thread that read a source has panicked"),
        });
        ends.collect()
    })
}

fn drain_lane(name: &str, lane: &EventReceiver, schema: &SchemaRef, sender: &Output) -> Result<()> {
    loop {
        match lane.next() {
            SourceEvent::Rows(batch) => {
                if !batch.kinds().is_insert_only() {
                    return exec_err!(
                        "lane '{name}' sent an update or a delete, which a batch query cannot take"
                    );
                }
                let (rows, _) = batch.into_parts();
                let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
                let columns = rows.columns().iter().take(schema.fields().len()).cloned().collect();
                let rows =
                    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?;
                if sender.blocking_send(Ok(rows)).is_err() {
                    return Ok(());
                }
            }
            // No batch query asks a source to follow columns.
            SourceEvent::Alone(_) => {}
            SourceEvent::Boundary(_) => {
                if sender.is_closed() {
                    return Ok(());
                }
            }
            SourceEvent::End => return Ok(()),
            SourceEvent::Failed(error) => return Err(connector_error(error)),
        }
    }
}
