//! One worker's writer.

use std::collections::BTreeMap;

use shardlake_change::ChangeBatch;
use shardlake_connector::{Error, SinkWriter, WriteResult};
use shardlake_iceberg_table::DeltaWriter;

use crate::error::from_lake;

/// Turns changes into files; what it hands on are the files' names and statistics.
pub(crate) struct IcebergWriter {
    delta: DeltaWriter,
    row_counts: BTreeMap<u64, u64>,
}

impl IcebergWriter {
    pub(crate) const fn new(delta: DeltaWriter) -> Self {
        Self { delta, row_counts: BTreeMap::new() }
    }
}

impl SinkWriter for IcebergWriter {
    fn write(&mut self, epoch: u64, batch: ChangeBatch) -> Result<(), Error> {
        *self.row_counts.entry(epoch).or_default() += batch.row_count() as u64;
        self.delta.write(epoch, batch).map_err(from_lake)
    }

    fn close_epoch(&mut self, epoch: u64) -> Result<WriteResult, Error> {
        let files = self.delta.close_epoch(epoch).map_err(from_lake)?;
        Ok(WriteResult {
            row_count: self.row_counts.remove(&epoch).unwrap_or(0),
            size_bytes: files.size_bytes(),
            committable: files.encode().map_err(from_lake)?,
        })
    }
}
