//! The Hadoop catalog on a local disk: folders are namespaces and tables, `vN.metadata.json` is
//! version N.
//!
//! `<warehouse>/<namespace>/<table>/metadata/{vN.metadata.json, version-hint.text, …}` and `data/`.
//! Making version N + 1 is one exclusive hard link, so of two writers with the same base exactly
//! one succeeds, and a version is complete as soon as it is visible. `version-hint.text` is a hint
//! only: it may be missing, old or unreadable, and later versions are always looked for.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf, absolute};

use async_trait::async_trait;
use iceberg::spec::{MetadataLog, TableMetadata, TableMetadataBuildResult};
use uuid::Uuid;

use super::{Catalog, TableCreation, metadata_file};
use crate::{Error, Storage, Table, TableName, properties, storage};

/// A Hadoop catalog on a local disk.
#[derive(Clone, Debug)]
pub struct HadoopCatalog {
    warehouse: PathBuf,
    storage: Storage,
}

impl HadoopCatalog {
    /// The catalog in the folder `warehouse`: a path or a `file:` URI (percent-encoded, as URIs
    /// are). Does no I/O; the folder is made with the first namespace.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is on another kind of storage or is not UTF-8.
    pub fn new(warehouse: &str) -> Result<Self, Error> {
        Ok(Self { warehouse: warehouse_path(warehouse)?, storage: Storage::local() })
    }

    /// The folder of the catalog.
    #[must_use]
    pub fn warehouse(&self) -> &Path {
        &self.warehouse
    }

    fn namespace_dir(&self, namespace: &str) -> Result<PathBuf, Error> {
        check_name("namespace", namespace)?;
        Ok(self.warehouse.join(namespace))
    }

    fn table_dir(&self, name: &TableName) -> Result<PathBuf, Error> {
        check_name("table", &name.name)?;
        Ok(self.namespace_dir(&name.namespace)?.join(&name.name))
    }

    async fn load_file(&self, name: &TableName, path: &Path) -> Result<Table, Error> {
        metadata_file::load(&self.storage, name, utf8(path)?).await
    }

    /// Makes `metadata` version `version` of the table in `dir`, if that version does not exist.
    fn link(
        name: &TableName,
        dir: &Path,
        version: u64,
        metadata: &TableMetadata,
    ) -> Result<PathBuf, Error> {
        let folder = dir.join(METADATA);
        let bytes = serde_json::to_vec(metadata).map_err(Error::bug)?;
        let temporary = folder.join(format!(".{}.tmp", Uuid::new_v4()));
        let target = folder.join(file_name(version));
        let linked = storage::write_durably(&temporary, &bytes)
            // Whatever the metadata refers to is reachable before the metadata is.
            .and_then(|()| storage::sync_dir(&folder))
            .and_then(|()| link_exclusively(name, version, &temporary, &target));
        // A temporary file that stays behind does no harm.
        let removed = fs::remove_file(&temporary);
        linked?;
        if removed.is_err() {
            tracing::debug!(table = %name, "temporary metadata file stays behind");
        }
        storage::sync_dir(&folder)?;
        Ok(target)
    }
}

/// The folder of metadata in a table's folder.
pub(super) const METADATA: &str = "metadata";
pub(super) const HINT: &str = "version-hint.text";

pub(super) fn file_name(version: u64) -> String {
    format!("v{version}.metadata.json")
}

#[async_trait]
impl Catalog for HadoopCatalog {
    async fn list_namespaces(&self) -> Result<Vec<String>, Error> {
        if !self.warehouse.exists() {
            return Ok(Vec::new());
        }
        folders(&self.warehouse)
    }

    async fn create_namespace(&self, namespace: &str) -> Result<(), Error> {
        storage::create_dirs(&self.namespace_dir(namespace)?)
    }

    async fn namespace_exists(&self, namespace: &str) -> Result<bool, Error> {
        Ok(self.namespace_dir(namespace)?.is_dir())
    }

    async fn drop_namespace(&self, namespace: &str) -> Result<(), Error> {
        if !self.namespace_exists(namespace).await? {
            return Ok(());
        }
        if !self.list_tables(namespace).await?.is_empty() {
            return Err(super::namespace_not_empty(namespace));
        }
        let dir = self.namespace_dir(namespace)?;
        fs::remove_dir(&dir).map_err(|error| Error::io("remove the folder", &dir, error))
    }

    async fn list_tables(&self, namespace: &str) -> Result<Vec<TableName>, Error> {
        let dir = self.namespace_dir(namespace)?;
        if !dir.is_dir() {
            return Err(super::no_namespace(namespace));
        }
        let mut tables = Vec::new();
        for name in folders(&dir)? {
            if current_file(&dir.join(&name))?.is_some() {
                tables.push(TableName::new(namespace, name));
            }
        }
        Ok(tables)
    }

