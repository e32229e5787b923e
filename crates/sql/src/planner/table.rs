//! The tables of a query as DataFusion sees them.
//!
//! A table of a connector is a [`SourceTable`]: streaming plans take the source out of it, batch
//! queries read it to its end. A table that DataFusion reads by itself (the lake) is a
//! [`TypedTable`], which adds Flink's types. Views and computed columns are plans behind a name.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{ScanArgs, ScanResult, Session, TableProvider};
use datafusion::common::{Result, Statistics};
use datafusion::logical_expr::{
    Expr, LogicalPlan, TableProviderFilterPushDown, TableSource, TableType,
};
use datafusion::physical_plan::ExecutionPlan;
use shardlake_change::LogicalType;
use shardlake_connector::{ObjectName, Source, TableDefinition};

use crate::batch::scan_source;

/// A table that a connector reads. Its columns are those of the definition's schema.
pub(crate) struct SourceTable {
    pub(crate) definition: TableDefinition,
    pub(crate) source: Arc<dyn Source>,
    schema: SchemaRef,
}

impl SourceTable {
    pub(crate) fn new(definition: TableDefinition, source: Arc<dyn Source>) -> Self {
        let schema = definition.schema.to_arrow();
        Self { definition, source, schema }
    }
}

impl std::fmt::Debug for SourceTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SourceTable({})", self.definition.name)
    }
}

#[async_trait]
impl TableProvider for SourceTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let columns = projection.cloned().unwrap_or(all);
        scan_source(&self.definition, &self.source, columns, limit)
    }
}

/// A table that DataFusion reads by itself, with Flink's types of its columns.
#[derive(Debug)]
pub(crate) struct TypedTable {
    pub(crate) name: ObjectName,
    inner: Arc<dyn TableProvider>,
    pub(crate) types: Vec<LogicalType>,
}

impl TypedTable {
    pub(crate) fn new(
        name: ObjectName,
        inner: Arc<dyn TableProvider>,
        types: Vec<LogicalType>,
    ) -> Self {
        Self { name, inner, types }
    }
}

#[async_trait]
impl TableProvider for TypedTable {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn table_type(&self) -> TableType {
        self.inner.table_type()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.inner.scan(state, projection, filters, limit).await
    }

    async fn scan_with_args<'a>(
        &self,
        state: &dyn Session,
        args: ScanArgs<'a>,
    ) -> Result<ScanResult> {
        self.inner.scan_with_args(state, args).await
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        self.inner.supports_filters_pushdown(filters)
    }

    fn statistics(&self) -> Option<Statistics> {
        self.inner.statistics()
    }
}

/// A plan behind a name: a view, or a table with computed columns.
pub(super) struct PlanTable {
    plan: LogicalPlan,
    schema: SchemaRef,
}

impl PlanTable {
    pub(super) fn new(plan: LogicalPlan) -> Self {
        let schema: &Schema = plan.schema().as_arrow();
        let schema = Arc::new(schema.clone());
        Self { plan, schema }
    }
}

impl TableSource for PlanTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }
}
