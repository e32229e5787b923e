//! Mending what differs: the rows of the differing keys are taken from the source as it is now.
//!
//! The change is committed on the version of the lake in which the rows were found, and only for keys
//! whose row in the source was the same before and after. Whatever commits in between, the job that
//! writes the table included, makes the repair begin anew.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Schema;
use futures::StreamExt as _;
use shardlake_change::Column;
use shardlake_connector::RowText;
use shardlake_iceberg_table::{Error as LakeError, RowChanges};
use uuid::Uuid;

use super::{Comparison, Difference, Suspects, Verified, canonical, lake};
use crate::batch::BatchQuery;
use crate::catalog::lake_error;
use crate::diagnostic::{Code, Diagnostic};

/// How often the repair begins anew.
const ATTEMPTS: u32 = 20;

/// Whether the differences can be mended at all.
pub(super) fn check(verified: &Verified) -> Result<(), Diagnostic> {
    let refuse = |message: String| {
        Err(Diagnostic::new(Code::SessionState, message)
            .with_hint("Leave REPAIR out to have the keys listed."))
    };
    if !verified.skipped.is_empty() {
        return refuse(format!(
            "The table cannot be repaired: columns {} are not compared, so whole rows cannot be taken \
             from the source.",
            verified.skipped.join(", ")
        ));
    }
    if verified.more {
        return refuse("The table cannot be repaired: too many keys differ.".to_owned());
    }
    if verified.differences.iter().any(|(_, difference)| *difference == Difference::Undecided) {
        return refuse(
            "The table cannot be repaired now: some keys change all the time.".to_owned(),
        );
    }
    Ok(())
}

impl Comparison<'_> {
    /// Gives the lake the source's rows of these keys.
    pub(super) async fn repair(&mut self, keys: Suspects) -> Result<(), Diagnostic> {
        for _ in 0..ATTEMPTS {
            let before = self.source_rows(&keys).await?;
            self.caught_up().await?;
            let id = Uuid::new_v4().simple().to_string();
            let catalog = Arc::clone(&self.side.catalog);
            let begun = RowChanges::begin(catalog, &self.side.name, &id).await;
            let mut changes = begun.map_err(|error| lake_error(&error))?;
            self.delete(&keys, &mut changes).await?;
            let after = self.source_rows(&keys).await?;
            if before != after {
                continue;
            }
            let rows: Vec<&RowText> = after.values().flatten().collect();
            if !rows.is_empty() {
                let batch = self.batch(&rows)?;
                changes.add(batch).map_err(|error| lake_error(&error))?;
            }
            match changes.commit().await {
                Ok(()) => return Ok(()),
                Err(LakeError::Conflict { .. }) => {}
                Err(error) => return Err(lake_error(&error)),
            }
        }
        let message = "The table was not repaired: its rows, or the lake, changed each time.";
        Err(Diagnostic::new(Code::CatalogAccess, message))
    }

    /// Deletes the lake's rows of these keys.
    async fn delete(
        &self,
        keys: &BTreeSet<RowText>,
        changes: &mut RowChanges,
    ) -> Result<(), Diagnostic> {
        let rows = changes.rows(&self.side.columns.schema).map_err(|error| lake_error(&error))?;
        let mut batches = lake::read(Arc::new(rows)).await?;
        while let Some(batch) = batches.next().await {
            let batch = batch.map_err(|error| BatchQuery::error(&error))?;
            let wanted: BooleanArray = (0..batch.num_rows())
                .map(|row| Some(keys.contains(&self.side.key_of(&self.side.texts(&batch, row)))))
                .collect();
            let found = filter_record_batch(&batch, &wanted)
                .map_err(|error| Diagnostic::internal(error.to_string()))?;
            changes.delete(&found).map_err(|error| lake_error(&error))?;
        }
        Ok(())
    }

    /// The rows that these texts stand for.
    fn batch(&self, rows: &[&RowText]) -> Result<RecordBatch, Diagnostic> {
        let columns = &self.side.columns.schema.columns;
        let arrays: Vec<ArrayRef> = columns
            .iter()
            .enumerate()
            .map(|(at, column)| canonical::parse(rows, at, &column.data_type))
            .collect::<Result<_, _>>()?;
        let schema = Schema::new(columns.iter().map(Column::to_arrow).collect::<Vec<_>>());
        RecordBatch::try_new(Arc::new(schema), arrays)
            .map_err(|error| Diagnostic::internal(error.to_string()))
    }
}
