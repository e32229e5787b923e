//! Rewriting data files: the rows of many become few files without the deleted ones.
//!
//! Nothing of the table changes here. The result is a set of durable files and the map from old places to
//! new ones ([`Relocation`]); the table's committer puts them in the place of the old ones. Until
//! then the new files are nobody's, and [`Rewritten::discard`] removes them.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use bytes::Bytes;
use uuid::Uuid;

use super::plan::{CompactionPlan, Group};
use super::relocation::Relocation;
use super::source::SourceReader;
use super::throttle::Throttle;
use crate::commit::Removal;
use crate::writer::partition::Partition;
use crate::writer::{DataFileWriter, FileFormat, FileTarget, NewFile};
use crate::{Error, Storage, Table};

/// Rows that are sorted at a time when they are written.
const SORTED_ROWS: usize = 8 * 1024;

/// New files in the place of old ones, not committed yet.
#[derive(Debug)]
pub struct Rewritten {
    pub(crate) files: Vec<NewFile>,
    /// New delete files.
    pub(crate) deletes: Vec<NewFile>,
    pub(crate) removal: Removal,
    pub(crate) relocation: Arc<Relocation>,
    /// Where the relocation is stored, if data files were rewritten.
    pub(crate) relocation_file: Option<String>,
    pub(crate) partition: Arc<Partition>,
    /// The sequence number of the snapshot that was planned on: equality deletes that are newer apply
    /// to the new files as they did to the old ones.
    pub(crate) sequence_number: i64,
    pub(crate) storage: Storage,
    /// What was done.
    pub statistics: RewriteStatistics,
}

/// What a rewrite did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RewriteStatistics {
    /// Data files that were read.
    pub rewritten_files: usize,
    /// Data files that were written.
    pub added_files: usize,
    /// Bytes of the files that were read.
    pub rewritten_bytes: u64,
    /// Bytes of the files that were written.
    pub added_bytes: u64,
    /// Rows that were left out because they were deleted.
    pub dropped_rows: u64,
}

impl RewriteStatistics {
    /// Adds what another rewrite did.
    pub const fn add(&mut self, other: &Self) {
        self.rewritten_files += other.rewritten_files;
        self.added_files += other.added_files;
        self.rewritten_bytes += other.rewritten_bytes;
        self.added_bytes += other.added_bytes;
        self.dropped_rows += other.dropped_rows;
    }
}

impl Rewritten {
    /// Removes the new files, which nothing refers to.
    pub async fn discard(self) {
        let files = self.files.iter().chain(&self.deletes);
        let mut locations: Vec<String> = files.map(|file| file.file_path().to_owned()).collect();
        locations.extend(self.relocation_file);
        if let Err(error) = self.storage.delete(&locations).await {
            tracing::debug!(%error, "files of a rewrite that was given up stay behind");
        }
    }
}

impl Rewritten {
    /// Removes the new files, unless the failure of their commit leaves open whether it was made.
    pub(crate) async fn discard_if_unused(self, error: &Error) {
        if !matches!(error, Error::Storage { .. }) {
            self.discard().await;
        }
    }
}

impl CompactionPlan {
    /// Rewrites the next group of files. None at the end, or when `throttle` says to stop. To be called
    /// on a tokio runtime; writing blocks.
    ///
    /// # Errors
    /// What reading and writing files reports; nothing is left behind then but unfinished files.
    pub async fn rewrite_next(
        &mut self,
        throttle: &mut Throttle,
    ) -> Result<Option<Rewritten>, Error> {
        let Some(group) = self.groups.pop() else { return Ok(None) };
        let format = Arc::new(FileFormat::of_table(&self.table)?);
        let mut output = Output::new(format, Arc::clone(&group.partition));
        let result = self.rewrite(&group, &mut output, throttle).await;
        match result {
            Ok(Some(relocation)) => self.finish(&group, output, relocation).await.map(Some),
            other => {
                output.discard(self.table.storage()).await;
                other.map(|_| None)
            }
        }
    }

    async fn rewrite(
        &self,
        group: &Group,
        output: &mut Output,
        throttle: &mut Throttle,
    ) -> Result<Option<Relocation>, Error> {
        let snapshot_id = self.snapshot.snapshot_id();
        let reader = SourceReader::try_new(&self.table, snapshot_id, Arc::clone(&self.equality))?;
        let mut relocation = Relocation::default();
        let is_sorted = output.format.sorter.is_some();
        let mut unsorted = Vec::new();
        for file in &group.files {
            let mut source =
                reader.open(&file.planned, file.deleted.clone(), file.equality).await?;
            while let Some(rows) = source.next().await? {
                if is_sorted {
                    unsorted.push(rows);
                } else {
                    output.write(&rows)?;
                }
                if !throttle.go_on().await {
                    return Ok(None);
                }
            }
            let (row_count, deleted) = source.finish();
            relocation.add_source(file.planned.listed.path().into(), row_count, deleted);
        }
        if is_sorted {
            let Some(order) = output.write_sorted(&unsorted, throttle).await? else {
                return Ok(None);
            };
            relocation.set_order(order);
        }
        output.finish()?;
        for (file, first) in output.files.iter().zip(&output.firsts) {
            relocation.add_output(file.file_path().into(), *first);
        }
        assert_eq!(relocation.row_count(), output.row_count, "every kept row must be written");
        Ok(Some(relocation))
    }

