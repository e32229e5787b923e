//! The manifests of the current snapshot, kept in memory, and their merging.
//!
//! Each commit adds one or two manifests. To keep commits from growing with the table, manifests are
//! merged in tiers: when a tier holds `commit.manifest.min-count-to-merge` manifests, they become one of the next
//! tier. So an entry is rewritten once for each tier, and a manifest list stays short.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use iceberg::spec::{
    DataFile, FormatVersion, ManifestContentType, ManifestFile, ManifestWriter,
    ManifestWriterBuilder,
};
use uuid::Uuid;

use super::snapshot::PendingSnapshot;
use crate::writer::NewFile;
use crate::{Error, Table, properties};

/// The manifests of a snapshot.
#[derive(Default)]
pub(crate) struct Manifests {
    current: Vec<ManifestFile>,
    /// The entries of manifests of this run that are in the first tier, so that merging them reads nothing.
    entries: HashMap<String, Vec<Entry>>,
}

/// A committed file.
#[derive(Clone)]
struct Entry {
    file: DataFile,
    snapshot_id: i64,
    sequence_number: i64,
    file_sequence_number: Option<i64>,
}

impl Manifests {
    /// Reads the manifest list of the current snapshot.
    pub(crate) async fn load(table: &Table) -> Result<Self, Error> {
        let current = match table.current_snapshot() {
            Some(snapshot) => table.manifests(snapshot).await?,
            None => Vec::new(),
        };
        Ok(Self { current, entries: HashMap::new() })
    }

    /// The manifests for the next snapshot, tiers that are full merged.
    pub(crate) async fn merged(
        &self,
        table: &Table,
        snapshot_id: i64,
    ) -> Result<Vec<ManifestFile>, Error> {
        let all = table.metadata().properties();
        let min_count = properties::MANIFEST_MERGE_COUNT.read(all)?.max(2);
        if !properties::MANIFEST_MERGE.read(all)? || self.current.len() < min_count {
            return Ok(self.current.clone());
        }
        let spec_id = table.metadata().default_partition_spec_id();
        let mut merged = Vec::new();
        let mut tiers: BTreeMap<(bool, u32), Vec<&ManifestFile>> = BTreeMap::new();
        for manifest in &self.current {
            if manifest.partition_spec_id == spec_id {
                let is_data = manifest.content == ManifestContentType::Data;
                tiers.entry((is_data, tier(manifest, min_count))).or_default().push(manifest);
            } else {
                merged.push(manifest.clone());
            }
        }
        for ((is_data, _), tier) in tiers {
            if tier.len() < min_count {
                merged.extend(tier.into_iter().cloned());
            } else {
                merged.extend(self.merge(table, snapshot_id, is_data, &tier).await?);
            }
        }
        Ok(merged)
    }

    async fn merge(
        &self,
        table: &Table,
        snapshot_id: i64,
        is_data: bool,
        tier: &[&ManifestFile],
    ) -> Result<Option<ManifestFile>, Error> {
        let content =
            if is_data { ManifestContentType::Data } else { ManifestContentType::Deletes };
        let spec_id = table.metadata().default_partition_spec_id();
        let mut writer = writer(table, snapshot_id, content, spec_id)?;
        let mut is_empty = true;
        for manifest in tier {
            let loaded;
            let entries = match self.entries.get(&manifest.manifest_path) {
                Some(entries) => entries,
                None => {
                    loaded = load_entries(table, manifest).await?;
                    &loaded
                }
            };
            for entry in entries {
                is_empty = false;
                writer
                    .add_existing_file(
                        entry.file.clone(),
                        entry.snapshot_id,
                        entry.sequence_number,
                        entry.file_sequence_number,
                    )
                    .map_err(Error::bug)?;
            }
        }
        if is_empty {
            return Ok(None);
        }
        write(table, writer).await.map(Some)
    }

