//! Files on a local disk: paths of locations, durable writing, and nothing else.
//!
//! A file is durable when its content *and* its entry in the folder are: [`write_durably`] syncs the
//! file, [`sync_dir`] the folder.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::Error;

/// The path of a location as it stands in metadata: a plain absolute path, or `file:` and a path.
/// Locations are never percent-encoded.
///
/// # Errors
/// [`Error::Invalid`] if the location is on another kind of storage.
pub(crate) fn local_path(location: &str) -> Result<PathBuf, Error> {
    let path = match location.strip_prefix("file:") {
        Some(rest) => rest.strip_prefix("//").unwrap_or(rest),
        None => location,
    };
    if path.starts_with('/') {
        Ok(PathBuf::from(path))
    } else {
        Err(Error::Invalid(format!(
            "location '{location}' is not on a local disk; only absolute paths and file: locations \
             are supported"
        )))
    }
}

/// Writes a new file and waits until its content is on disk. Its entry in the folder is not yet.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = File::create_new(path).map_err(|error| Error::io("create", path, error))?;
    file.write_all(bytes).map_err(|error| Error::io("write", path, error))?;
    file.sync_all().map_err(|error| Error::io("sync", path, error))
}

/// Waits until the entries of a folder are on disk.
pub(crate) fn sync_dir(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| Error::io("sync the folder", path, error))
}

/// Makes a folder and those above it, durably.
pub(crate) fn create_dirs(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        create_dirs(parent)?;
    }
    match fs::create_dir(path) {
        Ok(()) => match path.parent() {
            Some(parent) => sync_dir(parent),
            None => Ok(()),
        },
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(Error::io("create the folder", path, error)),
    }
}
