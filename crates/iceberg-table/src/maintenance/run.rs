//! Maintenance on demand: each function does one thing to a table, beside the jobs that write it.
//!
//! They commit like every other writer, by compare-and-swap, and try again when others were faster. A
//! job of ours that writes the table meanwhile follows what they did without a restart.

use std::sync::Arc;

use super::cleanup::{UnusedFiles, remove_expired};
use super::merge_deletes::merge_position_deletes;
use super::orphans::{OrphanFile, find_orphans, remove_orphans};
use super::plan::{CompactionOptions, plan_compaction};
use super::rewrite::{RewriteStatistics, Rewritten};
use super::throttle::Throttle;
use crate::commit::{Committer, Retention, RowDelta};
use crate::{Catalog, Error, TableName};

/// Which snapshots a statement lets expire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExpireOptions {
    /// Snapshots from before this time expire, in milliseconds since 1970; by default those that the
    /// table's properties give up.
    pub older_than_ms: Option<i64>,
    /// How many snapshots each branch keeps at least.
    pub retain_last: Option<usize>,
}

/// What came of an expiry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// How many snapshots expired.
    pub snapshot_count: usize,
    /// The files that were deleted.
    pub files: UnusedFiles,
}

/// Rewrites the data files that `options` choose, then merges position delete files. To be called on a tokio
/// runtime; writing blocks.
///
/// # Errors
/// What reading, writing and committing reports. What was committed before stays.
pub async fn compact(
    catalog: &Arc<dyn Catalog>,
    name: &TableName,
    options: &CompactionOptions,
) -> Result<RewriteStatistics, Error> {
    let mut committer = Committer::beside(Arc::clone(catalog), name).await?;
    let mut statistics = RewriteStatistics::default();
    let mut throttle = Throttle::none();
    if let Some(mut plan) = plan_compaction(committer.table(), options).await? {
        while let Some(rewritten) = plan.rewrite_next(&mut throttle).await? {
            commit(&mut committer, rewritten, &mut statistics).await?;
        }
    }
    let newest = catalog.load(name).await?;
    if let Some(merged) = merge_position_deletes(&newest, 2).await? {
        let mut ignored = RewriteStatistics::default();
        commit(&mut committer, merged, &mut ignored).await?;
    }
    let expired = committer.take_expired();
    remove_expired(committer.table(), &expired).await?;
    Ok(statistics)
}

async fn commit(
    committer: &mut Committer,
    rewritten: Rewritten,
    statistics: &mut RewriteStatistics,
) -> Result<(), Error> {
    match committer.commit_rewrite(&rewritten).await {
        Ok(_) => {
            statistics.add(&rewritten.statistics);
            Ok(())
        }
        // Another compaction was faster, so there is nothing left to do for these files.
        Err(Error::FilesRemoved { table, .. }) => {
            tracing::info!(%table, "another writer rewrote the files first");
            rewritten.discard().await;
            Ok(())
        }
        Err(error) => {
            rewritten.discard_if_unused(&error).await;
            Err(error)
        }
    }
}

/// Lets snapshots expire, and deletes the files that only they referred to.
///
/// # Errors
/// [`Error::Invalid`] if the table's files may not be deleted (`gc.enabled`), or all snapshots would go;
/// what reading and committing reports.
pub async fn expire_snapshots(
    catalog: &Arc<dyn Catalog>,
    name: &TableName,
    options: ExpireOptions,
) -> Result<Expired, Error> {
    if options.retain_last == Some(0) {
        return Err(Error::Invalid("at least one snapshot must be retained".to_owned()));
    }
    let mut committer = Committer::beside(Arc::clone(catalog), name).await?;
    let now_ms = crate::commit::now_ms();
    let properties = committer.table().metadata().properties();
    let Some(mut retention) = Retention::of_properties(properties, now_ms)? else {
        return Err(Error::Invalid(format!(
            "table {name} has 'gc.enabled' = 'false': its snapshots must not expire"
        )));
    };
    retention.overlay(options.older_than_ms, options.retain_last);
    committer.expire(&retention).await?;
    let expired = committer.take_expired();
    let files = remove_expired(committer.table(), &expired).await?;
    Ok(Expired { snapshot_count: expired.len(), files })
}

/// Finds the orphans of a table that were written before `older_than_ms`, and removes them unless it
/// `is_dry_run`.
///
/// # Errors
/// As of [`find_orphans`] and [`remove_orphans`].
pub async fn remove_orphan_files(
    catalog: &Arc<dyn Catalog>,
    name: &TableName,
    older_than_ms: i64,
    is_dry_run: bool,
) -> Result<Vec<OrphanFile>, Error> {
    let orphans = find_orphans(catalog.as_ref(), name, older_than_ms).await?;
    if !is_dry_run {
        let table = catalog.load(name).await?;
        remove_orphans(&table, &orphans).await?;
    }
    Ok(orphans)
}

/// Merges all manifests that are not of full size. Returns how many there were and how many there are.
///
/// # Errors
/// What reading and committing reports.
pub async fn rewrite_manifests(
    catalog: &Arc<dyn Catalog>,
    name: &TableName,
) -> Result<(usize, usize), Error> {
    let mut committer = Committer::beside(Arc::clone(catalog), name).await?;
    if committer.table().current_snapshot().is_none() {
        return Ok((0, 0));
    }
    let before = committer.manifest_count();
    committer.merge_all_manifests();
    committer.commit(RowDelta { is_rewrite: true, ..RowDelta::default() }).await?;
    Ok((before, committer.manifest_count()))
}
