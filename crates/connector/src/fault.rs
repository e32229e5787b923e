//! What went wrong, by its consequence.

use std::error::Error as StdError;
use std::fmt;

/// What a failure means for the job. `checkpoint::restart` alone decides what is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The outside world failed (network, server restart, full disk): trying again may succeed.
    Transient,
    /// One table or shard cannot go on; the others can.
    Table,
    /// The job cannot go on until a user changes something (configuration, grants, schema, fencing).
    Job,
    /// An invariant of Shardlake is broken.
    Bug,
}

/// A failure of a connector: what happened, where, and what the user can do.
///
/// `Display` prints the message only; the cause is in `source()`. Never holds a cell's value or a password.
#[derive(Debug)]
pub struct Error {
    fault: Fault,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure of the given class.
    pub fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into(), source: None }
    }

    /// A failure that trying again may mend.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(Fault::Transient, message)
    }

    /// A failure that a user has to mend.
    pub fn job(message: impl Into<String>) -> Self {
        Self::new(Fault::Job, message)
    }

    /// A broken invariant.
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Fault::Bug, message)
    }

    /// The same failure with its cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the failure means for the job.
    #[must_use]
    pub const fn fault(&self) -> Fault {
        self.fault
    }

    /// The message and the messages of all causes, joined by `: `.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = StdError::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
