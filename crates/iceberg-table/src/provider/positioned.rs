//! A table whose rows say where they are: two more columns, `_file` and `_pos`.
//!
//! Rows are counted as each data file is read from its start to its end, so files are read whole, one
//! after the other in each partition; only files of which no row can match are left out. Rows that are
//! deleted are counted and then dropped.

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, StringArray,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::TableType;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, execute_stream,
};
use futures::{StreamExt, TryStreamExt, stream};
use iceberg::spec::SnapshotRef;
use roaring::RoaringTreemap;

use super::{IcebergTableProvider, Prepared, external};
use crate::scan::equality_deletes;
use crate::scan::plan::{PlannedFile, ScanPlan};
use crate::scan::position_deletes::DeletedPositions;
use crate::{Error, Table};

/// The column of the data file, as Iceberg names it.
pub const FILE_COLUMN: &str = "_file";
/// The column of the row's place in the file, from 0.
pub const POSITION_COLUMN: &str = "_pos";

/// One state of a table, with the places of its rows.
#[derive(Debug)]
pub struct PositionedTable {
    inner: IcebergTableProvider,
    schema: SchemaRef,
}

impl PositionedTable {
    /// The same state and columns, with `_file` and `_pos` behind them.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the table has a column of such a name.
    pub fn new(inner: IcebergTableProvider) -> std::result::Result<Self, Error> {
        let mut fields: Vec<FieldRef> = inner.schema().fields().iter().cloned().collect();
        for name in [FILE_COLUMN, POSITION_COLUMN] {
            if fields.iter().any(|field| field.name() == name) {
                return Err(Error::Invalid(format!(
                    "table {} has a column '{name}', a name that is reserved for the places of rows; \
                     rename it",
                    inner.table().name()
                )));
            }
        }
        fields.push(Arc::new(Field::new(FILE_COLUMN, DataType::Utf8, false)));
        fields.push(Arc::new(Field::new(POSITION_COLUMN, DataType::Int64, false)));
        Ok(Self { inner, schema: Arc::new(Schema::new(fields)) })
    }

    /// The rows of `planned` that are deleted, by position or by equality.
    async fn deleted(
        &self,
        state: &dyn Session,
        snapshot: &SnapshotRef,
        planned: &PlannedFile,
        by_position: Option<&RoaringTreemap>,
    ) -> std::result::Result<RoaringTreemap, Error> {
        let mut deleted = by_position.cloned().unwrap_or_default();
        if !planned.equality_deletes.is_empty() {
            deleted |= equality_positions(&self.inner, state, snapshot, planned).await?;
        }
        Ok(deleted)
    }
}

#[async_trait]
impl TableProvider for PositionedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let prepared = self.inner.prepare(filters).await.map_err(external)?;
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let projection = projection.unwrap_or(&all);
        let width = self.inner.columns.len();
        let stored: Vec<usize> =
            projection.iter().copied().filter(|column| *column < width).collect();
        let target = state.config_options().execution.target_partitions.max(1);
        let mut partitions: Vec<Vec<FileScan>> = Vec::new();
        partitions.resize_with(target, Vec::new);
        for (index, planned) in prepared.plan.files.iter().enumerate() {
            let Some(snapshot) = &prepared.plan.snapshot else { break };
            let by_position = prepared.deleted.get(planned.listed.path());
            let deleted = self.deleted(state, snapshot, planned, by_position).await;
            let deleted = deleted.map_err(external)?;
            let one = one_file(snapshot, PlannedFile::untouched(planned.listed.clone()));
            let (plan, _) = self.inner.scan_files(state, &one, &stored, (None, 1))?;
            let path = Arc::from(planned.listed.path());
            if let Some(partition) = partitions.get_mut(index % target) {
                partition.push(FileScan { path, plan, deleted: Arc::new(deleted) });
            }
        }
        let schema = Arc::new(self.schema.project(projection)?);
        let width = (width, projection.clone());
        Ok(Arc::new(PositionScanExec::new(schema, width, partitions)))
    }
}

/// A scan of one file as it was written.
fn one_file(snapshot: &SnapshotRef, file: PlannedFile) -> Prepared {
    Prepared {
        plan: ScanPlan {
            snapshot: Some(SnapshotRef::clone(snapshot)),
            files: vec![file],
            skipped_file_count: 0,
            skipped_manifest_count: 0,
        },
        deleted: DeletedPositions::new(),
        equality: Arc::default(),
        groups: vec![None],
    }
}

