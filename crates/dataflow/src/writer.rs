//! The thread of a sink's writer.
//!
//! It does what the sink operator asks, in order, and may block. Batches that wait are joined. A
//! batch's credit is given back when the batch has been written. The thread ends when the operator
//! is gone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender};
use shardlake_connector::{Error, OpenedSink, SinkWriter, WriteResult};

use crate::batch::Batch;
use crate::coalesce::Coalescer;
use crate::credit::{Credit, Wake};
use crate::meters::Meter;
use crate::run::Shared;

/// What a writer is to do.
pub(crate) enum Task {
    /// Write rows of an epoch.
    Write(u64, Batch),
    /// Make everything of an epoch durable.
    Close(u64),
}

/// What a writer made of an epoch.
pub(crate) struct Closed {
    pub(crate) epoch: u64,
    pub(crate) result: WriteResult,
}

/// A writer's surroundings.
pub(crate) struct WriterSeat {
    /// The sink.
    pub(crate) sink: Arc<dyn OpenedSink>,
    /// Its index in the plan.
    pub(crate) sink_index: usize,
    /// The worker for which this writer works.
    pub(crate) worker: usize,
    /// The number of workers.
    pub(crate) worker_count: usize,
    /// What to do.
    pub(crate) tasks: Receiver<Task>,
    /// Where results go.
    pub(crate) results: Sender<Closed>,
    /// Called after each result.
    pub(crate) wake: Wake,
}

impl WriterSeat {
    /// Starts the thread.
    pub(crate) fn spawn(self, shared: &Arc<Shared>) {
        let name = format!("sink-{}-{}", self.sink_index, self.worker);
        let run = Arc::clone(shared);
        shared.spawn(&name, move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| self.work(&run)));
            match outcome {
                Ok(Ok(())) => {}
                Ok(Err(error)) => run.ending.fail(error),
                Err(payload) => run.ending.panicked("a sink's writer", payload.as_ref()),
            }
        });
    }

    fn work(self, shared: &Shared) -> Result<(), Error> {
        let writer = self.sink.writer(self.worker, self.worker_count)?;
        let meter = shared.meters.sink(self.sink_index);
        let mut writing = Writing { writer, meter, epoch: 0, coalescer: Coalescer::default() };
        while let Ok(task) = self.tasks.recv() {
            let mut next = Some(task);
            // Rows wait for others only while there are any.
            while let Some(task) = next {
                if shared.ending.is_over() {
                    return Ok(());
                }
                let meter = Arc::clone(&writing.meter);
                let _busy = meter.busy();
                match task {
                    Task::Write(epoch, batch) => writing.add(epoch, batch)?,
                    Task::Close(epoch) => {
                        writing.flush()?;
                        let result = writing.writer.close_epoch(epoch)?;
                        if self.results.send(Closed { epoch, result }).is_err() {
                            return Ok(());
                        }
                        (self.wake)();
                    }
                }
                next = self.tasks.try_recv().ok();
            }
            writing.flush()?;
        }
        Ok(())
    }
}

/// Rows on their way into a writer.
struct Writing {
    writer: Box<dyn SinkWriter>,
    meter: Arc<Meter>,
    epoch: u64,
    coalescer: Coalescer<Option<Arc<Credit>>>,
}

impl Writing {
    fn add(&mut self, epoch: u64, mut batch: Batch) -> Result<(), Error> {
        let Some((changes, credit)) = batch.take() else { return Ok(()) };
        if epoch != self.epoch {
            self.flush()?;
            self.epoch = epoch;
        }
        self.meter.add_rows(changes.row_count() as u64);
        if changes.row_count() == 0 {
            self.flush()?;
            return self.writer.write(epoch, changes);
        }
        let size_bytes = credit.as_ref().map_or(0, |credit| credit.size_bytes());
        for (changes, credits) in self.coalescer.push(changes, size_bytes, credit)? {
            self.writer.write(epoch, changes)?;
            drop(credits);
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        if let Some((changes, credits)) = self.coalescer.flush()? {
            self.writer.write(self.epoch, changes)?;
            drop(credits);
        }
        Ok(())
    }
}
