//! What went wrong in the lake, by what the caller can do about it.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};

use crate::TableName;

/// A cause of a failure.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// A failure of a table or catalog operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Storage failed (full, read-only, gone): the same call may succeed later. Nothing was
    /// committed.
    #[error("cannot {action} {path}", path = path.display())]
    Storage {
        /// What was tried, for example `write`.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: Cause,
    },
    /// There is no such table, namespace or snapshot.
    #[error("{0}")]
    NotFound(String),
    /// The table is there already.
    #[error("table {0} exists already")]
    AlreadyExists(TableName),
    /// Another writer committed first: reload the table and look at what it did.
    #[error("table {table} already has version {version}: another writer committed first")]
    Conflict {
        /// The table.
        table: TableName,
        /// The version that could not be made.
        version: u64,
    },
    /// A newer run of the same job owns the table. This run must end.
    #[error(
        "job '{job}' was fenced on table {table}: generation {generation} (job id {job_id}) has taken \
         over from generation {ours}; stop one of the two"
    )]
    Fenced {
        /// The table.
        table: TableName,
        /// The job's name.
        job: String,
        /// The generation that owns the table now.
        generation: u64,
        /// The id under which the owner runs.
        job_id: String,
        /// The generation of this run.
        ours: u64,
    },
    /// Another writer removed or rewrote files that this writer refers to: restart, which rebuilds
    /// the key index from the table.
    #[error(
        "snapshot {snapshot_id} of table {table} was written by another writer and removed data files \
         that this writer refers to; the key index has to be rebuilt"
    )]
    FilesRemoved {
        /// The table.
        table: TableName,
        /// The foreign snapshot.
        snapshot_id: i64,
    },
    /// What the user asked for does not fit the table or is not supported; says what and what to
    /// do.
    #[error("{0}")]
    Invalid(String),
    /// A file of the table cannot be understood.
    #[error("{path} is damaged or not supported")]
    Corrupt {
        /// The file.
        path: String,
        /// What is wrong with it.
        #[source]
        source: Cause,
    },
    /// An invariant of this crate is broken.
    #[error("internal error: {0}")]
    Bug(String),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Storage { action, path: path.to_owned(), source: source.into() }
    }

    /// Whether a file could not be read because it is not there.
    #[must_use]
    pub fn is_missing_file(&self) -> bool {
        let Self::Storage { source, .. } = self else { return false };
        let mut cause: Option<&(dyn StdError + 'static)> = Some(source.as_ref());
        while let Some(error) = cause {
            let missing_on_disk = error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::NotFound);
            let missing_in_store =
                matches!(error.downcast_ref(), Some(object_store::Error::NotFound { .. }));
            if missing_on_disk || missing_in_store {
                return true;
            }
            // What the `iceberg` crate wraps is a failure of ours.
            if error.downcast_ref::<Self>().is_some_and(Self::is_missing_file) {
                return true;
            }
            cause = error.source();
        }
        false
    }

    pub(crate) fn corrupt(path: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self::Corrupt { path: path.into(), source: source.into() }
    }

    pub(crate) fn bug(message: impl std::fmt::Display) -> Self {
        Self::Bug(message.to_string())
    }
}
