//! Committing rewritten files beside a stream of changes.
//!
//! Rows may have been deleted since a rewrite was planned, by commits that name the old files. Two
//! cases: such a commit came before the rewrite's; then the rewrite's own commit deletes the rows at their
//! new places ([`Committer::commit_rewrite`]). Or it comes after it, because its delete files were
//! written before; then they are mapped when they are committed ([`relocate`]). In between there
//! is nothing, because one committer makes both.

use std::collections::BTreeMap;
use std::sync::Arc;

use iceberg::spec::DataContentType;
use roaring::RoaringBitmap;
use uuid::Uuid;

use super::manifests::Entry;
use super::progress::{EPOCH, ancestors};
use super::snapshot::PendingSnapshot;
use super::{ATTEMPTS, Committer, Removal, RowDelta, busy};
use crate::index::read_deletes;
use crate::maintenance::{Relocation, Relocations, Rewritten};
use crate::scan::plan::may_name_any;
use crate::writer::partition::Partition;
use crate::writer::{FileFormat, FileTarget, NewFile, RowDeletes, WrittenFiles, position_delete};
use crate::{Error, Table};

/// The summary key of the file that says where the rows of rewritten files are now.
pub(crate) const RELOCATION: &str = "shardlake.relocation";

impl Committer {
    /// Puts rewritten files in the place of the old ones, as one `replace` snapshot, and returns its id.
    ///
    /// # Errors
    /// [`Error::FilesRemoved`] if one of the old files is gone: then the rewrite is of no use. Otherwise as
    /// [`Self::commit`].
    pub async fn commit_rewrite(&mut self, rewritten: &Rewritten) -> Result<i64, Error> {
        for _ in 0..ATTEMPTS {
            let mut pending = PendingSnapshot::new(self.rewrite_delta(rewritten).await?);
            let is_committed = match self.try_publish(&mut pending).await {
                Ok(_) => true,
                Err(Error::Conflict { .. }) => self.rebase(&pending).await?,
                Err(error) => return Err(error),
            };
            if is_committed {
                self.expired.add(std::mem::take(&mut pending.expiry));
                self.relocations.add(&rewritten.relocation);
                return Ok(pending.snapshot_id);
            }
            pending.give_up(&self.table).await;
        }
        Err(busy(self.table.name()))
    }

    /// Takes note of the rewrites that came after the job's newest epoch: files that an earlier run wrote and did
    /// not commit may name rows by their old places.
    ///
    /// # Errors
    /// What reading the relocations reports.
    pub async fn follow_past_rewrites(&mut self) -> Result<(), Error> {
        let epoch = self.progress.as_ref().map(|progress| progress.epoch);
        for snapshot in ancestors(&self.table) {
            let summary = &snapshot.summary().additional_properties;
            if let Some(location) = summary.get(RELOCATION) {
                let bytes = self.table.storage().read(location).await?;
                self.relocations.add(&Arc::new(Relocation::decode(location, &bytes)?));
            }
            let of_snapshot = summary.get(EPOCH).and_then(|text| text.parse::<u64>().ok());
            if of_snapshot.is_some_and(|of_snapshot| epoch.is_none_or(|epoch| of_snapshot < epoch))
            {
                break;
            }
        }
        Ok(())
    }

    /// What the commit of a rewrite changes in the table as it is now.
    async fn rewrite_delta(&mut self, rewritten: &Rewritten) -> Result<RowDelta, Error> {
        let mut removed = rewritten.removal.clone();
        let mut moved: BTreeMap<Arc<str>, RoaringBitmap> = BTreeMap::new();
        for entry in self.manifests.deletes(&self.table).await?.iter().flat_map(|all| all.iter()) {
            let is_newer = entry.sequence_number > rewritten.sequence_number;
            if entry.file.content_type() == DataContentType::PositionDeletes && is_newer {
                take_over(&self.table, entry, rewritten, (&mut moved, &mut removed))?;
            }
        }
        let mut files = WrittenFiles {
            data: rewritten.files.clone(),
            deletes: rewritten.deletes.clone(),
            ..WrittenFiles::default()
        };
        let deletes = moved.into_iter().map(|(location, rows)| RowDeletes {
            location,
            partition: Arc::clone(&rewritten.partition),
            rows,
        });
        add_deletes(&self.table, deletes.collect(), &mut files)?;
        Ok(RowDelta {
            files,
            removed,
            data_sequence_number: Some(rewritten.sequence_number),
            is_rewrite: true,
            summary: rewritten
                .relocation_file
                .iter()
                .map(|location| (RELOCATION.to_owned(), location.clone()))
                .collect(),
            ..RowDelta::default()
        })
    }
}

