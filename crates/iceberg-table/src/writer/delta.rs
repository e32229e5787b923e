//! From a changelog to data files and deletes.
//!
//! Changes are collected in a window. At its end the key index is told, in order, where each added row
//! will be; what the index says in return is the former place of the key's row. A former place in the
//! window itself means that the row is never written (so only the last state of a key is); a former
//! place in any other file, committed or not, becomes a delete.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use arrow::array::{Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use shardlake_change::ChangeBatch;

use super::encoder::Encoder;
use super::epoch::EpochWriter;
use super::files::RegisteredFile;
use super::{WriterShared, WrittenFiles};
use crate::Error;
use crate::index::Location;

/// Turns changes of one table into files. Changes of one key must come to one writer, in order.
///
/// Epochs may overlap: each has its files of its own, which it names when it is closed.
pub struct DeltaWriter {
    shared: Arc<WriterShared>,
    worker: usize,
    epochs: BTreeMap<u64, EpochWriter>,
    /// The epoch whose window may hold rows: only one has such rows, so that the index sees changes in order.
    active: Option<u64>,
    /// Threads that wait for the next epoch.
    encoders: Vec<Encoder>,
    /// Files named so far.
    file_count: Arc<AtomicU32>,
}

impl fmt::Debug for DeltaWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeltaWriter").field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl DeltaWriter {
    /// The writer of one worker.
    #[must_use]
    pub fn new(shared: Arc<WriterShared>, worker: usize) -> Self {
        Self {
            shared,
            worker,
            epochs: BTreeMap::new(),
            active: None,
            encoders: Vec::new(),
            file_count: Arc::default(),
        }
    }

    /// What the writers of all workers share.
    #[must_use]
    pub const fn shared(&self) -> &Arc<WriterShared> {
        &self.shared
    }

    /// Takes changes that belong to `epoch`. Columns are found by name; integers are widened to the
    /// table's types.
    ///
    /// # Errors
    /// [`Error::Invalid`] names a column that is missing or NULL where it must not be; otherwise
    /// what keeps files from being written. After an error the writer is of no use.
    pub fn write(&mut self, epoch: u64, batch: ChangeBatch) -> Result<(), Error> {
        let (rows, kinds) = batch.into_parts();
        if rows.num_rows() == 0 {
            return Ok(());
        }
        if self.shared.key.is_none() && !kinds.is_insert_only() {
            return Err(Error::Invalid(
                "a table without a primary key takes inserts only; declare a primary key"
                    .to_owned(),
            ));
        }
        let deletes = self.shared.form.lock().deletes;
        if !deletes && !kinds.is_insert_only() {
            return Err(Error::Invalid(
                "a table of format version 1 has no deletes; raise its 'format-version' to 2 or 3"
                    .to_owned(),
            ));
        }
        let rows = conform(&rows, &self.shared.format.arrow_schema)?;
        if self.active != Some(epoch) {
            self.flush_active()?;
            self.active = Some(epoch);
        }
        if self.writer(epoch).push(rows, kinds) {
            self.flush_active()?;
        }
        Ok(())
    }

    /// Deletes rows of a committed data file in `epoch`, by their positions in it.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the table's format has no deletes.
    pub(crate) fn delete_rows(
        &mut self,
        epoch: u64,
        file: RegisteredFile,
        rows: impl IntoIterator<Item = u32>,
    ) -> Result<(), Error> {
        if !self.shared.form.lock().deletes {
            return Err(Error::Invalid(
                "a table of format version 1 has no deletes; raise its 'format-version'".to_owned(),
            ));
        }
        let number = self.shared.files.add(file)?;
        let locations = rows.into_iter().map(|row| Location { file: number, row });
        self.writer(epoch).delete(locations)
    }

    /// Makes everything written to `epoch` durable, and names the files.
    ///
    /// # Errors
    /// As for [`Self::write`].
    pub fn close_epoch(&mut self, epoch: u64) -> Result<WrittenFiles, Error> {
        if self.active == Some(epoch) {
            self.flush_active()?;
            self.active = None;
        }
        self.writer(epoch);
        let mut closed = self.epochs.remove(&epoch).ok_or_else(|| Error::bug("no epoch"))?;
        let written = closed.close();
        self.encoders.extend(closed.into_encoders());
        written
    }

    /// Tells the key index of everything that has been written, so that another writer may go on.
    ///
    /// # Errors
    /// As for [`Self::write`].
    pub fn hand_over(&mut self) -> Result<(), Error> {
        self.flush_active()?;
        self.active = None;
        Ok(())
    }

    /// Whether it has files that belong to no closed epoch.
    #[must_use]
    pub fn has_open_epochs(&self) -> bool {
        !self.epochs.is_empty()
    }

    fn flush_active(&mut self) -> Result<(), Error> {
        let Some(epoch) = self.active else { return Ok(()) };
        let later: BTreeSet<u32> = self
            .epochs
            .range(epoch + 1..)
            .flat_map(|(_, later)| later.files().iter().copied())
            .collect();
        match self.epochs.get_mut(&epoch) {
            Some(writer) => writer.flush_window(&later),
            None => Ok(()),
        }
    }

    /// The writer of an epoch, made if need be.
    fn writer(&mut self, epoch: u64) -> &mut EpochWriter {
        self.epochs.entry(epoch).or_insert_with(|| {
            let file_count = Arc::clone(&self.file_count);
            EpochWriter::new(Arc::clone(&self.shared), self.worker, file_count, &mut self.encoders)
        })
    }
}

/// The rows with the columns and types of the table.
fn conform(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Error> {
    let given = rows.schema();
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            let name = field.name();
            let (index, _) = given
                .column_with_name(name)
                .ok_or_else(|| Error::Invalid(format!("column '{name}' is not delivered")))?;
            let column = rows.column(index);
            if !field.is_nullable() && column.null_count() > 0 {
                return Err(Error::Invalid(format!(
                    "column '{name}' is NOT NULL, but a row has NULL in it"
                )));
            }
            if column.data_type() == field.data_type() {
                return Ok(Arc::clone(column));
            }
            cast(column, field.data_type()).map_err(|error| {
                Error::Invalid(format!("column '{name}' cannot be stored: {error}"))
            })
        })
        .collect::<Result<Vec<_>, Error>>()?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(Error::bug)
}

#[cfg(test)]
mod tests;
