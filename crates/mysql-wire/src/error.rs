//! What can go wrong on the wire, by its consequence.
//!
//! No message holds a cell's value, a statement or a password: a message names the column, the types
//! and the place.

use std::{fmt, io};

use arrow::error::ArrowError;

/// A failure while bytes are read from, written to or prepared for a MySQL server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stream failed or ended. `TimedOut` and `WouldBlock` leave a packet reader intact: call again.
    #[error("the connection to MySQL failed")]
    Io(#[from] io::Error),
    /// The server answered with an error packet.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The bytes do not follow the protocol or the binlog format.
    #[error("malformed {what}: {reason}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// An event's checksum does not match its bytes: they were damaged on the way or on disk.
    #[error("the checksum of the binlog event that ends at position {end_position} does not match")]
    Checksum {
        /// The event's end as its header gives it.
        end_position: u32,
    },
    /// The server uses or asks for something that is not supported.
    #[error("{0}")]
    Unsupported(String),
    /// A column cannot be read as the declared type, whatever its values are.
    #[error(
        "column `{column}` has MySQL type {source_type} and cannot be read as {declared}{hint}"
    )]
    Conversion {
        /// The column.
        column: String,
        /// Its type in MySQL.
        source_type: String,
        /// Its declared type.
        declared: String,
        /// What to do instead; empty or begins with a colon.
        hint: &'static str,
    },
    /// One value of a column cannot be read as the declared type.
    #[error("a value of column `{column}` cannot be read as {declared}: {problem}")]
    Value {
        /// The column.
        column: String,
        /// Its declared type.
        declared: String,
        /// What is wrong with the value.
        problem: Problem,
    },
    /// A row event does not hold all columns of the row.
    #[error(
        "a row event of table {table} does not hold all columns: \
         set binlog_row_image=FULL for every session that writes (and unset binlog_row_value_options)"
    )]
    RowImage {
        /// The table as `database.table`.
        table: String,
    },
    /// Something is larger than its limit.
    #[error("{what} of {size} bytes is larger than the limit of {limit} bytes")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// Arrow refused to build a batch.
    #[error("arrow cannot build the batch")]
    Arrow(#[from] ArrowError),
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn malformed(what: &'static str, reason: impl Into<String>) -> Self {
        Self::Malformed { what, reason: reason.into() }
    }

    /// `what` ends before all of its fields.
    pub(crate) fn short(what: &'static str) -> Self {
        Self::malformed(what, "it ends too early")
    }

    /// Whether the same call may be repeated on the same reader, because the stream's read only timed out.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Io(error)
            if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
    }
}

/// An error packet of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// MySQL's error number.
    pub code: u16,
    /// The SQL state, or empty before the handshake has ended.
    pub sql_state: String,
    /// The server's message.
    pub message: String,
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (error {}", self.message, self.code)?;
        if !self.sql_state.is_empty() {
            write!(f, ", state {}", self.sql_state)?;
        }
        f.write_str(")")
    }
}

impl std::error::Error for ServerError {}

/// Why one value cannot be read. One byte, because every cell's decoder may return it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Problem {
    /// The row ends within the value.
    Short,
    /// The value does not fit into the declared type.
    OutOfRange,
    /// A date with a zero or impossible year, month or day meets NOT NULL.
    ZeroDate,
    /// A date with a zero or impossible year, month or day, and such are refused.
    RefusedDate,
    /// The text is not valid in its character set.
    Text,
    /// The bytes are no value of the column's type.
    Malformed,
    /// The number of an ENUM or SET member is not in the column's list.
    Member,
    /// The batch would hold more than 2 GB of one column.
    BatchFull,
    /// NULL meets a list or text that must not be NULL.
    Null,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "the row ends within the value",
            Self::OutOfRange => "it is out of the type's range; declare a wider type",
            Self::ZeroDate => {
                "it is a zero or impossible date, which reads as NULL; declare the column nullable"
            }
            Self::RefusedDate => {
                "it is a zero or impossible date, and such are to be refused; repair it in MySQL"
            }
            Self::Text => "it is not valid text of its character set; repair it in MySQL",
            Self::Malformed => "its bytes are malformed",
            Self::Member => "its number is not in the column's list of members",
            Self::BatchFull => "the batch would hold more than 2 GB of this column",
            Self::Null => "it is NULL",
        })
    }
}
