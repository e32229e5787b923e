//! `'connector' = 'blackhole'`: takes everything, keeps nothing.

use std::sync::Arc;

use async_trait::async_trait;
use shardlake_change::ChangeBatch;
use shardlake_connector::{
    ChangelogMode, Claim, Error, JobIdentity, OptionSpec, Sink, SinkFactory, SinkWriter,
    TableDefinition, WriteResult,
};

use crate::forgetful::forgetful_claim;

/// Makes `blackhole` sinks.
pub struct BlackholeFactory;

impl SinkFactory for BlackholeFactory {
    fn connector(&self) -> &'static str {
        "blackhole"
    }

    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }

    fn create(&self, table: &TableDefinition) -> Result<Arc<dyn Sink>, Error> {
        table.options.validate(self.connector(), self.options())?;
        Ok(Arc::new(Blackhole))
    }
}

struct Blackhole;

#[async_trait]
impl Sink for Blackhole {
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
        Ok(forgetful_claim(|_, _| Box::new(DropRows { row_count: 0 })))
    }
}

struct DropRows {
    row_count: u64,
}

impl SinkWriter for DropRows {
    fn write(&mut self, _epoch: u64, batch: ChangeBatch) -> Result<(), Error> {
        self.row_count += batch.row_count() as u64;
        Ok(())
    }

    fn close_epoch(&mut self, _epoch: u64) -> Result<WriteResult, Error> {
        let row_count = std::mem::take(&mut self.row_count);
        Ok(WriteResult { row_count, ..WriteResult::default() })
    }
}
