//! Which snapshot of a table is read, and with which schema.
//!
//! As Iceberg has it: a snapshot, a time and a tag are read with the schema of their snapshot, the
//! current state and a branch with the current schema of the table. A time is looked up in the
//! snapshot log, which tells what was current when, roll-backs included.

use std::fmt;

use iceberg::spec::{SchemaRef, SnapshotRef};

use crate::commit::progress;
use crate::{Error, Table};

/// A state of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum AsOf {
    /// The newest snapshot of the main branch.
    #[default]
    Current,
    /// The snapshot of this id.
    SnapshotId(i64),
    /// What was current at this time, in milliseconds since 1970 (UTC).
    TimestampMs(i64),
    /// A branch or a tag.
    Reference(String),
}

impl fmt::Display for AsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Current => f.write_str("the current snapshot"),
            Self::SnapshotId(id) => write!(f, "snapshot {id}"),
            Self::TimestampMs(millis) => write!(f, "time {}", time_text(*millis)),
            Self::Reference(name) => write!(f, "reference '{name}'"),
        }
    }
}

impl AsOf {
    /// The snapshot that holds this state; none if the table had no rows yet, which only
    /// [`AsOf::Current`] can say.
    ///
    /// # Errors
    /// [`Error::NotFound`] names the table and what exists.
    pub fn snapshot(&self, table: &Table) -> Result<Option<SnapshotRef>, Error> {
        let metadata = table.metadata();
        let found = match self {
            Self::Current => return Ok(metadata.current_snapshot().cloned()),
            Self::SnapshotId(id) => metadata.snapshot_by_id(*id).cloned(),
            Self::TimestampMs(millis) => snapshot_at(table, *millis)?,
            Self::Reference(name) => metadata.snapshot_for_ref(name).cloned(),
        };
        found.map(Some).ok_or_else(|| self.not_found(table))
    }

    /// The schema with which this state is read.
    ///
    /// # Errors
    /// [`Error::NotFound`] as [`AsOf::snapshot`].
    pub fn schema(&self, table: &Table) -> Result<SchemaRef, Error> {
        let current = || SchemaRef::clone(table.schema());
        let own_schema = match self {
            Self::Current => false,
            Self::SnapshotId(_) | Self::TimestampMs(_) => true,
            Self::Reference(name) => references(table)?
                .iter()
                .any(|reference| reference.name == *name && reference.kind == "TAG"),
        };
        if !own_schema {
            return Ok(current());
        }
        let schema_id = self.snapshot(table)?.and_then(|snapshot| snapshot.schema_id());
        Ok(schema_id
            .and_then(|id| table.metadata().schema_by_id(id))
            .map_or_else(current, SchemaRef::clone))
    }

    fn not_found(&self, table: &Table) -> Error {
        let name = table.name();
        let what = match self {
            Self::Reference(reference) => {
                let known: Vec<String> = references(table)
                    .unwrap_or_default()
                    .into_iter()
                    .map(|reference| format!("'{}'", reference.name))
                    .collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                format!("table {name} has no branch or tag '{reference}'; it has: {known}")
            }
            Self::Current | Self::SnapshotId(_) => {
                format!("table {name} has no {self}; it has {}", snapshots_text(table))
            }
            Self::TimestampMs(_) => {
                format!("table {name} had no snapshot at {self}; it has {}", snapshots_text(table))
            }
        };
        Error::NotFound(what)
    }
}

/// Where the sources of a job stood in a snapshot that it made.
#[derive(Clone, Debug, PartialEq)]
pub struct SourcePosition {
    /// The snapshot.
    pub snapshot_id: i64,
    /// The job.
    pub job: String,
    /// Whether the job still copied existing rows, so that a transaction may be there in part.
    pub in_snapshot_phase: bool,
    /// The position, as the job stored it.
    pub position: serde_json::Value,
}

/// The positions that the snapshots of the main branch store, oldest first, as far back as they are
/// retained. Snapshots without a position (of other engines, of maintenance) are left out.
#[must_use]
pub fn source_positions(table: &Table) -> Vec<SourcePosition> {
    let mut found: Vec<SourcePosition> = ancestors(table)
        .iter()
        .filter_map(|snapshot| {
            let summary = &snapshot.summary().additional_properties;
            Some(SourcePosition {
                snapshot_id: snapshot.snapshot_id(),
                job: summary.get(progress::JOB_NAME)?.clone(),
                in_snapshot_phase: summary.get(progress::PHASE).is_some_and(|p| p == "snapshot"),
                position: serde_json::from_str(summary.get(progress::POSITION)?).ok()?,
            })
        })
        .collect();
    found.reverse();
    found
}

