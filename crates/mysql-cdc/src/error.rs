//! What can go wrong while a MySQL server is read, by its consequence.
//!
//! Every message names the server or the table and says what the user can do; none holds a cell's
//! value or a password.

use std::io;

use arrow::error::ArrowError;
use shardlake_change::TableId;
use shardlake_connector::{Error as ConnectorError, Fault, ReceiverGone};
use shardlake_mysql_wire::Error as WireError;

/// A failure of the source.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A user must change an option, a grant, a server setting or the job.
    #[error("{0}")]
    Job(String),
    /// One table cannot be read on; the others can.
    #[error("{message}")]
    Table {
        /// The table.
        table: TableId,
        /// What is wrong and what the user can do.
        message: String,
    },
    /// No server of the source can go on as it is: what they hold does not go together, or the job must start again.
    #[error("{message}")]
    Source {
        /// What that means for the job.
        fault: Fault,
        /// What is wrong and what happens or is to be done.
        message: String,
    },
    /// The connection could not be made or was lost.
    #[error("the connection to MySQL server {server} failed while {doing}")]
    Lost {
        /// The server.
        server: String,
        /// What was being done.
        doing: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// The server refused a statement or command.
    #[error("MySQL server {server} answered while {doing}: {message} (error {code})")]
    Refused {
        /// The server.
        server: String,
        /// What was being done.
        doing: &'static str,
        /// MySQL's error number.
        code: u16,
        /// MySQL's message.
        message: String,
    },
    /// What the server sent cannot be read.
    #[error("cannot read what MySQL server {server} sent while {doing}")]
    Unreadable {
        /// The server.
        server: String,
        /// What was being done, for example reading which table.
        doing: String,
        /// The decoder's report.
        source: Box<WireError>,
    },
    /// A spill file could not be written or read.
    #[error("cannot keep rows in the spill folder: free disk space or check its permissions")]
    Spill(#[source] io::Error),
    /// Arrow refused an operation that must succeed.
    #[error("cannot build a batch of rows")]
    Arrow(#[from] ArrowError),
    /// An invariant is broken.
    #[error("{0}")]
    Bug(String),
    /// The job that reads the source has ended.
    #[error("the job that reads this source has ended")]
    Ended,
}

pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure that a user has to mend.
    pub(crate) fn job(message: impl Into<String>) -> Self {
        Self::Job(message.into())
    }

    /// What went wrong on the wire to a server.
    pub(crate) fn wire(server: &str, doing: &'static str, error: WireError) -> Self {
        let server = server.to_owned();
        match error {
            WireError::Io(source) if source.kind() == io::ErrorKind::ConnectionAborted => {
                Self::Ended
            }
            WireError::Io(source) => Self::Lost { server, doing, source },
            WireError::Server(error) => {
                Self::Refused { server, doing, code: error.code, message: error.message }
            }
            source => {
                Self::Unreadable { server, doing: doing.to_owned(), source: Box::new(source) }
            }
        }
    }

    /// What the failure means.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Job(_) => Fault::Job,
            Self::Source { fault, .. } => *fault,
            Self::Table { .. } => Fault::Table,
            Self::Lost { .. } | Self::Spill(_) | Self::Ended => Fault::Transient,
            Self::Refused { code, .. } => refusal_fault(*code),
            Self::Unreadable { source, .. } => unreadable_fault(source),
            Self::Arrow(_) | Self::Bug(_) => Fault::Bug,
        }
    }
}

impl From<ReceiverGone> for Error {
    fn from(_: ReceiverGone) -> Self {
        Self::Ended
    }
}

impl From<Error> for ConnectorError {
    fn from(error: Error) -> Self {
        let converted = Self::new(error.fault(), error.to_string());
        match error {
            Error::Lost { source, .. } | Error::Spill(source) => converted.caused_by(source),
            Error::Unreadable { source, .. } => converted.caused_by(source),
            Error::Arrow(source) => converted.caused_by(source),
            Error::Job(_)
            | Error::Table { .. }
            | Error::Source { .. }
            | Error::Refused { .. }
            | Error::Bug(_)
            | Error::Ended => converted,
        }
    }
}

/// Refusals that pass by themselves: too many connections, shutdown, killed, timeouts, deadlocks.
fn refusal_fault(code: u16) -> Fault {
    match code {
        1_040
        | 1_042
        | 1_043
        | 1_053
        | 1_077
        | 1_079
        | 1_080
        | 1_152
        | 1_153
        | 1_158..=1_161
        | 1_184
        | 1_189
        | 1_190
        | 1_203
        | 1_205
        | 1_213
        | 1_226
        | 1_317
        | 1_412
        | 1_836
        | 1_927
        | 3_024
        | 3_032
        | 3_168
        | 3_169 => Fault::Transient,
        _ => Fault::Job,
    }
}

fn unreadable_fault(error: &WireError) -> Fault {
    match error {
        WireError::Io(_) | WireError::Checksum { .. } => Fault::Transient,
        WireError::Server(error) => refusal_fault(error.code),
        WireError::Unsupported(_)
        | WireError::Conversion { .. }
        | WireError::Value { .. }
        | WireError::RowImage { .. }
        | WireError::TooLarge { .. } => Fault::Job,
        WireError::Malformed { .. } | WireError::Arrow(_) => Fault::Bug,
    }
}
