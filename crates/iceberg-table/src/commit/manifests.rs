//! The manifests of the current snapshot, kept in memory: their merging, and files that leave them.
//!
//! Each commit adds one or two manifests. To keep commits from growing with the table, manifests are
//! merged in tiers: when a tier holds `commit.manifest.min-count-to-merge` manifests, they become one of the next
//! tier, until they have `commit.manifest.target-size-bytes`. So an entry is rewritten once for each tier, and a
//! manifest list stays short.
//!
//! A file leaves the table by a manifest that lists it as deleted, made by the snapshot that removes
//! it. Such a manifest is not merged by the same snapshot: whoever cleans up after expired snapshots
//! finds in it what to delete.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use iceberg::spec::{
    DataFile, DataFileBuilder, FormatVersion, ManifestContentType, ManifestFile, ManifestWriter,
    ManifestWriterBuilder,
};
use uuid::Uuid;

use super::removal::Removal;
use super::snapshot::PendingSnapshot;
use crate::writer::NewFile;
use crate::{Error, Table, properties};

/// The manifests of a snapshot.
#[derive(Default)]
pub(crate) struct Manifests {
    current: Vec<ManifestFile>,
    /// The entries of manifests of this run, and of all manifests of deletes while there are deletion vectors, so
    /// that merging them and finding vectors reads nothing.
    entries: HashMap<String, Arc<Vec<Entry>>>,
    /// Whether all manifests that are not of full size are merged, not only those of full tiers.
    pub(crate) merges_all: bool,
}

/// A committed file.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) file: DataFile,
    pub(crate) snapshot_id: i64,
    pub(crate) sequence_number: i64,
    pub(crate) file_sequence_number: Option<i64>,
}

/// What the next snapshot lists besides its own new files.
#[derive(Default)]
pub(crate) struct NextManifests {
    pub(crate) manifests: Vec<ManifestFile>,
    /// The entries that it takes out.
    pub(crate) removed: Vec<Entry>,
    /// The entries of manifests of deletes that were made for it.
    entries: HashMap<String, Arc<Vec<Entry>>>,
}

impl Manifests {
    /// Reads the manifest list of the current snapshot.
    pub(crate) async fn load(table: &Table) -> Result<Self, Error> {
        let current = match table.current_snapshot() {
            Some(snapshot) => table.manifests(snapshot).await?,
            None => Vec::new(),
        };
        Ok(Self { current, entries: HashMap::new(), merges_all: false })
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.current.len()
    }

    /// The manifests for the next snapshot: without the files of `removal`, and with full tiers merged.
    ///
    /// # Errors
    /// [`Error::FilesRemoved`] if a file of `removal` is not in the table any more.
    pub(crate) async fn next(
        &self,
        table: &Table,
        snapshot_id: i64,
        removal: &Removal,
    ) -> Result<NextManifests, Error> {
        let mut next = self.without(table, snapshot_id, removal).await?;
        self.merge_tiers(table, snapshot_id, &mut next).await?;
        Ok(next)
    }

    /// Takes the files of `removal` out of the manifests that list them.
    async fn without(
        &self,
        table: &Table,
        snapshot_id: i64,
        removal: &Removal,
    ) -> Result<NextManifests, Error> {
        let mut wanted = removal.clone();
        let mut next = NextManifests::default();
        for manifest in &self.current {
            if manifest.added_files_count == Some(0) && manifest.existing_files_count == Some(0) {
                continue;
            }
            if !wanted.may_be_in(manifest) {
                next.manifests.push(manifest.clone());
                continue;
            }
            let entries = self.entries_of(table, manifest).await?;
            let (gone, rest): (Vec<Entry>, Vec<Entry>) =
                entries.iter().cloned().partition(|entry| wanted.take(&entry.file));
            if gone.is_empty() {
                next.manifests.push(manifest.clone());
                continue;
            }
            let mut writer =
                writer(table, snapshot_id, manifest.content, manifest.partition_spec_id)?;
            rest.iter().try_for_each(|entry| add_existing(&mut writer, entry))?;
            for entry in gone {
                let Entry { file, sequence_number, file_sequence_number, .. } = entry.clone();
                writer
                    .add_delete_file(file, sequence_number, file_sequence_number)
                    .map_err(Error::bug)?;
                next.removed.push(entry);
            }
            next.add(write_existing(table, writer, &rest).await?, rest);
        }
        if wanted.is_empty() {
            return Ok(next);
        }
        let snapshot_id = table.current_snapshot_id().unwrap_or(-1);
        Err(Error::FilesRemoved { table: table.name().clone(), snapshot_id })
    }

