//! From a parsed query or INSERT to what runs: a batch query, or the plan of a streaming job.
//!
//! DataFusion's SQL planner binds names and types over our own catalogs; its optimizer works on both
//! kinds of plan. A streaming plan is then taken apart into stages without state, a batch plan is left
//! to DataFusion. A query whose tables are all bounded runs as a batch, in every runtime mode.

mod bind;
mod coercion;
mod error;
mod explain;
mod follow;
mod insert;
mod lake;
mod lineage;
mod place;
mod provider;
mod query_source;
mod rewrite;
mod row_change;
mod streaming;
mod table;
mod types;

use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use futures::future::BoxFuture;
use shardlake_change::{Column, TableSchema};
use shardlake_connector::{ChangelogMode, ObjectName, SchemaChangeBehavior, Sink, TableDefinition};

use self::bind::{BoundQuery, LakeAccess, bind, with_arrow_types};
use self::explain::{ChangelogModes, Stage, StreamStages};
use self::insert::{sink_definition, sink_plan};
use self::streaming::{
    JobSources, any_scan, changelog_scan, check_streamable, reads_source, transform,
    unbounded_table,
};
use crate::batch::{BatchQuery, BatchSession};
use crate::catalog::{PlannerContext, Resolved, ResolvedTable, create_sink};
use crate::diagnostic::{Code, Diagnostic};
use crate::expression::{Constraint, NullPolicy};
use crate::functions::{FunctionRegistry, sha256_hex};
use crate::plan::{JobPlan, PlannedSink, StreamNode};
use crate::statement::{Explain, ExplainDetail, ExplainTarget, Insert, Query};

pub(crate) use self::coercion::FlinkCasts;
pub(crate) use self::error::diagnostic;
pub(crate) use self::lake::{alter_lake_table, as_of_gtid, locate};
pub use self::row_change::change_rows;
pub use self::types::from_arrow;

/// How a query runs.
pub enum PlannedQuery {
    /// Once, over bounded tables; the result is its final rows.
    Batch(BatchQuery),
    /// As a job, until it is stopped; the result is a changelog.
    Streaming(StreamingQuery),
}

impl PlannedQuery {
    /// The columns of the result.
    #[must_use]
    pub const fn schema(&self) -> &TableSchema {
        match self {
            Self::Batch(query) => query.schema(),
            Self::Streaming(query) => query.schema(),
        }
    }
}

/// A query over a table that changes.
pub struct StreamingQuery {
    session: Arc<BatchSession>,
    plan: LogicalPlan,
    schema: TableSchema,
    changelog: Option<String>,
    canonical: String,
    configuration: shardlake_connector::Options,
}

impl StreamingQuery {
    /// The columns of the result with Flink's types.
    #[must_use]
    pub const fn schema(&self) -> &TableSchema {
        &self.schema
    }

    /// Which kinds of change the result holds.
    #[must_use]
    pub const fn changelog_mode(&self) -> ChangelogMode {
        if self.changelog.is_some() { ChangelogMode::All } else { ChangelogMode::InsertOnly }
    }

    /// The job that sends the result into a sink.
    ///
    /// # Errors
    /// A part of the query cannot run as a stream.
    pub fn into_job(self, sink: Arc<dyn Sink>) -> Result<JobPlan, Diagnostic> {
        let name = ObjectName {
            catalog: "default_catalog".to_owned(),
            database: "default_database".to_owned(),
            object: "collect".to_owned(),
        };
        let mut schema = self.schema;
        // A shard may lack a column that the table declares NOT NULL; a result shows it as NULL.
        for column in &mut schema.columns {
            column.nullable = true;
        }
        let draft = SinkDraft {
            name,
            sink,
            schema,
            policy: NullPolicy::Error,
            plan: self.plan,
            batch: false,
            schema_change: None,
        };
        let (sources, sinks) = stages(&self.session, vec![draft])?;
        Ok(JobPlan {
            name: "collect".to_owned(),
            fingerprint: sha256_hex(self.canonical.as_bytes()),
            sources,
            sinks,
            configuration: self.configuration,
        })
    }
}

