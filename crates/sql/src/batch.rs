//! Bounded queries: they run once in DataFusion, over the lake and over sources that end.
//!
//! Only DataFusion's planner and its operators are used. Its catalogs, its SQL statements and its
//! table registration are not: names are resolved by the session's catalogs before.

mod source_scan;

use std::sync::Arc;

use datafusion::config::ConfigOptions;
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use shardlake_change::{Column, TableSchema};
use shardlake_connector::parse_size_bytes;

use crate::diagnostic::{Code, Diagnostic};
use crate::functions::FunctionRegistry;
use crate::planner::{FlinkCasts, diagnostic};
use crate::session::Configuration;

pub(crate) use source_scan::scan_source;

/// Memory that one query may hold, unless `shardlake.query.memory-size` says otherwise.
const MEMORY_BYTES: u64 = 512 << 20;

/// How many of the largest holders of memory an error names.
const NAMED_CONSUMERS: usize = 3;

/// Rows of a batch between operators.
const BATCH_ROWS: usize = 8_192;

/// What one query is planned and run with.
pub(crate) struct BatchSession {
    pub(crate) functions: Arc<FunctionRegistry>,
    state: SessionState,
}

impl BatchSession {
    /// A session with the memory limit and the time zone of the configuration.
    pub(crate) fn new(configuration: &Configuration) -> Result<Self, Diagnostic> {
        let partitions = std::thread::available_parallelism().map_or(1, usize::from);
        let mut config =
            SessionConfig::new().with_target_partitions(partitions).with_batch_size(BATCH_ROWS);
        let options = config.options_mut();
        options.execution.time_zone = Some(configuration.time_zone().name());
        options.execution.parquet.schema_force_view_types = false;
        options.sql_parser.enable_ident_normalization = false;
        options.sql_parser.parse_float_as_decimal = true;
        options.sql_parser.map_string_types_to_utf8view = false;
        options.sql_parser.default_null_ordering = "nulls_min".to_owned();
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(memory_pool(configuration)?)
            .with_disk_manager_builder(DiskManagerBuilder::default())
            .build_arc()
            .map_err(|error| diagnostic(&error))?;
        let mut state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime)
            .with_default_features()
            .with_analyzer_rule(Arc::new(FlinkCasts::new()))
            .build();
        // The one moment that the clock functions of the query show.
        state.mark_start_execution();
        Ok(Self { functions: Arc::new(FunctionRegistry::new()), state })
    }

    /// DataFusion's options.
    pub(crate) fn options(&self) -> ConfigOptions {
        self.state.config_options().as_ref().clone()
    }

    /// DataFusion's state.
    pub(crate) const fn state(&self) -> &SessionState {
        &self.state
    }

    /// The plan that computes the same with less work.
    pub(crate) fn optimize(&self, plan: &LogicalPlan) -> Result<LogicalPlan, Diagnostic> {
        self.state.optimize(plan).map_err(|error| diagnostic(&error))
    }
}

type Pool = TrackConsumersPool<FairSpillPool>;

fn memory_pool(configuration: &Configuration) -> Result<Arc<Pool>, Diagnostic> {
    let key = "shardlake.query.memory-size";
    let bytes = match configuration.get(key) {
        None => MEMORY_BYTES,
        Some(text) => parse_size_bytes(&text).ok_or_else(|| {
            let message = format!("Could not parse value '{text}' for key '{key}'.");
            Diagnostic::new(Code::Configuration, message).with_hint("Write for example '512 mb'.")
        })?,
    };
    let pool = FairSpillPool::new(usize::try_from(bytes).unwrap_or(usize::MAX));
    let named = std::num::NonZeroUsize::new(NAMED_CONSUMERS).unwrap_or(std::num::NonZeroUsize::MIN);
    Ok(Arc::new(TrackConsumersPool::new(pool, named)))
}

/// A bounded query, ready to run.
pub struct BatchQuery {
    session: Arc<BatchSession>,
    plan: LogicalPlan,
    schema: TableSchema,
}

impl BatchQuery {
    pub(crate) fn new(session: Arc<BatchSession>, plan: LogicalPlan, columns: Vec<Column>) -> Self {
        let schema = TableSchema { columns, primary_key: Vec::new() };
        Self { session, plan, schema }
    }

    /// The columns of the result with Flink's types.
    #[must_use]
    pub const fn schema(&self) -> &TableSchema {
        &self.schema
    }

    /// Starts the query; its result comes as batches whose columns have the Arrow form of
    /// [`BatchQuery::schema`]. Dropping the stream stops the query.
    ///
    /// # Errors
    /// The query cannot be planned, or a table cannot be opened. Errors while it runs come in the stream
    /// and become diagnostics by [`BatchQuery::error`].
    pub async fn execute(&self) -> Result<SendableRecordBatchStream, Diagnostic> {
        let physical = self.physical_plan().await?;
        execute_stream(physical, self.session.state.task_ctx()).map_err(|error| diagnostic(&error))
    }

    /// What an error that came out of the stream of [`BatchQuery::execute`] tells the user.
    #[must_use]
    pub fn error(error: &datafusion::error::DataFusionError) -> Diagnostic {
        diagnostic(error)
    }

    pub(crate) async fn physical_plan(&self) -> Result<Arc<dyn ExecutionPlan>, Diagnostic> {
        self.session
            .state
            .create_physical_plan(&self.plan)
            .await
            .map_err(|error| diagnostic(&error))
    }

    pub(crate) fn optimized(&self) -> Result<LogicalPlan, Diagnostic> {
        self.session.optimize(&self.plan)
    }

    pub(crate) const fn plan(&self) -> &LogicalPlan {
        &self.plan
    }
}
