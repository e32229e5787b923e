//! What DataFusion's SQL planner asks for: the tables of one query, and Flink's functions and types.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::{Result, TableReference, plan_err};
use datafusion::config::ConfigOptions;
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionStateDefaults;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, PlannerResult, TypePlanner};
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF,
};

use super::types::FlinkTypes;
use crate::functions::FunctionRegistry;

/// The surroundings of one query. All its tables have been resolved before.
pub(super) struct QueryScope {
    tables: BTreeMap<String, Arc<dyn TableSource>>,
    functions: Arc<FunctionRegistry>,
    expression_planners: Vec<Arc<dyn ExprPlanner>>,
    options: ConfigOptions,
}

impl QueryScope {
    /// The surroundings in which the given tables exist under the names that the query uses.
    pub(super) fn new(
        functions: Arc<FunctionRegistry>,
        options: ConfigOptions,
        tables: BTreeMap<String, Arc<dyn TableSource>>,
    ) -> Self {
        let ours: Arc<dyn ExprPlanner> =
            Arc::new(FlinkSyntax { functions: Arc::clone(&functions) });
        let expression_planners =
            std::iter::once(ours).chain(SessionStateDefaults::default_expr_planners()).collect();
        Self { tables, functions, expression_planners, options }
    }
}

impl ContextProvider for QueryScope {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        match self.tables.get(&name.to_string()) {
            Some(table) => Ok(Arc::clone(table)),
            None => plan_err!("Object '{name}' not found"),
        }
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.expression_planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(FlinkTypes))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.functions.scalars.get(&name.to_lowercase()).cloned()
    }

    fn get_higher_order_meta(&self, _: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.functions.aggregates.get(&name.to_lowercase()).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.functions.windows.get(&name.to_lowercase()).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        &self.options
    }

    fn udf_names(&self) -> Vec<String> {
        self.functions.scalars.keys().filter(|name| !name.starts_with("__")).cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.functions.aggregates.keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.functions.windows.keys().cloned().collect()
    }
}

/// Plans the syntax that stands for a function with Flink's function.
struct FlinkSyntax {
    functions: Arc<FunctionRegistry>,
}

impl std::fmt::Debug for FlinkSyntax {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FlinkSyntax")
    }
}

impl FlinkSyntax {
    fn call(&self, name: &str, arguments: Vec<Expr>) -> PlannerResult<Vec<Expr>> {
        match self.functions.scalars.get(name) {
            Some(function) => PlannerResult::Planned(Expr::ScalarFunction(
                ScalarFunction::new_udf(Arc::clone(function), arguments),
            )),
            None => PlannerResult::Original(arguments),
        }
    }
}

impl ExprPlanner for FlinkSyntax {
    fn plan_substring(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(self.call("substring", args))
    }

    fn plan_extract(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(self.call("extract", args))
    }

    /// The arguments are the text and what is looked for; `LOCATE` has them the other way round.
    fn plan_position(&self, mut args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        args.reverse();
        Ok(self.call("locate", args))
    }
}