/// Plans a query.
///
/// # Errors
/// A name, type or function is unknown, or the query cannot run over tables that change.
pub async fn plan_query(
    context: &PlannerContext,
    query: &Query,
) -> Result<PlannedQuery, Diagnostic> {
    let session = Arc::new(BatchSession::new(&context.configuration)?);
    let bound = bind(context, &session, query, LakeAccess::Open).await?;
    let BoundQuery { plan, columns, canonical } = bound;
    let plan = with_arrow_types(plan)?;
    if runs_as_batch(context, &plan)? {
        return Ok(PlannedQuery::Batch(BatchQuery::new(session, plan, columns)));
    }
    check_streamable(&plan)?;
    Ok(PlannedQuery::Streaming(StreamingQuery {
        session,
        changelog: changelog_scan(&plan),
        plan,
        schema: TableSchema { columns, primary_key: Vec::new() },
        canonical,
        configuration: context.configuration.explicit(),
    }))
}

/// Whether a query runs once: all its tables are bounded and send inserts only.
fn runs_as_batch(context: &PlannerContext, plan: &LogicalPlan) -> Result<bool, Diagnostic> {
    let unbounded = unbounded_table(plan);
    if let (true, Some(table)) = (context.configuration.is_batch(), &unbounded) {
        let message = format!(
            "Querying an unbounded table '{table}' in batch mode is not allowed. The table source \
             is unbounded."
        );
        return Err(Diagnostic::new(Code::StreamingQuery, message)
            .with_hint("SET 'execution.runtime-mode' = 'streaming';"));
    }
    let changes = any_scan(plan, |source| source.changelog_mode() == ChangelogMode::All);
    Ok(unbounded.is_none() && !changes)
}

/// The columns of a query, without running anything.
///
/// # Errors
/// As [`plan_query`].
pub async fn query_columns(
    context: &PlannerContext,
    query: &Query,
) -> Result<Vec<Column>, Diagnostic> {
    let session = BatchSession::new(&context.configuration)?;
    Ok(bind(context, &session, query, LakeAccess::Declared).await?.columns)
}

/// The computed columns of a table, in declared order, with the types of their expressions.
///
/// # Errors
/// An expression is wrong.
pub fn computed_columns(
    context: &PlannerContext,
    table: &ResolvedTable,
) -> Result<Vec<Column>, Diagnostic> {
    let session = BatchSession::new(&context.configuration)?;
    bind::computed_columns(&session, table)
}

/// The names of all functions that queries can use, sorted, in upper case.
#[must_use]
pub fn function_names() -> Vec<String> {
    FunctionRegistry::new().names()
}

/// Plans the job of one INSERT, or of all INSERTs of a statement set: a source that several of them
/// read is read once. Tables behind the sinks are created or checked.
///
/// # Errors
/// The columns do not fit, the query cannot run as a stream, or a sink refuses its table.
pub async fn plan_insert(
    context: &PlannerContext,
    inserts: &[Insert],
) -> Result<JobPlan, Diagnostic> {
    let draft = draft_job(context, inserts).await?;
    for sink in &draft.job.sinks {
        sink.sink.prepare().await.map_err(|error| Diagnostic::connector(&error))?;
    }
    Ok(draft.job)
}

/// A sink of a job before its stages are made.
struct SinkDraft {
    name: ObjectName,
    sink: Arc<dyn Sink>,
    schema: TableSchema,
    policy: NullPolicy,
    /// Not optimized; its columns are the sink's.
    plan: LogicalPlan,
    /// Whether the whole plan is computed once by a batch query.
    batch: bool,
    /// How the sink follows the columns of its source, if it does.
    schema_change: Option<SchemaChangeBehavior>,
}

struct JobDraft {
    job: JobPlan,
    /// The plans as written, for explanations.
    plans: Vec<(ObjectName, LogicalPlan)>,
    definitions: Vec<TableDefinition>,
}

async fn draft_job(context: &PlannerContext, inserts: &[Insert]) -> Result<JobDraft, Diagnostic> {
    let session = Arc::new(BatchSession::new(&context.configuration)?);
    let mut drafts = Vec::with_capacity(inserts.len());
    let mut canonical = Vec::with_capacity(inserts.len());
    let mut plans = Vec::with_capacity(inserts.len());
    let mut definitions = Vec::new();
    for insert in inserts {
        let (draft, text) = draft_sink(context, &session, insert).await?;
        streaming::collect_definitions(&draft.plan, &mut definitions);
        plans.push((draft.name.clone(), draft.plan.clone()));
        drafts.push(draft);
        canonical.push(text);
    }
    let names: Vec<String> = drafts.iter().map(|draft| draft.name.to_string()).collect();
    let once = drafts.iter().all(|draft| draft.batch || !reads_source(&draft.plan));
    let (sources, sinks) = stages(&session, drafts)?;
    let fingerprint = sha256_hex(canonical.join("\n").as_bytes());
    let job = JobPlan {
        name: job_name(context, &names, &fingerprint, once),
        fingerprint,
        sources,
        sinks,
        configuration: context.configuration.explicit(),
    };
    Ok(JobDraft { job, plans, definitions })
}

