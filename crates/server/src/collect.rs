//! The sink of a streaming SELECT: hands each batch to the client.

use std::sync::Arc;

use shardlake_builtin::forgetful_claim;
use shardlake_change::ChangeBatch;
use shardlake_connector::{
    ChangelogMode, Claim, Error, JobIdentity, Sink, SinkWriter, WriteResult,
};
use shardlake_sql::diagnostic::Diagnostic;
use tokio::sync::mpsc::Sender;

/// What a query sends to its client.
pub(crate) type Delivery = Result<ChangeBatch, Diagnostic>;

/// A sink that sends into a channel and remembers nothing.
pub(crate) struct CollectSink {
    sender: Sender<Delivery>,
}

impl CollectSink {
    pub(crate) fn new(sender: Sender<Delivery>) -> Arc<Self> {
        Arc::new(Self { sender })
    }
}

#[async_trait::async_trait]
impl Sink for CollectSink {
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
        let sender = self.sender.clone();
        Ok(forgetful_claim(move |_, _| Box::new(Forward { sender: sender.clone(), row_count: 0 })))
    }
}

struct Forward {
    sender: Sender<Delivery>,
    row_count: u64,
}

impl SinkWriter for Forward {
    fn write(&mut self, _epoch: u64, batch: ChangeBatch) -> Result<(), Error> {
        self.row_count += batch.row_count() as u64;
        self.sender
            .blocking_send(Ok(batch))
            .map_err(|_| Error::job("the client no longer reads the result"))
    }

    fn close_epoch(&mut self, _epoch: u64) -> Result<WriteResult, Error> {
        let row_count = std::mem::take(&mut self.row_count);
        Ok(WriteResult { row_count, ..WriteResult::default() })
    }
}
