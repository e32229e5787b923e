//! From a snapshot to data files, each with the delete files that apply to it.
//!
//! What applies to what (Iceberg specification, "Scan planning"):
//! - a deletion vector to the file that it names, if it is not older than the file; then position
//!   delete files do not count for that file;
//! - a position delete file to data files of its partition that are not newer than it;
//! - an equality delete file to data files that are older than it: all of the table if its
//!   partition spec is unpartitioned, else those of its partition.
//!
//! "Older" is by data sequence number.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};
use iceberg::spec::{
    DataContentType, DataFile, DataFileFormat, ManifestContentType, ManifestEntryRef, ManifestFile,
    SchemaRef, SnapshotRef, Struct,
};

use super::predicate::Predicate;
use super::{FileCache, bounds, partition};
use crate::{Error, Table};

/// What a scan has to read.
#[derive(Debug)]
pub(crate) struct ScanPlan {
    /// The snapshot; none if the table has none.
    pub(crate) snapshot: Option<SnapshotRef>,
    /// The data files, in a fixed order.
    pub(crate) files: Vec<PlannedFile>,
    /// Data files that no row of which can match.
    pub(crate) skipped_file_count: usize,
    /// Manifests that were not read because no file of them can match.
    pub(crate) skipped_manifest_count: usize,
}

/// A file of the table as a manifest lists it.
#[derive(Clone, Debug)]
pub(crate) struct ListedFile {
    entry: ManifestEntryRef,
    /// The partition spec by which it was written.
    pub(crate) spec_id: i32,
    /// Its data sequence number.
    pub(crate) sequence_number: i64,
}

impl ListedFile {
    /// A file that a manifest lists.
    pub(crate) fn of(manifest: &ManifestFile, entry: &ManifestEntryRef) -> Self {
        Self {
            sequence_number: entry.sequence_number().unwrap_or(manifest.sequence_number),
            spec_id: manifest.partition_spec_id,
            entry: ManifestEntryRef::clone(entry),
        }
    }