/// `pipeline.name`, or Flink's name for the job. A job that computes its rows once also carries the
/// start of its fingerprint, so that it never takes the place of the job that follows a source.
fn job_name(context: &PlannerContext, sinks: &[String], fingerprint: &str, once: bool) -> String {
    if let Some(name) = context.configuration.get("pipeline.name") {
        return name;
    }
    let name = format!("insert-into_{}", sinks.join(","));
    let start: String = fingerprint.chars().take(8).collect();
    if once { format!("{name}-{start}") } else { name }
}

fn draft_sink<'a>(
    context: &'a PlannerContext,
    session: &'a BatchSession,
    insert: &'a Insert,
) -> BoxFuture<'a, Result<(SinkDraft, String), Diagnostic>> {
    Box::pin(async move {
        let span = insert.target.name.span;
        let table = match context.resolve(&insert.target).await? {
            Resolved::Table(table) if table.metadata_table.is_none() => table,
            Resolved::Table(table) => {
                let what = format!("Writing to metadata table '{}'", table.name);
                return Err(Diagnostic::unsupported(&what).at(span));
            }
            Resolved::View(view) => {
                let what = format!("Writing to view '{}'", view.name);
                return Err(Diagnostic::unsupported(&what).at(span));
            }
        };
        let definition = sink_definition(&table);
        let factory = context.connectors.sink(&table.name, table.connector.as_deref())?;
        let sink = create_sink(factory.as_ref(), &definition).map_err(|error| error.at(span))?;
        let query = bind(context, session, &insert.query, LakeAccess::Open).await?;
        let plan = sink_plan(insert, &definition, &query)?;
        let batch = runs_as_batch(context, &plan)?
            && (context.configuration.is_batch() || check_streamable(&plan).is_err());
        if !batch {
            check_streamable(&plan)?;
        }
        check_changelog(&definition, sink.as_ref(), &plan)?;
        let canonical = format!("{} {:?} {}", table.name, insert.columns, query.canonical);
        let schema_change = if batch { None } else { sink.schema_change() };
        let draft = SinkDraft {
            name: table.name.clone(),
            schema_change,
            sink,
            schema: definition.schema,
            policy: null_policy(context),
            plan,
            batch,
        };
        Ok((draft, canonical))
    })
}

fn null_policy(context: &PlannerContext) -> NullPolicy {
    let policy = context.configuration.get("table.exec.sink.not-null-enforcer");
    if policy.is_some_and(|policy| policy.eq_ignore_ascii_case("drop")) {
        NullPolicy::Drop
    } else {
        NullPolicy::Error
    }
}

/// A sink that takes inserts only refuses a query that updates and deletes, in Flink's words.
fn check_changelog(
    definition: &TableDefinition,
    sink: &dyn Sink,
    plan: &LogicalPlan,
) -> Result<(), Diagnostic> {
    if sink.changelog_mode() == ChangelogMode::All {
        return Ok(());
    }
    let Some(node) = changelog_scan(plan) else { return Ok(()) };
    let message = format!(
        "Table sink '{}' doesn't support consuming update and delete changes which is produced by \
         node {node}",
        definition.name
    );
    let hint = if definition.schema.primary_key.is_empty() {
        "Declare a primary key on the sink: PRIMARY KEY (…) NOT ENFORCED."
    } else {
        "Use a sink that takes updates and deletes."
    };
    Err(Diagnostic::new(Code::ChangelogSink, message).with_hint(hint))
}

