//! Which snapshots expire.
//!
//! The rules are those of Iceberg: a branch keeps its newest snapshots and those that are young enough, a
//! tag keeps its snapshot, and the head of a reference never expires. Besides, a branch keeps a bounded number
//! of snapshots unless the table says how old they may get: every commit rewrites the list of all
//! snapshots, so at one commit a second five days of them could not be kept.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use iceberg::spec::{MAIN_BRANCH, SnapshotRef, TableMetadata, TableMetadataBuilder};

use crate::time_travel::{Reference, references};
use crate::{Error, Table, properties};

/// Snapshots and references that leave the table's metadata.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expiry {
    /// Oldest first.
    pub(crate) snapshots: Vec<SnapshotRef>,
    /// Branches and tags that are too old.
    pub(crate) references: Vec<String>,
    /// Statistics files of the snapshots.
    pub(crate) statistics: Vec<String>,
}

/// Which snapshots are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retention {
    /// Older snapshots expire. Milliseconds since 1970.
    pub(crate) cutoff_ms: i64,
    /// How many snapshots a branch keeps at least.
    pub(crate) min_count: usize,
    /// How many snapshots a branch keeps at most.
    pub(crate) max_count: usize,
    /// How old the head of a branch or tag other than the main branch may be.
    pub(crate) max_reference_age_ms: i64,
    /// When it is now.
    pub(crate) now_ms: i64,
}

impl Retention {
    /// What the properties of a table ask for; none if nothing of it may be deleted.
    pub(crate) fn of_properties(
        all: &HashMap<String, String>,
        now_ms: i64,
    ) -> Result<Option<Self>, Error> {
        if !properties::GC_ENABLED.read(all)? {
            return Ok(None);
        }
        let names_age = all.contains_key(properties::MAX_SNAPSHOT_AGE_MS.key);
        let names_count = all.contains_key(properties::MAX_SNAPSHOTS.key);
        let min_count = properties::MIN_SNAPSHOTS.read(all)?.max(1);
        let max_count = match names_age && !names_count {
            true => usize::MAX,
            false => properties::MAX_SNAPSHOTS.read(all)?.max(min_count),
        };
        Ok(Some(Self {
            cutoff_ms: now_ms.saturating_sub(properties::MAX_SNAPSHOT_AGE_MS.read(all)?),
            min_count,
            max_count,
            max_reference_age_ms: properties::MAX_REFERENCE_AGE_MS.read(all)?,
            now_ms,
        }))
    }
}

impl Retention {
    /// Lets expire what is older than a time, or all that is older than the last few.
    pub(crate) fn overlay(&mut self, older_than_ms: Option<i64>, retain_last: Option<usize>) {
        if older_than_ms.is_none() && retain_last.is_none() {
            return;
        }
        self.max_count = usize::MAX;
        self.min_count = retain_last.unwrap_or(1);
        self.cutoff_ms = older_than_ms.unwrap_or(i64::MAX);
    }
}

impl Expiry {
    /// What a commit on top of `table` should let expire: nothing, until it is worth the clean-up.
    pub(crate) fn due(table: &Table, now_ms: i64) -> Result<Self, Error> {
        let metadata = table.metadata();
        let Some(retention) = Retention::of_properties(metadata.properties(), now_ms)? else {
            return Ok(Self::default());
        };
        // Listing branches and tags takes time, and they can only keep more.
        if !Self::of_heads(metadata, Vec::new(), &retention).is_due(metadata) {
            return Ok(Self::default());
        }
        let expiry = Self::plan(table, &retention)?;
        Ok(if expiry.is_due(metadata) { expiry } else { Self::default() })
    }

    /// What expires by `retention`.
    pub(crate) fn plan(table: &Table, retention: &Retention) -> Result<Self, Error> {
        Ok(Self::of_heads(table.metadata(), references(table)?, retention))
    }

