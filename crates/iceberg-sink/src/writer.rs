//! One worker's writer.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use futures::executor::block_on;
use shardlake_change::{ChangeBatch, RowKind, RowKinds};
use shardlake_connector::{Error, RowRemoval, SinkWriter, WriteResult};
use shardlake_iceberg_table::{DeltaWriter, WrittenFiles, rows_where};

use crate::error::from_lake;
use crate::follow::{self, Draft, Follow};

/// Turns changes into files; what it hands on are the files' names and statistics.
pub(crate) struct IcebergWriter {
    delta: DeltaWriter,
    row_counts: BTreeMap<u64, u64>,
    following: Option<Following>,
}

/// How a writer follows the columns of its source.
struct Following {
    follow: Arc<Follow>,
    worker: usize,
    draft: Draft,
    /// The columns of the last batch, for which the draft has room.
    columns: Option<SchemaRef>,
    /// Writers of earlier schemas, with files of epochs that are not closed.
    older: Vec<DeltaWriter>,
}

impl IcebergWriter {
    pub(crate) const fn new(delta: DeltaWriter) -> Self {
        Self { delta, row_counts: BTreeMap::new(), following: None }
    }

    /// A writer that follows the columns of what it is given.
    pub(crate) fn following(follow: Arc<Follow>, worker: usize) -> Result<Self, Error> {
        let draft = follow.with_room_for(&arrow::datatypes::Schema::empty())?;
        let delta = DeltaWriter::new(Arc::clone(&draft.shared), worker);
        let following = Following { follow, worker, draft, columns: None, older: Vec::new() };
        Ok(Self { delta, row_counts: BTreeMap::new(), following: Some(following) })
    }

    fn count(&mut self, epoch: u64, rows: usize) {
        *self.row_counts.entry(epoch).or_default() += rows as u64;
    }

    /// Takes the schema that has room for a batch's columns.
    fn adopt(&mut self, columns: SchemaRef) -> Result<(), Error> {
        let Some(following) = &mut self.following else { return Ok(()) };
        if following.columns.as_ref() == Some(&columns) {
            return Ok(());
        }
        following.draft = following.follow.with_room_for(&columns)?;
        following.columns = Some(columns);
        let shared = &following.draft.shared;
        if !Arc::ptr_eq(shared, self.delta.shared()) {
            self.delta.hand_over().map_err(from_lake)?;
            let newer = DeltaWriter::new(Arc::clone(shared), following.worker);
            following.older.push(std::mem::replace(&mut self.delta, newer));
        }
        Ok(())
    }

    /// Deletes the rows that a removal tells of. Everything before it is committed.
    fn remove(&mut self, epoch: u64, removal: &RowRemoval) -> Result<(), Error> {
        let Some(following) = &self.following else { return Ok(()) };
        let table = following.follow.committed();
        let schema = Arc::clone(following.draft.arrow_schema());
        let (delta, mut removed) = (&mut self.delta, 0);
        let mut failure = None;
        let outcome = block_on(rows_where(&table, &removal.any_of, &mut |rows| {
            removed += rows.num_rows();
            let kinds = RowKinds::uniform(RowKind::Delete, rows.num_rows());
            let batch = ChangeBatch::try_new(rows, kinds)
                .map_err(|error| Error::bug("rows cannot be removed").caused_by(error))
                .and_then(|batch| follow::complete(batch, &schema));
            match batch {
                Ok(batch) => delta.write(epoch, batch),
                Err(error) => {
                    failure = Some(error);
                    Ok(())
                }
            }
        }));
        outcome.map_err(from_lake)?;
        if let Some(error) = failure {
            return Err(error);
        }
        tracing::info!(table = %table.name(), epoch, row_count = removed, "removed rows");
        self.count(epoch, removed);
        Ok(())
    }
}

impl SinkWriter for IcebergWriter {
    fn write(&mut self, epoch: u64, mut batch: ChangeBatch) -> Result<(), Error> {
        if self.following.is_some() {
            if let Some(removal) = RowRemoval::of_batch(&batch) {
                return self.remove(epoch, &removal);
            }
            self.adopt(batch.schema())?;
            if let Some(following) = &self.following {
                batch = follow::complete(batch, following.draft.arrow_schema())?;
            }
        }
        self.count(epoch, batch.row_count());
        self.delta.write(epoch, batch).map_err(from_lake)
    }

    fn close_epoch(&mut self, epoch: u64) -> Result<WriteResult, Error> {
        let mut files = WrittenFiles::default();
        if let Some(following) = &mut self.following {
            for older in &mut following.older {
                files.append(older.close_epoch(epoch).map_err(from_lake)?);
            }
            following.older.retain(DeltaWriter::has_open_epochs);
        }
        files.append(self.delta.close_epoch(epoch).map_err(from_lake)?);
        Ok(WriteResult {
            row_count: self.row_counts.remove(&epoch).unwrap_or(0),
            size_bytes: files.size_bytes(),
            committable: match &self.following {
                Some(following) => follow::frame(&following.draft, &files)?,
                None => files.encode().map_err(from_lake)?,
            },
        })
    }
}
