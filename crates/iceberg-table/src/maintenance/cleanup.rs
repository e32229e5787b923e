//! Deleting the files that only expired snapshots referred to.
//!
//! The snapshots are gone from the durable metadata before anything here looks at them, so a crash at any point
//! leaves files that nobody refers to, and never a reference to a file that is gone.
//!
//! Two ways lead to the files. If the expired snapshots and the retained ones form one line, then what a snapshot
//! of the line removed is in none that follow, so it is enough to read what the expired ones and the
//! first retained one removed. Otherwise (tags, branches, roll-backs) all that is retained is read,
//! and what it does not name can go.

use std::collections::{BTreeMap, BTreeSet};

use iceberg::spec::{
    DataFileFormat, ManifestContentType, ManifestEntryRef, ManifestFile, ManifestStatus,
    SnapshotRef,
};

use crate::commit::Expiry;
use crate::{Error, Table};

/// How many expired snapshots are remembered for clean-up. The files of more are left to the removal
/// of orphans.
const SNAPSHOTS_MAX: usize = 10_000;

/// Snapshots that are in the table's metadata no more, whose files may still exist.
#[derive(Clone, Debug, Default)]
pub struct ExpiredSnapshots {
    snapshots: Vec<SnapshotRef>,
    statistics: Vec<String>,
}

impl ExpiredSnapshots {
    /// True if there is nothing to clean up.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.snapshots.is_empty()
    }

    /// How many snapshots there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.snapshots.len()
    }

    pub(crate) fn add(&mut self, expiry: Expiry) {
        if self.snapshots.len() < SNAPSHOTS_MAX {
            self.snapshots.extend(expiry.snapshots);
            self.statistics.extend(expiry.statistics);
        }
    }
}

/// Files that nothing refers to any more, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnusedFiles {
    /// Data files.
    pub data_files: BTreeSet<String>,
    /// Delete files and deletion vectors.
    pub delete_files: BTreeSet<String>,
    /// Manifests.
    pub manifests: BTreeSet<String>,
    /// Manifest lists.
    pub manifest_lists: BTreeSet<String>,
    /// Statistics files.
    pub statistics_files: BTreeSet<String>,
}

impl UnusedFiles {
    /// All locations, those first that refer to others, so that an interrupted deletion leaves no
    /// metadata that leads to missing files.
    pub fn locations(self) -> impl Iterator<Item = String> {
        self.manifest_lists
            .into_iter()
            .chain(self.statistics_files)
            .chain(self.manifests)
            .chain(self.delete_files)
            .chain(self.data_files)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.data_files.len()
            + self.delete_files.len()
            + self.manifests.len()
            + self.manifest_lists.len()
            + self.statistics_files.len()
    }

    /// True if there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Deletes what only `expired` referred to, and says what it was. `table` is any version that was
/// made with or after their expiry.
///
/// # Errors
/// What reading manifests reports; then nothing was deleted.
pub async fn remove_expired(
    table: &Table,
    expired: &ExpiredSnapshots,
) -> Result<UnusedFiles, Error> {
    let unused = find_unused(table, expired).await?;
    let locations: Vec<String> = unused.clone().locations().collect();
    table.storage().delete(&locations).await?;
    Ok(unused)
}

/// What only `expired` referred to.
///
/// # Errors
/// What reading manifests reports.
pub async fn find_unused(table: &Table, expired: &ExpiredSnapshots) -> Result<UnusedFiles, Error> {
    if expired.is_empty() {
        return Ok(UnusedFiles::default());
    }
    let mut lists = Vec::new();
    let mut unused = UnusedFiles::default();
    for snapshot in &expired.snapshots {
        let list = snapshot.manifest_list().to_owned();
        // One that is gone was cleaned up before, or by another engine.
        if let Some(manifests) = existing(table.manifests(snapshot).await)? {
            lists.push((snapshot, manifests));
        }
        unused.manifest_lists.insert(list);
    }
    unused.statistics_files.extend(expired.statistics.iter().cloned());
    match oldest_of_line(table, &expired.snapshots) {
        Some(oldest) => of_line(table, oldest, &lists, &mut unused).await?,
        None => of_tree(table, &lists, &mut unused).await?,
    }
    // A list or statistics file that is still named stays, whoever named it twice.
    for snapshot in table.metadata().snapshots() {
        unused.manifest_lists.remove(snapshot.manifest_list());
        let id = snapshot.snapshot_id();
        if let Some(file) = table.metadata().statistics_for_snapshot(id) {
            unused.statistics_files.remove(&file.statistics_path);
        }
        if let Some(file) = table.metadata().partition_statistics_for_snapshot(id) {
            unused.statistics_files.remove(&file.statistics_path);
        }
    }
    Ok(unused)
}

/// The oldest retained snapshot, if all retained snapshots and before them all expired ones are
/// ancestors of the current one, without a gap.
fn oldest_of_line<'a>(table: &'a Table, expired: &[SnapshotRef]) -> Option<&'a SnapshotRef> {
    let metadata = table.metadata();
    let parent =
        |snapshot: &&'a SnapshotRef| metadata.snapshot_by_id(snapshot.parent_snapshot_id()?);
    let line: Vec<&SnapshotRef> =
        std::iter::successors(metadata.current_snapshot(), parent).collect();
    if line.len() != metadata.snapshots().len() {
        return None;
    }
    let oldest = *line.last()?;
    let mut rest: BTreeMap<i64, &SnapshotRef> =
        expired.iter().map(|snapshot| (snapshot.snapshot_id(), snapshot)).collect();
    let mut next = oldest.parent_snapshot_id();
    while let Some(snapshot) = next.and_then(|id| rest.remove(&id)) {
        next = snapshot.parent_snapshot_id();
    }
    rest.is_empty().then_some(oldest)
}