    /// What the manifest says about it.
    pub(crate) fn file(&self) -> &DataFile {
        self.entry.data_file()
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &str {
        self.entry.file_path()
    }

    /// How many rows it has, deleted ones included.
    pub(crate) fn row_count(&self) -> u64 {
        self.entry.data_file().record_count()
    }
}

/// A data file and what is deleted of it.
#[derive(Clone, Debug)]
pub(crate) struct PlannedFile {
    /// The file.
    pub(crate) listed: ListedFile,
    /// Its deletion vector.
    pub(crate) deletion_vector: Option<ListedFile>,
    /// Position delete files that may name it.
    pub(crate) position_deletes: Vec<ListedFile>,
    /// Equality delete files that apply to it.
    pub(crate) equality_deletes: Vec<ListedFile>,
}

impl PlannedFile {
    /// A data file of which nothing is deleted.
    pub(crate) const fn untouched(listed: ListedFile) -> Self {
        Self {
            listed,
            deletion_vector: None,
            position_deletes: Vec::new(),
            equality_deletes: Vec::new(),
        }
    }
}

/// Plans a scan of `snapshot` for rows that match `predicate`, whose fields are those of `schema`.
///
/// # Errors
/// [`Error::Storage`], [`Error::NotFound`] or [`Error::Corrupt`] name the file and the snapshot.
pub(crate) async fn plan(
    table: &Table,
    snapshot: Option<SnapshotRef>,
    schema: &SchemaRef,
    predicate: &Predicate,
) -> Result<ScanPlan, Error> {
    let mut plan =
        ScanPlan { snapshot, files: Vec::new(), skipped_file_count: 0, skipped_manifest_count: 0 };
    let Some(snapshot) = plan.snapshot.clone() else { return Ok(plan) };
    let manifests = manifest_list(table, &snapshot).await?;
    let (wanted, unwanted): (Vec<ManifestFile>, Vec<ManifestFile>) = manifests
        .iter()
        .cloned()
        .partition(|manifest| manifest_may_match(table, schema, manifest, predicate));
    plan.skipped_manifest_count = unwanted.len();
    let mut data_files = Vec::new();
    let mut deletes = DeleteIndex::default();
    let unpartitioned = unpartitioned_specs(table);
    for (manifest, entries) in load_manifests(table, &snapshot, wanted).await? {
        for entry in entries.iter().filter(|entry| entry.is_alive()) {
            let listed = ListedFile::of(&manifest, entry);
            match entry.content_type() {
                DataContentType::Data => data_files.push(listed),
                DataContentType::PositionDeletes => deletes.add_position(listed)?,
                DataContentType::EqualityDeletes => {
                    let global = unpartitioned.contains(&listed.spec_id);
                    deletes.add_equality(listed, global);
                }
            }
        }
    }
    for listed in data_files {
        if listed.file().file_format() != DataFileFormat::Parquet {
            return Err(Error::Invalid(format!(
                "data file {} is in format {}; only Parquet is supported",
                listed.path(),
                listed.file().file_format()
            )));
        }
        if file_may_match(table, schema, &listed, predicate) {
            plan.files.push(deletes.planned(listed));
        } else {
            plan.skipped_file_count += 1;
        }
    }
    Ok(plan)
}

/// The manifests of a snapshot, data and deletes.
///
/// # Errors
/// Names the manifest list and the snapshot.
pub(crate) async fn manifest_list(
    table: &Table,
    snapshot: &SnapshotRef,
) -> Result<Arc<Vec<ManifestFile>>, Error> {
    const WHAT: &str = "manifest list";
    let path = snapshot.manifest_list();
    if let Some(cached) = FileCache::global().get(path, 0, WHAT) {
        return Ok(cached);
    }
    let manifests = Arc::new(
        table
            .manifests(snapshot)
            .await
            .map_err(|error| in_snapshot(error, table, snapshot, path))?,
    );
    let size = manifests.len() * 500;
    FileCache::global().put(path, 0, WHAT, (Arc::clone(&manifests), size));
    Ok(manifests)
}

/// The entries of a manifest, with what they inherit from it.
pub(crate) type Entries = Arc<Vec<ManifestEntryRef>>;

/// Loads manifests, in their order.
///
/// # Errors
/// Names the manifest and the snapshot.
pub(crate) async fn load_manifests(
    table: &Table,
    snapshot: &SnapshotRef,
    manifests: Vec<ManifestFile>,
) -> Result<Vec<(ManifestFile, Entries)>, Error> {
    stream::iter(manifests)
        .map(|manifest| {
            let table = table.clone();
            let snapshot = SnapshotRef::clone(snapshot);
            async move {
                let entries = load_manifest(&table, &snapshot, &manifest).await?;
                Ok((manifest, entries))
            }
        })
        .buffered(CONCURRENT_FILES)
        .try_collect()
        .await
}

/// How many small files are read at the same time.
pub(crate) const CONCURRENT_FILES: usize = 8;

async fn load_manifest(
    table: &Table,
    snapshot: &SnapshotRef,
    manifest: &ManifestFile,
) -> Result<Entries, Error> {
    const WHAT: &str = "manifest";
    let path = manifest.manifest_path.clone();
    let length = u64::try_from(manifest.manifest_length).unwrap_or_default();
    if let Some(cached) = FileCache::global().get(&path, length, WHAT) {
        return Ok(cached);
    }
    let task = {
        let (table, manifest) = (table.clone(), manifest.clone());
        tokio::spawn(async move { table.load_manifest(&manifest).await })
    };
    let loaded = task
        .await
        .map_err(Error::bug)?
        .map_err(|error| in_snapshot(error, table, snapshot, &path))?;
    let (entries, _) = loaded.into_parts();
    let entries = Arc::new(entries);
    // Entries in memory are a few times as large as on disk, where they are compressed.
    let size = usize::try_from(length).unwrap_or(usize::MAX).saturating_mul(10);
    FileCache::global().put(&path, length, WHAT, (Arc::clone(&entries), size));
    Ok(entries)
}

/// Says to which snapshot the file belongs that could not be read.
pub(crate) fn in_snapshot(
    error: Error,
    table: &Table,
    snapshot: &SnapshotRef,
    path: &str,
) -> Error {
    if error.is_missing_file() {
        return Error::NotFound(format!(
            "file {path} of snapshot {} of table {} is missing",
            snapshot.snapshot_id(),
            table.name()
        ));
    }
    error
}

fn unpartitioned_specs(table: &Table) -> Vec<i32> {
    let specs = table.metadata().partition_specs_iter();
    specs.filter(|spec| spec.is_unpartitioned()).map(|spec| spec.spec_id()).collect()
}

fn manifest_may_match(
    table: &Table,
    schema: &SchemaRef,
    manifest: &ManifestFile,
    predicate: &Predicate,
) -> bool {
    let spec = table.metadata().partition_spec_by_id(manifest.partition_spec_id);
    let (Some(spec), Some(summaries)) = (spec, manifest.partitions.as_ref()) else { return true };
    let has_files = |count: Option<u32>| count != Some(0);
    let alive = has_files(manifest.added_files_count) || has_files(manifest.existing_files_count);
    match manifest.content {
        // All data that a delete may apply to is in its partition.
        ManifestContentType::Data | ManifestContentType::Deletes => {
            alive && predicate.may_match(&partition::of_manifest(spec, schema, summaries))
        }
    }
}

fn file_may_match(
    table: &Table,
    schema: &SchemaRef,
    listed: &ListedFile,
    predicate: &Predicate,
) -> bool {
    if listed.file().record_count() == 0 {
        return false;
    }
    if predicate.is_trivial() {
        return true;
    }
    let spec = table.metadata().partition_spec_by_id(listed.spec_id);
    spec.is_none_or(|spec| {
        predicate.may_match(&partition::of_partition(spec, schema, listed.file().partition()))
    }) && predicate.may_match(&bounds::of_data_file(listed.file(), schema))
}

/// The field id of the column of a position delete file that names data files.
pub(crate) const DELETE_FILE_PATH_ID: i32 = 2_147_483_546;
/// The field id of the column of a position delete file that holds positions.
pub(crate) const DELETE_POSITION_ID: i32 = 2_147_483_545;

type Partition = (i32, Struct);

/// The delete files of a snapshot, by what they apply to.
#[derive(Default)]
struct DeleteIndex {
    vectors: HashMap<String, ListedFile>,
    position_of_file: HashMap<String, Vec<ListedFile>>,
    position_of_partition: HashMap<Partition, Vec<ListedFile>>,
    equality_of_partition: HashMap<Partition, Vec<ListedFile>>,
    equality_of_all: Vec<ListedFile>,
}

impl DeleteIndex {
    fn add_position(&mut self, listed: ListedFile) -> Result<(), Error> {
        let file = listed.file();
        match (file.file_format(), referenced_file(file)) {
            (DataFileFormat::Puffin, Some(path)) => {
                let newest = self.vectors.entry(path).or_insert_with(|| listed.clone());
                if newest.sequence_number < listed.sequence_number {
                    *newest = listed;
                }
            }
            (DataFileFormat::Puffin, None) => {
                return Err(Error::corrupt(
                    listed.path(),
                    "a deletion vector does not say to which data file it belongs",
                ));
            }
            (DataFileFormat::Parquet, Some(path)) => {
                self.position_of_file.entry(path).or_default().push(listed);
            }
            (DataFileFormat::Parquet, None) => {
                let partition = (listed.spec_id, file.partition().clone());
                self.position_of_partition.entry(partition).or_default().push(listed);
            }
            (DataFileFormat::Avro | DataFileFormat::Orc, _) => {
                return Err(unsupported_deletes(&listed));
            }
        }
        Ok(())
    }

