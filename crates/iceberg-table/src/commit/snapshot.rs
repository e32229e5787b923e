//! A snapshot that is being made: its manifests, manifest list and summary.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use iceberg::spec::{
    FormatVersion, ManifestContentType, ManifestFile, ManifestListWriter, Operation, Snapshot,
    SnapshotSummaryCollector, Summary,
};
use uuid::Uuid;

use super::expiry::Expiry;
use super::manifests::Entry;
use super::removal::Removal;
use super::{RowDelta, manifests};
use crate::writer::NewFile;
use crate::{Error, Table};

/// A snapshot before it is committed. Its manifests are written once, its list for each attempt.
pub(crate) struct PendingSnapshot {
    pub(crate) snapshot_id: i64,
    pub(crate) delta: RowDelta,
    commit_id: Uuid,
    attempt: u32,
    /// How many row ids the last attempt gives to rows.
    added_row_ids: u64,
    manifests: Option<Vec<ManifestFile>>,
    /// Deletion vectors of the last attempt.
    pub(crate) vectors: Vec<NewFile>,
    /// What those replace.
    pub(crate) replaced: Removal,
    /// The snapshots that expire with the last attempt.
    pub(crate) expiry: Expiry,
    /// Files that are of no use if the last attempt fails.
    pub(crate) of_attempt: Vec<String>,
}

