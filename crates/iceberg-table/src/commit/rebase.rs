//! What other writers committed since this run last looked, and whether it can go on from there.

use iceberg::spec::{ManifestContentType, ManifestStatus, Operation, SnapshotRef};

use super::progress::{ROWS_CHANGED, Writer, ancestors, writer_of};
use super::rewrite::RELOCATION;
use crate::maintenance::Relocation;
use crate::writer::NewFile;
use crate::{Error, Table};

/// Data files that other writers added.
#[derive(Clone, Debug, Default)]
pub struct ForeignFiles(pub(crate) Vec<NewFile>);

impl ForeignFiles {
    /// True if there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What other writers did.
#[derive(Default)]
pub(crate) struct Foreign {
    /// Where the rows of files are now that a compaction of ours has rewritten, oldest first.
    pub(crate) relocations: Vec<Relocation>,
    /// The files of rows that are new.
    pub(crate) files: Vec<NewFile>,
}

/// Checks the snapshots that `newer` has beyond `base`, and says what they did.
///
/// # Errors
/// [`Error::Fenced`] if a newer run of the same job is among them; [`Error::FilesRemoved`] if one removed data
/// files and does not say where their rows are, if one changed rows by a statement, or if it cannot be told.
pub(crate) async fn check(base: &Table, newer: &Table, writer: &Writer) -> Result<Foreign, Error> {
    if base.metadata().uuid() != newer.metadata().uuid() {
        return Err(Error::Invalid(format!(
            "table {} was dropped and made anew while job '{}' was writing to it; restart the job",
            base.name(),
            writer.job
        )));
    }
    let known = base.current_snapshot_id();
    let mut foreign = Vec::new();
    let mut is_connected = known.is_none();
    for snapshot in ancestors(newer) {
        if Some(snapshot.snapshot_id()) == known {
            is_connected = true;
            break;
        }
        foreign.push(snapshot);
    }
    for snapshot in &foreign {
        check_fence(newer, snapshot, writer)?;
    }
    if !is_connected {
        let snapshot_id = newer.current_snapshot_id().unwrap_or(-1);
        return Err(Error::FilesRemoved { table: base.name().clone(), snapshot_id });
    }
    let mut found = Foreign::default();
    for snapshot in foreign.into_iter().rev() {
        // One of this run, whose answer was lost.
        let is_ours = writer_of(snapshot).is_some_and(|other| other == *writer);
        let summary = &snapshot.summary().additional_properties;
        if summary.contains_key(ROWS_CHANGED) || removes_data(newer, snapshot).await? {
            let snapshot_id = snapshot.snapshot_id();
            if let Some(location) = snapshot.summary().additional_properties.get(RELOCATION) {
                let bytes = newer.storage().read(location).await?;
                found.relocations.push(Relocation::decode(location, &bytes)?);
                tracing::info!(table = %base.name(), snapshot_id, "the table was compacted meanwhile");
                continue;
            }
            return Err(Error::FilesRemoved { table: base.name().clone(), snapshot_id });
        }
        let snapshot_id = snapshot.snapshot_id();
        if !is_ours {
            tracing::warn!(table = %base.name(), snapshot_id, "another writer committed to the table");
            found.files.extend(added_files(newer, snapshot).await?);
        }
    }
    Ok(found)
}

/// The data files that a snapshot added.
async fn added_files(table: &Table, snapshot: &SnapshotRef) -> Result<Vec<NewFile>, Error> {
    let mut files = Vec::new();
    for manifest in table.manifests(snapshot).await? {
        let is_of_snapshot = manifest.added_snapshot_id == snapshot.snapshot_id();
        if manifest.content != ManifestContentType::Data || !is_of_snapshot {
            continue;
        }
        for entry in table.load_manifest(&manifest).await?.entries() {
            if entry.status() == ManifestStatus::Added {
                let spec_id = manifest.partition_spec_id;
                files.push(NewFile { spec_id, file: entry.data_file().clone() });
            }
        }
    }
    Ok(files)
}

fn check_fence(table: &Table, snapshot: &SnapshotRef, ours: &Writer) -> Result<(), Error> {
    match writer_of(snapshot) {
        Some(other) if other.job == ours.job && other.generation > ours.generation => {
            Err(Error::Fenced {
                table: table.name().clone(),
                job: other.job,
                generation: other.generation,
                job_id: other.job_id,
                ours: ours.generation,
            })
        }
        Some(_) | None => Ok(()),
    }
}

async fn removes_data(table: &Table, snapshot: &SnapshotRef) -> Result<bool, Error> {
    if snapshot.summary().operation == Operation::Append {
        return Ok(false);
    }
    for manifest in table.manifests(snapshot).await? {
        let is_of_snapshot = manifest.added_snapshot_id == snapshot.snapshot_id();
        if manifest.content != ManifestContentType::Data
            || !is_of_snapshot
            || !manifest.has_deleted_files()
        {
            continue;
        }
        let content = table.load_manifest(&manifest).await?;
        if content.entries().iter().any(|entry| entry.status() == ManifestStatus::Deleted) {
            return Ok(true);
        }
    }
    Ok(false)
}