    /// Merges the manifests of full tiers.
    async fn merge_tiers(
        &self,
        table: &Table,
        snapshot_id: i64,
        next: &mut NextManifests,
    ) -> Result<(), Error> {
        let all = table.metadata().properties();
        let min_count = match self.merges_all {
            true => 2,
            false => properties::MANIFEST_MERGE_COUNT.read(all)?.max(2),
        };
        let is_enabled = self.merges_all || properties::MANIFEST_MERGE.read(all)?;
        if !is_enabled || next.manifests.len() < min_count {
            return Ok(());
        }
        let target_size_bytes = properties::MANIFEST_TARGET_SIZE.read(all)?;
        let manifests = std::mem::take(&mut next.manifests);
        let mut tiers: BTreeMap<Tier, Vec<ManifestFile>> = BTreeMap::new();
        for manifest in manifests {
            let is_full = manifest.manifest_length >= target_size_bytes;
            // What this snapshot has made lists what it deletes, and must stay as it is.
            if is_full || manifest.added_snapshot_id == snapshot_id {
                next.manifests.push(manifest);
            } else {
                let mut tier = Tier::of(&manifest, min_count);
                if self.merges_all {
                    tier.level = 0;
                }
                tiers.entry(tier).or_default().push(manifest);
            }
        }
        for tier in tiers.into_values() {
            if tier.len() < min_count {
                next.manifests.extend(tier);
            } else {
                self.merge(table, snapshot_id, &tier, next).await?;
            }
        }
        Ok(())
    }

    /// One manifest with the entries of several of the same content and partition spec.
    async fn merge(
        &self,
        table: &Table,
        snapshot_id: i64,
        manifests: &[ManifestFile],
        next: &mut NextManifests,
    ) -> Result<(), Error> {
        let Some(first) = manifests.first() else { return Ok(()) };
        let mut writer = writer(table, snapshot_id, first.content, first.partition_spec_id)?;
        let mut merged = Vec::new();
        for manifest in manifests {
            merged.extend(self.entries_of(table, manifest).await?.iter().cloned());
        }
        if merged.is_empty() {
            return Ok(());
        }
        merged.iter().try_for_each(|entry| add_existing(&mut writer, entry))?;
        next.add(write_existing(table, writer, &merged).await?, merged);
        Ok(())
    }

    /// The files that a manifest lists as live.
    async fn entries_of(
        &self,
        table: &Table,
        manifest: &ManifestFile,
    ) -> Result<Arc<Vec<Entry>>, Error> {
        match self.entries.get(&manifest.manifest_path) {
            Some(entries) => Ok(Arc::clone(entries)),
            None => live_entries(table, manifest).await.map(Arc::new),
        }
    }

    /// All delete files and deletion vectors of the snapshot, kept in memory from then on.
    pub(crate) async fn deletes(&mut self, table: &Table) -> Result<Vec<Arc<Vec<Entry>>>, Error> {
        let mut deletes = Vec::new();
        for manifest in &self.current {
            if manifest.content == ManifestContentType::Deletes {
                let entries = self.entries_of(table, manifest).await?;
                self.entries.insert(manifest.manifest_path.clone(), Arc::clone(&entries));
                deletes.push(entries);
            }
        }
        Ok(deletes)
    }

    /// Takes over the manifests of a snapshot that has been committed.
    pub(crate) fn committed(
        &mut self,
        manifests: Vec<ManifestFile>,
        made: HashMap<String, Arc<Vec<Entry>>>,
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
        self.entries.extend(made);
        for manifest in &self.current {
            if !pending.is_new(manifest) {
                continue;
            }
            let is_data = manifest.content == ManifestContentType::Data;
            let files = pending.files(manifest.content).into_iter();
            let files = files.filter(|file| file.spec_id == manifest.partition_spec_id);
            let of_data = pending.delta.data_sequence_number.filter(|_| is_data);
            let entry = |file: &NewFile| Entry {
                file: file.file.clone(),
                snapshot_id: pending.snapshot_id,
                sequence_number: of_data.unwrap_or(sequence_number),
                file_sequence_number: Some(sequence_number),
            };
            let mut entries = files.map(entry).collect::<Vec<_>>();
            inherit_row_ids(manifest, &mut entries);
            self.entries.insert(manifest.manifest_path.clone(), Arc::new(entries));
        }
        let current: BTreeSet<&str> =
            self.current.iter().map(|manifest| manifest.manifest_path.as_str()).collect();
        self.entries.retain(|path, _| current.contains(path.as_str()));
    }
}