    async fn table_exists(&self, name: &TableName) -> Result<bool, Error> {
        Ok(current_file(&self.table_dir(name)?)?.is_some())
    }

    async fn load(&self, name: &TableName) -> Result<Table, Error> {
        let dir = self.table_dir(name)?;
        match current_file(&dir)? {
            Some((_, path)) => self.load_file(name, &path).await,
            None => Err(Error::NotFound(format!("there is no table {name} in {}", dir.display()))),
        }
    }

    async fn create(&self, name: &TableName, creation: &TableCreation) -> Result<Table, Error> {
        let dir = self.table_dir(name)?;
        if current_file(&dir)?.is_some() {
            return Err(Error::AlreadyExists(name.clone()));
        }
        let metadata = creation.metadata(utf8(&dir)?)?;
        storage::create_dirs(&dir.join(METADATA))?;
        let path = match Self::link(name, &dir, 1, &metadata) {
            Err(Error::Conflict { .. }) => return Err(Error::AlreadyExists(name.clone())),
            other => other?,
        };
        write_hint(&dir, 1);
        self.load_file(name, &path).await
    }

    async fn rename(&self, _name: &TableName, _to: &TableName) -> Result<(), Error> {
        // As in Iceberg: a table of this catalog is its folder, and its files are named by their
        // whole path.
        Err(Error::Invalid("Cannot rename Hadoop tables".to_owned()))
    }

    async fn purge(&self, name: &TableName) -> Result<(), Error> {
        let dir = self.table_dir(name)?;
        if current_file(&dir)?.is_none() {
            return Err(super::no_table(name));
        }
        // First out of sight in one step, so that nobody sees half a table.
        let hidden = dir.with_file_name(format!(".{}-{}", name.name, Uuid::new_v4()));
        fs::rename(&dir, &hidden).map_err(|error| Error::io("remove", &dir, error))?;
        fs::remove_dir_all(&hidden).map_err(|error| Error::io("remove", &hidden, error))
    }

    async fn publish(&self, base: &Table, new: TableMetadataBuildResult) -> Result<Table, Error> {
        let TableMetadataBuildResult { metadata, expired_metadata_logs, .. } = new;
        let name = base.name();
        let dir = self.table_dir(name)?;
        let base_path = storage::local_path(base.metadata_location())?;
        let version = version_of(base_path.file_name()).ok_or_else(|| {
            Error::bug(format!("{} is no version of a table", base.metadata_location()))
        })?;
        let next = version + 1;
        let conflict = || Error::Conflict { table: name.clone(), version: next };
        // Versions long gone may have been deleted: the link alone does not stop a writer that
        // slept.
        if current_file(&dir)?.is_none_or(|(current, _)| current != version) {
            return Err(conflict());
        }
        let path = Self::link(name, &dir, next, &metadata)?;
        if hint(&dir).is_some_and(|hint| hint > next) {
            // Either others have gone on from it already, or it was made in the place of a version
            // that had been deleted; then nobody has seen it.
            let newest = self.load(name).await?;
            if !descends_from(newest.metadata(), &metadata, utf8(&path)?) {
                fs::remove_file(&path).map_err(|error| Error::io("remove", &path, error))?;
                return Err(conflict());
            }
        }
        write_hint(&dir, next);
        if properties::DELETE_OLD_METADATA.read(metadata.properties())? {
            remove_files(&expired_metadata_logs);
        }
        Table::try_new(name.clone(), metadata, utf8(&path)?.to_owned(), self.storage.clone())
    }
}

/// Whether `newest` was made from `older`, which is in the file `location`.
pub(super) fn descends_from(newest: &TableMetadata, older: &TableMetadata, location: &str) -> bool {
    let has_snapshot = |id| newest.snapshot_by_id(id).is_some();
    newest.metadata_log().iter().any(|entry| entry.metadata_file == location)
        || older.current_snapshot_id().is_some_and(has_snapshot)
}

/// The newest version of the table in `dir`, with its file.
fn current_file(dir: &Path) -> Result<Option<(u64, PathBuf)>, Error> {
    let folder = dir.join(METADATA);
    let hinted =
        hint(dir).and_then(|version| version_file(&folder, version).map(|path| (version, path)));
    let mut newest = match hinted {
        Some(found) => Some(found),
        None => newest_listed(&folder)?,
    };
    while let Some((version, _)) = &newest {
        let next = version + 1;
        match version_file(&folder, next) {
            Some(path) => newest = Some((next, path)),
            None => break,
        }
    }
    Ok(newest)
}

fn hint(dir: &Path) -> Option<u64> {
    fs::read_to_string(dir.join(METADATA).join(HINT)).ok()?.trim().parse().ok()
}

