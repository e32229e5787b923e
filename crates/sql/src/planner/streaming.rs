//! From a DataFusion plan to the stages of a streaming job.
//!
//! Stages without state are possible: projection, filter, UNION ALL. Everything else is refused by
//! name. A part of a plan that reads no changing source (VALUES, the lake) is computed once, by a
//! batch query that is a bounded source of the job.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DFSchema, JoinType};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{
    Distinct, Expr, Filter, LogicalPlan, Projection, TableScan, Volatility,
};
use datafusion::physical_expr::create_physical_expr;
use shardlake_connector::{
    ChangelogMode, ObjectName, SchemaChangeBehavior, Source, TableDefinition,
};

use super::error::diagnostic;
use super::lineage::{key_origins, origins, source_table};
use super::query_source::QuerySource;
use crate::batch::BatchSession;
use crate::diagnostic::{Code, Diagnostic};
use crate::expression::{Calc, OutputColumn};
use crate::plan::{KeptColumns, PlannedSource, StreamNode};

/// Refuses what cannot run as a stream. `plan` is not optimized, so that it has what the user wrote.
pub(super) fn check_streamable(plan: &LogicalPlan) -> Result<(), Diagnostic> {
    if !reads_source(plan) {
        return Ok(());
    }
    if let Some((what, hint)) = refused_node(plan) {
        return Err(refuse(what, hint));
    }
    for expr in plan.expressions() {
        check_expression(&expr)?;
    }
    plan.inputs().into_iter().try_for_each(check_streamable)
}

fn refuse(what: &str, hint: &str) -> Diagnostic {
    let message = format!("{what} over a table that changes is not supported yet.");
    Diagnostic::new(Code::StreamingQuery, message).with_hint(hint)
}

const LAND_FIRST: &str = "Write the rows into an Iceberg table first and run the query on that \
                          table: a query whose tables are all bounded runs as a batch.";

