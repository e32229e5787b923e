//! Care for tables of the lake on demand; each statement answers with one row, or one for each file.

use std::fmt;
use std::sync::Arc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{ArrayRef, Int64Array};
use futures::channel::oneshot;
use shardlake_change::LogicalType;
use shardlake_connector::Options;
use shardlake_iceberg_table::maintenance::{
    self, CompactionOptions, ExpireOptions, RewriteStatistics, Scope,
};
use shardlake_iceberg_table::{Catalog, TableName};
use tokio::runtime::Builder;

use super::{Layout, ResultTable, Session, StatementOutcome};
use crate::catalog::{Resolved, lake_error};
use crate::diagnostic::{Code, Diagnostic};
use crate::planner;
use crate::statement::{Maintain, MaintainAction, TableReference};

/// How old orphans are at least if nothing is said.
const ORPHAN_AGE_MS: i64 = 3 * 24 * 3_600_000;

impl Session {
    pub(super) async fn maintain(
        &self,
        maintain: Maintain,
    ) -> Result<StatementOutcome, Diagnostic> {
        let Maintain { name, action } = maintain;
        let span = name.span;
        let reference = TableReference { name, options: Options::default(), time_travel: None };
        let table = match self.planner_context().resolve(&reference).await? {
            Resolved::Table(table) if table.connector.as_deref() == Some("iceberg") => table,
            Resolved::Table(_) | Resolved::View(_) => {
                let message = "Only an Iceberg table can be compacted or cleaned up.";
                return Err(Diagnostic::new(Code::SessionState, message).at(span));
            }
        };
        let (catalog, name) = planner::locate(&table).map_err(|error| error.at(span))?;
        let older_than = match &action {
            MaintainAction::ExpireSnapshots { older_than, .. }
            | MaintainAction::RemoveOrphanFiles { older_than, .. } => older_than.as_deref(),
            MaintainAction::Compact { .. } | MaintainAction::RewriteManifests => None,
        };
        let older_than_ms =
            older_than.map(|text| self.configuration.instant_ms(text)).transpose()?;
        let result =
            on_own_thread(move || run_maintenance(catalog, name, action, older_than_ms)).await;
        result.map(StatementOutcome::Table).map_err(|error| error.at(span))
    }
}