/// Adds to `moved` what a delete file that is newer than the plan says about rewritten files, at the
/// new places, and to `removed` the file if it says nothing else.
fn take_over(
    table: &Table,
    entry: &Entry,
    rewritten: &Rewritten,
    (moved, removed): (&mut BTreeMap<Arc<str>, RoaringBitmap>, &mut Removal),
) -> Result<(), Error> {
    let relocation = &rewritten.relocation;
    if !may_name_any(&entry.file, relocation.sources()) {
        return Ok(());
    }
    let by_file = read_deletes(table.storage(), &entry.file)?;
    let mut is_useless = true;
    for (location, rows) in by_file {
        if !relocation.is_source(&location) {
            is_useless = false;
            continue;
        }
        for row in rows {
            if let Some((location, row)) = relocation.moved(&location, row.into()) {
                let row = u32::try_from(row).map_err(Error::bug)?;
                moved.entry(location).or_default().insert(row);
            }
        }
    }
    if is_useless {
        removed.add_if_there(&entry.file);
    }
    Ok(())
}

/// Maps deletes that were written before a rewrite was committed to where the rows are now. Returns
/// delete files that are of no use any more; none if nothing was moved.
pub(crate) fn relocate(
    table: &Table,
    relocations: &Relocations,
    files: &mut WrittenFiles,
) -> Result<Vec<String>, Error> {
    let mut moved: Vec<RowDeletes> = Vec::new();
    let mut useless = Vec::new();
    for deletes in std::mem::take(&mut files.row_deletes) {
        match relocations.is_source(&deletes.location) {
            true => move_rows(relocations, &deletes, &mut moved)?,
            false => files.row_deletes.push(deletes),
        }
    }
    for file in std::mem::take(&mut files.deletes) {
        let is_concerned =
            file.content_type() == DataContentType::PositionDeletes && !relocations.is_empty();
        let by_file = match is_concerned {
            true => read_deletes(table.storage(), &file)?,
            false => Vec::new(),
        };
        if !by_file.iter().any(|(location, _)| relocations.is_source(location)) {
            files.deletes.push(file);
            continue;
        }
        let values = file.partition().clone();
        let partition = Arc::new(Partition { spec_id: file.spec_id, values });
        for (location, rows) in by_file {
            let (partition, rows) = (Arc::clone(&partition), rows.into_iter().collect());
            move_rows(relocations, &RowDeletes { location, partition, rows }, &mut moved)?;
        }
        useless.push(file.file_path().to_owned());
    }
    add_deletes(table, moved, files)?;
    Ok(useless)
}

fn move_rows(
    relocations: &Relocations,
    deletes: &RowDeletes,
    moved: &mut Vec<RowDeletes>,
) -> Result<(), Error> {
    let mut by_file: BTreeMap<Arc<str>, RoaringBitmap> = BTreeMap::new();
    for row in &deletes.rows {
        let place = relocations.resolve(Arc::clone(&deletes.location), row.into());
        let Some((location, row)) = place else { continue };
        by_file.entry(location).or_default().insert(u32::try_from(row).map_err(Error::bug)?);
    }
    moved.extend(by_file.into_iter().map(|(location, rows)| RowDeletes {
        location,
        partition: Arc::clone(&deletes.partition),
        rows,
    }));
    Ok(())
}

type RowsByFile = BTreeMap<Arc<str>, RoaringBitmap>;

/// Adds deletes of rows to what is committed, in the form that the table's format version has for them.
fn add_deletes(
    table: &Table,
    deletes: Vec<RowDeletes>,
    files: &mut WrittenFiles,
) -> Result<(), Error> {
    if table.metadata().format_version() >= iceberg::spec::FormatVersion::V3 {
        files.row_deletes.extend(deletes);
        return Ok(());
    }
    let mut by_partition: Vec<(Arc<Partition>, RowsByFile)> = Vec::new();
    for RowDeletes { location, partition, rows } in deletes {
        let place = by_partition.iter().position(|(known, _)| *known == partition);
        let place = place.unwrap_or_else(|| {
            by_partition.push((partition, BTreeMap::new()));
            by_partition.len() - 1
        });
        if let Some((_, by_file)) = by_partition.get_mut(place) {
            *by_file.entry(location).or_default() |= rows;
        }
    }
    if by_partition.is_empty() {
        return Ok(());
    }
    let format = FileFormat::of_table(table)?;
    for (partition, by_file) in by_partition {
        let path = format!("{}-deletes.parquet", Uuid::new_v4()).into();
        let deletes: Vec<(Arc<str>, RoaringBitmap)> = by_file.into_iter().collect();
        let target = FileTarget { path, partition };
        let file: NewFile = position_delete::write(&format, &target, &deletes)?;
        files.deletes.push(file);
    }
    format.storage.sync_folder(&format.folder_location)
}