    async fn finish(
        &self,
        group: &Group,
        output: Output,
        relocation: Relocation,
    ) -> Result<Rewritten, Error> {
        output.sync_folders(self.table.storage())?;
        let relocation_file = relocation_location(&self.table);
        let bytes = Bytes::from(relocation.encode()?);
        self.table.storage().put(&relocation_file, bytes).await?;
        let mut removal = group.useless_deletes.clone();
        let mut statistics = RewriteStatistics {
            rewritten_files: group.files.len(),
            added_files: output.files.len(),
            ..RewriteStatistics::default()
        };
        for file in &group.files {
            let listed = file.planned.listed.file();
            removal.add(listed);
            statistics.rewritten_bytes += listed.file_size_in_bytes();
            statistics.dropped_rows += listed.record_count();
        }
        statistics.dropped_rows = statistics.dropped_rows.saturating_sub(output.row_count);
        statistics.added_bytes = output.files.iter().map(|file| file.file_size_in_bytes()).sum();
        Ok(Rewritten {
            files: output.files,
            deletes: Vec::new(),
            removal,
            relocation: Arc::new(relocation),
            relocation_file: Some(relocation_file),
            partition: Arc::clone(&group.partition),
            sequence_number: self.snapshot.sequence_number(),
            storage: self.table.storage().clone(),
            statistics,
        })
    }
}

/// Where the relocation of a rewrite of `table` is put.
fn relocation_location(table: &Table) -> String {
    format!("{}/metadata/{}-relocation.bin", table.location(), Uuid::new_v4())
}

/// The files that are being written.
struct Output {
    format: Arc<FileFormat>,
    partition: Arc<Partition>,
    run: Uuid,
    open: Option<DataFileWriter>,
    files: Vec<NewFile>,
    /// How many rows were written before each file.
    firsts: Vec<u64>,
    row_count: u64,
    is_sorted: bool,
}

impl Output {
    fn new(format: Arc<FileFormat>, partition: Arc<Partition>) -> Self {
        Self {
            format,
            partition,
            run: Uuid::new_v4(),
            open: None,
            files: Vec::new(),
            firsts: Vec::new(),
            row_count: 0,
            is_sorted: false,
        }
    }

    fn write(&mut self, rows: &RecordBatch) -> Result<(), Error> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        let is_full =
            |writer: &DataFileWriter| writer.size_bytes() >= self.format.target_size_bytes;
        if self.open.as_ref().is_some_and(is_full) {
            self.finish()?;
        }
        let writer = match &mut self.open {
            Some(writer) => writer,
            None => {
                self.firsts.push(self.row_count);
                let name = format!("00000-0-{}-{:05}.parquet", self.run, self.firsts.len());
                // Folders are named by the present partition spec.
                let path = match self.partition.spec_id == self.format.partition_spec_id {
                    true => self.format.relative_path(&self.partition, &name),
                    false => name,
                };
                let target =
                    FileTarget { path: path.into(), partition: Arc::clone(&self.partition) };
                self.open.insert(DataFileWriter::create(Arc::clone(&self.format), target)?)
            }
        };
        writer.write(rows)?;
        self.row_count += rows.num_rows() as u64;
        Ok(())
    }

    /// Writes the rows of all batches in the table's sort order. Says where each went; none if it was
    /// told to stop.
    async fn write_sorted(
        &mut self,
        batches: &[RecordBatch],
        throttle: &mut Throttle,
    ) -> Result<Option<Vec<u32>>, Error> {
        let format = Arc::clone(&self.format);
        let Some(sorter) = &format.sorter else { return Ok(Some(Vec::new())) };
        let keys = sorter.keys(batches.iter())?;
        let mut rows: Vec<(usize, usize)> = batches
            .iter()
            .enumerate()
            .flat_map(|(number, batch)| (0..batch.num_rows()).map(move |row| (number, row)))
            .collect();
        let mut sorted: Vec<usize> = (0..rows.len()).collect();
        keys.sort(&mut sorted, |number| *number);
        let mut order = vec![0_u32; rows.len()];
        for (to, from) in (0_u32..).zip(&sorted) {
            if let Some(place) = order.get_mut(*from) {
                *place = to;
            }
        }
        rows = sorted.iter().filter_map(|from| rows.get(*from).copied()).collect();
        let batches: Vec<&RecordBatch> = batches.iter().collect();
        self.is_sorted = true;
        for chunk in rows.chunks(SORTED_ROWS) {
            let chunk = interleave_record_batch(&batches, chunk).map_err(Error::bug)?;
            self.write(&chunk)?;
            if !throttle.go_on().await {
                return Ok(None);
            }
        }
        Ok(Some(order))
    }

    fn finish(&mut self) -> Result<(), Error> {
        if let Some(writer) = self.open.take() {
            self.files.push(writer.finish(self.is_sorted)?);
        }
        Ok(())
    }

    fn sync_folders(&self, storage: &Storage) -> Result<(), Error> {
        let folders: BTreeSet<&str> = self
            .files
            .iter()
            .filter_map(|file| file.file_path().rsplit_once('/').map(|(folder, _)| folder))
            .collect();
        folders.into_iter().try_for_each(|folder| storage.sync_folder(folder))
    }

    async fn discard(self, storage: &Storage) {
        drop(self.open);
        let locations: Vec<String> =
            self.files.iter().map(|file| file.file_path().to_owned()).collect();
        if let Err(error) = storage.delete(&locations).await {
            tracing::debug!(%error, "files of a rewrite that failed stay behind");
        }
    }
}