fn refused_node(plan: &LogicalPlan) -> Option<(&'static str, &'static str)> {
    Some(match plan {
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::TableScan(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::Union(_) => return None,
        LogicalPlan::Join(join) => match join.join_type {
            JoinType::LeftSemi | JoinType::RightSemi => ("A semi join (IN or EXISTS)", LAND_FIRST),
            JoinType::LeftAnti | JoinType::RightAnti => {
                ("An anti join (NOT IN or NOT EXISTS)", LAND_FIRST)
            }
            _ => ("JOIN", LAND_FIRST),
        },
        LogicalPlan::Aggregate(aggregate) if aggregate.aggr_expr.is_empty() => {
            ("DISTINCT or GROUP BY", LAND_FIRST)
        }
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => {
            ("An aggregate function", LAND_FIRST)
        }
        LogicalPlan::Aggregate(_) => ("GROUP BY", LAND_FIRST),
        LogicalPlan::Distinct(Distinct::All(input))
            if matches!(input.as_ref(), LogicalPlan::Union(_)) =>
        {
            ("UNION without ALL", "Use UNION ALL, which keeps duplicates.")
        }
        LogicalPlan::Distinct(_) => ("SELECT DISTINCT", LAND_FIRST),
        LogicalPlan::Sort(_) => ("ORDER BY", LAND_FIRST),
        LogicalPlan::Limit(_) => ("LIMIT", LAND_FIRST),
        LogicalPlan::Window(_) => ("A window function (OVER)", LAND_FIRST),
        LogicalPlan::Subquery(_) => ("A subquery", LAND_FIRST),
        LogicalPlan::Unnest(_) => ("UNNEST", LAND_FIRST),
        LogicalPlan::RecursiveQuery(_) => ("WITH RECURSIVE", LAND_FIRST),
        _ => ("This kind of query", LAND_FIRST),
    })
}

/// Refuses subqueries and functions whose value would be another one after a restart.
fn check_expression(expr: &Expr) -> Result<(), Diagnostic> {
    let mut refusal = None;
    let visited = expr.apply(|expr| {
        refusal = match expr {
            Expr::Exists(_)
            | Expr::InSubquery(_)
            | Expr::ScalarSubquery(_)
            | Expr::SetComparison(_) => Some(refuse("A subquery", LAND_FIRST)),
            Expr::ScalarFunction(call)
                if call.func.signature().volatility != Volatility::Immutable =>
            {
                let name = call.func.name().to_uppercase();
                let message = format!(
                    "The function {name} is not supported over a table that changes: its value \
                     would be another one when the job is restarted, and the deletes of a row \
                     would not match its inserts."
                );
                Some(Diagnostic::new(Code::StreamingQuery, message).with_hint(
                    "Use a column of the source instead; for the time of a change, declare a \
                     metadata column such as op_ts.",
                ))
            }
            _ => None,
        };
        Ok(if refusal.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    match (refusal, visited) {
        (Some(refusal), _) => Err(refusal),
        (None, Ok(_)) => Ok(()),
        (None, Err(error)) => Err(diagnostic(&error)),
    }
}

/// Whether any part of the plan, subqueries included, reads a source of a connector.
pub(super) fn reads_source(plan: &LogicalPlan) -> bool {
    any_scan(plan, |_| true)
}

/// Whether the plan reads a source for which `holds`.
pub(super) fn any_scan(plan: &LogicalPlan, holds: impl Fn(&Arc<dyn Source>) -> bool) -> bool {
    let mut found = false;
    // The closure never fails, so the traversal does not either.
    drop(plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::TableScan(scan) = plan
            && source_table(scan.source.as_ref()).is_some_and(|table| holds(&table.source))
        {
            found = true;
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    }));
    found
}

/// The name of the first unbounded table that the plan reads.
pub(super) fn unbounded_table(plan: &LogicalPlan) -> Option<String> {
    let mut name = None;
    drop(plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::TableScan(scan) = plan
            && let Some(table) = source_table(scan.source.as_ref())
            && !table.source.is_bounded()
        {
            name = Some(table.definition.name.to_string());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    }));
    name
}

/// The scan whose updates and deletes reach the end of the plan, as Flink names it.
pub(super) fn changelog_scan(plan: &LogicalPlan) -> Option<String> {
    let mut name = None;
    drop(plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::TableScan(scan) = plan
            && let Some(table) = source_table(scan.source.as_ref())
            && table.source.changelog_mode() == ChangelogMode::All
        {
            name = Some(super::explain::scan_text(&table.definition, None));
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    }));
    name
}

/// Adds the definitions of the connector tables that the plan reads.
pub(super) fn collect_definitions(plan: &LogicalPlan, definitions: &mut Vec<TableDefinition>) {
    drop(plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::TableScan(scan) = plan
            && let Some(table) = source_table(scan.source.as_ref())
            && !definitions.contains(&table.definition)
        {
            definitions.push(table.definition.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    }));
}

/// A source of the job under construction, with the columns that its queries need so far.
struct SourceUse {
    definition: Option<TableDefinition>,
    name: ObjectName,
    source: Arc<dyn Source>,
    columns: Vec<usize>,
    /// The columns that every equality key holds unchanged.
    key_columns: Option<Vec<usize>>,
    /// The sinks that read it: where each of its columns arrives there, if it arrives unchanged.
    arrivals: Vec<(usize, Option<Vec<Option<usize>>>)>,
    /// How many scans read it.
    scans: usize,
    /// How it follows the columns of its tables, if a sink does.
    schema_change: Option<SchemaChangeBehavior>,
}

/// Gathers the sources of all queries of a job, so that each is read once.
pub(super) struct JobSources {
    session: Arc<BatchSession>,
    uses: Vec<SourceUse>,
    queries: usize,
}

impl JobSources {
    pub(super) const fn new(session: Arc<BatchSession>) -> Self {
        Self { session, uses: Vec::new(), queries: 0 }
    }

    /// First pass over an optimized plan: which sources it reads, and which of their columns.
    pub(super) fn register(&mut self, plan: &LogicalPlan) -> Result<(), Diagnostic> {
        if !reads_source(plan) {
            return Ok(());
        }
        if let LogicalPlan::TableScan(scan) = plan {
            return self.register_scan(scan);
        }
        plan.inputs().into_iter().try_for_each(|input| self.register(input))
    }

    fn register_scan(&mut self, scan: &TableScan) -> Result<(), Diagnostic> {
        let Some(table) = source_table(scan.source.as_ref()) else {
            return Err(Diagnostic::internal("a scan of a stream reads no source"));
        };
        let columns = scanned_columns(scan);
        let known = self.uses.iter_mut().find(|known| known.name == table.definition.name);
        match known {
            Some(known) if known.definition.as_ref() == Some(&table.definition) => {
                known.scans += 1;
                known.columns.extend(columns);
                known.columns.sort_unstable();
                known.columns.dedup();
            }
            Some(known) => {
                let what = format!("Reading table '{}' twice with different options", known.name);
                return Err(Diagnostic::unsupported(&what)
                    .with_hint("Create a second table with a name of its own."));
            }
            None => self.uses.push(SourceUse {
                definition: Some(table.definition.clone()),
                name: table.definition.name.clone(),
                source: Arc::clone(&table.source),
                columns,
                key_columns: None,
                arrivals: Vec::new(),
                scans: 1,
                schema_change: None,
            }),
        }
        Ok(())
    }

    /// Notes how a sink follows the columns of the source that its plan reads. The sources are registered.
    pub(super) fn note_schema_change(
        &mut self,
        plan: &LogicalPlan,
        behavior: Option<SchemaChangeBehavior>,
    ) -> Result<(), Diagnostic> {
        let Some(behavior) = behavior else { return Ok(()) };
        let mut names = Vec::new();
        drop(plan.apply_with_subqueries(|plan| {
            if let LogicalPlan::TableScan(scan) = plan
                && let Some(table) = source_table(scan.source.as_ref())
            {
                names.push(table.definition.name.clone());
            }
            Ok(TreeNodeRecursion::Continue)
        }));
        for known in self.uses.iter_mut().filter(|known| names.contains(&known.name)) {
            known.schema_change = Some(behavior);
        }
        Ok(())
    }

    /// The number of the source that a scan reads for a sink that follows its columns.
    pub(super) fn index_of(&self, scan: &TableScan) -> Result<usize, Diagnostic> {
        let table = source_table(scan.source.as_ref()).map(|table| &table.definition.name);
        let found = self.uses.iter().enumerate().find(|(_, known)| Some(&known.name) == table);
        match found {
            Some((index, known)) if known.scans == 1 => Ok(index),
            Some((_, known)) => {
                let what = format!(
                    "Reading table '{}' into several sinks of which one has \
                                    'schema.evolution' = 'true'",
                    known.name
                );
                Err(Diagnostic::unsupported(&what)
                    .with_hint("Create a second table with a name of its own."))
            }
            None => Err(Diagnostic::internal("a source was not registered")),
        }
    }

    /// Notes which columns of its sources a sink has in its equality key. The sources are registered.
    pub(super) fn note_key(&mut self, plan: &LogicalPlan, key: &[usize]) {
        if key.is_empty() {
            return;
        }
        key_origins(plan, key, &mut |scan, columns| {
            let table = source_table(scan.source.as_ref()).map(|table| &table.definition.name);
            if let Some(known) = self.uses.iter_mut().find(|known| Some(&known.name) == table) {
                match &mut known.key_columns {
                    Some(common) => common.retain(|column| columns.contains(column)),
                    none => *none = Some(columns),
                }
            }
        });
    }

    /// Notes where the columns of its sources arrive in a sink. The sources are registered.
    pub(super) fn note_arrivals(&mut self, plan: &LogicalPlan, sink: usize) {
        let origins = origins(plan);
        key_origins(plan, &[], &mut |scan, _| {
            let table = source_table(scan.source.as_ref()).map(|table| &table.definition);
            let known = self.uses.iter_mut().find(|known| known.definition.as_ref() == table);
            if let (Some(known), Some(table)) = (known, table) {
                let arrival = |column| origins.as_ref()?.iter().position(|at| *at == Some(column));
                let columns = 0..table.schema.columns.len();
                let arrivals = origins.is_some().then(|| columns.map(arrival).collect());
                known.arrivals.push((sink, arrivals));
            }
        });
    }

    /// Second pass over an optimized plan, when all plans are registered: its stages.
    pub(super) fn node(&mut self, plan: &LogicalPlan) -> Result<StreamNode, Diagnostic> {
        if !reads_source(plan) {
            return Ok(self.query(plan));
        }
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::SubqueryAlias(alias) => self.node(&alias.input),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Filter(filter) => {
                let columns = filter.input.schema().columns().into_iter().map(Expr::Column);
                let columns: Vec<Expr> = columns.collect();
                self.calc(Some(filter), &columns, &filter.input, plan.schema())
            }
            LogicalPlan::Union(union) => {
                let inputs =
                    union.inputs.iter().map(|input| self.node(input)).collect::<Result<_, _>>()?;
                Ok(StreamNode::Union { inputs })
            }
            other => match refused_node(other) {
                Some((what, hint)) => Err(refuse(what, hint)),
                None => Err(Diagnostic::internal("a plan node has no streaming stage")),
            },
        }
    }

    /// The stage for a part that is computed once.
    pub(super) fn query(&mut self, plan: &LogicalPlan) -> StreamNode {
        let name = ObjectName {
            catalog: "default_catalog".to_owned(),
            database: "default_database".to_owned(),
            object: format!("query${}", self.queries),
        };
        self.queries += 1;
        let source = QuerySource::new(Arc::clone(&self.session), plan.clone());
        let columns = (0..plan.schema().fields().len()).collect();
        self.uses.push(SourceUse {
            definition: None,
            name,
            source: Arc::new(source),
            columns,
            key_columns: None,
            arrivals: Vec::new(),
            scans: 1,
            schema_change: None,
        });
        StreamNode::Source { index: self.uses.len() - 1 }
    }

    fn scan(&self, scan: &TableScan) -> Result<StreamNode, Diagnostic> {
        let found = self.uses.iter().enumerate().find(|(_, known)| {
            source_table(scan.source.as_ref())
                .is_some_and(|table| known.definition.as_ref() == Some(&table.definition))
        });
        let Some((index, known)) = found else {
            return Err(Diagnostic::internal("a source was not registered"));
        };
        let source = StreamNode::Source { index };
        let wanted = scan.projection.clone().unwrap_or_else(|| {
            let width = known.definition.as_ref().map_or(0, |table| table.schema.columns.len());
            (0..width).collect()
        });
        if wanted == known.columns {
            return Ok(source);
        }
        let Some(definition) = &known.definition else { return Ok(source) };
        let names: Vec<String> = wanted
            .iter()
            .filter_map(|column| Some(definition.schema.columns.get(*column)?.name.clone()))
            .collect();
        let delivered = definition.schema.to_arrow().project(&known.columns);
        let delivered = delivered.map_err(|error| diagnostic(&error.into()))?;
        let delivered = DFSchema::try_from(delivered).map_err(|error| diagnostic(&error))?;
        let columns = names
            .iter()
            .map(|name| {
                let column = datafusion::common::Column::new_unqualified(name);
                self.output_column(&Expr::Column(column), &delivered)
            })
            .collect::<Result<Vec<_>, _>>()?;
        let schema = nullable(&scan.projected_schema);
        Ok(transform(source, Calc::new(None, columns, schema)))
    }

    fn projection(&mut self, projection: &Projection) -> Result<StreamNode, Diagnostic> {
        let schema = &projection.schema;
        match projection.input.as_ref() {
            LogicalPlan::Filter(filter) if reads_source(&filter.input) => {
                self.calc(Some(filter), &projection.expr, &filter.input, schema)
            }
            input => self.calc(None, &projection.expr, input, schema),
        }
    }

    fn calc(
        &mut self,
        filter: Option<&Filter>,
        columns: &[Expr],
        input: &LogicalPlan,
        output: &DFSchema,
    ) -> Result<StreamNode, Diagnostic> {
        let schema = input.schema();
        if filter.is_none() && is_identity(columns, schema) {
            return self.node(input);
        }
        let predicate =
            filter.map(|filter| self.output_column(&filter.predicate, schema)).transpose()?;
        let columns = columns
            .iter()
            .map(|expr| self.output_column(expr, schema))
            .collect::<Result<_, _>>()?;
        let calc = Calc::new(predicate, columns, nullable(output));
        Ok(transform(self.node(input)?, calc))
    }

    fn output_column(&self, expr: &Expr, input: &DFSchema) -> Result<OutputColumn, Diagnostic> {
        let unnamed = expr.clone().unalias();
        let text = super::explain::expression_text(&unnamed);
        let mut properties = ExecutionProps::new();
        properties.config_options = Some(Arc::clone(self.session.state().config_options()));
        let context = PhysicalPlanningContext::default();
        let expression = create_physical_expr(&unnamed, input, &properties, &context)
            .map_err(|error| diagnostic(&error))?;
        Ok(OutputColumn { expression, text })
    }

    /// The sources, when all stages have been made.
    pub(super) fn into_planned(self) -> Vec<PlannedSource> {
        self.uses
            .into_iter()
            .map(|known| PlannedSource {
                kept: known.kept(),
                name: known.name,
                source: known.source,
                columns: known.columns,
                key_columns: known.key_columns,
                schema_change: known.schema_change,
            })
            .collect()
    }
}

