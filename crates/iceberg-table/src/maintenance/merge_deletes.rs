//! Merging position delete files: many small ones become one for each partition.
//!
//! Rows of data files that are in the table no more are left out. A merged file is as good as those
//! that it replaces at any later time, because it names the same rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::FutureExt as _;
use iceberg::spec::{DataContentType, DataFileFormat, FormatVersion, SnapshotRef};
use roaring::RoaringBitmap;
use uuid::Uuid;

use super::relocation::Relocation;
use super::rewrite::{RewriteStatistics, Rewritten};
use crate::commit::Removal;
use crate::index::read_deletes;
use crate::scan::plan::{self, ListedFile};
use crate::writer::partition::Partition;
use crate::writer::{FileFormat, FileTarget, position_delete};
use crate::{Error, Table};

/// Delete files of one partition.
struct Group {
    partition: Arc<Partition>,
    files: Vec<ListedFile>,
}

/// Merges the position delete files of the partitions that have at least `min_files` of them. None if there is no
/// such partition. To be called on a tokio runtime; reading and writing blocks.
///
/// # Errors
/// What reading and writing files reports.
pub async fn merge_position_deletes(
    table: &Table,
    min_files: usize,
) -> Result<Option<Rewritten>, Error> {
    let snapshot = table.current_snapshot().cloned();
    let Some(snapshot) = snapshot else { return Ok(None) };
    // From version 3 on there are deletion vectors, one for each data file.
    if table.metadata().format_version() >= FormatVersion::V3 {
        return Ok(None);
    }
    let (live, mut groups) = list(table, &snapshot).await?;
    groups.retain(|group| group.files.len() >= min_files.max(2));
    if groups.is_empty() {
        return Ok(None);
    }
    let format = FileFormat::of_table(table)?;
    let mut removal = Removal::default();
    let mut deletes = Vec::new();
    let mut statistics = RewriteStatistics::default();
    for Group { partition, files } in groups {
        let mut rows: BTreeMap<Arc<str>, RoaringBitmap> = BTreeMap::new();
        for listed in &files {
            removal.add(listed.file());
            statistics.rewritten_files += 1;
            statistics.rewritten_bytes += listed.file().file_size_in_bytes();
            for (location, deleted) in read_deletes(table.storage(), listed.file())? {
                if live.contains(&*location) {
                    rows.entry(location).or_default().extend(deleted);
                }
            }
        }
        let by_file: Vec<(Arc<str>, RoaringBitmap)> = rows.into_iter().collect();
        if by_file.is_empty() {
            continue;
        }
        let path = format!("{}-deletes.parquet", Uuid::new_v4()).into();
        let target = FileTarget { path, partition };
        let file = position_delete::write(&format, &target, &by_file)?;
        statistics.added_files += 1;
        statistics.added_bytes += file.file_size_in_bytes();
        deletes.push(file);
    }
    format.storage.sync_folder(&format.folder_location)?;
    Ok(Some(Rewritten {
        files: Vec::new(),
        deletes,
        removal,
        relocation: Arc::new(Relocation::default()),
        relocation_file: None,
        partition: Arc::new(format.unpartitioned()),
        sequence_number: snapshot.sequence_number(),
        storage: table.storage().clone(),
        statistics,
    }))
}

/// The live data files, and the position delete files by partition.
async fn list(
    table: &Table,
    snapshot: &SnapshotRef,
) -> Result<(BTreeSet<String>, Vec<Group>), Error> {
    let manifests = plan::manifest_list(table, snapshot).await?;
    let mut live = BTreeSet::new();
    let mut groups: Vec<Group> = Vec::new();
    let loaded = plan::load_manifests(table, snapshot, manifests.as_ref().clone()).boxed().await?;
    for (manifest, entries) in loaded {
        for entry in entries.iter().filter(|entry| entry.is_alive()) {
            match (entry.content_type(), entry.file_format()) {
                (DataContentType::Data, _) => {
                    live.insert(entry.file_path().to_owned());
                }
                (DataContentType::PositionDeletes, DataFileFormat::Parquet) => {
                    let listed = ListedFile::of(&manifest, entry);
                    let values = entry.data_file().partition().clone();
                    let partition = Partition { spec_id: manifest.partition_spec_id, values };
                    match groups.iter_mut().find(|group| *group.partition == partition) {
                        Some(group) => group.files.push(listed),
                        None => groups
                            .push(Group { partition: Arc::new(partition), files: vec![listed] }),
                    }
                }
                _ => {}
            }
        }
    }
    Ok((live, groups))
}
