//! What keeps a table fast to read and its folder small, however many commits it has seen.
//!
//! Everything here works beside a writer and never on what it needs: files are deleted only after the
//! metadata without them is durable, and new files enter the table only by a committer
//! ([`crate::commit::Committer::commit_rewrite`]).

mod cleanup;
mod merge_deletes;
mod orphans;
mod plan;
mod relocation;
mod rewrite;
mod run;
mod source;
mod throttle;

pub use cleanup::{ExpiredSnapshots, UnusedFiles, find_unused, remove_expired};
pub use merge_deletes::merge_position_deletes;
pub use orphans::{OrphanFile, find_orphans, remove_orphans};
pub use plan::{CompactionOptions, CompactionPlan, Scope, plan_compaction};
pub(crate) use relocation::Relocation;
pub use relocation::Relocations;
pub use rewrite::{RewriteStatistics, Rewritten};
pub use run::{
    ExpireOptions, Expired, compact, expire_snapshots, remove_orphan_files, rewrite_manifests,
};
pub use throttle::Throttle;

use crate::Table;

/// How many data files and delete files the current snapshot has, as its summary tells; none if it does
/// not.
#[must_use]
pub fn file_counts(table: &Table) -> Option<(u64, u64)> {
    let summary = &table.current_snapshot()?.summary().additional_properties;
    let count = |key: &str| summary.get(key)?.parse().ok();
    Some((count("total-data-files")?, count("total-delete-files")?))
}

#[cfg(test)]
mod tests;
