//! Removing the files of a table that has left its catalog.
//!
//! Only files that the table's own metadata names are removed, never a folder: tables of others may
//! share one.

use std::collections::BTreeSet;

use crate::{Error, Table};

/// Removes all files of a table; data files only unless `gc.enabled` is false, since then others
/// may use them.
pub(super) async fn remove_files(table: &Table) -> Result<(), Error> {
    let metadata = table.metadata();
    let with_data = metadata.properties().get("gc.enabled").is_none_or(|value| value != "false");
    let mut data = BTreeSet::new();
    let mut manifests = BTreeSet::new();
    let mut lists = BTreeSet::new();
    for snapshot in metadata.snapshots() {
        lists.insert(snapshot.manifest_list().to_owned());
        for manifest in table.manifests(snapshot).await? {
            let is_new = manifests.insert(manifest.manifest_path.clone());
            if !is_new || !with_data {
                continue;
            }
            for entry in table.load_manifest(&manifest).await?.entries() {
                data.insert(entry.file_path().to_owned());
            }
        }
    }
    let mut rest: BTreeSet<String> =
        metadata.metadata_log().iter().map(|entry| entry.metadata_file.clone()).collect();
    rest.extend(metadata.statistics_iter().map(|file| file.statistics_path.clone()));
    rest.extend(metadata.partition_statistics_iter().map(|file| file.statistics_path.clone()));
    // What names others goes last, so that a second try finds everything again.
    for files in [data, manifests, lists, rest] {
        table.storage().delete(&files.into_iter().collect::<Vec<_>>()).await?;
    }
    table.storage().delete(&[table.metadata_location().to_owned()]).await
}
