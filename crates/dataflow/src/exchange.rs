//! Sends rows with equal equality keys to the same worker.
//!
//! A batch is split by the hash of its key columns, which keeps the order of rows; between two
//! workers batches arrive in the order in which they were sent. So the changes of one key stay in
//! order as long as they come from one lane.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::row::{RowConverter, SortField};
use shardlake_change::ChangeBatch;
use shardlake_connector::Error;
use timely::communication::Push;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{Message, Stamp};
use xxhash_rust::xxh3::xxh3_64;

use crate::batch::Batch;
use crate::run::Shared;

/// Splits batches among workers.
pub(crate) struct KeyDistributor {
    key: Vec<usize>,
    converter: Option<RowConverter>,
    rows: Vec<Vec<u32>>,
    shared: Arc<Shared>,
}

impl KeyDistributor {
    /// Distributes by the columns of these indices.
    pub(crate) const fn new(key: Vec<usize>, shared: Arc<Shared>) -> Self {
        Self { key, converter: None, rows: Vec::new(), shared }
    }

    /// One batch for each worker; together they have all rows.
    fn split(&mut self, batch: &ChangeBatch, workers: usize) -> Result<Vec<ChangeBatch>, Error> {
        let failed = |error| Error::bug("rows cannot be split by their key").caused_by(error);
        let columns: Option<Vec<ArrayRef>> =
            self.key.iter().map(|index| batch.rows().columns().get(*index).cloned()).collect();
        let columns = columns
            .ok_or_else(|| Error::bug("an equality key names a column that is not there"))?;
        let converter = match &mut self.converter {
            Some(converter) => converter,
            none => {
                let fields =
                    columns.iter().map(|column| SortField::new(column.data_type().clone()));
                none.insert(RowConverter::new(fields.collect()).map_err(failed)?)
            }
        };
        let keys = converter.convert_columns(&columns).map_err(failed)?;
        self.rows.resize_with(workers, Vec::new);
        for (row, key) in (0_u32..).zip(&keys) {
            let hash = xxh3_64(key.as_ref()) % workers as u64;
            if let Some(rows) = usize::try_from(hash).ok().and_then(|to| self.rows.get_mut(to)) {
                rows.push(row);
            }
        }
        let parts = self.rows.iter_mut().map(|rows| {
            let rows = UInt32Array::from_iter_values(rows.drain(..));
            batch.take(&rows)
        });
        parts
            .collect::<Result<_, _>>()
            .map_err(|error| Error::bug("rows cannot be split by their key").caused_by(error))
    }
}

impl Distributor<Batch> for KeyDistributor {
    fn partition<T: Clone, P: Push<Message<T, Batch>>>(
        &mut self,
        container: &mut Batch,
        stamp: &Stamp<T>,
        pushers: &mut [P],
    ) {
        let Some((changes, credit)) = container.take() else { return };
        if changes.row_count() == 0 {
            // It tells of columns, which one writer hands to all.
            if let Some(pusher) = pushers.first_mut() {
                let mut batch = Batch::new(changes, credit);
                Message::push_at(&mut batch, stamp.clone(), pusher);
            }
            return;
        }
        // A failure loses the rows, but the run is over before their epoch can be committed.
        let parts = self.split(&changes, pushers.len()).unwrap_or_else(|error| {
            self.shared.ending.fail(error);
            Vec::new()
        });
        for (part, pusher) in parts.into_iter().zip(pushers) {
            if part.row_count() > 0 {
                let mut batch = Batch::new(part, credit.clone());
                Message::push_at(&mut batch, stamp.clone(), pusher);
            }
        }
    }

    fn flush<T: Clone, P: Push<Message<T, Batch>>>(&mut self, _: &Stamp<T>, _: &mut [P]) {}
}
