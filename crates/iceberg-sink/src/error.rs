//! From failures of the lake to failures of a connector.

use shardlake_connector::Error;
use shardlake_iceberg_table as lake;

/// The same failure with the class that its consequence has for a job.
pub(crate) fn from_lake(error: lake::Error) -> Error {
    let message = error.to_string();
    match error {
        lake::Error::Storage { source, .. } => Error::transient(message).caused_by(source),
        lake::Error::Conflict { .. } | lake::Error::FilesRemoved { .. } => {
            Error::transient(message)
        }
        lake::Error::Corrupt { source, .. } => Error::job(message).caused_by(source),
        lake::Error::NotFound(_)
        | lake::Error::AlreadyExists(_)
        | lake::Error::Fenced { .. }
        | lake::Error::Invalid(_) => Error::job(message),
        lake::Error::Bug(_) => Error::bug(message),
    }
}
