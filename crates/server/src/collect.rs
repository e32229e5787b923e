//! How the rows of a query reach its client: through a channel that bounds how far ahead it runs.

use std::sync::Arc;

use futures::StreamExt;
use shardlake_builtin::forgetful_claim;
use shardlake_change::ChangeBatch;
use shardlake_connector::{
    ChangelogMode, Claim, Error, JobIdentity, Sink, SinkWriter, WriteResult,
};
use shardlake_sql::batch::BatchQuery;
use shardlake_sql::diagnostic::Diagnostic;
use tokio::sync::mpsc::Sender;

/// What a query sends to its client.
pub type Delivery = Result<ChangeBatch, Diagnostic>;

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

/// Sends the rows of a batch query.
pub(crate) async fn send_batches(query: BatchQuery, sender: Sender<Delivery>) {
    let mut stream = match query.execute().await {
        Ok(stream) => stream,
        // Nobody may be listening any more; then there is nobody to tell.
        Err(error) => return sender.send(Err(error)).await.unwrap_or_default(),
    };
    while let Some(batch) = stream.next().await {
        let delivery = batch.map(ChangeBatch::inserts).map_err(|error| BatchQuery::error(&error));
        let failed = delivery.is_err();
        if sender.send(delivery).await.is_err() || failed {
            return;
        }
    }
}
