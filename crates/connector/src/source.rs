//! What a source must do.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use crate::{
    ComparableSource, Error, EventReceiver, KeptRows, MetadataColumn, OptionSpec,
    SchemaChangeBehavior, SourceStatus, TableDefinition,
};

/// Which kinds of change a changelog may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangelogMode {
    /// `+I` only.
    InsertOnly,
    /// `+I`, `-U`, `+U` and `-D`.
    All,
}

/// Makes the sources of one connector.
pub trait SourceFactory: Send + Sync {
    /// The value of `'connector'`.
    fn connector(&self) -> &'static str;

    /// The options that it knows.
    fn options(&self) -> &'static [OptionSpec];

    /// The metadata columns that it offers.
    fn metadata_columns(&self) -> Vec<MetadataColumn>;

    /// Checks the definition and makes the source. Does no I/O.
    ///
    /// # Errors
    /// A [`crate::Fault::Job`] that names the option or column and what to do.
    fn create(&self, table: &TableDefinition) -> Result<Arc<dyn Source>, Error>;

    /// What computes sums of the table's rows, to compare it with a copy. `None` if the connector cannot.
    ///
    /// # Errors
    /// The definition does not fit.
    fn comparable(
        &self,
        table: &TableDefinition,
    ) -> Result<Option<Box<dyn ComparableSource>>, Error> {
        let _ = table;
        Ok(None)
    }

    /// Whether lanes that stood at these stored positions had read, taken together, everything up to
    /// `target`, which is given in the words of the source (for MySQL, a GTID set). `None` if the
    /// positions are not of this connector or cannot be compared with it.
    ///
    /// # Errors
    /// `target` is malformed.
    fn has_reached(&self, positions: &[&Value], target: &str) -> Result<Option<bool>, Error> {
        let _ = (positions, target);
        Ok(None)
    }
}

/// Where all lanes of all sources of a job stand, by source table and lane name.
pub type JobPosition = BTreeMap<String, BTreeMap<String, Value>>;

/// What the engine asks of a source when a job starts.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// Indices into the definition's columns that the job needs, ascending. Batches carry exactly
    /// these columns, in this order, with the Arrow types of their logical types.
    pub columns: Vec<usize>,
    /// Columns of the definition that each sink with an equality key holds in it unchanged; `None` if there is no
    /// such sink. Rows that differ in none of them are one row there.
    pub key_columns: Option<Vec<usize>>,
    /// The rows that the job has committed, if the sink can tell which of them come from where: it is the only
    /// one that the source's columns reach, unchanged and unfiltered.
    pub kept: Option<Arc<dyn KeptRows>>,
    /// Where each lane stood in the last committed epoch; `None` for a job that starts afresh.
    pub position: Option<BTreeMap<String, Value>>,
    /// Memory that the source may hold in all its lanes, in bytes. What does not fit is spilled
    /// to `spill_dir`.
    pub memory_bytes: usize,
    /// How the source follows the columns of its tables beyond `columns`; `None` if these stay. See
    /// [`SchemaChangeBehavior`].
    pub schema_change: Option<SchemaChangeBehavior>,
    /// A folder for spill files, emptied by the engine before each start.
    pub spill_dir: PathBuf,
}

/// A source whose readers run.
pub struct RunningSource {
    /// Its lanes by name. Rows of one key always come on one lane, in order. The readers of a lane
    /// end when its receiver is dropped.
    pub lanes: Vec<(String, EventReceiver)>,
    /// How far its splits are, if it can tell.
    pub status: Option<Arc<dyn SourceStatus>>,
}

/// A table that can be read.
pub trait Source: Send + Sync {
    /// Which kinds of change it sends.
    fn changelog_mode(&self) -> ChangelogMode;

    /// Whether it ends by itself.
    fn is_bounded(&self) -> bool;

    /// Whether it can follow the columns of its tables while it runs.
    fn follows_columns(&self) -> bool {
        false
    }

    /// Names what its positions belong to (servers, table expressions): a stored position is refused
    /// when the fingerprint differs. Holds no secret.
    fn fingerprint(&self) -> String;

    /// Connects, checks settings and grants, and starts the readers on threads of their own. May block.
    ///
    /// # Errors
    /// Whatever keeps the job from starting, with the server and what the user can do.
    fn start(&self, request: &ReadRequest) -> Result<RunningSource, Error>;
}
