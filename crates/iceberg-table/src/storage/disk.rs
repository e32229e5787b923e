//! Files on a local disk, and the order in which they become durable.
//!
//! Content first, then the entry in the folder, and what names the file to others only after both.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use uuid::Uuid;

use super::StoredFile;
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

/// A new file, its folder made if that is missing.
pub(super) fn create_new(path: &Path) -> Result<File, Error> {
    let create = || File::create_new(path);
    let created = match create() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                create_dirs(parent)?;
            }
            create()
        }
        created => created,
    };
    created.map_err(|error| Error::io("create", path, error))
}

/// Writes a new file and waits until its content is on disk, its folder made if that is missing.
pub(super) fn write_content(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = create_new(path)?;
    file.write_all(bytes).map_err(|error| Error::io("write", path, error))?;
    file.sync_all().map_err(|error| Error::io("sync", path, error))
}

pub(super) fn read(path: &Path) -> Result<Bytes, Error> {
    fs::read(path).map(Bytes::from).map_err(|error| Error::io("read", path, error))
}

pub(super) fn read_range(path: &Path, range: Range<u64>) -> Result<Bytes, Error> {
    let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
    read_at(&file, path, range)
}

pub(super) fn read_at(file: &File, path: &Path, range: Range<u64>) -> Result<Bytes, Error> {
    let length = range.end.saturating_sub(range.start);
    let mut buffer = vec![0; usize::try_from(length).map_err(Error::bug)?];
    file.read_exact_at(&mut buffer, range.start).map_err(|error| Error::io("read", path, error))?;
    Ok(Bytes::from(buffer))
}

pub(super) fn size(path: &Path) -> Result<Option<u64>, Error> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(Error::io("look at", path, error)),
    }
}

fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Writes the file under another name and waits until its content is on disk.
fn stage(path: &Path, bytes: &[u8]) -> Result<PathBuf, Error> {
    let folder = path.parent().unwrap_or(path);
    create_dirs(folder)?;
    let temporary = folder.join(format!(".{}.tmp", Uuid::new_v4()));
    match write_durably(&temporary, bytes) {
        Ok(()) => Ok(temporary),
        Err(error) => {
            remove_quietly(&temporary);
            Err(error)
        }
    }
}

/// A temporary file that stays behind does no harm.
fn remove_quietly(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(path = %path.display(), %error, "temporary file stays behind");
    }
}

pub(super) fn put(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = stage(path, bytes)?;
    if let Err(error) = fs::rename(&temporary, path) {
        remove_quietly(&temporary);
        return Err(Error::io("write", path, error));
    }
    path.parent().map_or(Ok(()), sync_dir)
}

pub(super) fn put_if_absent(path: &Path, bytes: &[u8]) -> Result<bool, Error> {
    let temporary = stage(path, bytes)?;
    let linked = publish(&temporary, path);
    remove_quietly(&temporary);
    if linked? {
        path.parent().map_or(Ok(()), sync_dir)?;
        return Ok(true);
    }
    Ok(fs::read(path).is_ok_and(|found| found == bytes))
}

/// Gives a file its name, in one step and only if nothing has it. False if something has. The
/// temporary name may stay behind.
///
/// # Errors
/// [`Error::Invalid`] if the file system can do it neither by a hard link nor by an exclusive
/// rename.
pub(crate) fn publish(temporary: &Path, path: &Path) -> Result<bool, Error> {
    let Err(error) = fs::hard_link(temporary, path) else { return Ok(true) };
    // On a network disk the answer may be lost although the link was made: then there are two
    // names.
    if fs::metadata(temporary).is_ok_and(|metadata| metadata.nlink() == 2) {
        return Ok(true);
    }
    if error.kind() == ErrorKind::AlreadyExists {
        return Ok(false);
    }
    match Errno::from_io_error(&error) {
        // No hard links here, as on exFAT and some network disks.
        Some(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {
            rename_exclusively(temporary, path)
        }
        _ => Err(Error::io("create", path, error)),
    }
}

fn rename_exclusively(temporary: &Path, path: &Path) -> Result<bool, Error> {
    match renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Err(Error::Invalid(format!(
            "the file system of {} has neither hard links nor exclusive renames, so two writers could not \
             tell who was first; use another disk, or a REST or SQL catalog",
            path.display()
        ))),
        Err(error) => Err(Error::io("create", path, error.into())),
    }
}

pub(super) fn delete(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if !is_missing(&error) => Err(Error::io("remove", path, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The files below a folder; `prefix` is the location that the folder was named by.
pub(super) fn list(folder: &Path, prefix: &str) -> Result<Vec<StoredFile>, Error> {
    let mut files = Vec::new();
    let mut folders = vec![(folder.to_owned(), prefix.trim_end_matches('/').to_owned())];
    while let Some((folder, location)) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            // Nothing was there, or it was removed meanwhile.
            Err(error) if is_missing(&error) => continue,
            Err(error) => return Err(Error::io("list", &folder, error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| Error::io("list", &folder, error))?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let location = format!("{location}/{name}");
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                Err(error) if is_missing(&error) => continue,
                Err(error) => return Err(Error::io("look at", &entry.path(), error)),
            };
            if metadata.is_dir() {
                folders.push((entry.path(), location));
            } else {
                let modified_ms = metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000;
                files.push(StoredFile { location, size_bytes: metadata.len(), modified_ms });
            }
        }
    }
    Ok(files)
}

/// The names of the folders in a folder, sorted, without hidden ones.
pub(super) fn list_folders(folder: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_missing(&error) => return Ok(names),
        Err(error) => return Err(Error::io("list", folder, error)),
    };
    for entry in entries {
        let entry = entry.map_err(|error| Error::io("list", folder, error))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !name.starts_with('.') && entry.path().is_dir() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn an_exclusive_rename_replaces_nothing() {
        let dir = TempDir::new().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("a"), "one").unwrap();
        fs::write(at("b"), "two").unwrap();
        assert!(rename_exclusively(&at("a"), &at("c")).unwrap());
        assert!(!rename_exclusively(&at("b"), &at("c")).unwrap());
        assert_eq!(fs::read_to_string(at("c")).unwrap(), "one");
    }
}
