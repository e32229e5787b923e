//! The lake's side of a comparison.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::LogicalPlanBuilder;
use futures::StreamExt as _;
use shardlake_connector::{BucketSum, ComparedColumns, KeyedHash, RowText};
use shardlake_iceberg_table::{AsOf, Catalog, IcebergTableProvider, Table, TableName};

use super::canonical;
use crate::batch::{BatchQuery, BatchSession};
use crate::catalog::{ResolvedTable, lake_error};
use crate::diagnostic::Diagnostic;
use crate::planner;
use crate::session::Configuration;

/// The table that is compared.
pub(super) struct LakeSide {
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) name: TableName,
    pub(super) table: ResolvedTable,
    pub(super) columns: ComparedColumns,
}

impl LakeSide {
    pub(super) fn new(table: ResolvedTable, columns: ComparedColumns) -> Result<Self, Diagnostic> {
        let (catalog, name) = planner::locate(&table)?;
        Ok(Self { catalog, name, table, columns })
    }

    pub(super) fn key_names(&self) -> Vec<String> {
        self.table.definition.schema.primary_key.clone()
    }

    pub(super) async fn load(&self) -> Result<Table, Diagnostic> {
        self.catalog.load(&self.name).await.map_err(|error| lake_error(&error))
    }

    /// The texts of the compared columns of a row.
    pub(super) fn texts(&self, batch: &RecordBatch, row: usize) -> RowText {
        let columns = self.columns.schema.columns.iter().zip(batch.columns());
        columns.map(|(column, array)| canonical::text(array, &column.data_type, row)).collect()
    }

    pub(super) fn key_of(&self, row: &RowText) -> RowText {
        self.columns.key.iter().map(|at| row.get(*at).cloned().flatten()).collect()
    }

    /// Rows by their keys, those of other keys left out; of each key sorted.
    pub(super) fn by_key(
        &self,
        rows: Vec<RowText>,
        keys: &BTreeSet<RowText>,
    ) -> BTreeMap<RowText, Vec<RowText>> {
        let mut found: BTreeMap<RowText, Vec<RowText>> = BTreeMap::new();
        for row in rows {
            let key = self.key_of(&row);
            if keys.contains(&key) {
                found.entry(key).or_default().push(row);
            }
        }
        found.values_mut().for_each(|rows| rows.sort_unstable());
        found
    }

    /// Hands every row of a version over, as text.
    async fn each_row(
        &self,
        table: &Table,
        mut take: impl FnMut(RowText),
    ) -> Result<(), Diagnostic> {
        let provider = IcebergTableProvider::new(table.clone(), &AsOf::Current)
            .and_then(|provider| provider.with_declared(&self.columns.schema))
            .map_err(|error| lake_error(&error))?;
        let mut batches = read(Arc::new(provider)).await?;
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(|error| BatchQuery::error(&error))?;
            for row in 0..batch.num_rows() {
                take(self.texts(&batch, row));
            }
        }
        Ok(())
    }

    pub(super) async fn sums(&self, table: &Table) -> Result<BTreeMap<u32, BucketSum>, Diagnostic> {
        let mut sums: BTreeMap<u32, BucketSum> = BTreeMap::new();
        let count = self.columns.bucket_count;
        self.each_row(table, |row| {
            let bucket = canonical::bucket(canonical::hash(&self.key_of(&row)), count);
            let sum = BucketSum { row_count: 1, sum: canonical::hash(&row) };
            sums.entry(bucket).or_default().add(sum);
        })
        .await?;
        Ok(sums)
    }

    pub(super) async fn keys(
        &self,
        table: &Table,
        buckets: &[u32],
    ) -> Result<Vec<KeyedHash>, Diagnostic> {
        let wanted: BTreeSet<u32> = buckets.iter().copied().collect();
        let count = self.columns.bucket_count;
        let mut found = Vec::new();
        self.each_row(table, |row| {
            let key = self.key_of(&row);
            if wanted.contains(&canonical::bucket(canonical::hash(&key), count)) {
                found.push(KeyedHash { key, hash: canonical::hash(&row) });
            }
        })
        .await?;
        Ok(found)
    }

    pub(super) async fn rows(
        &self,
        table: &Table,
        keys: &BTreeSet<RowText>,
    ) -> Result<BTreeMap<RowText, Vec<RowText>>, Diagnostic> {
        let mut found = Vec::new();
        self.each_row(table, |row| {
            if keys.contains(&self.key_of(&row)) {
                found.push(row);
            }
        })
        .await?;
        Ok(self.by_key(found, keys))
    }
}

/// The rows of a table.
pub(super) async fn read(
    table: Arc<dyn TableProvider>,
) -> Result<datafusion::execution::SendableRecordBatchStream, Diagnostic> {
    let session: super::SharedSession = Arc::new(BatchSession::new(&Configuration::new([])?)?);
    let plan = LogicalPlanBuilder::scan("lake", provider_as_source(table), None)
        .and_then(LogicalPlanBuilder::build)
        .map_err(|error| planner::diagnostic(&error))?;
    BatchQuery::new(session, plan, Vec::new()).execute().await
}