/// Optimizes the plans of all sinks and makes stages of them over shared sources.
fn stages(
    session: &Arc<BatchSession>,
    drafts: Vec<SinkDraft>,
) -> Result<(Vec<crate::plan::PlannedSource>, Vec<PlannedSink>), Diagnostic> {
    let mut sources = JobSources::new(Arc::clone(session));
    let mut optimized = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let follows = draft.schema_change.is_some_and(SchemaChangeBehavior::follows_columns);
        let plan = if follows { draft.plan.clone() } else { session.optimize(&draft.plan)? };
        if !draft.batch {
            sources.register(&plan)?;
            sources.note_key(&plan, &draft.schema.key_indices());
            sources.note_arrivals(&plan, optimized.len());
            sources.note_schema_change(&plan, draft.schema_change)?;
        }
        optimized.push((draft, plan));
    }
    let mut sinks = Vec::with_capacity(optimized.len());
    for (draft, plan) in optimized {
        if draft.schema_change.is_some_and(SchemaChangeBehavior::follows_columns) {
            let scan = follow::followed_scan(&plan)?;
            let input = follow::follow_stage(sources.index_of(scan)?, scan, &draft.schema);
            sinks.push(unconstrained_sink(draft, input));
            continue;
        }
        // A query that is computed once is optimized again when it runs, by then with statistics.
        let rows = if draft.batch { sources.query(&draft.plan) } else { sources.node(&plan)? };
        sinks.push(planned_sink(draft, rows));
    }
    Ok((sources.into_planned(), sinks))
}

fn planned_sink(draft: SinkDraft, rows: StreamNode) -> PlannedSink {
    let constraint = Constraint::new(draft.schema.to_arrow(), draft.policy);
    unconstrained_sink(draft, transform(rows, constraint))
}

fn unconstrained_sink(draft: SinkDraft, input: StreamNode) -> PlannedSink {
    PlannedSink {
        name: draft.name,
        sink: draft.sink,
        equality_key: draft.schema.key_indices(),
        schema: draft.schema,
        input,
    }
}

/// The text of `EXPLAIN`: the plan as written, and the stages or operators that would run.
///
/// # Errors
/// As [`plan_query`] and [`plan_insert`]; no table is created.
pub async fn explain(context: &PlannerContext, explain: &Explain) -> Result<String, Diagnostic> {
    let mut modes = ChangelogModes::Hidden;
    for detail in &explain.details {
        let name = match detail {
            ExplainDetail::ChangelogMode => {
                modes = ChangelogModes::Shown;
                continue;
            }
            ExplainDetail::EstimatedCost => "ESTIMATED_COST",
            ExplainDetail::JsonExecutionPlan => "JSON_EXECUTION_PLAN",
            ExplainDetail::PlanAdvice => "PLAN_ADVICE",
        };
        return Err(Diagnostic::unsupported(&format!("EXPLAIN {name}")));
    }
    match &explain.target {
        ExplainTarget::Inserts(inserts) => explain_inserts(context, inserts, modes).await,
        ExplainTarget::Query(query) => explain_query(context, query, modes).await,
    }
}

async fn explain_inserts(
    context: &PlannerContext,
    inserts: &[Insert],
    modes: ChangelogModes,
) -> Result<String, Diagnostic> {
    let draft = draft_job(context, inserts).await?;
    let syntax: Vec<Stage> = draft
        .plans
        .iter()
        .map(|(name, plan)| {
            let text = format!("LogicalSink(table=[{name}])");
            Stage::new(text, vec![explain::logical_stage(plan)])
        })
        .collect();
    let stream = StreamStages { sources: &draft.job.sources, tables: &draft.definitions, modes };
    let stages: Vec<String> =
        draft.job.sinks.iter().map(|sink| stream.sink(sink).render()).collect();
    let stages = stages.join("\n");
    Ok(explain::sections(&syntax, &stages, &stages))
}

async fn explain_query(
    context: &PlannerContext,
    query: &Query,
    modes: ChangelogModes,
) -> Result<String, Diagnostic> {
    match plan_query(context, query).await? {
        PlannedQuery::Batch(query) => {
            let syntax = vec![explain::logical_stage(query.plan())];
            let optimized = explain::logical_stage(&query.optimized()?).render();
            let physical = query.physical_plan().await?;
            Ok(explain::sections(&syntax, &optimized, &explain::physical_text(physical.as_ref())))
        }
        PlannedQuery::Streaming(query) => {
            let syntax = vec![explain::logical_stage(&query.plan)];
            let mut tables = Vec::new();
            streaming::collect_definitions(&query.plan, &mut tables);
            let mut sources = JobSources::new(Arc::clone(&query.session));
            let plan = query.session.optimize(&query.plan)?;
            sources.register(&plan)?;
            let node = sources.node(&plan)?;
            let sources = sources.into_planned();
            let stream = StreamStages { sources: &sources, tables: &tables, modes };
            let stages = stream.stage(&node).render();
            Ok(explain::sections(&syntax, &stages, &stages))
        }
    }
}

#[cfg(test)]
mod tests;