/// The file of a version; other writers may have compressed it.
fn version_file(folder: &Path, version: u64) -> Option<PathBuf> {
    [
        file_name(version),
        format!("v{version}.gz.metadata.json"),
        format!("v{version}.metadata.json.gz"),
    ]
    .into_iter()
    .map(|name| folder.join(name))
    .find(|path| path.exists())
}

fn newest_listed(folder: &Path) -> Result<Option<(u64, PathBuf)>, Error> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(Error::io("list", folder, error)),
    };
    let mut newest = None;
    for entry in entries {
        let entry = entry.map_err(|error| Error::io("list", folder, error))?;
        if let Some(version) = version_of(Some(&entry.file_name()))
            && newest.as_ref().is_none_or(|(best, _)| *best < version)
        {
            newest = Some((version, entry.path()));
        }
    }
    Ok(newest)
}

fn version_of(file_name: Option<&OsStr>) -> Option<u64> {
    version_of_name(file_name?.to_str()?)
}

/// The version that a metadata file is, by its name.
pub(super) fn version_of_name(name: &str) -> Option<u64> {
    let rest = name.strip_prefix('v')?;
    let number = [".metadata.json", ".gz.metadata.json", ".metadata.json.gz"]
        .iter()
        .find_map(|suffix| rest.strip_suffix(suffix).filter(|n| n.parse::<u64>().is_ok()))?;
    number.parse().ok()
}

fn link_exclusively(
    name: &TableName,
    version: u64,
    temporary: &Path,
    target: &Path,
) -> Result<(), Error> {
    if storage::publish(temporary, target)? {
        return Ok(());
    }
    Err(Error::Conflict { table: name.clone(), version })
}

/// Writes the hint if it can be written: readers find the newest version without it.
fn write_hint(dir: &Path, version: u64) {
    let folder = dir.join(METADATA);
    let temporary = folder.join(format!(".{}.hint", Uuid::new_v4()));
    let written = fs::write(&temporary, version.to_string())
        .and_then(|()| fs::rename(&temporary, folder.join(HINT)));
    if let Err(error) = written {
        tracing::warn!(folder = %folder.display(), %error, "version hint not written");
    }
}

/// Deletes metadata files that have left the metadata log, as far as it is possible.
fn remove_files(expired: &[MetadataLog]) {
    for old in expired {
        let removed = storage::local_path(&old.metadata_file).and_then(|path| {
            fs::remove_file(&path).map_err(|error| Error::io("remove", &path, error))
        });
        if let Err(error) = removed {
            tracing::debug!(%error, "old metadata file not removed");
        }
    }
}

/// The names of the folders in `dir`, sorted, without hidden ones.
fn folders(dir: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| Error::io("list", dir, error))? {
        let entry = entry.map_err(|error| Error::io("list", dir, error))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !name.starts_with('.') && entry.path().is_dir() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

pub(super) fn check_name(what: &str, name: &str) -> Result<(), Error> {
    let reason = if name.is_empty() {
        "is empty"
    } else if name.contains(['/', '\0']) {
        "contains a slash or a zero character"
    } else if name.starts_with('.') {
        "starts with a dot"
    } else {
        return Ok(());
    };
    Err(Error::Invalid(format!("the {what} name '{name}' {reason}, so it cannot be a folder")))
}

pub(super) fn utf8(path: &Path) -> Result<&str, Error> {
    path.to_str().ok_or_else(|| Error::Invalid(format!("the path {} is not UTF-8", path.display())))
}

/// The folder that a user's `warehouse` names.
pub(super) fn warehouse_path(warehouse: &str) -> Result<PathBuf, Error> {
    let invalid = |reason: &str| Error::Invalid(format!("warehouse '{warehouse}' {reason}"));
    let path = match warehouse.strip_prefix("file:") {
        Some(rest) => {
            let rest = rest.strip_prefix("//localhost/").map_or_else(
                || rest.strip_prefix("//").unwrap_or(rest).to_owned(),
                |path| format!("/{path}"),
            );
            if !rest.starts_with('/') {
                return Err(invalid("names a host; a local path needs three slashes: file:///…"));
            }
            percent_decoded(&rest).ok_or_else(|| invalid("is not valid percent-encoded UTF-8"))?
        }
        None if warehouse.contains("://") => {
            return Err(invalid("is not on a local disk; only paths and file: URIs are supported"));
        }
        None if warehouse.is_empty() => return Err(invalid("is empty")),
        None => warehouse.to_owned(),
    };
    absolute(&path).map_err(|error| Error::io("resolve", Path::new(&path), error))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if let (b'%', [high, low, tail @ ..]) = (first, tail) {
            let digit =
                |byte: &u8| char::from(*byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
            bytes.push(digit(high)? * 16 + digit(low)?);
            rest = tail;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests;