    /// Takes over the manifests of a snapshot that has been committed.
    pub(crate) fn committed(
        &mut self,
        manifests: Vec<ManifestFile>,
        pending: &PendingSnapshot,
        sequence_number: i64,
    ) {
        self.current = manifests;
        // Manifests that were made for this snapshot now have its sequence number.
        for manifest in &mut self.current {
            if manifest.added_snapshot_id == pending.snapshot_id {
                manifest.sequence_number = sequence_number;
                if manifest.min_sequence_number < 0 {
                    manifest.min_sequence_number = sequence_number;
                }
            }
        }
        let files = &pending.delta.files;
        for manifest in pending.manifests() {
            let is_data = manifest.content == ManifestContentType::Data;
            let files = if is_data { &files.data } else { &files.deletes };
            let files = files.iter().filter(|file| file.spec_id == manifest.partition_spec_id);
            let entry = |file: &NewFile| Entry {
                file: file.file.clone(),
                snapshot_id: pending.snapshot_id,
                sequence_number,
                file_sequence_number: Some(sequence_number),
            };
            let entries = files.map(entry).collect();
            self.entries.insert(manifest.manifest_path.clone(), entries);
        }
        let current: BTreeSet<&str> =
            self.current.iter().map(|manifest| manifest.manifest_path.as_str()).collect();
        self.entries.retain(|path, _| current.contains(path.as_str()));
    }
}

/// Which tier a manifest belongs to, by how many files it lists.
fn tier(manifest: &ManifestFile, min_count: usize) -> u32 {
    let count =
        manifest.added_files_count.unwrap_or(0) + manifest.existing_files_count.unwrap_or(0);
    let base = u32::try_from(min_count).unwrap_or(u32::MAX).max(2);
    count.checked_ilog(base).unwrap_or(0)
}

async fn load_entries(table: &Table, manifest: &ManifestFile) -> Result<Vec<Entry>, Error> {
    let (entries, _) = table.load_manifest(manifest).await?.into_parts();
    entries
        .iter()
        .filter(|entry| entry.is_alive())
        .map(|entry| {
            let (Some(snapshot_id), Some(sequence_number)) =
                (entry.snapshot_id(), entry.sequence_number())
            else {
                let reason = "an entry has no snapshot id or sequence number";
                return Err(Error::corrupt(&manifest.manifest_path, reason));
            };
            Ok(Entry {
                file: entry.data_file().clone(),
                snapshot_id,
                sequence_number,
                file_sequence_number: entry.file_sequence_number,
            })
        })
        .collect()
}

/// A writer for a new manifest.
pub(crate) fn writer(
    table: &Table,
    snapshot_id: i64,
    content: ManifestContentType,
    spec_id: i32,
) -> Result<ManifestWriter, Error> {
    let metadata = table.metadata();
    let path = format!("{}/metadata/{}-m0.avro", table.location(), Uuid::new_v4());
    let output = table.file_io().new_output(&path).map_err(Error::bug)?;
    let spec = metadata.partition_spec_by_id(spec_id).ok_or_else(|| {
        Error::corrupt(table.metadata_location(), format!("it has no partition spec {spec_id}"))
    })?;
    let builder = ManifestWriterBuilder::new(
        output,
        Some(snapshot_id),
        Arc::clone(metadata.current_schema()),
        spec.as_ref().clone(),
    );
    Ok(match (metadata.format_version(), content) {
        (FormatVersion::V1, ManifestContentType::Data) => builder.build_v1(),
        (FormatVersion::V1, ManifestContentType::Deletes) => {
            return Err(Error::bug("deletes in a table of format version 1"));
        }
        (FormatVersion::V2, ManifestContentType::Data) => builder.build_v2_data(),
        (FormatVersion::V2, ManifestContentType::Deletes) => builder.build_v2_deletes(),
        (FormatVersion::V3, ManifestContentType::Data) => builder.build_v3_data(),
        (FormatVersion::V3, ManifestContentType::Deletes) => builder.build_v3_deletes(),
    })
}

/// Writes a manifest; its content is on disk afterwards.
pub(crate) async fn write(table: &Table, writer: ManifestWriter) -> Result<ManifestFile, Error> {
    writer.write_manifest_file().await.map_err(|error| Error::Storage {
        action: "write a manifest in",
        path: table.location().into(),
        source: error.into(),
    })
}