/// Runs work that blocks while it writes, on a thread and a runtime of its own.
async fn on_own_thread<F>(
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<ResultTable, Diagnostic>
where
    F: Future<Output = Result<ResultTable, Diagnostic>>,
{
    let failed = |error: &dyn fmt::Display| {
        let message = format!("cannot start the work on the table: {error}");
        Diagnostic::new(Code::Internal, message)
    };
    let (sender, receiver) = oneshot::channel();
    let run = move || {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let result = runtime.map_err(|error| failed(&error)).and_then(|it| it.block_on(work()));
        // Who gave the statement up does not wait for its answer.
        let _gone = sender.send(result);
    };
    thread::Builder::new()
        .name("maintenance".to_owned())
        .spawn(run)
        .map_err(|error| failed(&error))?;
    receiver.await.map_err(|error| failed(&error))?
}

async fn run_maintenance(
    catalog: Arc<dyn Catalog>,
    name: TableName,
    action: MaintainAction,
    older_than_ms: Option<i64>,
) -> Result<ResultTable, Diagnostic> {
    let (catalog, name) = (&catalog, &name);
    match action {
        MaintainAction::Compact { everything } => {
            let scope = if everything { Scope::All } else { Scope::AllUntidy };
            let options = CompactionOptions { scope, ..CompactionOptions::default() };
            let done = maintenance::compact(catalog, name, &options).await;
            compacted(&done.map_err(|error| lake_error(&error))?)
        }
        MaintainAction::ExpireSnapshots { retain_last, .. } => {
            let retain_last = retain_last.and_then(|count| usize::try_from(count).ok());
            let options = ExpireOptions { older_than_ms, retain_last };
            let expired = maintenance::expire_snapshots(catalog, name, options).await;
            let expired = expired.map_err(|error| lake_error(&error))?;
            counts(&[
                ("expired_snapshots_count", expired.snapshot_count),
                ("deleted_data_files_count", expired.files.data_files.len()),
                ("deleted_delete_files_count", expired.files.delete_files.len()),
                ("deleted_manifest_files_count", expired.files.manifests.len()),
                ("deleted_manifest_lists_count", expired.files.manifest_lists.len()),
                ("deleted_statistics_files_count", expired.files.statistics_files.len()),
            ])
        }
        MaintainAction::RemoveOrphanFiles { dry_run, .. } => {
            let limit = older_than_ms.unwrap_or_else(|| now_ms() - ORPHAN_AGE_MS);
            let found = maintenance::remove_orphan_files(catalog, name, limit, dry_run).await;
            let found = found.map_err(|error| lake_error(&error))?;
            let locations = found.into_iter().map(|file| file.location);
            ResultTable::names("orphan_file_location", locations)
        }
        MaintainAction::RewriteManifests => {
            let counted = maintenance::rewrite_manifests(catalog, name).await;
            let (before, after) = counted.map_err(|error| lake_error(&error))?;
            counts(&[("rewritten_manifests_count", before), ("added_manifests_count", after)])
        }
    }
}

fn compacted(done: &RewriteStatistics) -> Result<ResultTable, Diagnostic> {
    let bytes = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    counts(&[
        ("rewritten_data_files_count", done.rewritten_files),
        ("added_data_files_count", done.added_files),
        ("rewritten_bytes_count", bytes(done.rewritten_bytes)),
        ("added_bytes_count", bytes(done.added_bytes)),
        ("removed_rows_count", bytes(done.dropped_rows)),
    ])
}

/// One row of numbers.
fn counts(numbers: &[(&str, usize)]) -> Result<ResultTable, Diagnostic> {
    let columns = numbers.iter().map(|(name, number)| {
        let cell = i64::try_from(*number).unwrap_or(i64::MAX);
        let column: ArrayRef = Arc::new(Int64Array::from(vec![cell]));
        (*name, LogicalType::BigInt, column)
    });
    ResultTable::new(columns.collect(), Layout::Table)
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use arrow::util::display::array_value_to_string;
    use futures::executor::block_on;
    use tempfile::TempDir;

    use crate::catalog::Connectors;
    use crate::session::{Configuration, Session, StatementOutcome};

    fn answer(session: &mut Session, statement: &str) -> String {
        match block_on(session.execute(statement)) {
            Ok(StatementOutcome::Table(table)) => {
                let rows = table.rows;
                let cells = (0..rows.num_rows()).flat_map(|row| {
                    rows.columns().iter().zip(&table.columns).map(move |(cells, column)| {
                        let value = array_value_to_string(cells, row).unwrap();
                        format!("{} = {value}", column.name)
                    })
                });
                cells.collect::<Vec<_>>().join("\n")
            }
            Ok(_) => "OK".to_owned(),
            Err(error) => error.message,
        }
    }

    #[test]
    fn statements_answer_with_what_they_did() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _guard = runtime.enter();
        let dir = TempDir::new().unwrap();
        let mut session = Session::new(Connectors::default(), Configuration::default());
        let catalog = format!(
            "CREATE CATALOG lake WITH ('type' = 'iceberg', 'catalog-type' = 'hadoop', 'warehouse' = \
             'file://{}')",
            dir.path().display()
        );
        assert_eq!(answer(&mut session, &catalog), "OK");
        assert_eq!(answer(&mut session, "CREATE DATABASE lake.db"), "OK");
        let table = "CREATE TABLE lake.db.t (id BIGINT, PRIMARY KEY (id) NOT ENFORCED)";
        assert_eq!(answer(&mut session, table), "OK");
        let mut all = String::new();
        for statement in [
            "ALTER TABLE lake.db.t COMPACT",
            "ALTER TABLE lake.db.t EXPIRE SNAPSHOTS OLDER THAN '2024-01-01 00:00:00' RETAIN LAST 1",
            "ALTER TABLE lake.db.t REMOVE ORPHAN FILES DRY RUN",
            "ALTER TABLE lake.db.t REWRITE MANIFESTS",
            "CALL lake.system.rewrite_data_files(table => 'db.t', rewrite_all => TRUE)",
            "CALL lake.system.nothing('db.t')",
            "ALTER TABLE lake.db.t COMPACT WHERE id = 1",
        ] {
            all.push_str(&format!("> {statement}\n{}\n", answer(&mut session, statement)));
        }
        insta::assert_snapshot!(all, @r"
        > ALTER TABLE lake.db.t COMPACT
        rewritten_data_files_count = 0
        added_data_files_count = 0
        rewritten_bytes_count = 0
        added_bytes_count = 0
        removed_rows_count = 0
        > ALTER TABLE lake.db.t EXPIRE SNAPSHOTS OLDER THAN '2024-01-01 00:00:00' RETAIN LAST 1
        expired_snapshots_count = 0
        deleted_data_files_count = 0
        deleted_delete_files_count = 0
        deleted_manifest_files_count = 0
        deleted_manifest_lists_count = 0
        deleted_statistics_files_count = 0
        > ALTER TABLE lake.db.t REMOVE ORPHAN FILES DRY RUN

        > ALTER TABLE lake.db.t REWRITE MANIFESTS
        rewritten_manifests_count = 0
        added_manifests_count = 0
        > CALL lake.system.rewrite_data_files(table => 'db.t', rewrite_all => TRUE)
        rewritten_data_files_count = 0
        added_data_files_count = 0
        rewritten_bytes_count = 0
        added_bytes_count = 0
        removed_rows_count = 0
        > CALL lake.system.nothing('db.t')
        Procedure 'lake.system.nothing' is not known.
        > ALTER TABLE lake.db.t COMPACT WHERE id = 1
        ALTER TABLE … COMPACT WHERE is not supported yet.
        ");
    }
}