/// A branch or tag of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) name: String,
    /// `BRANCH` or `TAG`.
    pub(crate) kind: String,
    pub(crate) snapshot_id: i64,
    pub(crate) max_reference_age_ms: Option<i64>,
    pub(crate) min_snapshots_to_keep: Option<i32>,
    pub(crate) max_snapshot_age_ms: Option<i64>,
}

/// The branches and tags of a table, by name. `iceberg` keeps them private, so they are taken from
/// the metadata's own form.
pub(crate) fn references(table: &Table) -> Result<Vec<Reference>, Error> {
    let metadata = serde_json::to_value(table.metadata()).map_err(Error::bug)?;
    let Some(refs) = metadata.get("refs").and_then(|refs| refs.as_object()) else {
        return Ok(Vec::new());
    };
    let mut found: Vec<Reference> = refs
        .iter()
        .filter_map(|(name, reference)| {
            let number = |key: &str| reference.get(key).and_then(serde_json::Value::as_i64);
            Some(Reference {
                name: name.clone(),
                kind: reference.get("type")?.as_str()?.to_uppercase(),
                snapshot_id: number("snapshot-id")?,
                max_reference_age_ms: number("max-ref-age-ms"),
                min_snapshots_to_keep: number("min-snapshots-to-keep")
                    .and_then(|count| i32::try_from(count).ok()),
                max_snapshot_age_ms: number("max-snapshot-age-ms"),
            })
        })
        .collect();
    found.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(found)
}

/// The snapshot that was current at a time; none if the table had none then.
fn snapshot_at(table: &Table, millis: i64) -> Result<Option<SnapshotRef>, Error> {
    let metadata = table.metadata();
    let log = metadata.history();
    if log.is_empty() {
        // A writer that keeps no log: what the current snapshot descends from.
        return Ok(ancestors(table).into_iter().find(|found| found.timestamp_ms() <= millis));
    }
    let Some(entry) = log.iter().rev().find(|entry| entry.timestamp_ms() <= millis) else {
        return Ok(None);
    };
    metadata.snapshot_by_id(entry.snapshot_id).cloned().map(Some).ok_or_else(|| {
        Error::NotFound(format!(
            "snapshot {} of table {}, which was current at {}, has expired",
            entry.snapshot_id,
            table.name(),
            time_text(millis)
        ))
    })
}

/// The current snapshot and those that it descends from, newest first.
pub(crate) fn ancestors(table: &Table) -> Vec<SnapshotRef> {
    let metadata = table.metadata();
    let mut found: Vec<SnapshotRef> = Vec::new();
    let mut next = metadata.current_snapshot().cloned();
    while let Some(snapshot) = next {
        next = snapshot
            .parent_snapshot_id()
            .and_then(|id| metadata.snapshot_by_id(id))
            // A cycle in damaged metadata must end.
            .filter(|_| found.len() < metadata.snapshots().len())
            .cloned();
        found.push(snapshot);
    }
    found
}

fn snapshots_text(table: &Table) -> String {
    let mut snapshots: Vec<&SnapshotRef> = table.metadata().snapshots().collect();
    snapshots.sort_by_key(|snapshot| (snapshot.timestamp_ms(), snapshot.sequence_number()));
    let text = |snapshot: &SnapshotRef| {
        format!("{} of {}", snapshot.snapshot_id(), time_text(snapshot.timestamp_ms()))
    };
    match snapshots.as_slice() {
        [] => "no snapshots".to_owned(),
        [only] => format!("one snapshot, {}", text(only)),
        [first, .., last] => {
            format!("{} snapshots, from {} to {}", snapshots.len(), text(first), text(last))
        }
    }
}

fn time_text(millis: i64) -> String {
    let scalar = arrow::temporal_conversions::timestamp_ms_to_datetime(millis);
    scalar.map_or_else(|| format!("{millis} ms"), |time| format!("{time} UTC ({millis} ms)"))
}
