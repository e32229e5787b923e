//! The part of the key index that does not fit into its memory budget: an embedded store on local disk.
//!
//! Whole shards go there and stay there. The store is never read by another process: it is made
//! empty, and removed with the index. What a killed process left behind is removed by the next one; a lock,
//! which ends with its process, tells that nobody uses it.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::{env, fmt};

use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use uuid::Uuid;

use super::shard::{Location, Shard, ShardKey};
use crate::Error;

const PREFIX: &str = "shardlake-index-";
/// What the store should have, and the most that is of use to it.
const MEMORY_MIN: usize = 16 * 1024 * 1024;
const MEMORY_MAX: usize = 256 * 1024 * 1024;

/// How much of a budget is set aside for the store.
pub(super) fn memory_of(budget_bytes: usize) -> usize {
    (budget_bytes / 4).clamp(MEMORY_MIN, MEMORY_MAX).min(budget_bytes / 2)
}

/// Keys on disk.
pub(super) struct Spill {
    /// None once it is dropped.
    store: Option<(Database, Keyspace)>,
    folder: PathBuf,
    /// Held for as long as the folder is in use.
    _lock: File,
    lock_path: PathBuf,
}

impl fmt::Debug for Spill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spill").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Spill {
    /// An empty store that takes about `memory_bytes`.
    pub(super) fn open(memory_bytes: usize) -> Result<Self, Error> {
        let parent = parent_folder();
        remove_abandoned(&parent);
        let name = format!("{PREFIX}{}", Uuid::new_v4());
        let folder = parent.join(&name);
        let lock_path = parent.join(format!("{name}.lock"));
        let lock =
            File::create_new(&lock_path).map_err(|error| Error::io("create", &lock_path, error))?;
        lock.lock().map_err(|error| Error::io("lock", &lock_path, error))?;
        let failed = |error: fjall::Error| failure(&folder, error);
        let memory = (memory_bytes as u64).max(1024 * 1024);
        let database = Database::builder(&folder)
            .cache_size(memory / 2)
            // Nothing has to outlive the process.
            .manual_journal_persist(true)
            .worker_threads(1)
            .temporary(true)
            .open()
            .map_err(failed)?;
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(memory / 4)
                .expect_point_read_hits(false)
        };
        let keys = database.keyspace("keys", options).map_err(failed)?;
        tracing::info!(folder = %folder.display(), "the key index goes on on disk");
        Ok(Self { store: Some((database, keys)), folder, _lock: lock, lock_path })
    }

    /// Takes over all keys of a shard.
    pub(super) fn take_in(&self, number: usize, shard: &Shard) -> Result<(), Error> {
        let (database, keys) = self.store()?;
        let mut batch = database.batch();
        for (key, location) in shard.iter() {
            batch.insert(keys, stored_key(number, key), stored(location));
        }
        batch.commit().map_err(|error| failure(&self.folder, error))
    }

    fn store(&self) -> Result<&(Database, Keyspace), Error> {
        self.store.as_ref().ok_or_else(|| Error::bug("the key index on disk is gone"))
    }

    /// Access to one shard; changes are stored by [`SpilledShard::finish`].
    pub(super) fn shard(&self, number: usize) -> SpilledShard<'_> {
        SpilledShard { spill: self, number, changed: HashMap::new() }
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        // The store removes its folder when its last thread ends.
        drop(self.store.take());
        if !self.folder.exists()
            && let Err(error) = fs::remove_file(&self.lock_path)
        {
            tracing::debug!(path = %self.lock_path.display(), %error, "lock stays behind");
        }
    }
}

/// One shard on disk, with the changes that are not stored yet.
pub(super) struct SpilledShard<'a> {
    spill: &'a Spill,
    number: usize,
    changed: HashMap<ShardKey, Option<Location>>,
}

impl SpilledShard<'_> {
    /// Sets or removes a key's location and returns the former one.
    pub(super) fn change(
        &mut self,
        key: ShardKey,
        location: Option<Location>,
    ) -> Result<Option<Location>, Error> {
        if let Some(changed) = self.changed.get_mut(&key) {
            return Ok(std::mem::replace(changed, location));
        }
        let (_, keys) = self.spill.store()?;
        let found = keys.get(stored_key(self.number, key));
        let found = found.map_err(|error| failure(&self.spill.folder, error))?;
        self.changed.insert(key, location);
        found.map(|bytes| location_of(&bytes)).transpose()
    }

    /// Stores the changes.
    pub(super) fn finish(self) -> Result<(), Error> {
        let (database, keys) = self.spill.store()?;
        let mut batch = database.batch();
        for (key, location) in self.changed {
            let key = stored_key(self.number, key);
            match location {
                Some(location) => batch.insert(keys, key, stored(location)),
                None => batch.remove(keys, key),
            }
        }
        batch.commit().map_err(|error| failure(&self.spill.folder, error))
    }
}

fn stored_key(number: usize, key: ShardKey) -> [u8; 14] {
    let mut bytes = [0; 14];
    let (shard, words) = bytes.split_at_mut(2);
    // There are 2^10 shards.
    shard.copy_from_slice(&u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes());
    for (bytes, word) in words.chunks_exact_mut(4).zip(key) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

fn stored(location: Location) -> [u8; 8] {
    let mut bytes = [0; 8];
    let (file, row) = bytes.split_at_mut(4);
    file.copy_from_slice(&location.file.to_le_bytes());
    row.copy_from_slice(&location.row.to_le_bytes());
    bytes
}

fn location_of(bytes: &[u8]) -> Result<Location, Error> {
    let (Some((file, rest)), true) = (bytes.split_first_chunk(), bytes.len() == 8) else {
        return Err(Error::bug("a location on disk that is not eight bytes long"));
    };
    let row = <[u8; 4]>::try_from(rest).map_err(Error::bug)?;
    Ok(Location { file: u32::from_le_bytes(*file), row: u32::from_le_bytes(row) })
}

fn failure(folder: &Path, error: fjall::Error) -> Error {
    Error::Storage { action: "keep the key index in", path: folder.into(), source: error.into() }
}

/// Where the store is put: in `TMPDIR`, else where temporary files are on disk.
fn parent_folder() -> PathBuf {
    let on_disk = PathBuf::from("/var/tmp");
    match env::var_os("TMPDIR") {
        Some(folder) => folder.into(),
        None if on_disk.is_dir() => on_disk,
        None => env::temp_dir(),
    }
}

/// Removes the stores of processes that are gone.
fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let Some(folder) = name.strip_suffix(".lock").filter(|name| name.starts_with(PREFIX))
        else {
            continue;
        };
        let Ok(lock) = File::open(&path) else { continue };
        match lock.try_lock() {
            Ok(()) => {
                let folder = parent.join(folder);
                let removed = fs::remove_dir_all(&folder).is_ok() || !folder.exists();
                if removed && fs::remove_file(&path).is_ok() {
                    tracing::debug!(folder = %folder.display(), "removed an abandoned key index");
                }
            }
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}
