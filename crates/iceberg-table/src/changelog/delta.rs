//! Which files a snapshot added and removed, as its own manifests tell.

use std::collections::{BTreeMap, BTreeSet};

use iceberg::spec::{DataContentType, ManifestFile, ManifestStatus, Operation, SnapshotRef};

use crate::scan::plan::{self, ListedFile, PlannedFile};
use crate::{Error, Table};

/// A delete file: where it is and, for a deletion vector, where in it.
type DeleteId = (String, Option<i64>);

/// What a snapshot added and removed.
#[derive(Default)]
pub(super) struct Delta {
    /// New data files.
    pub(super) added: Vec<ListedFile>,
    added_paths: BTreeSet<String>,
    removed: BTreeSet<String>,
    /// New delete files.
    deletes: BTreeSet<DeleteId>,
}

impl Delta {
    /// Reads the manifests that the snapshot added. None if it changed no rows by its own account.
    ///
    /// # Errors
    /// What reading the manifests reports.
    pub(super) async fn of(table: &Table, snapshot: &SnapshotRef) -> Result<Option<Self>, Error> {
        if snapshot.summary().operation == Operation::Replace {
            return Ok(None);
        }
        let id = snapshot.snapshot_id();
        let own: Vec<ManifestFile> = plan::manifest_list(table, snapshot)
            .await?
            .iter()
            .filter(|manifest| manifest.added_snapshot_id == id)
            .cloned()
            .collect();
        let mut delta = Self::default();
        for (manifest, entries) in plan::load_manifests(table, snapshot, own).await? {
            for entry in entries.iter().filter(|entry| entry.snapshot_id() == Some(id)) {
                let is_data = entry.content_type() == DataContentType::Data;
                match (entry.status(), is_data) {
                    (ManifestStatus::Added | ManifestStatus::Existing, true) => {
                        delta.added_paths.insert(entry.file_path().to_owned());
                        delta.added.push(ListedFile::of(&manifest, entry));
                    }
                    (ManifestStatus::Added | ManifestStatus::Existing, false) => {
                        let offset = entry.data_file().content_offset();
                        delta.deletes.insert((entry.file_path().to_owned(), offset));
                    }
                    (ManifestStatus::Deleted, true) => {
                        delta.removed.insert(entry.file_path().to_owned());
                    }
                    // Rows of a delete file that is gone are deleted by another, or their files are.
                    (ManifestStatus::Deleted, false) => {}
                }
            }
        }
        Ok(Some(delta))
    }

    /// Whether all that the snapshot did was to add rows that no delete can apply to.
    pub(super) fn only_adds(&self, snapshot: &SnapshotRef) -> bool {
        let is_new = |file: &ListedFile| file.sequence_number == snapshot.sequence_number();
        self.removed.is_empty() && self.deletes.is_empty() && self.added.iter().all(is_new)
    }

    /// Whether the snapshot added this data file.
    pub(super) fn adds(&self, path: &str) -> bool {
        self.added_paths.contains(path)
    }

    /// Whether the snapshot removed this data file.
    pub(super) fn removes(&self, path: &str) -> bool {
        self.removed.contains(path)
    }

    fn is_new(&self, deletes: &ListedFile) -> bool {
        self.deletes.contains(&(deletes.path().to_owned(), deletes.file().content_offset()))
    }
}

/// A data file that stays and has new deletes.
pub(super) struct Touched {
    /// The file with the deletes of the parent.
    pub(super) before: PlannedFile,
    /// The file with those of the snapshot.
    pub(super) after: PlannedFile,
    /// The equality deletes that are new.
    pub(super) equality: Vec<ListedFile>,
}

/// The files of the parent to which new delete files apply.
pub(super) fn touched(
    before: Vec<PlannedFile>,
    after: Vec<PlannedFile>,
    delta: &Delta,
) -> Vec<Touched> {
    let mut after: BTreeMap<String, PlannedFile> =
        after.into_iter().map(|file| (file.listed.path().to_owned(), file)).collect();
    let mut found = Vec::new();
    for before in before {
        let Some(after) = after.remove(before.listed.path()) else { continue };
        let equality: Vec<ListedFile> =
            after.equality_deletes.iter().filter(|file| delta.is_new(file)).cloned().collect();
        let by_position = after.deletion_vector.iter().chain(&after.position_deletes);
        if !equality.is_empty() || by_position.into_iter().any(|file| delta.is_new(file)) {
            found.push(Touched { before, after, equality });
        }
    }
    found
}

/// About how much memory a row of a file takes.
pub(super) fn row_bytes(file: &ListedFile) -> u64 {
    /// What compression saves.
    const EXPANSION: u64 = 4;
    /// What a row costs besides its values.
    const OVERHEAD_BYTES: u64 = 100;
    let size_bytes = file.file().file_size_in_bytes();
    size_bytes.saturating_mul(EXPANSION) / file.row_count().max(1) + OVERHEAD_BYTES
}
