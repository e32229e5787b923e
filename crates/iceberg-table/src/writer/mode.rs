//! How a table's rows are deleted.

use std::str::FromStr;

use iceberg::spec::FormatVersion;

use crate::{Error, Table, properties};

/// How rows that change or go are deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteMode {
    /// By file and row, through the key index: position delete files, and from format version 3 on, which
    /// has them no more, deletion vectors.
    Position,
    /// By deletion vectors, which need format version 3.
    DeletionVector,
    /// By key, as Flink does it: no key index, but readers have to compare keys.
    Equality,
}

impl FromStr for DeleteMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "position" => Ok(Self::Position),
            "deletion-vector" => Ok(Self::DeletionVector),
            "equality" => Ok(Self::Equality),
            _ => Err(Error::Invalid(format!(
                "'{text}' is no delete mode; use position, deletion-vector or equality"
            ))),
        }
    }
}

/// What a writer does with deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeleteForm {
    /// Whether old rows are named by their key, not found through the index.
    pub(crate) by_key: bool,
    /// Whether rows that are found are handed to the commit, not written as position delete files.
    pub(crate) by_commit: bool,
    /// Whether position deletes of one data file have a file of their own.
    pub(crate) granularity: Granularity,
    /// Whether an insertion replaces what has its key, without a deletion before it.
    pub(crate) upserts: bool,
    /// Whether deletes are possible at all.
    pub(crate) deletes: bool,
}

/// Which position deletes share a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Granularity {
    /// Those of one partition.
    Partition,
    /// Those of one data file.
    File,
}

impl DeleteForm {
    /// What `mode` means for a table as it is now; without one, what is best for its format version.
    pub(crate) fn of_table(table: &Table, mode: Option<DeleteMode>) -> Result<Self, Error> {
        let version = table.metadata().format_version();
        let all = table.metadata().properties();
        if mode == Some(DeleteMode::DeletionVector) && version < FormatVersion::V3 {
            return Err(Error::Invalid(format!(
                "deletion vectors need format version 3, and table {} has {version}; set the table's \
                 'format-version' to '3' or choose another 'shardlake.delete-mode'",
                table.name()
            )));
        }
        let granularity = match all.get(properties::DELETE_GRANULARITY).map(String::as_str) {
            None | Some("partition") => Granularity::Partition,
            Some("file") => Granularity::File,
            Some(other) => {
                return Err(Error::Invalid(format!(
                    "table property '{}' is '{other}'; use partition or file",
                    properties::DELETE_GRANULARITY
                )));
            }
        };
        Ok(Self {
            by_key: mode == Some(DeleteMode::Equality),
            by_commit: version >= FormatVersion::V3,
            granularity,
            upserts: properties::UPSERT.read(all)?,
            deletes: version >= FormatVersion::V2,
        })
    }
}