type Listed<'a> = (&'a SnapshotRef, Vec<ManifestFile>);

async fn of_line(
    table: &Table,
    oldest: &SnapshotRef,
    expired: &[Listed<'_>],
    unused: &mut UnusedFiles,
) -> Result<(), Error> {
    let kept = table.manifests(oldest).await?;
    let kept_paths: BTreeSet<&str> =
        kept.iter().map(|manifest| manifest.manifest_path.as_str()).collect();
    let mut shared = BTreeSet::new();
    let all: Vec<_> = expired
        .iter()
        .flat_map(|(snapshot, manifests)| {
            manifests.iter().map(move |manifest| (*snapshot, manifest))
        })
        .chain(kept.iter().map(|manifest| (oldest, manifest)))
        .collect();
    for (snapshot, manifest) in all {
        let is_kept = kept_paths.contains(manifest.manifest_path.as_str());
        let is_new = is_kept || unused.manifests.insert(manifest.manifest_path.clone());
        let made_here = manifest.added_snapshot_id == snapshot.snapshot_id();
        if !is_new || !made_here || manifest.deleted_files_count == Some(0) {
            continue;
        }
        for entry in entries(table, manifest).await? {
            if entry.status() != ManifestStatus::Deleted {
                continue;
            }
            if entry.data_file().file_format() == DataFileFormat::Puffin {
                shared.insert(entry.file_path().to_owned());
            } else {
                insert(unused, manifest.content, &entry);
            }
        }
    }
    if !shared.is_empty() {
        // Of the deletion vectors in one file some may still be in use.
        for manifest in kept.iter().filter(|m| m.content == ManifestContentType::Deletes) {
            for entry in entries(table, manifest).await?.iter().filter(|entry| entry.is_alive()) {
                shared.remove(entry.file_path());
            }
        }
        unused.delete_files.append(&mut shared);
    }
    Ok(())
}

async fn of_tree(
    table: &Table,
    expired: &[Listed<'_>],
    unused: &mut UnusedFiles,
) -> Result<(), Error> {
    let mut kept = BTreeMap::new();
    for snapshot in table.metadata().snapshots() {
        for manifest in table.manifests(snapshot).await? {
            kept.insert(manifest.manifest_path.clone(), manifest);
        }
    }
    for manifest in expired.iter().flat_map(|(_, manifests)| manifests) {
        let path = &manifest.manifest_path;
        if kept.contains_key(path) || !unused.manifests.insert(path.clone()) {
            continue;
        }
        for entry in entries(table, manifest).await? {
            insert(unused, manifest.content, &entry);
        }
    }
    if unused.data_files.is_empty() && unused.delete_files.is_empty() {
        return Ok(());
    }
    for manifest in kept.values() {
        let of_content = match manifest.content {
            ManifestContentType::Data => &mut unused.data_files,
            ManifestContentType::Deletes => &mut unused.delete_files,
        };
        if of_content.is_empty() {
            continue;
        }
        for entry in table.load_manifest(manifest).await?.entries() {
            if entry.is_alive() {
                of_content.remove(entry.file_path());
            }
        }
    }
    Ok(())
}

fn insert(unused: &mut UnusedFiles, content: ManifestContentType, entry: &ManifestEntryRef) {
    let of_content = match content {
        ManifestContentType::Data => &mut unused.data_files,
        ManifestContentType::Deletes => &mut unused.delete_files,
    };
    of_content.insert(entry.file_path().to_owned());
}

/// The entries of a manifest that an expired snapshot lists; none if it is gone.
async fn entries(table: &Table, manifest: &ManifestFile) -> Result<Vec<ManifestEntryRef>, Error> {
    let loaded = existing(table.load_manifest(manifest).await)?;
    Ok(loaded.map(|manifest| manifest.into_parts().0).unwrap_or_default())
}

/// What was read of a file, or none if there is no such file.
fn existing<T>(read: Result<T, Error>) -> Result<Option<T>, Error> {
    match read {
        Err(error) if error.is_missing_file() => Ok(None),
        other => other.map(Some),
    }
}
