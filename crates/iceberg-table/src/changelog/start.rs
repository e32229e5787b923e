//! Where reading a table's history begins, and which snapshots follow.

use std::fmt;

use iceberg::spec::{MAIN_BRANCH, SnapshotRef};

use crate::{Error, Table};

/// Where a reader wants to begin; Flink's starting strategies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartingPoint {
    /// All rows of the newest snapshot, then what comes after it.
    TableScan,
    /// The changes of the newest snapshot, then what comes after it.
    Latest,
    /// What comes after the newest snapshot.
    AfterLatest,
    /// The changes of the oldest snapshot that is retained, then what comes after it.
    Earliest,
    /// The changes of this snapshot, then what comes after it.
    Snapshot(i64),
    /// What comes after this snapshot.
    AfterSnapshot(i64),
    /// The changes of the first snapshot that was committed at this time or later, in milliseconds
    /// since 1970, then what comes after it.
    TimestampMs(i64),
}

/// What a reader does first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangelogStart {
    /// Reads all rows of this snapshot, then the changes of those after it.
    Existing(i64),
    /// Reads the changes of the snapshots after this one; from the first one on if none.
    After(Option<i64>),
}

impl StartingPoint {
    /// Finds the place in the history of `branch`.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the branch or snapshot is not (or no longer) there.
    pub fn find(&self, table: &Table, branch: Option<&str>) -> Result<ChangelogStart, Error> {
        let history = history(table, branch)?;
        let Some(newest) = history.first() else {
            return match self {
                Self::Snapshot(id) | Self::AfterSnapshot(id) => Err(not_found(table, *id)),
                _ => Ok(ChangelogStart::After(None)),
            };
        };
        let find = |id: i64| {
            let found = history.iter().find(|snapshot| snapshot.snapshot_id() == id);
            found.ok_or_else(|| not_found(table, id))
        };
        Ok(match self {
            Self::TableScan => ChangelogStart::Existing(newest.snapshot_id()),
            Self::Latest => ChangelogStart::After(newest.parent_snapshot_id()),
            Self::AfterLatest => ChangelogStart::After(Some(newest.snapshot_id())),
            Self::Earliest => {
                ChangelogStart::After(history.last().and_then(|oldest| oldest.parent_snapshot_id()))
            }
            Self::Snapshot(id) => ChangelogStart::After(find(*id)?.parent_snapshot_id()),
            Self::AfterSnapshot(id) => ChangelogStart::After(Some(find(*id)?.snapshot_id())),
            Self::TimestampMs(millis) => {
                let older = history.iter().find(|snapshot| snapshot.timestamp_ms() < *millis);
                match older {
                    Some(older) => ChangelogStart::After(Some(older.snapshot_id())),
                    None => ChangelogStart::After(
                        history.last().and_then(|oldest| oldest.parent_snapshot_id()),
                    ),
                }
            }
        })
    }
}

fn not_found(table: &Table, id: i64) -> Error {
    Error::NotFound(format!(
        "Start snapshot id not found in history: {id}. Table {} has {}",
        table.name(),
        Retained(table)
    ))
}

/// What is left of a table's history, for messages.
struct Retained<'a>(&'a Table);

impl fmt::Display for Retained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let history = history(self.0, None).unwrap_or_default();
        match (history.last(), history.first()) {
            (Some(oldest), Some(newest)) => write!(
                f,
                "{} snapshot(s), from {} to {}",
                history.len(),
                oldest.snapshot_id(),
                newest.snapshot_id()
            ),
            _ => f.write_str("no snapshots"),
        }
    }
}

/// The snapshots of a branch, newest first, as far back as they are retained.
fn history(table: &Table, branch: Option<&str>) -> Result<Vec<SnapshotRef>, Error> {
    let metadata = table.metadata();
    let mut next = match branch {
        None | Some(MAIN_BRANCH) => metadata.current_snapshot().cloned(),
        Some(branch) => {
            let found = metadata.snapshot_for_ref(branch).cloned();
            Some(found.ok_or_else(|| {
                Error::NotFound(format!("table {} has no branch '{branch}'", table.name()))
            })?)
        }
    };
    let mut found: Vec<SnapshotRef> = Vec::new();
    while let Some(snapshot) = next {
        next = snapshot
            .parent_snapshot_id()
            .and_then(|id| metadata.snapshot_by_id(id))
            // A cycle in damaged metadata must end.
            .filter(|_| found.len() < metadata.snapshots().len())
            .cloned();
        found.push(snapshot);
    }
    Ok(found)
}

/// The snapshots of `branch` that follow `after`, oldest first; all of them if none.
///
/// # Errors
/// [`Error::NotFound`] if `after` is no ancestor of the branch's newest snapshot any more: it has
/// expired together with its successor, or the table was rolled back.
pub fn snapshots_after(
    table: &Table,
    branch: Option<&str>,
    after: Option<i64>,
) -> Result<Vec<i64>, Error> {
    let history = history(table, branch)?;
    let mut found = Vec::new();
    let mut is_connected = false;
    for snapshot in &history {
        if Some(snapshot.snapshot_id()) == after {
            is_connected = true;
            break;
        }
        found.push(snapshot.snapshot_id());
        if snapshot.parent_snapshot_id() == after {
            is_connected = true;
            break;
        }
    }
    if !(is_connected || history.is_empty() && after.is_none()) {
        let reason = match after {
            Some(id) if table.metadata().snapshot_by_id(id).is_some() => {
                format!("the table was rolled back to before snapshot {id}")
            }
            Some(id) => format!("snapshot {id} has expired"),
            None => "its first snapshots have expired".to_owned(),
        };
        return Err(Error::NotFound(format!(
            "the changes of table {} cannot be read on from where the reader stood: {reason}; the \
             table has {}. Start anew with 'starting-strategy' = 'TABLE_SCAN_THEN_INCREMENTAL' under \
             another 'pipeline.name', and keep snapshots for longer than a reader may be stopped",
            table.name(),
            Retained(table)
        )));
    }
    found.reverse();
    Ok(found)
}