    fn of_heads(
        metadata: &TableMetadata,
        mut heads: Vec<Reference>,
        retention: &Retention,
    ) -> Self {
        if let Some(current) = metadata.current_snapshot_id()
            && !heads.iter().any(|head| head.name == MAIN_BRANCH)
        {
            heads.push(main_branch(current));
        }
        let mut kept = BTreeSet::new();
        let mut referenced = BTreeSet::new();
        let mut references = Vec::new();
        for head in heads {
            if head.name != MAIN_BRANCH && is_aged_out(metadata, &head, retention) {
                references.push(head.name);
                continue;
            }
            kept.insert(head.snapshot_id);
            referenced.insert(head.snapshot_id);
            if head.kind == BRANCH {
                keep_branch(metadata, &head, retention, (&mut kept, &mut referenced));
            }
        }
        let mut snapshots: Vec<SnapshotRef> = metadata
            .snapshots()
            .filter(|snapshot| {
                let id = snapshot.snapshot_id();
                let is_young = snapshot.timestamp_ms() >= retention.cutoff_ms;
                !kept.contains(&id) && (referenced.contains(&id) || !is_young)
            })
            .map(Arc::clone)
            .collect();
        snapshots.sort_by_key(|snapshot| (snapshot.sequence_number(), snapshot.snapshot_id()));
        references.sort_unstable();
        let statistics = snapshots
            .iter()
            .flat_map(|snapshot| {
                let id = snapshot.snapshot_id();
                let puffin = metadata.statistics_for_snapshot(id);
                let partitions = metadata.partition_statistics_for_snapshot(id);
                let puffin = puffin.map(|file| file.statistics_path.clone());
                puffin.into_iter().chain(partitions.map(|file| file.statistics_path.clone()))
            })
            .collect();
        Self { snapshots, references, statistics }
    }

    /// True if nothing expires.
    pub(crate) const fn is_empty(&self) -> bool {
        self.snapshots.is_empty() && self.references.is_empty()
    }

    /// Whether so much has expired that a commit should take it along. Expiring a few at a time
    /// spares the clean-up of each.
    pub(crate) fn is_due(&self, metadata: &TableMetadata) -> bool {
        let kept = metadata.snapshots().len().saturating_sub(self.snapshots.len());
        !self.is_empty() && self.snapshots.len() >= (kept / 10).clamp(1, 50)
    }

    /// Takes what expires out of the metadata.
    pub(crate) fn apply(&self, mut builder: TableMetadataBuilder) -> TableMetadataBuilder {
        for reference in &self.references {
            builder = builder.remove_ref(reference);
        }
        if self.snapshots.is_empty() {
            return builder;
        }
        let ids: Vec<i64> = self.snapshots.iter().map(|snapshot| snapshot.snapshot_id()).collect();
        if !self.statistics.is_empty() {
            for id in &ids {
                builder = builder.remove_statistics(*id).remove_partition_statistics(*id);
            }
        }
        builder.remove_snapshots(&ids)
    }
}

const BRANCH: &str = "BRANCH";

/// The main branch, if no reference names it.
fn main_branch(current: i64) -> Reference {
    Reference {
        name: MAIN_BRANCH.to_owned(),
        kind: BRANCH.to_owned(),
        snapshot_id: current,
        max_reference_age_ms: None,
        min_snapshots_to_keep: None,
        max_snapshot_age_ms: None,
    }
}

fn is_aged_out(metadata: &TableMetadata, head: &Reference, retention: &Retention) -> bool {
    let max_age_ms = head.max_reference_age_ms.unwrap_or(retention.max_reference_age_ms);
    metadata
        .snapshot_by_id(head.snapshot_id)
        .is_some_and(|head| retention.now_ms.saturating_sub(head.timestamp_ms()) > max_age_ms)
}

/// Adds the snapshots that a branch keeps to the first set, and all of its snapshots to the second.
fn keep_branch(
    metadata: &TableMetadata,
    branch: &Reference,
    retention: &Retention,
    (kept, referenced): (&mut BTreeSet<i64>, &mut BTreeSet<i64>),
) {
    let own_min = branch.min_snapshots_to_keep.and_then(|count| usize::try_from(count).ok());
    let min_count = own_min.unwrap_or(retention.min_count);
    let (cutoff_ms, max_count) = match branch.max_snapshot_age_ms {
        Some(age_ms) => (retention.now_ms.saturating_sub(age_ms), usize::MAX),
        None => (retention.cutoff_ms, retention.max_count.max(min_count)),
    };
    let parent = |snapshot: &&SnapshotRef| metadata.snapshot_by_id(snapshot.parent_snapshot_id()?);
    let head = metadata.snapshot_by_id(branch.snapshot_id);
    for (place, snapshot) in std::iter::successors(head, parent).enumerate() {
        let id = snapshot.snapshot_id();
        referenced.insert(id);
        let is_young = snapshot.timestamp_ms() >= cutoff_ms;
        if place < min_count || (is_young && place < max_count) {
            kept.insert(id);
        }
    }
}
