//! Plans as text, in Flink's form: `+- ` in front of what a stage reads.

use datafusion::common::Column;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};
use datafusion::physical_plan::displayable;
use datafusion::sql::unparser::Unparser;
use datafusion::sql::unparser::dialect::CustomDialectBuilder;
use shardlake_connector::{ChangelogMode, ObjectName, TableDefinition};

use super::lineage::table_name;
use crate::plan::{PlannedSink, PlannedSource, StreamNode};

/// One stage and what it reads.
pub(super) struct Stage {
    text: String,
    inputs: Vec<Stage>,
}

impl Stage {
    pub(super) fn new(text: impl Into<String>, inputs: Vec<Self>) -> Self {
        Self { text: text.into(), inputs }
    }

    /// The stage and all that it reads, a line each.
    pub(super) fn render(&self) -> String {
        let mut lines = String::new();
        lines.push_str(&self.text);
        lines.push('\n');
        self.render_inputs("", &mut lines);
        lines
    }

    fn render_inputs(&self, indent: &str, lines: &mut String) {
        for (index, input) in self.inputs.iter().enumerate() {
            let last = index + 1 == self.inputs.len();
            lines.push_str(indent);
            lines.push_str(if last { "+- " } else { ":- " });
            lines.push_str(&input.text);
            lines.push('\n');
            let deeper = format!("{indent}{}", if last { "   " } else { ":  " });
            input.render_inputs(&deeper, lines);
        }
    }
}

/// `[catalog, database, table]`, as Flink names a table in plans.
fn path(name: &ObjectName) -> String {
    format!("[{}, {}, {}]", name.catalog, name.database, name.object)
}

/// `TableSourceScan(table=[[…]], fields=[…])`.
pub(super) fn scan_text(definition: &TableDefinition, columns: Option<&[usize]>) -> String {
    let all = &definition.schema.columns;
    let names: Vec<&str> = match columns {
        None => all.iter().map(|column| column.name.as_str()).collect(),
        Some(columns) => columns
            .iter()
            .filter_map(|column| all.get(*column).map(|column| column.name.as_str()))
            .collect(),
    };
    format!("TableSourceScan(table=[{}], fields=[{}])", path(&definition.name), names.join(", "))
}

/// An expression as SQL, without the names of tables.
pub(super) fn expression_text(expr: &Expr) -> String {
    let bare = expr
        .clone()
        .transform_up(|expr| {
            Ok(match expr {
                Expr::Column(column) => {
                    Transformed::yes(Expr::Column(Column::new_unqualified(column.name)))
                }
                other => Transformed::no(other),
            })
        })
        .data()
        .unwrap_or_else(|_| expr.clone());
    let dialect = CustomDialectBuilder::new().build();
    let text = Unparser::new(&dialect).expr_to_sql(&bare).map(|sql| sql.to_string());
    text.unwrap_or_else(|_| bare.to_string())
}

fn expressions(exprs: &[Expr]) -> String {
    let texts: Vec<String> = exprs
        .iter()
        .map(|expr| match expr {
            Expr::Alias(alias) => format!("{}=[{}]", alias.name, expression_text(&alias.expr)),
            other => {
                let (_, name) = other.qualified_name();
                format!("{name}=[{}]", expression_text(other))
            }
        })
        .collect();
    texts.join(", ")
}

