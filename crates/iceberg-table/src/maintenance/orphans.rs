//! Files in a table's folders that nothing refers to: what crashes, lost commits and failed clean-ups left.
//!
//! A file is an orphan only if no retained snapshot, no metadata file of the log and no statistics lead to
//! it, *and* it is older than a limit that is far longer than any epoch, rewrite or upload takes. The
//! folder is listed first and the newest metadata is read afterwards, so what was committed
//! in between is known; what is being written is younger than the limit. All names are compared without
//! their scheme, and a listing that fails removes nothing.

use std::collections::BTreeSet;

use iceberg::spec::ManifestFile;

use crate::commit::{RELOCATION, now_ms};
use crate::writer::data_location;
use crate::{Catalog, Error, Table, TableName};

/// The least age of an orphan, whatever is asked for: a running writer may be slow.
const MIN_AGE_MS: i64 = 60 * 60 * 1_000;

/// A file that nothing refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrphanFile {
    /// Where it is.
    pub location: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// When it was written, in milliseconds since 1970.
    pub modified_ms: i64,
}

/// The orphans of a table that were written before `older_than_ms`, sorted by location.
///
/// # Errors
/// [`Error::Invalid`] if the limit is less than an hour ago, or the table's files may not be deleted;
/// what listing and reading reports.
pub async fn find_orphans(
    catalog: &dyn Catalog,
    name: &TableName,
    older_than_ms: i64,
) -> Result<Vec<OrphanFile>, Error> {
    if older_than_ms > now_ms() - MIN_AGE_MS {
        return Err(Error::Invalid(
            "files younger than an hour may belong to a writer that is at work, so they are no \
             orphans; name a time that is at least an hour ago"
                .to_owned(),
        ));
    }
    find_orphans_unchecked(catalog, name, older_than_ms).await
}

pub(super) async fn find_orphans_unchecked(
    catalog: &dyn Catalog,
    name: &TableName,
    older_than_ms: i64,
) -> Result<Vec<OrphanFile>, Error> {
    let before = catalog.load(name).await?;
    let data = data_location(&before);
    let mut folders = vec![before.location().to_owned()];
    if !data.starts_with(&format!("{}/", before.location())) {
        folders.push(data);
    }
    let mut orphans = Vec::new();
    for folder in &folders {
        for file in before.storage().list(folder).await? {
            if file.modified_ms < older_than_ms && !is_of_catalog(&file.location) {
                orphans.push(OrphanFile {
                    location: file.location,
                    size_bytes: file.size_bytes,
                    modified_ms: file.modified_ms,
                });
            }
        }
    }
    let mut used = referenced(&before).await?;
    // What was committed while the folders were listed.
    let after = catalog.load(name).await?;
    if after.metadata_location() != before.metadata_location() {
        used.append(&mut referenced(&after).await?);
    }
    orphans.retain(|file| !used.contains(path_of(&file.location)));
    orphans.sort_by(|left, right| left.location.cmp(&right.location));
    Ok(orphans)
}

/// Removes orphans that [`find_orphans`] found.
///
/// # Errors
/// [`Error::Storage`] names the first that could not be removed.
pub async fn remove_orphans(table: &Table, orphans: &[OrphanFile]) -> Result<(), Error> {
    let locations: Vec<String> = orphans.iter().map(|file| file.location.clone()).collect();
    table.storage().delete(&locations).await
}

/// Whether a file tells the catalog which version is the current one. Versions themselves are files of
/// the metadata log.
fn is_of_catalog(location: &str) -> bool {
    let name = location.rsplit('/').next().unwrap_or(location);
    name.starts_with("version-hint")
}

/// The path of a location: without scheme and, where there is one, host.
fn path_of(location: &str) -> &str {
    match location.split_once("://") {
        Some((_, rest)) => rest.trim_start_matches('/'),
        None => location.strip_prefix("file:").unwrap_or(location).trim_start_matches('/'),
    }
}

/// Every file that the metadata of a table leads to, by path.
async fn referenced(table: &Table) -> Result<BTreeSet<String>, Error> {
    let metadata = table.metadata();
    let mut used = BTreeSet::new();
    let mut add = |location: &str| {
        used.insert(path_of(location).to_owned());
    };
    add(table.metadata_location());
    metadata.metadata_log().iter().for_each(|entry| add(&entry.metadata_file));
    metadata.statistics_iter().for_each(|file| add(&file.statistics_path));
    metadata.partition_statistics_iter().for_each(|file| add(&file.statistics_path));
    let mut manifests: Vec<ManifestFile> = Vec::new();
    let mut seen = BTreeSet::new();
    for snapshot in metadata.snapshots() {
        add(snapshot.manifest_list());
        let summary = &snapshot.summary().additional_properties;
        summary.get(RELOCATION).iter().for_each(|location| add(location));
        for manifest in table.manifests(snapshot).await? {
            if seen.insert(manifest.manifest_path.clone()) {
                add(&manifest.manifest_path);
                manifests.push(manifest);
            }
        }
    }
    for manifest in manifests {
        for entry in table.load_manifest(&manifest).await?.entries() {
            // Deleted entries are live in some older snapshot, or will be cleaned up with it.
            add(entry.file_path());
        }
    }
    Ok(used)
}
