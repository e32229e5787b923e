//! Why a test's environment could not be had. Only [`Error::Unavailable`] is a reason to skip a test.

use std::io;

/// What went wrong while a test prepared its environment or talked to it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine cannot have this program (no network, no Debian, no Python): the test may be skipped.
    #[error("{what} cannot be had here: {reason}")]
    Unavailable {
        /// The program or package.
        what: &'static str,
        /// The last words of the script that tried to get it.
        reason: String,
    },
    /// The program is there, but did not do what it must.
    #[error("{what} failed: {reason}")]
    Failed {
        /// What was being done.
        what: String,
        /// Its last words.
        reason: String,
    },
    /// A statement failed, or the connection broke under it.
    #[error("statement failed: {sql}")]
    Statement {
        /// The statement.
        sql: String,
        /// The server's answer.
        #[source]
        source: mysql_async::Error,
    },
    /// A file or process of the test could not be handled.
    #[error("cannot {action}")]
    Io {
        /// What was being done.
        action: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Whether the test should be skipped instead of failed.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    pub(crate) fn failed(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), reason: reason.into() }
    }
}
