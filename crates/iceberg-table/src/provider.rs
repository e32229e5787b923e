//! An Iceberg table as DataFusion sees it.
//!
//! The scan is DataFusion's own Parquet scan, so that pruning by statistics and page, filters during
//! decoding, dynamic filters and parallelism are those of DataFusion. What makes it Iceberg is around
//! it: the plan ([`crate::scan`]) picks the files, footers get the names of the table
//! ([`crate::scan::parquet_schema`]), rows deleted by position are never decoded, and rows deleted by
//! equality are dropped by [`equality_filter`] on top.

mod defaults;
mod equality_filter;
mod files;
pub(crate) mod positioned;
pub(crate) mod scalar;
mod statistics;

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef as ArrowSchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::config::TableParquetOptions;
use datafusion::datasource::TableType;
use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use iceberg::spec::{NestedFieldRef, SchemaRef, SnapshotRef};
use shardlake_change::TableSchema as DeclaredSchema;

use self::equality_filter::EqualityFilterExec;
use crate::scan::equality_deletes::{self, EqualityDeletes};
use crate::scan::parquet_schema::{ReadColumn, ReadSchema};
use crate::scan::plan::{self, ScanPlan};
use crate::scan::position_deletes::{self, DeletedPositions};
use crate::scan::predicate::{FieldIds, Predicate};
use crate::scan::reader::DataFileOpener;
use crate::{AsOf, Error, Table, schema};

/// One state of a table, ready to be queried.
#[derive(Clone, Debug)]
pub struct IcebergTableProvider {
    table: Table,
    snapshot: Option<SnapshotRef>,
    schema: SchemaRef,
    /// The columns of the query's table, in its order.
    columns: Vec<NestedFieldRef>,
    arrow_schema: ArrowSchemaRef,
}

impl IcebergTableProvider {
    /// The table as of a point in its history.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such state, [`Error::Invalid`] if a column has a type that
    /// is not supported.
    pub fn new(table: Table, as_of: &AsOf) -> Result<Self, Error> {
        let snapshot = as_of.snapshot(&table)?;
        let schema = as_of.schema(&table)?;
        let columns = schema.as_struct().fields().to_vec();
        let arrow_schema = without_metadata(schema::to_arrow(&schema)?.as_ref());
        Ok(Self { table, snapshot, schema, columns, arrow_schema })
    }

    /// The same, with the columns as they are declared: their order, and TINYINT and SMALLINT where
    /// Iceberg has an int. Columns of the table that are not declared are left out.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the column that the table does not have, or has otherwise.
    pub fn with_declared(mut self, declared: &DeclaredSchema) -> Result<Self, Error> {
        let current = SchemaRef::clone(self.table.schema());
        let stored = without_metadata(schema::to_arrow(&current)?.as_ref());
        let mut columns = Vec::with_capacity(declared.columns.len());
        for column in &declared.columns {
            let fields = current.as_struct().fields();
            let Some((index, field)) =
                fields.iter().enumerate().find(|(_, field)| field.name == column.name)
            else {
                return Err(Error::Invalid(format!(
                    "column '{}' is declared but table {} has no such column",
                    column.name,
                    self.table.name()
                )));
            };
            let wanted = column.data_type.to_arrow();
            let found = stored.field(index).data_type();
            if !reads_as(found, &wanted) {
                return Err(Error::Invalid(format!(
                    "column '{}' is declared as {} but table {} has it as {}",
                    column.name,
                    column.data_type,
                    self.table.name(),
                    field.field_type
                )));
            }
            columns.push(NestedFieldRef::clone(field));
        }
        self.schema = current;
        self.columns = columns;
        self.arrow_schema = declared.to_arrow();
        Ok(self)
    }

    /// The snapshot that is read; none if the table has none yet.
    #[must_use]
    pub const fn snapshot(&self) -> Option<&SnapshotRef> {
        self.snapshot.as_ref()
    }

    /// The table.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// The same columns of another version and state of the table.
    pub(crate) fn at(&self, table: Table, snapshot: Option<SnapshotRef>) -> Self {
        Self { table, snapshot, ..self.clone() }
    }

    fn field_ids(&self) -> FieldIds {
        let names = self.arrow_schema.fields().iter();
        names.zip(&self.columns).map(|(named, field)| (named.name().clone(), field.id)).collect()
    }

