//! Drops rows that are deleted by equality.
//!
//! It sits on the scan, which reads the key columns and the number of the file's group of deletes
//! beside the columns that are asked for. Filters pass through it, since the order of two filters
//! does not matter; limits do not.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::StreamExt;

use crate::scan::equality_deletes::EqualityDeletes;

/// Where the filter finds what it needs in the batches of the scan.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The key columns, in the order of [`EqualityDeletes::columns`].
    pub(crate) keys: Vec<usize>,
    /// The column with the group of deletes.
    pub(crate) group: usize,
    /// How many columns at the front are passed on.
    pub(crate) output: usize,
}

/// What the filter puts out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// The rows that are left.
    Remaining,
    /// For each row whether it is left.
    Marks,
}

/// The filter.
#[derive(Debug)]
pub(crate) struct EqualityFilterExec {
    input: Arc<dyn ExecutionPlan>,
    deletes: Arc<EqualityDeletes>,
    places: Places,
    output: Output,
    properties: Arc<PlanProperties>,
}

impl EqualityFilterExec {
    pub(crate) fn try_new(
        input: Arc<dyn ExecutionPlan>,
        deletes: Arc<EqualityDeletes>,
        places: Places,
    ) -> Result<Self> {
        Self::with_output(input, deletes, places, Output::Remaining)
    }

    /// A filter that lets no row through but says of each whether it would.
    pub(crate) fn marking(
        input: Arc<dyn ExecutionPlan>,
        deletes: Arc<EqualityDeletes>,
        places: Places,
    ) -> Result<Self> {
        Self::with_output(input, deletes, places, Output::Marks)
    }

    fn with_output(
        input: Arc<dyn ExecutionPlan>,
        deletes: Arc<EqualityDeletes>,
        places: Places,
        output: Output,
    ) -> Result<Self> {
        let schema = match output {
            Output::Remaining => {
                let passed: Vec<usize> = (0..places.output).collect();
                Arc::new(input.schema().project(&passed)?)
            }
            Output::Marks => {
                Arc::new(Schema::new(vec![Field::new("remaining", DataType::Boolean, false)]))
            }
        };
        let partitioning =
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count());
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            partitioning,
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Self { input, deletes, places, output, properties: Arc::new(properties) })
    }
}

impl DisplayAs for EqualityFilterExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> =
            self.deletes.columns.iter().map(|column| column.field.name.as_str()).collect();
        write!(f, "EqualityFilterExec: keys=[{}]", keys.join(", "))
    }
}

impl ExecutionPlan for EqualityFilterExec {
    fn name(&self) -> &'static str {
        "EqualityFilterExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [input] = <[_; 1]>::try_from(children).map_err(|children| {
            DataFusionError::Internal(format!("one input expected, {} given", children.len()))
        })?;
        let (deletes, places) = (Arc::clone(&self.deletes), self.places.clone());
        Ok(Arc::new(Self::with_output(input, deletes, places, self.output)?))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        let schema = self.schema();
        let (deletes, places) = (Arc::clone(&self.deletes), self.places.clone());
        let (kind, output) = (self.output, Arc::clone(&schema));
        let stream = input.map(move |batch| {
            let batch = batch?;
            let kept = kept(&batch, &deletes, &places)?;
            match kind {
                Output::Remaining => remaining(&batch, kept, &places, &output),
                Output::Marks => {
                    let marks: ArrayRef = Arc::new(BooleanArray::from(kept));
                    Ok(RecordBatch::try_new(Arc::clone(&output), vec![marks])?)
                }
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, stream)))
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        parent_filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        FilterDescription::from_children(parent_filters, &self.children())
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        child_pushdown_result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(child_pushdown_result))
    }
}

/// The rows for which `kept` is true, with the columns that are passed on.
fn remaining(
    batch: &RecordBatch,
    kept: Vec<bool>,
    places: &Places,
    output: &SchemaRef,
) -> Result<RecordBatch> {
    let columns = batch.columns().iter().take(places.output).cloned().collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let passed = RecordBatch::try_new_with_options(Arc::clone(output), columns, &options)?;
    if kept.iter().all(|kept| *kept) {
        return Ok(passed);
    }
    Ok(filter_record_batch(&passed, &BooleanArray::from(kept))?)
}

/// For each row of a batch of the scan whether the deletes leave it.
fn kept(batch: &RecordBatch, deletes: &EqualityDeletes, places: &Places) -> Result<Vec<bool>> {
    let rows = batch.num_rows();
    let groups = batch
        .column(places.group)
        .as_primitive_opt::<Int64Type>()
        .ok_or_else(|| DataFusionError::Internal("the group of deletes is no number".to_owned()))?;
    let keys = deletes
        .columns
        .iter()
        .zip(&places.keys)
        .map(|(key, place)| cast(batch.column(*place), &key.data_type))
        .collect::<Result<Vec<ArrayRef>, _>>()?;
    let mut kept = Vec::with_capacity(rows);
    // A batch is of one file, unless something above the scan has joined batches.
    let mut start = 0;
    while start < rows {
        let group = groups.value(start);
        let run = groups.values().iter().skip(start).take_while(|other| **other == group).count();
        match usize::try_from(group) {
            Ok(group) => {
                let keys: Vec<ArrayRef> = keys.iter().map(|key| key.slice(start, run)).collect();
                kept.extend(deletes.remaining(group, &keys, run)?);
            }
            Err(_) => kept.resize(start + run, true),
        }
        start += run;
    }
    Ok(kept)
}
