//! Why a job could not be submitted or be looked after.

use std::path::PathBuf;

use shardlake_connector::Fault;

/// Why a job was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A job of this name runs in this process.
    #[error(
        "job '{name}' already runs with id {id}: stop it first, or SET 'pipeline.name' to another \
         name"
    )]
    AlreadyRunning {
        /// The job's name.
        name: String,
        /// The id of the running job.
        id: String,
    },
    /// A setting, a table or the state of the sink does not allow the job to start.
    #[error(transparent)]
    Connector(#[from] shardlake_connector::Error),
    /// The job's folder cannot be used.
    #[error("cannot use the job's folder {}", path.display())]
    StateFolder {
        /// The folder or file.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// What the failure means.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        match self {
            Self::AlreadyRunning { .. } => Fault::Job,
            Self::Connector(error) => error.fault(),
            Self::StateFolder { .. } => Fault::Transient,
        }
    }
}