    async fn prepare(&self, filters: &[Expr]) -> Result<Prepared, Error> {
        let predicate = Predicate::from_filters(filters, &self.field_ids());
        let plan = plan::plan(&self.table, self.snapshot.clone(), &self.schema, &predicate).await?;
        let Some(snapshot) = plan.snapshot.clone() else {
            return Ok(Prepared {
                plan,
                deleted: DeletedPositions::new(),
                equality: Arc::default(),
                groups: Vec::new(),
            });
        };
        let deleted = position_deletes::load(&self.table, &snapshot, &plan.files).await?;
        let (equality, groups) =
            equality_deletes::load(&self.table, &snapshot, &plan.files).await?;
        tracing::debug!(
            table = %self.table.name(),
            snapshot_id = snapshot.snapshot_id(),
            file_count = plan.files.len(),
            skipped_file_count = plan.skipped_file_count,
            skipped_manifest_count = plan.skipped_manifest_count,
            "planned scan"
        );
        Ok(Prepared { plan, deleted, equality: Arc::new(equality), groups })
    }

    /// What is read of files: the columns of the query's table, then key columns of equality deletes
    /// that are not among them.
    fn read_columns(&self, equality: &EqualityDeletes) -> (Vec<ReadColumn>, Vec<FieldRef>) {
        let mut columns: Vec<ReadColumn> = self
            .arrow_schema
            .fields()
            .iter()
            .zip(&self.columns)
            .map(|(named, field)| ReadColumn {
                name: named.name().clone(),
                field: NestedFieldRef::clone(field),
            })
            .collect();
        let mut fields: Vec<FieldRef> = self.arrow_schema.fields().iter().cloned().collect();
        for key in &equality.columns {
            if self.columns.iter().any(|field| field.id == key.field.id) {
                continue;
            }
            let name = format!("{HIDDEN}key {}", key.field.id);
            fields.push(Arc::new(Field::new(&name, key.data_type.clone(), true)));
            columns.push(ReadColumn { name, field: NestedFieldRef::clone(&key.field) });
        }
        (columns, fields)
    }
}

/// What a scan needs beside DataFusion's part.
pub(crate) struct Prepared {
    /// The files.
    pub(crate) plan: ScanPlan,
    /// The rows of them that are not read.
    pub(crate) deleted: DeletedPositions,
    /// The equality deletes that apply to them.
    pub(crate) equality: Arc<EqualityDeletes>,
    /// For each file, its group in `equality`.
    pub(crate) groups: Vec<Option<usize>>,
}

/// Names of columns that only the scan itself knows start with this; no table has such a name.
const HIDDEN: &str = "\u{1}";

#[async_trait]
impl TableProvider for IcebergTableProvider {
    fn schema(&self) -> ArrowSchemaRef {
        Arc::clone(&self.arrow_schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let prepared = self.prepare(filters).await.map_err(external)?;
        let all: Vec<usize>;
        let projection = match projection {
            Some(projection) => projection,
            None => {
                all = (0..self.columns.len()).collect();
                &all
            }
        };
        let limit = if filters.is_empty() { limit } else { None };
        self.physical(state, &prepared, projection, limit)
    }
}

impl IcebergTableProvider {
    /// The plan that reads `projection` of the prepared files.
    pub(crate) fn physical(
        &self,
        state: &dyn Session,
        prepared: &Prepared,
        projection: &[usize],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        if prepared.plan.files.is_empty() {
            let schema = self.arrow_schema.project(projection)?;
            return Ok(Arc::new(EmptyExec::new(Arc::new(schema))));
        }
        let target = state.config_options().execution.target_partitions;
        let (scan, filter) = self.scan_files(state, prepared, projection, (limit, target))?;
        match filter {
            None => Ok(scan),
            Some(filter) => {
                let deletes = Arc::clone(&prepared.equality);
                Ok(Arc::new(EqualityFilterExec::try_new(scan, deletes, filter)?))
            }
        }
    }

    /// The plan that says of each row of one prepared file, in their order, whether the equality
    /// deletes leave it.
    pub(crate) fn marks(
        &self,
        state: &dyn Session,
        prepared: &Prepared,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let (scan, filter) = self.scan_files(state, prepared, &[], (None, 1))?;
        let places = filter.ok_or_else(|| {
            DataFusionError::Internal("there are no equality deletes to look for".to_owned())
        })?;
        let deletes = Arc::clone(&prepared.equality);
        Ok(Arc::new(EqualityFilterExec::marking(scan, deletes, places)?))
    }

