//! Types and casts where Flink differs from DataFusion.
//!
//! A whole number without a fraction is an INT if it fits, and a cast of a time or a BOOLEAN to text
//! prints as Flink prints it. Instants become wall-clock times in the session's zone.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Cast, Expr, ExprSchemable as _, LogicalPlan, LogicalPlanBuilder, ScalarUDF, TryCast, lit,
};
use datafusion::optimizer::AnalyzerRule;
use shardlake_change::LogicalType;

use super::lineage::{type_of, types_of};
use crate::functions::{
    Definition, UTC, instant_of_local, local_of_instant, text_of_boolean, text_of_moment,
};

/// Makes INT of whole-number constants that fit.
pub(super) fn narrow_literals(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|plan| {
        // DataFusion reads the constants of these as BIGINT only.
        if matches!(plan, LogicalPlan::Limit(_) | LogicalPlan::Window(_)) {
            return Ok(Transformed::no(plan.recompute_schema()?));
        }
        if let LogicalPlan::Values(values) = plan {
            let rows = values
                .values
                .into_iter()
                .map(|row| row.into_iter().map(|cell| narrow(cell).data()).collect())
                .collect::<Result<Vec<Vec<Expr>>>>()?;
            return Ok(Transformed::yes(LogicalPlanBuilder::values(rows)?.build()?));
        }
        let names = NamePreserver::new(&plan);
        let plan = plan.map_expressions(|expr| {
            let name = names.save(&expr);
            Ok(narrow(expr)?.update_data(|expr| name.restore(expr)))
        })?;
        Ok(Transformed::yes(plan.data.recompute_schema()?))
    })
    .data()
}

fn narrow(expr: Expr) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| match expr {
        Expr::WindowFunction(_) => Ok(Transformed::no(expr)),
        Expr::Literal(ScalarValue::Int64(Some(value)), metadata) => match i32::try_from(value) {
            Ok(small) => {
                Ok(Transformed::yes(Expr::Literal(ScalarValue::Int32(Some(small)), metadata)))
            }
            Err(_) => {
                let value = ScalarValue::Int64(Some(value));
                Ok(Transformed::no(Expr::Literal(value, metadata)))
            }
        },
        // `VALUES` wraps the narrower cells of a column in casts to the widest type.
        Expr::Cast(Cast { expr, field })
            if matches!(expr.as_ref(), Expr::Literal(ScalarValue::Int32(_), _))
                && field.data_type() == &DataType::Int64
                && field.name().is_empty() =>
        {
            Ok(Transformed::yes(*expr))
        }
        other => Ok(Transformed::no(other)),
    })
}

/// Replaces casts, written or implied, whose result Flink defines in another way.
#[derive(Debug)]
pub(crate) struct FlinkCasts {
    local_of_instant: Arc<ScalarUDF>,
    instant_of_local: Arc<ScalarUDF>,
    text_of_boolean: Arc<ScalarUDF>,
    text_of_moment: Arc<ScalarUDF>,
}

impl FlinkCasts {
    pub(crate) fn new() -> Self {
        let udf = |definition: Definition| Arc::new(definition.into_udf());
        Self {
            local_of_instant: udf(local_of_instant()),
            instant_of_local: udf(instant_of_local()),
            text_of_boolean: udf(text_of_boolean()),
            text_of_moment: udf(text_of_moment()),
        }
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        types: &[Option<LogicalType>],
    ) -> Result<Transformed<Expr>> {
        expr.transform_up(|expr| {
            let (inner, target) = match &expr {
                Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field }) => {
                    (expr.as_ref(), field.data_type())
                }
                _ => return Ok(Transformed::no(expr)),
            };
            let from = inner.get_type(schema)?;
            let call = |function: &Arc<ScalarUDF>, arguments: Vec<Expr>| {
                Expr::ScalarFunction(ScalarFunction::new_udf(Arc::clone(function), arguments))
            };
            let rewritten = match (&from, target) {
                (DataType::Boolean, DataType::Utf8) => {
                    call(&self.text_of_boolean, vec![inner.clone()])
                }
                (DataType::Timestamp(..) | DataType::Time64(_), DataType::Utf8) => {
                    let digits = precision(inner, schema, types);
                    call(&self.text_of_moment, vec![inner.clone(), lit(i32::from(digits))])
                }
                (DataType::Timestamp(_, Some(_)), DataType::Timestamp(_, None))
                | (DataType::Timestamp(_, Some(_)), DataType::Date32 | DataType::Time64(_)) => {
                    let local = call(&self.local_of_instant, vec![inner.clone()]);
                    cast_unless(local, &DataType::Timestamp(micros(), None), target)
                }
                (
                    DataType::Timestamp(_, None) | DataType::Date32 | DataType::Utf8,
                    DataType::Timestamp(_, Some(_)),
                ) => {
                    let local =
                        cast_unless(inner.clone(), &from, &DataType::Timestamp(micros(), None));
                    let instant = call(&self.instant_of_local, vec![local]);
                    let ours = DataType::Timestamp(micros(), Some(UTC.into()));
                    cast_unless(instant, &ours, target)
                }
                _ => return Ok(Transformed::no(expr)),
            };
            Ok(Transformed::yes(rewritten))
        })
    }
}

const fn micros() -> arrow::datatypes::TimeUnit {
    arrow::datatypes::TimeUnit::Microsecond
}

fn cast_unless(expr: Expr, from: &DataType, to: &DataType) -> Expr {
    if from == to { expr } else { Expr::Cast(Cast::new(Box::new(expr), to.clone())) }
}

/// How many digits of a second the text of a time has.
fn precision(expr: &Expr, schema: &DFSchema, types: &[Option<LogicalType>]) -> u8 {
    match type_of(expr, schema, types) {
        Some(
            LogicalType::Time(digits)
            | LogicalType::Timestamp(digits)
            | LogicalType::TimestampLtz(digits),
        ) => digits,
        // Flink's functions that make a time make TIMESTAMP(3).
        _ if matches!(expr, Expr::ScalarFunction(_)) => 3,
        _ => match expr.get_type(schema) {
            Ok(DataType::Time64(_)) => 0,
            Ok(DataType::Timestamp(arrow::datatypes::TimeUnit::Nanosecond, _)) => 9,
            _ => 6,
        },
    }
}

impl AnalyzerRule for FlinkCasts {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|plan| {
            let inputs = plan.inputs();
            let schema = merge_schema(&inputs);
            let types: Vec<Option<LogicalType>> =
                inputs.iter().flat_map(|input| types_of(input)).collect();
            let names = NamePreserver::new(&plan);
            let plan = plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let rewritten = self.rewrite(expr, &schema, &types)?;
                Ok(rewritten.update_data(|expr| name.restore(expr)))
            })?;
            plan.map_data(LogicalPlan::recompute_schema)
        })
        .data()
    }

    fn name(&self) -> &str {
        "flink_casts"
    }
}
