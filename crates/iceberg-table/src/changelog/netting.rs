//! From the rows that are gone and the rows that are new to the changes between them.
//!
//! Rows that are gone are held by their key. A new row whose key is among them is an update, or nothing
//! if the row is the same; any other new row is an insert; what is left at the end is deleted. In a
//! table without a key the whole row is its own key, so that only rewritten rows fall away.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, Rows, SortField};
use hashbrown::HashMap;
use shardlake_change::{ChangeBatch, RowKind, RowKinds};
use xxhash_rust::xxh3::{Xxh3DefaultBuilder, xxh3_64, xxh3_128};

use crate::{Error, TableName};

/// The most rows of a batch of changes.
const BATCH_ROWS: usize = 8_192;

/// How rows of one table are compared.
#[derive(Clone)]
pub(super) struct Netting {
    /// The columns of the changes: the first ones of what is scanned.
    output: SchemaRef,
    key: Arc<RowConverter>,
    /// Where the key's columns are in what is scanned.
    key_columns: Vec<usize>,
    /// Compares all columns of the changes.
    whole: Arc<RowConverter>,
    has_key: bool,
    table: TableName,
}

/// Which part of the keys a pass takes.
#[derive(Clone, Copy)]
pub(super) struct Share {
    pub(super) pass: u64,
    pub(super) passes: u64,
}

impl Share {
    fn has(self, key: &[u8]) -> bool {
        self.passes == 1 || xxh3_64(key) % self.passes == self.pass
    }
}

impl Netting {
    /// Compares rows of `scanned` by the columns `key`, and puts out the first columns.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a column is of a type that cannot be compared.
    pub(super) fn try_new(
        scanned: &Schema,
        output: SchemaRef,
        key: Vec<usize>,
        table: &TableName,
    ) -> Result<Self, Error> {
        let converter = |columns: &[usize]| {
            let fields = columns
                .iter()
                .filter_map(|column| scanned.fields().get(*column))
                .map(|field| SortField::new(field.data_type().clone()))
                .collect();
            RowConverter::new(fields).map(Arc::new).map_err(|error| {
                Error::Invalid(format!("the rows of table {table} cannot be compared: {error}"))
            })
        };
        let all: Vec<usize> = (0..output.fields().len()).collect();
        let has_key = !key.is_empty();
        let key_columns = if has_key { key } else { all.clone() };
        Ok(Self {
            key: converter(&key_columns)?,
            whole: converter(&all)?,
            output,
            key_columns,
            has_key,
            table: table.clone(),
        })
    }

    pub(super) const fn has_key(&self) -> bool {
        self.has_key
    }

    pub(super) const fn schema(&self) -> &SchemaRef {
        &self.output
    }

    /// Begins a pass.
    pub(super) fn start(&self, share: Share) -> Net<'_> {
        let gone = HashMap::with_hasher(Xxh3DefaultBuilder::new());
        Net { netting: self, share, batches: Vec::new(), gone }
    }

    fn keys(&self, batch: &RecordBatch) -> Result<Rows, ArrowError> {
        let columns: Vec<ArrayRef> =
            self.key_columns.iter().filter_map(|at| batch.columns().get(*at).cloned()).collect();
        self.key.convert_columns(&columns)
    }

    fn rows(&self, batch: &RecordBatch) -> Result<Rows, ArrowError> {
        self.whole.convert_columns(batch.columns())
    }
}

/// A row that is gone.
struct GoneRow {
    batch: usize,
    row: usize,
    hash: u128,
}

/// The changes of one pass.
pub(super) struct Net<'a> {
    netting: &'a Netting,
    share: Share,
    /// What [`GoneRow`] points into, with the columns of the changes.
    batches: Vec<RecordBatch>,
    gone: HashMap<Box<[u8]>, Vec<GoneRow>, Xxh3DefaultBuilder>,
}

impl Net<'_> {
    /// Takes rows that are gone.
    pub(super) fn add_gone(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let rows = with_schema(batch, &self.netting.output)?;
        let keys = self.netting.keys(batch).map_err(Error::bug)?;
        let whole = self.netting.rows(&rows).map_err(Error::bug)?;
        let number = self.batches.len();
        let mut is_used = false;
        for (row, (key, whole)) in keys.iter().zip(whole.iter()).enumerate() {
            if self.share.has(key.as_ref()) {
                is_used = true;
                let gone = GoneRow { batch: number, row, hash: xxh3_128(whole.as_ref()) };
                self.gone.entry_ref(key.as_ref()).or_default().push(gone);
            }
        }
        if is_used {
            self.batches.push(rows);
        }
        Ok(())
    }

    /// Takes new rows and says what changed with them.
    pub(super) fn add_new(&mut self, batch: &RecordBatch) -> Result<ChangeBatch, Error> {
        let rows = with_schema(batch, &self.netting.output)?;
        let keys = self.netting.keys(batch).map_err(Error::bug)?;
        let whole = self.netting.rows(&rows).map_err(Error::bug)?;
        let own = self.batches.len();
        let mut places = Vec::new();
        let mut kinds = Vec::new();
        for (row, (key, whole)) in keys.iter().zip(whole.iter()).enumerate() {
            if !self.share.has(key.as_ref()) {
                continue;
            }
            let Some(former) = self.gone.get_mut(key.as_ref()).and_then(Vec::pop) else {
                places.push((own, row));
                kinds.push(RowKind::Insert);
                continue;
            };
            if former.hash != xxh3_128(whole.as_ref()) {
                places.extend([(former.batch, former.row), (own, row)]);
                kinds.extend([RowKind::UpdateBefore, RowKind::UpdateAfter]);
            }
        }
        let sources: Vec<&RecordBatch> = self.batches.iter().chain([&rows]).collect();
        self.batch(&sources, &places, kinds)
    }

    /// The rows that are gone for good.
    pub(super) fn finish(self) -> Result<Vec<ChangeBatch>, Error> {
        let mut places: Vec<(usize, usize)> =
            self.gone.values().flatten().map(|row| (row.batch, row.row)).collect();
        if !self.netting.has_key && !places.is_empty() {
            return Err(Error::Invalid(format!(
                "rows of table {} were deleted or changed, which cannot be read from a table without a \
                 primary key; read its current state instead, or declare a primary key",
                self.netting.table
            )));
        }
        places.sort_unstable();
        let sources: Vec<&RecordBatch> = self.batches.iter().collect();
        places
            .chunks(BATCH_ROWS)
            .map(|places| {
                let kinds = vec![RowKind::Delete; places.len()];
                self.batch(&sources, places, kinds)
            })
            .collect()
    }

    fn batch(
        &self,
        sources: &[&RecordBatch],
        places: &[(usize, usize)],
        kinds: Vec<RowKind>,
    ) -> Result<ChangeBatch, Error> {
        let rows = if places.is_empty() {
            RecordBatch::new_empty(Arc::clone(&self.netting.output))
        } else {
            interleave_record_batch(sources, places).map_err(Error::bug)?
        };
        let kinds = match kinds.first() {
            Some(first) if kinds.iter().all(|kind| kind == first) => {
                RowKinds::uniform(*first, kinds.len())
            }
            _ => RowKinds::Mixed(kinds),
        };
        ChangeBatch::try_new(rows, kinds).map_err(Error::bug)
    }
}

/// The first columns of a batch, under the schema of the changes.
pub(super) fn with_schema(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Error> {
    let columns = batch.columns().iter().take(schema.fields().len()).cloned().collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(|error| {
        Error::Invalid(format!("the table's rows do not fit the declared columns: {error}"))
    })
}