    /// The scan of the prepared files, in at most `target` partitions, and where in it the filter for
    /// equality deletes finds its keys.
    fn scan_files(
        &self,
        state: &dyn Session,
        prepared: &Prepared,
        projection: &[usize],
        (limit, target): (Option<usize>, usize),
    ) -> DataFusionResult<(Arc<dyn ExecutionPlan>, Option<equality_filter::Places>)> {
        let equality = &prepared.equality;
        let has_equality = !equality.columns.is_empty();
        let (columns, fields) = self.read_columns(equality);
        let file_schema = Arc::new(Schema::new(fields));
        let group_field: Vec<FieldRef> = if has_equality {
            vec![Arc::new(Field::new(format!("{HIDDEN}group"), DataType::Int64, false))]
        } else {
            Vec::new()
        };
        let table_schema = TableSchema::builder(Arc::clone(&file_schema))
            .with_table_partition_cols(group_field)
            .build();
        let scanned = statistics::Scanned {
            columns: &columns,
            file_schema: &file_schema,
            table: &self.table,
        };
        let limit = if has_equality { None } else { limit };
        let files = files::ScanFiles::of(prepared, &scanned, limit);
        let statistics = files.statistics(&table_schema, has_equality);
        let opener = DataFileOpener {
            storage: self.table.storage().clone(),
            schema: Arc::new(
                ReadSchema::try_new(&columns, self.table.metadata().properties())
                    .map_err(external)?,
            ),
            table: self.table.name().clone(),
            snapshot_id: prepared.plan.snapshot.as_ref().map_or(-1, |found| found.snapshot_id()),
        };
        let source = ParquetSource::new(table_schema)
            .with_table_parquet_options(parquet_options(state, &file_schema))
            .with_parquet_file_reader_factory(Arc::new(opener));
        let (indices, filter) = self.read_projection(projection, equality, &file_schema)?;
        let config =
            FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(source))
                .with_file_groups(files.into_groups(target))
                .with_statistics(statistics)
                .with_limit(limit)
                .with_expr_adapter(Some(Arc::new(defaults::adapter(&columns, &file_schema)?)))
                .with_projection_indices(Some(indices))?
                .build();
        Ok((DataSourceExec::from_data_source(config), filter))
    }

    /// Which columns are read for a projection, and where among them the filter finds its keys.
    fn read_projection(
        &self,
        projection: &[usize],
        equality: &EqualityDeletes,
        file_schema: &ArrowSchemaRef,
    ) -> DataFusionResult<(Vec<usize>, Option<equality_filter::Places>)> {
        let mut indices = projection.to_vec();
        if equality.columns.is_empty() {
            return Ok((indices, None));
        }
        let mut hidden = self.columns.len();
        let mut keys = Vec::with_capacity(equality.columns.len());
        for key in &equality.columns {
            let index = match self.columns.iter().position(|field| field.id == key.field.id) {
                Some(index) => index,
                None => {
                    hidden += 1;
                    hidden - 1
                }
            };
            let place = indices.iter().position(|wanted| *wanted == index);
            keys.push(place.unwrap_or_else(|| {
                indices.push(index);
                indices.len() - 1
            }));
        }
        // The group is the only partition column, behind the columns of files.
        indices.push(file_schema.fields().len());
        let group = indices.len() - 1;
        Ok((indices, Some(equality_filter::Places { keys, group, output: projection.len() })))
    }
}

fn parquet_options(state: &dyn Session, schema: &Schema) -> TableParquetOptions {
    let mut options = TableParquetOptions {
        global: state.config_options().execution.parquet.clone(),
        ..TableParquetOptions::default()
    };
    // Filters are evaluated while decoding, so that other columns are only decoded for rows that
    // match. DataFusion decides by the table's types whether it can, but a struct of an old file may
    // turn out otherwise, and then rows would not be filtered at all.
    options.global.pushdown_filters =
        !schema.fields().iter().any(|field| field.data_type().is_nested());
    options.global.reorder_filters = true;
    options.global.coerce_int96 = Some("us".to_owned());
    options
}

/// Whether a column of the table can be read as a declared type.
fn reads_as(stored: &DataType, wanted: &DataType) -> bool {
    stored == wanted
        || matches!((stored, wanted), (DataType::Int32, DataType::Int8 | DataType::Int16))
}

/// Our own error inside one of DataFusion's, or what DataFusion says.
pub(crate) fn from_datafusion(error: DataFusionError) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(found) = cause {
        match found.downcast_ref::<Error>() {
            Some(Error::NotFound(message)) => return Error::NotFound(message.clone()),
            Some(Error::Invalid(message)) => return Error::Invalid(message.clone()),
            Some(Error::Corrupt { path, source }) => {
                return Error::corrupt(path.clone(), source.to_string());
            }
            Some(_) | None => cause = found.source(),
        }
    }
    Error::Storage { action: "read", path: "the table's files".into(), source: error.into() }
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The schema without field ids, as it would be declared.
fn without_metadata(schema: &Schema) -> ArrowSchemaRef {
    fn plain(field: &FieldRef) -> FieldRef {
        let data_type = match field.data_type() {
            DataType::Struct(fields) => DataType::Struct(plain_all(fields)),
            DataType::List(element) => DataType::List(plain(element)),
            DataType::Map(entries, sorted) => DataType::Map(plain(entries), *sorted),
            other => other.clone(),
        };
        Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
    }
    fn plain_all(fields: &Fields) -> Fields {
        fields.iter().map(plain).collect()
    }
    Arc::new(Schema::new(plain_all(schema.fields())))
}

#[cfg(test)]
pub(crate) mod tests;
