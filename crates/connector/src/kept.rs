//! What a job has committed, read back by its own source.
//!
//! A source that has lost the thread (the log that it follows was purged) reads its rows again; only the sink
//! knows which rows are there that should be gone.

use std::fmt;

use shardlake_change::ChangeBatch;

use crate::Error;

/// Takes rows; false if no more are wanted.
pub type RowReceiver<'a> = dyn FnMut(ChangeBatch) -> bool + Send + 'a;

/// Which rows of a sink are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptRequest {
    /// The columns to be sent, as indices into the sink's columns.
    pub columns: Vec<usize>,
    /// Columns of the sink, all of them text, and what they must hold.
    pub equal: Vec<(usize, String)>,
}

/// The committed rows of a job as one of its sources sees them.
pub trait KeptRows: Send + Sync + fmt::Debug {
    /// Sends the rows that were committed last to `receive`, as inserts in the shape in which the source sends
    /// them (the columns of the read request). `equal` names columns of the source's definition, all of them
    /// text, and what they must hold. Call it from a thread that may block.
    ///
    /// # Errors
    /// The sink cannot be read.
    fn read(&self, equal: &[(usize, String)], receive: &mut RowReceiver<'_>) -> Result<(), Error>;
}
