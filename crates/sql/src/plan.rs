//! A job as the planner hands it to the engine: sources, transformations, sinks.
//!
//! The plan is a tree for each sink over shared sources, so that a statement set reads each source
//! once. Joins and aggregations over changing inputs will be further [`StreamNode`]s.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use shardlake_change::{ChangeBatch, TableSchema};
use shardlake_connector::{Error, ObjectName, Options, SchemaChangeBehavior, Sink, Source};

/// A streaming job, ready to run.
#[derive(Clone)]
pub struct JobPlan {
    /// The job's name: `pipeline.name`, by default `insert-into_<catalog.database.table>`.
    pub name: String,
    /// Names the query and its sources. A stored position is only used by a job with an equal fingerprint.
    pub fingerprint: String,
    /// The sources, each read once.
    pub sources: Vec<PlannedSource>,
    /// The sinks with what flows into each.
    pub sinks: Vec<PlannedSink>,
    /// The session's configuration when the job was submitted.
    pub configuration: Options,
}

/// A source that a job reads.
#[derive(Clone)]
pub struct PlannedSource {
    /// The table.
    pub name: ObjectName,
    /// What reads it.
    pub source: Arc<dyn Source>,
    /// Indices of the definition's columns that the job needs, ascending.
    pub columns: Vec<usize>,
    /// How it follows the columns of its tables, if the sink does.
    pub schema_change: Option<SchemaChangeBehavior>,
    /// Indices of the definition's columns that each sink with an equality key holds in it unchanged; `None` if
    /// no such sink reads the source.
    pub key_columns: Option<Vec<usize>>,
    /// How the source's rows are found again in the sink that they reach unchanged; `None` if there is no such sink.
    pub kept: Option<KeptColumns>,
}

/// Where the columns of a source are in the one sink that they reach unchanged and unfiltered.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptColumns {
    /// Index into [`JobPlan::sinks`].
    pub sink: usize,
    /// For each of [`PlannedSource::columns`], its index in the sink.
    pub columns: Vec<usize>,
    /// The columns as the source sends them.
    pub schema: SchemaRef,
}

impl KeptColumns {
    /// Rows as the sink has them (its columns [`Self::columns`]), as the source sent them.
    ///
    /// # Errors
    /// A type of the sink cannot be turned into that of the source.
    pub fn as_sent(&self, batch: &ChangeBatch) -> Result<ChangeBatch, Error> {
        let failed = |error| Error::bug("rows of the sink do not fit the source").caused_by(error);
        let columns = batch.rows().columns().iter().zip(self.schema.fields());
        let columns: Vec<_> = columns
            .map(|(column, field)| cast(column, field.data_type()).map_err(failed))
            .collect::<Result<_, _>>()?;
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(failed)?;
        Ok(ChangeBatch::inserts(rows))
    }
}

/// A sink that a job writes.
#[derive(Clone)]
pub struct PlannedSink {
    /// The table.
    pub name: ObjectName,
    /// What writes it.
    pub sink: Arc<dyn Sink>,
    /// The columns that arrive, in the sink's order, and their key.
    pub schema: TableSchema,
    /// Indices into `schema` of the equality key; empty if the sink has no primary key.
    pub equality_key: Vec<usize>,
    /// What flows into it.
    pub input: StreamNode,
}

/// A stage of a streaming query.
#[derive(Clone)]
pub enum StreamNode {
    /// The rows of `JobPlan::sources[index]`.
    Source {
        /// Index into [`JobPlan::sources`].
        index: usize,
    },
    /// Each batch is transformed by itself.
    Transform {
        /// Where the batches come from.
        input: Box<StreamNode>,
        /// What happens to each.
        transform: Arc<dyn Transform>,
    },
    /// The rows of all inputs, in the order of each.
    Union {
        /// The inputs; all have the same columns.
        inputs: Vec<StreamNode>,
    },
}

/// A stateless transformation of changes: projection, filter, casts.
pub trait Transform: Send + Sync {
    /// What it is, for plans and metrics, for example `Calc(select=[id, name])`.
    fn describe(&self) -> String;

    /// Transforms one batch. The order of rows stays.
    ///
    /// # Errors
    /// An expression that fails on a row; never with the row's values in the message.
    fn apply(&self, batch: &ChangeBatch) -> Result<ChangeBatch, Error>;
}
