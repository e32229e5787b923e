//! Which options of a table definition become properties of the Iceberg table.
//!
//! Everybody who can read the table reads its properties, so nothing of a catalog or of a
//! credential ever gets there: the rule names what is let through, not what is held back.

use std::collections::HashMap;
use std::str::FromStr;

use crate::Error;

/// Prefixes of keys that are stored in the table.
const PREFIXES: [&str; 6] = ["write.", "read.", "commit.", "history.", "gc.", "shardlake.table."];

/// Whether an option is stored as a property of the table.
#[must_use]
pub fn is_table_property(key: &str) -> bool {
    PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// The table properties among the options of a table definition. `format-version` is no property:
/// it is a field of the metadata.
pub fn from_options<'a>(
    options: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> HashMap<String, String> {
    options
        .into_iter()
        .filter(|(key, _)| is_table_property(key))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// A size at which a data file is closed, in bytes.
pub(crate) const TARGET_FILE_SIZE: Property<u64> =
    Property { key: "write.target-file-size-bytes", default: 512 * 1024 * 1024 };
/// The zstd level of data files.
pub(crate) const COMPRESSION_LEVEL: Property<i32> =
    Property { key: "write.parquet.compression-level", default: 1 };
/// How many bytes of encoded rows make a row group. They are held in memory until it is full.
pub(crate) const ROW_GROUP_SIZE: Property<u64> =
    Property { key: "write.parquet.row-group-size-bytes", default: 16 * 1024 * 1024 };
/// Whether data files have dictionaries.
pub(crate) const DICTIONARY: Property<bool> =
    Property { key: "write.parquet.dict-enabled", default: false };
/// At how many bytes of encoded values a page ends.
pub(crate) const PAGE_SIZE: Property<u64> =
    Property { key: "write.parquet.page-size-bytes", default: 1024 * 1024 };
/// At how many rows a page ends.
pub(crate) const PAGE_ROWS: Property<u64> =
    Property { key: "write.parquet.page-row-limit", default: 20_000 };
/// At how many bytes a column stops using its dictionary.
pub(crate) const DICTIONARY_SIZE: Property<u64> =
    Property { key: "write.parquet.dict-size-bytes", default: 2 * 1024 * 1024 };
/// Whether the folders of data files are named by a hash, so that object stores spread them.
pub(crate) const OBJECT_STORAGE: Property<bool> =
    Property { key: "write.object-storage.enabled", default: false };
/// How many columns have statistics in manifests if no default is given for them.
pub(crate) const METRICS_COLUMNS_MAX: Property<usize> =
    Property { key: "write.metadata.metrics.max-inferred-column-defaults", default: 100 };
/// Whether every insertion replaces what has its key, without a deletion before it. Looked at only
/// if deletes are written as equality deletes: with the key index it is always so.
pub(crate) const UPSERT: Property<bool> = Property { key: "write.upsert.enabled", default: false };
/// How many data files a writer has open at most. Each holds its rows of one partition.
pub(crate) const OPEN_FILES: Property<usize> =
    Property { key: "shardlake.table.open-files", default: 100 };
/// Which deletes share a file: those of a `partition`, or those of one data `file`.
pub(crate) const DELETE_GRANULARITY: &str = "write.delete.granularity";
/// How many manifests are merged into one. Iceberg's default of 100 is for commits that are minutes apart.
pub(crate) const MANIFEST_MERGE_COUNT: Property<usize> =
    Property { key: "commit.manifest.min-count-to-merge", default: 10 };
/// From which size on a manifest is not merged any more, in bytes.
pub(crate) const MANIFEST_TARGET_SIZE: Property<i64> =
    Property { key: "commit.manifest.target-size-bytes", default: 8 * 1024 * 1024 };
/// Whether manifests are merged at all.
pub(crate) const MANIFEST_MERGE: Property<bool> =
    Property { key: "commit.manifest-merge.enabled", default: true };
/// Whether old metadata files are deleted when they leave the metadata log.
pub(crate) const DELETE_OLD_METADATA: Property<bool> =
    Property { key: "write.metadata.delete-after-commit.enabled", default: true };
/// Whether files of expired snapshots may be deleted; without it no snapshot expires.
pub(crate) const GC_ENABLED: Property<bool> = Property { key: "gc.enabled", default: true };
/// How old a snapshot may get, in milliseconds.
pub(crate) const MAX_SNAPSHOT_AGE_MS: Property<i64> =
    Property { key: "history.expire.max-snapshot-age-ms", default: 5 * 24 * 3_600_000 };
/// How many snapshots a branch keeps however old they are.
pub(crate) const MIN_SNAPSHOTS: Property<usize> =
    Property { key: "history.expire.min-snapshots-to-keep", default: 100 };
/// How old a branch or tag may get, in milliseconds.
pub(crate) const MAX_REFERENCE_AGE_MS: Property<i64> =
    Property { key: "history.expire.max-ref-age-ms", default: i64::MAX };
/// How many snapshots a branch keeps however young they are. The default holds only where the
/// table does not say how old snapshots may get.
pub(crate) const MAX_SNAPSHOTS: Property<usize> =
    Property { key: "shardlake.table.max-snapshots", default: 500 };

/// A table property with its default.
pub(crate) struct Property<T> {
    pub(crate) key: &'static str,
    pub(crate) default: T,
}

impl<T: FromStr + Copy> Property<T> {
    /// Its value in `properties`.
    pub(crate) fn read(&self, properties: &HashMap<String, String>) -> Result<T, Error> {
        match properties.get(self.key) {
            None => Ok(self.default),
            Some(text) => text.trim().parse().map_err(|_| {
                Error::Invalid(format!(
                    "could not parse value '{text}' of table property '{}'",
                    self.key
                ))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catalog_and_credential_keys_never_reach_the_table() {
        let options = [
            ("catalog-name", "lake"),
            ("warehouse", "file:///lake"),
            ("s3.secret-access-key", "x"),
            ("format-version", "2"),
            ("write.target-file-size-bytes", "1000"),
            ("commit.retry.num-retries", "4"),
            ("shardlake.index.memory", "1g"),
        ];
        let mut kept: Vec<String> = from_options(options).into_keys().collect();
        kept.sort();
        assert_eq!(kept, ["commit.retry.num-retries", "write.target-file-size-bytes"]);
    }

    #[test]
    fn a_property_that_is_no_number_is_named() {
        let properties = HashMap::from([(TARGET_FILE_SIZE.key.to_owned(), "big".to_owned())]);
        let error = TARGET_FILE_SIZE.read(&properties).unwrap_err().to_string();
        assert_eq!(
            error,
            "could not parse value 'big' of table property 'write.target-file-size-bytes'"
        );
    }
}