/// Manifests that may become one: of equal content and partition spec, and of like length.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Tier {
    is_data: bool,
    spec_id: i32,
    level: u32,
}

impl Tier {
    fn of(manifest: &ManifestFile, min_count: usize) -> Self {
        let count =
            manifest.added_files_count.unwrap_or(0) + manifest.existing_files_count.unwrap_or(0);
        let base = u32::try_from(min_count).unwrap_or(u32::MAX).max(2);
        Self {
            is_data: manifest.content == ManifestContentType::Data,
            spec_id: manifest.partition_spec_id,
            level: count.checked_ilog(base).unwrap_or(0),
        }
    }
}

impl NextManifests {
    /// Adds a manifest with these live entries.
    fn add(&mut self, manifest: ManifestFile, entries: Vec<Entry>) {
        if manifest.content == ManifestContentType::Deletes {
            self.entries.insert(manifest.manifest_path.clone(), Arc::new(entries));
        }
        self.manifests.push(manifest);
    }

    /// Takes out what [`Manifests::committed`] wants to know.
    pub(crate) fn take_entries(&mut self) -> HashMap<String, Arc<Vec<Entry>>> {
        std::mem::take(&mut self.entries)
    }
}

/// Writes a manifest whose live entries are old ones. If their rows have ids, it needs no new ones.
async fn write_existing(
    table: &Table,
    writer: ManifestWriter,
    entries: &[Entry],
) -> Result<ManifestFile, Error> {
    let mut manifest = write(table, writer).await?;
    let has_ids = entries.iter().all(|entry| entry.file.first_row_id().is_some());
    if manifest.content == ManifestContentType::Data && has_ids {
        manifest.first_row_id = Some(table.metadata().next_row_id());
    }
    Ok(manifest)
}

/// Fills in the row ids that data files inherit from their manifest.
fn inherit_row_ids(manifest: &ManifestFile, entries: &mut [Entry]) {
    let (ManifestContentType::Data, Some(first)) = (manifest.content, manifest.first_row_id) else {
        return;
    };
    let mut next = first;
    for entry in entries {
        if entry.file.first_row_id().is_none() {
            entry.file = with_row_id(&entry.file, next, manifest.partition_spec_id);
            next += entry.file.record_count();
        }
    }
}

/// The same file with the id of its first row.
fn with_row_id(file: &DataFile, first: u64, spec_id: i32) -> DataFile {
    let mut builder = DataFileBuilder::default();
    builder
        .content(file.content_type())
        .file_path(file.file_path().to_owned())
        .file_format(file.file_format())
        .partition_spec_id(spec_id)
        .partition(file.partition().clone())
        .record_count(file.record_count())
        .file_size_in_bytes(file.file_size_in_bytes())
        .column_sizes(file.column_sizes().clone())
        .value_counts(file.value_counts().clone())
        .null_value_counts(file.null_value_counts().clone())
        .nan_value_counts(file.nan_value_counts().clone())
        .lower_bounds(file.lower_bounds().clone())
        .upper_bounds(file.upper_bounds().clone())
        .key_metadata(file.key_metadata().map(<[u8]>::to_vec))
        .split_offsets(file.split_offsets().map(<[i64]>::to_vec))
        .first_row_id(i64::try_from(first).ok());
    if let Some(order) = file.sort_order_id() {
        builder.sort_order_id(order);
    }
    builder.build().unwrap_or_else(|_| file.clone())
}

fn add_existing(writer: &mut ManifestWriter, entry: &Entry) -> Result<(), Error> {
    let Entry { file, snapshot_id, sequence_number, file_sequence_number } = entry.clone();
    writer
        .add_existing_file(file, snapshot_id, sequence_number, file_sequence_number)
        .map_err(Error::bug)
}

/// The live entries of a manifest, with everything that they inherit.
pub(crate) async fn live_entries(
    table: &Table,
    manifest: &ManifestFile,
) -> Result<Vec<Entry>, Error> {
    let (entries, _) = table.load_manifest(manifest).await?.into_parts();
    let mut entries = entries
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
        .collect::<Result<Vec<_>, Error>>()?;
    inherit_row_ids(manifest, &mut entries);
    Ok(entries)
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
