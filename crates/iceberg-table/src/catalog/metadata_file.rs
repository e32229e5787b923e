//! Metadata files: reading, naming, writing and removing them.

use iceberg::spec::{MetadataLog, TableMetadata};
use uuid::Uuid;

use crate::{Error, Storage, Table, TableName, properties};

/// The table whose metadata is in the file `location`.
pub(super) async fn load(
    storage: &Storage,
    name: &TableName,
    location: &str,
) -> Result<Table, Error> {
    let metadata = read(storage, location).await?;
    Table::try_new(name.clone(), metadata, location.to_owned(), storage.clone())
}

async fn read(storage: &Storage, location: &str) -> Result<TableMetadata, Error> {
    let bytes = storage.read(location).await?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        return TableMetadata::read_from(&storage.file_io(), location)
            .await
            .map_err(|error| Error::corrupt(location, error));
    }
    serde_json::from_slice(&bytes).map_err(|error| Error::corrupt(location, error))
}

/// Writes metadata into a new file that is named after its number in the table's history, and
/// returns where. Everything that the metadata refers to is durable before.
pub(super) async fn write_numbered(
    storage: &Storage,
    base: Option<&str>,
    metadata: &TableMetadata,
) -> Result<String, Error> {
    let number = base.map_or(0, |base| number(base) + 1);
    let folder = match metadata.properties().get("write.metadata.path") {
        Some(path) => path.trim_end_matches('/').to_owned(),
        None => format!("{}/metadata", metadata.location().trim_end_matches('/')),
    };
    let path = format!("{folder}/{number:05}-{}.metadata.json", Uuid::new_v4());
    let bytes = serde_json::to_vec(metadata).map_err(Error::bug)?;
    // This also syncs the folder, and with it the entries of manifests.
    storage.put(&path, bytes.into()).await?;
    Ok(path)
}

/// The number of a metadata file: of `00012-….metadata.json` as of `v12.metadata.json`; 0 if it has
/// none.
pub(super) fn number(location: &str) -> u64 {
    let name = location.rsplit('/').next().unwrap_or_default();
    let digits = name.trim_start_matches('v').split(['-', '.']).next().unwrap_or_default();
    digits.parse().unwrap_or(0)
}

/// Removes a metadata file that has not become the table's, if that is certain.
pub(super) async fn give_up(storage: &Storage, location: &str, is_certain: bool) {
    if is_certain && let Err(error) = storage.delete(&[location.to_owned()]).await {
        tracing::debug!(location, %error, "metadata file stays behind");
    }
}

/// Removes files that have left the metadata log, as far as it is possible and the table asks for
/// it.
pub(super) async fn remove_old(
    storage: &Storage,
    metadata: &TableMetadata,
    expired: &[MetadataLog],
) -> Result<(), Error> {
    if properties::DELETE_OLD_METADATA.read(metadata.properties())? {
        let expired: Vec<_> = expired.iter().map(|entry| entry.metadata_file.clone()).collect();
        if let Err(error) = storage.delete(&expired).await {
            tracing::debug!(%error, "old metadata file not removed");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_the_names_of_all_catalogs() {
        for (name, expected) in [
            ("s3://b/t/metadata/00012-abc.metadata.json", 12),
            ("/t/metadata/v7.metadata.json", 7),
            ("/t/metadata/v7.gz.metadata.json", 7),
            ("/t/metadata/abc.metadata.json", 0),
            ("", 0),
        ] {
            assert_eq!(number(name), expected, "{name}");
        }
    }
}
