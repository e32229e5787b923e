//! Branches and tags.

use iceberg::spec::{MAIN_BRANCH, SnapshotReference, SnapshotRetention, TableMetadataBuilder};

use crate::time_travel::references;
use crate::{Error, Table};

/// What a reference is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferenceKind {
    /// A line of snapshots that can be written to.
    Branch,
    /// A name of one snapshot.
    Tag,
}

impl ReferenceKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Branch => "BRANCH",
            Self::Tag => "TAG",
        }
    }
}

/// How long a reference and its snapshots are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// How long the reference itself is kept.
    pub max_reference_age_ms: Option<i64>,
    /// How many of a branch's snapshots are kept at least.
    pub min_snapshots_to_keep: Option<i32>,
    /// How old a branch's snapshots may become.
    pub max_snapshot_age_ms: Option<i64>,
}

/// A change of a branch or tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReferenceChange {
    /// Makes one, or moves one that exists.
    Set {
        /// What it is.
        kind: ReferenceKind,
        /// Its name.
        name: String,
        /// Its snapshot; none: the newest of the main branch.
        snapshot_id: Option<i64>,
        /// How long it is kept.
        retention: Retention,
        /// Whether it may, or must, exist already.
        existing: Existing,
    },
    /// Removes one.
    Drop {
        /// What it is.
        kind: ReferenceKind,
        /// Its name.
        name: String,
        /// Whether a missing one is no error.
        if_exists: bool,
    },
}

/// What is done about a reference that exists, or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// One that exists is an error.
    Refuse,
    /// One that exists is left as it is.
    Keep,
    /// One that exists is replaced.
    Replace,
    /// One must exist, and is replaced.
    Require,
}

impl ReferenceChange {
    pub(super) fn apply(
        &self,
        table: &Table,
        builder: TableMetadataBuilder,
    ) -> Result<TableMetadataBuilder, Error> {
        match self {
            Self::Set { kind, name, snapshot_id, retention, existing } => {
                let found = kind_of(table, name)?;
                match (found, existing) {
                    (Some(_), Existing::Keep) => return Ok(builder),
                    (Some(_), Existing::Refuse) => {
                        return Err(Error::Invalid(format!("Ref {name} already exists")));
                    }
                    (None, Existing::Require) => return Err(missing(*kind, name)),
                    (Some(found), _) if found != kind.word() => {
                        return Err(Error::Invalid(format!("Ref {name} is a {found}")));
                    }
                    (Some(_) | None, _) => {}
                }
                let snapshot_id = snapshot(table, *snapshot_id)?;
                builder
                    .set_ref(
                        name,
                        SnapshotReference { snapshot_id, retention: of(*kind, *retention) },
                    )
                    .map_err(|error| Error::Invalid(format!("Ref {name} cannot be set: {error}")))
            }
            Self::Drop { kind, name, if_exists } => match kind_of(table, name)? {
                _ if name == MAIN_BRANCH => {
                    Err(Error::Invalid("Cannot remove main branch".to_owned()))
                }
                Some(found) if found == kind.word() => Ok(builder.remove_ref(name)),
                Some(found) => Err(Error::Invalid(format!("Ref {name} is a {found}"))),
                None if *if_exists => Ok(builder),
                None => Err(missing(*kind, name)),
            },
        }
    }
}

fn missing(kind: ReferenceKind, name: &str) -> Error {
    let kind = kind.word();
    let kind = format!(
        "{}{}",
        kind.get(..1).unwrap_or_default(),
        kind.get(1..).unwrap_or_default().to_lowercase()
    );
    Error::NotFound(format!("{kind} does not exist: {name}"))
}

fn kind_of(table: &Table, name: &str) -> Result<Option<String>, Error> {
    Ok(references(table)?.into_iter().find(|found| found.name == name).map(|found| found.kind))
}

fn snapshot(table: &Table, id: Option<i64>) -> Result<i64, Error> {
    let metadata = table.metadata();
    match id {
        Some(id) if metadata.snapshot_by_id(id).is_some() => Ok(id),
        Some(id) => Err(Error::NotFound(format!(
            "Cannot set a ref to unknown snapshot {id} of table {}",
            table.name()
        ))),
        None => metadata.current_snapshot_id().ok_or_else(|| {
            Error::Invalid(format!(
                "table {} has no snapshot yet that a branch or tag could name",
                table.name()
            ))
        }),
    }
}

const fn of(kind: ReferenceKind, retention: Retention) -> SnapshotRetention {
    let Retention { max_reference_age_ms, min_snapshots_to_keep, max_snapshot_age_ms } = retention;
    match kind {
        ReferenceKind::Branch => SnapshotRetention::Branch {
            min_snapshots_to_keep,
            max_snapshot_age_ms,
            max_ref_age_ms: max_reference_age_ms,
        },
        ReferenceKind::Tag => SnapshotRetention::Tag { max_ref_age_ms: max_reference_age_ms },
    }
}
