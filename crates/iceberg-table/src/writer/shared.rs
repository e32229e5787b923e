//! What the writers of all workers share: the key index, the file format and the numbers of files.

use std::sync::Arc;

use parking_lot::Mutex;
use uuid::Uuid;

use super::data::FileFormat;
use super::mode::{DeleteForm, DeleteMode};
use super::{FileRegistry, KeyHasher};
use crate::commit::ForeignFiles;
use crate::index::Location;
use crate::maintenance::Relocations;
use crate::{Error, KeyIndex, Table, index, schema};

/// How delta writers work.
#[derive(Clone, Copy, Debug)]
pub struct DeltaWriterOptions {
    /// Memory that the key index may take, in bytes.
    pub index_memory_bytes: usize,
    /// Threads that encode, for each writer.
    pub encoder_count: usize,
    /// How many rows are folded together, unless a single batch has more.
    pub window_rows: usize,
    /// How rows are deleted; by default what is best for the table's format version.
    pub delete_mode: Option<DeleteMode>,
}

impl Default for DeltaWriterOptions {
    fn default() -> Self {
        Self {
            index_memory_bytes: 1 << 30,
            encoder_count: 2,
            window_rows: 64 * 1024,
            delete_mode: None,
        }
    }
}

/// What all writers of one table share: its key index and its file format. Made once for each run.
pub struct WriterShared {
    pub(super) format: Arc<FileFormat>,
    pub(super) key: Option<KeyHasher>,
    pub(super) index: Arc<KeyIndex>,
    pub(super) files: Arc<FileRegistry>,
    pub(super) options: DeltaWriterOptions,
    pub(super) form: Arc<Mutex<DeleteForm>>,
    /// How many data files one writer has open at most.
    pub(super) open_files: usize,
    /// Rows that have a newer row of the same key, found when the index was built.
    pub(super) superseded: Arc<Mutex<Vec<Location>>>,
    /// Is part of the names of all files of this run.
    pub(super) run: Uuid,
}

impl WriterShared {
    /// Reads what `table` holds now into a key index.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the table cannot be written, or what reading its
    /// files reports.
    pub async fn load(table: &Table, options: DeltaWriterOptions) -> Result<Arc<Self>, Error> {
        let format = Arc::new(FileFormat::of_table(table)?);
        let form = DeleteForm::of_table(table, options.delete_mode)?;
        let index = KeyIndex::new(options.index_memory_bytes);
        let columns = schema::key_indices(table.schema());
        let files = Arc::new(FileRegistry::default());
        let mut key = None;
        let mut superseded = Vec::new();
        if !columns.is_empty() {
            let hasher = KeyHasher::try_new(&format.arrow_schema, columns, index.seed())?;
            if !form.by_key {
                superseded = index::rebuild(table, &hasher, &index, &files).await?;
            }
            key = Some(hasher);
        }
        check_partitions(table, &format, form)?;
        let open_files = crate::properties::OPEN_FILES.read(table.metadata().properties())?.max(1);
        Ok(Arc::new(Self {
            format,
            key,
            index,
            files,
            options,
            form: Arc::new(Mutex::new(form)),
            open_files,
            superseded: Arc::new(Mutex::new(superseded)),
            run: Uuid::new_v4(),
        }))
    }

    /// The same, for files with the schema that `table` has now; the key's columns must not have changed.
    ///
    /// # Errors
    /// [`Error::Invalid`] if files of that schema cannot be written.
    pub fn with_schema_of(&self, table: &Table) -> Result<Arc<Self>, Error> {
        let format = Arc::new(FileFormat::of_table(table)?);
        let columns = schema::key_indices(table.schema());
        let key = match &self.key {
            None => None,
            Some(_) => Some(KeyHasher::try_new(&format.arrow_schema, columns, self.index.seed())?),
        };
        Ok(Arc::new(Self {
            format,
            key,
            index: Arc::clone(&self.index),
            files: Arc::clone(&self.files),
            options: self.options,
            form: Arc::clone(&self.form),
            open_files: self.open_files,
            superseded: Arc::clone(&self.superseded),
            // Files of both are written at the same time, so their names must differ.
            run: Uuid::new_v4(),
        }))
    }

    /// What writers share that know no keys: they add rows, and delete those whose places they are told.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the table cannot be written.
    pub(crate) fn appending(
        table: &Table,
        options: DeltaWriterOptions,
    ) -> Result<Arc<Self>, Error> {
        let form = DeleteForm::of_table(table, options.delete_mode)?;
        let open_files = crate::properties::OPEN_FILES.read(table.metadata().properties())?.max(1);
        Ok(Arc::new(Self {
            format: Arc::new(FileFormat::of_table(table)?),
            key: None,
            index: KeyIndex::new(options.index_memory_bytes),
            files: Arc::default(),
            options,
            form: Arc::new(Mutex::new(form)),
            open_files,
            superseded: Arc::default(),
            run: Uuid::new_v4(),
        }))
    }

    /// The key index.
    #[must_use]
    pub const fn index(&self) -> &Arc<KeyIndex> {
        &self.index
    }

    /// Takes the rows into the key index that other writers have added to `table`. Rows with a key that is
    /// there already are deleted with the next epoch: those of the job stay. Returns how many they are.
    ///
    /// # Errors
    /// What reading the files reports.
    pub fn absorb(&self, table: &Table, foreign: &ForeignFiles) -> Result<usize, Error> {
        let Some(key) = self.key.as_ref().filter(|_| !self.form.lock().by_key) else {
            return Ok(0);
        };
        let files = (self.files.as_ref(), foreign.0.as_slice());
        let mut superseded = index::absorb(table, key, &self.index, files)?;
        let count = superseded.len();
        if count > 0 {
            tracing::warn!(table = %table.name(), count, "rows of another writer had existing keys");
        }
        self.superseded.lock().append(&mut superseded);
        Ok(count)
    }

    /// Where rows are that were moved by rewrites: to be shared with the committer.
    #[must_use]
    pub fn relocations(&self) -> Arc<Relocations> {
        Arc::clone(self.files.relocations())
    }

    /// Deletes from now on as `table` in its present state has them, for example after its format
    /// version was raised. Epochs that are open go on as they began.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the property that cannot be followed.
    pub fn refresh(&self, table: &Table) -> Result<(), Error> {
        let form = DeleteForm::of_table(table, self.options.delete_mode)?;
        *self.form.lock() = form;
        Ok(())
    }
}

/// An upsert by key alone does not know in which partition the old row is.
fn check_partitions(table: &Table, format: &FileFormat, form: DeleteForm) -> Result<(), Error> {
    let Some(partitioner) = format.partitioner.as_ref().filter(|_| form.by_key && form.upserts)
    else {
        return Ok(());
    };
    let key = schema::key_indices(table.schema());
    match partitioner.columns().find(|column| !key.contains(column)) {
        None => Ok(()),
        Some(column) => Err(Error::Invalid(format!(
            "table {} is partitioned by column '{}', which is not part of its primary key: with \
             'write.upsert.enabled' and equality deletes its old rows cannot be found; use another \
             'shardlake.delete-mode'",
            table.name(),
            format.arrow_schema.field(column).name()
        ))),
    }
}