/// The positions of the rows of a file whose keys its equality deletes name.
///
/// # Errors
/// What reading the files reports.
pub(crate) async fn equality_positions(
    provider: &IcebergTableProvider,
    state: &dyn Session,
    snapshot: &SnapshotRef,
    planned: &PlannedFile,
) -> std::result::Result<RoaringTreemap, Error> {
    let mut file = PlannedFile::untouched(planned.listed.clone());
    file.equality_deletes.clone_from(&planned.equality_deletes);
    let table: &Table = provider.table();
    let (equality, groups) =
        equality_deletes::load(table, snapshot, std::slice::from_ref(&file)).await?;
    let prepared = Prepared { equality: Arc::new(equality), groups, ..one_file(snapshot, file) };
    let plan = provider.marks(state, &prepared).map_err(super::from_datafusion)?;
    let mut marks = execute_stream(plan, state.task_ctx()).map_err(super::from_datafusion)?;
    let mut positions = RoaringTreemap::new();
    let mut position = 0;
    while let Some(batch) = marks.next().await {
        let batch = batch.map_err(super::from_datafusion)?;
        let column = batch
            .columns()
            .first()
            .and_then(|column| column.as_any().downcast_ref::<BooleanArray>());
        let column = column.ok_or_else(|| Error::bug("marks are no booleans"))?;
        for is_left in column.values() {
            if !is_left {
                positions.insert(position);
            }
            position += 1;
        }
    }
    Ok(positions)
}

/// A data file that is read from its start to its end.
#[derive(Clone)]
struct FileScan {
    path: Arc<str>,
    plan: Arc<dyn ExecutionPlan>,
    deleted: Arc<RoaringTreemap>,
}

/// Reads files and adds the places of their rows.
struct PositionScanExec {
    /// How many columns the table has, and which of these and the two behind them are wanted.
    columns: Arc<(usize, Vec<usize>)>,
    partitions: Vec<Vec<FileScan>>,
    properties: Arc<PlanProperties>,
}

impl PositionScanExec {
    fn new(
        schema: SchemaRef,
        columns: (usize, Vec<usize>),
        partitions: Vec<Vec<FileScan>>,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { columns: Arc::new(columns), partitions, properties: Arc::new(properties) }
    }
}

impl fmt::Debug for PositionScanExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PositionScanExec")
    }
}

impl DisplayAs for PositionScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: usize = self.partitions.iter().map(Vec::len).sum();
        write!(f, "PositionScanExec: files={files}")
    }
}

impl ExecutionPlan for PositionScanExec {
    fn name(&self) -> &'static str {
        "PositionScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let files = self.partitions.get(partition).cloned().unwrap_or_default();
        let (schema, columns) = (self.schema(), Arc::clone(&self.columns));
        let output = Arc::clone(&schema);
        let rows = stream::iter(files).map(move |file| {
            let (output, columns) = (Arc::clone(&output), Arc::clone(&columns));
            let batches = file.plan.execute(0, Arc::clone(&context))?;
            let mut next = 0_u64;
            Ok::<_, DataFusionError>(batches.map(move |batch| {
                let batch = batch?;
                let first = next;
                next += batch.num_rows() as u64;
                placed(&batch, first, &file, &columns, &output)
            }))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows.try_flatten())))
    }
}

/// The rows of a batch that are not deleted, with their places. The first is row `first` of its file.
fn placed(
    batch: &RecordBatch,
    first: u64,
    file: &FileScan,
    (width, wanted): &(usize, Vec<usize>),
    output: &SchemaRef,
) -> Result<RecordBatch> {
    let rows = batch.num_rows();
    let positions = first..first + rows as u64;
    let mut stored = batch.columns().iter();
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(wanted.len());
    for column in wanted {
        columns.push(match column.checked_sub(*width) {
            None => stored.next().cloned().ok_or_else(|| {
                DataFusionError::Internal("a column of the file is missing".to_owned())
            })?,
            Some(0) => {
                let path = file.path.as_ref();
                Arc::new(StringArray::from_iter_values(std::iter::repeat_n(path, rows)))
            }
            Some(_) => Arc::new(Int64Array::from_iter_values(
                positions.clone().map(|position| i64::try_from(position).unwrap_or(i64::MAX)),
            )),
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let all = RecordBatch::try_new_with_options(Arc::clone(output), columns, &options)?;
    if file.deleted.is_empty() {
        return Ok(all);
    }
    let left: BooleanArray =
        positions.map(|position| Some(!file.deleted.contains(position))).collect();
    Ok(filter_record_batch(&all, &left)?)
}