impl SourceUse {
    /// Where its columns are in the only sink that reads it, if all of them arrive there unchanged.
    fn kept(&self) -> Option<KeptColumns> {
        let [(sink, Some(arrivals))] = self.arrivals.as_slice() else { return None };
        let columns: Option<Vec<usize>> =
            self.columns.iter().map(|column| arrivals.get(*column).copied().flatten()).collect();
        let schema = self.definition.as_ref()?.schema.to_arrow().project(&self.columns).ok()?;
        Some(KeptColumns { sink: *sink, columns: columns?, schema: Arc::new(schema) })
    }
}

/// Whether the columns are those of the input, in its order.
fn is_identity(columns: &[Expr], input: &DFSchema) -> bool {
    columns.len() == input.fields().len()
        && columns.iter().enumerate().all(|(index, expr)| match expr.clone().unalias() {
            Expr::Column(column) => input.maybe_index_of_column(&column) == Some(index),
            _ => false,
        })
}

/// The columns of the definition that a scan reads, ascending and at least one: a batch without
/// columns would not know how many rows it has.
fn scanned_columns(scan: &TableScan) -> Vec<usize> {
    let mut columns = scan
        .projection
        .clone()
        .unwrap_or_else(|| (0..scan.source.schema().fields().len()).collect());
    if columns.is_empty() {
        columns.push(0);
    }
    columns.sort_unstable();
    columns.dedup();
    columns
}

pub(super) fn transform(
    input: StreamNode,
    transform: impl crate::plan::Transform + 'static,
) -> StreamNode {
    StreamNode::Transform { input: Box::new(input), transform: Arc::new(transform) }
}

/// The schema of a stage's batches. A column of a shard may be missing and read as NULL whatever the
/// table declares, so NOT NULL is only claimed, and checked, in front of a sink.
fn nullable(schema: &DFSchema) -> SchemaRef {
    let fields: Vec<_> = schema
        .as_arrow()
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_nullable(true))
        .collect();
    Arc::new(arrow::datatypes::Schema::new(fields))
}