/// The stages of a logical plan, in the names that Flink gives them.
pub(super) fn logical_stage(plan: &LogicalPlan) -> Stage {
    let text = match plan {
        LogicalPlan::SubqueryAlias(alias) => return logical_stage(&alias.input),
        LogicalPlan::TableScan(scan) => match table_name(scan.source.as_ref()) {
            Some(name) => format!("LogicalTableScan(table=[{}])", path(name)),
            None => format!("LogicalTableScan(table=[[{}]])", scan.table_name),
        },
        LogicalPlan::Projection(projection) => {
            format!("LogicalProject({})", expressions(&projection.expr))
        }
        LogicalPlan::Filter(filter) => {
            format!("LogicalFilter(condition=[{}])", expression_text(&filter.predicate))
        }
        LogicalPlan::Union(_) => "LogicalUnion(all=[true])".to_owned(),
        LogicalPlan::Distinct(Distinct::All(input))
            if matches!(input.as_ref(), LogicalPlan::Union(_)) =>
        {
            let inputs = input.inputs().into_iter().map(logical_stage).collect();
            return Stage::new("LogicalUnion(all=[false])", inputs);
        }
        LogicalPlan::Distinct(_) => "LogicalAggregate(distinct=[true])".to_owned(),
        LogicalPlan::Values(values) => format!("LogicalValues(rows=[{}])", values.values.len()),
        LogicalPlan::Aggregate(aggregate) => format!(
            "LogicalAggregate(group=[{}], {})",
            aggregate.group_expr.iter().map(expression_text).collect::<Vec<_>>().join(", "),
            expressions(&aggregate.aggr_expr)
        ),
        LogicalPlan::Join(join) => {
            let on: Vec<String> = join
                .on
                .iter()
                .map(|(left, right)| {
                    format!("{} = {}", expression_text(left), expression_text(right))
                })
                .chain(join.filter.iter().map(expression_text))
                .collect();
            let kind = join.join_type.to_string().to_lowercase();
            format!("LogicalJoin(condition=[{}], joinType=[{kind}])", on.join(" AND "))
        }
        other => format!("Logical{}", other.display()),
    };
    Stage::new(text, plan.inputs().into_iter().map(logical_stage).collect())
}

/// Whether stages show the kinds of change that they send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChangelogModes {
    Hidden,
    Shown,
}

/// Makes text of the stages of a streaming job.
pub(super) struct StreamStages<'a> {
    pub(super) sources: &'a [PlannedSource],
    /// The definitions of the sources that are tables.
    pub(super) tables: &'a [TableDefinition],
    pub(super) modes: ChangelogModes,
}

impl StreamStages<'_> {
    /// A sink and what flows into it.
    pub(super) fn sink(&self, sink: &PlannedSink) -> Stage {
        let names: Vec<&str> =
            sink.schema.columns.iter().map(|column| column.name.as_str()).collect();
        let mode = if self.modes == ChangelogModes::Shown { ", changelogMode=[NONE]" } else { "" };
        let text = format!("Sink(table=[{}], fields=[{}]{mode})", sink.name, names.join(", "));
        Stage::new(text, vec![self.stage(&sink.input)])
    }

    /// A stage and what flows into it.
    pub(super) fn stage(&self, node: &StreamNode) -> Stage {
        let (text, inputs) = match node {
            StreamNode::Source { index } => (self.source(*index), Vec::new()),
            StreamNode::Transform { input, transform } => {
                (transform.describe(), vec![self.stage(input)])
            }
            StreamNode::Union { inputs } => {
                let inputs = inputs.iter().map(|input| self.stage(input)).collect();
                ("Union(all=[true])".to_owned(), inputs)
            }
        };
        if self.modes == ChangelogModes::Hidden {
            return Stage::new(text, inputs);
        }
        let mode = if self.changes(node) { "I,UB,UA,D" } else { "I" };
        let shown = match text.strip_suffix(')') {
            Some(open) => format!("{open}, changelogMode=[{mode}])"),
            None => format!("{text}, changelogMode=[{mode}]"),
        };
        Stage::new(shown, inputs)
    }

    fn source(&self, index: usize) -> String {
        let Some(source) = self.sources.get(index) else { return "Source".to_owned() };
        self.tables.iter().find(|table| table.name == source.name).map_or_else(
            || format!("BoundedQuery({})", source.name.object),
            |table| scan_text(table, Some(&source.columns)),
        )
    }

    fn changes(&self, node: &StreamNode) -> bool {
        match node {
            StreamNode::Source { index } => self
                .sources
                .get(*index)
                .is_some_and(|source| source.source.changelog_mode() == ChangelogMode::All),
            StreamNode::Transform { input, .. } => self.changes(input),
            StreamNode::Union { inputs } => inputs.iter().any(|input| self.changes(input)),
        }
    }
}

/// The three sections of an explanation.
pub(super) fn sections(syntax: &[Stage], optimized: &str, execution: &str) -> String {
    let syntax: Vec<String> = syntax.iter().map(Stage::render).collect();
    format!(
        "== Abstract Syntax Tree ==\n{}\n== Optimized Physical Plan ==\n{optimized}\n\
         == Optimized Execution Plan ==\n{execution}",
        syntax.join("\n")
    )
}

/// The operators of a batch query.
pub(super) fn physical_text(plan: &dyn datafusion::physical_plan::ExecutionPlan) -> String {
    displayable(plan).indent(false).to_string()
}
