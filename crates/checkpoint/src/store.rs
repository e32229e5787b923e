//! Where checkpoints are kept.
//!
//! [`FileStore`] keeps the newest one: it is written beside the old one, forced to disk, and takes
//! its place by a rename, whose folder is forced to disk too. A crash leaves the old or the new one.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use shardlake_connector::Error;

use crate::Checkpoint;

/// Keeps the newest checkpoint of one job.
pub trait CheckpointStore: Send {
    /// Keeps a checkpoint in place of the one before. When it returns, the checkpoint survives a
    /// power cut.
    ///
    /// # Errors
    /// Transient if the storage fails.
    fn save(&mut self, checkpoint: &Checkpoint) -> Result<(), Error>;

    /// The newest checkpoint, if there is one.
    ///
    /// # Errors
    /// Transient if the storage fails; for a user to mend if the checkpoint is damaged.
    fn load(&self) -> Result<Option<Checkpoint>, Error>;
}

/// A checkpoint in a file.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
}

impl FileStore {
    /// Keeps checkpoints in this file; its folder is created when needed.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn failed(&self, what: &str, error: io::Error) -> Error {
        Error::transient(format!("failed to {what} the checkpoint {}", self.path.display()))
            .caused_by(error)
    }

    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let beside = self.path.with_extension("tmp");
        let mut file = File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, &self.path)?;
        File::open(folder)?.sync_all()
    }
}

impl CheckpointStore for FileStore {
    fn save(&mut self, checkpoint: &Checkpoint) -> Result<(), Error> {
        let bytes = checkpoint.encode()?;
        self.replace(&bytes).map_err(|error| self.failed("write", error))
    }

    fn load(&self) -> Result<Option<Checkpoint>, Error> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("read", error)),
        };
        Checkpoint::decode(&bytes).map(Some).map_err(|reason| {
            Error::job(format!(
                "the checkpoint {} is damaged: {reason}; restore it from a backup, or remove it to \
                 have the job resume from what its sinks have committed",
                self.path.display()
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::tests::checkpoint;

    #[test]
    fn the_newest_checkpoint_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = FileStore::new(folder.path().join("job/checkpoint"));
        assert_eq!(store.load().unwrap(), None);
        store.save(&checkpoint(1, &[b"a"])).unwrap();
        store.save(&checkpoint(2, &[b"b"])).unwrap();
        assert_eq!(store.load().unwrap(), Some(checkpoint(2, &[b"b"])));
        let names: Vec<_> = fs::read_dir(folder.path().join("job")).unwrap().collect();
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn a_damaged_checkpoint_is_for_the_user_to_mend() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        fs::write(&path, "shardlake-checkpoint 1 00000000 3\nabc").unwrap();
        let error = FileStore::new(path).load().unwrap_err();
        assert_eq!(error.fault(), shardlake_connector::Fault::Job);
        assert!(error.to_string().contains("is damaged: its checksum is wrong"), "{error}");
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_transient() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("job"), "a file").unwrap();
        let mut store = FileStore::new(folder.path().join("job/checkpoint"));
        let error = store.save(&checkpoint(1, &[])).unwrap_err();
        assert_eq!(error.fault(), shardlake_connector::Fault::Transient);
    }
}