    fn add_equality(&mut self, listed: ListedFile, global: bool) {
        if global {
            self.equality_of_all.push(listed);
        } else {
            let partition = (listed.spec_id, listed.file().partition().clone());
            self.equality_of_partition.entry(partition).or_default().push(listed);
        }
    }

    fn planned(&self, listed: ListedFile) -> PlannedFile {
        let path = listed.path();
        let sequence = listed.sequence_number;
        let partition = (listed.spec_id, listed.file().partition().clone());
        let deletion_vector =
            self.vectors.get(path).filter(|vector| vector.sequence_number >= sequence).cloned();
        let position_deletes = if deletion_vector.is_some() {
            Vec::new()
        } else {
            let of_file = self.position_of_file.get(path).into_iter().flatten();
            let of_partition = self.position_of_partition.get(&partition).into_iter().flatten();
            of_file
                .chain(of_partition.filter(|deletes| may_name(deletes.file(), path)))
                .filter(|deletes| deletes.sequence_number >= sequence)
                .cloned()
                .collect()
        };
        let of_partition = self.equality_of_partition.get(&partition).into_iter().flatten();
        let equality_deletes = self
            .equality_of_all
            .iter()
            .chain(of_partition)
            .filter(|deletes| deletes.sequence_number > sequence)
            .cloned()
            .collect();
        PlannedFile { listed, deletion_vector, position_deletes, equality_deletes }
    }
}

/// Says that delete files in this format are not supported.
pub(crate) fn unsupported_deletes(listed: &ListedFile) -> Error {
    Error::Invalid(format!(
        "delete file {} is in format {}; only Parquet and Puffin are supported",
        listed.path(),
        listed.file().file_format()
    ))
}

/// The one data file that a delete file is about, if the manifest tells.
pub(crate) fn referenced_file(file: &DataFile) -> Option<String> {
    if let Some(path) = file.referenced_data_file() {
        return Some(path);
    }
    // Writers of format 2 say it by equal bounds; a cut bound would differ in its last character.
    let lower = file.lower_bounds().get(&DELETE_FILE_PATH_ID)?;
    let upper = file.upper_bounds().get(&DELETE_FILE_PATH_ID)?;
    match (lower.literal(), upper.literal()) {
        (
            iceberg::spec::PrimitiveLiteral::String(lower),
            iceberg::spec::PrimitiveLiteral::String(upper),
        ) if lower == upper => Some(lower.clone()),
        _ => None,
    }
}

/// Whether the bounds of a position delete file admit that it names `path`.
fn may_name(file: &DataFile, path: &str) -> bool {
    let text = |datum: Option<&iceberg::spec::Datum>| match datum.map(|datum| datum.literal()) {
        Some(iceberg::spec::PrimitiveLiteral::String(text)) => Some(text.clone()),
        _ => None,
    };
    let lower = text(file.lower_bounds().get(&DELETE_FILE_PATH_ID));
    let upper = text(file.upper_bounds().get(&DELETE_FILE_PATH_ID));
    lower.is_none_or(|lower| lower.as_str() <= path)
        && upper.is_none_or(|upper| upper.as_str() >= path)
}

/// Whether a position delete file or deletion vector may name one of these data files.
pub(crate) fn may_name_any<'a>(
    file: &DataFile,
    mut paths: impl Iterator<Item = &'a Arc<str>>,
) -> bool {
    match referenced_file(file) {
        Some(referenced) => paths.any(|path| **path == *referenced),
        None => paths.any(|path| may_name(file, path)),
    }
}
