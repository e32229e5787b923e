//! A snapshot that is being made: its manifests, manifest list and summary.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use iceberg::spec::{
    FormatVersion, ManifestContentType, ManifestFile, ManifestListWriter, Operation, Snapshot,
    SnapshotSummaryCollector, Summary,
};
use uuid::Uuid;

use super::{RowDelta, manifests};
use crate::writer::NewFile;
use crate::{Error, Table};

/// A snapshot before it is committed. Its manifests are written once, its list for each attempt.
pub(crate) struct PendingSnapshot {
    pub(crate) snapshot_id: i64,
    pub(crate) delta: RowDelta,
    commit_id: Uuid,
    attempt: u32,
    manifests: Option<Vec<ManifestFile>>,
}

impl PendingSnapshot {
    pub(crate) fn new(delta: RowDelta) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "any 63 random bits will do")]
        let random = Uuid::new_v4().as_u128() as u64;
        let snapshot_id = i64::try_from(random >> 1).unwrap_or(i64::MAX);
        Self { snapshot_id, delta, commit_id: Uuid::new_v4(), attempt: 0, manifests: None }
    }

    /// The manifests of the new files.
    pub(crate) fn manifests(&self) -> impl Iterator<Item = &ManifestFile> {
        self.manifests.iter().flatten()
    }

    pub(crate) async fn write_manifests(&mut self, table: &Table) -> Result<(), Error> {
        if self.manifests.is_some() {
            return Ok(());
        }
        let mut written = Vec::new();
        let files = &self.delta.files;
        let data = (ManifestContentType::Data, &files.data);
        for (content, files) in [data, (ManifestContentType::Deletes, &files.deletes)] {
            for spec_id in files.iter().map(|file| file.spec_id).collect::<BTreeSet<i32>>() {
                let of_spec = files.iter().filter(|file| file.spec_id == spec_id);
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
        for NewFile { file, .. } in files {
            writer.add_file(file.clone(), -1).map_err(Error::bug)?;
        }
        manifests::write(table, writer).await
    }

    /// Writes the list of all manifests of the snapshot and returns where it is.
    pub(crate) async fn write_manifest_list(
        &mut self,
        table: &Table,
        manifests: &[ManifestFile],
    ) -> Result<String, Error> {
        let (location, id) = (table.location(), self.snapshot_id);
        let path =
            format!("{location}/metadata/snap-{id}-{}-{}.avro", self.attempt, self.commit_id);
        self.attempt += 1;
        let storage = |error: iceberg::Error| Error::Storage {
            action: "write",
            path: path.as_str().into(),
            source: error.into(),
        };
        let output = table.file_io().new_output(&path).map_err(storage)?;
        let file = output.writer().await.map_err(storage)?;
        let metadata = table.metadata();
        let parent = metadata.current_snapshot_id();
        let sequence_number = metadata.next_sequence_number();
        let mut list = match metadata.format_version() {
            FormatVersion::V1 => ManifestListWriter::v1(file, id, parent),
            FormatVersion::V2 | FormatVersion::V3 => {
                ManifestListWriter::v2(file, id, parent, sequence_number)
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
        timestamp_ms: i64,
        summary: HashMap<String, String>,
    ) -> Result<Snapshot, Error> {
        let metadata = table.metadata();
        let files = &self.delta.files;
        let operation = match (files.data.is_empty(), files.deletes.is_empty()) {
            (_, true) => Operation::Append,
            (true, false) => Operation::Delete,
            (false, false) => Operation::Overwrite,
        };
        let mut additional_properties = self.counts(table)?;
        additional_properties.extend(summary);
        Ok(Snapshot::builder()
            .with_snapshot_id(self.snapshot_id)
            .with_parent_snapshot_id(metadata.current_snapshot_id())
            .with_sequence_number(metadata.next_sequence_number())
            .with_timestamp_ms(timestamp_ms)
            .with_manifest_list(manifest_list)
            .with_summary(Summary { operation, additional_properties })
            .with_schema_id(metadata.current_schema_id())
            .build())
    }

    /// What the snapshot adds, and what the table holds with it.
    fn counts(&self, table: &Table) -> Result<HashMap<String, String>, Error> {
        let metadata = table.metadata();
        let mut collector = SnapshotSummaryCollector::default();
        for file in self.delta.files.data.iter().chain(&self.delta.files.deletes) {
            let spec = metadata
                .partition_spec_by_id(file.spec_id)
                .unwrap_or_else(|| metadata.default_partition_spec());
            collector.add_file(file, Arc::clone(metadata.current_schema()), Arc::clone(spec));
        }
        let mut counts = collector.build();
        let empty = HashMap::new();
        let former = metadata
            .current_snapshot()
            .map_or(&empty, |snapshot| &snapshot.summary().additional_properties);
        for (total, added) in TOTALS {
            let count = |map: &HashMap<String, String>, key: &str| match map.get(key) {
                None => Some(0),
                Some(text) => text.parse::<u64>().ok(),
            };
            // A total that another writer left out stays unknown.
            if metadata.current_snapshot().is_some() && !former.contains_key(total) {
                continue;
            }
            if let (Some(before), Some(added)) = (count(former, total), count(&counts, added)) {
                counts.insert(total.to_owned(), (before + added).to_string());
            }
        }
        Ok(counts)
    }
}

/// Totals in a summary, with the count that raises each.
const TOTALS: [(&str, &str); 6] = [
    ("total-data-files", "added-data-files"),
    ("total-delete-files", "added-delete-files"),
    ("total-records", "added-records"),
    ("total-files-size", "added-files-size"),
    ("total-position-deletes", "added-position-deletes"),
    ("total-equality-deletes", "added-equality-deletes"),
];

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|elapsed| i64::try_from(elapsed.as_millis()).ok())
        .unwrap_or(0)
}