impl PendingSnapshot {
    pub(crate) fn new(delta: RowDelta) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "any 63 random bits will do")]
        let random = Uuid::new_v4().as_u128() as u64;
        let snapshot_id = i64::try_from(random >> 1).unwrap_or(i64::MAX);
        Self {
            snapshot_id,
            delta,
            commit_id: Uuid::new_v4(),
            attempt: 0,
            added_row_ids: 0,
            manifests: None,
            vectors: Vec::new(),
            replaced: Removal::default(),
            expiry: Expiry::default(),
            of_attempt: Vec::new(),
        }
    }

    /// The manifests of the new files.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = &ManifestFile> {
        self.manifests.iter().flatten()
    }

    /// All files that leave the table with it.
    pub(crate) fn removal(&self) -> Removal {
        let mut removal = self.delta.removed.clone();
        removal.append(self.replaced.clone());
        removal
    }

    /// Removes what the last attempt wrote: the version that would refer to it was not made.
    pub(crate) async fn give_up(&mut self, table: &Table) {
        let of_attempt = std::mem::take(&mut self.of_attempt);
        super::remove_useless(table, &of_attempt).await;
    }

    /// Has the manifests written anew, because they were made for other vectors.
    pub(crate) fn forget_manifests(&mut self) {
        self.manifests = None;
    }

    /// Its files of one content.
    pub(crate) fn files(&self, content: ManifestContentType) -> Vec<&NewFile> {
        let files = &self.delta.files;
        match content {
            ManifestContentType::Data => files.data.iter().collect(),
            ManifestContentType::Deletes => files.deletes.iter().chain(&self.vectors).collect(),
        }
    }

    /// Whether a manifest is one of its new files.
    pub(crate) fn is_new(&self, manifest: &ManifestFile) -> bool {
        self.manifests().any(|new| new.manifest_path == manifest.manifest_path)
    }

    pub(crate) async fn write_manifests(&mut self, table: &Table) -> Result<(), Error> {
        if self.manifests.is_some() {
            return Ok(());
        }
        let mut written = Vec::new();
        for content in [ManifestContentType::Data, ManifestContentType::Deletes] {
            let files = self.files(content);
            for spec_id in files.iter().map(|file| file.spec_id).collect::<BTreeSet<i32>>() {
                let of_spec = files.iter().copied().filter(|file| file.spec_id == spec_id);
                written.push(self.write_manifest(table, content, spec_id, of_spec).await?);
            }
        }
        self.manifests = Some(written);
        Ok(())
    }

    async fn write_manifest(
        &self,
        table: &Table,
        content: ManifestContentType,
        spec_id: i32,
        files: impl Iterator<Item = &NewFile>,
    ) -> Result<ManifestFile, Error> {
        let mut writer = manifests::writer(table, self.snapshot_id, content, spec_id)?;
        // Minus one: the sequence number is that of the snapshot.
        let sequence_number = match content {
            ManifestContentType::Data => self.delta.data_sequence_number.unwrap_or(-1),
            ManifestContentType::Deletes => -1,
        };
        for NewFile { file, .. } in files {
            writer.add_file(file.clone(), sequence_number).map_err(Error::bug)?;
        }
        manifests::write(table, writer).await
    }

    /// Writes the list of all manifests of the snapshot and returns where it is. Manifests of data that have no
    /// row ids yet get theirs.
    pub(crate) async fn write_manifest_list(
        &mut self,
        table: &Table,
        manifests: &mut [ManifestFile],
    ) -> Result<String, Error> {
        let (location, id) = (table.location(), self.snapshot_id);
        let path =
            format!("{location}/metadata/snap-{id}-{}-{}.avro", self.attempt, self.commit_id);
        self.attempt += 1;
        self.of_attempt.push(path.clone());
        let storage = |error: iceberg::Error| Error::Storage {
            action: "write",
            path: path.as_str().into(),
            source: error.into(),
        };
        let output = table.file_io().new_output(&path).map_err(storage)?;
        let file = output.writer().await.map_err(storage)?;
        let metadata = table.metadata();
        let parent = table.current_snapshot_id();
        let sequence_number = metadata.next_sequence_number();
        let mut list = match metadata.format_version() {
            FormatVersion::V1 => ManifestListWriter::v1(file, id, parent),
            FormatVersion::V2 => ManifestListWriter::v2(file, id, parent, sequence_number),
            FormatVersion::V3 => {
                let first = metadata.next_row_id();
                self.added_row_ids = assign_row_ids(manifests, first) - first;
                ManifestListWriter::v3(file, id, parent, sequence_number, Some(first))
            }
        };
        list.add_manifests(manifests.iter().cloned()).map_err(Error::bug)?;
        list.close().await.map_err(storage)?;
        Ok(path)
    }

    /// The snapshot on top of the current one of `table`.
    pub(crate) fn snapshot(
        &self,
        table: &Table,
        manifest_list: String,
        removed: &[Entry],
        (timestamp_ms, summary): (i64, HashMap<String, String>),
    ) -> Result<Snapshot, Error> {
        let metadata = table.metadata();
        let files = &self.delta.files;
        let removes = !files.deletes.is_empty() || !self.vectors.is_empty() || !removed.is_empty();
        let operation = match (files.data.is_empty(), removes) {
            _ if self.delta.is_rewrite => Operation::Replace,
            (_, false) => Operation::Append,
            (true, true) => Operation::Delete,
            (false, true) => Operation::Overwrite,
        };
        let mut additional_properties = self.counts(table, removed)?;
        additional_properties.extend(summary);
        let builder = Snapshot::builder()
            .with_snapshot_id(self.snapshot_id)
            .with_parent_snapshot_id(table.current_snapshot_id())
            .with_sequence_number(metadata.next_sequence_number())
            .with_timestamp_ms(timestamp_ms)
            .with_manifest_list(manifest_list)
            .with_summary(Summary { operation, additional_properties })
            .with_schema_id(metadata.current_schema_id());
        if metadata.format_version() < FormatVersion::V3 {
            return Ok(builder.build());
        }
        Ok(builder.with_row_range(metadata.next_row_id(), self.added_row_ids).build())
    }

    /// What the snapshot adds and removes, and what the table holds with it.
    fn counts(&self, table: &Table, removed: &[Entry]) -> Result<HashMap<String, String>, Error> {
        let metadata = table.metadata();
        let mut collector = SnapshotSummaryCollector::default();
        let deletes = self.files(ManifestContentType::Deletes);
        for file in self.delta.files.data.iter().chain(deletes) {
            let spec = metadata
                .partition_spec_by_id(file.spec_id)
                .unwrap_or_else(|| metadata.default_partition_spec());
            collector.add_file(file, Arc::clone(metadata.current_schema()), Arc::clone(spec));
        }
        for entry in removed {
            let spec = Arc::clone(metadata.default_partition_spec());
            collector.remove_file(&entry.file, Arc::clone(metadata.current_schema()), spec);
        }
        let mut counts = collector.build();
        let empty = HashMap::new();
        let former = table
            .current_snapshot()
            .map_or(&empty, |snapshot| &snapshot.summary().additional_properties);
        for (total, added, removed) in TOTALS {
            let count = |map: &HashMap<String, String>, key: &str| match map.get(key) {
                None => Some(0),
                Some(text) => text.parse::<u64>().ok(),
            };
            // A total that another writer left out stays unknown.
            if table.current_snapshot().is_some() && !former.contains_key(total) {
                continue;
            }
            let (before, added, removed) =
                (count(former, total), count(&counts, added), count(&counts, removed));
            if let (Some(before), Some(added), Some(removed)) = (before, added, removed) {
                counts
                    .insert(total.to_owned(), (before + added).saturating_sub(removed).to_string());
            }
        }
        Ok(counts)
    }
}

/// Gives each manifest of data that has none the row id of its first row, from `next` on. Returns the next one.
fn assign_row_ids(manifests: &mut [ManifestFile], next: u64) -> u64 {
    let mut next = next;
    for manifest in manifests {
        if manifest.content == ManifestContentType::Data && manifest.first_row_id.is_none() {
            manifest.first_row_id = Some(next);
            next +=
                manifest.existing_rows_count.unwrap_or(0) + manifest.added_rows_count.unwrap_or(0);
        }
    }
    next
}

/// Totals in a summary, with the count that raises each and the one that lowers it.
const TOTALS: [(&str, &str, &str); 6] = [
    ("total-data-files", "added-data-files", "deleted-data-files"),
    ("total-delete-files", "added-delete-files", "removed-delete-files"),
    ("total-records", "added-records", "deleted-records"),
    ("total-files-size", "added-files-size", "removed-files-size"),
    ("total-position-deletes", "added-position-deletes", "removed-position-deletes"),
    ("total-equality-deletes", "added-equality-deletes", "removed-equality-deletes"),
];

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_millis()).ok())
        .unwrap_or(0)
}
